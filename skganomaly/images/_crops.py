"""Crops of images that are read one at a time, and what may vary among normal ones."""

import numpy as np
from scipy import ndimage

from ._drawing import check_drawn
from ._masks import NoisePool, log_uniform
from ._normalising import pad_by_reflection

__all__ = ["CROP_SIDE", "RIM", "CropSource", "HarmlessChanges", "damage"]

CROP_SIDE = 96

# Every image is continued by so many pixels on each side: what a network sees at the
# rim is then seldom the zeros of its own padding.
RIM = 8

# How far beyond an image the corner of a crop is drawn before it is moved inside, so
# that crops at the rim are as frequent as others.
_BEYOND = CROP_SIDE // 4

# Decoded images that are kept, and the side of the piece of a larger one that is.
_KEPT_BYTES = 2**26
_PIECE_SIDE = 4 * CROP_SIDE

# After so many steps one of them is replaced. To read an image may take longer than a
# step.
_STEPS_OF_A_PIECE = 4

# How often a defect is drawn anew that nothing is seen of.
_ATTEMPTS = 4


class CropSource:
    """Random crops of images, of which few are in memory at a time.

    A small image is kept whole and a piece of a larger one, as long as all of these fit
    into a budget. Where they do not, one of them is replaced every few steps, so that
    the memory and the time of a fit do not grow with the number of images.

    Parameters
    ----------
    images : sequence of ndarray of shape (n_channels, height, width)
        Read one at a time.
    normaliser : Normaliser
        Fitted.
    generator : numpy.random.Generator
        Source of all that is random here.
    budget : int, default=2**26
        Bytes that are kept.
    """

    def __init__(self, images, normaliser, generator, *, budget=_KEPT_BYTES):
        self._images = images
        self._normaliser = normaliser
        self._generator = generator
        self._order = iter(())
        self._kept = []
        n_bytes = 0
        # A piece more than the budget has room for would be let go at once.
        while len(self._kept) < len(images):
            piece = self._read()
            n_bytes += piece[0].nbytes
            if self._kept and n_bytes > budget:
                break
            self._kept.append(piece)
        self._oldest = self._n_steps = 0
        # Pieces of large images change as well, or most of each would never be seen.
        all_kept = len(self._kept) == len(images)
        self._is_whole = all_kept and all(whole for _, _, whole in self._kept)

    def advance(self):
        """Count a step; in some, what has been kept longest is replaced."""
        self._n_steps += 1
        if not self._is_whole and self._n_steps % _STEPS_OF_A_PIECE == 0:
            self._kept[self._oldest] = self._read()
            self._oldest = (self._oldest + 1) % len(self._kept)

    def draw(self):
        """One normalised crop, flipped or not."""
        draw = self._generator.integers
        image, (centre, scale), _ = self._kept[draw(len(self._kept))]
        top, left = self._corner(image, CROP_SIDE)
        crop = image[:, top : top + CROP_SIDE, left : left + CROP_SIDE]
        crop = crop[:, :: 1 - 2 * draw(2), :: 1 - 2 * draw(2)]
        return ((crop - centre) / scale).astype(np.float32)

    def _corner(self, image, side):
        corner = []
        for length in image.shape[1:]:
            place = self._generator.integers(-_BEYOND, length - side + _BEYOND + 1)
            corner.append(int(np.clip(place, 0, length - side)))
        return corner

    def _read(self):
        """The next image, or a piece of it, its scale, and whether it is whole."""
        place = next(self._order, None)
        if place is None:
            self._order = iter(self._generator.permutation(len(self._images)))
            place = next(self._order)
        image = np.asarray(self._images[int(place)])
        scale = self._normaliser.scale_of(image)
        padded, _, _ = pad_by_reflection(image, RIM, (CROP_SIDE, CROP_SIDE))
        # One pixel more would do for the budget; twice the side is worth a piece.
        if max(padded.shape[1:]) <= 2 * _PIECE_SIDE:
            return padded, scale, True
        window = []
        for length in padded.shape[1:]:
            side = min(length, _PIECE_SIDE)
            place = self._generator.integers(-side // 4, length - side + side // 4 + 1)
            start = int(np.clip(place, 0, length - side))
            window.append(slice(start, start + side))
        # A copy, as a view would keep all of the image.
        return padded[:, window[0], window[1]].copy(), scale, False


class HarmlessChanges:
    """What may differ between normal images: light, noise, focus.

    Crops with defects and without are both changed so; none of it is a defect.

    Parameters
    ----------
    seed : int
        Of the noise.
    hard : bool
        Whether images are black and white, where only the light varies.
    """

    def __init__(self, seed, *, hard):
        self._noise = NoisePool(seed, smoothing=(0.0, 0.0, 0.5, 0.8))
        self._hard = hard

    def __call__(self, crop, generator):
        """Return a crop, changed; it may be written to."""
        crop *= np.float32(generator.uniform(0.85, 1.15))
        crop += np.float32(generator.normal(0, 0.1))
        if self._hard:
            return crop
        if generator.random() < 0.25:
            sigma = generator.uniform(0.3, 0.9)
            crop = ndimage.gaussian_filter(crop, (0, sigma, sigma), truncate=3.0)
        if generator.random() < 0.6:
            strength = np.float32(log_uniform(generator, 0.01, 0.15))
            for channel in crop:
                channel += strength * self._noise.window(crop.shape[1:], generator)
        slope = generator.normal(0, 0.15, size=2) / 2
        rows, columns = (np.linspace(-1, 1, length) for length in crop.shape[1:])
        crop += (slope[0] * rows[:, None] + slope[1] * columns).astype(np.float32)
        return crop


def damage(image, draw, normaliser, generator):
    """Draw defects into an image as it is in the user's units.

    They lie in one window of the size of the crops that a network is trained on, or in
    all of a smaller image.

    Parameters
    ----------
    image : ndarray of shape (n_channels, height, width)
        It is not written to.
    draw : callable
        ``(crop, generator) -> crop, changed``.
    normaliser : Normaliser
        Fitted.
    generator : numpy.random.Generator
        Source of all that is random.

    Returns
    -------
    damaged : ndarray of shape (n_channels, height, width)
        Of the same dtype as the image. Pixels that were not drawn into are the same.
    changed : ndarray of bool, of shape (height, width)
        Which pixels are different; none are if nothing was drawn.
    """
    centre, scale = normaliser.scale_of(image)
    changed = np.zeros(image.shape[1:], dtype=bool)
    window = []
    for length in image.shape[1:]:
        start = int(generator.integers(max(length - CROP_SIDE, 0) + 1))
        window.append(slice(start, min(start + CROP_SIDE, length)))
    damaged = image.copy()
    part = (slice(None), *window)
    content = image[part]
    padded, top, left = pad_by_reflection(content, 0, (CROP_SIDE, CROP_SIDE))
    crop = ((padded - centre) / scale).astype(np.float32)
    inside = np.s_[top : top + content.shape[1], left : left + content.shape[2]]
    for _ in range(_ATTEMPTS):
        # A copy, as nothing keeps a user's function from writing to its own.
        drawn, found = check_drawn(draw(crop.copy(), generator), crop)
        # In a small image it may lie in what that was continued by.
        if found[inside].any():
            break
    change = (drawn - crop)[(slice(None), *inside)]
    new = content + change * scale
    if np.issubdtype(image.dtype, np.integer):
        limits = np.iinfo(image.dtype)
        new = np.rint(new).clip(limits.min, limits.max)
    damaged[part] = np.where(change != 0, new, content).astype(image.dtype)
    changed[tuple(window)] = found[inside]
    return damaged, changed
