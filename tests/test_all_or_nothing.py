"""What a fit leaves if it fails, and what it takes away."""

import inspect
import pickle
from numbers import Real

import pytest
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    clone,
)

from skganomaly._all_or_nothing import all_or_nothing
from skganomaly._compat import CallbackSupportMixin, Interval, _fit_context
from skganomaly._interruption import _code_of


class Learner(
    CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Learns under names of all kinds, and fails at the end if it is told to."""

    _parameter_constraints = {"lambda_": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, *, lambda_=0.5, error=None):
        self.lambda_ = lambda_
        self.error = error

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    def fit(self, X, y=None, *, weight=1):
        """Learn."""
        assert not self.learned()
        if hasattr(self, "_init_callback_context"):
            self._init_callback_context()
        self.shown_, self._hidden, self._both_, self.__mangled = X, X, X, X
        self.n_features_in_ = 1
        if self.error is not None:
            raise self.error
        return self

    def transform(self, X):
        """Nothing."""
        return X

    def learned(self):
        """Names that are neither parameters nor kept by scikit-learn."""
        names = set(vars(self)) - {"lambda_", "error", "_metadata_request", "note"}
        kept = "_skl_callbacks", "_callback_fit_ctx", "_sklearn_output_config"
        return {name for name in names if not name.startswith(kept)}


LEARNED = {"shown_", "_hidden", "_both_", "_Learner__mangled", "n_features_in_"}


def test_a_fit_leaves_all_that_it_learned():
    """And a second one begins without any of it."""
    learner = Learner().fit([[1]])
    assert learner.learned() == LEARNED
    learner.left_by_an_older_version_ = 1
    assert learner.fit([[2]]).learned() == LEARNED
    assert pickle.loads(pickle.dumps(learner)).shown_ == [[2]]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt, SystemExit])
def test_a_fit_that_fails_leaves_nothing(error):
    """Of the fit before it neither, and the error is the one that was raised."""
    learner = Learner().fit([[1]]).set_params(error=error)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        learner.fit([[2]])
    assert not learner.learned()
    assert learner.set_params(error=None).fit([[3]]).shown_ == [[3]]


def test_a_fit_that_is_gone_on_with_is_not_lost():
    """With warm_start; what it kept for that is at hand, or None."""

    class Warm(Learner):
        def __init__(self, *, lambda_=0.5, error=None, warm_start=True):
            super().__init__(lambda_=lambda_, error=error)
            self.warm_start = warm_start

        def learned(self):
            seen.append(getattr(self, "_trainings", "nothing"))
            return super().learned() - {"_trainings", "warm_start"}

    seen = []
    learner = Warm().fit([[1]])
    learner.fit([[2]])._trainings = "kept"
    learner.set_params(error=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        learner.fit([[3]])
    assert seen == ["nothing", None, "kept"]
    assert learner.learned() == LEARNED
    assert learner.shown_ == [[2]]
    with pytest.raises(ValueError, match="no"):
        learner.set_params(warm_start=False).fit([[3]])
    assert not learner.learned()


def test_what_was_not_learned_stays():
    """Parameters, whatever their names; what scikit-learn keeps; a user's notes."""
    with config_context(enable_metadata_routing=True):
        learner = Learner(lambda_=0.25).set_fit_request(weight=True)
    learner.set_output(transform="default")
    learner.note = "mine"
    learner.set_params(error=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        learner.fit([[1]])
    assert learner.lambda_ == 0.25
    assert learner.note == "mine"
    requests = learner.get_metadata_routing().fit.requests
    assert requests == {"weight": True}
    assert learner._sklearn_output_config == {"transform": "default"}
    assert clone(learner).get_metadata_routing().fit.requests == requests


def test_a_fit_that_was_never_begun_takes_nothing_away():
    """As parameters are validated first."""
    learner = Learner().fit([[1]]).set_params(lambda_=3.0)
    with pytest.raises(ValueError, match="lambda_"):
        learner.fit([[2]])
    assert learner.shown_ == [[1]]


def test_callbacks_hear_of_the_end_of_a_fit_that_fails():
    """What scikit-learn needs for that is kept, until it needs it no longer."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

    class Watch:
        torn_down = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            self.torn_down += 1

        def on_fit_task_begin(self, estimator, context, **data):
            pass

        def on_fit_task_end(self, estimator, context, **data):
            pass

    watch = Watch()
    learner = Learner(error=ValueError("no")).set_callbacks(watch)
    with pytest.raises(ValueError, match="no"):
        learner.fit([[1]])
    assert watch.torn_down == 1
    assert set(vars(learner)) == {"lambda_", "error", "_skl_callbacks"}


def test_a_method_looks_as_it_did():
    """To scikit-learn, which reads signatures, and to whoever walks frames."""
    assert list(inspect.signature(Learner.fit).parameters) == [
        "self",
        "X",
        "y",
        "weight",
    ]
    assert Learner.fit.__doc__ == "Learn."
    assert "weight" in inspect.signature(Learner().set_fit_request).parameters

    inside = []

    class Watched(Learner):
        @_fit_context(prefer_skip_nested_validation=True)
        @all_or_nothing
        def fit(self, X, y=None):
            """Note the code of the frames from here to the test."""
            frame = inspect.currentframe()
            while frame.f_code is not here:
                inside.append(frame.f_code)
                frame = frame.f_back
            return self

    here = inspect.currentframe().f_code
    learner = Watched().fit([[1]])
    assert len(inside) == 3
    assert set(inside) == _code_of(learner, "fit")
