"""The promises of a detector's threshold, and how it is set."""

import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, _fit
from skganomaly.adversaries import Wasserstein
from skganomaly.searches import NearestSearch
from skganomaly.thresholds import (
    CallableThreshold,
    ConformalThreshold,
    FixedThreshold,
    MaxThreshold,
    QuantileThreshold,
    TailThreshold,
    p_values,
)


def _gaussian(seed, n_rows):
    """Normal rows of one distribution, whatever the seed."""
    mixing = np.random.default_rng(99).normal(size=(5, 5))
    return np.random.default_rng(seed).normal(size=(n_rows, 5)) @ mixing


def _flagged_share(detector, seed):
    """Share of 2000 unseen normal rows that are flagged."""
    return (detector.predict(_gaussian(1000 + seed, 2000)) == -1).mean()


@pytest.mark.parametrize("n_rows", [60, 400])
@pytest.mark.parametrize("score_type", ["local", "joint"])
def test_default_promise(small, score_type, n_rows):
    """The default flags about 5 % of unseen normal rows, with few rows and many.

    With n exchangeable reference scores the share flagged is Beta(5 %), of standard
    deviation sqrt(.05 * .95 / (n + 2)). Over five seeds the mean has to stay within
    three of these plus two percentage points for what cross-fitting gets wrong.
    """
    shares = [
        _flagged_share(
            small(score_type=score_type, random_state=seed).fit(
                _gaussian(seed, n_rows)
            ),
            seed,
        )
        for seed in range(5)
    ]
    spread = math.sqrt(0.05 * 0.95 * (1 / (n_rows + 2) + 1 / 2000) / 5)
    assert abs(np.mean(shares) - 0.05) < 3 * spread + 0.02


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_promise_at_other_rates(small, rate):
    """The promise holds at the rate asked for."""
    shares = [
        _flagged_share(
            small(false_alarm_rate=rate, random_state=seed).fit(_gaussian(seed, 400)),
            seed,
        )
        for seed in range(5)
    ]
    spread = math.sqrt(rate * (1 - rate) * (1 / 402 + 1 / 2000) / 5)
    assert abs(np.mean(shares) - rate) < 3 * spread + 0.2 * rate


def test_contamination_does_not_flood(small):
    """A numeric contamination flags about that share of new rows too."""
    shares = [
        _flagged_share(
            small(contamination=0.05, random_state=seed).fit(_gaussian(seed, 400)),
            seed,
        )
        for seed in range(5)
    ]
    assert 0.02 < np.mean(shares) < 0.09


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_conformal(small, rate):
    """Held-out rows guarantee the rate: the mean over draws does not exceed it.

    Each draw flags a Beta share of mean at most the rate; the bound is three standard
    deviations of the mean of eight draws.
    """
    shares = []
    for seed in range(8):
        detector = small(
            AutoencoderDetector,
            threshold="conformal",
            false_alarm_rate=rate,
            validation_fraction=0.5,
            random_state=seed,
            max_steps=3,
        ).fit(_gaussian(seed, 400))
        assert isinstance(detector.threshold_rule_, ConformalThreshold)
        assert detector.threshold_rule_.n_references_ == 200
        above = (detector.reference_scores_ > detector.threshold_).sum()
        assert above == math.floor(201 * rate) - 1
        shares.append(_flagged_share(detector, seed))
    spread = math.sqrt(rate * (1 - rate) * (1 / 202 + 1 / 2000) / 8)
    assert rate - 0.005 - 3 * spread < np.mean(shares) < rate + 3 * spread


def test_held_out_rows_are_not_trained_on(small, table):
    """Rows held out are no references, and different seeds hold out others."""
    fits = [small(validation_fraction=0.2, random_state=seed) for seed in (0, 0, 1)]
    held_out = [
        np.flatnonzero(np.isin(d.fit(table).anomaly_score(table), d.reference_scores_))
        for d in fits
    ]
    assert len(held_out[0]) == 60
    assert_array_equal(held_out[0], held_out[1])
    assert not np.array_equal(held_out[0], held_out[2])


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.25, 0.5])
def test_numeric_contamination_is_exact(small, cls, contamination, table):
    """Exactly that share of the training rows is flagged."""
    labels = small(cls, contamination=contamination).fit_predict(table)
    assert (labels == -1).sum() == round(300 * contamination)


def test_contamination_that_is_no_whole_number_of_rows(small, table):
    """Where it is no whole number of rows, it is one of the two beside it."""
    labels = small(contamination=0.1).fit_predict(table[:95])
    assert (labels == -1).sum() in (9, 10)


@pytest.mark.parametrize(
    ("threshold", "rule"),
    [
        ("auto", QuantileThreshold),
        ("max", MaxThreshold),
        ("tail", TailThreshold),
        (0.25, FixedThreshold),
        (3, FixedThreshold),
        (np.median, CallableThreshold),
        (QuantileThreshold(rate=0.3), QuantileThreshold),
    ],
)
def test_rules(small, threshold, rule, table):
    """Each value of ``threshold`` is the rule that it names, on the references."""
    detector = small(threshold=threshold).fit(table)
    assert type(detector.threshold_rule_) is rule
    scores = detector.reference_scores_
    expected = {
        "auto": lambda: np.quantile(scores, 0.95, method="weibull"),
        "max": lambda: scores.max(),
        "tail": lambda: TailThreshold(rate=0.05).fit(scores).threshold_,
        0.25: lambda: 0.25,
        3: lambda: 3.0,
        np.median: lambda: np.median(scores),
    }.get(
        threshold if not isinstance(threshold, BaseEstimator) else None,
        lambda: np.quantile(scores, 0.7, method="weibull"),
    )()
    assert_allclose(detector.threshold_, expected, rtol=1e-12)
    assert isinstance(detector.threshold_, float)


def test_tail_resolves_small_rates(small, table):
    """The tail goes beyond the highest reference score for a tiny rate."""
    detector = small(threshold="tail", false_alarm_rate=1e-6).fit(table)
    assert detector.threshold_ > detector.reference_scores_.max()


class HalfOfTheMaximum(BaseEstimator):
    """A rule of a user's own, with a parameter."""

    def __init__(self, share=0.5):
        self.share = share

    def fit(self, scores):
        """Take a share of the highest score, and spoil the array."""
        self.threshold_ = self.share * scores.max()
        scores[:] = 0
        return self


def test_rule_of_ones_own(small, table):
    """An object with fit and threshold_ is used, left unfitted, and tunable."""
    rule = HalfOfTheMaximum()
    detector = small(threshold=rule).fit(table)
    assert_allclose(detector.threshold_, detector.reference_scores_.max() / 2)
    assert not hasattr(rule, "threshold_")
    detector.set_params(threshold__share=0.25).fit(table)
    assert_allclose(detector.threshold_, detector.reference_scores_.max() / 4)


@pytest.mark.parametrize(
    "threshold",
    ["max", "tail", "conformal", 1.5, np.median, QuantileThreshold(rate=0.3)],
)
def test_two_promises_contradict(small, threshold, table, monkeypatch):
    """A contamination beside a rule that ignores it is refused before the training."""
    monkeypatch.setattr(GANomalyDetector, "_train", None)
    detector = small(contamination=0.2, threshold=threshold, validation_fraction=0.2)
    with pytest.raises(ValueError, match=r"contamination=0\.2 .* threshold=.*'auto'"):
        detector.fit(table)


def test_set_threshold_brings_the_cut_of_contamination_back(small, table):
    """Whatever was set since, in a copy that was stored, too."""
    detector = small(contamination=0.2).fit(table)
    first = detector.threshold_
    assert detector.set_threshold("max").threshold_ > first
    detector.set_params(contamination=0.4, false_alarm_rate=0.4)
    copy = pickle.loads(pickle.dumps(detector)).set_threshold()
    assert detector.set_threshold().threshold_ == copy.threshold_ == first
    assert (copy.predict(table) == -1).sum() == 60
    # A rate is about new rows.
    detector.set_threshold(false_alarm_rate=0.1)
    expected = np.quantile(detector.reference_scores_, 0.9, method="weibull")
    assert_allclose(detector.threshold_, expected)


def test_set_threshold_keeps_the_rate_of_the_fit(small, table):
    """A parameter that was set since belongs to the next fit."""
    detector = small(false_alarm_rate=0.2).fit(table)
    first = detector.threshold_
    detector.set_params(false_alarm_rate=0.01, validation_fraction=0.5)
    assert detector.set_threshold("max").set_threshold().threshold_ == first
    with pytest.raises(ValueError, match="none are held out"):
        detector.set_threshold("conformal")


# Another valid value of every parameter.
_OTHERS = {
    "trim": 0.2,
    "warm_start": True,
    "adversarial_loss": "bce",
    "adversarial_weight": 7.0,
    "adversary": "logistic",
    "architecture": "published",
    "average_decay": 0.5,
    "batch_size": 3,
    "beta_1": 0.1,
    "callbacks": [],
    "contamination": 0.3,
    "device": "cpu",
    "false_alarm_rate": 0.4,
    "feature_layer": 7,
    "input_noise": 2.0,
    "input_shape": (2, 2),
    "latent_dim": 9,
    "latent_weight": 7.0,
    "learning_rate": 0.5,
    "learning_rate_schedule": "constant",
    "max_references": 2,
    "max_restarts": 0,
    "max_steps": 1,
    "n_members": 1,
    "net_params": {"optimizer__weight_decay": 0.1},
    "random_state": 7,
    "reconstruction_loss": "l1",
    "reconstruction_weight": 7.0,
    "scaler": None,
    "score_type": "joint",
    "search": "gradient",
    "threshold": "max",
    "validation_fraction": 0.5,
    "verbose": 0,
    "adversary__n_critic": 2,
    "adversary__penalty": 3.0,
    "architecture__hidden_layer_sizes": (3,),
    "search__feature_weight": 0.9,
    "search__learning_rate": 3.0,
    "search__n_candidates": 3,
    "search__n_starts": 2,
    "search__n_steps": 9,
    "search__prior_weight": 5.0,
    "search__residual_loss": "l2",
}


@pytest.mark.parametrize(
    ("cls", "fitted"),
    [
        (AutoencoderDetector, {}),
        (GANomalyDetector, {"score_type": "features"}),
        (AnoGANDetector, {}),
        (
            AnoGANDetector,
            {
                "search": NearestSearch(n_candidates=50, n_steps=2),
                "adversary": Wasserstein(),
                "score_type": "published",
            },
        ),
    ],
)
def test_parameters_set_after_the_fit_change_no_score(small, cls, fitted, table):
    """Neither score nor threshold, at once or after storing, for any parameter."""
    stored = pickle.dumps(small(cls, n_members=2, **fitted).fit(table))
    rows = table[:5] + 0.1
    original = pickle.loads(stored)
    scores, cut = original.anomaly_score(rows), original.threshold_
    found, samples = original.reconstruct(rows), original.sample(3, random_state=0)
    own = set(original.get_params(deep=False))
    # And those of objects that are parameters.
    inner = {name for name in _OTHERS if "__" in name}
    for name in sorted(own | inner & set(original.get_params())):
        detector = pickle.loads(stored).set_params(**{name: _OTHERS[name]})
        for changed in (detector, pickle.loads(pickle.dumps(detector))):
            assert_array_equal(changed.anomaly_score(rows), scores, err_msg=name)
            assert_array_equal(changed.reconstruct(rows), found, err_msg=name)
            drawn = changed.sample(3, random_state=0)
            assert_array_equal(drawn, samples, err_msg=name)
            assert changed.threshold_ == cut, name
            assert changed.set_threshold().threshold_ == cut, name


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
def test_signs(small, cls, score_type, table, new_rows):
    """The equations between scores, offset, threshold and labels hold exactly."""
    detector = small(cls, score_type=score_type).fit(table)
    scores = detector.score_samples(new_rows)
    assert scores.dtype == np.float64 and scores.shape == (200,)
    assert_array_equal(detector.anomaly_score(new_rows), -scores)
    assert isinstance(detector.offset_, float)
    assert detector.threshold_ == -detector.offset_
    decision = detector.decision_function(new_rows)
    assert_array_equal(decision, scores - detector.offset_)
    labels = detector.predict(new_rows)
    assert labels.dtype.kind == "i"
    assert_array_equal(labels, np.where(decision < 0, -1, 1))
    flagged = detector.anomaly_score(new_rows) > detector.threshold_
    assert_array_equal(labels == -1, flagged)
    assert 0 < flagged.sum() < 200
    # The rows that are further out have the higher anomaly scores.
    assert np.median(scores[100:]) < np.median(scores[:100])


def test_set_threshold(small, table, monkeypatch):
    """Another cut needs no training, and leaves networks and parameters alone."""
    detector = small(validation_fraction=0.2).fit(table)
    params = detector.get_params()
    scores = detector.score_samples(table)
    references = detector.reference_scores_.copy()
    net, first = detector.net_, detector.threshold_
    monkeypatch.setattr(GANomalyDetector, "_train", None)
    monkeypatch.setattr(_fit, "fit_score", None)
    for threshold, rate, expected in [
        ("max", None, references.max()),
        (1.5, None, 1.5),
        (np.median, None, np.median(references)),
        ("conformal", 0.1, references[-6]),
        ("auto", 0.2, np.quantile(references, 0.8, method="weibull")),
        ("auto", None, first),
    ]:
        assert detector.set_threshold(threshold, false_alarm_rate=rate) is detector
        assert_allclose(detector.threshold_, expected, rtol=1e-12)
        assert detector.offset_ == -detector.threshold_
        assert detector.threshold_rule_.threshold_ == detector.threshold_
    assert detector.net_ is net
    assert detector.get_params() == params
    assert_array_equal(detector.score_samples(table), scores)
    assert_array_equal(detector.reference_scores_, references)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": "otsu"}, "threshold must be"),
        ({"threshold": np.nan}, "finite"),
        ({"false_alarm_rate": 2.0}, "false_alarm_rate=2.0"),
        ({"false_alarm_rate": 0}, "strictly between 0 and 1"),
        ({"threshold": "max", "false_alarm_rate": np.nan}, "false_alarm_rate=nan"),
        ({"threshold": "tail", "false_alarm_rate": 0.5}, "tail_fraction"),
        ({"threshold": "conformal", "false_alarm_rate": 1e-4}, "at least 9999"),
    ],
)
def test_set_threshold_that_fails(small, arguments, message, table):
    """A threshold that cannot be set is an error, and the old one stays."""
    detector = small(validation_fraction=0.2).fit(table)
    before, rule = detector.offset_, detector.threshold_rule_
    with pytest.raises(ValueError, match=message):
        detector.set_threshold(**arguments)
    assert detector.offset_ == before
    assert detector.threshold_rule_ is rule


def test_set_threshold_to_a_rate_that_so_few_cannot_keep(small, table):
    """In the words of a fit; a rule that needs more says so itself."""
    detector = small(false_alarm_rate=0.2).fit(table[:48])
    with pytest.warns(UserWarning, match=r"one in 49 .* share of 0\.01") as caught:
        detector.set_threshold(false_alarm_rate=0.01)
    assert caught[0].filename == __file__
    first = detector.threshold_
    assert first == detector.reference_scores_[-1]
    for rule in ("tail", TailThreshold(rate=0.01)):
        with pytest.raises(ValueError, match="needs at least 10 distinct scores"):
            detector.set_threshold(rule, false_alarm_rate=0.01)
    assert detector.threshold_ == first
    # Neither promises a share.
    detector.set_threshold("max", false_alarm_rate=0.01).set_threshold(1.0)
    # 49 * (1 / 49) is below 1 by a rounding error.
    detector.set_threshold(false_alarm_rate=1 / 49)


def test_set_threshold_conformal_needs_held_out_rows(small, table):
    """As at fit: without held-out rows there is nothing to guarantee."""
    detector = small().fit(table)
    with pytest.raises(ValueError, match="validation_fraction"):
        detector.set_threshold("conformal")


def test_set_threshold_is_undone_by_fit(small, table):
    """Fitting again restores the threshold of the parameters."""
    detector = small().fit(table)
    first = detector.threshold_
    assert detector.set_threshold(100.0).threshold_ == 100.0
    assert detector.fit(table).threshold_ == first


def test_set_threshold_before_fit(small):
    """There is nothing to set before the fit."""
    with pytest.raises(NotFittedError):
        small().set_threshold("max")
    assert not hasattr(small(), "threshold_")


def test_p_values(small, table, new_rows):
    """They are conformal p-values of the scores, in (0, 1] and falling with them."""
    detector = small(validation_fraction=0.3).fit(table)
    values = detector.p_values(new_rows)
    assert values.shape == (200,)
    assert values.min() >= 1 / 91 and values.max() <= 1
    references = detector.reference_scores_
    scores = detector.anomaly_score(new_rows)
    assert_array_equal(values, p_values(references, scores))
    counts = (references[None] >= scores[:, None]).sum(axis=1)
    assert_allclose(values, (1 + counts) / 91)
    assert detector.p_values([[1e6] * 4])[0] == 1 / 91


@pytest.mark.parametrize("validation_fraction", [0.0, 0.5])
def test_p_values_are_uniform(small, validation_fraction):
    """For unseen normal rows p-values are nearly uniform.

    Their distribution function deviates by the sampling error of the references,
    whose Kolmogorov distance at level 0.001 is 1.95 / sqrt(n).
    """
    detector = small(validation_fraction=validation_fraction).fit(_gaussian(0, 800))
    n_references = len(detector.reference_scores_)
    assert n_references == (400 if validation_fraction else 800)
    distance = kstest(detector.p_values(_gaussian(1, 4000)), "uniform").statistic
    assert distance < 1.95 * math.sqrt(1 / n_references + 1 / 4000)


def test_p_value_and_conformal_cut_agree(small, table, new_rows):
    """The conformal rule flags the rows whose p-value is at most the rate."""
    detector = small(
        threshold="conformal", validation_fraction=0.5, false_alarm_rate=0.1
    ).fit(table)
    assert_array_equal(
        detector.predict(new_rows) == -1, detector.p_values(new_rows) <= 0.1
    )


def test_capped_references(small):
    """With more rows than references the promise is kept all the same."""
    detector = small(max_references=300).fit(_gaussian(0, 2000))
    assert detector.reference_scores_.shape == (300,)
    spread = math.sqrt(0.05 * 0.95 * (1 / 302 + 1 / 2000))
    assert abs(_flagged_share(detector, 0) - 0.05) < 3 * spread
