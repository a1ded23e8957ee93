"""Tests of the shape of one row, as networks see it."""

import numpy as np
import pytest

from skganomaly._row_shape import resolve_input_shape


@pytest.mark.parametrize(
    "input_shape, array_shape, expected",
    [
        (None, (9, 5), (5,)),
        (None, (9, 28, 27), (1, 28, 27)),
        (None, (9, 3, 28, 27), (3, 28, 27)),
        (None, (9, 3, 4, 4), (3, 4, 4)),
        (None, (9, 4, 8, 3), (4, 8, 3)),
        (None, (9, 28, 28, 2), (28, 28, 2)),
        ((6,), (9, 6), (6,)),
        ((2, 3), (9, 6), (2, 3)),
        ((1, 2, 3), (9, 6), (1, 2, 3)),
        ([1, 2, 3], (9, 6), (1, 2, 3)),
        (np.array([1, 2, 3]), (9, 6), (1, 2, 3)),
        ((2, 3), (9, 2, 3), (2, 3)),
        ((1, 2, 3), (9, 2, 3), (1, 2, 3)),
        ((32, 32, 3), (9, 32, 32, 3), (32, 32, 3)),
    ],
)
def test_input_shape_accepted(input_shape, array_shape, expected):
    """Flat rows, windows and images, and whatever is confirmed, as plain integers."""
    resolved = resolve_input_shape(input_shape, array_shape)
    assert resolved == expected
    assert all(type(n) is int for n in resolved)


@pytest.mark.parametrize(
    "input_shape",
    [(), (1, 1, 2, 3), (0, 6), (-2, -3), (2.0, 3), (True, 6), ("2", 3), (None, 6)],
)
def test_input_shape_that_is_no_shape(input_shape):
    """The message says what was passed and what could have been."""
    with pytest.raises(ValueError, match="is not the shape of a row") as caught:
        resolve_input_shape(input_shape, (9, 6))
    assert f"input_shape={input_shape!r}" in str(caught.value)
    assert "(channels, height, width)" in str(caught.value)


@pytest.mark.parametrize("input_shape", [(5,), (7,), (2, 4), (1, 6, 6)])
def test_input_shape_that_does_not_fit(input_shape):
    """The message gives both numbers of values."""
    n_values = int(np.prod(input_shape))
    with pytest.raises(ValueError, match=f"has {n_values} values.* has 6\\."):
        resolve_input_shape(input_shape, (9, 6))


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_channels_last_is_pointed_out(n_channels):
    """Images of the other layout would train without complaint, and badly."""
    shape = (9, 32, 30, n_channels)
    with pytest.raises(ValueError, match="channels last") as caught:
        resolve_input_shape(None, shape)
    assert str(shape) in str(caught.value)
    assert "X.transpose(0, 3, 1, 2)" in str(caught.value)
    assert f"input_shape={shape[1:]}" in str(caught.value)


@pytest.mark.parametrize(
    "input_shape, array_shape",
    [((3, 32, 32), (9, 32, 32, 3)), ((30, 20), (9, 20, 30)), ((1, 8, 4), (9, 4, 8))],
)
def test_input_shape_does_not_scramble_arrays(input_shape, array_shape):
    """Axes of an array keep their meaning; only flat rows are given a shape."""
    with pytest.raises(ValueError):
        resolve_input_shape(input_shape, array_shape)
