"""Series of people: times that repeat or jump, columns that are no numbers, drift."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly.benchmark import KNNDistance
from skganomaly.datasets import make_metric_anomalies
from skganomaly.timeseries import (
    SlidingWindow,
    TimeSeriesDetector,
    calendar_columns,
)

KNN = KNNDistance()


@pytest.fixture
def frame():
    """Return 200 steps of two metrics with their times."""
    data = make_metric_anomalies(200, 2, n_anomalies=0, period=20, random_state=0).data
    times = pd.date_range("2024-10-26", periods=200, freq="5min")
    return pd.DataFrame(data, index=times, columns=["requests", "errors"])


# Times.


def test_of_repeated_times_the_first_step_is_kept(frame):
    """Windows go on as if the others were not there; these have no score."""
    twice = frame.iloc[[*range(50), 49, 49, *range(50, 200)]].copy()
    twice.iloc[[50, 51]] = 1e6
    window = SlidingWindow(4, missing="drop")
    with pytest.warns(UserWarning, match="Of 202 steps 2 repeat"):
        windows = window.fit_transform(twice)
    assert_array_equal(windows, SlidingWindow(4).fit_transform(frame))
    detector = TimeSeriesDetector(KNN, window_length=4, missing="drop").fit(frame)
    with pytest.warns(UserWarning, match="Of 202 steps 2"):
        scores = detector.anomaly_score(twice)
    assert_array_equal(np.flatnonzero(np.isnan(scores)), [50, 51])
    assert_allclose(scores[~np.isnan(scores)], detector.anomaly_score(frame))


def test_a_clock_set_back_is_a_gap(frame):
    """The hour that comes twice is scored twice, and no window spans the change."""
    hour = 12
    back = frame.index[:100].append(frame.index[100 - hour : 200 - hour])
    changed = frame.set_axis(back)
    window = SlidingWindow(4, missing="drop")
    with pytest.warns(UserWarning, match="step. Places where time jumps back: 1"):
        windows = window.fit_transform(changed)
    spanning = [97, 98, 99]
    expected = np.delete(SlidingWindow(4).fit_transform(frame.to_numpy()), spanning, 0)
    assert_array_equal(windows, expected)
    assert window.sampling_interval_ == np.timedelta64(5, "m")


def test_a_step_that_comes_late_is_left_out(frame):
    """Two neighbours in the wrong order cost both their places."""
    order = [*range(100), 101, 100, *range(102, 200)]
    detector = TimeSeriesDetector(KNN, window_length=4, missing="drop").fit(frame)
    with pytest.warns(UserWarning, match="Of 200 steps 1 .*Gaps: 1"):
        labels = detector.predict(frame.iloc[order])
    assert_array_equal(np.flatnonzero(labels == 0), [101])


def test_jitter_beyond_half_an_interval_is_dropped(frame):
    """Steps that come much too early are left out, late ones make a gap."""
    times = frame.index.to_numpy().copy()
    times[30] -= np.timedelta64(3, "m")
    times[60] += np.timedelta64(3, "m")
    shaken = frame.set_axis(pd.DatetimeIndex(times))
    window = SlidingWindow(4, missing="drop")
    with pytest.warns(UserWarning, match="Of 200 steps 2"):
        steps = window.fit(shaken)
    with pytest.warns(UserWarning, match="out of step"):
        windows = window.transform(shaken)
    with pytest.warns(UserWarning, match="out of step"):
        steps = window.to_steps(np.zeros(len(windows)), shaken)
    # Step 30 is too early; of 60 and 61, the second is.
    assert_array_equal(np.flatnonzero(np.isnan(steps)), [30, 61])


@pytest.mark.parametrize("kind", ["repeat", "backward", "gap", "jitter"])
def test_the_advice_of_the_error_works(frame, kind):
    """What the message says to do makes a series that can be fitted."""
    index = np.arange(200)
    if kind == "repeat":
        index = np.sort(np.append(index, [50, 50]))
    elif kind == "backward":
        index = np.r_[index[:50], 20, index[50:]]
    elif kind == "gap":
        index = np.delete(index, range(50, 53))
    broken = frame.iloc[index]
    if kind == "jitter":
        times = broken.index.to_numpy().copy()
        times[20] -= np.timedelta64(170, "s")
        times[50] += np.timedelta64(170, "s")
        broken = broken.set_axis(pd.DatetimeIndex(times))
    with pytest.raises(ValueError, match="resample") as error:
        SlidingWindow(3).fit(broken)
    advice = str(error.value).partition("pandas: ")[2].partition(")")[0]
    assert advice.startswith("X.resample('300s'")
    mended = broken.resample("300s").mean().interpolate()
    assert len(SlidingWindow(3).fit_transform(mended)) == 198


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_that_count_whole_intervals(unit):
    """Half an interval is not rounded away, or every step would be a gap."""
    one, start = np.timedelta64(1, unit), np.datetime64("2024-01-01")
    series = pd.Series(np.arange(20.0), start + np.arange(20) * one)
    window = SlidingWindow(4).fit(series)
    assert window.sampling_interval_ == one
    uneven = start + np.cumsum([3, 4] * 10) * one
    assert len(window.fit_transform(series.set_axis(uneven))) == 17
    uneven[10:] += 3 * one
    with pytest.raises(ValueError, match="X has gaps in time, 1 in number"):
        SlidingWindow(4).fit(series.set_axis(uneven))


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2024-10-26", periods=200, freq="5min"),
        pd.date_range("2024-10-26 22:00Z", periods=200, freq="5min"),
        pd.timedelta_range("0h", periods=200, freq="5min"),
        pd.date_range("2024-10-26", periods=200, freq="D").map(pd.Timestamp.date),
    ],
    ids=["times", "offsets", "durations", "dates"],
)
def test_times_among_objects_are_times(frame, times):
    """Times with two offsets, for one, are objects; gaps are found all the same."""
    objects = pd.Index(list(times), dtype=object)
    if getattr(times, "tz", None) is not None:
        winter = list(times[36:].tz_convert("Etc/GMT-1"))
        objects = pd.Index([*times[:36].tz_convert("Etc/GMT-2"), *winter], dtype=object)
    window = SlidingWindow(4)
    window.fit(frame.set_axis(objects))
    assert window.sampling_interval_ == pd.Timedelta(times[1] - times[0])
    with pytest.raises(ValueError, match="X has gaps in time, 1 in number"):
        window.fit(frame.set_axis(objects).drop(objects[50]))
    missing = pd.Index([*objects[:3], pd.NaT, *objects[4:]], dtype=object)
    with pytest.raises(ValueError, match="Step 3 of X has no time"):
        window.fit(frame.set_axis(missing))


def test_the_remedy_for_times_out_of_order_is_an_interval(frame):
    """Where most intervals are zero or negative, it is the usual one after sorting."""
    twice = frame.set_axis(np.repeat(frame.index[:100], 2))
    for wrong in (twice, frame.iloc[::-1]):
        with pytest.raises(ValueError, match=r"resample\('300s'\)"):
            SlidingWindow(4).fit(wrong)
    with pytest.raises(ValueError, match="one time"):
        SlidingWindow(4).fit(frame.set_axis(frame.index[:1].repeat(200)))


def test_two_series_with_repeats(frame):
    """A repeated time in one series, which the next begins with, is another's step."""
    one = frame.iloc[[*range(100), 99]]
    both = pd.concat([one, frame.iloc[99:]])
    groups = np.repeat(["a", "b"], [101, 101])
    detector = TimeSeriesDetector(Recording(), window_length=4, missing="drop")
    with pytest.warns(UserWarning, match="Of 202 steps 1"):
        detector.fit(both, groups=groups)
    expected = SlidingWindow(4).fit_transform
    assert_array_equal(
        detector.detector_.rows_,
        np.concatenate([expected(frame.iloc[:100]), expected(frame.iloc[99:])]),
    )


def test_ordinary_times_are_dropped_in_silence(frame):
    """Holes are what ``missing="drop"`` is for; nothing else is said of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SlidingWindow(3, missing="drop").fit(frame.drop(frame.index[20:30]))


def test_live_steps_with_a_repeat(frame):
    """A few steps, half of them repeated, are read like a whole series."""
    detector = TimeSeriesDetector(
        KNN, window_length=4, missing="drop", aggregation="last"
    ).fit(frame)
    few = frame.iloc[[0, 1, 2, 3, 3, 3, 3, 3, 3]]
    with pytest.warns(UserWarning, match="Of 9 steps 5"):
        labels = detector.predict(few)
    assert_array_equal(labels == 0, [False] * 4 + [True] * 5)


# Values.


@pytest.mark.parametrize(
    "estimator", [SlidingWindow(3), TimeSeriesDetector(KNN, window_length=3)]
)
@pytest.mark.parametrize("missing", ["raise", "drop"])
def test_times_as_values_are_refused(frame, estimator, missing):
    """A missing one would pass as -9.2e18; the column is named with what to do."""
    estimator = clone(estimator).set_params(missing=missing)
    durations = (
        pd.to_timedelta(np.arange(200), unit="s").to_series().where(np.arange(200) != 7)
    )
    for column in (
        durations.to_numpy(),
        frame.index,
        frame.index.tz_localize("CET"),
        durations.to_numpy().astype(object),
        np.array([np.timedelta64("NaT")] * 200, dtype=object),
        ["north"] * 200,
    ):
        with pytest.raises(ValueError, match=r"'took' \(.*set_index.*total_seconds"):
            estimator.fit(frame.assign(took=column))
    with pytest.raises(ValueError, match="not numbers: 0"):
        estimator.fit(durations.to_numpy())
    with pytest.raises(ValueError, match="6 more"):
        estimator.fit(pd.DataFrame({f"c{i}": ["x"] * 200 for i in range(11)}))


def test_lists_hide_neither_a_mask_nor_a_missing_time():
    """A missing time is no number, and a masked value is a missing one."""
    hidden = [[1.0, np.timedelta64("NaT")]] * 20
    with pytest.raises(ValueError, match="not numbers: 1 "):
        SlidingWindow(4).fit(hidden)
    masked = [np.ma.masked_array([1.0, 2.0], mask=[False, i == 9]) for i in range(20)]
    with pytest.raises(ValueError, match=r"1 of 20 steps, first in step 9.* any: 1"):
        SlidingWindow(4).fit(masked)
    assert len(SlidingWindow(4, missing="drop").fit_transform(masked)) == 13


@pytest.mark.parametrize("assume_finite", [False, True])
def test_errors_name_the_metric(frame, assume_finite):
    """Infinite values are refused with missing='drop' and assume_finite, too."""
    for value, words in ((np.nan, "NaN"), (np.inf, "infinity")):
        bad = frame.copy()
        bad.iloc[7, 1] = value
        match = f"{words} in 1 of 200 steps, first in step 7 .*any: 'errors'"
        with config_context(assume_finite=assume_finite):
            with pytest.raises(ValueError, match=match):
                SlidingWindow(4).fit(bad)
    bad.iloc[7, 1] = np.inf
    with config_context(assume_finite=assume_finite):
        with pytest.raises(ValueError, match="infinity"):
            SlidingWindow(4, missing="drop").fit(bad)
    with pytest.raises(ValueError, match=r"not numbers: 1 .*'north'"):
        SlidingWindow(4).fit([["1", "north"]] * 20)


def test_a_mask_is_missing_values(frame):
    """Of a masked array the masked steps are not read."""
    masked = np.ma.masked_array(frame.to_numpy(), mask=False)
    masked[50, 1] = np.ma.masked
    with pytest.raises(ValueError, match="1 of 200 steps, first in step 50"):
        SlidingWindow(3).fit(masked)
    for series in (masked, masked[:, 1]):
        assert len(SlidingWindow(3, missing="drop").fit_transform(series)) == 195


# Options.


def test_contamination_is_a_share_of_the_training_steps(frame):
    """To look back over one series; a new threshold and the first again."""
    detector = TimeSeriesDetector(KNN, window_length=5, contamination=0.1).fit(frame)
    assert np.mean(detector.predict(frame) == -1) == pytest.approx(0.1, abs=0.005)
    first = detector.threshold_
    detector.set_threshold(false_alarm_rate=0.3)
    above = np.mean(detector.reference_scores_ > detector.threshold_)
    assert above == pytest.approx(0.3, abs=0.01)
    assert detector.set_threshold().threshold_ == first
    assert detector.threshold_rule_.rate == 0.1
    with pytest.raises(ValueError, match=r"contamination=0.1 .* threshold='max'"):
        detector.set_params(threshold="max").fit(frame)


def test_a_rate_that_so_few_steps_cannot_keep(frame):
    """At fit, and when it is set later."""
    options = {"window_length": 5, "n_blocks": 2}
    with pytest.warns(UserWarning, match=r"share of 0\.001 .* Fit with more") as caught:
        TimeSeriesDetector(KNN, false_alarm_rate=0.001, **options).fit(frame)
    assert caught[0].filename == __file__
    detector = TimeSeriesDetector(KNN, false_alarm_rate=0.1, **options).fit(frame)
    with pytest.warns(UserWarning, match=r"reference steps .* 0\.001") as caught:
        detector.set_threshold(false_alarm_rate=0.001)
    assert caught[0].filename == __file__


def test_a_rate_that_is_set_later_waits_for_the_next_fit(frame):
    """A new threshold without a rate goes by the rate of the fit."""
    detector = TimeSeriesDetector(KNN, window_length=5, false_alarm_rate=0.2).fit(frame)
    first = detector.threshold_
    detector.set_params(false_alarm_rate=0.4)
    assert detector.set_threshold().threshold_ == first
    assert detector.fit(frame).threshold_ < first


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=3, random_state=0, contamination=0.2),
        make_pipeline(
            MinMaxScaler(),
            IsolationForest(n_estimators=3, random_state=0, contamination=0.2),
        ),
    ],
)
def test_a_cut_of_windows_is_not_ignored_in_silence(frame, detector):
    """The detector's own cut is not used, so to ask for one is a mistake."""
    with pytest.warns(UserWarning, match=r"IsolationForest.contamination=0.2"):
        TimeSeriesDetector(detector, window_length=5).fit(frame)


def test_a_cut_of_our_detectors_is_not_ignored_in_silence(small, frame):
    """All three options that set one are named, by the class they are of."""
    inner = small(n_members=1, false_alarm_rate=0.1, threshold="max")
    with pytest.warns(UserWarning, match=r"rate=0.1\), GANom.*threshold='max'\) sets"):
        TimeSeriesDetector(inner, window_length=5, n_blocks=2).fit(frame)
    assert isinstance(inner, GANomalyDetector)


def test_parameters_set_later_wait_for_the_next_fit(frame):
    """Neither scores nor labels move, and the threshold still belongs to them."""
    detector = TimeSeriesDetector(KNN, window_length=5).fit(frame)
    scores, labels = detector.anomaly_score(frame), detector.predict(frame)
    detector.set_params(aggregation="max", window_length=7)
    assert_array_equal(detector.anomaly_score(frame), scores)
    assert_array_equal(detector.predict(frame), labels)
    assert not np.array_equal(detector.fit(frame).anomaly_score(frame), scores)
    window = SlidingWindow(3).fit(frame).set_params(length=8, stride=2)
    assert window.transform(frame).shape == (198, 6)


class Recording(OutlierMixin, BaseEstimator):
    """Remembers what it was fitted with; may be interrupted at a given call."""

    fits = 0

    def __init__(self, interrupted_at=None):
        self.interrupted_at = interrupted_at

    def fit(self, X, y=None, *, groups=None):
        """Remember."""
        type(self).fits += 1
        if type(self).fits == self.interrupted_at:
            raise KeyboardInterrupt
        self.rows_, self.groups_ = X, groups
        return self

    def score_samples(self, X):
        """Return the first value of each window."""
        return -X[:, 0]


@pytest.mark.parametrize("call", [1, 3, 6])
def test_an_interrupt_ends_the_whole_fit(frame, call, monkeypatch):
    """In whichever of the six fits it comes, it is the last, and nothing is kept."""
    monkeypatch.setattr(Recording, "fits", 0)
    detector = TimeSeriesDetector(KNN, window_length=5).fit(frame)
    detector.set_params(detector=Recording(interrupted_at=call))
    with pytest.raises(KeyboardInterrupt):
        detector.fit(frame)
    assert Recording.fits == call
    with pytest.raises(NotFittedError):
        check_is_fitted(detector)
    assert not [name for name in vars(detector) if name.endswith("_")]


def test_that_windows_overlap_is_no_news():
    """A detector warns of it for its own threshold, which is not used here."""
    X = make_metric_anomalies(2000, n_anomalies=0, period=100, random_state=0).data
    small = AutoencoderDetector(max_steps=5, n_members=1, random_state=0)
    # Twenty windows a season, so that each phase comes back.
    windows = SlidingWindow(50, stride=5).fit_transform(X)
    with pytest.warns(UserWarning, match="Training rows come in groups"):
        small.fit(windows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor = TimeSeriesDetector(small, window_length=50, n_blocks=2)
        monitor.fit(X)
    assert not [w for w in caught if "come in groups" in str(w.message)]
    assert "near_copies" not in str(monitor.detector_.training_report_.problems)


# Drift.


def drifting(seed, n_steps=4000):
    """A season and a random walk."""
    rng = np.random.default_rng(seed)
    season = np.sin(np.arange(n_steps) * 2 * np.pi / 288)
    return season + 0.02 * rng.normal(size=n_steps).cumsum()


def test_a_drift_is_told_at_fit():
    """Blocks that differ warn with figures; steps that are alike do not."""
    told = []
    for seed in range(5):
        detector = TimeSeriesDetector(KNN, window_length=60)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            detector.fit(drifting(seed)[:600])
        told.append(any("AdaptiveThreshold" in str(w.message) for w in caught))
        assert detector.held_out_rates_.shape == (5,)
    assert sum(told) >= 4
    trend = np.sin(np.arange(1000) / 8) + np.linspace(0, 3, 1000)
    with pytest.warns(UserWarning, match=r"not alike .* 5% is promised; .* outer"):
        TimeSeriesDetector(KNN, window_length=20).fit(trend)
    for seed in range(8):
        X = make_metric_anomalies(1000, n_anomalies=0, random_state=seed).data
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            TimeSeriesDetector(KNN, window_length=50).fit(X)


# Inside.


def test_explain_finds_metric_and_step(small, frame):
    """The value that was changed contributes most; steps in no window are NaN."""
    changed = frame.copy()
    changed.iloc[120, 1] += 5
    changed.iloc[60, 0] = np.nan
    detector = TimeSeriesDetector(
        small(n_members=1, max_steps=20), window_length=6, n_blocks=2, missing="drop"
    ).fit(frame)
    contributions = detector.explain(changed)
    assert contributions.shape == (200, 2)
    assert_array_equal(np.flatnonzero(np.isnan(contributions[:, 0])), [60])
    found = np.unravel_index(np.nanargmax(contributions), contributions.shape)
    assert found == (120, 1)
    # By hand: the mean over the six windows that hold the step.
    rows = SlidingWindow(6).fit(frame).transform(changed.iloc[115:126])
    parts = detector.detector_.explain(rows).reshape(6, 2, 6)
    mine = [parts[i, :, 5 - i] for i in range(6)]
    assert_allclose(contributions[120], np.mean(mine, axis=0), rtol=1e-4)
    with pytest.raises(AttributeError, match="KNNDistance has no method explain"):
        TimeSeriesDetector(KNN, window_length=6).fit(frame).explain(frame)


def test_p_values_of_steps(frame):
    """Small for unusual steps, NaN without a score, and consistent with the scores."""
    detector = TimeSeriesDetector(KNN, window_length=5, missing="drop").fit(frame)
    changed = frame.copy()
    changed.iloc[50:60] += 5
    changed.iloc[100, 0] = np.nan
    values, scores = detector.p_values(changed), detector.anomaly_score(changed)
    assert_array_equal(np.isnan(values), np.isnan(scores))
    n = len(detector.reference_scores_)
    assert values[55] == 1 / (n + 1)
    assert np.nanmax(values) <= 1
    above = np.sum(detector.reference_scores_ >= scores[10])
    assert values[10] == (1 + above) / (1 + n)


# The calendar.


def test_quiet_sundays_are_normal_and_a_dead_wednesday_is_not():
    """Windows tell them apart by the columns of a calendar, and by nothing else."""
    times = pd.date_range("2024-01-01", periods=24 * 7 * 10, freq="h")
    hour, off = np.asarray(times.hour), np.asarray(times.day_of_week >= 5)
    dead = np.asarray((times >= "2024-03-06") & (times < "2024-03-07"))
    rng = np.random.default_rng(0)
    curve = np.maximum(0, np.sin((hour - 6) * np.pi / 12))
    busy = np.where(off | dead, 0.1, 1.0) * curve + 0.05 * rng.normal(size=len(times))
    load = pd.DataFrame({"load": busy}, times)
    known = times < "2024-02-19"
    sundays = np.asarray(times.day_of_week == 6) & ~known
    columns = calendar_columns(times)
    shares = {}
    for name, X in {"plain": load, "calendar": load.assign(**columns)}.items():
        detector = TimeSeriesDetector(
            make_pipeline(MinMaxScaler(), KNN), window_length=12
        )
        labels = detector.fit(X[known]).predict(X)
        shares[name] = [np.mean(labels[steps] == -1) for steps in (dead, sundays)]
    assert shares["plain"][0] < 0.1
    assert shares["calendar"][0] > 0.9 and shares["calendar"][1] < 0.1
    worst = max(detector.alarms(X[~known]), key=lambda alarm: alarm.score)
    assert f"{worst.start:%F}" == f"{worst.end:%F}" == "2024-03-06"


def test_columns_of_a_calendar():
    """Days off by the week and by name, on the clock of the place."""
    times = pd.date_range("2024-12-24 18:00", periods=12, freq="6h", tz="CET")
    columns = calendar_columns(times, holidays=["2024-12-25"], days_off=[4])
    assert_array_equal(columns["day_off"], [0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1])
    assert_allclose(columns["hour_sin"][:4], [-0.5, 0, 0.5, 0], atol=1e-12)
    assert_allclose(columns["hour_sin"] ** 2 + columns["hour_cos"] ** 2, 1 / 4)
    with pytest.raises(TypeError, match="DatetimeIndex, got RangeIndex"):
        calendar_columns(pd.RangeIndex(3))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"days_off": ["Saturday"]}, "from 0 for Monday"),
        ({"days_off": (6, 7)}, "from 0 for Monday"),
        ({"holidays": "2024-03-29"}, "sequence of dates"),
    ],
)
def test_a_calendar_refuses_what_it_would_ignore(options, match):
    """Names of days, days numbered from 1, one string."""
    with pytest.raises(ValueError, match=match):
        calendar_columns(pd.date_range("2024-03-28", periods=3), **options)


def test_a_holiday_has_the_date_of_its_place():
    """Midnight east of Greenwich is another day there."""
    holiday = pd.Timestamp("2024-03-29", tz="Europe/Vienna")
    times = pd.date_range("2024-03-27", periods=3)
    day_off = calendar_columns(times, holidays=[holiday])["day_off"]
    assert_array_equal(day_off, [0, 0, 1])
    with pytest.raises(ValueError, match="1 of the times are missing"):
        calendar_columns(times.insert(0, pd.NaT))
