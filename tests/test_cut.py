"""Tests of what a value of ``threshold`` stands for, and of rules of the user."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

from skganomaly._cut import fit_threshold, resolve_threshold
from skganomaly.thresholds import (
    CallableThreshold,
    ConformalThreshold,
    FixedThreshold,
    MaxThreshold,
    QuantileThreshold,
    TailThreshold,
)


class OwnRule:
    """A user's rule that is no BaseEstimator."""

    def __init__(self, cut):
        self.cut = cut
        self.seen = []

    def fit(self, scores):
        """Remember how many scores came, damage them, return nothing."""
        self.seen.append(len(scores))
        scores[:] = 0.0
        self.threshold_ = self.cut


class OwnEstimator(BaseEstimator):
    """A user's rule that is a BaseEstimator, and callable besides."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def __call__(self, scores):
        """Fail, as `fit` has precedence."""
        raise AssertionError

    def fit(self, scores):
        """Cut at a multiple of the mean."""
        self.threshold_ = self.factor * scores.mean()
        return self


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("auto", QuantileThreshold(rate=0.02)),
        ("max", MaxThreshold()),
        ("tail", TailThreshold(rate=0.02)),
        ("conformal", ConformalThreshold(rate=0.02)),
        (1, FixedThreshold(value=1.0)),
        (-2.5, FixedThreshold(value=-2.5)),
        (np.float32(0.5), FixedThreshold(value=0.5)),
        (np.int64(3), FixedThreshold(value=3.0)),
        (np.median, CallableThreshold(function=np.median)),
        (QuantileThreshold(rate=0.3), QuantileThreshold(rate=0.3)),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_resolve_gives_an_unfitted_rule(threshold, expected):
    """Each kind of value becomes its rule; `rate` reaches the named ones only."""
    rule = resolve_threshold(threshold, rate=0.02)
    assert type(rule) is type(expected)
    assert rule.get_params() == expected.get_params()
    assert not hasattr(rule, "threshold_")


@pytest.mark.parametrize(
    ("threshold", "match"),
    [
        ("median", r"'auto', 'max', 'tail'.*got 'median'"),
        (None, "got None"),
        ([1.0], r"got \[1\.0\]"),
        (QuantileThreshold, r"an instance.*got <class"),
        (True, "threshold must be a finite real number.*got True of type bool"),
        (np.False_, "threshold must be a finite real number.*type bool"),
        (math.nan, "threshold must be a finite real number.*got nan"),
        (-math.inf, "threshold must be a finite real number.*got -inf"),
    ],
)
def test_resolve_refuses_everything_else(threshold, match):
    """The message says what was received and what is allowed."""
    with pytest.raises(ValueError, match=match):
        resolve_threshold(threshold, rate=0.05)


@pytest.mark.parametrize(
    "own", [QuantileThreshold(rate=0.2), OwnEstimator(), OwnRule(4.0)]
)
def test_rule_of_the_user_is_never_changed(own):
    """An estimator is cloned, any other object deep-copied; scores stay too."""
    before = {k: list(v) if isinstance(v, list) else v for k, v in vars(own).items()}
    scores = np.random.default_rng(21).exponential(size=50)
    kept = scores.copy()
    fitted = fit_threshold(own, scores, rate=0.05)
    assert type(fitted) is type(own)
    assert fitted is not own
    assert math.isfinite(fitted.threshold_)
    assert vars(own) == before
    assert_array_equal(scores, kept)


def test_fitted_rule_given_again_is_refitted():
    """A rule fitted elsewhere brings its parameters, not its cut."""
    own = QuantileThreshold(rate=0.2).fit(np.arange(9.0))
    assert not hasattr(resolve_threshold(own, rate=0.05), "threshold_")
    assert fit_threshold(own, np.full(9, -1.0), rate=0.05).threshold_ == -1.0
    assert own.threshold_ == 7.0


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("auto", 94.0),
        ("max", 98.0),
        ("conformal", 94.0),
        (12, 12.0),
        (np.min, 0.0),
        (lambda scores: int(scores[3]), 3.0),
        (OwnRule(-1), -1),
        (OwnEstimator(factor=1.0), 49.0),
    ],
    ids=[
        "auto",
        "max",
        "conformal",
        "number",
        "numpy",
        "lambda",
        "object",
        "estimator",
    ],
)
def test_fit_threshold_cuts(threshold, expected):
    """The fitted rule has the cut that its definition gives on 0, 1, ..., 98."""
    rule = fit_threshold(threshold, np.arange(99.0), rate=0.05)
    assert_allclose(rule.threshold_, expected)


def test_function_gets_its_own_copy():
    """A function that sorts in place does not reorder the detector's scores."""
    scores = np.array([3.0, 1.0, 2.0])

    def in_place(values):
        values.sort()
        return values[-1]

    assert CallableThreshold(function=in_place).fit(scores).threshold_ == 3.0
    assert_array_equal(scores, [3.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "got None of type NoneType"),
        (math.nan, "got nan"),
        (math.inf, "got inf"),
        (True, "got True of type bool"),
        ("2", "got '2' of type str"),
        (np.ones(2), r"got array\(\[1\., 1\.\]\) of type ndarray"),
    ],
)
def test_cut_that_is_no_number_is_named(value, shown):
    """Whatever a function or a rule comes up with is checked and shown."""

    def own_function(scores):
        return value

    with pytest.raises(
        ValueError, match=f"returned by threshold=own_function.*{shown}"
    ):
        fit_threshold(own_function, [1.0, 2.0], rate=0.05)
    with pytest.raises(ValueError, match=f"threshold_ of OwnRule after fit.*{shown}"):
        fit_threshold(OwnRule(value), [1.0, 2.0], rate=0.05)


def test_fit_threshold_checks_scores_before_a_rule_of_the_user():
    """NaN is refused even where the user's rule would take it."""
    with pytest.raises(ValueError, match="scores must be finite"):
        fit_threshold(OwnRule(1.0), [0.0, np.nan], rate=0.05)
