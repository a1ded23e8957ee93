"""Pictures of scores, by their size and in the order of time."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skganomaly import GANomalyDetector, as_pyod
from skganomaly.plotting import (
    ContributionDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreDistributionDisplay,
    ScoreOverTimeDisplay,
)
from skganomaly.timeseries import TimeSeriesDetector

pytestmark = pytest.mark.usefixtures("plt")


@pytest.fixture
def detector(small, table):
    return small().fit(table)


def _texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def _heights(ax):
    """Area of each histogram of an Axes, by the label that it has in the legend."""
    areas = {}
    for patch in ax.patches:
        x, y = patch.get_xy().T
        # The bins are equally wide, so the steps' heights add up to a share.
        areas[patch.get_label()] = (np.diff(x) * y[:-1]).sum()
    return areas


# Score distribution.


def test_distribution_keeps_the_scores_of_the_detector(detector, new_rows):
    y = np.repeat([1, -1], 100)
    display = ScoreDistributionDisplay.from_estimator(detector, new_rows, y)
    np.testing.assert_array_equal(display.scores, detector.anomaly_score(new_rows))
    np.testing.assert_array_equal(display.is_anomaly, y == -1)
    np.testing.assert_array_equal(display.reference_scores, detector.reference_scores_)
    assert display.threshold == detector.threshold_
    flagged = detector.predict(new_rows) == -1
    assert _texts(display.ax_) == [
        f"100 normal rows, {flagged[:100].mean():.1%} above",
        f"100 anomalies, {flagged[100:].mean():.1%} above",
        f"threshold {detector.threshold_:.3g}",
    ]
    assert display.ax_.get_xlabel() == "anomaly score"
    assert display.ax_.get_ylabel() == "share of rows (%)"
    assert display.figure_ is display.ax_.figure


@pytest.fixture(
    scope="module",
    params=[
        EllipticEnvelope(random_state=0),
        LocalOutlierFactor(novelty=True),
        OneClassSVM(nu=0.1),
        SGDOneClassSVM(nu=0.5, random_state=0),
        make_pipeline(
            StandardScaler(), IsolationForest(n_estimators=5, random_state=0)
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def other_detector(request, table):
    """One of scikit-learn's; fitted here since some draw from NumPy's generator."""
    return request.param.fit(table)


def test_distribution_of_other_detectors(other_detector, new_rows):
    """Rows above the threshold are those that the detector itself flags."""
    display = ScoreDistributionDisplay.from_estimator(other_detector, new_rows)
    flagged = other_detector.predict(new_rows) == -1
    assert 0 < flagged.mean() < 1
    np.testing.assert_array_equal(display.scores > display.threshold, flagged)
    assert display.reference_scores is None


def test_distribution_of_pipelines_and_searches(small, table, new_rows):
    pipeline = make_pipeline(StandardScaler(), small())
    search = GridSearchCV(
        pipeline,
        {"ganomalydetector__latent_dim": [2]},
        scoring=lambda estimator, X, y=None: 0.0,
        cv=2,
    )
    for estimator in (pipeline, search):
        estimator.fit(table)
        display = ScoreDistributionDisplay.from_estimator(estimator, new_rows)
        fitted = getattr(estimator, "best_estimator_", estimator)
        scores = -fitted.score_samples(new_rows)
        np.testing.assert_array_equal(display.scores, scores)
        assert display.threshold == fitted[-1].threshold_
        np.testing.assert_array_equal(
            display.reference_scores, fitted[-1].reference_scores_
        )


def test_distribution_of_pyod_has_its_direction(table, new_rows):
    knn = pytest.importorskip("pyod.models.knn")
    detector = knn.KNN().fit(table)
    display = ScoreDistributionDisplay.from_estimator(detector, new_rows)
    flagged = detector.predict(new_rows) == 1
    assert flagged.any()
    np.testing.assert_array_equal(display.scores > display.threshold, flagged)


class _Thresholder:
    """Flags the highest or the lowest scores; ``thresh_`` is a share of their range."""

    def __init__(self, highest):
        self.highest = highest

    def fit(self, scores):
        """Flag a tenth."""
        self.low_, self.range_ = scores.min(), np.ptp(scores)
        rate = 0.9 if self.highest else 0.1
        self.thresh_ = (np.quantile(scores, rate) - self.low_) / self.range_
        self.labels_ = self.predict(scores)
        return self

    def predict(self, scores):
        """Compare with the cut, on the scale of the training scores."""
        scaled = (scores - self.low_) / self.range_
        flagged = scaled >= self.thresh_ if self.highest else scaled <= self.thresh_
        return flagged.astype(int)


def test_threshold_of_a_thresholder_is_in_the_units_of_the_scores(
    small, table, new_rows
):
    """The cut that is drawn parts the rows as the detector's labels do."""
    knn = pytest.importorskip("pyod.models.knn")
    reason = "older versions of pyod fit a thresholder anew to the rows they predict"
    pytest.importorskip("pyod", minversion="3.6.3", reason=reason)
    for detector in (
        knn.KNN(contamination=_Thresholder(highest=True)),
        as_pyod(small(), contamination=_Thresholder(highest=True)),
    ):
        detector.fit(table)
        flagged = detector.predict(new_rows) == 1
        assert 0 < flagged.mean() < 1
        display = ScoreDistributionDisplay.from_estimator(detector, new_rows)
        np.testing.assert_array_equal(display.scores > display.threshold, flagged)
        assert f"{flagged.mean():.1%} above" in _texts(display.ax_)[0]
        display = ScoreOverTimeDisplay.from_estimator(detector, new_rows)
        np.testing.assert_array_equal(display.flagged_, flagged)


def test_labels_of_no_cut_have_no_threshold(table, new_rows):
    """Where the lowest scores are flagged, a line would say what is not so."""
    knn = pytest.importorskip("pyod.models.knn")
    detector = knn.KNN(contamination=_Thresholder(highest=False)).fit(table)
    for display in (ScoreDistributionDisplay, ScoreOverTimeDisplay):
        with pytest.warns(UserWarning, match="No threshold is drawn.*highest"):
            drawn = display.from_estimator(detector, new_rows)
        assert drawn.threshold is None
        np.testing.assert_array_equal(
            drawn.scores, detector.decision_function(new_rows)
        )


def test_rows_without_a_score_are_left_out_and_counted():
    """Shares are of the rows that have one."""
    scores = np.array([1.0, np.nan, 2.0, 3.0, np.nan, 9.0])
    y = np.array([1, 1, 1, 1, -1, -1])
    display = ScoreDistributionDisplay.from_predictions(y, scores, threshold=2.5)
    assert _texts(display.ax_) == [
        "3 normal rows, 33.3% above",
        "1 anomalies, 100.0% above",
        "2 without a score",
        "threshold 2.5",
    ]
    np.testing.assert_array_equal(display.scores, scores)
    display = ScoreDistributionDisplay.from_predictions(
        None, scores, reference_scores=[1.0, 2.0]
    )
    assert _texts(display.ax_) == ["2 reference rows", "4 rows", "2 without a score"]
    assert display.plot(xscale="log").ax_.get_xscale() == "log"
    # A group of which no row has a score is not drawn.
    display = ScoreDistributionDisplay.from_predictions(y, np.where(y == 1, 1, np.nan))
    assert _texts(display.ax_) == ["4 normal rows", "2 without a score"]
    with pytest.raises(ValueError, match="None of the 2 rows has a score"):
        ScoreDistributionDisplay.from_predictions(None, [np.nan, np.nan])


def test_a_series_with_gaps_is_drawn(small):
    """By both displays, with the NaN that our own detector of series gives."""
    series = np.sin(np.arange(400) / 5)
    series[[100, 101, 250]] = np.nan
    detector = TimeSeriesDetector(small(), window_length=10, missing="drop")
    detector.fit(np.sin(np.arange(300) / 5))
    unscored = np.isnan(detector.anomaly_score(series))
    assert 0 < unscored.sum() < 100
    y = np.arange(400) >= 350
    display = ScoreDistributionDisplay.from_estimator(detector, series, y)
    assert f"{unscored.sum()} without a score" in _texts(display.ax_)
    assert f"{350 - unscored.sum()} normal rows" in _texts(display.ax_)[0]
    display = ScoreOverTimeDisplay.from_estimator(detector, series, y)
    np.testing.assert_array_equal(np.isnan(display.scores), unscored)
    assert not display.flagged_[unscored].any()


def test_distribution_shows_each_group_as_a_whole():
    rng = np.random.default_rng(0)
    scores = np.append(rng.normal(size=500), rng.normal(4, size=20))
    y = np.repeat([False, True], [500, 20])
    display = ScoreDistributionDisplay.from_predictions(y, scores, bins=10)
    areas = _heights(display.ax_)
    width = np.ptp(scores) / 10
    assert set(areas) == {"500 normal rows", "20 anomalies"}
    for area in areas.values():
        assert area / width == pytest.approx(100)


def test_groups_differ_without_colour():
    display = ScoreDistributionDisplay.from_predictions([0, 1, 0], [1.0, 2.0, 3.0])
    normal, anomalous = display.ax_.patches
    assert (normal.get_hatch(), anomalous.get_hatch()) == (None, "///")
    assert normal.get_facecolor()[3] > 0
    assert anomalous.get_facecolor()[3] == 0


def test_reference_scores_are_the_backdrop_without_labels_only():
    scores, reference = [1.0, 2.0, 3.0], [0.5, 1.5]
    for y_true, n_groups in ((None, 2), ([0, 1, 0], 2)):
        display = ScoreDistributionDisplay.from_predictions(
            y_true, scores, reference_scores=reference
        )
        assert len(display.ax_.patches) == n_groups
        shown = any("reference" in text for text in _texts(display.ax_))
        assert shown == (y_true is None)


@pytest.mark.parametrize(
    "y",
    [
        [1, -1, 1],
        [0, 1, 0],
        [False, True, False],
        pd.Series([1.0, -1.0, 1.0]),
        pd.Categorical(["normal", "anomaly", "normal"]),
    ],
)
def test_labels_of_any_coding(y):
    display = ScoreDistributionDisplay.from_predictions(y, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(display.is_anomaly, [False, True, False])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([1, 1, 1], "All labels are 1.*Pass booleans"),
        ([0, 1, 2], "Cannot read the labels"),
        ([0, 1, -1], "Cannot read the labels"),
        ([1, np.nan, -1], "Cannot read the labels"),
        (["normal", "sick", "normal"], "Cannot read the labels"),
    ],
)
def test_labels_that_cannot_be_read(y, words):
    with pytest.raises(ValueError, match=words):
        ScoreDistributionDisplay.from_predictions(y, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=words):
        ScoreOverTimeDisplay.from_predictions(y, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "display", [ContributionDisplay, ReconstructionDisplay, LossCurveDisplay]
)
def test_detectors_that_are_not_fitted(display, table):
    """Say so, although they have the methods already."""
    rows = [] if display is LossCurveDisplay else [table[:1]]
    for estimator in (GANomalyDetector(), FrozenEstimator(GANomalyDetector())):
        with pytest.raises(NotFittedError):
            display.from_estimator(estimator, *rows)


def test_frozen_pipelines(detector, table, plt):
    """A prefit detector is drawn as it is."""
    pipeline = make_pipeline(StandardScaler(), detector).fit(table)
    shown = [
        ContributionDisplay.from_estimator(estimator, table[:1]).contributions
        for estimator in (pipeline, FrozenEstimator(pipeline))
    ]
    np.testing.assert_array_equal(*shown)


def test_one_kind_of_label_alone():
    """Booleans say what they mean; a group without rows is not drawn."""
    display = ScoreDistributionDisplay.from_predictions([True, True], [1.0, 2.0])
    assert _texts(display.ax_) == ["2 anomalies"]


def test_heavy_tails_get_a_logarithmic_scale():
    scores = np.random.default_rng(0).lognormal(sigma=3, size=200)
    auto = ScoreDistributionDisplay.from_predictions(None, scores)
    assert auto.ax_.get_xscale() == "log"
    assert auto.plot(xscale="linear").ax_.get_xscale() == "linear"
    # A single score far out, and a score of zero, which has no logarithm.
    assert auto.scores.max() > 50 * np.median(scores)
    shifted = ScoreDistributionDisplay.from_predictions(None, scores - scores.min())
    assert shifted.ax_.get_xscale() == "linear"
    with pytest.raises(ValueError, match="positive"):
        shifted.plot(xscale="log")


def test_constant_scores():
    for xscale in ("linear", "log"):
        ScoreDistributionDisplay.from_predictions(None, [2.0] * 5, xscale=xscale)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [1.0, 2.0, 3.0]), {}, "inconsistent"),
        ((None, [1.0, np.inf]), {}, "y_score contains infinity"),
        ((None, [[1.0, 2.0]]), {}, "1d array"),
        ((None, [1.0, 2.0]), {"xscale": "square"}, "xscale='square'"),
        ((None, [1.0, 2.0]), {"reference_scores": [np.inf]}, "reference_scores"),
    ],
)
def test_distribution_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ScoreDistributionDisplay.from_predictions(*arguments, **options)


def test_direction_must_be_known(table):
    y = np.arange(len(table)) % 2
    for estimator in (LogisticRegression().fit(table, y), LocalOutlierFactor()):
        estimator.fit(table, y)
        with pytest.raises(TypeError, match="from_predictions"):
            ScoreDistributionDisplay.from_estimator(estimator, table)


@pytest.mark.parametrize(
    "estimator", [GANomalyDetector(), make_pipeline(IsolationForest())]
)
def test_not_fitted(estimator, table):
    for call in (
        lambda: ScoreDistributionDisplay.from_estimator(estimator, table),
        lambda: LossCurveDisplay.from_estimator(estimator),
        lambda: ScoreOverTimeDisplay.from_estimator(estimator, table),
    ):
        with pytest.raises(NotFittedError):
            call()


# Scores over time.


def _shaded(panel, label):
    """Spans that a panel marks under a name, as (start, stop)."""
    (marks,) = [m for m in panel.collections if m.get_label() == label]
    extents = [path.get_extents() for path in marks.get_paths()]
    return [(extent.x0, extent.x1) for extent in extents]


def test_scores_over_time():
    metric, scores = np.arange(10.0), np.zeros(10)
    scores[[0, 4, 5, 9]] = 2
    scores[7] = np.nan
    y = np.zeros(10, dtype=int)
    y[4:7] = 1
    display = ScoreOverTimeDisplay.from_predictions(y, scores, metric, threshold=1)
    assert np.flatnonzero(display.flagged_).tolist() == [0, 4, 5, 9]
    upper, lower = display.axes_[:, 0]
    np.testing.assert_array_equal(upper.lines[0].get_ydata(), metric)
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), scores)
    for panel in (upper, lower):
        assert _shaded(panel, "flagged") == [(-0.5, 0.5), (3.5, 5.5), (8.5, 9.5)]
    assert _shaded(upper, "known anomaly") == [(3.5, 6.5)]
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert sorted(_texts(upper)) == ["flagged", "known anomaly", "threshold 1"]
    assert lower.get_ylabel() == "anomaly score"
    assert lower.get_xlabel() == "time step"


def test_a_gap_is_not_shaded():
    time = np.array([0, 1, 2, 50, 51])
    scores = np.array([0, 0, 2.0, 2.0, 0])
    display = ScoreOverTimeDisplay.from_predictions(
        None, scores, time, time=time, threshold=1
    )
    assert _shaded(display.axes_[0, 0], "flagged") == [(1.5, 50.5)]
    scores[3] = 0
    display = ScoreOverTimeDisplay.from_predictions(
        None, scores, time, time=time, threshold=1
    )
    assert _shaded(display.axes_[0, 0], "flagged") == [(1.5, 2.5)]


def test_dates_of_a_frame():
    """Its index is the time, its columns the names; half a day is half a day."""
    days = pd.date_range("2024-03-30", periods=4, tz="Europe/Berlin", name="day")
    frame = pd.DataFrame({"load": [1.0, 2, 3, 4], "wait": [4.0, 3, 2, 1]}, index=days)
    display = ScoreOverTimeDisplay.from_predictions(
        None, [0, 0, 2, 0], frame, threshold=1
    )
    assert display.axes_.shape == (3, 1)
    assert [panel.get_ylabel() for panel in display.axes_[:2, 0]] == ["load", "wait"]
    assert display.axes_[2, 0].get_xlabel() == "day (UTC)"
    np.testing.assert_array_equal(display.time, days.tz_convert(None).to_numpy())
    (start, stop) = _shaded(display.axes_[0, 0], "flagged")[0]
    middle = mpl.dates.date2num(display.time[2])
    # The day before has lost an hour to summer time.
    assert middle - start == pytest.approx(23 / 48)
    assert stop - middle == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    "time",
    [
        pd.date_range("2024-01-01", periods=3, freq="D"),
        pd.period_range("2024-01-01", periods=3, freq="D"),
        pd.Series(pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC")),
        ["2024-01-01", "2024-01-02", "2024-01-03"],
        np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]"),
    ],
    ids=lambda time: type(time).__name__,
)
def test_times_of_any_kind(time):
    display = ScoreOverTimeDisplay.from_predictions(
        None, [0, 2, 0], [1, 2, 3], time=time, threshold=1
    )
    expected = np.arange("2024-01-01", "2024-01-04", dtype="datetime64[D]")
    np.testing.assert_array_equal(display.time, expected)
    (span,) = _shaded(display.axes_[0, 0], "flagged")
    assert span[1] - span[0] == pytest.approx(1)


def test_a_series_names_its_metric():
    series = pd.Series([1.0, 2.0, 3.0], name="load")
    display = ScoreOverTimeDisplay.from_predictions(None, [0, 0, 0], series)
    assert display.axes_[0, 0].get_ylabel() == "load"
    assert not display.flagged_.any()
    assert display.axes_[0, 0].get_legend() is None


def test_only_numbers_are_drawn_over_time():
    """A pipeline takes more than that."""
    table = pd.DataFrame({"country": ["AT", "CH", "DE"]})
    with pytest.raises(ValueError, match=r"Only numbers .*'AT'.* from_predictions"):
        ScoreOverTimeDisplay.from_predictions(None, [0.0, 1.0, 2.0], table)


def test_times_scored_by_a_detector(detector, new_rows):
    y = np.repeat([1, -1], 100)
    display = ScoreOverTimeDisplay.from_estimator(detector, new_rows, y)
    np.testing.assert_array_equal(display.scores, detector.anomaly_score(new_rows))
    np.testing.assert_array_equal(display.flagged_, detector.predict(new_rows) == -1)
    np.testing.assert_array_equal(display.values, new_rows)
    np.testing.assert_array_equal(display.is_anomaly, y == -1)
    assert display.axes_.shape == (5, 1)


PAIRS = pd.MultiIndex.from_tuples([("a", 0), ("a", 1)])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None, [0, 1], [1, 2, 3]), {}, "inconsistent"),
        (([0, 1, 1], [0, 1], [1, 2]), {}, "inconsistent"),
        ((None, [0, 1], [1, 2]), {"time": [1, 2, 3]}, "inconsistent"),
        ((None, [0, np.inf], [1, 2]), {}, "infinity"),
        ((None, [0, 1], [1, 2]), {"time": [2, 2]}, "must increase"),
        ((None, [0, 1], [1, 2]), {"time": [1, np.nan]}, "must increase"),
        ((None, [0, 1], [1, 2]), {"time": ["b", "a"]}, "such as .*time=np.arange"),
        ((None, [0, 1], pd.Series([1, 2], index=PAIRS)), {}, r"such as \('a', 0"),
        ((None, [0, 1], np.zeros((2, 21))), {}, "20 metrics can be drawn, got 21"),
    ],
)
def test_over_time_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ScoreOverTimeDisplay.from_predictions(*arguments, **options)
