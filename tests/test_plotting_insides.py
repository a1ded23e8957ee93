"""Pictures of what is inside: losses, reconstructions and contributions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly.pipelines import through
from skganomaly.plotting import (
    ContributionDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
)

pytestmark = pytest.mark.usefixtures("plt")


@pytest.fixture
def detector(small, table):
    return small().fit(table)


@pytest.fixture
def forest(table):
    return IsolationForest(n_estimators=2, random_state=0).fit(table)


def _texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def _bar_label(display):
    """The label of a colour bar in one line."""
    return " ".join(display.colorbar_.ax.get_xlabel().split())


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
    assert "sum over channels" in _bar_label(display)
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
    assert _bar_label(display) == (
        "distance from a normal counterpart; the verdict goes by the score, not by this"
    )


class _Spotted(AutoencoderDetector):
    """Its maps are what it is given, and its score is of something else."""

    def anomaly_map(self, X):
        return np.abs(X)

    def anomaly_score(self, X):
        return np.asarray(X)[:, 0, 0, 0]


@pytest.fixture
def spotted(small, images):
    """A detector; normal images whose brightest pixels are 0.01 ... 1."""
    detector = small(_Spotted, conv=True).fit(images[:, :1])
    detector.set_threshold(5.0)
    normal = np.zeros((100, 1, 6, 9))
    normal[:, 0, 3, 4] = np.arange(1, 101) / 100
    return detector, normal


def test_a_map_that_contradicts_the_verdict_says_so(spotted):
    """All four of normal or not, with and without a spot."""
    detector, normal = spotted
    shown = np.zeros((4, 1, 6, 9))
    shown[2:, 0, 0, 0] = 6  # the score, and a part of the map
    shown[[1, 3], 0, 3, 4] = 2
    display = ReconstructionDisplay.from_estimator(detector, shown, normal=normal)
    assert display.level == pytest.approx(0.96)
    titles = [panel.get_title().split("\n")[1:] for panel in display.axes_[0]]
    assert titles == [
        ["normal", "map as usual"],
        ["normal", "map unusual"],
        ["anomaly", "map unusual"],
        ["anomaly", "map unusual"],
    ]
    assert "; normal images rarely exceed 0.96" in _bar_label(display)


def _has_color(panel, value):
    """Whether a map's colours for a value are other than grey."""
    drawn = panel.images[0]
    red, green, blue, _ = drawn.cmap(drawn.norm(value))
    return not red == green == blue


@pytest.mark.parametrize("factor", [0.5, 1, 20])
def test_normal_rows_set_the_scale(spotted, factor):
    """A colour means the same whatever is drawn, and no usual pixel has one."""
    detector, normal = spotted
    shown = factor * normal[[10, 40, 90]]
    display = ReconstructionDisplay.from_estimator(detector, shown, normal=normal)
    assert display.level == pytest.approx(0.96)
    panel = display.axes_[2, 0]
    colored = [_has_color(panel, image.max()) for image in shown]
    assert colored == [image.max() > 0.96 for image in shown]
    assert not _has_color(panel, 0.93) and _has_color(panel, 1.0)
    low, high = panel.images[0].get_clim()
    assert low == 0 and high >= 2 * 0.96
    # Without, nothing is known to be unusual, however bright.
    plain = ReconstructionDisplay.from_estimator(detector, shown)
    assert plain.level is None
    assert not any(_has_color(plain.axes_[2, 0], v) for v in np.linspace(0, 40, 99))
    assert "map" not in plain.axes_[0, 0].get_title()


def test_contributions_beyond_those_of_normal_rows():
    """With a sign: blue and yellow begin where normal rows end."""
    heat = np.linspace(-1, 1, 50).reshape(1, 1, 5, 10)
    display = ReconstructionDisplay(
        inputs=heat, reconstructions=heat, heat=heat, scores=[0.0], level=0.4
    ).plot()
    panel = display.axes_[2, 0]
    colored = [_has_color(panel, value) for value in (-0.9, -0.41, -0.39, 0.39, 0.41)]
    assert colored == [True, True, False, False, True]
    drawn = panel.images[0]
    colors = drawn.cmap(np.linspace(0, 1, 20))[:, :3]
    assert (np.diff(colors @ [0.299, 0.587, 0.114]) > 0).all()
    assert panel.figure.axes[0].get_title() == "score 0.00\nmap unusual"


def test_few_normal_rows_are_all_usual(spotted):
    detector, normal = spotted
    display = ReconstructionDisplay.from_estimator(
        detector, normal[:1], normal=normal[[4, 79, 30]]
    )
    assert display.level == pytest.approx(0.8)


def test_normal_rows_of_windows_and_of_a_pipeline(small):
    """They go the way of the others, and their level is a line."""
    windows = np.random.default_rng(0).normal(size=(40, 12))
    pipeline = make_pipeline(
        StandardScaler(), small(conv=True, input_shape=(1, 12))
    ).fit(windows)
    display = ReconstructionDisplay.from_estimator(
        pipeline, windows[:2], normal=windows[10:15], heat="difference"
    )
    seen = pipeline[0].transform(windows[10:15])
    expected = np.abs(seen - pipeline[1].reconstruct(seen)).max()
    assert display.level == pytest.approx(expected)
    for panel in display.axes_[-1]:
        assert panel.lines[-1].get_ydata() == pytest.approx([expected] * 2)
    assert _texts(display.axes_[-1, 0]) == ["channel 0", "rare if normal"]


def test_bad_normal_rows(spotted):
    detector, normal = spotted
    with pytest.raises(ValueError, match=r"heat=None draws none. Leave one"):
        ReconstructionDisplay.from_estimator(
            detector, normal[:2], normal=normal, heat=None
        )
    with pytest.raises(ValueError, match="normal has no rows"):
        ReconstructionDisplay.from_estimator(detector, normal[:2], normal=normal[:0])


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
