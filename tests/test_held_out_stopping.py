"""Trainings that end when rows that were set aside are no better off."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly import _fit as fit_module
from skganomaly._training._step import Run
from skganomaly._training._stopping import Stopper
from skganomaly._training._trainer import Trainer
from skganomaly.callbacks import FitCheckpoint, HeldOutStopping
from skganomaly.searches import EncoderSearch

# A patience that the epochs of 5 steps soon wear out.
STOP = HeldOutStopping(patience=2, tolerance=0.3)


def held_out(detector):
    return [row["held_out"] for row in detector.history_ if "held_out" in row]


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_the_best_weights_are_kept(cls, small, table, monkeypatch):
    """It ends `patience` epochs after the lowest residual, with what had that."""
    trainers = []

    def trainer(*args):
        trainers.append(Trainer(*args))
        return trainers[-1]

    monkeypatch.setattr(fit_module, "Trainer", trainer)
    params = {"max_steps": 400, "validation_fraction": 0.2}
    if cls is AnoGANDetector:
        params |= {"max_steps": 10, "search": EncoderSearch(encoder_steps=400)}
    detector = small(cls, callbacks=[STOP], **params).fit(table)
    residuals = held_out(detector)
    assert 3 <= len(residuals) < 20
    assert detector.n_iter_ < 400
    n_groups = round(0.8 * len(table))
    assert len(trainers[0].aside) == round(0.1 * n_groups)
    assert len(trainers[0].X) == n_groups - round(0.1 * n_groups)
    # In the units of the rows, averaged over members and not their reconstructions.
    model, total = detector.model_, 0.0
    for rows, x in model.chunks(trainers[0].aside):
        part = model.parts(x, ["reconstruction"])["reconstruction"][:, : len(rows)]
        total += float(part.double().square().sum())
    mean = total / (trainers[0].aside.size * model.n_members)
    lowest = np.inf
    for place, residual in enumerate(residuals):
        if residual < 0.7 * lowest:
            lowest, best = residual, place
    assert best == len(residuals) - 3
    assert mean == pytest.approx(residuals[best], rel=1e-5)


def test_set_aside_by_groups(small, table, monkeypatch):
    """Rows that belong together are not divided, and no more than 1000 are taken."""
    asides = []

    def trainer(*args):
        asides.append(args[-2])
        return Trainer(*args)

    monkeypatch.setattr(fit_module, "Trainer", trainer)
    groups = np.arange(300) // 10
    small(callbacks=[HeldOutStopping(fraction=0.2)]).fit(table, groups=groups)
    aside = asides[0]
    numbers = [int(np.flatnonzero((table == row).all(axis=1))[0]) for row in aside]
    assert len(aside) == 60
    assert len(set(groups[numbers])) == 6
    monkeypatch.setattr("skganomaly._calibration._MOST_ASIDE", 5)
    small(callbacks=[HeldOutStopping(fraction=0.2)]).fit(table)
    assert len(asides[1]) == 5


def test_looking_changes_nothing_else(small, table, monkeypatch):
    """A training that is not ended has the weights with the lowest residual."""
    # Where each epoch is better than those before, these are the last ones.
    params = {"max_steps": 20, "learning_rate": 1e-5, "validation_fraction": 0.2}
    stop = HeldOutStopping(patience=50, tolerance=0.0)
    looked = small(AutoencoderDetector, callbacks=[stop], **params).fit(table)
    residuals = held_out(looked)
    assert (np.diff(residuals) < 0).all()
    monkeypatch.setattr(Stopper, "on_epoch_end", lambda *args, **kwargs: None)
    blind = small(AutoencoderDetector, callbacks=[stop], **params).fit(table)
    assert not held_out(blind)
    assert_array_equal(looked.anomaly_score(table), blind.anomaly_score(table))


def test_resumed(small, table, tmp_path, monkeypatch):
    """What it has seen, and the best weights, are in a checkpoint."""
    path = tmp_path / "run.ckpt"
    params = {"max_steps": 400, "validation_fraction": 0.2}
    whole = small(callbacks=[STOP], **params).fit(table)
    step, n_last = Run.step, whole.n_iter_ - 2

    def killed(run, *args):
        if run.n_steps == n_last:
            raise SystemExit
        return step(run, *args)

    monkeypatch.setattr(Run, "step", killed)
    callbacks = [STOP, FitCheckpoint(path, every_n_steps=5)]
    with pytest.raises(SystemExit):
        small(callbacks=callbacks, **params).fit(table)
    monkeypatch.setattr(Run, "step", step)
    resumed = small(callbacks=callbacks, **params).fit(table)
    assert_array_equal(resumed.anomaly_score(table), whole.anomaly_score(table))
    assert held_out(resumed) == held_out(whole)
    assert resumed.n_iter_ == whole.n_iter_


@pytest.mark.parametrize(
    "callbacks, words",
    [
        ([HeldOutStopping(fraction=1.0)], "fraction=1.0 must be between"),
        ([HeldOutStopping(patience=0)], "patience=0 must be a positive int"),
        ([HeldOutStopping(tolerance=-1)], "tolerance=-1 must be in"),
        ([HeldOutStopping(fraction=0.999)], "fraction=0.999 of 300 rows leaves 0"),
        ([STOP, ("again", STOP)], "callbacks has 2 HeldOutStoppings"),
    ],
)
def test_options_are_checked(callbacks, words, small, table):
    with pytest.raises(ValueError, match=words):
        small(callbacks=callbacks).fit(table)


def test_without_residuals(small, table):
    """A search for codes is no single pass of the networks."""
    with pytest.raises(ValueError, match="this AnoGAN has none: it searches for codes"):
        small(AnoGANDetector, search="nearest", callbacks=[STOP]).fit(table)
