"""Scaling of rows, the first thing that a fitted model does."""

import math
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

__all__ = [
    "ColumnStatistics",
    "Scaling",
    "column_statistics",
    "fit_scaling",
    "row_blocks",
    "statistics_are_known",
    "to_single",
]

# Statistics and scaling run over blocks of this many values, so that a memory map is
# never copied whole in double precision.
_BLOCK_VALUES = 2**22

# Scaled values beyond this are clipped: float32 squares of what lies further out
# overflow in a wide network, and a row that far away is anomalous in any case.
_CLIP = 1e5
_CLIP_UNSCALED = 1e15

_MOST_SINGLE = float(np.finfo(np.float32).max)


def to_single(X):
    """Round to single precision, within its range."""
    return np.clip(X, -_MOST_SINGLE, _MOST_SINGLE).astype(np.float32, copy=False)


class Scaling(nn.Module):
    """Column-wise affine scaling in double precision, clipped far out.

    Rows are centred before they are cast, so that a large offset costs no precision.
    The buffers stay on the CPU, as not every accelerator has double precision.

    Parameters
    ----------
    scaler : {"minmax", "standard", "channel", None}
        See :func:`fit_scaling`.
    input_shape : tuple of int
        Shape of one row, channels first.
    center, scale : ndarray of shape (n_features,) or None, default=None
        A scaled value is ``(x - center) / scale``. None leaves values as they are.
    single : bool, default=False
        Whether the training rows were in single precision. Others are then rounded to
        it, so that they can be recognised.
    """

    def __init__(self, scaler, input_shape, center=None, scale=None, single=False):
        super().__init__()
        n_features = math.prod(input_shape)
        self.scaler = scaler
        self.input_shape = tuple(input_shape)
        self.clip = _CLIP if scaler is not None else _CLIP_UNSCALED
        center = np.zeros(n_features) if center is None else center
        scale = np.ones(n_features) if scale is None else scale
        self.register_buffer("center", torch.from_numpy(center))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("single", torch.tensor(single))

    def extra_repr(self):
        """Return what is not a buffer."""
        return f"{self.scaler!r}, {self.input_shape}"

    def _apply(self, fn, recurse=True):
        return self

    def forward(self, rows):
        """Scale a tensor of rows, (n_rows, n_features) to (n_rows, *input_shape)."""
        # One column would be taken for all of them.
        if rows.shape[1:] != self.center.shape:
            raise ValueError(
                f"The rows have shape {tuple(rows.shape)}. Pass them flat, (n_rows, "
                f"{len(self.center)}), also those of images and windows."
            )
        rows = rows.to(self.center.device)
        # An exported graph has no branches that depend on a buffer.
        rounded = rows.clamp(-_MOST_SINGLE, _MOST_SINGLE).float().double()
        rows = torch.where(self.single, rounded, rows.double())
        scaled = (rows - self.center) / self.scale
        scaled = scaled.clamp(-self.clip, self.clip)
        return scaled.float().reshape(-1, *self.input_shape)

    def transform(self, X):
        """Scale an array of rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, *input_shape), float32
        """
        if self.single and X.dtype != np.float32:
            X = to_single(X)
        with np.errstate(over="ignore"):
            scaled = np.subtract(X, self.center.numpy(), dtype=np.float64)
            scaled /= self.scale.numpy()
        np.clip(scaled, -self.clip, self.clip, out=scaled)
        return scaled.astype(np.float32).reshape(-1, *self.input_shape)

    def inverse_transform(self, rows):
        """Bring scaled rows back to the user's units.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, *input_shape)

        Returns
        -------
        ndarray of shape (n_rows, n_features), float64
        """
        flat = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
        return flat * self.scale.numpy() + self.center.numpy()


def fit_scaling(scaler, input_shape, X, statistics=None):
    """Learn centre and scale from rows, by blocks.

    Parameters
    ----------
    scaler : {"minmax", "standard", "channel", None}
        "minmax" divides each column by its range and all columns by one factor that
        brings the root mean square of their standard deviations to 1; "standard"
        divides each by its standard deviation; "channel" maps the range of all
        values of a channel to [-1, 1]; None changes nothing.
    input_shape : tuple of int
        Shape of one row, channels first.
    X : ndarray of shape (n_rows, n_features)
    statistics : ColumnStatistics or None, default=None
        Those of the columns. None computes them.

    Returns
    -------
    Scaling
    """
    n_features, single = X.shape[1], X.dtype == np.float32
    if scaler is None:
        return Scaling(scaler, input_shape, single=single)
    found = column_statistics(X) if statistics is None else statistics
    low, high, mean, std = found.low, found.high, found.mean, found.std
    with np.errstate(over="ignore"):
        width = high - low
    if not np.isfinite(width).all():
        column = int(np.flatnonzero(~np.isfinite(width))[0])
        raise ValueError(
            f"Column {column} of X runs from {low[column]:g} to {high[column]:g}, "
            "a range that double precision cannot hold. Rescale or clip it first."
        )
    if scaler == "channel":
        grouped = (input_shape[0], -1)
        low = low.reshape(grouped).min(axis=1, keepdims=True)
        high = high.reshape(grouped).max(axis=1, keepdims=True)
        ones = np.ones((input_shape[0], n_features // input_shape[0]))
        # Half of each bound, as their sum may overflow.
        center = ((low / 2 + high / 2) * ones).ravel()
        scale = (_positive(high / 2 - low / 2) * ones).ravel()
        return Scaling(scaler, input_shape, center, scale, single)
    scale = _positive(width if scaler == "minmax" else std)
    if scaler == "minmax":
        spread = math.sqrt(np.mean(np.square(std / scale)))
        scale = scale * (spread or 1.0)
    return Scaling(scaler, input_shape, mean, scale, single)


def _positive(scale):
    """Give constant columns the scale of the median column that varies."""
    varies = scale > 0
    typical = np.median(scale[varies]) if varies.any() else 1.0
    return np.where(varies, scale, typical)


def row_blocks(n_rows, n_features):
    """Slices of so few rows that a copy of them is small."""
    step = max(1, _BLOCK_VALUES // n_features)
    return [slice(start, start + step) for start in range(0, n_rows, step)]


@dataclass
class ColumnStatistics:
    """What scalings are made of, exact for rows in any number of blocks.

    Parameters
    ----------
    n_rows : int
    low, high, mean, std : ndarray of shape (n_features,), float64
    """

    n_rows: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @property
    def range(self):
        """Smallest and largest value of each column, (2, n_features)."""
        return np.stack([self.low, self.high])

    def __add__(self, other):
        """Return the statistics of the rows of both."""
        share = other.n_rows / (self.n_rows + other.n_rows)
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        # Halves and units, as sums, differences and squares of huge values overflow.
        apart = other.mean / 2 - self.mean / 2
        unit = np.maximum(np.maximum(self.std, other.std), np.abs(apart))
        unit = np.where(unit > 0, unit, 1.0)
        variance = (1 - share) * np.square(self.std / unit)
        variance += share * np.square(other.std / unit)
        variance += 4 * share * (1 - share) * np.square(apart / unit)
        return ColumnStatistics(
            self.n_rows + other.n_rows,
            low,
            high,
            # Between the two, also where rounding would leave it outside.
            np.clip((1 - share) * self.mean + share * other.mean, low, high),
            np.sqrt(variance) * unit,
        )


_known = ContextVar("_known", default=None)


@contextmanager
def statistics_are_known(statistics):
    """Fits inside scale by these statistics, of more rows than they get.

    Parameters
    ----------
    statistics : ColumnStatistics
    """
    token = _known.set(statistics)
    try:
        yield
    finally:
        _known.reset(token)


def column_statistics(X, weights=None):
    """Statistics of the columns of a table, in two passes, or those that are known.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weights : ndarray of shape (n_rows,) or None, default=None
        How many rows each counts for.
    """
    if _known.get() is not None:
        return _known.get()
    n_rows, n_features = X.shape
    if weights is not None:
        weights = weights[:, None] * (n_rows / weights.sum())
    low, high = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    mean, variance = np.zeros(n_features), np.zeros(n_features)
    for block in row_blocks(n_rows, n_features):
        part = np.asarray(X[block], dtype=np.float64)
        low = np.minimum(low, part.min(axis=0))
        high = np.maximum(high, part.max(axis=0))
        if weights is not None:
            part = part * weights[block]
        mean += (part / n_rows).sum(axis=0)
    constant = high == low
    # The mean of equal values is rounded, and would make a constant column vary.
    mean = np.where(constant, low, mean)
    # Deviations in units of the range cannot overflow when they are squared.
    with np.errstate(over="ignore"):
        unit = _positive(np.minimum(high - low, np.finfo(np.float64).max))
    for block in row_blocks(n_rows, n_features):
        part = np.asarray(X[block], dtype=np.float64)
        squares = np.square(part / unit - mean / unit)
        if weights is not None:
            squares *= weights[block]
        variance += squares.sum(axis=0) / n_rows
    std = np.where(constant, 0.0, np.sqrt(variance) * unit)
    return ColumnStatistics(n_rows, low, high, mean, std)
