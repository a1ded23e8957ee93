"""Displays keep the arrays they draw, and draw what they say."""

import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from skganomaly import AutoencoderDetector, GANomalyDetector, as_pyod, plotting
from skganomaly.pipelines import through
from skganomaly.plotting import (
    ContributionDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreDistributionDisplay,
    ScoreOverTimeDisplay,
)
from skganomaly.timeseries import TimeSeriesDetector


@pytest.fixture(autouse=True, scope="module")
def off_screen():
    before = mpl.get_backend()
    mpl.use("Agg")
    yield
    mpl.use(before)


@pytest.fixture(autouse=True)
def plt():
    """Pyplot; closes what a test has drawn, after drawing it for good."""
    import matplotlib.pyplot as plt

    with plt.rc_context({"figure.dpi": 50}):
        yield plt
    # Some errors show only when the canvas is drawn.
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


@pytest.fixture
def detector(small, table):
    return small().fit(table)


@pytest.fixture
def forest(table):
    return IsolationForest(n_estimators=2, random_state=0).fit(table)


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


# Importing.


def test_import_needs_no_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from skganomaly.plotting import ScoreDistributionDisplay as display\n"
        "try:\n"
        "    display.from_predictions(None, [1.0, 2.0])\n"
        "except ImportError as error:\n"
        "    assert 'skganomaly[plot]' in str(error), error\n"
        "    assert 'ScoreDistributionDisplay.from_predictions' in str(error), error\n"
        "else:\n"
        "    sys.exit('no error')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", plotting.__all__)
def test_missing_matplotlib_is_said_first(name, monkeypatch):
    """Before anything is computed, so an estimator that is none does not matter."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = getattr(plotting, name)
    with pytest.raises(ImportError, match=rf"{name}\.from_.*skganomaly\[plot\]"):
        display.from_estimator(*[None] * (1 if name == "LossCurveDisplay" else 2))


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


# Loss curves.


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
def test_losses_are_those_of_the_history(cls, small, table):
    detector = small(cls, max_steps=60).fit(table)
    display = LossCurveDisplay.from_estimator(make_pipeline(detector))
    history = detector.history_
    assert display.steps.tolist() == [epoch["n_steps"] for epoch in history]
    assert display.steps[-1] == detector.n_iter_
    assert {"reconstruction"} <= set(display.losses)
    assert not {"epoch", "dur", "n_steps", "train_loss"} & set(display.losses)
    for name, loss in display.losses.items():
        assert loss.tolist() == [epoch[name] for epoch in history]
        np.testing.assert_array_equal(display.lines_[name].get_ydata(), loss)
        np.testing.assert_array_equal(display.lines_[name].get_xdata(), display.steps)
    assert _texts(display.ax_) == list(display.losses)
    assert display.ax_.get_xlabel() == "optimiser step"


class _Trained:
    """Stands for a detector with a history made up for the test."""

    def __init__(self, history):
        self.history_ = history


def test_histories_of_any_losses():
    """Losses of one phase only; entries of callbacks; values below zero."""
    history = [
        {"epoch": 1, "dur": 0.1, "n_steps": 5, "critic": -1.0, "event_lr": 0.1},
        {"epoch": 2, "dur": 0.1, "n_steps": 10, "critic": -2.0, "critic_best": True},
        {"epoch": 3, "dur": 0.1, "n_steps": 15, "encoder": 3.0, "note": "text"},
    ]
    display = LossCurveDisplay.from_estimator(_Trained(history))
    assert list(display.losses) == ["critic", "encoder"]
    np.testing.assert_array_equal(display.losses["critic"], [-1, -2, np.nan])
    np.testing.assert_array_equal(display.lines_["encoder"].get_xdata(), [15])
    assert display.ax_.get_yscale() == "linear"
    chosen = LossCurveDisplay.from_estimator(_Trained(history), names=["encoder"])
    assert list(chosen.losses) == ["encoder"]
    assert chosen.ax_.get_yscale() == "log"
    with pytest.raises(ValueError, match=r"\['other'\].*\['critic', 'encoder'\]"):
        LossCurveDisplay.from_estimator(_Trained(history), names=["other"])
    with pytest.raises(ValueError, match="yscale='square'"):
        display.plot(yscale="square")


def test_the_sum_of_losses_is_drawn_if_there_is_nothing_else():
    history = [{"epoch": 1, "n_steps": 5, "train_loss": 1.0}]
    assert list(LossCurveDisplay.from_estimator(_Trained(history)).losses) == [
        "train_loss"
    ]


def test_curves_differ_without_colour(detector):
    lines = LossCurveDisplay.from_estimator(detector).lines_.values()
    assert len({line.get_linestyle() for line in lines}) == len(lines) > 1


def test_no_history(forest):
    with pytest.raises(TypeError, match="IsolationForest has none"):
        LossCurveDisplay.from_estimator(forest)


# Reconstructions.


def test_reconstructions_are_those_of_the_detector(small, images):
    detector = small(conv=True).fit(images)
    few = images[:3]
    display = ReconstructionDisplay.from_estimator(detector, few, heat="difference")
    reconstructions = detector.reconstruct(few)
    np.testing.assert_array_equal(display.inputs, few)
    np.testing.assert_array_equal(display.reconstructions, reconstructions)
    np.testing.assert_array_equal(display.heat, np.abs(few - reconstructions))
    np.testing.assert_array_equal(display.scores, detector.anomaly_score(few))
    assert display.axes_.shape == (3, 3)
    # Neither one channel nor three: their mean is drawn, their heat summed.
    shown = display.axes_[0, 1].images[0].get_array()
    np.testing.assert_allclose(shown, few[1].mean(axis=0))
    shown = display.axes_[2, 1].images[0].get_array()
    np.testing.assert_allclose(shown, display.heat[1].sum(axis=0))
    assert "sum over channels" in display.colorbar_.ax.get_xlabel()
    flagged = detector.predict(few) == -1
    for panel, score, alarm in zip(
        display.axes_[0], display.scores, flagged, strict=True
    ):
        verdict = "anomaly" if alarm else "normal"
        assert panel.get_title() == f"score {score:.2f}\n{verdict}"


def test_reconstructions_of_flat_rows(small, images):
    flat = images.reshape(len(images), -1)
    detector = small(conv=True, input_shape=(2, 6, 9)).fit(flat)
    display = ReconstructionDisplay.from_estimator(detector, flat[:2])
    np.testing.assert_array_equal(display.inputs, images[:2])
    pipeline = make_pipeline(StandardScaler(), detector).fit(flat)
    seen = pipeline[0].transform(flat[:2]).reshape(2, 2, 6, 9)
    display = ReconstructionDisplay.from_estimator(pipeline, flat[:2])
    np.testing.assert_array_equal(display.inputs, seen)


def test_contributions_have_a_sign(small, images):
    grey = images[:, 0]
    detector = small(conv=True).fit(grey)
    display = ReconstructionDisplay.from_estimator(detector, grey[:4], heat="explain")
    np.testing.assert_array_equal(display.heat[:, 0], detector.explain(grey[:4]))
    assert (display.heat < 0).any()
    scales = {panel.images[0].get_clim() for panel in display.axes_[2]}
    ((low, high),) = scales
    assert low == -high
    assert display.colorbar_.ax.get_xlabel() == "contribution to the score"


@pytest.mark.parametrize("signed", [True, False])
def test_larger_heat_is_lighter(signed):
    """Whatever the colours, the picture is readable in grey."""
    heat = np.linspace(-1 if signed else 0, 1, 100).reshape(1, 1, 10, 10)
    display = ReconstructionDisplay(inputs=heat, reconstructions=heat, heat=heat)
    image = display.plot().axes_[2, 0].images[0]
    colors = image.cmap(np.linspace(0, 1, 20))[:, :3]
    assert (np.diff(colors @ [0.299, 0.587, 0.114]) > 0).all()


def test_the_map_of_the_detector_is_preferred(small, images):
    """A map without channels will do."""

    class WithMap(AutoencoderDetector):
        def anomaly_map(self, X):
            return np.asarray(X).sum(axis=1)

    detector = small(WithMap, conv=True).fit(images)
    display = ReconstructionDisplay.from_estimator(detector, images[:2])
    np.testing.assert_array_equal(display.heat[:, 0], images[:2].sum(axis=1))
    assert display.colorbar_.ax.get_xlabel() == "distance from a normal counterpart"


def test_no_heat(small, images):
    detector = small(conv=True).fit(images)
    display = ReconstructionDisplay.from_estimator(detector, images[:2], heat=None)
    assert display.axes_.shape == (2, 2)
    assert display.heat is None
    assert display.colorbar_ is None


def test_one_pixel_does_not_set_the_scale():
    rng = np.random.default_rng(0)
    inputs = rng.uniform(size=(2, 1, 8, 8))
    heat = rng.uniform(size=(2, 1, 8, 8))
    plain = ReconstructionDisplay(inputs=inputs, reconstructions=inputs, heat=heat)
    extreme = heat.copy(), inputs.copy()
    for values in extreme:
        values[0, 0, 0, 0] = 1e6
    display = ReconstructionDisplay(
        inputs=extreme[1], reconstructions=inputs, heat=extreme[0]
    )
    limits = [d.plot().axes_[2, 0].images[0].get_clim()[1] for d in (plain, display)]
    assert limits[1] <= heat.max() == pytest.approx(limits[0], rel=0.1)
    assert display.axes_[0, 0].images[0].get_clim()[1] <= inputs.max()
    assert display.colorbar_.extend == "max"
    # One scale for all, or they cannot be compared.
    for line in display.axes_[[0, 2]]:
        assert len({panel.images[0].get_clim() for panel in line}) == 1
    # Where all but one are zero, that one is worth showing.
    heat = np.zeros((1, 1, 8, 8))
    heat[0, 0, 3, 3] = 5
    display = ReconstructionDisplay(inputs=heat, reconstructions=heat, heat=heat).plot()
    assert display.axes_[2, 0].images[0].get_clim() == (0, 5)
    assert display.colorbar_.extend == "neither"


def test_colour_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(2, 3, 5, 6)).astype(np.float64)
    display = ReconstructionDisplay(inputs=images, reconstructions=images + 300).plot()
    shown = display.axes_[0, 1].images[0].get_array()
    assert shown.shape == (5, 6, 3)
    assert (shown.min(), shown.max()) == pytest.approx((0, 1), abs=0.03)
    assert np.corrcoef(shown.ravel(), images[1].transpose(1, 2, 0).ravel())[0, 1] > 0.99
    # Beyond the scale is as bright as can be.
    assert (display.axes_[1, 0].images[0].get_array() == 1).all()


@pytest.mark.parametrize("n_channels", [1, 2])
def test_windows_are_curves(n_channels, small):
    windows = np.random.default_rng(0).normal(size=(40, n_channels, 12))
    detector = small(conv=True, input_shape=(n_channels, 12)).fit(windows)
    display = ReconstructionDisplay.from_estimator(
        detector, windows[:3], heat="explain"
    )
    assert display.axes_.shape == (n_channels + 1, 3)
    last = display.axes_[n_channels - 1, 2]
    before, after = (line.get_ydata() for line in last.lines)
    np.testing.assert_array_equal(before, windows[2, -1])
    np.testing.assert_array_equal(after, detector.reconstruct(windows[:3])[2, -1])
    contributions = [line.get_ydata() for line in display.axes_[-1, 2].lines]
    np.testing.assert_array_equal(contributions, detector.explain(windows[:3])[2])
    assert _texts(display.axes_[0, 0]) == ["input", "reconstruction"]
    assert display.axes_[-1, 0].get_xlabel() == "time step"
    assert "contribution" in display.axes_[-1, 0].get_ylabel()


def test_reconstruction_refuses(small, table, images, detector, forest):
    with pytest.raises(ValueError, match="ContributionDisplay"):
        ReconstructionDisplay.from_estimator(detector, table[:2])
    with pytest.raises(TypeError, match="'reconstruct'"):
        ReconstructionDisplay.from_estimator(forest, table[:2])
    camera = small(conv=True).fit(images)
    with pytest.raises(ValueError, match="Between 1 and 20 rows can be drawn, got 60"):
        ReconstructionDisplay.from_estimator(camera, images)
    with pytest.raises(ValueError, match="heat='other'"):
        ReconstructionDisplay.from_estimator(camera, images[:2], heat="other")


# Contributions.


def test_contributions_are_those_of_the_detector(small, table):
    frame = pd.DataFrame(table, columns=["a", "b", "c", "d"])
    detector = small().fit(frame)
    row = frame.iloc[[7]]
    display = ContributionDisplay.from_estimator(detector, row)
    contributions = detector.explain(row)[0]
    np.testing.assert_array_equal(display.contributions, contributions)
    np.testing.assert_array_equal(display.values, row.to_numpy()[0])
    np.testing.assert_array_equal(display.expected, detector.reconstruct(row)[0])
    assert display.score == detector.anomaly_score(row)[0]
    verdict = "anomaly" if detector.predict(row)[0] == -1 else "normal"
    assert display.ax_.get_title() == (
        f"score {display.score:.2f}, threshold {detector.threshold_:.2f}: {verdict}"
    )
    order = np.argsort(-np.abs(contributions))
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, contributions[order])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    for label, i in zip(labels, order, strict=True):
        value, expected = display.values[i], display.expected[i]
        assert label == f"{'abcd'[i]} = {value:.4g} (expected {expected:.4g})"
    assert f"{contributions.sum():+.3g}" in display.ax_.get_xlabel()


def test_the_smaller_contributions_are_summed():
    contributions = np.array([0.1, -3.0, 0.5, 2.0, -0.2])
    display = ContributionDisplay(
        contributions=contributions, feature_names=list("abcde")
    ).plot(top_k=2)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, [-3, 2, 0.4])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["b", "d", "3 others, sum"]
    assert display.ax_.yaxis_inverted(), "the largest is not at the top"
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == ["-3.0", "+2.0", "+0.4"]
    colors = {bar.get_facecolor() for bar in display.bars_[:2]}
    assert len(colors) == 2
    # "1 other" would say less than its name.
    assert len(display.plot(top_k=4).bars_) == 5
    with pytest.raises(ValueError, match="top_k"):
        display.plot(top_k=0)


def test_features_of_a_pipeline(small, table):
    """Names, values and contributions are those after the other steps."""
    frame = pd.DataFrame(table, columns=["a", "b", "c", "d"])
    pipeline = make_pipeline(StandardScaler(), small()).fit(frame)
    row = frame.iloc[[3]]
    display = ContributionDisplay.from_estimator(pipeline, row)
    seen = pipeline[0].transform(row)
    np.testing.assert_array_equal(display.values, seen[0])
    np.testing.assert_array_equal(display.contributions, pipeline[-1].explain(seen)[0])
    assert display.feature_names == ["a", "b", "c", "d"]


def test_names_of_features(detector, table):
    display = ContributionDisplay.from_estimator(detector, table[[0]])
    assert display.feature_names == ["x0", "x1", "x2", "x3"]
    display = ContributionDisplay.from_estimator(
        detector, table[[0]], feature_names=["p", "q", "r", "s"], top_k=2
    )
    assert display.feature_names == ["p", "q", "r", "s"]
    assert len(display.bars_) == 3
    with pytest.raises(ValueError, match="1 feature names for 4 features"):
        ContributionDisplay.from_estimator(detector, table[[0]], feature_names=["p"])


def test_no_contribution_at_all():
    ContributionDisplay(contributions=np.zeros(3), feature_names="abc").plot()


def test_contribution_refuses(small, images, table, detector, forest):
    with pytest.raises(ValueError, match=r"shape \(n_rows, n_.*X\[\[i\]\]"):
        ContributionDisplay.from_estimator(detector, table[0])
    for rows in (table[:0], table[:21]):
        with pytest.raises(ValueError, match="Between 1 and 20 rows"):
            ContributionDisplay.from_estimator(detector, rows)
    with pytest.raises(TypeError, match="'explain'"):
        ContributionDisplay.from_estimator(forest, table[[0]])
    flat = images.reshape(len(images), -1)
    camera = small(conv=True, input_shape=(2, 6, 9)).fit(flat)
    with pytest.raises(ValueError, match="heat='explain'"):
        ContributionDisplay.from_estimator(camera, flat[[0]])


def _boxes(display):
    """Extents of everything that is written in each panel, and of the figure."""
    display.figure_.canvas.draw()
    panels = []
    for ax in display.axes_:
        written = [*ax.get_yticklabels(), *ax.texts, ax.title, ax.xaxis.label]
        panels.append([text.get_window_extent() for text in written])
    return panels, display.figure_.bbox


@pytest.mark.parametrize(("n_rows", "top_k"), [(1, 10), (5, 3)])
@pytest.mark.parametrize("name", ["a rather long name of {} ", "{}"])
def test_rows_in_one_figure_do_not_overlap(name, n_rows, top_k, plt):
    """Nothing that is written meets anything else, or leaves the figure."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 12)) * np.array([[1, 10, 1e-3] * 4])
    display = ContributionDisplay(
        contributions=rows if n_rows > 1 else -np.abs(rows[0]),
        feature_names=[name.format(i) + "x" * i for i in range(12)],
        values=rows.squeeze() * 1e5,
        expected=rows.squeeze() * 1e-5,
        score=rows[:, 0] if n_rows > 1 else 1.0,
        threshold=0.5,
        row_names=[f"order {i}" for i in range(n_rows)],
    ).plot(top_k=top_k)
    panels, page = _boxes(display)
    boxes = [box for panel in panels for box in panel]
    assert len(boxes) == n_rows * (2 * (top_k + 1) + 2)
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1
        assert page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
    for ax in display.axes_:
        bars = [bar.get_window_extent() for bar in ax.patches]
        assert not any(
            bar.overlaps(t.get_window_extent()) for bar in bars for t in ax.texts
        )
        assert ax.get_window_extent().width > 0.3 * page.width


def test_several_rows_are_explained_at_once(detector, table, plt):
    """Each row has a panel with its own bars, score and verdict."""
    display = ContributionDisplay.from_estimator(detector, table[:3], top_k=2)
    np.testing.assert_array_equal(display.contributions, detector.explain(table[:3]))
    np.testing.assert_array_equal(display.score, detector.anomaly_score(table[:3]))
    assert len(display.bars_) == len(display.axes_) == 3
    for i, bars in enumerate(display.bars_):
        shown = detector.explain(table[[i]])[0]
        widths = sorted(abs(bar.get_width()) for bar in bars[:2])
        np.testing.assert_allclose(widths, np.sort(np.abs(shown))[-2:], rtol=1e-5)
        title = display.axes_[i].get_title()
        assert title.startswith(f"score {display.score[i]:.2f}, ")
    frame = pd.DataFrame(table[:2], index=["mon", "tue"])
    named = ContributionDisplay.from_estimator(detector, frame)
    assert [ax.get_title()[:5] for ax in named.axes_] == ["mon\ns", "tue\ns"]
    _, axes = plt.subplots(3, 1)
    assert display.plot(ax=axes).axes_[2] is axes[2]


def test_original_columns_of_a_pipeline(small, table, plt):
    """Through a pipeline, the bars are those of the columns as they were given."""
    frame = pd.DataFrame(table, columns=list("abcd"))
    frame["kind"] = np.where(table[:, 0] > 0, "left", "right")
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]),
        (StandardScaler(), list("abcd")),
    )
    view = through(make_pipeline(encode, small()).fit(frame))
    rows = frame.iloc[:2]
    display = ContributionDisplay.from_estimator(view, rows)
    assert display.feature_names == [*"abcd", "kind"]
    np.testing.assert_array_equal(display.contributions, view.explain(rows))
    assert display.values[0][4] == frame["kind"][0]
    labels = [text.get_text() for text in display.axes_[0].get_yticklabels()]
    assert f"kind = {frame['kind'][0]}" in labels
    assert f"a = {table[0, 0]:.4g}" in labels
    by_number = through(make_pipeline(StandardScaler(), small()).fit(table))
    one = ContributionDisplay.from_estimator(by_number, table[[0]])
    assert one.feature_names == ["x0", "x1", "x2", "x3"]


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


# Labels.


def _drawn_texts(figure):
    """Boxes of all that is written outside the panels and on bars, by their text."""
    figure.canvas.draw()
    texts = []
    for ax in figure.axes:
        texts += [ax.title, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [axis.label, axis.get_offset_text()]
            texts += [
                tick.label1
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and ax.axison
            ]
    return [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_text() and text.get_visible()
    ]


def _collisions(boxes):
    """Pairs of texts whose boxes overlap by more than half a pixel."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5
        and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]


def _crowded():
    """Displays with long names, many digits, flat panels and marks at the edges."""
    rng = np.random.default_rng(0)
    names = ["requests per second", "latency", "a_very_long_name_of_a_metric_of_mine"]
    minutes = pd.date_range("2024-03-01", periods=90, freq="min", name="measured")
    frame = pd.DataFrame(1e6 * rng.normal(size=(90, 3)), columns=names, index=minutes)
    yield lambda: ScoreOverTimeDisplay.from_predictions(
        np.arange(90) < 20, 1e7 * rng.normal(size=90), frame, threshold=2e7
    )
    yield lambda: ScoreDistributionDisplay.from_predictions(
        None, 1e-7 * rng.normal(size=90), threshold=1e-7
    )
    for shape, size in (
        ((1, 1, 8, 64), 1e-6),
        ((3, 2, 8, 8), 1e7),
        ((1, 1, 9, 9), 1e5),
        ((2, 3, 40, 8), 1.0),
        ((3, 2, 40), 1e7),
    ):
        rows = size * rng.normal(size=shape)
        yield ReconstructionDisplay(
            inputs=rows,
            reconstructions=rows / 2,
            heat=rows,
            heat_label="distance from a normal counterpart",
            scores=1e8 * rng.uniform(size=len(rows)),
            threshold=5e7,
        ).plot


@pytest.mark.parametrize("draw", [*_crowded()])
def test_labels_do_not_collide(draw):
    boxes = _drawn_texts(draw().figure_)
    assert len(boxes) > 3
    assert _collisions(boxes) == []


def test_bars_of_known_anomalies_leave_labels_alone():
    """The power of ten stands above them."""
    y = np.arange(600) < 90
    metric = pd.Series(1e6 * np.sin(np.arange(600) / 30))
    metric.index = pd.date_range("2024-03-01", periods=600, freq="min")
    display = ScoreOverTimeDisplay.from_predictions(y, y, metric, threshold=0.5)
    display.axes_[0, 0].set_xlim(metric.index[0], metric.index[-1])
    boxes = dict(_drawn_texts(display.figure_))
    panel = display.axes_[0, 0]
    (bar,) = [m for m in panel.collections if m.get_label() == "known anomaly"]
    (path,) = bar.get_paths()
    box = path.get_extents(panel.get_xaxis_transform())
    assert box.width > 9 and box.y0 > panel.bbox.y1 - 1 and "1e6" in boxes
    assert _collisions([("bar", box), *boxes.items()]) == []


# Axes given.


def test_one_axes_is_drawn_on(detector, table, plt):
    figure, panels = plt.subplots(1, 3)
    scores = np.arange(5.0)
    for display, ax in (
        (ScoreDistributionDisplay.from_predictions(None, scores, ax=panels[0]), 0),
        (LossCurveDisplay.from_estimator(detector, ax=panels[1]), 1),
        (ContributionDisplay.from_estimator(detector, table[[0]], ax=panels[2]), 2),
    ):
        assert display.ax_ is panels[ax]
        assert display.figure_ is figure
        assert display.plot(ax=panels[ax]) is display
    assert plt.get_fignums() == [figure.number]


def _grids():
    image = np.zeros((2, 1, 4, 4))
    return [
        ReconstructionDisplay(inputs=image, reconstructions=image, heat=image),
        ScoreOverTimeDisplay(
            values=np.zeros((5, 1)), scores=np.zeros(5), time=np.arange(5)
        ),
    ]


@pytest.mark.parametrize("display", _grids(), ids=lambda d: type(d).__name__)
def test_grids_take_the_place_of_an_axes(display, plt):
    figure, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=right) is display
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert not right.axison
    edge = left.get_position().x1
    assert all(panel.get_position().x0 > edge for panel in display.axes_.flat)
    with pytest.raises(ValueError, match="in a grid"):
        display.plot(ax=figure.add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize("display", _grids(), ids=lambda d: type(d).__name__)
def test_grids_take_axes_for_each_panel(display, plt):
    shape = display.plot().axes_.shape
    _, panels = plt.subplots(*shape)
    display.plot(ax=panels)
    assert display.axes_.ravel().tolist() == panels.ravel().tolist()
    with pytest.raises(ValueError, match="ax has 1 axes"):
        display.plot(ax=panels.ravel()[:1])
