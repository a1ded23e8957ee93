"""The stream of a fit: from the rows of a user to all that a detector learns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from ._calibration import fit_score, hold_out, score_rows
from ._cut import is_auto
from ._device import resolve_device
from ._groups import group_rows
from ._health import (
    constant_rows,
    dead_columns,
    divergence,
    falling_losses,
    hardly_trained,
    still_falling,
    too_few_references,
)
from ._models._scaling import column_statistics, fit_scaling
from ._near_copies import find_near_copies
from ._row_shape import resolve_input_shape
from ._seed import draw_seed
from ._settings import FEWEST_STEPS, resolve_settings
from ._training._fit_tasks import FitTasks
from ._training._net import mean_losses
from ._training._trainer import Record, Trainer
from ._validation import validate_rows
from ._value_range import group_range
from .reports import TrainingReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._models._method import Method
    from ._training._net import AdversarialNet
    from .reports import Finding

__all__ = ["Trained", "learn", "progress_of"]

# Findings on the rows themselves, whatever the training.
_ABOUT_ROWS = ("constant", "near_copies", "too_few")


@dataclass
class Trained:
    """What a detector's training returns.

    Parameters
    ----------
    method : Method
        The trained networks.
    net : skorch.NeuralNet
        What becomes ``net_``.
    n_unseen_steps : int, default=0
        Steps of networks that never see a row, and so cannot memorise any.
    report : dict, default={}
        Entries of the training report that replace those of the same name.
    problems : list of Finding or None, default=[]
        What went wrong; None stands for nothing.
    notes : list of Finding, default=[]
        What is good to know.
    """

    method: Method
    net: AdversarialNet
    n_unseen_steps: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    problems: list[Finding | None] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def learn(detector: Any, X: Any, y: Any, groups: Any) -> None:
    """Fit a detector: train, describe, find the reference scores, then the cut.

    What was learned is given to the detector once all of it is there, but for the
    cut, which goes by it.
    """
    given = X
    X, shape = validate_rows(detector, X, reset=True)
    input_shape = resolve_input_shape(detector.input_shape, shape)
    device = resolve_device(detector.device)
    settings = resolve_settings(detector, input_shape)
    detector._check_promise()
    generator = torch.Generator().manual_seed(draw_seed(detector.random_state))
    row_groups = group_rows(X, groups, one_unit=settings.kind == "maps")
    division = hold_out(X, row_groups, settings, detector._chosen_steps(), generator)
    if not len(division.X_held_out):
        detector._check_held_out(detector.threshold)
    settings = detector._settle_steps(settings, division.groups.n_groups)
    statistics = column_statistics(division.X)
    scaling = fit_scaling(settings.scaler, input_shape, division.X, statistics)
    columns = statistics.range

    def describe(method, generator):
        model = detector._new_model(settings, scaling, method).freeze()
        progress = progress_of(detector, method)
        return model, *fit_score(model, division, settings, generator, progress)

    def attributes(model, reference_scores, record, net):
        return {
            "settings_": settings,
            "model_": model,
            "net_": net,
            "reference_scores_": reference_scores,
            "value_range_": group_range(columns, input_shape),
            "n_held_out_": len(division.X_held_out),
            "history_": record.history,
            "n_iter_": record.n_steps,
        }

    def snapshot(net):
        """Attributes as if the training ended now, for callbacks of scikit-learn."""
        method, record = net.run_.finished_copy(), Record()
        model, scores, _ = describe(method, torch.Generator().manual_seed(0))
        record.add(net)
        twin = detector._twin(attributes(model, scores, record, net))
        twin._fit_cut(lambda: score_rows(model, X))
        return {name: value for name, value in vars(twin).items() if name[-1] == "_"}

    # Of several trainings, the first leaves networks that have not been trained.
    n_trainings = detector._n_trainings
    tasks = FitTasks(
        detector,
        given,
        y,
        n_trainings=n_trainings,
        snapshot=snapshot if n_trainings == 1 else None,
    )
    trainer = Trainer(detector, settings, division.X, scaling, device, generator, tasks)
    trained = detector._train(trainer)
    if not isinstance(trained, Trained):
        raise TypeError(
            f"_train of {type(detector).__name__} returned a {type(trained).__name__}. "
            "It has to return Trained(method, net), of skganomaly.base."
        )
    model, reference_scores, health = describe(trained.method, generator)
    vars(detector).update(
        attributes(model, reference_scores, trainer.record, trained.net)
    )
    detector.training_report_ = _report(
        detector, trained, trainer.record, division, health, columns
    )
    progress = progress_of(detector, trained.method)
    detector._fit_cut(lambda: score_rows(model, X, progress=progress))
    tasks.end()


def progress_of(detector: Any, method: Method) -> Any:
    """What shows a bar over the rows of chunks, if a search is asked to."""

    def progress(chunks: Iterable[Any], n_rows: int) -> Iterable[Any]:
        hidden = not (detector.verbose and method.searches_codes)
        label = f"{type(detector).__name__}, search"
        with tqdm(total=n_rows, desc=label, unit="row", disable=hidden) as bar:
            for rows, x in chunks:
                yield rows, x
                bar.update(len(rows))

    return progress


def _report(detector, trained, record, division, health, columns):
    """Say how the training went, and warn of what went wrong."""
    settings = detector.settings_
    n_groups, n_columns = division.groups.n_groups, columns.shape[1]
    n_seen = record.n_steps - trained.n_unseen_steps
    passes = n_seen * min(settings.batch_size, n_groups) / n_groups
    near_copies = find_near_copies(torch.cat(health.vectors), health.labels)
    n_dead = int((columns[0] == columns[1]).sum())
    figures = {
        "losses": mean_losses(record.history, record.loss_names),
        "n_steps": record.n_steps,
        "n_passes": round(passes, 2),
        **health.report(),
        "still_falling": falling_losses(record.history),
        "memorised": health.memorised,
        "near_copies": 0.0 if near_copies is None else near_copies.share,
        "dead_columns": n_dead,
        "restarts": record.restarts,
        **trained.report,
    }
    problems = [
        divergence(figures["error"], record.n_steps, settings.learning_rate),
        constant_rows() if n_dead == n_columns else None,
        health.memorisation(by_share=settings.contamination is not None),
        division.finding,
        record.interrupted,
        _promise_out_of_reach(detector, health),
        *trained.problems,
        None if near_copies is None else near_copies.finding,
    ]
    report = TrainingReport(
        **figures,
        problems=[problem for problem in problems if problem is not None],
        notes=list(trained.notes),
    )
    if report.judged and report.n_steps < FEWEST_STEPS:
        report.judged = False
        report.notes.append(hardly_trained(report.n_steps, FEWEST_STEPS))
    # The steps of "auto" end early on purpose.
    if report.still_falling and detector._chosen_steps() is not None:
        report.notes.append(still_falling(report.still_falling))
    # Pixels at an image's rim are often dead.
    if 0 < n_dead < n_columns and settings.kind == "rows":
        report.notes.append(dead_columns(n_dead, n_columns))
    for problem in report.problems:
        category = UserWarning if problem.name in _ABOUT_ROWS else ConvergenceWarning
        warnings.warn(str(problem), category, stacklevel=6)
    return report


def _promise_out_of_reach(detector, health):
    settings = detector.settings_
    if settings.contamination is not None or not is_auto(detector.threshold):
        return None
    return too_few_references(
        len(detector.reference_scores_),
        settings.false_alarm_rate,
        groups=health.grouped,
    )
