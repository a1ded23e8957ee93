"""From images and colours to what imshow draws."""

import numpy as np

RED = np.array([0.84, 0.10, 0.05])

# ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114])


def as_picture(image, low, high, *, grey=False):
    """An image of any channels as (height, width, 3), between 0 and 1.

    Parameters
    ----------
    image : ndarray of shape (n_channels, height, width)
        Three channels are colours, and of others the mean is shown.
    low, high : float
        What is black, and what is white.
    grey : bool, default=False
        Whether to leave the colours out.

    Returns
    -------
    ndarray of shape (height, width, 3)
    """
    low, high = float(low), float(high)
    shown = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
    if len(shown) != 3:
        shown = np.repeat(shown.mean(axis=0, keepdims=True), 3, axis=0)
    elif grey:
        shown = np.repeat(np.tensordot(_LUMA, shown, axes=1)[None], 3, axis=0)
    return shown.transpose(1, 2, 0)


def cover(picture, colors, opacity):
    """A picture under a translucent one."""
    opacity = np.asarray(opacity, dtype=np.float64)[..., None]
    return (1 - opacity) * picture + opacity * colors


def coarser(values, n_rows, n_columns, *, largest):
    """An array in blocks, so that it has no more entries than a panel has pixels.

    Left to itself, imshow leaves out rows and columns of what is larger than its panel,
    and a defect of a few pixels with them.

    Parameters
    ----------
    values : ndarray of shape (height, width, ...)
    n_rows, n_columns : float
        Pixels of the panel.
    largest : bool
        Whether of each block the largest value stays, and not the mean.

    Returns
    -------
    ndarray
        Blocks are square; those at the end are of what is left.
    """
    height, width = values.shape[:2]
    side = int(np.ceil(max(height / max(n_rows, 1), width / max(n_columns, 1), 1)))
    if side == 1:
        return values
    for axis, length in ((0, height), (1, width)):
        starts = np.arange(0, length, side)
        if largest:
            values = np.maximum.reduceat(values, starts, axis=axis)
            continue
        sizes = np.diff([*starts, length]).reshape(
            [-1 if axis == i else 1 for i in range(values.ndim)]
        )
        values = np.add.reduceat(values, starts, axis=axis) / sizes
    return values


def without_ticks(axes):
    """Take the ticks of panels away, as those of a picture say little."""
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
