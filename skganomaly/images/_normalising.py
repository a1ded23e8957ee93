"""Images in units in which one network learns from any of them."""

import numpy as np
import torch
from torch import nn

__all__ = ["Normaliser", "check_scales", "pad_by_reflection"]

# As many images of a fit say what scale the images have.
_N_IMAGES = 20

# An image is binarised if nearly all of its pixels are near its darkest or its
# brightest, and some are near either: an object on white paper is not.
_NEAR = 0.05
_BINARISED = 0.9
_EITHER = 0.01

# Of an image that are in double precision at a time.
_N_ROWS = 64


class Normaliser(nn.Module):
    """From an image in the user's units to one of median 0 and usual contrast 1.

    Images whose pixels are all black or white ("hard") are mapped to -1 and 1, by what
    is black and white in most images. Of others, each channel is centred by its own
    median, and divided by its own standard deviation, or by that of the median training
    image where its own is less: an image without contrast is not to be blown up.

    Parameters
    ----------
    n_channels : int
        Of all images.
    """

    def __init__(self, n_channels):
        super().__init__()
        self.register_buffer("is_hard", torch.tensor(False))
        self.register_buffer("low", torch.zeros(n_channels))
        self.register_buffer("spread", torch.ones(n_channels))

    @property
    def hard(self):
        """Whether images are black and white."""
        return bool(self.is_hard)

    def fit(self, images):
        """Learn from the first of some images, evenly spread over all.

        Parameters
        ----------
        images : sequence of ndarray of shape (n_channels, height, width)

        Returns
        -------
        Normaliser
        """
        n_images = min(len(images), _N_IMAGES)
        places = np.linspace(0, len(images) - 1, n_images).round().astype(int)
        ranges, deviations, near_low, near_high = [], [], [], []
        for place in places:
            pixels = _flat(images[place])
            low, high = pixels.min(1), pixels.max(1)
            ranges.append((low, high))
            deviations.append(pixels.std(1))
            varies = high > low
            if varies.any():
                share = (pixels - low[:, None])[varies]
                share /= (high - low)[varies, None]
                near_low.append((share < _NEAR).mean())
                near_high.append((share > 1 - _NEAR).mean())
        low, high = np.median(ranges, axis=0)
        black, white = np.mean(near_low or [0.0]), np.mean(near_high or [0.0])
        is_hard = black + white > _BINARISED and min(black, white) > _EITHER
        self.is_hard.fill_(bool(is_hard))
        spread = high - low if self.hard else np.median(deviations, axis=0)
        self.low.copy_(torch.from_numpy(low))
        self.spread.copy_(torch.from_numpy(np.where(spread > 0, spread, 1)))
        return self

    def scale_of(self, image):
        """What is subtracted from each channel of an image, and divided by.

        Returns
        -------
        centre, scale : ndarray of shape (n_channels, 1, 1)
        """
        low, spread = (each.cpu().double().numpy() for each in (self.low, self.spread))
        if self.hard:
            centre, scale = low + spread / 2, spread / 2
        else:
            centre, deviation = _median_and_deviation(image)
            scale = np.maximum(deviation, spread)
        return centre[:, None, None], scale[:, None, None]

    def forward(self, image):
        """The image, normalised, in single precision."""
        centre, scale = self.scale_of(image)
        return ((image - centre) / scale).astype(np.float32)


def _median_and_deviation(image):
    """Median and standard deviation of each channel, without a large copy."""
    medians = np.median(image.reshape(len(image), -1), axis=1).astype(np.float64)
    sums = np.zeros((2, len(image)))
    for first in range(0, image.shape[1], _N_ROWS):
        rows = image[:, first : first + _N_ROWS] - medians[:, None, None]
        sums += rows.sum((1, 2)), np.square(rows).sum((1, 2))
    mean, mean_square = sums / (image.shape[1] * image.shape[2])
    return medians, np.sqrt(np.maximum(mean_square - mean**2, 0))


def _flat(image):
    return np.asarray(image, dtype=np.float64).reshape(len(image), -1)


def pad_by_reflection(image, rim, smallest=(0, 0)):
    """Continue an image beyond its edges by its mirror images.

    Parameters
    ----------
    image : ndarray of shape (n_channels, height, width)
    rim : int
        Pixels on each side.
    smallest : tuple of int
        Height and width that the result has at least.

    Returns
    -------
    padded : ndarray
    top, left : int
        Where the image begins in it.
    """
    margins = []
    for length, least in zip(image.shape[1:], smallest, strict=True):
        more = max(least - length - 2 * rim, 0)
        margins.append((rim + more // 2, rim + more - more // 2))
    # One row of pixels has nothing to be mirrored.
    for axis, (length, margin) in enumerate(
        zip(image.shape[1:], margins, strict=True), start=1
    ):
        widths = [(0, 0)] * 3
        widths[axis] = margin
        image = np.pad(image, widths, mode="reflect" if length > 1 else "edge")
    return image, margins[0][0], margins[1][0]


def check_scales(scales):
    """Scales of images, if they are some positive numbers."""
    try:
        wanted = tuple(float(scale) for scale in scales)
    except (TypeError, ValueError):
        wanted = ()
    if not wanted or not all(0 < scale < np.inf for scale in wanted):
        raise ValueError(
            f"scales has to be factors above 0, one or several; got {scales!r}."
        )
    return wanted
