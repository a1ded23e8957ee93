"""Pictures of images: verdicts with their maps, and drawn defects."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skganomaly.images import DrawnDefects, ImageFolder
from skganomaly.plotting import DrawnDefectsDisplay, ImageVerdictDisplay

pytestmark = pytest.mark.usefixtures("plt")

SHAPES = (30, 40), (48, 24), (25, 25), (400, 300)


class _Detector:
    """Maps that are 1 but for a brighter rectangle, of each image another."""

    threshold_ = 2.0

    def __init__(self, peaks=(1.5, 2.0, 2.5, 7.0)):
        self.peaks = peaks

    def anomaly_map(self, images):
        maps = []
        for image, peak in zip(images, self.peaks, strict=True):
            found = np.ones(image.shape[1:], dtype=np.float32)
            found[3:5, 6:10] = peak
            maps.append(found)
        return maps

    def regions(self, images):
        return [
            [{"box": (6, 3, 10, 5), "area": 8, "peak": peak}] if peak > 2 else []
            for _, peak in zip(images, self.peaks, strict=True)
        ]


def _images(n_channels=1, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 200, size=(n_channels, *shape)).astype(dtype)
        for shape in SHAPES
    ]


def _red(panel):
    """Which pixels of a panel are red; those of grey images are so by the map alone."""
    drawn = np.asarray(panel.images[0].get_array())
    return drawn[..., 0] > drawn[..., 2] + 0.1


def test_red_is_what_is_above_the_cut():
    display = ImageVerdictDisplay.from_estimator(_Detector(), _images())
    assert display.axes_.shape == (2, 4)
    assert display.flagged.tolist() == [False, False, True, True]
    assert display.scores.tolist() == [1.5, 2.0, 2.5, 7.0]
    for above, below, found in zip(*display.axes_, display.maps, strict=True):
        red = _red(below)
        if red.shape == found.shape:
            assert_array_equal(red, found > 2)
        else:
            # Panels of few pixels lose none of what is red.
            assert found.shape[0] > red.shape[0] and 0 < red.sum() < 9
        word = "anomaly" if red.any() else "normal"
        assert above.get_title().split("\n")[0] == word
        assert not _red(above).any()
        assert len(below.patches) == red.any()
    assert display.axes_[0, 1].get_title() == "normal\n2.0 ≤ 2.0"
    # The cut is marked in the scale, and all values are in it.
    bar = display.colorbar_
    (line,) = [line for line in bar.ax.lines if set(line.get_xdata()) == {2.0}]
    assert line.get_color() == "black"
    assert bar.vmin == 1 and bar.vmax >= 7 and bar.extend == "neither"


def test_what_most_images_are_is_clear():
    """However far below that another image is."""
    images = _images()
    maps = [np.ones(shape) for shape in SHAPES]
    maps[1][...] = -20
    maps[2][...] = 3
    maps[0][:5] = 1.9
    display = ImageVerdictDisplay(images=images, maps=maps, threshold=2.0).plot()
    assert display.colorbar_.vmin == 1 and display.colorbar_.extend == "min"
    blue = [
        np.asarray(panel.images[0].get_array())[..., 2]
        - np.asarray(panel.images[0].get_array())[..., 0]
        for panel in display.axes_[1]
    ]
    assert (blue[0][:5] > 0.05).mean() > 0.9
    assert np.abs(blue[0][5:]).max() < 1e-6 and np.abs(blue[1]).max() < 1e-6


def test_boxes_hold_the_regions():
    display = ImageVerdictDisplay.from_estimator(_Detector(), _images())
    (box,) = display.axes_[1, 2].patches
    assert_array_equal(box.get_bbox().get_points(), [[4.5, 1.5], [10.5, 5.5]])
    # Wider around what would hardly be seen, but not beyond the image.
    (box,) = display.axes_[1, 3].patches
    assert_array_equal(box.get_bbox().get_points(), [[-0.5, -0.5], [16.5, 11.5]])


@pytest.mark.parametrize(
    ("threshold", "peaks"),
    [
        (2.0, (1, 1, 1, 1)),
        (2.0, (1e6, 2.000001, 1, -3)),
        (-50.0, (1, 1, 1, 1)),
        (3e6, (1, 1, 1, 1)),
    ],
)
def test_scales_of_any_scores(threshold, peaks):
    """Nothing above the cut, or all; scores that take many digits to tell from it."""
    detector = _Detector(peaks)
    detector.threshold_ = threshold
    display = ImageVerdictDisplay.from_estimator(detector, _images())
    for above, below, found in zip(*display.axes_, display.maps, strict=True):
        assert _red(below).any() == (found > threshold).any()
        score, sign, cut = above.get_title().split("\n")[1].split()
        if score != cut:
            assert (float(score) > float(cut)) == (sign == ">")
        else:
            assert sign == "≤"


def test_lines_of_images(plt):
    display = ImageVerdictDisplay.from_estimator(_Detector(), _images(), n_columns=3)
    assert display.axes_.shape == (4, 3)
    assert [ax.axison for ax in display.axes_.flat] == [True] * 7 + [False] * 2 + [
        True,
        False,
        False,
    ]
    # Each map lies below its image, and has its size.
    for above, below in zip(display.axes_[0], display.axes_[1], strict=True):
        assert above.get_xlim() == below.get_xlim()
    figure, (_, right) = plt.subplots(1, 2)
    assert display.plot(ax=right, n_columns=2) is display
    assert display.figure_ is figure and display.axes_.shape == (4, 2)
    with pytest.raises(ValueError, match="n_columns must be at least 1, got 0"):
        display.plot(n_columns=0)


@pytest.mark.parametrize(
    ("n_channels", "dtype"),
    [(1, np.uint16), (2, np.float32), (3, np.uint8), (3, np.float32), (4, np.uint8)],
)
def test_images_of_any_kind(n_channels, dtype):
    images = _images(n_channels, dtype)
    if dtype != np.float32:
        images[0] = images[0].astype(np.float32) / 255
    display = ImageVerdictDisplay.from_estimator(_Detector(), images)
    for panel in display.axes_[0, :3]:
        drawn = panel.images[0].get_array()
        assert 0 <= drawn.min() < 0.5 < drawn.max() <= 1
        assert np.ptp(drawn) > 0.3
        is_grey = np.ptp(drawn, axis=2).max() < 1e-6
        assert is_grey == (n_channels != 3)
    # Colours below are of the map.
    assert np.ptp(display.axes_[1, 0].images[0].get_array()[0], axis=1).max() < 0.05


def test_masks_are_outlined():
    images = _images()
    masks = [np.zeros(shape, dtype=bool) for shape in SHAPES]
    masks[1][...] = True
    masks[2][:3, 20:] = True
    masks[3] = None
    display = ImageVerdictDisplay.from_estimator(_Detector(), images, masks=masks)
    outlined = [len(panel.collections) for panel in display.axes_[1]]
    assert outlined == [0, 1, 1, 0]
    (contour,) = display.axes_[1, 2].collections
    path = np.concatenate([path.vertices for path in contour.get_paths()])
    assert path[:, 0].min() < 20 and path[:, 1].max() > 2
    assert display.axes_[1, 2].get_xlim() == (-0.5, 24.5)
    with pytest.raises(ValueError, match="3 masks for 4 images"):
        ImageVerdictDisplay.from_estimator(_Detector(), images, masks=masks[:3])
    masks[0] = masks[1]
    with pytest.raises(ValueError, match=r"Mask 0 has shape \(48, 24\).*\(30, 40\)"):
        ImageVerdictDisplay.from_estimator(_Detector(), images, masks=masks)


def test_images_of_a_folder(tmp_path):
    """Masks and names are those of the files."""
    Image = pytest.importorskip("PIL.Image")
    for folder in ("good", "crack", "mask/crack"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(2):
            name = "a" * (40 * i + 1) + ".png"
            Image.new("L", (40, 30), 1).save(tmp_path / folder / name)
    folder = ImageFolder(
        tmp_path,
        "*/*",
        masks=lambda path: (
            tmp_path / "mask" / "crack" / path.name if "crack" in str(path) else None
        ),
    )
    display = ImageVerdictDisplay.from_estimator(
        _Detector(), folder, masks=folder.masks
    )
    titles = [panel.get_title().split("\n")[0] for panel in display.axes_[0]]
    assert titles[::2] == ["crack/a.png", "good/a.png"]
    assert all(len(title) <= 24 and title.endswith("a.png") for title in titles)
    assert [mask is None for mask in display.masks] == [False, False, True, True]
    named = ImageVerdictDisplay.from_estimator(_Detector(), folder, names="abcd")
    assert named.axes_[0, 2].get_title().startswith("c\n")


def test_images_as_the_detector_sees_them():
    halve = FunctionTransformer(lambda images: [image[:, ::2, ::2] for image in images])
    pipeline = make_pipeline(halve, _Detector())
    display = ImageVerdictDisplay.from_estimator(pipeline, _images())
    assert [found.shape for found in display.maps] == [
        ((h + 1) // 2, (w + 1) // 2) for h, w in SHAPES
    ]


def test_what_cannot_be_drawn(small, table):
    with pytest.raises(TypeError, match=r"needs a detector with.*GANomaly.* has none"):
        ImageVerdictDisplay.from_estimator(small().fit(table), _images())
    with pytest.raises(ValueError, match="Between 1 and 20 images"):
        ImageVerdictDisplay.from_estimator(_Detector(), [np.zeros((9, 9))] * 21)


# Drawn defects.


@pytest.mark.parametrize("n_channels", [1, 3])
def test_drawn_defects(n_channels):
    display = DrawnDefectsDisplay.from_images(
        _images(n_channels), DrawnDefects(sizes=(5, 20)), n=3, random_state=0
    )
    assert display.axes_.shape == (3, 3)
    assert display.crops.shape == display.drawn.shape == (3, n_channels, 96, 96)
    different = (display.drawn != display.crops).any(axis=1)
    assert display.changed.any(axis=(1, 2)).all()
    # What is to be found was drawn; what is hardly seen need not be found.
    assert (different | ~display.changed).all()
    for panel, changed in zip(display.axes_[2], display.changed, strict=True):
        assert_array_equal(_red(panel), changed)
        assert panel.get_xlabel() == f"{changed.sum()} pixels"
    again = DrawnDefectsDisplay.from_images(
        _images(n_channels), DrawnDefects(sizes=(5, 20)), n=3, random_state=0
    )
    assert_array_equal(again.drawn, display.drawn)
    assert display.plot() is display


def test_defects_of_a_users_own():
    def spot(crop, generator):
        changed = np.zeros(crop.shape[1:], dtype=bool)
        changed[10:12, 20:25] = True
        crop[:, changed] = 9
        return crop, changed

    display = DrawnDefectsDisplay.from_images(_images(), spot, n=2)
    assert (display.drawn != display.crops).sum() == 20
    assert display.axes_[2, 0].get_xlabel() == "10 pixels"
    nothing = DrawnDefectsDisplay.from_images(
        _images(), lambda crop, generator: (crop, np.zeros((96, 96))), n=1
    )
    assert nothing.axes_[2, 0].get_xlabel() == "0 pixels"
    with pytest.raises(ValueError, match="Between 1 and 20 crops"):
        DrawnDefectsDisplay.from_images(_images(), n=0)


def test_of_many_images_few_are_read():
    class Counting:
        read = set()

        def __len__(self):
            return 500

        def __getitem__(self, i):
            self.read.add(i)
            return np.random.default_rng(i).normal(size=(30, 30))

    images = Counting()
    DrawnDefectsDisplay.from_images(images, n=1, random_state=0)
    assert len(images.read) <= 60
