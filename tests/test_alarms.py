"""Alarms as events, and a threshold that follows a stream."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skganomaly.benchmark import KNNDistance
from skganomaly.datasets import make_metric_anomalies
from skganomaly.timeseries import (
    AdaptiveThreshold,
    Alarm,
    TimeSeriesDetector,
    alarm_events,
)

KNN = KNNDistance()
NAN = np.nan


# Events.


def test_alarms_by_hand():
    """Runs above the cut, with their peaks; NaN changes nothing."""
    scores = [0, 3, 5, 4, 0, NAN, 3, NAN, 4, NAN, 0, 2.5, 9]
    assert alarm_events(scores, 2.5) == [
        Alarm(1, 3, 2, 5.0, 3),
        Alarm(6, 8, 8, 4.0, 3),
        Alarm(12, 12, 12, 9.0, 1),
    ]
    assert alarm_events(scores, 9) == []
    assert alarm_events([NAN, NAN], 1) == []
    flags = np.array([False, True, True, False])
    assert alarm_events(flags, 0.5) == [Alarm(1, 2, 1, 1.0, 2)]


def test_hysteresis_holds_an_alarm():
    """An alarm ends at or below the lower cut, and does not begin between the two."""
    scores = np.array([2, 4, 2, 4, 2, 1, 2, 4])
    assert len(alarm_events(scores, 3)) == 3
    held = alarm_events(scores, 3, release=1)
    assert [(a.start, a.end) for a in held] == [(1, 4), (7, 7)]
    assert len(alarm_events(scores, 3, release=0)) == 1


@pytest.mark.parametrize(("cooldown", "n_alarms"), [(0, 3), (2, 3), (3, 2), (9, 1)])
def test_nothing_begins_during_cooldown(cooldown, n_alarms):
    """Steps 2, 5 and 14: two and eight quiet steps between them."""
    flags = np.zeros(20)
    flags[[2, 5, 14]] = 1
    alarms = alarm_events(flags, 0.5, cooldown=cooldown)
    assert len(alarms) == n_alarms
    for before, after in pairwise(alarms):
        assert after.start - before.end > cooldown


def test_alarms_have_the_times_of_an_index():
    """And make a table."""
    times = pd.date_range("2024-01-01", periods=4, freq="D", tz="CET")
    alarms = alarm_events([0, 1, 2, 0], [0.5, 0.5, 0.5, 0.5], index=times)
    table = pd.DataFrame(alarms)
    assert list(table.columns) == ["start", "end", "peak", "score", "n_steps"]
    assert table.loc[0, "peak"] == times[2]


def test_refusals_of_alarms():
    """Lengths that differ and cuts that make no sense."""
    with pytest.raises(ValueError, match="one for each of 3 steps"):
        alarm_events([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="NaN"):
        alarm_events([1, 2, 3], NAN)
    with pytest.raises(ValueError, match="release must not be above"):
        alarm_events([1, 2, 3], 1, release=2)
    with pytest.raises(ValueError, match="inconsistent"):
        alarm_events([1, 2, 3], 1, index=[1, 2])
    with pytest.raises(ValueError, match="cooldown"):
        alarm_events([1, 2, 3], 1, cooldown=-1)


@pytest.mark.parametrize("aggregation", ["mean", "max", "min", "last"])
def test_a_spike_is_a_short_alarm(aggregation):
    """Ten minutes of trouble in windows of eight hours are no eight hours of alarm."""
    X = make_metric_anomalies(
        3000, n_anomalies=0, period=288, random_state=0
    ).data.copy()
    times = pd.date_range("2024-01-01", periods=3000, freq="5min")
    X[2500:2502] += 4
    frame = pd.DataFrame(X, index=times)
    detector = TimeSeriesDetector(
        KNN, window_length=96, aggregation=aggregation, false_alarm_rate=0.01
    ).fit(frame[:2000])
    new = frame[2000:]
    alarms = [
        alarm
        for alarm in detector.alarms(new)
        if alarm.start <= times[2501] <= alarm.end
    ]
    assert len(alarms) == 1
    assert alarms[0].end - alarms[0].start <= pd.Timedelta("30min")
    flagged = (detector.predict(new) == -1).sum()
    assert flagged < 10 if aggregation == "min" else flagged > 50


def test_a_shift_is_an_alarm_of_its_length():
    """Narrowed to the steps that every window holds against."""
    X = make_metric_anomalies(3000, n_anomalies=0, random_state=1).data.copy()
    X[2500:2600] += 3
    detector = TimeSeriesDetector(KNN, window_length=25, false_alarm_rate=0.01)
    alarms = detector.fit(X[:2000]).alarms(X)
    longest = max(alarms, key=lambda alarm: alarm.n_steps)
    assert abs(longest.start - 2500) < 5 and abs(longest.end - 2599) < 5
    assert 2500 <= longest.peak < 2600
    # No cut is high enough for this one, and one for each step does as well.
    assert detector.alarms(X, threshold=np.full(3000, 1e9)) == []


# A threshold that follows.


def _drifting_scores(seed):
    rng = np.random.default_rng(seed)
    X = np.sin(np.arange(4000) * 2 * np.pi / 288)
    X = X + 0.02 * rng.normal(size=4000).cumsum()
    detector = TimeSeriesDetector(KNN, window_length=60, aggregation="last")
    with warnings.catch_warnings():
        # It drifts, as is told.
        warnings.simplefilter("ignore")
        detector.fit(X[:600])
    return detector, detector.anomaly_score(X[600:])


def test_the_rate_holds_on_series_that_drift():
    """After 500 steps, where a fixed threshold flags from none to a half."""
    fixed = []
    for seed in range(5):
        detector, scores = _drifting_scores(seed)
        cut = AdaptiveThreshold().fit(detector.reference_scores_)
        flagged = (scores > cut.update(scores))[500:]
        assert 0.03 <= flagged.mean() <= 0.08
        fixed.append(np.mean(scores[500:] > detector.threshold_))
    assert max(fixed) > 0.3 and min(fixed) < 0.01


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 0.7])
def test_the_rate_holds_whatever_the_scores(rate):
    """Scores that stand still, jump, grow without end, or fall."""
    rng = np.random.default_rng(0)
    n, references = 20_000, rng.normal(size=500)
    for change in (0, 30 * (np.arange(n) > n / 2), -20 * (np.arange(n) > n / 2)):
        scores = rng.normal(size=n) + change
        cut = AdaptiveThreshold(false_alarm_rate=rate).fit(references)
        unit = cut.threshold_ - np.quantile(references, (1 - rate) / 2)
        cuts = cut.update(scores)
        share = np.mean(scores > cuts)
        assert cut.n_seen_ == n and cut.n_flagged_ == round(share * n)
        # Twice, as the unit may grow and shrink again.
        assert abs(share - rate) <= 2 * np.ptp(cuts) / (unit * cut.step * n)
        assert abs(share - rate) < 0.05


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_give_what_the_whole_gives(size):
    """One at a time, in pieces, with a copy from a file between any two."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=1000) + np.linspace(0, 4, 1000)
    scores[[0, 5, 500]] = NAN
    learn = rng.random(1000) > 0.1
    whole = AdaptiveThreshold().fit(scores[100:300])
    expected = whole.update(scores, learn=learn)
    cut, cuts = AdaptiveThreshold().fit(scores[100:300]), []
    for start in range(0, 1000, size):
        piece = slice(start, start + size)
        cuts.append(cut.update(scores[piece], learn=learn[piece]))
        cut = pickle.loads(pickle.dumps(cut)) if start % 50 == 0 else cut
    assert_array_equal(np.concatenate(cuts), expected)
    assert vars(cut) == vars(whole)
    one = AdaptiveThreshold().fit(scores[100:300])
    numbers = [one.update(s, learn=k) for s, k in zip(scores, learn, strict=True)]
    assert isinstance(numbers[0], float)
    assert_array_equal(numbers, expected)


def test_what_may_move_the_cut():
    """Neither NaN nor what is known to be anomalous; an outlier like any other."""
    references = np.random.default_rng(0).normal(size=500)
    cuts = [AdaptiveThreshold().fit(references) for _ in range(4)]
    before = cuts[0].threshold_
    cuts[0].update([NAN] * 10)
    cuts[1].update([9.0] * 10, learn=False)
    assert cuts[0].threshold_ == cuts[1].threshold_ == before
    assert cuts[0].n_seen_ == 0
    cuts[2].update(4.0)
    cuts[3].update(1e9)
    assert before < cuts[2].threshold_ == cuts[3].threshold_
    # A long anomaly raises the cut, by about as much as the notes say.
    unit = before - np.quantile(references, 0.475)
    cuts[3].fit(references).update([1e9] * 50)
    assert 2 < (cuts[3].threshold_ - before) / unit < 2.6


def test_constant_references_have_a_unit():
    """What cannot be measured does not stop the cut."""
    scores = np.r_[np.zeros(100), np.ones(3000)]
    for references in (np.zeros(50), np.full(50, 0.3)):
        cut = AdaptiveThreshold().fit(references)
        flagged = scores > cut.update(scores)
        assert 0.02 < flagged[-1000:].mean() < 0.1


def test_refusals_of_the_adaptive_threshold():
    """Not fitted, infinite, wrong shapes, wrong rates."""
    with pytest.raises(NotFittedError):
        AdaptiveThreshold().update(1.0)
    cut = AdaptiveThreshold().fit(np.arange(100.0))
    before = dict(vars(cut))
    for scores in ([1.0, np.inf], np.zeros((2, 2))):
        with pytest.raises(ValueError, match="scores must be"):
            cut.update(scores)
    with pytest.raises(ValueError, match="learn must be"):
        cut.update([1.0, 2.0], learn=[True])
    assert vars(cut) == before
    with pytest.raises(ValueError, match="false_alarm_rate"):
        clone(cut).set_params(false_alarm_rate=1).fit(np.arange(9.0))
    # Parameters set later wait for the next fit.
    copy = AdaptiveThreshold().fit(np.arange(100.0)).set_params(step=9.0)
    assert copy.update(1e3) == cut.update(1e3)
    assert copy.threshold_ == cut.threshold_


def test_a_refit_that_fails_leaves_no_cut():
    """The cut of other scores cannot be taken for that of these."""
    cut = AdaptiveThreshold().fit(np.arange(50.0))
    cut.update([9.0, 99.0])
    with pytest.raises(ValueError, match="finite"):
        cut.fit([1.0, np.nan])
    assert set(vars(cut)) == {"false_alarm_rate", "step"}
    with pytest.raises(NotFittedError):
        cut.update(1.0)
