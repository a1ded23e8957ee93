"""From the user's array to tensors on a device: devices, shapes, scaling, batches."""

import hashlib
import math
import warnings
from itertools import pairwise

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.utils.data import Dataset

__all__ = [
    "FeatureScaler",
    "RowDataset",
    "RowIndex",
    "TensorBatches",
    "draw_seed",
    "resolve_device",
    "resolve_input_shape",
    "row_blocks",
    "row_keys",
    "to_single",
]

# Statistics and scaling run over blocks of this many values, so that a memory map is
# never copied whole in double precision.
_BLOCK_VALUES = 2**22

# Scaled values beyond this are clipped: float32 squares of what lies further out
# overflow in a wide network, and a row that far away is anomalous in any case.
_CLIP = 1e5
_CLIP_UNSCALED = 1e15

# Mini-batches that skorch sees as one.
_CHUNK_STEPS = 25

# Of fewer epochs a curve says nothing.
_MIN_EPOCHS = 20


def draw_seed(random_state):
    """Turn scikit-learn's ``random_state`` into one seed."""
    if random_state is None:
        # Drawing it from NumPy's global generator would change that one's state.
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(2**31 - 1))


def resolve_device(device, *, fallback=False):
    """Turn the ``device`` parameter into a :class:`torch.device`.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes CUDA when there is one, then MPS, then the CPU.
    fallback : bool, default=False
        Whether a device that this machine lacks is replaced by the CPU with a
        warning, as is right for a detector that was trained elsewhere, or refused.

    Returns
    -------
    torch.device
    """
    mps = getattr(torch.backends, "mps", None)
    has_mps = mps is not None and mps.is_available()
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if has_mps else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a torch device. Use 'auto', 'cpu', 'cuda', "
            "'cuda:1', 'mps' or a torch.device."
        ) from error
    if resolved.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        missing = (resolved.index or 0) >= found
    elif resolved.type == "mps":
        missing = not has_mps
    else:
        try:
            missing = torch.empty(1, device=resolved).is_meta
        except (RuntimeError, AssertionError, NotImplementedError):
            missing = True
    if not missing:
        return resolved
    message = f"device={str(device)!r} was asked for and torch finds no such device"
    if not fallback:
        raise ValueError(f"{message}. Use device='auto' to take what there is.")
    warnings.warn(f"{message}; using the CPU.", UserWarning, stacklevel=4)
    return torch.device("cpu")


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


def row_keys(rows):
    """A 64-bit fingerprint of each row, equal exactly when the rows are.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, ...), float32
        Scaled rows.

    Returns
    -------
    ndarray of shape (n_rows,), uint64
        Two different rows share a fingerprint with probability 2**-64.
    """
    # Adding zero turns -0.0, whose bytes differ, into 0.0.
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:])) + np.float32(0)
    flat = np.ascontiguousarray(flat)
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in flat]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def to_single(X):
    """Round to single precision, within its range."""
    bound = np.finfo(np.float32).max
    return np.clip(X, -bound, bound).astype(np.float32, copy=False)


class RowIndex:
    """Finds the groups of rows by their fingerprints.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), uint64
        See :func:`row_keys`. A row may have several; of equal ones the first counts.
    groups : ndarray of shape (n_keys,), int
        The group of the row that each belongs to.
    """

    def __init__(self, keys, groups):
        # Stable, so that the first of equal keys is found.
        order = np.argsort(keys, kind="stable")
        self.groups = groups[order]
        self.sorted_keys = keys[order]

    def find(self, keys):
        """Group of the row with each key, or -1.

        Parameters
        ----------
        keys : ndarray of shape (n_rows,), uint64

        Returns
        -------
        ndarray of shape (n_rows,), int64
        """
        place = np.searchsorted(self.sorted_keys, keys)
        place = np.minimum(place, len(self.sorted_keys) - 1)
        found = self.sorted_keys[place] == keys
        return np.where(found, self.groups[place], -1)


class FeatureScaler:
    """Column-wise affine scaling, computed in double precision by blocks.

    Parameters
    ----------
    kind : {"minmax", "standard", "channel", None}
        "minmax" divides each column by its range and all columns by one factor that
        brings the root mean square of their standard deviations to 1; "standard"
        divides each by its standard deviation; "channel" maps the range of all
        values of a channel to [-1, 1]; None changes nothing.
    input_shape : tuple of int
        Shape of one row, channels first.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_features,)
        A scaled value is ``(x - center_) / scale_``.
    single_ : bool
        Whether the rows were in single precision. Others are then rounded to it, so
        that they can be recognised.
    """

    def __init__(self, kind, input_shape):
        self.kind = kind
        self.input_shape = tuple(input_shape)

    def __repr__(self):
        return f"{type(self).__name__}({self.kind!r}, {self.input_shape})"

    def fit(self, X):
        """Learn centre and scale from the rows of ``X``.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)

        Returns
        -------
        self : FeatureScaler
        """
        n_features = X.shape[1]
        self.single_ = X.dtype == np.float32
        if self.kind is None:
            self.center_, self.scale_ = np.zeros(n_features), np.ones(n_features)
            return self
        low, high, mean, std = _column_statistics(X)
        with np.errstate(over="ignore"):
            width = high - low
        if not np.isfinite(width).all():
            column = int(np.flatnonzero(~np.isfinite(width))[0])
            raise ValueError(
                f"Column {column} of X runs from {low[column]:g} to {high[column]:g}, "
                "a range that double precision cannot hold. Rescale or clip it first."
            )
        if self.kind == "channel":
            grouped = (self.input_shape[0], -1)
            low = low.reshape(grouped).min(axis=1, keepdims=True)
            high = high.reshape(grouped).max(axis=1, keepdims=True)
            ones = np.ones((self.input_shape[0], n_features // self.input_shape[0]))
            # Half of each bound, as their sum may overflow.
            self.center_ = ((low / 2 + high / 2) * ones).ravel()
            self.scale_ = (_positive(high / 2 - low / 2) * ones).ravel()
            return self
        self.center_ = mean
        self.scale_ = _positive(width if self.kind == "minmax" else std)
        if self.kind == "minmax":
            spread = math.sqrt(np.mean(np.square(std / self.scale_)))
            self.scale_ = self.scale_ * (spread or 1.0)
        return self

    def transform(self, X):
        """Scale rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, *input_shape), float32
            Centred before the cast, so that a large offset costs no precision.
        """
        if self.single_ and X.dtype != np.float32:
            X = to_single(X)
        with np.errstate(over="ignore"):
            scaled = np.subtract(X, self.center_, dtype=np.float64)
            scaled /= self.scale_
        clip = _CLIP if self.kind is not None else _CLIP_UNSCALED
        np.clip(scaled, -clip, clip, out=scaled)
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
        return flat * self.scale_ + self.center_


def _positive(scale):
    """Give constant columns the scale of the median column that varies."""
    varies = scale > 0
    typical = np.median(scale[varies]) if varies.any() else 1.0
    return np.where(varies, scale, typical)


def row_blocks(n_rows, n_features):
    """Slices of so few rows that a copy of them is small."""
    step = max(1, _BLOCK_VALUES // n_features)
    return [slice(start, start + step) for start in range(0, n_rows, step)]


def _column_statistics(X):
    """Minimum, maximum, mean and standard deviation of each column, in two passes."""
    n_rows, n_features = X.shape
    low, high = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    mean, variance = np.zeros(n_features), np.zeros(n_features)
    for block in row_blocks(n_rows, n_features):
        part = np.asarray(X[block], dtype=np.float64)
        low = np.minimum(low, part.min(axis=0))
        high = np.maximum(high, part.max(axis=0))
        mean += (part / n_rows).sum(axis=0)
    constant = high == low
    # The mean of equal values is rounded, and would make a constant column vary.
    mean = np.where(constant, low, mean)
    # Deviations in units of the range cannot overflow when they are squared.
    with np.errstate(over="ignore"):
        unit = _positive(np.minimum(high - low, np.finfo(np.float64).max))
    for block in row_blocks(n_rows, n_features):
        part = np.asarray(X[block], dtype=np.float64)
        variance += np.square(part / unit - mean / unit).sum(axis=0) / n_rows
    return low, high, mean, np.where(constant, 0.0, np.sqrt(variance) * unit)


class RowDataset(Dataset):
    """Training rows, scaled, on the training device where they fit.

    Rows that would take more than a quarter of a GPU's free memory stay in the
    array they came in and are scaled and copied batch by batch.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    scaler : FeatureScaler
        Fitted.
    device : torch.device
    """

    def __init__(self, X, scaler, device):
        self.X = X
        self.scaler = scaler
        self.device = device
        self.resident = None
        if _fits(4 * X.size, device):
            shape = len(X), *scaler.input_shape
            self.resident = torch.empty(shape, dtype=torch.float32, device=device)
            for block in row_blocks(*X.shape):
                self.resident[block] = torch.from_numpy(scaler.transform(X[block]))

    def __len__(self):
        return len(self.X)

    def __getitem__(self, indices):
        """Rows of any array of indices, shape (*indices.shape, *input_shape)."""
        if self.resident is not None:
            return self.resident[indices]
        flat = np.asarray(indices.cpu()).ravel()
        # Ascending reads keep a memory map from seeking back and forth.
        unique, inverse = np.unique(flat, return_inverse=True)
        rows = torch.from_numpy(self.scaler.transform(self.X[unique])[inverse])
        return rows.to(self.device).unflatten(0, indices.shape)


def _fits(n_bytes, device):
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return n_bytes <= free / 4
    return n_bytes <= 2**32


class _Chunk:
    """Some mini-batches in a row, gathered one by one as they are iterated over."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = indices

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        return (self.dataset[batch] for batch in self.indices)


class TensorBatches:
    """Iterator over the mini-batches of one epoch after the other, in chunks.

    skorch does a fixed amount of bookkeeping for whatever its iterator yields, which
    for small networks is as much work as the step itself. This one yields chunks of
    many mini-batches. Each member of the ensemble goes through the rows in an order
    of its own, reshuffled on every pass; a remainder that would not fill a batch is
    left to the next pass, so that all batches have one shape.

    An epoch is one pass over the rows, or 25 steps where a pass is shorter, or a part
    of either where there would be few epochs; see :meth:`epoch_lengths`. How the steps
    are divided changes nothing of what is drawn.

    Parameters
    ----------
    dataset : RowDataset
    batch_size : int
        Rows of a mini-batch; all rows if there are fewer.
    n_members : int
        Number of orders to draw.
    max_steps : int
        Mini-batches of all epochs together.
    generator : torch.Generator
        Source of the orders.
    """

    def __init__(self, dataset, batch_size, *, n_members, max_steps, generator):
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.n_members = n_members
        self.generator = generator
        self._epochs = iter(self.epoch_lengths(len(dataset), batch_size, max_steps))
        self._pending = None

    @staticmethod
    def steps_per_pass(n_rows, batch_size):
        """Steps of one pass over the rows, but at least 25."""
        return max(n_rows // min(batch_size, n_rows), _CHUNK_STEPS)

    @staticmethod
    def epoch_lengths(n_rows, batch_size, max_steps):
        """Optimiser steps of each epoch of a training.

        Parameters
        ----------
        n_rows, batch_size, max_steps : int

        Returns
        -------
        list of int
            They add up to `max_steps`. There are 20 or more of them, if there are so
            many steps, and each pass begins with an epoch of its own.
        """
        whole = TensorBatches.steps_per_pass(n_rows, batch_size)
        longest = min(max(max_steps // _MIN_EPOCHS, 1), whole)
        n_parts = -(-whole // longest)
        ends = [
            start + whole * part // n_parts
            for start in range(0, max_steps, whole)
            for part in range(1, n_parts + 1)
        ]
        ends = [0, *(end for end in ends if end < max_steps), max_steps]
        return [end - start for start, end in pairwise(ends)]

    def __iter__(self):
        epoch = next(self._epochs, 0)
        for start in range(0, epoch, _CHUNK_STEPS):
            taken = min(_CHUNK_STEPS, epoch - start)
            yield _Chunk(self.dataset, self._draw(taken).to(self.dataset.device))

    def _draw(self, n_batches):
        """Indices of the next batches, shape (n_batches, n_members, batch_size)."""
        drawn = []
        while n_batches > 0:
            if self._pending is None or not len(self._pending):
                self._pending = self._new_pass()
            drawn.append(self._pending[:n_batches])
            self._pending = self._pending[n_batches:]
            n_batches -= len(drawn[-1])
        return torch.cat(drawn)

    def _new_pass(self):
        n_rows = len(self.dataset)
        per_pass = n_rows // self.batch_size
        orders = torch.stack(
            [
                torch.randperm(n_rows, generator=self.generator)
                for _ in range(self.n_members)
            ]
        )
        used = orders[:, : per_pass * self.batch_size]
        return used.unflatten(1, (per_pass, self.batch_size)).transpose(0, 1)
