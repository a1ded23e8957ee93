"""Generated textures and their defects."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skganomaly.datasets import make_texture_defects
from skganomaly.datasets._textures import SURFACE_DEFECTS, TEXTURE_KINDS


@pytest.fixture(params=TEXTURE_KINDS)
def kind(request):
    return request.param


def test_textures(kind):
    """Defects are where the mask says, of the size asked for, and nowhere else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bunch = make_texture_defects(4, 15, kind=kind, size=(64, 80), random_state=0)
    assert bunch.images.shape == bunch.masks.shape == (19, 64, 80)
    assert bunch.images.dtype == np.uint8
    assert_array_equal(bunch.target, np.repeat([1, -1], [4, 15]))
    assert_array_equal(bunch.kinds == "none", bunch.target == 1)
    assert_array_equal(bunch.masks, bunch.images != bunch.originals)
    areas = bunch.masks.sum(axis=(1, 2))
    assert not areas[:4].any()
    assert areas[4:].min() >= 10
    assert areas[4:].max() <= 100
    assert len(np.unique(areas[4:])) > 8
    expected = set(SURFACE_DEFECTS) - ({"twist"} if kind == "noise" else set())
    assert set(bunch.kinds[4:]) == expected
    # Each image is another piece, and neither black nor white.
    assert len(np.unique(bunch.originals.reshape(19, -1), axis=0)) == 19
    assert np.isin(bunch.originals, [0, 255]).mean() < 0.01


def test_defects_are_seen(kind):
    """A defect differs from what it covers by more than the camera's noise."""
    bunch = make_texture_defects(0, 20, kind=kind, random_state=1)
    change = np.abs(bunch.images.astype(float) - bunch.originals)
    means = [
        image[mask].mean() for image, mask in zip(change, bunch.masks, strict=True)
    ]
    assert min(means) > 3
    assert np.median(means) > 7


def test_textures_follow_their_seed(kind):
    """More images are more of the same, and another seed is another surface."""
    few = make_texture_defects(2, 2, kind=kind, size=(32, 48), random_state=3)
    state = np.random.RandomState(3)
    many = make_texture_defects(5, 4, kind=kind, size=(32, 48), random_state=state)
    assert_array_equal(few.images[:2], many.images[:2])
    assert_array_equal(few.images[2:], many.images[5:7])
    other = make_texture_defects(2, 2, kind=kind, size=(32, 48), random_state=4)
    assert (few.images != other.images).mean() > 0.5


def test_sizes(kind):
    """One size of defect is met exactly but for pixels that stay as they were."""
    bunch = make_texture_defects(
        0, 6, kind=kind, size=(20, 16), defect_sizes=(40, 60), random_state=0
    )
    areas = bunch.masks.sum(axis=(1, 2))
    assert ((areas >= 40) & (areas <= 60)).all()


def test_no_images():
    """None are an array of none."""
    assert make_texture_defects(0, 0).images.shape == (0, 96, 128)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "paper"}, "kind must be one of"),
        ({"n_normal": -1}, "n_normal"),
        ({"n_defective": 1.5}, "n_defective"),
        ({"size": 96}, "size must be two numbers"),
        ({"size": (96, 8)}, "size"),
        ({"defect_sizes": (100, 10)}, "smaller one first"),
        ({"defect_sizes": (10, 100), "size": (16, 16)}, "quarter of 16 x 16"),
        ({"defect_sizes": (2, 10)}, "defect_sizes"),
    ],
)
def test_make_texture_defects_refuses(options, match):
    """What cannot be drawn is named."""
    with pytest.raises((TypeError, ValueError), match=match):
        make_texture_defects(**options)
