"""The shape of one row, as networks see it."""

import math

import numpy as np

__all__ = ["resolve_input_shape"]


def resolve_input_shape(input_shape, array_shape):
    """Shape of one row as the networks see it.

    Parameters
    ----------
    input_shape : tuple of int or None
        (n_features,), (channels, length) or (channels, height, width); None takes
        it from the array.
    array_shape : tuple of int
        Shape of the training array, two- to four-dimensional.

    Returns
    -------
    tuple of int
    """
    row_shape = tuple(array_shape[1:])
    if input_shape is None:
        if len(row_shape) == 1:
            return row_shape
        if len(row_shape) == 2:
            return (1, *row_shape)
        channels_last = row_shape[2] in (1, 3, 4) and row_shape[0] > 4
        if channels_last:
            raise ValueError(
                f"X has shape {tuple(array_shape)}, which looks like images with the "
                "channels last. Pass (n, channels, height, width), for example "
                "X.transpose(0, 3, 1, 2); if the first axis of a row really has its "
                f"channels, say so with input_shape={row_shape}."
            )
        return row_shape
    shape = tuple(input_shape)
    if not 1 <= len(shape) <= 3 or any(
        isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1
        for n in shape
    ):
        raise ValueError(
            f"input_shape={input_shape!r} is not the shape of a row. Use "
            "(n_features,), (channels, length) or (channels, height, width), all "
            "positive integers."
        )
    shape = tuple(int(n) for n in shape)
    if math.prod(shape) != math.prod(row_shape):
        if tuple(array_shape) == shape:
            raise ValueError(
                f"X has shape {shape}, which is input_shape, the shape of one row. "
                "The first axis counts the rows, of which fit needs at least two: "
                f"pass (n, {', '.join(map(str, shape))})."
            )
        raise ValueError(
            f"input_shape={shape} has {math.prod(shape)} values and a row of X, of "
            f"shape {tuple(array_shape)}, has {math.prod(row_shape)}. Pass the shape "
            "of one row, channels first."
        )
    if len(row_shape) > 1 and shape not in (row_shape, (1, *row_shape)):
        raise ValueError(
            f"input_shape={shape} contradicts X of shape {tuple(array_shape)}. Arrange "
            f"X as (n, {', '.join(map(str, shape))}), for example with "
            "X.transpose(0, 3, 1, 2) if its channels are last, or pass flat rows."
        )
    return shape
