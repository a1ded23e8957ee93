"""What all displays share: importing, estimators that are refused, panels."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skganomaly import plotting
from skganomaly.plotting import (
    ContributionDisplay,
    DrawnDefectsDisplay,
    ImageVerdictDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreDistributionDisplay,
    ScoreOverTimeDisplay,
)

pytestmark = pytest.mark.usefixtures("plt")


@pytest.fixture
def detector(small, table):
    return small().fit(table)


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
    make = getattr(display, "from_estimator", None) or display.from_images
    one_argument = name in ("LossCurveDisplay", "DrawnDefectsDisplay")
    with pytest.raises(ImportError, match=rf"{name}\.from_.*skganomaly\[plot\]"):
        make(*[None] * (1 if one_argument else 2))


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
    for shape, n, size in (((60, 80), 3, 1e7), ((400, 50), 1, 1e-6), ((20, 300), 6, 1)):
        rows = size * rng.normal(size=(n, *shape))
        yield ImageVerdictDisplay(
            images=rows[:, None],
            maps=rows,
            threshold=2 * size,
            names=["kind_of_defect/a_very_long_name_of_a_file.png"] * n,
        ).plot
    crops = 1e6 * rng.normal(size=(4, 1, 96, 96))
    yield DrawnDefectsDisplay(crops=crops, drawn=crops, changed=crops[:, 0] > 1).plot


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
        DrawnDefectsDisplay(crops=image, drawn=image, changed=image[:, 0] > 0),
        ImageVerdictDisplay(images=image, maps=image[:, 0], threshold=1.0),
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
