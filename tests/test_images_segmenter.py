"""The network that finds drawn defects: training, maps and scores."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from skganomaly.images import _segmenter
from skganomaly.images._drawing import DrawnDefects
from skganomaly.images._maps import image_score
from skganomaly.images._segmenter import (
    SegmentationNet,
    Segmenter,
    segmentation_loss,
    train_segmenter,
)
from skganomaly.images._tiles import tiles


def _images(n_images=12, n_channels=1, shape=(60, 80), seed=0):
    """Stripes with noise, in the units of a camera."""
    generator = np.random.default_rng(seed)
    stripes = 120 + 30 * np.sin(np.arange(shape[1]) / 2)
    noise = generator.normal(0, 5, (n_images, n_channels, *shape))
    return list((stripes + noise).clip(0, 255).astype(np.uint8))


def _spot(crop, generator):
    """A defect of a user's own: a bright square."""
    y, x = generator.integers(5, 85, size=2)
    changed = np.zeros(crop.shape[1:], dtype=bool)
    changed[y : y + 6, x : x + 6] = True
    return np.where(changed, crop + 3, crop), changed


def _trained(images, draw=_spot, n_steps=2, seed=0, **options):
    options = {"batch_size": 4, "generator": np.random.default_rng(seed), **options}
    return train_segmenter(images, draw, n_steps=n_steps, **options)


@pytest.fixture(scope="module")
def untrained():
    """A segmenter whose weights are random and whose statistics are of two batches."""
    return _trained(_images())


def test_finds_the_defects_it_was_shown():
    """A callable of the user's own says what is a defect; no other is needed."""
    segmenter = _trained(_images(), n_steps=40, batch_size=8)
    normal, damaged = _images(10, seed=1), _images(10, seed=2)
    for image in damaged:
        image[:, 30:36, 50:56] += 60
    maps = [segmenter.map(image) for image in normal + damaged]
    scores = [image_score(found) for found in maps]
    assert min(scores[10:]) > max(scores[:10])
    truth = np.zeros((60, 80), dtype=bool)
    truth[30:36, 50:56] = True
    assert roc_auc_score(truth.ravel(), maps[-1].ravel()) > 0.98


def test_drawn_defects_train():
    """The loss falls with the defects of the library."""
    losses = []

    class Watch(torch.nn.Module):
        def __call__(self, *args):
            losses.append(segmentation_loss(*args))
            return losses[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_segmenter, "segmentation_loss", Watch())
        _trained(_images(), DrawnDefects(contrasts=(2, 3)), n_steps=30, batch_size=8)
    losses = [float(loss.detach()) for loss in losses]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("hard", [False, True])
def test_same_seed_same_network(hard):
    images = _images()
    if hard:
        images = [np.where(image > 120, 255, 0).astype(np.uint8) for image in images]
    one, two, other = (
        _trained(images, DrawnDefects(), seed=seed).state_dict() for seed in [0, 0, 1]
    )
    for name in one:
        assert_array_equal(one[name], two[name], err_msg=name)
    assert bool(one["normaliser.is_hard"]) == hard
    assert not torch.equal(one["network.head.weight"], other["network.head.weight"])


@pytest.mark.parametrize(
    ("n_channels", "shape"),
    [(1, (16, 16)), (2, (17, 130)), (3, (96, 97)), (7, (40, 33)), (1, (1, 5))],
)
def test_any_channels_and_sizes(n_channels, shape):
    images = _images(3, n_channels, shape) + _images(2, n_channels, (101, 64))
    segmenter = _trained(images, n_steps=1)
    for image in images:
        found = segmenter.map(image)
        assert found.shape == image.shape[1:] and found.dtype == np.float32
        assert np.isfinite(found).all()
        assert np.isfinite(image_score(found))


def test_wrong_images(untrained):
    for shape in [(3, 60, 80), (60, 80), (1, 1, 60, 80)]:
        with pytest.raises(ValueError, match="images of 1 channels"):
            untrained.map(np.zeros(shape))


@pytest.mark.parametrize("shape", [(300, 420), (150, 610), (511, 16)])
def test_tiles_change_nothing(untrained, monkeypatch, shape):
    """An image in tiles has the map that it has as a whole, up to rounding."""
    image = _images(1, shape=shape, seed=3)[0]
    whole = untrained.map(image)
    monkeypatch.setattr(_segmenter, "_TILE_SIDE", 64)
    assert len(tiles(shape[1] + 16, 64, 16, 96)) > 1 or shape[1] < 64
    assert_allclose(untrained.map(image), whole, atol=1e-5 * np.abs(whole).max())


def test_network_sees_no_farther_than_the_margin():
    with torch.device("meta"):
        network = SegmentationNet(1)
    network.to_empty(device="cpu")
    _segmenter.initialize_layers(network, torch.Generator().manual_seed(0))
    network.eval()
    x = torch.zeros(1, 1, 400, 400, requires_grad=True)
    for y in range(192, 208):
        x.grad = None
        network(x)[0, y, y].backward()
        seen = torch.nonzero(x.grad[0, 0])
        assert int((seen - y).abs().max()) <= _segmenter._REACH


@pytest.mark.parametrize("length", [1, 96, 576, 577, 1040, 3000])
def test_tiles_cover_everything_once(length):
    found = tiles(length, _segmenter._TILE_SIDE, 16, _segmenter._REACH)
    covered = [place for tile in found for place in range(length)[tile.own]]
    assert covered == list(range(length))
    for tile in found:
        side = tile.wide.stop - tile.wide.start
        assert (side + tile.missing) % 16 == 0 and side <= 576 + 2 * 96
        # Cells of four, eight and sixteen pixels lie as they do in the whole image.
        assert tile.wide.start % 16 == 0
        assert tile.wide.start + tile.inside().start == tile.own.start


def test_map_does_not_depend_on_units():
    """The same images in other units make the same network."""
    images = _images()
    bright = [3.5 * image.astype(np.float64) + 1000 for image in images]
    maps = [_trained(each).map(each[0]) for each in [images, bright]]
    assert_allclose(*maps, atol=1e-2 * np.abs(maps[0]).max())


def test_score():
    """The mean of the largest pixels less the median."""
    found = np.zeros((50, 50), np.float32)
    assert image_score(found) == 0
    found[:10, :10] = 2
    assert image_score(found) == 2
    assert image_score(found + 5) == 2
    assert image_score(np.float32([[1, 5]])) == 0


def test_state_is_all():
    """A new segmenter with the state gives the same map; a pickle does as well."""
    images = _images()
    segmenter = _trained(images)
    other = Segmenter(1)
    other.load_state_dict(segmenter.state_dict())
    expected = segmenter.map(images[0])
    assert_array_equal(other.map(images[0]), expected)
    assert_array_equal(pickle.loads(pickle.dumps(segmenter)).map(images[0]), expected)


def test_callers_settings_do_not_matter(untrained):
    image = _images(1)[0]
    expected = untrained.map(image)
    with torch.inference_mode(), np.errstate(all="raise"):
        assert_array_equal(untrained.map(image), expected)
        state = _trained(_images()).state_dict()
    for name, tensor in untrained.state_dict().items():
        assert_array_equal(state[name], tensor)


def test_progress_is_told_of_each_step():
    seen = []

    def progress(steps):
        assert len(steps) == 3
        for step in steps:
            seen.append(step)
            yield step

    _trained(_images(), n_steps=3, progress=progress)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda crop, generator: crop, "and which pixels"),
        (lambda crop, generator: None, "got NoneType"),
        (lambda crop, generator: (crop, crop), "of shapes"),
        (lambda crop, generator: (crop * np.nan, crop[0] > 0), "not finite"),
        (DrawnDefects, "the class DrawnDefects"),
    ],
)
def test_what_a_user_draws_is_checked(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _trained(_images(), wrong, clean_fraction=0)


def test_loss_of_peaks():
    """The loss sees the highest logits outside, and the highest inside."""
    changed = torch.zeros(2, 32, 32, dtype=torch.bool)
    changed[0, 4:8, 4:8] = True
    logits = torch.full((2, 32, 32), -4.0)
    logits[changed] = 4.0
    right = segmentation_loss(logits, changed, 0.4)
    for place, value in [((1, 20, 20), 9.0), ((0, 20, 20), 9.0)]:
        wrong = logits.clone()
        wrong[place] = value
        plain = segmentation_loss(wrong, changed, 0) - segmentation_loss(
            logits, changed, 0
        )
        assert segmentation_loss(wrong, changed, 0.4) - right > 1.2 * plain > 0
    # A bright rim of three pixels is no peak; a defect that nobody sees costs.
    near = logits.clone()
    near[0, 8:11, 4:8] = 9.0
    blind = torch.full_like(logits, -4.0)
    losses = [
        segmentation_loss(each, changed, 0.4) - segmentation_loss(each, changed, 0)
        for each in [logits, near, blind]
    ]
    assert losses[0] == losses[1] < losses[2]
    # Crops that are all defect, or have none, have a loss as well.
    for value in [0, 1]:
        every = torch.full_like(changed, value)
        logits = torch.zeros(2, 32, 32, requires_grad=True)
        segmentation_loss(logits, every, 0.4).backward()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what it takes")
def test_large_image_takes_little_memory():
    """A map of 1,024 x 1,024 stays below 1 GiB, torch itself included."""
    code = (
        "import re, numpy as np, torch\n"
        "torch.set_num_threads(1)\n"
        "from skganomaly.images._segmenter import train_segmenter\n"
        "def draw(crop, generator):\n"
        "    changed = crop[0] > 1\n"
        "    return np.where(changed, crop + 1, crop), changed\n"
        "g = np.random.default_rng(0)\n"
        "image = g.integers(0, 256, (3, 1024, 1024), dtype=np.uint8)\n"
        "s = train_segmenter([image], draw, n_steps=1, batch_size=2, generator=g)\n"
        "assert s.map(image).shape == (1024, 1024)\n"
        # Of this program alone; getrusage begins with what the one before had.
        "status = open('/proc/self/status').read()\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', status)[1])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) * 1024 < 2**30
