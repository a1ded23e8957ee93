"""A detector is fitted or unfitted: nothing of a failed fit stays, private or not."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)


def noting(cls):
    """A subclass whose training leaves notes, then fails if it is told to."""

    class Noting(cls):
        fails = None

        def _train(self, trainer):
            trained = super()._train(trainer)
            self._private = self.public_ = len(trainer.X)
            if self.fails is not None:
                raise self.fails
            return trained

    return Noting


def names(detector):
    return set(vars(detector))


@every_detector
@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_failed_refit_leaves_no_state(small, cls, error, table):
    """Neither of this fit nor of the one before; what a user noted is the user's."""
    detector = small(noting(cls), max_steps=3).fit(table)
    assert {"_private", "public_", "model_", "offset_"} <= names(detector)
    detector.note = "mine"
    detector.fails = error
    with pytest.raises(type(error)):
        detector.fit(table)
    kept = {*detector.get_params(deep=False), "note", "fails"}
    assert names(detector) == kept
    with pytest.raises(NotFittedError):
        detector.predict(table)
    detector.fails = None
    again = detector.fit(table).score_samples(table)
    first = clone(detector).fit(table).score_samples(table)
    np.testing.assert_array_equal(again, first)


class _Fail(Callback):
    def on_train_end(self, net, **kwargs):
        """Fail once the networks are trained."""
        raise RuntimeError("on purpose")


FAILURES = {
    "rows": ({}, lambda X: X * np.nan, ValueError),
    "rule": ({"threshold": lambda scores: 1 / 0}, lambda X: X, ZeroDivisionError),
    "callback": ({"callbacks": [_Fail()]}, lambda X: X, RuntimeError),
    "score": ({"score_type": "nonsense"}, lambda X: X, ValueError),
    "divergence": (
        {"learning_rate": 1e20, "max_steps": 100},
        lambda X: X,
        FloatingPointError,
    ),
}


@every_detector
@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_fails_the_detector_is_unfitted(small, cls, failure, table):
    """Before, during and after the training."""
    params, change, error = FAILURES[failure]
    detector = small(cls, max_steps=3).fit(table).set_params(**params)
    with pytest.raises(error):
        detector.fit(change(table))
    assert names(detector) == set(detector.get_params(deep=False))


@every_detector
def test_a_fit_that_never_began_takes_nothing_away(small, cls, table):
    """A parameter that is refused by its type is noticed before anything is lost."""
    detector = small(cls, max_steps=3).fit(table)
    before = detector.score_samples(table)
    with pytest.raises(ValueError, match="batch_size"):
        detector.set_params(batch_size=-1).fit(table)
    np.testing.assert_array_equal(detector.score_samples(table), before)


@every_detector
def test_a_fit_leaves_parameters_alone(small, cls, table, images):
    """It reads them; what "auto" became is in ``settings_``, in objects too."""
    for X, conv in ((table, False), (images, True)):
        detector = small(cls, conv=conv, max_steps=3)
        before, shown = detector.get_params(), repr(detector)
        detector.fit(X)
        after = detector.get_params()
        assert before.keys() == after.keys()
        assert all(after[name] is value for name, value in before.items())
        assert repr(detector) == shown
