"""The stream of a fit: from the rows of a user to all that a detector learns."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from ._calibration import fit_score, hold_out, score_rows, set_aside
from ._cut import is_auto
from ._device import resolve_device
from ._groups import group_rows, one_score_a_group, read_labels
from ._health import (
    constant_rows,
    dead_columns,
    divergence,
    falling_losses,
    hardly_trained,
    still_falling,
    too_few_references,
    whole_images,
)
from ._models._scaling import column_statistics, fit_scaling
from ._near_copies import find_near_copies
from ._ranks import current
from ._row_shape import resolve_input_shape
from ._seed import draw_seed
from ._settings import FEWEST_STEPS, resolve_settings
from ._stream import Reservoir, Start, beyond_range
from ._training._callbacks import stopping_of
from ._training._fit_tasks import FitTasks
from ._training._net import mean_losses
from ._training._plain import given_to
from ._training._progress import Progress, has_checkpoint
from ._training._trainer import Record, Trainer
from ._trimming import with_left_out, worst_rows
from ._validation import validate_rows
from ._value_range import group_range
from ._weights import read_weights
from .reports import TrainingReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._models._method import Method
    from ._training._net import AdversarialNet
    from .reports import Finding

__all__ = ["Trained", "go_on", "learn", "progress_of"]

# What rows are called, which those in a reservoir are not.
_OF_INPUT = ("feature_names_in_", "n_features_in_")

# Findings on the rows themselves, whatever the training.
_ABOUT_ROWS = ("constant", "drifted", "near_copies", "too_few")


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


def learn(
    detector: Any,
    X: Any,
    y: Any,
    groups: Any,
    sample_weight: Any,
    *,
    quiet: bool = False,
    start: Start | None = None,
) -> None:
    """Fit a detector: train, describe, find the reference scores, then the cut.

    What was learned is given to the detector once all of it is there, but for the
    cut, which goes by it. With `quiet`, nothing is warned of; with `start`, the
    rows are those of a stream, and the training goes on.
    """
    given, ranks = X, current()
    X, shape = validate_rows(detector, X, reset=True)
    kept, weights = read_weights(X, sample_weight)
    input_shape = resolve_input_shape(detector.input_shape, shape)
    device = resolve_device(detector.device)
    settings = resolve_settings(detector, input_shape)
    detector._check_promise()
    if start is not None:
        start.check(settings)
    # Neither a judge nor a piece of a stream is a fit that could be gone on with.
    progress = Progress(detector, keeps=start is None and not quiet)
    seed = progress.draw_seed() if start is None else start.seed
    generator = torch.Generator().manual_seed(seed)
    if kept is not None:
        if groups is not None:
            groups = read_labels(X, groups)[kept]
        X = X[kept]
    one_unit = settings.kind == "maps"
    row_groups = group_rows(X, groups, one_unit=one_unit, weights=weights)
    if ranks.size > 1:
        arrays = {"groups": row_groups.labels, "sample_weight": row_groups.weights}
        ranks.compare(given_to(detector, X=X, **arrays))
    everybody, left_out, stay = (X, row_groups), np.arange(0), slice(None)
    if detector.trim:
        if detector.warm_start:
            raise ValueError(
                f"trim={detector.trim:g} with warm_start=True: a longer training would "
                "leave out other rows, so there is none to go on with. Set one of them "
                "back."
            )
        judged = _scores_of_judge(detector, X, row_groups, input_shape, seed)
        left_out = worst_rows(judged, row_groups, detector.trim)
        stay = np.setdiff1d(np.arange(len(X)), left_out)
        X, row_groups = X[stay], row_groups.take(stay)
    if start is None:
        chosen_steps = detector._chosen_steps()
        division = hold_out(X, row_groups, settings, chosen_steps, generator)
    else:
        division = start.divide(X, row_groups, stay)
    if not len(division.X_held_out):
        detector._check_held_out(detector.threshold)
    stopping, aside = stopping_of(detector.callbacks), None
    if stopping is not None:
        division, aside = set_aside(division, stopping.fraction, generator)
    n_groups, weights = division.groups.n_groups, division.groups.weights
    if start is None:
        settings = detector._settle_steps(settings, n_groups)
    else:
        settings = detector._settle_steps(settings, min(n_groups, start.n_new))
        division.finding = start.finding(settings, n_groups)
    progress.check(settings, device, X, row_groups, division.X)
    statistics = column_statistics(division.X, weights)
    scaling = None if start is None else start.scaling
    if scaling is None:
        scaling = fit_scaling(settings.scaler, input_shape, division.X, statistics)
    columns = statistics.range

    def describe(method, generator):
        model = detector._new_model(settings, scaling, method).freeze()
        bar = progress_of(detector, method)
        with model.threads(fits=True):
            scores, health = fit_score(model, division, settings, generator, bar)
        if len(left_out):
            scores = _with_left_out(scores, model, *everybody, left_out)
        return model, scores, health

    def attributes(model, reference_scores, record, net):
        return {
            "settings_": settings,
            "model_": model,
            "net_": net,
            "reference_scores_": reference_scores,
            "value_range_": group_range(columns, input_shape),
            "n_held_out_": len(division.X_held_out),
            "trimmed_": left_out if kept is None else kept[left_out],
            "history_": record.history,
            "n_iter_": record.n_steps,
        }

    def own_scores(model, progress=None):
        rows, groups = everybody
        scores = score_rows(model, rows, progress=progress)
        if groups.weights is None:
            return scores
        return one_score_a_group(scores, groups.weights, len(scores))

    def snapshot(net):
        """Attributes as if the training ended now, for callbacks of scikit-learn."""
        method, record = net.run_.finished_copy(), Record()
        model, scores, _ = describe(method, torch.Generator().manual_seed(0))
        record.add(net)
        twin = detector._twin(attributes(model, scores, record, net))
        twin._fit_cut(lambda: own_scores(model))
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
    trainer = Trainer(
        detector,
        settings,
        division.X,
        scaling,
        device,
        generator,
        tasks,
        progress,
        aside,
        weights,
    )
    if start is not None:
        trainer.start = start.method
        detector.reservoir_ = start.reservoir
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
    if start is not None:
        _go_on(detector, start)
    for problem in () if quiet else detector.training_report_.problems:
        category = UserWarning if problem.name in _ABOUT_ROWS else ConvergenceWarning
        warnings.warn(str(problem), category, stacklevel=5)
    bar = progress_of(detector, trained.method)
    detector._fit_cut(lambda: own_scores(model, bar))
    progress.end_fit()
    tasks.end()


def go_on(detector: Any, X: Any) -> None:
    """Take in the rows of a stream that are there, and leave the rest as it was.

    Everything happens to a twin, whose attributes the detector gets at the end.
    """
    if has_checkpoint(detector.callbacks):
        raise ValueError(
            "callbacks has a FitCheckpoint, and partial_fit is no fit that a file "
            "could be gone on with from. Leave it out, and save the detector after a "
            "piece."
        )
    if current().size > 1:
        raise ValueError(
            "partial_fit is not shared by the processes of data_parallel(). Call fit "
            "there, or partial_fit outside of the block, in one process."
        )
    twin = _untold(detector._twin())
    first = not hasattr(detector, "offset_")
    reservoir = vars(detector).get("reservoir_")
    if not first and reservoir is None:
        raise ValueError(
            f"This {type(detector).__name__} comes from fit, which keeps no rows to go "
            "on from. Begin with partial_fit on a clone, or call fit with all rows."
        )
    shape = None if first else detector.input_shape_
    X, given = validate_rows(twin, X, reset=first, input_shape=shape)
    if first:
        reservoir = Reservoir(
            draw_seed(detector.random_state),
            detector.max_references,
            detector.validation_fraction,
        )
        start = Start(reservoir.with_rows(X.reshape(given)), len(X))
    else:
        names = getattr(detector, "feature_names_in_", None)
        rows = X.reshape(-1, *reservoir.rows.shape[1:])
        start = Start(
            reservoir.with_rows(rows),
            len(X),
            detector.model_.scaling,
            copy.deepcopy(detector.model_.method),
            detector.settings_,
            detector.n_iter_,
            [beyond_range(X, detector.value_range_, names)],
        )
    kept = {name: vars(twin)[name] for name in _OF_INPUT if name in vars(twin)}
    if not first:
        kept["value_range_"] = detector.value_range_
    learn(twin, start.reservoir.rows, None, None, None, start=start)
    vars(detector).update(vars(twin) | kept)


def progress_of(detector: Any, method: Method) -> Any:
    """What shows a bar over the rows of chunks, if a search is asked to."""

    def progress(chunks: Iterable[Any], n_rows: int) -> Iterable[Any]:
        shown = detector.verbose and method.searches_codes and not current().rank
        label = f"{type(detector).__name__}, search"
        with tqdm(total=n_rows, desc=label, unit="row", disable=not shown) as bar:
            for rows, x in chunks:
                yield rows, x
                bar.update(len(rows))

    return progress


def _untold(detector):
    """Take off callbacks of scikit-learn, which are told of one fit, and return it."""
    if hasattr(detector, "set_callbacks"):
        detector.set_callbacks()
    return detector


def _scores_of_judge(detector, X, groups, input_shape, seed):
    """Scores of all rows, as if they were new, by a detector that none is kept from."""
    judge = _untold(clone(detector))
    for name, value in {
        "trim": 0.0,
        "input_shape": input_shape,
        "threshold": "auto",
        "contamination": "auto",
        "validation_fraction": 0.0,
    }.items():
        setattr(judge, name, value)
    if not isinstance(judge.random_state, Integral):
        # Of the fit, so that one that is resumed leaves out the same.
        judge.random_state = seed
    learn(judge, X, None, groups.labels, groups.weights, quiet=True)
    if "interrupted" in [problem.name for problem in judge.training_report_.problems]:
        raise KeyboardInterrupt
    return score_rows(judge.model_, X)


def _with_left_out(scores, model, X, groups, left_out):
    """Reference scores, with those of the rows that were left out.

    What is left out of clean rows is their edge, without which the cut would lie too
    low.
    """
    weights = np.ones(len(X)) if groups.weights is None else groups.weights
    share = weights[left_out].sum() / weights.sum()
    some = left_out[:: -(-len(left_out) // len(scores))]
    return with_left_out(scores, score_rows(model, X[some]), weights[some], share)


def _go_on(detector, start):
    """Report on a piece of a stream, which may have few steps of its own."""
    report = detector.training_report_
    report.problems.extend(problem for problem in start.problems if problem)
    if start.n_steps:
        report.notes[:] = [n for n in report.notes if n.name != "hardly_trained"]
    detector.n_iter_ += start.n_steps


def _report(detector, trained, record, division, health, columns):
    """Say how the training went."""
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
    whole = whole_images(settings.input_shape)
    if whole is not None:
        report.notes.append(whole)
    if report.judged and report.n_steps < FEWEST_STEPS:
        report.judged = False
        report.notes.append(hardly_trained(report.n_steps, FEWEST_STEPS))
    # The steps of "auto" end early on purpose.
    if report.still_falling and detector._chosen_steps() is not None:
        report.notes.append(still_falling(report.still_falling))
    # Pixels at an image's rim are often dead.
    if 0 < n_dead < n_columns and settings.kind == "rows":
        report.notes.append(dead_columns(n_dead, n_columns))
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
