"""Trainings that diverge, are interrupted or end early: fitted as a whole or not."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, GradientNormClipping

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly import _fit as fit_module
from skganomaly._training import _net
from skganomaly._training._step import Run


def _assert_unfitted(detector):
    """Assert that nothing of any fit is left."""
    assert set(vars(detector)) == set(detector.get_params(deep=False))
    with pytest.raises(NotFittedError):
        check_is_fitted(detector)


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_divergence(small, cls, table):
    """A diverged training raises with the epoch and a remedy, and is forgotten."""
    detector = small(cls, max_steps=100).fit(table)
    detector.set_params(learning_rate=1e6, scaler=None)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"diverged.*Lower learning_rate"),
    ):
        detector.set_params(learning_rate=1e20).fit(table)
    _assert_unfitted(detector)


def test_divergence_names_the_epoch(small, table):
    """The message counts epochs from one and steps, and names the losses."""
    detector = small(max_steps=200, learning_rate=1e20)
    pattern = (
        r"Training diverged in epoch \d+, after \d+ of 200 steps \(.*=(nan|inf)"
        r".*learning_rate, which is 1e\+20, for example to 1e\+19"
    )
    with pytest.raises(FloatingPointError, match=pattern):
        detector.fit(table)


def test_divergence_in_the_last_step(small, table):
    """Losses are finite until one step too far: the networks are checked too."""
    detector = small(max_steps=1, learning_rate=1e38, learning_rate_schedule="constant")
    with pytest.raises(FloatingPointError, match=r"diverged.*learning_rate"):
        detector.fit(table)
    _assert_unfitted(detector)


def test_wild_learning_rate_is_finite_or_an_error(small, table):
    """Any learning rate gives finite scores and a warning, or the error; never NaN."""
    for rate in (10, 1e3, 1e6, 1e10):
        detector = small(max_steps=30, learning_rate=rate)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                detector.fit(table)
        except FloatingPointError:
            _assert_unfitted(detector)
        else:
            assert "diverged" in str(caught[0].message)
            assert np.isfinite(detector.score_samples(table)).all()


def test_gradient_clipping_is_called(small, table):
    """The remedy that the message names works: skorch's clipping sees gradients."""
    free = small().fit(table)
    clipped = small(callbacks=[GradientNormClipping(1e-4)], beta_1=0.0).fit(table)
    assert not np.array_equal(free.score_samples(table), clipped.score_samples(table))


class _InterruptAfter:
    """Raise KeyboardInterrupt in place of an optimiser step, as a Ctrl-C does."""

    def __init__(self, monkeypatch, n_steps):
        self.step = Run.step
        self.n_steps = n_steps
        self.calls = 0
        monkeypatch.setattr(Run, "step", lambda *a: self(*a))

    def __call__(self, run, rows, phase):
        if self.calls == self.n_steps:
            raise KeyboardInterrupt
        self.calls += 1
        return self.step(run, rows, phase)


@pytest.mark.parametrize("n_steps", [0, 1, 30, 60])
def test_interrupted_training(small, n_steps, table, monkeypatch):
    """Ctrl-C is passed on from wherever the training is; nothing is fitted."""
    detector = small().fit(table)
    detector.set_params(max_steps=100)
    _InterruptAfter(monkeypatch, n_steps)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(table)
    _assert_unfitted(detector)


@pytest.mark.parametrize(
    "owner, where",
    [
        (fit_module, "validate_rows"),
        (fit_module, "fit_scaling"),
        (fit_module.Trainer, "build"),
        (fit_module, "fit_score"),
        (fit_module, "_report"),
        (GANomalyDetector, "_fit_cut"),
    ],
)
def test_interruption_outside_the_training(small, owner, where, table, monkeypatch):
    """Ctrl-C before training, while scoring or at the threshold: nothing is fitted."""
    detector = small().fit(table)
    original = getattr(owner, where)

    def interrupted(*args, **kwargs):
        original(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(table)
    monkeypatch.undo()
    _assert_unfitted(detector)


class _InterruptInCallback(Callback):
    """A callback during which Ctrl-C is pressed, or which stops as skorch's do."""

    def __init__(self, hook):
        self.hook = hook

    def on_train_begin(self, net, **kwargs):
        if self.hook == "on_train_begin":
            raise KeyboardInterrupt

    def on_batch_end(self, net, **kwargs):
        if self.hook == "on_batch_end":
            raise KeyboardInterrupt

    def on_epoch_end(self, net, **kwargs):
        if self.hook == "on_epoch_end":
            raise KeyboardInterrupt


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end"])
def test_early_stopping_callback(small, hook, table):
    """Skorch's way to stop early, a KeyboardInterrupt in a callback, is no fault."""
    detector = small(max_steps=100, callbacks=[_InterruptInCallback(hook)])
    detector.fit(table)
    assert detector.n_iter_ == 5
    assert np.isfinite(detector.score_samples(table)).all()


def test_callback_that_stops_before_the_first_step(small, table):
    """Stopped before it began, training leaves nothing fitted."""
    detector = small(callbacks=[_InterruptInCallback("on_train_begin")])
    with pytest.raises(KeyboardInterrupt):
        detector.fit(table)
    _assert_unfitted(detector)


def test_callbacks_are_copied(small, table):
    """The callbacks that are used are copies in net_.callbacks_."""
    callback = _InterruptInCallback("never")
    detector = small(callbacks=[callback]).fit(table)
    used = [c for _, c in detector.net_.callbacks_ if type(c) is _InterruptInCallback]
    assert len(used) == 1 and used[0] is not callback


def test_silent_by_default(small, table, capfd):
    """Nothing is printed by default."""
    small().fit(table).predict(table)
    assert capfd.readouterr() == ("", "")


def test_progress_bar(small, table, capfd):
    """verbose=1 shows one bar that comes to its end, on standard error."""
    small(max_steps=60, verbose=1).fit(table).predict(table)
    output = capfd.readouterr()
    assert output.out == ""
    assert "GANomalyDetector" in output.err
    assert "60/60" in output.err


@pytest.mark.parametrize(
    ("cls", "bars"),
    [
        (GANomalyDetector, ["GANomalyDetector"]),
        (AutoencoderDetector, ["AutoencoderDetector"]),
        (AnoGANDetector, ["AnoGANDetector", "AnoGANDetector, encoder"]),
    ],
)
def test_every_bar_tells_the_time_left(small, table, capfd, monkeypatch, cls, bars):
    """From the first steps on, for each phase of the training."""
    every_step = partial(_net.tqdm, mininterval=0, miniters=1)
    monkeypatch.setattr(_net, "tqdm", every_step)
    small(cls, max_steps=10, verbose=1).fit(table)
    shown = re.split(r"[\r\n]+", capfd.readouterr().err)
    for bar in bars:
        early = [line for line in shown if re.match(rf"{bar}:.* [234]/10 ", line)]
        assert early, bar
        assert all(re.search(r"<\d\d:\d\d, ", line) for line in early)
    assert {line.split(":")[0] for line in shown if line} == set(bars)
