"""Windows and back, one score per step, its promise, and the scores of alarms."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpydoc.docscrape import ClassDoc
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from skganomaly import GANomalyDetector
from skganomaly.benchmark import KNNDistance
from skganomaly.datasets import make_metric_anomalies
from skganomaly.model_selection import anomaly_f1, anomaly_roc_auc
from skganomaly.timeseries import SlidingWindow, TimeSeriesDetector, event_scores

KNN = KNNDistance()
FOREST = IsolationForest(n_estimators=3, random_state=0)


def _expected_failures(estimator):
    failures = {"check_fit1d": "A series of one metric is one-dimensional."}
    order = "The score of a step depends on the steps before and after it."
    if getattr(estimator, "window_length", 1) > 1:
        failures["check_methods_sample_order_invariance"] = order
        failures["check_methods_subset_invariance"] = order
    return failures


@parametrize_with_checks(
    [
        # Of windows longer than one there are fewer than steps.
        SlidingWindow(1),
        SlidingWindow(1, missing="drop"),
        TimeSeriesDetector(FOREST, window_length=1),
        TimeSeriesDetector(FOREST, window_length=1, missing="drop", aggregation="max"),
        TimeSeriesDetector(FOREST, window_length=3, n_blocks=2),
        TimeSeriesDetector(FOREST, window_length=3, n_blocks=2, aggregation="last"),
    ],
    expected_failed_checks=_expected_failures,
)
def test_battery(estimator, check):
    """Every common test of scikit-learn passes but those that cannot hold."""
    check(estimator)


@pytest.fixture
def metrics():
    """Return 200 steps of two metrics."""
    return make_metric_anomalies(200, 2, n_anomalies=0, period=20, random_state=0).data


@pytest.fixture
def frame(metrics):
    """Return the same with the times of their steps."""
    times = pd.date_range("2024-01-01", periods=len(metrics), freq="5min", tz="CET")
    return pd.DataFrame(metrics, index=times, columns=["requests", "errors"])


def _values(n_steps):
    """A series whose values are the numbers of its steps."""
    return np.arange(n_steps, dtype=float)


# Windows and the way back.


def test_windows_are_the_metrics_one_after_the_other(metrics):
    """A row is a window of the shape that convolutions take, flat."""
    rows = SlidingWindow(5).fit_transform(metrics)
    assert rows.shape == (196, 10)
    for start, row in enumerate(rows):
        assert_array_equal(row.reshape(2, 5), metrics[start : start + 5].T)


@pytest.mark.parametrize("n_steps", [10, 11, 12, 13])
def test_stride_reaches_the_last_step(n_steps):
    """Windows start a stride apart, and the last one ends with the series."""
    window = SlidingWindow(4, stride=3)
    starts = window.fit_transform(_values(n_steps))[:, 0]
    assert starts[-1] == n_steps - 4
    assert (np.diff(starts[:-1]) == 3).all() and 0 < np.diff(starts)[-1] <= 3
    assert np.isfinite(window.to_steps(np.zeros(len(starts)), _values(n_steps))).all()


@pytest.mark.parametrize("aggregation", ["mean", "max", "min", "last"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_way_back(aggregation, stride):
    """Each step gets the mean, maximum or earliest of its windows' scores."""
    n_steps, length = 17, 4
    series = _values(n_steps)
    window = SlidingWindow(length, stride=stride).fit(series)
    starts = window.transform(series)[:, 0]
    scores = np.random.default_rng(0).normal(size=len(starts))
    steps = window.to_steps(scores, series, aggregation=aggregation)
    for step, value in enumerate(steps):
        mine = scores[(starts <= step) & (step < starts + length)]
        expected = {
            "mean": np.mean(mine),
            "max": np.max(mine),
            "min": np.min(mine),
            "last": mine[0],
        }
        assert value == pytest.approx(expected[aggregation])


def test_a_pipeline_scores_windows(small, metrics):
    """As many labels as windows."""
    model = make_pipeline(SlidingWindow(8, stride=2), small()).fit(metrics)
    assert model.predict(metrics).shape == (97,)


class Foreign:
    """A series of a library that knows arrays but is none, as Polars' is."""

    def __init__(self, values):
        self.values = values
        self.shape = values.shape

    def __array__(self, dtype=None, copy=None):
        """Return the values."""
        return np.array(self.values, dtype=dtype)


def test_forms_of_a_series(metrics, frame):
    """Arrays, lists, Series and DataFrames are read alike."""
    window = SlidingWindow(3).fit(metrics)
    expected = window.transform(metrics)
    assert_array_equal(SlidingWindow(3).fit_transform(frame), expected)
    assert_array_equal(SlidingWindow(3).fit_transform(metrics.tolist()), expected)
    one = SlidingWindow(3).fit_transform(metrics[:, :1])
    one_metric = metrics[:, 0]
    for series in (
        one_metric,
        frame["requests"],
        one_metric.tolist(),
        Foreign(one_metric),
    ):
        assert_array_equal(SlidingWindow(3).fit_transform(series), one)
    with pytest.raises(ValueError, match="fitted on 2 metrics"):
        window.transform(metrics[:, 0])


def test_a_series_keeps_its_name(frame):
    """Like the one column of a frame, so that another metric is noticed."""
    window = SlidingWindow(3).fit(frame["requests"])
    assert list(window.feature_names_in_) == ["requests"]
    expected = window.transform(frame[["requests"]])
    assert_array_equal(window.transform(frame["requests"]), expected)
    with pytest.raises(ValueError, match="unseen at fit time"):
        window.transform(frame["errors"])
    assert not hasattr(window.fit(frame["errors"].rename(None)), "feature_names_in_")


def test_frames_as_the_output_of_all_steps(small, frame):
    """A step before it may give frames; windows are arrays, as they are fewer."""
    with config_context(transform_output="pandas"):
        scaled = make_pipeline(StandardScaler(), SlidingWindow(3)).fit(frame)
        assert scaled.transform(frame).shape == (198, 6)
        model = make_pipeline(scaled, small()).fit(frame)
        assert model.predict(frame).shape == (198,)
        detector = make_pipeline(
            StandardScaler(), TimeSeriesDetector(KNN, window_length=5)
        ).fit(frame)
    assert detector[-1].sampling_interval_ == np.timedelta64(5, "m")
    assert_array_equal(detector[-1].feature_names_in_, frame.columns)


def test_refusals_of_windows(metrics):
    """What does not fit is said with numbers."""
    with pytest.raises(ValueError, match="No window of 300 steps fits"):
        SlidingWindow(300).fit(metrics)
    with pytest.raises(ValueError, match="stride=4 leaves out"):
        SlidingWindow(3, stride=4).fit(metrics)
    window = SlidingWindow(3).fit(metrics)
    with pytest.raises(ValueError, match="5 scores, and X has 198 windows"):
        window.to_steps(np.zeros(5), metrics)
    with pytest.raises(ValueError, match="aggregation must be one of"):
        window.to_steps(np.zeros(198), metrics, aggregation="median")


# What is missing.


def test_missing_values_are_refused_where_they_are(frame):
    """The error says how many steps and which is the first, with its time."""
    frame.iloc[[7, 9], 1] = np.nan
    detector = TimeSeriesDetector(KNN, window_length=5)
    with pytest.raises(ValueError, match=r"2 of 200 .* step 7 \(2024-01-01 00:35"):
        detector.fit(frame)
    frame.iloc[8, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        detector.set_params(missing="drop").fit(frame)


def test_dropping_leaves_out_windows_that_touch_a_hole():
    """No window holds a missing step; steps in no window have no score."""
    series = _values(30)
    series[[10, 13]] = np.nan
    window = SlidingWindow(4, missing="drop").fit(series)
    rows = window.transform(series)
    assert np.isfinite(rows).all()
    assert_array_equal(rows[:, 0], [*range(7), *range(14, 27)])
    steps = window.to_steps(np.ones(len(rows)), series)
    assert_array_equal(np.flatnonzero(np.isnan(steps)), [10, 11, 12, 13])
    assert (steps[np.isfinite(steps)] == 1).all()


@pytest.mark.parametrize("aggregation", ["mean", "max", "last"])
def test_steps_without_a_score_are_neither_normal_nor_anomalous(metrics, aggregation):
    """Only ``missing="drop"`` gives NaN and the label 0, and both in the same place."""
    detector = TimeSeriesDetector(
        KNN, window_length=5, missing="drop", aggregation=aggregation
    ).fit(metrics)
    whole = detector.anomaly_score(metrics)
    metrics[100] = np.nan
    scores, labels = detector.anomaly_score(metrics), detector.predict(metrics)
    assert_array_equal(np.isnan(scores), labels == 0)
    assert_array_equal(np.flatnonzero(labels == 0), [100])
    # Windows elsewhere are what they were.
    assert_allclose(scores[:96], whole[:96])
    assert_allclose(scores[105:], whole[105:])
    with pytest.raises(ValueError, match="No window of 5 steps"):
        detector.predict(metrics[98:103])


def test_gaps_in_time(frame):
    """A missing row is named, or no window spans it; slight jitter is no gap."""
    holed = frame.drop(frame.index[50])
    where = r"1 in number: 0:10:00 before step 50 \(2024-01-01 04:15.*where 0:05:00"
    with pytest.raises(ValueError, match=where):
        SlidingWindow(3).fit(holed)
    window = SlidingWindow(3, missing="drop").fit(holed)
    assert window.sampling_interval_ == np.timedelta64(5, "m")
    spanning = [48, 49]
    expected = np.delete(SlidingWindow(3).fit_transform(holed.to_numpy()), spanning, 0)
    assert_array_equal(window.transform(holed), expected)

    seconds = np.random.default_rng(0).integers(0, 60, len(frame))
    late = frame.set_index(frame.index + pd.to_timedelta(seconds, unit="s"))
    assert len(SlidingWindow(3).fit_transform(late)) == 198


def test_gaps_are_measured_by_the_training_series(frame):
    """A few steps do not say what their interval should be."""
    window = SlidingWindow(3).fit(frame)
    with pytest.raises(ValueError, match="gaps"):
        window.transform(frame.iloc[:40:2])
    finer = frame.set_index(
        pd.date_range("2024-01-01", periods=len(frame), freq="1min", tz="CET")
    )
    with pytest.raises(ValueError, match="sample it as the training series"):
        window.transform(finer)
    # Without times on either side nothing can be checked.
    assert len(window.transform(frame.set_axis(range(200)))) == 198
    untimed = SlidingWindow(3).fit(frame.set_axis(range(200)))
    assert untimed.sampling_interval_ is None
    assert len(untimed.transform(frame)) == 198


@pytest.mark.parametrize("missing", ["raise", "drop"])
def test_times_out_of_order_are_refused(frame, missing):
    """Sorting is the user's to do; a few times out of order can be dropped."""
    window = SlidingWindow(3, missing=missing)
    for order in ([*range(20), 5, *range(20, 200)], [1, 0, *range(2, 200)]):
        if missing == "raise":
            with pytest.raises(ValueError, match="Sort X by time"):
                window.fit(frame.iloc[order])
    with pytest.raises(ValueError, match="Sort X by time"):
        window.fit(frame.set_axis(frame.index[::-1]))
    with pytest.raises(ValueError, match="All steps of X have one time"):
        window.fit(frame.set_axis(frame.index[[0] * 200]))
    with pytest.raises(ValueError, match="Step 3 of X has no time"):
        window.fit(frame.set_axis(frame.index.where(np.arange(200) != 3)))


def test_periods_are_times_too(metrics):
    """Months differ in length and still follow one another."""
    months = pd.period_range("2000-01", periods=200, freq="M")
    frame = pd.DataFrame(metrics, index=months)
    assert len(SlidingWindow(3).fit_transform(frame)) == 198
    with pytest.raises(ValueError, match="1 in number: 62 days"):
        SlidingWindow(3).fit(frame.drop(months[7]))


# One score per step.


class Overlap(OutlierMixin, BaseEstimator):
    """Scores a window by how many of its values training windows held."""

    def fit(self, X, y=None):
        """Remember all values."""
        self.seen_ = np.unique(X)
        self.rows_ = X
        return self

    def score_samples(self, X):
        """The negative number of values seen."""
        return -np.isin(X, self.seen_).sum(axis=1).astype(float)


@pytest.mark.parametrize("aggregation", ["mean", "max", "last"])
@pytest.mark.parametrize("n_blocks", [2, 5])
def test_reference_scores_are_of_steps_held_out(aggregation, n_blocks):
    """No clone has seen a value it is asked about; the final one has seen all."""
    detector = TimeSeriesDetector(
        Overlap(), window_length=6, aggregation=aggregation, n_blocks=n_blocks
    )
    detector.fit(_values(200))
    # Blocks of equal length, of each of which all windows count for "last", and all
    # steps in six windows otherwise.
    lost = 5 if aggregation == "last" else 10
    assert_array_equal(detector.reference_scores_, np.zeros(200 - lost * n_blocks))
    assert (detector.anomaly_score(_values(200)) == 6).all()


def test_no_window_spans_two_series():
    """Each of several series is cut on its own, and has a share in every block."""
    values = _values(90)
    groups = np.repeat(["a", "b", "c"], [20, 30, 40])
    detector = TimeSeriesDetector(Overlap(), window_length=3, stride=1, n_blocks=2)
    detector.fit(values, groups=groups)
    starts = detector.detector_.rows_[:, 0]
    assert_array_equal(starts, [*range(18), *range(20, 48), *range(50, 88)])
    # Of each half those steps count that three windows hold.
    assert len(detector.reference_scores_) == 90 - 6 * 4
    assert (detector.reference_scores_ == 0).all()
    with pytest.raises(ValueError, match="inconsistent"):
        detector.fit(values, groups=groups[1:])
    detector.fit(values, groups=groups[:, None])
    assert_array_equal(detector.detector_.rows_[:, 0], starts)
    with pytest.raises(ValueError, match=r"groups must be .*1d array"):
        detector.fit(values, groups=np.zeros((90, 2)))
    for missing in (np.nan, pd.NA):
        with pytest.raises(ValueError, match=r"groups must be .*without missing"):
            detector.fit(values, groups=pd.Series(groups).replace("b", missing))
    with pytest.raises(ValueError, match=r"groups must be .*without missing"):
        detector.fit(values, groups=[None] * 45 + [1] * 45)


def test_times_of_several_series_may_start_over(frame):
    """Below the last time of one series may be the first of the next."""
    both = pd.concat([frame, frame])
    detector = TimeSeriesDetector(KNN, window_length=5)
    with pytest.raises(ValueError, match="`groups`"):
        detector.fit(both)
    detector.fit(both, groups=np.repeat([0, 1], 200))
    assert detector.predict(frame).shape == (200,)
    assert list(detector.feature_names_in_) == ["requests", "errors"]


def test_the_default_stride_is_a_tenth_of_a_window():
    """Training looks at some windows, scoring at all."""
    for length in (5, 20):
        detector = TimeSeriesDetector(Overlap(), window_length=length)
        detector.fit(_values(200))
        stride = max(1, length // 10)
        starts = detector.detector_.rows_[:, 0]
        assert (np.diff(starts)[:-1] == stride).all()
        assert starts[-1] == 200 - length
        assert len(starts) == -(-(200 - length) // stride) + 1


def test_last_knows_nothing_of_later_steps(metrics):
    """A step's score is the same when the series goes on, once a window is full."""
    detector = TimeSeriesDetector(KNN, window_length=8, aggregation="last")
    detector.fit(metrics)
    scores = detector.anomaly_score(metrics)
    for now in (8, 50, 120):
        assert_allclose(detector.anomaly_score(metrics[:now]), scores[:now])
    windows = SlidingWindow(8).fit_transform(metrics)
    assert_allclose(scores[7:], -detector.detector_.score_samples(windows))
    assert (scores[:7] == scores[7]).all()


def test_the_promise_holds_for_steps():
    """Share of unseen normal steps flagged, on average over series, where 5 % is asked.

    The detector's own threshold, with windows in a pipeline, flags far more.
    """
    own, ours = [], {"mean": [], "last": []}
    for seed in range(8):
        X = make_metric_anomalies(5000, n_anomalies=0, random_state=seed).data
        known, new = X[:2000], X[2000:]
        pipeline = make_pipeline(SlidingWindow(50), KNN).fit(known)
        own.append(np.mean(pipeline.predict(new) == -1))
        for aggregation, shares in ours.items():
            detector = TimeSeriesDetector(
                KNN, window_length=50, aggregation=aggregation
            )
            shares.append(np.mean(detector.fit(known).predict(new) == -1))
    assert np.mean(own) > 0.1
    for shares in ours.values():
        assert 0.02 < np.mean(shares) < 0.06


def test_thresholds_of_steps(metrics):
    """The usual rules, the usual signs, and a new threshold without a new fit."""
    detector = TimeSeriesDetector(KNN, window_length=5, threshold="max")
    detector.fit(metrics)
    assert detector.threshold_ == detector.reference_scores_[-1] == -detector.offset_
    scores = detector.anomaly_score(metrics)
    assert_array_equal(detector.score_samples(metrics), -scores)
    assert_allclose(detector.decision_function(metrics), detector.threshold_ - scores)
    inner = detector.detector_
    assert detector.set_threshold(false_alarm_rate=0.5).detector_ is inner
    assert np.mean(detector.reference_scores_ > detector.threshold_) == pytest.approx(
        0.5, abs=0.01
    )
    assert_array_equal(detector.predict(metrics) == -1, scores > detector.threshold_)
    with pytest.raises(ValueError, match="false_alarm_rate=2"):
        detector.set_threshold("max", false_alarm_rate=2)


def test_our_detectors_take_part(small, metrics):
    """As table and with convolutions; anomalous spans score higher."""
    changed = metrics.copy()
    changed[100:120] += 5
    for options in ({}, {"input_shape": (2, 8), "conv": True}):
        detector = TimeSeriesDetector(small(**options), window_length=8, n_blocks=2)
        scores = detector.fit(metrics).anomaly_score(changed)
        assert scores.shape == (200,)
        assert np.median(scores[100:120]) > np.median(scores[:90])
        assert isinstance(detector.detector_, GANomalyDetector)


def test_fits_run_in_parallel(metrics):
    """With the same result."""
    detector = TimeSeriesDetector(KNN, window_length=5).fit(metrics)
    with joblib.parallel_config(backend="threading"):
        parallel = TimeSeriesDetector(KNN, window_length=5, n_jobs=2).fit(metrics)
    assert_array_equal(parallel.reference_scores_, detector.reference_scores_)


@pytest.mark.parametrize(
    "estimator", [SlidingWindow(3), TimeSeriesDetector(KNN, window_length=3)]
)
def test_what_is_learned_is_documented(estimator, frame):
    """And what is documented is there."""
    estimator = clone(estimator).fit(frame)
    documented = {entry.name for entry in ClassDoc(type(estimator))["Attributes"]}
    learned = {n for n in vars(estimator) if n.endswith("_") and n[0] != "_"}
    assert documented - {"threshold_"} == learned


def test_refusals_of_the_detector(metrics):
    """A detector needs score_samples; blocks need windows."""
    with pytest.raises(ValueError, match="score_samples"):
        TimeSeriesDetector(SlidingWindow(2), window_length=2).fit(metrics)
    with pytest.raises(ValueError, match=r"fewer blocks \(n_blocks\)"):
        TimeSeriesDetector(KNN, window_length=50, n_blocks=5).fit(metrics)
    detector = TimeSeriesDetector(KNN, window_length=5, stride=9)
    with pytest.raises(ValueError, match="stride=9"):
        detector.fit(metrics)
    with pytest.raises(NotFittedError):
        detector.predict(metrics)


class Refuses(Overlap):
    """Fails to fit large values."""

    def fit(self, X, y=None):
        """Remember, unless they are large."""
        if np.max(X) > 500:
            raise ValueError("too large")
        return super().fit(X)


@pytest.mark.parametrize(
    ("estimator", "changes", "series"),
    [
        (SlidingWindow(5), {}, _values(3)),
        (TimeSeriesDetector(Refuses(), window_length=5), {}, np.full((60, 2), np.nan)),
        (TimeSeriesDetector(Refuses(), window_length=5), {}, _values(600)),
        # All that is left to do is the threshold.
        (
            TimeSeriesDetector(Refuses(), window_length=5),
            {"threshold": lambda scores: 1 / 0},
            _values(300),
        ),
    ],
)
def test_a_refit_that_fails_leaves_nothing(estimator, changes, series):
    """Nothing of the first fit stays, nor what the second had come to."""
    estimator = clone(estimator).fit(_values(200)).set_params(**changes)
    with pytest.raises((ValueError, ZeroDivisionError)):
        estimator.fit(series)
    assert set(vars(estimator)) == set(estimator.get_params(deep=False))
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)


def test_tuning_over_time(frame):
    """Folds that train on the normal steps before what they are tested with."""
    X = pd.concat([frame, frame.set_axis(frame.index + frame.index.freq * 200)])
    y = np.ones(400, dtype=int)
    for start in (120, 230, 330):
        X.iloc[start : start + 10] += 5
        y[start : start + 10] = -1
    folds = [
        (train[y[train] == 1], test)
        for train, test in TimeSeriesSplit(2, test_size=100).split(X)
    ]
    search = GridSearchCV(
        TimeSeriesDetector(KNN, window_length=5, missing="drop"),
        {"window_length": [5, 8]},
        cv=folds,
        scoring={"auc": anomaly_roc_auc, "f1": anomaly_f1},
        refit="auc",
        error_score="raise",
    ).fit(X, y)
    assert search.cv_results_["mean_test_auc"].min() > 0.9
    # Taken for granted above: no window spans the steps that were left out.
    first = clone(search.estimator).fit(X.iloc[folds[0][0]])
    windows = SlidingWindow(5, missing="drop").fit_transform(X.iloc[folds[0][0]])
    assert windows.max() < X[y == -1].to_numpy().max() - 1
    assert len(windows) == 200 - 10 - 2 * 4
    assert first.predict(X).shape == (400,)


# How good the alarms are.


def test_event_scores_by_hand():
    """Two events, one found late by two alarms; two false alarms."""
    y_true = np.array([1, -1, -1, -1, -1, 1, 1, -1, 1, 1, 1, 1])
    y_pred = np.array([-1, 1, -1, 1, -1, -1, 1, 1, 1, -1, -1, 1])
    scores = event_scores(y_true, y_pred, alpha=0.5)
    expected = {
        "precision": 2 / 6,
        "recall": 2 / 5,
        "false_alarm_rate": 4 / 7,
        "event_recall": 1 / 2,
        "delay": 1,
        "alarms": 4,
        "false_alarms": 2,
        # The second and third of four alarms: all of one step, half of two.
        "range_precision": (1 + 1 / 2) / 4,
        # Half of the first event, halved for two pieces.
        "range_recall": (0.5 + 0.5 * (1 / 2) / 2) / 2,
    }
    assert scores == pytest.approx(expected)
    for truth in (
        y_true == -1,
        (y_true == -1) * 1,
        np.where(y_true < 0, "anomaly", "normal"),
    ):
        assert event_scores(truth, list(y_pred == -1), alpha=0.5) == scores


def test_event_scores_of_points_are_those_of_steps():
    """Where all runs have one step, ranges say what steps say."""
    y_true, y_pred = np.ones(40, int), np.ones(40, int)
    y_true[[2, 8, 14, 20]] = -1
    y_pred[[2, 8, 30]] = -1
    scores = event_scores(y_true, y_pred)
    assert scores["range_precision"] == scores["precision"] == pytest.approx(2 / 3)
    assert scores["range_recall"] == scores["recall"] == scores["event_recall"] == 0.5
    assert scores["delay"] == 0


def test_event_scores_at_the_extremes():
    """Perfect alarms, none, and one that never ends."""
    y = np.array([1, 1, -1, -1, 1, -1])
    perfect = event_scores(y, y)
    assert perfect["range_precision"] == perfect["range_recall"] == 1
    assert perfect["false_alarms"] == perfect["delay"] == 0
    silent = event_scores(y, np.ones(6))
    assert silent["precision"] == silent["range_precision"] == 0
    assert silent["event_recall"] == silent["alarms"] == 0 and np.isnan(silent["delay"])
    endless = event_scores(y, -np.ones(6))
    assert endless["event_recall"] == endless["false_alarm_rate"] == 1
    # Half of it is anomalous, in two pieces.
    assert endless["range_precision"] == 0.25


def test_event_scores_refuse():
    """Alarms of 0 may be steps without a score; nothing to find is no result."""
    with pytest.raises(ValueError, match="Compare first, for example y_pred == -1"):
        event_scores([1, 1, -1], [1, 0, -1])
    with pytest.raises(ValueError, match="y_pred must hold"):
        event_scores([0, 1], [1, 0])
    with pytest.raises(ValueError, match="All labels are 1"):
        event_scores([1, 1], [1, -1])
    with pytest.raises(ValueError, match="no anomalous step"):
        event_scores([False, False], [1, -1])
    with pytest.raises(ValueError, match="alpha"):
        event_scores([1, -1], [1, -1], alpha=2)
    with pytest.raises(ValueError, match="inconsistent"):
        event_scores([1, -1], [1, -1, 1])
