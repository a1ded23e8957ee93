"""The command that measures detectors of images, and its figures."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly.benchmark import _image_baselines, _images
from skganomaly.benchmark._cli import main
from skganomaly.benchmark._image_metrics import (
    image_figures,
    region_overlap,
    within_image_auc,
)
from skganomaly.datasets import make_texture_defects
from skganomaly.images import FrozenFeatures, ImageDetector, as_images

FIGURES = list(_images.FIGURES)


class Bright:
    """Finds what is brighter than the training images."""

    def __init__(self, seed=0):
        self.seed = seed

    def fit(self, images, *, groups=None):
        self.threshold_ = max(float(image.max()) for image in images)
        return self

    def anomaly_score(self, images):
        return np.array([float(image.max()) for image in images])

    def anomaly_map(self, images):
        return [image.max(axis=0).astype(float) for image in images]


class Broken(Bright):
    def fit(self, images, *, groups=None):
        raise RuntimeError("no such luck")


class NoMaps(Bright):
    def anomaly_map(self, images):
        return [None] * len(images)


@pytest.fixture
def split():
    """Two good and two defective images; the mask of one of the latter is not known."""
    test = np.zeros((4, 16, 20), dtype=np.uint8)
    test[2, 3:6, 4:8] = 200
    test[3, 8:10, 8:10] = 90
    masks = np.empty(4, dtype=object)
    masks[2] = test[2] > 0
    train = np.full((5, 16, 20), 100, dtype=np.uint8)
    y = np.array([1, 1, -1, -1])
    return _images.ImageSplit(as_images(train), as_images(test), y, masks)


@pytest.fixture
def stubs(monkeypatch):
    """The command with detectors that are soon fitted, and few textures."""
    for name, number in (("_N_TRAIN", 4), ("_N_GOOD", 3), ("_N_DEFECTIVE", 4)):
        monkeypatch.setattr(_images, name, number)
    monkeypatch.setattr(
        _images,
        "get_image_detectors",
        lambda names, features: {"bright": Bright, "no maps": NoMaps},
    )


def test_figures_of_images():
    """Shares are of the images of a kind, and the defective are what is looked for."""
    figures = image_figures([1, 1, -1, -1], [0, 2, 1, 3], [False, True, False, True])
    assert_allclose(figures["roc_auc"], 0.75)
    assert_allclose(figures["average_precision"], (1 + 2 / 3) / 2)
    assert figures["false_alarms"] == figures["recall"] == 0.5
    one_kind = image_figures([1, 1], [0, 2], [False, True])
    assert one_kind["false_alarms"] == 0.5
    assert np.isnan([one_kind[n] for n in ("roc_auc", "recall")]).all()


def test_auc_within_an_image():
    """A good pixel above one of two defective ones."""
    assert within_image_auc([[0, 1], [1, 0]], [[0.0, 3.0], [1.0, 2.0]]) == 0.75
    assert np.isnan(within_image_auc(np.zeros((2, 2)), np.zeros((2, 2))))
    assert np.isnan(within_image_auc(np.ones((2, 2)), np.zeros((2, 2))))


def test_overlap_of_right_and_wrong_maps():
    """1 where defects are highest, 0 where they are lowest, and a diagonal for none."""
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:4, 2:5] = True
    assert_allclose(region_overlap([(mask, mask * 1.0)]), 1)
    assert region_overlap([(mask, -1.0 * mask)]) == 0
    assert_allclose(region_overlap([(mask, np.zeros((10, 10)))]), 0.15)
    assert_allclose(region_overlap([(mask, np.zeros((10, 10)))], limit=0.5), 0.25)


def test_overlap_counts_defects_alike():
    """A small defect that is missed costs half, however large the other one is."""
    mask = np.zeros((20, 20), dtype=bool)
    mask[:8, :8] = mask[15, 15] = True
    found = np.zeros((20, 20))
    found[:8, :8] = 2
    found[15, 15] = -1
    assert_allclose(region_overlap([(mask, found)]), 0.5)
    # As a part of the large one, by a corner, it hardly counts.
    touching = np.zeros((20, 20), dtype=bool)
    touching[:8, :8] = touching[8, 8] = True
    found[15, 15], found[8, 8] = 0, -1
    assert_allclose(region_overlap([(touching, found)]), 64 / 65)


def test_overlap_by_hand():
    """Half of the defect first, then a tenth of the good pixels, then the rest."""
    mask = np.zeros((1, 22), dtype=bool)
    mask[0, :2] = True
    found = np.zeros((1, 22))
    found[0, 0], found[0, 2:4], found[0, 1] = 3, 2, 1
    # At .5 until the false share is .1, at 1 from there on.
    assert_allclose(region_overlap([(mask, found)]), (0.1 * 0.5 + 0.2 * 1) / 0.3)
    # Good images are good pixels: the same two false ones are a twentieth.
    pairs = [(mask, found), (None, np.full((1, 20), -1.0))]
    assert_allclose(region_overlap(iter(pairs)), (0.05 * 0.5 + 0.25 * 1) / 0.3)


def test_overlap_of_nothing():
    """Without a defect, or without a good pixel, there is none."""
    assert np.isnan(region_overlap([(None, np.zeros((2, 2)))]))
    assert np.isnan(region_overlap([(np.ones((2, 2)), np.zeros((2, 2)))]))
    assert np.isnan(region_overlap([]))


def test_measured(split):
    """Figures of a detector that is seen through."""
    rows = list(_images.measure_images({"bright": Bright}, {"x": lambda _: split}, [7]))
    (row,) = rows
    names = ["data", "method", "seed", "error"]
    assert [row[name] for name in names] == ["x", "bright", 7, ""]
    assert row["roc_auc"] == row["average_precision"] == 1
    assert row["false_alarms"] == 0
    assert row["recall"] == 0.5
    # The other defective image has no mask, and counts for neither.
    assert row["pixel_auc"] == 1
    assert row["pro"] == pytest.approx(1)
    assert row["fit_seconds"] >= 0
    assert row["score_ms"] >= 0


def test_failures_are_rows(split):
    """A method that fails, and data that cannot be read, leave the others."""

    def unreadable(seed):
        raise OSError("gone")

    rows = pd.DataFrame(
        _images.measure_images(
            {"broken": Broken, "no maps": NoMaps},
            {"x": lambda _: split, "y": unreadable},
            [0, 1],
        )
    )
    assert len(rows) == 8
    errors = rows.set_index(["data", "method"])["error"]
    assert (errors["x", "broken"] == "RuntimeError: no such luck").all()
    assert (errors["x", "no maps"] == "").all()
    assert (errors["y"] == "OSError: gone").all()
    ran = rows[rows["error"] == ""]
    assert ran[["pixel_auc", "pro"]].isna().all(axis=None)
    text = _images.format_images(rows)
    assert "x, broken" in text
    assert text.splitlines()[-1].split()[-1] == "2"


def test_medians_and_ranges():
    """Of the seeds that succeeded; a single one has no range."""
    rows = [
        {
            "data": "d",
            "method": "m",
            "seed": s,
            "error": "",
            **dict.fromkeys(FIGURES, v),
        }
        for s, v in enumerate([0.5, 0.9, 0.8])
    ]
    text = _images.format_images(pd.DataFrame(rows))
    assert "0.800 [0.400]" in text
    assert "[" not in _images.format_images(pd.DataFrame(rows[:1]))


def test_textures_by_default(stubs):
    """Five kinds, of which the seed is another draw."""
    sets = _images.load_image_data()
    assert len(sets) == 5
    first, again, other = (sets["dots"](seed) for seed in (0, 0, 1))
    assert (len(first.train), len(first.test), len(first.y)) == (4, 7, 7)
    assert_array_equal(first.test[0], again.test[0])
    assert (first.test[0] != other.test[0]).any()
    assert first.masks[first.y == -1].any(axis=(1, 2)).all()


def test_boards(tmp_path):
    """Masks are bits, of the width of the images."""
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 12)) < 0.3
    np.savez(
        tmp_path / "boards.npz",
        train=np.zeros((2, 8, 12), dtype=np.uint8),
        test=np.zeros((3, 8, 12), dtype=np.uint8),
        y=np.array([1, -1, -1]),
        mask=np.packbits(masks, axis=-1),
    )
    sets = _images.load_image_data(tmp_path)
    split = sets["boards"](0)
    assert list(sets) == ["boards"]
    assert_array_equal(split.masks, masks)
    assert split.test[0].shape == (1, 8, 12)


def test_cells(tmp_path):
    """Five of ten blocks of the published list are trained on, whatever their order."""
    n = 400
    order = np.random.default_rng(0).permutation(n)
    y = np.where(order % 4 == 0, -1, 1)
    X = np.broadcast_to(order[:, None, None] // 2, (n, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "cells.npz", X=X, y=y, order=order)
    cells = _images.load_image_data(tmp_path)["cells"]
    split = cells(0)
    train = {int(image[0, 0, 0]) * 2 // 40 for image in split.train}
    test = {int(image[0, 0, 0]) * 2 // 40 for image in split.test}
    assert (len(train), len(test)) == (5, 5)
    assert not train & test
    assert len(split.test) == n // 2
    assert len(split.train) == n // 2 * 3 // 4
    assert (split.y == -1).sum() == n // 2 // 4
    assert split.masks is None
    assert split.groups.shape == (len(split.train),)
    seen = [[int(image[0, 0, 0]) for image in cells(seed).train] for seed in (0, 1)]
    assert seen[0] != seen[1]


def test_folders(tmp_path):
    """The usual layout, one or many, and what is none."""
    Image = pytest.importorskip("PIL.Image")
    for part in ("a", "b"):
        for name in (
            "train/good/0.png",
            "train/good/1.png",
            "test/good/0.png",
            "test/hole/0.png",
            "ground_truth/hole/0_mask.png",
        ):
            file = tmp_path / part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((9, 7), dtype=np.uint8)
            pixels[2:4, 2:4] = 255 * ("hole" in name)
            Image.fromarray(pixels).save(file)
    assert list(_images.load_image_data(tmp_path)) == ["a", "b"]
    sets = _images.load_image_data(tmp_path / "a")
    assert list(sets) == ["a"]
    split = sets["a"](0)
    assert len(split.train) == 2
    assert_array_equal(split.y, [1, -1])
    (row,) = _images.measure_images({"bright": Bright}, sets, [0])
    assert row["pixel_auc"] == row["roc_auc"] == 1
    assert row["pro"] == pytest.approx(1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no folder train"):
        _images.load_image_data(tmp_path / "empty")


@pytest.mark.parametrize("cls", ["PixelKNN", "PixelPCA", "PixelForest"])
def test_baselines(cls):
    """What is far from all training images is found, in images of any sizes."""
    rng = np.random.default_rng(0)
    # At 64 x 64 as it is, noise would not be smoothed.
    sizes = [(66, 80), (72, 70), (70, 70)] * 8
    images = [rng.integers(100, 120, size).astype(np.uint8) for size in sizes]
    odd = rng.integers(100, 120, (70, 80)).astype(np.uint8)
    odd[20:50, 20:50] = 255
    detector = getattr(_image_baselines, cls)(random_state=0).fit(as_images(images))
    scores = detector.anomaly_score(as_images([images[0], odd]))
    assert scores[1] > detector.threshold_
    assert scores[1] > scores[0]
    maps = detector.anomaly_map(as_images([images[0], odd]))
    if cls == "PixelForest":
        assert maps == [None, None]
    else:
        assert [found.shape for found in maps] == [(66, 80), (70, 80)]
        assert within_image_auc(odd == 255, maps[1]) > 0.9


def test_baselines_keep_their_promise():
    """Groups are held out whole, and units are those of full brightness."""
    bunch = make_texture_defects(60, 0, kind="noise", size=(32, 32), random_state=0)
    images = as_images(bunch.images)
    groups = np.arange(60) // 6
    detector = _image_baselines.PixelPCA(random_state=0).fit(images, groups=groups)
    assert 0 < (detector.anomaly_score(images) > detector.threshold_).mean() < 0.3
    deep = as_images(bunch.images[:3].astype(np.uint16) * 257)
    assert_allclose(
        detector.anomaly_score(deep), detector.anomaly_score(images[:3]), rtol=1e-4
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_ganomaly_at_64(monkeypatch, small, channels):
    """Its own cut and maps; colour counts once."""
    monkeypatch.setattr(
        _image_baselines,
        "GANomalyDetector",
        lambda random_state: small(
            input_shape=(channels, 64, 64), conv=True, n_members=1
        ),
    )
    rng = np.random.default_rng(0)
    images = as_images(
        rng.integers(0, 255, (24, channels, 20, 30)).astype(np.uint8), channels="first"
    )
    detector = _image_baselines.GANomalyOnPixels(random_state=0).fit(images)
    assert detector.anomaly_score(images).shape == (24,)
    assert [found.shape for found in detector.anomaly_map(images[:2])] == [(20, 30)] * 2
    assert detector.threshold_ == detector.detector_.threshold_


def test_methods_by_name(monkeypatch):
    """Upper and lower case alike; features take a function that returns a network."""
    made = _images.get_image_detectors(["KNN", "defects"])
    assert list(made) == ["kNN", "defects"]
    assert isinstance(made["defects"](3), ImageDetector)
    assert made["kNN"](3).random_state == 3
    module = types.ModuleType("my_networks")
    module.bare = lambda: lambda images: images[:, :, ::8, ::8]
    module.ready = lambda: FrozenFeatures(module.bare(), memory="gaussian")
    monkeypatch.setitem(sys.modules, "my_networks", module)
    made = _images.get_image_detectors(features="my_networks:bare")
    assert list(made)[:3] == ["defects", "features", "both"]
    assert isinstance(made["features"](0).method, FrozenFeatures)
    assert made["both"](0).method[0] == "defects"
    made = _images.get_image_detectors(["features"], features="my_networks:ready")
    assert made["features"](0).method.memory == "gaussian"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"names": ["what"]}, "available here: defects"),
        ({"names": ["features"]}, "need --features"),
        ({"features": "my_networks_not"}, "module:function"),
        ({"features": "numpy:no_such"}, "module:function"),
        ({"features": "numpy:pi"}, "no function"),
    ],
)
def test_unknown_methods(options, match):
    """What is not known is named, with what is."""
    with pytest.raises(ValueError, match=match):
        _images.get_image_detectors(**options)


def test_command(stubs, capsys):
    """A line for each run as it ends, and the table."""
    code = main(["images", "--seeds", "2", "--datasets", "dots", "noise"])
    shown = capsys.readouterr().out
    assert code == 0
    assert "dots, bright, seed 1: image AUC" in shown
    assert "Medians of 2 seeds [range]" in shown
    assert "\nnoise, no maps" in shown
    assert "wood" not in shown


def test_command_fails_in_words(stubs, monkeypatch, capsys, tmp_path):
    """Nothing to measure ends at once; what failed on the way, with a table and 1."""
    for arguments, words in (
        (["--datasets", "paper"], "available: wood"),
        (["--data", str(tmp_path)], "no boards.npz"),
        (["--data", str(tmp_path / "none")], "no boards.npz"),
    ):
        with pytest.raises(SystemExit):
            main(["images", *arguments])
        assert words in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(
        _images, "get_image_detectors", lambda names, features: {"broken": Broken}
    )
    assert main(["images", "--seeds", "1", "--datasets", "dots"]) == 1
    assert "no such luck" in capsys.readouterr().out


def test_interrupted_command(stubs, monkeypatch, capsys):
    """What had ended is reported."""

    class Interrupted(Bright):
        def fit(self, images, *, groups=None):
            raise KeyboardInterrupt

    for first, words in ((Bright, "had ended"), (Interrupted, "before the first")):
        monkeypatch.setattr(
            _images,
            "get_image_detectors",
            lambda names, features, first=first: {"a": first, "b": Interrupted},
        )
        assert main(["images", "--seeds", "1"]) == 1
        assert words in capsys.readouterr().out
