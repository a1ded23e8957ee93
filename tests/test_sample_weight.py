"""Rows that count for more or less than one."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._groups import one_score_a_group
from skganomaly._models._scaling import column_statistics, fit_scaling
from skganomaly._training._batches import Orders
from skganomaly._weights import priority_sample, worth

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(240, 5))
WEIGHTS = RNG.uniform(0.2, 3, size=240)
NEW = RNG.normal(size=(100, 5))


def mixture(n, share, seed):
    """Rows of two kinds far from each other, of the second a share."""
    rng = np.random.default_rng(seed)
    second = rng.uniform(size=n) < share
    return rng.normal(size=(n, 5)) * np.where(second, 3, 1)[:, None], second


def share_flagged(detector, rows):
    return np.mean(detector.predict(rows) == -1)


def assert_equal_fits(a, b):
    assert a.threshold_ == b.threshold_
    assert_array_equal(a.reference_scores_, b.reference_scores_)
    assert_array_equal(a.anomaly_score(NEW), b.anomaly_score(NEW))


@every_detector
@pytest.mark.parametrize("weight", [3, np.full(240, 0.7), [1e-300] * 240])
def test_equal_weights_are_no_weights(cls, weight, small):
    """To the last bit, whatever their size."""
    assert_equal_fits(small(cls).fit(ROWS, sample_weight=weight), small(cls).fit(ROWS))


@every_detector
@pytest.mark.parametrize("rest", [WEIGHTS, np.ones(240)], ids=["weighted", "equal"])
def test_a_weight_of_zero_leaves_a_row_out(cls, rest, small):
    """To the last bit, wherever rows count: groups, held-out rows, shares, scaling."""
    params = {"contamination": 0.1, "validation_fraction": 0.2}
    out = np.arange(240) % 4 == 1
    wild, groups = np.where(out[:, None], 1e9, ROWS), np.arange(240) // 3
    weighted = small(cls, **params).fit(
        wild, groups=groups, sample_weight=np.where(out, 0, rest)
    )
    without = small(cls, **params).fit(
        ROWS[~out], groups=groups[~out], sample_weight=rest[~out]
    )
    assert_equal_fits(weighted, without)
    assert_array_equal(weighted.value_range_, without.value_range_)


@every_detector
def test_only_ratios_of_weights_matter(cls, small):
    """And the array stays as it was."""
    weights = WEIGHTS.copy()
    detector = small(cls).fit(ROWS, sample_weight=weights)
    assert_equal_fits(detector, small(cls).fit(ROWS, sample_weight=4 * weights))
    assert_array_equal(weights, WEIGHTS)


def test_a_row_of_weight_two_is_two_rows():
    """In all that a fit takes from rows as a sample of others."""
    times = np.arange(240) % 3 + 1
    twice = np.repeat(ROWS, times, axis=0)
    for kind in ("minmax", "standard", "channel"):
        statistics = column_statistics(ROWS, times.astype(float))
        weighted = fit_scaling(kind, (5,), ROWS, statistics)
        repeated = fit_scaling(kind, (5,), twice)
        assert_allclose(weighted.transform(NEW), repeated.transform(NEW), rtol=1e-5)
    scores = RNG.normal(size=240)
    found = one_score_a_group(scores, times / 4, 100)
    assert_array_equal(found, one_score_a_group(scores, times, 100))
    source = torch.Generator().manual_seed(0)
    drawn = Orders(240, 40, 2, source, times / 3).draw(60 * 6)
    for member in range(2):
        often = np.bincount(drawn[:, member].flatten(), minlength=240) / 60
        assert_allclose(often, times / 2, atol=0.3)
        assert_allclose(np.bincount(times - 1, often) / 80, [0.5, 1, 1.5], atol=0.03)


@every_detector
def test_the_threshold_is_that_of_repeated_rows(cls, small):
    """On average over seeds, as other random numbers are drawn."""
    rows, second = mixture(240, 0.5, 0)
    times = np.where(second, 1, 3)
    cuts = [
        [
            small(cls, random_state=seed).fit(rows, sample_weight=times).threshold_,
            small(cls, random_state=seed).fit(rows.repeat(times, axis=0)).threshold_,
            small(cls, random_state=seed).fit(rows).threshold_,
        ]
        for seed in range(4)
    ]
    weighted, repeated, plain = np.mean(cuts, axis=0)
    assert abs(weighted - repeated) < 0.3 * abs(plain - repeated)


@pytest.mark.parametrize(
    "params",
    [{}, {"max_references": 400}, {"validation_fraction": 0.4}],
    ids=["all references", "drawn references", "held out"],
)
def test_the_promise_is_about_rows_as_they_are_weighted(params, small):
    """New rows may be of another mixture than the training rows."""
    rows, second = mixture(1200, 0.5, 1)
    new, _ = mixture(2000, 0.05, 2)
    detector = small(false_alarm_rate=0.1, **params)
    assert share_flagged(detector.fit(rows), new) < 0.06
    detector.fit(rows, sample_weight=np.where(second, 0.05, 0.95))
    assert 0.07 < share_flagged(detector, new) < 0.14


def test_contamination_is_a_share_of_the_weights(small):
    """Of the training rows as they are weighted."""
    detector = small(contamination=0.1).fit(ROWS, sample_weight=WEIGHTS)
    flagged = detector.predict(ROWS) == -1
    share = WEIGHTS[flagged].sum() / WEIGHTS.sum()
    assert share == pytest.approx(0.1, abs=WEIGHTS.max() / WEIGHTS.sum())


def test_networks_see_rows_of_more_weight_more_often(small):
    """So what counts for little is reconstructed badly."""
    second = np.arange(400) % 2 == 1
    rows = np.eye(2)[second.astype(int)] * RNG.normal(size=(400, 1))
    params = {"latent_dim": 1, "input_noise": 0, "scaler": None, "max_steps": 200}
    detector = small(AutoencoderDetector, learning_rate=0.01, **params)
    detector.fit(rows, sample_weight=np.where(second, 0.001, 1))
    errors = np.square(rows - detector.reconstruct(rows)).mean(axis=1)
    assert errors[second].mean() > 10 * errors[~second].mean()


def test_few_rows_of_most_weight_promise_little(small):
    """The rest tells next to nothing, which is said."""
    weights = np.where(np.arange(240) < 15, 1, 1e-9)
    with pytest.warns(UserWarning, match=r"With 15 reference rows .* one in 16 new"):
        detector = small().fit(ROWS, sample_weight=weights)
    assert len(detector.reference_scores_) == 15
    assert worth(np.ones(7)) == 1
    assert worth(np.array([1.0, 0.0, 0.0, 0.0])) == 0.25


def test_drawn_rows_count_for_those_that_were_not():
    """Sums over rows are right on average, and equal weights stay equal."""
    rng, value = np.random.default_rng(0), ROWS[:, 0] + 3
    sums = []
    for _ in range(300):
        order, counts = priority_sample(WEIGHTS, rng.uniform(size=240), 60)
        sums.append((counts * value)[order[:60]].sum())
    assert np.mean(sums) == pytest.approx((WEIGHTS * value).sum(), rel=0.02)
    order, counts = priority_sample(np.ones(240), rng.uniform(size=240), 60)
    assert len(np.unique(order)) == 240
    assert np.ptp(counts) == 0


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-np.ones(240), "240 of 240 are negative, the first -1 of row 0. Use 0 for"),
        (np.where(np.arange(240) == 7, np.nan, 1), "at least 0 for each row.*NaN"),
        (np.where(np.arange(240) == 7, np.inf, 1), "at least 0 for each row.*infinity"),
        (np.ones(239), r"for each row.*\[240, 239\]"),
        (np.ones((240, 2)), "for each row.*1d array"),
        (["heavy"] * 240, "for each row.*'heavy'"),
        (np.zeros(240), "^0 of 240 rows have a sample_weight that is not zero"),
        (np.arange(240) == 7, "^1 of 240 rows have .* Give more rows a weight above"),
    ],
)
def test_weights_that_are_refused(weights, words, small):
    """With what was received, what is allowed, and what to do."""
    detector = small()
    with pytest.raises(ValueError, match=words):
        detector.fit(ROWS, sample_weight=weights)
    assert not hasattr(detector, "offset_")


def test_weights_that_leave_one_group(small):
    """Rows are scored without their own."""
    groups = np.arange(240) // 120
    with pytest.raises(ValueError, match="groups puts all 120 rows into one group"):
        small().fit(ROWS, groups=groups, sample_weight=1 - groups)


def test_weights_through_pipelines_and_metadata_routing(small):
    """As scikit-learn's own estimators take them."""
    alone = small().fit(StandardScaler().fit_transform(ROWS), sample_weight=WEIGHTS)
    series = pd.Series(WEIGHTS)
    pipeline = make_pipeline(StandardScaler(), small())
    pipeline.fit(ROWS, ganomalydetector__sample_weight=series)
    assert_array_equal(pipeline[-1].reference_scores_, alone.reference_scores_)
    with config_context(enable_metadata_routing=True):
        asking = small().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, asking)
        routed.fit(ROWS, sample_weight=WEIGHTS)
        assert_array_equal(routed[-1].reference_scores_, alone.reference_scores_)
        scores = cross_val_score(
            asking,
            ROWS,
            scoring=lambda estimator, rows, y=None: len(estimator.reference_scores_),
            cv=2,
            params={"sample_weight": WEIGHTS},
        )
    halves = [WEIGHTS[120:], WEIGHTS[:120]]
    assert_array_equal(scores, [int(120 * worth(half)) for half in halves])
