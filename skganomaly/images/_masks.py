"""Shapes of drawn defects, and fields of noise: pools that fill as they are asked for.

What is at a place of a pool depends on the pool's seed and the place alone, so a draw
from it is the same whatever has been drawn before.
"""

import math

import numpy as np
from scipy import ndimage

__all__ = ["SHAPES", "MaskPool", "NoisePool"]

_N_MASKS = 500
_N_FIELDS = 48

# The side of a field of noise.
_FIELD_SIDE = 160

# Edges are softened by as much, in pixels, which is what a lens and a scan do.
_EDGE = 0.3, 1.2

# Less than this of a fill is not seen, and is cut off.
_INVISIBLE = 0.02

# An edge reaches as many standard deviations of its softening.
_REACH = 3.0


def log_uniform(generator, low, high):
    """A number whose logarithm is uniform between those of two others."""
    return math.exp(generator.uniform(math.log(low), math.log(high)))


def _disc(side):
    """Distance of each pixel from the middle of a square, 1 at its sides."""
    place = (np.arange(side) - (side - 1) / 2) / (side / 2)
    return np.hypot(place[:, None], place)


def _blob(size, limits, generator):
    """Thresholded noise inside a disc: a spot or several, ragged."""
    side = math.ceil(2 * size) + 2
    sigma = np.exp(generator.uniform(0, 2.3, size=2))
    field = _smooth_field((side, side), np.minimum(sigma, side / 3), generator)
    mask = (field > generator.uniform(1.0, 2.4)) & (_disc(side) < 1)
    # A field may be nowhere so high; its highest place is then the defect.
    return mask if mask.any() else field >= field.max()


def _region(size, limits, generator):
    """A patch of irregular outline whose edge is as soft as the patch is large."""
    side = math.ceil(2 * size) + 4
    field = _smooth_field((side, side), max(size / 3, 0.7), generator)
    softness = generator.uniform(0.1, 0.6)
    inside = (field + 3 * (0.75 - _disc(side))) / softness
    # Beyond these no difference is left, and the exponential would overflow.
    return 1 / (1 + np.exp(-inside.clip(-30, 30)))


def _box(size, limits, generator):
    """An ellipse or a rectangle, turned, and sometimes cut off along a line."""
    side = math.ceil(1.5 * size) + 2
    turn = generator.uniform(0, math.pi)
    y, x = np.indices((side, side)) - (side - 1) / 2
    along = x * math.cos(turn) + y * math.sin(turn)
    across = y * math.cos(turn) - x * math.sin(turn)
    half, narrow = size / 2, size / 2 * generator.uniform(0.3, 1.0)
    along, across = along / max(half, 0.6), across / max(narrow, 0.6)
    if generator.random() < 0.5:
        mask = along**2 + across**2 <= 1
    else:
        mask = np.maximum(np.abs(along), np.abs(across)) <= 1
    if generator.random() < 0.3:
        angle = generator.uniform(0, 2 * math.pi)
        cut = along * math.cos(angle) + across * math.sin(angle)
        kept = mask & (cut < generator.uniform(-0.4, 0.6))
        mask = kept if kept.any() else mask
    return mask


def _walk(length, bend, generator):
    """Pixels of a walk whose direction changes little by little, half a pixel a step.

    Returns
    -------
    ndarray of shape (n_steps, 2)
    """
    n_steps = max(2 * round(length), 2)
    heading = generator.uniform(0, 2 * math.pi)
    heading = heading + np.cumsum(generator.normal(0, bend, size=n_steps))
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) / 2
    return np.cumsum(steps, axis=0)


def _canvas(points, margin):
    """An empty mask around points, and where these are in it.

    Returns
    -------
    mask : ndarray of bool
    places : tuple of ndarray
    """
    points = np.rint(points).astype(int)
    points = points - points.min(axis=0) + margin
    return np.zeros(points.max(axis=0) + 1 + margin, dtype=bool), tuple(points.T)


def _line(size, limits, generator):
    """A scratch or a crack: a walk of one to three pixels' width."""
    length = log_uniform(generator, min(5.0, limits[1]), 3 * limits[1])
    width = generator.choice([1, 1, 1, 2, 2, 3])
    walk = _walk(length, generator.uniform(0.02, 0.35), generator)
    mask, places = _canvas(walk, 2)
    mask[places] = True
    return ndimage.binary_dilation(mask, np.ones((width, width))) if width > 1 else mask


def _streak(size, limits, generator):
    """A line that is long, wide and soft, and nearly straight; it may fade away."""
    length = generator.uniform(1.0, 4.0) * limits[1]
    sigma = log_uniform(generator, 1.5, max(limits[1] / 6, 2.0))
    walk = _walk(length, generator.uniform(0.0, 0.03), generator)
    mask, places = _canvas(walk, math.ceil(_REACH * sigma))
    mask[places] = True
    distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    strength = np.zeros(mask.shape)
    # Both ends fade over shares of the length of their own.
    along = np.linspace(0, 1, len(walk))
    fade = generator.uniform(0.02, 0.5, size=2)
    strength[places] = np.minimum(1, np.minimum(along / fade[0], (1 - along) / fade[1]))
    return strength[tuple(nearest)] * np.exp(-0.5 * (distance / sigma) ** 2)


SHAPES = {
    "blob": _blob,
    "region": _region,
    "box": _box,
    "line": _line,
    "streak": _streak,
}


def _smooth_field(shape, sigma, generator):
    """Smoothed white noise of mean 0 and variance 1."""
    field = generator.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, sigma, mode="wrap")
    spread = field.std()
    return (field - field.mean()) / (spread if spread > 0 else 1)


class _Pool:
    """Things that are drawn when they are first asked for, and kept."""

    def __init__(self, seed, n_places):
        self._seed = seed
        self._made = [None] * n_places

    def draw(self, generator):
        """One of them, whichever the generator says."""
        place = int(generator.integers(len(self._made)))
        if self._made[place] is None:
            own = np.random.default_rng([self._seed, place])
            self._made[place] = self._make(place, own)
        return self._made[place]


class MaskPool(_Pool):
    """How much of the fill is seen at each pixel of a defect.

    Parameters
    ----------
    seed : int
        Of all masks.
    shapes : sequence of str
        Keys of ``SHAPES``, each as often as it is named.
    sizes : tuple of float
        Smallest and largest diameter, in pixels; a line may be three, a streak four
        times as long as the latter.
    """

    def __init__(self, seed, shapes, sizes):
        super().__init__(seed, _N_MASKS)
        self._shapes = tuple(shapes)
        self._sizes = tuple(sizes)

    def _make(self, place, generator):
        shape = SHAPES[self._shapes[place % len(self._shapes)]]
        size = log_uniform(generator, *self._sizes)
        mask = np.asarray(shape(size, self._sizes, generator))
        if mask.dtype == bool:
            # The smallest may miss the middle of every pixel.
            mask[mask.shape[0] // 2, mask.shape[1] // 2] |= not mask.any()
            edge = log_uniform(generator, *_EDGE)
            mask = np.pad(mask, math.ceil(_REACH * edge)).astype(np.float32)
            mask = ndimage.gaussian_filter(mask, edge, mode="constant")
            # A thin line that is smoothed keeps its contrast.
            mask /= mask.max()
        seen = mask > _INVISIBLE
        window = tuple(
            slice(along.min(), along.max() + 1) for along in np.nonzero(seen)
        )
        return np.where(seen, mask, 0)[window].astype(np.float32)


class NoisePool(_Pool):
    """Fields of noise of unit variance.

    Parameters
    ----------
    seed : int
        Of all fields.
    smoothing : sequence of float, default=(0.0, 0.5, 1.0, 2.0, 4.0)
        Standard deviations, in pixels, each as frequent as the others: from single
        pixels to clouds.
    """

    def __init__(self, seed, smoothing=(0.0, 0.5, 1.0, 2.0, 4.0)):
        super().__init__(seed, _N_FIELDS)
        self._smoothing = tuple(smoothing)

    def _make(self, place, generator):
        sigma = self._smoothing[place % len(self._smoothing)]
        return _smooth_field((_FIELD_SIDE, _FIELD_SIDE), sigma, generator)

    def window(self, shape, generator):
        """A piece of a field, of any shape (height, width)."""
        field = self.draw(generator)
        if max(shape) > _FIELD_SIDE:
            field = np.tile(field, [math.ceil(n / _FIELD_SIDE) for n in shape])
        place = [
            int(generator.integers(have - want + 1))
            for have, want in zip(field.shape, shape, strict=True)
        ]
        window = field[place[0] : place[0] + shape[0], place[1] : place[1] + shape[1]]
        # A view that is turned is another one.
        return window[:: generator.choice([-1, 1]), :: generator.choice([-1, 1])]
