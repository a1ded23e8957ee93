"""Defects that are drawn into crops of normal images."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skganomaly.images._crops import CROP_SIDE, RIM, CropSource, HarmlessChanges, damage
from skganomaly.images._drawing import _FILLS, DrawnDefects
from skganomaly.images._masks import SHAPES, MaskPool, NoisePool
from skganomaly.images._normalising import Normaliser, pad_by_reflection


def _texture(n_channels=1, side=96, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n_channels, side, side), dtype=np.float32)


def _black_and_white(seed=0):
    """Stripes of -1 and 1 with a few grey pixels at their edges."""
    crop = np.where(np.arange(96) // 4 % 2, 1.0, -1.0) * np.ones((96, 1))
    crop[:, 3::24] = 0.5
    return np.roll(crop, seed, axis=1).astype(np.float32)[None]


def _painter(hard=False, n_channels=1, seed=0, **options):
    make = _black_and_white if hard else lambda seed: _texture(n_channels, seed=seed)
    crops = [make(seed=seed) for seed in range(1, 4)]
    generator = np.random.default_rng(seed)
    return DrawnDefects(**options).prepare(crops, generator, hard=hard)


@pytest.mark.parametrize("n_channels", [1, 3, 5])
@pytest.mark.parametrize("fill", _FILLS)
def test_changed_are_pixels_that_changed(fill, n_channels):
    """Pixels that are said to have changed have, and others hardly."""
    painter, crop = _painter(n_channels=n_channels, fills=[fill]), _texture(n_channels)
    before, n_drawn = crop.copy(), 0
    for seed in range(20):
        drawn, changed = painter(crop, np.random.default_rng(seed))
        assert drawn.dtype == crop.dtype and drawn.shape == crop.shape
        assert changed.dtype == bool and changed.shape == crop.shape[1:]
        difference = np.abs(drawn - crop).max(axis=0)
        assert difference[changed].min(initial=1) > 0.1
        assert difference[~changed].max() < 0.13
        assert np.isfinite(drawn).all()
        n_drawn += changed.any()
    assert n_drawn > 10
    assert_array_equal(crop, before)


@pytest.mark.parametrize("fill", _FILLS)
def test_black_and_white_stays_so(fill):
    """Changed pixels take the image's two values, and others stay as they were."""
    painter, crop = _painter(hard=True, fills=[fill]), _black_and_white()
    n_snapped = n_drawn = 0
    for seed in range(40):
        drawn, changed = painter(crop, np.random.default_rng(seed))
        n_drawn += changed.any()
        snapped = np.isin(drawn[0, changed], [-1, 1]).all()
        n_snapped += snapped and changed.any()
        if snapped:
            assert_array_equal(drawn[0, ~changed], crop[0, ~changed])
        assert (np.abs(drawn - crop)[0, changed] > 0.75).all()
    assert n_drawn > 2
    assert n_snapped > 0.7 * n_drawn


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    """Each shape is seen, is opaque somewhere, and is about as large as asked for."""
    pool = MaskPool(0, [shape], (2.0, 20.0))
    generator = np.random.default_rng(0)
    masks = [pool.draw(generator) for _ in range(40)]
    assert all(0 <= mask.min() and 0.2 < mask.max() <= 1 for mask in masks)
    sides = [max(mask.shape) for mask in masks]
    assert max(sides) < {"line": 90, "streak": 130}.get(shape, 60)
    assert np.median(sides) > 3


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (1.0, 200.0), (90.0, 90.0)])
@pytest.mark.parametrize("side", [32, 96])
def test_any_size_fits_any_crop(sizes, side):
    painter = _painter(shapes=list(SHAPES), sizes=sizes)
    for seed in range(10):
        drawn, _ = painter(_texture(side=side), np.random.default_rng(seed))
        assert drawn.shape == (1, side, side)


def test_same_seed_same_drawing_whatever_came_before():
    painter, other, crop = _painter(), _painter(), _texture()
    for seed in range(10):
        other(crop, np.random.default_rng(100 + seed))
    for seed in range(5):
        expected = painter(crop, np.random.default_rng(seed))
        found = other(crop, np.random.default_rng(seed))
        for one, two in zip(expected, found, strict=True):
            assert_array_equal(one, two)


def test_plain_crop():
    """Where nothing can be seen to move, nothing is said to have changed."""
    painter = DrawnDefects(fills=["displaced"]).prepare(
        [np.zeros((1, 96, 96), np.float32)], np.random.default_rng(0)
    )
    _, changed = painter(np.zeros((1, 96, 96), np.float32), np.random.default_rng(0))
    assert not changed.any()


def test_strength_follows_contrasts():
    weak = _painter(fills=["offset"], contrasts=(0.3, 0.3))
    strong = _painter(fills=["offset"], contrasts=(3.0, 3.0), second_fraction=0.0)
    crop = _texture()
    for painter, least, most in [(weak, 0.12, 0.7), (strong, 1.0, 3.01)]:
        for seed in range(5):
            drawn, _ = painter(crop, np.random.default_rng(seed))
            assert least < np.abs(drawn - crop).max() < most


def test_strong_defects_are_drawn_first():
    """The smallest strength falls while a training warms up; then it stays."""
    crop = np.zeros((1, 96, 96), dtype=np.float32)

    def weakest(share, **options):
        painter = _painter(fills=["offset"], shapes=["box"], **options)
        painter.advance(share)
        drawn = [painter(crop, np.random.default_rng(seed))[0] for seed in range(60)]
        return min(np.abs(each).max() for each in drawn)

    falling = [weakest(share) for share in (0.0, 0.2, 0.4, 0.5)]
    assert falling == sorted(falling, reverse=True) and falling[0] > 3 * falling[-1]
    assert weakest(0.9) == falling[-1] == weakest(0.0, warm_up=0.0)
    assert weakest(0.0, contrasts=(0.2, 0.3)) < 0.31
    assert weakest(0.0, contrasts=(3.0, 4.0)) > 1.5


def test_parameters_are_plain():
    defects = DrawnDefects(shapes=["line"], sizes=(2, 5))
    assert clone(defects).get_params() == defects.get_params()
    before = vars(defects).copy()
    defects.prepare([_texture()], np.random.default_rng(0))
    assert vars(defects) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"shapes": ["star"]},
        {"shapes": "line"},
        {"shapes": []},
        {"fills": ["gold"]},
        {"sizes": (5, 2)},
        {"sizes": (0, 2)},
        {"contrasts": (1,)},
        {"contrasts": (1, np.nan)},
        {"contrasts": ("low", "high")},
        {"contrasts": (1, 1e300)},
        {"sizes": 5},
        {"second_fraction": 1.5},
    ],
)
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        _painter(**wrong)


def test_sizes_that_no_memory_holds():
    """Are refused before anything is reserved; the largest that may be are drawn."""
    with pytest.raises(ValueError, match=r"at most 500, .* got \(1, 1000000000.0\)"):
        _painter(sizes=(1, 1e9))
    painter = _painter(sizes=(500, 500), contrasts=(1000, 1000), shapes=list(SHAPES))
    for seed in range(5):
        drawn, changed = painter(_texture(), np.random.default_rng(seed))
        assert changed.any() and np.isfinite(drawn).all()


def test_noise_has_unit_variance_and_any_shape():
    pool, generator = NoisePool(0), np.random.default_rng(0)
    for shape in [(3, 5), (160, 160), (200, 20)]:
        assert pool.window(shape, generator).shape == shape
    values = [pool.window((96, 96), generator).std() for _ in range(20)]
    assert 0.8 < np.mean(values) < 1.2


def test_harmless_changes_are_small():
    for hard in [False, True]:
        vary, generator = HarmlessChanges(0, hard=hard), np.random.default_rng(0)
        for seed in range(10):
            crop = _texture(2, seed=seed)
            varied = vary(crop.copy(), generator)
            correlation = np.corrcoef(varied.ravel(), crop.ravel())[0, 1]
            assert correlation > (0.999 if hard else 0.6)


def test_normaliser():
    """Median 0 and usual contrast 1, whatever the units; nothing is blown up."""
    generator = np.random.default_rng(0)
    images = [generator.normal([[[9]], [[900]]], [[[1]], [[50]]], (2, 40, 50))] * 5
    normaliser = Normaliser(2).fit(images)
    assert not normaliser.hard
    normal = normaliser(images[0])
    assert normal.dtype == np.float32
    assert np.abs(np.median(normal, axis=(1, 2))).max() < 1e-6
    assert normal.std(axis=(1, 2)) == pytest.approx([1, 1], abs=1e-3)
    flat = np.full((2, 40, 50), 7.0)
    assert not normaliser(flat).any()
    flat[0, 3, 3] += 1
    assert normaliser(flat).max() == pytest.approx(1, abs=0.1)
    # Constant training images have no contrast to divide by.
    assert not Normaliser(1).fit([np.zeros((1, 9, 9))]).hard


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 65535), (-1.0, 3.0)])
def test_black_and_white_is_known(low, high):
    image = low + (high - low) * (_black_and_white() + 1) / 2
    normaliser = Normaliser(1).fit([image, image])
    assert normaliser.hard
    assert normaliser(image) == pytest.approx(_black_and_white(), abs=1e-5)


def test_small_object_on_white_is_not_black_and_white():
    image = np.full((1, 64, 64), 255, np.uint8)
    image[0, :4, :4] = np.arange(16).reshape(4, 4) * 10
    assert not Normaliser(1).fit([image]).hard


def test_normaliser_of_uint8_is_that_of_floats():
    image = np.random.default_rng(0).integers(0, 256, (1, 200, 30), dtype=np.uint8)
    normaliser = Normaliser(1).fit([image])
    assert normaliser(image) == pytest.approx(normaliser(image.astype(float)), abs=1e-5)
    assert normaliser(image).std() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 7), (2, 16, 20), (1, 150, 30)])
def test_padding(shape):
    image = _texture(shape[0], side=200)[:, : shape[1], : shape[2]]
    padded, top, left = pad_by_reflection(image, 8, (96, 96))
    assert min(padded.shape[1:]) >= 96
    inside = padded[:, top : top + shape[1], left : left + shape[2]]
    assert_array_equal(inside, image)
    assert top >= 8 and left >= 8
    assert set(padded.ravel()) == set(image.ravel())


class _Counted:
    """A lazy sequence of images that counts how often it is read."""

    def __init__(self, *shapes):
        self.shapes, self.n_read = shapes, 0

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, place):
        if not 0 <= place < len(self):
            raise IndexError(place)
        self.n_read += 1
        return np.full(self.shapes[place], place, dtype=np.uint8)


def _source(images, **options):
    return CropSource(
        images, Normaliser(images.shapes[0][0]), np.random.default_rng(0), **options
    )


def test_few_small_images_are_read_once():
    images = _Counted(*[(1, 40, 130)] * 7)
    source = _source(images)
    for _ in range(60):
        source.advance()
        crop = source.draw()
        assert crop.shape == (1, CROP_SIDE, CROP_SIDE) and crop.dtype == np.float32
    assert images.n_read == 7


def test_what_does_not_fit_is_replaced_now_and_then():
    images = _Counted(*[(1, 120, 120)] * 50)
    budget = 10 * (120 + 2 * RIM) ** 2
    source = _source(images, budget=budget)
    assert sum(piece[0].nbytes for piece in source._kept) <= budget
    before = images.n_read
    for _ in range(100):
        source.advance()
    assert images.n_read - before == 25
    assert sum(piece[0].nbytes for piece in source._kept) <= budget


def test_of_large_images_pieces_are_kept():
    images = _Counted((3, 1500, 2000), (3, 900, 90), (3, 16, 16))
    source = _source(images)
    for _ in range(10):
        assert source.draw().shape == (3, CROP_SIDE, CROP_SIDE)
        source.advance()
    assert max(piece[0].nbytes for piece in source._kept) < 3 * 800**2


def test_source_is_reproducible():
    images = [_texture(1, 150, seed) for seed in range(5)]
    drawn = []
    for _ in range(2):
        source = CropSource(
            images, Normaliser(1), np.random.default_rng(3), budget=300_000
        )
        crops = []
        for _ in range(5):
            crops.append(source.draw())
            source.advance()
        drawn.append(np.stack(crops))
    assert_array_equal(*drawn)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize("shape", [(3, 200, 120), (1, 20, 300)])
def test_defects_in_the_units_of_the_image(shape, dtype):
    """Defects are seen in a whole image, and what they don't cover stays as it was."""
    generator = np.random.default_rng(0)
    image = generator.integers(100, 200, shape).astype(dtype)
    before = image.copy()
    normaliser = Normaliser(shape[0]).fit([image])
    painter, n_drawn = _painter(n_channels=shape[0]), 0
    for _ in range(20):
        damaged, changed = damage(image, painter, normaliser, generator)
        assert damaged.dtype == image.dtype and changed.shape == shape[1:]
        difference = np.abs(damaged.astype(float) - image).max(axis=0)
        # Rounded to integers, and cut off at their limits.
        assert difference[changed].min(initial=99) >= 0.12 * 28 - 1
        assert difference[~changed].max() <= 0.12 * 31 + 1
        n_drawn += changed.any()
    assert n_drawn > 10
    assert_array_equal(image, before)


def test_a_user_may_draw_into_the_crop_itself():
    def draw(crop, generator):
        crop[:, 5:9, 5:9] += 3
        return crop, np.ones(crop.shape[1:], dtype=bool)

    generator = np.random.default_rng(0)
    image = generator.normal(size=(1, 96, 96)).astype(np.float32)
    damaged, _ = damage(image, draw, Normaliser(1).fit([image]), generator)
    assert_array_equal(np.argwhere(damaged != image)[[0, -1], 1:], [[5, 5], [8, 8]])
