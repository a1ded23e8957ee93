"""Defects that are drawn into crops of normal images."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.base import BaseEstimator

from .._compat import Interval, StrOptions
from ._masks import SHAPES, MaskPool, NoisePool, log_uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from numpy.typing import NDArray

__all__ = ["DrawnDefects", "Painter", "check_drawn"]

# A pixel has changed if it has by this much: in units of the images' usual contrast,
# and on black and white ones as a share of the way from one to the other.
_CHANGE = 0.12
_HARD_CHANGE = 0.4

# Fewer changed pixels are no defect, and it is drawn anew, so many times at most.
_FEWEST_PIXELS = 4
_ATTEMPTS = 4

# Share of the drawings in black and white that stay so.
_SNAPPED = 0.95

# Crops that fills are taken from, at most.
_N_MATERIAL = 256

# Largest diameter and strength: shapes are kept, and crops are smaller than such.
_MOST_PIXELS = 500
_MOST_CONTRAST = 1000

# Standard deviation, in pixels, of the smoothing that leaves the local mean.
_LOCAL = 5.0

# The least strength that is drawn when a training begins.
_FIRST_CONTRAST = 1.5


class DrawnDefects(BaseEstimator):
    """Draws defects of many kinds into crops of normal images.

    A defect is a shape that is filled with something. Crops are in normalised units:
    the median of an image is 0, its usual standard deviation 1; of black and white
    images the two values are -1 and 1.

    Any callable ``(crop, generator) -> crop, changed`` can stand in its place:
    ``crop`` is an array (n_channels, height, width) in single precision that it returns
    changed and does not write to, ``generator`` a :class:`numpy.random.Generator`, and
    ``changed`` a boolean array (height, width): the pixels that are different now. If
    it has a method ``prepare(crops, generator, hard)``, as this class has, what that
    returns is called in its stead; and if that has a method ``advance(share)``, it is
    told before each step how much of the training is over.

    Parameters
    ----------
    shapes : sequence of str, default=("blob", "region", "box", "line", "line")
        Shapes to choose from, one that is named twice twice as often: "blob" is a
        ragged spot or several, "region" a patch with soft edges, "box" an ellipse or
        rectangle, "line" a scratch or crack, "streak" a line that is long, wide and
        soft.
    fills : sequence of str or "all", default="all"
        What shapes are filled with: "offset" is the content made brighter or darker,
        "flat" one value of another crop, "paste" a piece of another crop or of another
        place, "displaced" the content moved by 2 to 16 pixels, "blurred" the content
        blurred, "contrast" the content with more or less contrast, "noise" the content
        with noise added, "smooth" the local mean made brighter or darker, with noise.
    sizes : tuple of float, default=(1.5, 34.0)
        Smallest and largest diameter of a defect, in pixels; small ones are as frequent
        as large ones, up to 500. Lines are up to three times as long as the largest.
    contrasts : tuple of float, default=(0.2, 5.0)
        Smallest and largest strength of a fill, in standard deviations of the images,
        up to 1000.
    warm_up : float in [0, 1], default=0.5
        Share of a training in which the smallest strength falls from 1.5, or from
        what ``contrasts`` allows, to what it is in the end. Who is shown faint defects
        first learns nothing where normal images are noisy.
    second_fraction : float, default=0.4
        Share of the drawings that are of two defects.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.images import DrawnDefects
    >>> generator = np.random.default_rng(0)
    >>> crop = generator.standard_normal((1, 96, 96), dtype=np.float32)
    >>> painter = DrawnDefects(shapes=["line"]).prepare([crop], generator)
    >>> drawn, changed = painter(crop, generator)
    >>> bool((drawn != crop)[0, changed].all())
    True
    """

    _parameter_constraints = {
        "shapes": ["array-like"],
        "fills": ["array-like", StrOptions({"all"})],
        "sizes": ["array-like"],
        "contrasts": ["array-like"],
        "warm_up": [Interval(Real, 0, 1, closed="both")],
        "second_fraction": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        shapes: Sequence[str] = ("blob", "region", "box", "line", "line"),
        fills: Sequence[str] | Literal["all"] = "all",
        sizes: tuple[float, float] = (1.5, 34.0),
        contrasts: tuple[float, float] = (0.2, 5.0),
        warm_up: float = 0.5,
        second_fraction: float = 0.4,
    ) -> None:
        self.shapes = shapes
        self.fills = fills
        self.sizes = sizes
        self.contrasts = contrasts
        self.warm_up = warm_up
        self.second_fraction = second_fraction

    def prepare(
        self,
        crops: Sequence[NDArray],
        generator: np.random.Generator,
        *,
        hard: bool = False,
    ) -> Painter:
        """Return what draws such defects into crops of some images.

        Parameters
        ----------
        crops : sequence of ndarray of shape (n_channels, height, width)
            Normalised crops of normal images, to take fills from; at least one.
        generator : numpy.random.Generator
            One seed is drawn from it, for shapes and noise.
        hard : bool, default=False
            Whether the images are black and white.

        Returns
        -------
        Painter
        """
        self._validate_params()
        _check_names("shapes", self.shapes, SHAPES)
        fills = list(_FILLS) if isinstance(self.fills, str) else self.fills
        _check_names("fills", fills, _FILLS)
        _check_range("sizes", self.sizes, _MOST_PIXELS)
        _check_range("contrasts", self.contrasts, _MOST_CONTRAST)
        seed = int(generator.integers(2**63))
        return Painter(
            crops[:_N_MATERIAL],
            masks=MaskPool(seed, self.shapes, self.sizes),
            noise=NoisePool(seed),
            fills=[_FILLS[name] for name in fills],
            contrasts=tuple(self.contrasts),
            warm_up=self.warm_up,
            second_fraction=self.second_fraction,
            hard=hard,
        )


def _check_names(parameter, names, known):
    wrong = [name for name in names if name not in known]
    if wrong or isinstance(names, str) or not len(names):
        raise ValueError(f"{parameter} has to be some of {list(known)}, got {names!r}.")


def _check_range(parameter, limits, most):
    are_two = len(limits) == 2 and all(isinstance(limit, Real) for limit in limits)
    low, high = limits if are_two else (0, 0)
    if not 0 < low <= high <= most:
        raise ValueError(
            f"{parameter} has to be two positive numbers, at most {most}, the smaller "
            f"one first, got {limits!r}."
        )


class Painter:
    """Draws defects; made by :meth:`DrawnDefects.prepare`.

    What it draws depends on the crop, the generator, and how much of a training is
    over, not on what it has drawn before.

    Parameters
    ----------
    crops : sequence of ndarray of shape (n_channels, height, width)
        To take fills from.
    masks : MaskPool
        Shapes.
    noise : NoisePool
        For fills.
    fills : list of callable
        ``(painter, crop, place, strength, generator) -> content`` of the place.
    contrasts : tuple of float
        Smallest and largest strength.
    warm_up : float
        Share of a training in which the smallest strength falls to what it is.
    second_fraction : float
        Share of the drawings that are of two defects.
    hard : bool
        Whether the images are black and white.
    """

    def __init__(
        self,
        crops: Sequence[NDArray],
        *,
        masks: MaskPool,
        noise: NoisePool,
        fills: Sequence[Callable[..., NDArray]],
        contrasts: tuple[float, float],
        warm_up: float,
        second_fraction: float,
        hard: bool,
    ) -> None:
        self.crops = list(crops)
        self.masks = masks
        self.noise = noise
        self.fills = list(fills)
        self.contrasts = self._now = contrasts
        self.warm_up = warm_up
        self.second_fraction = second_fraction
        self.hard = hard

    def advance(self, share: float) -> None:
        """Draw as it is right for a training of which so much is over.

        Parameters
        ----------
        share : float in [0, 1]
        """
        least, most = self.contrasts
        first = min(max(_FIRST_CONTRAST, least), most)
        left = max(1 - share / self.warm_up, 0) if self.warm_up else 0
        self._now = least + left * (first - least), most

    def __call__(
        self, crop: NDArray, generator: np.random.Generator
    ) -> tuple[NDArray, NDArray]:
        """Draw one defect, or two.

        Parameters
        ----------
        crop : ndarray of shape (n_channels, height, width)
            Normalised, in single precision. It is not written to.
        generator : numpy.random.Generator
            Says which defect, and where.

        Returns
        -------
        drawn : ndarray of shape (n_channels, height, width)
            The crop with the defects.
        changed : ndarray of bool, of shape (height, width)
            Which of its pixels are different now. None are if nothing could be drawn,
            as where a piece of a plain crop is moved within that.
        """
        for _ in range(_ATTEMPTS):
            drawn = crop.copy()
            for _ in range(1 + (generator.random() < self.second_fraction)):
                self._fill_one(drawn, generator)
            changed = self._changed(drawn, crop)
            if self.hard and generator.random() < _SNAPPED:
                snapped = _two_values(drawn, crop)
                # A grey pixel at an edge may be no farther from black now than before.
                changed &= self._changed(snapped, crop)
                drawn = np.where(changed, snapped, crop)
            if np.count_nonzero(changed) >= _FEWEST_PIXELS:
                return drawn, changed
        return crop.copy(), np.zeros(crop.shape[1:], dtype=bool)

    def _changed(self, drawn, crop):
        least = 2 * _HARD_CHANGE if self.hard else _CHANGE
        return (np.abs(drawn - crop) > least).any(axis=0)

    def _fill_one(self, drawn, generator):
        """Draw one defect into an array, in place."""
        mask = _turned(self.masks.draw(generator), generator)
        place, piece = _overlap(mask.shape, drawn.shape[1:], generator)
        opacity = mask[piece]
        if generator.random() < 0.5:
            opacity = opacity * np.float32(generator.uniform(0.6, 1.0))
        strength = log_uniform(generator, *self._now)
        if self.hard:
            # Less than from one of the two values to the other is not seen.
            strength = 2 * max(strength, 1.0)
        fill = self.fills[generator.integers(len(self.fills))]
        content = drawn[(slice(None), *place)]
        content += opacity * (fill(self, drawn, place, strength, generator) - content)


def _two_values(drawn, crop):
    """Each pixel as the darkest or brightest of the crop, whichever is nearer."""
    low, high = min(crop.min(), -0.9), max(crop.max(), 0.9)
    return np.where(drawn > (low + high) / 2, high, low).astype(crop.dtype)


def _turned(mask, generator):
    """A mask in one of its eight orientations."""
    if generator.random() < 0.5:
        mask = mask.T
    return mask[:: generator.choice([-1, 1]), :: generator.choice([-1, 1])]


def _overlap(mask, crop, generator):
    """A place for the middle of a mask, and what of the mask lies in the crop.

    Returns
    -------
    place, piece : tuple of slice
        Of the crop, and of the mask.
    """
    place, piece = [], []
    for length, room in zip(mask, crop, strict=True):
        start = int(generator.integers(room)) - length // 2
        first, last = max(start, 0), min(start + length, room)
        place.append(slice(first, last))
        piece.append(slice(first - start, last - start))
    return tuple(place), tuple(piece)


# Fills: what is seen in the place of a defect, as an array of the place's shape.


def _around(crop, place, margin):
    """A crop's content with a margin as far as there is one, and the way back."""
    wide, back = [], []
    for along, length in zip(place, crop.shape[1:], strict=True):
        first, last = max(along.start - margin, 0), min(along.stop + margin, length)
        wide.append(slice(first, last))
        back.append(slice(along.start - first, along.stop - first))
    return crop[(slice(None), *wide)], (slice(None), *back)


def _blur(crop, place, sigma):
    content, back = _around(crop, place, round(3 * sigma))
    return ndimage.gaussian_filter(content, (0, sigma, sigma), truncate=3.0)[back]


def _colour(n_channels, strength, generator):
    """A change of brightness, of the same sign in all channels or not: (n, 1, 1)."""
    change = np.full(n_channels, generator.choice([-1, 1]), dtype=np.float32)
    if n_channels > 1 and generator.random() < 0.5:
        change = generator.standard_normal(n_channels, dtype=np.float32)
        change /= np.abs(change).max()
    return (strength * change)[:, None, None]


def _noise(painter, shape, generator):
    """Noise of unit variance, one for all channels or one for each."""
    if shape[0] == 1 or generator.random() < 0.5:
        return painter.noise.window(shape[1:], generator)
    return np.stack(
        [painter.noise.window(shape[1:], generator) for _ in range(shape[0])]
    )


def _content(crop, place):
    return crop[(slice(None), *place)]


def _other(painter, crop, generator):
    return painter.crops[generator.integers(len(painter.crops))]


def _offset(painter, crop, place, strength, generator):
    return _content(crop, place) + _colour(len(crop), strength, generator)


def _flat(painter, crop, place, strength, generator):
    other = _other(painter, crop, generator)
    y, x = (int(generator.integers(length)) for length in other.shape[1:])
    value = other[:, y, x][:, None, None]
    shape = _content(crop, place).shape
    if generator.random() < 0.5:
        return np.broadcast_to(value, shape)
    share = np.float32(generator.uniform(0.05, 0.3))
    return value + share * _noise(painter, shape, generator)


def _paste(painter, crop, place, strength, generator):
    other = _other(painter, crop, generator) if generator.random() < 0.6 else crop
    if generator.random() < 0.5:
        other = np.rot90(other, k=int(generator.choice([1, 3])), axes=(1, 2))
    shape = _content(crop, place).shape
    window = []
    for want, have in zip(shape[1:], other.shape[1:], strict=True):
        start = generator.integers(max(have - want, 0) + 1)
        window.append(np.arange(start, start + want) % have)
    pasted = other[:, window[0][:, None], window[1]]
    if generator.random() < 0.5:
        # As bright as what it covers, halfway, so that its texture is what tells.
        own = _content(crop, place).mean(axis=(1, 2), keepdims=True)
        pasted = pasted + (own - pasted.mean(axis=(1, 2), keepdims=True)) / 2
    return pasted


def _displaced(painter, crop, place, strength, generator):
    angle, distance = generator.uniform(0, 2 * np.pi), generator.uniform(2, 16)
    window = []
    for along, length, share in zip(
        place, crop.shape[1:], (np.sin(angle), np.cos(angle)), strict=True
    ):
        moved = np.arange(along.start, along.stop) + round(share * distance)
        # Beyond the crop, its mirror image.
        moved = np.abs(moved)
        window.append(np.clip(np.minimum(moved, 2 * (length - 1) - moved), 0, None))
    return crop[:, window[0][:, None], window[1]]


def _blurred(painter, crop, place, strength, generator):
    return _blur(crop, place, log_uniform(generator, 0.7, 3.7))


def _contrast(painter, crop, place, strength, generator):
    mean = _blur(crop, place, _LOCAL)
    factor = 1 + strength if generator.random() < 0.5 else 1 - strength
    return mean + np.float32(factor) * (_content(crop, place) - mean)


def _noisy(painter, crop, place, strength, generator):
    content = _content(crop, place)
    return content + np.float32(0.7 * strength) * _noise(
        painter, content.shape, generator
    )


def _smooth(painter, crop, place, strength, generator):
    mean = _blur(crop, place, _LOCAL)
    share = np.float32(generator.uniform(0.05, 0.3))
    noise = share * _noise(painter, mean.shape, generator)
    return mean + _colour(len(crop), strength / 2, generator) + noise


_FILLS = {
    "offset": _offset,
    "flat": _flat,
    "paste": _paste,
    "displaced": _displaced,
    "blurred": _blurred,
    "contrast": _contrast,
    "noise": _noisy,
    "smooth": _smooth,
}


def check_drawn(drawn, crop):
    """What a callable of the user's has drawn, if it is of the right kind."""
    try:
        image, changed = drawn
        image, changed = np.asarray(image), np.asarray(changed)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "What draws defects has to return the crop and which pixels have changed, "
            f"got {type(drawn).__name__}."
        ) from error
    if image.shape != crop.shape or changed.shape != crop.shape[1:]:
        raise ValueError(
            f"What draws defects was given a crop of shape {crop.shape} and returned "
            f"arrays of shapes {image.shape} and {changed.shape}, for the crop and for "
            "the pixels that have changed; these have to be "
            f"{crop.shape} and {crop.shape[1:]}."
        )
    if not np.isfinite(image).all():
        raise ValueError("What draws defects has returned a crop that is not finite.")
    # A copy, as what comes next writes to it.
    return np.array(image, dtype=np.float32), changed.astype(bool)
