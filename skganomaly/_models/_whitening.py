"""What is learned of vectors before they are compared: scale, correlation, Gaussian.

Each is a torch module whose buffers are its whole fitted state. Vectors have shape
(n_members, n_rows, width).
"""

import torch
from torch import Tensor, nn

from ._products import row_product

__all__ = [
    "CodeDistribution",
    "Fitted",
    "Squash",
    "Standardise",
    "Whitening",
    "shrinkage_for",
]

# Whitening gives up at least this share of the correlations, and more where there are
# few rows for the width (see Whitening).
_MIN_SHRINKAGE = 0.03

# Deviations beyond this many robust standard deviations grow only logarithmically,
# so that one wild column cannot silence all others.
_SQUASH_FROM = 3.0

# From so many columns on, and with less than half as many rows, whitening works in the
# span of the rows. Below that, the matrix of all columns costs no more.
_MANY_COLUMNS = 1024
_COLUMNS_PER_ROW = 2

# Directions with less than this share of the largest variance are rounding.
_NO_VARIANCE = 1e-12

_TINY = 1e-12

# Added to the diagonal of a covariance, as shares of its trace, until it can be
# factorised. Fewer rows than columns leave directions without variance, and huge codes
# leave some whose variance is rounded to less than nothing.
_FACTOR_RIDGES = 1e-6, 1e-4, 1e-2, 1.0


def shrinkage_for(n_rows, width):
    """Share of the correlations to give up, more where rows are few for the width."""
    return max(_MIN_SHRINKAGE, 4 * width / (4 * width + n_rows))


class Fitted(nn.Module):
    """A module whose fitted state is its buffers, whatever their number and shape."""

    def store(self, **tensors: Tensor) -> None:
        """Keep tensors as buffers, which go into pickles and to other devices.

        Parameters
        ----------
        **tensors : Tensor
            By the names of the attributes that they become, floats in single precision.
        """
        for name, tensor in tensors.items():
            # Not every accelerator has double precision.
            single = tensor.float() if tensor.is_floating_point() else tensor
            # Alone, as a part of what something larger was computed in would be stored
            # with all of it.
            self.register_buffer(name, single.contiguous())

    def _load_from_state_dict(self, state, prefix, *args):
        # What is not there before a fit has no shape that could be compared. What is
        # there says on which device it is wanted, and is missed if there is nothing.
        device = next((buffer.device for buffer in self.buffers(recurse=False)), None)
        stored = {
            key.removeprefix(prefix): tensor
            for key, tensor in state.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        for name in list(self._buffers) if stored else ():
            delattr(self, name)
        for name, tensor in stored.items():
            self.register_buffer(name, torch.empty_like(tensor, device=device))
        super()._load_from_state_dict(state, prefix, *args)


class CodeDistribution(Fitted):
    """A Gaussian for the codes of the reference rows, to draw new codes from."""

    def fit(self, mean, covariance):
        """Learn from the mean (K, width) and covariance (K, width, width) of codes."""
        trace = covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sum(1)[:, None, None]
        identity = torch.eye(covariance.shape[1], dtype=covariance.dtype)
        for share in _FACTOR_RIDGES:
            ridge = (share * trace + _TINY) * identity
            factor, failed = torch.linalg.cholesky_ex(covariance + ridge)
            if not failed.any():
                break
        self.store(mean=mean, factor=factor)
        return self

    def forward(self, draws: Tensor) -> Tensor:
        """Turn standard normal draws (K, n_rows, width) into codes."""
        return self.mean[:, None] + draws @ self.factor.mT


class Standardise(Fitted):
    """Centre the columns, and give them unit scale if asked to."""

    def __init__(self, scale=True):
        super().__init__()
        self.scale_columns = scale

    def fit(self, rows):
        rows = rows.double()
        scale = rows.std(dim=1, keepdim=True, correction=0)
        # A constant column has nothing to be compared with.
        varies = rows.amax(1, keepdim=True) > rows.amin(1, keepdim=True)
        varies = varies & self.scale_columns
        self.store(
            mean=rows.mean(1, keepdim=True),
            scale=torch.where(varies, scale, torch.ones_like(scale)),
        )
        return self

    def forward(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale


def _median(rows):
    """The lower median of each column, as torch has it, which takes twice the time."""
    columns = rows.mT.clone(memory_format=torch.contiguous_format).cpu().numpy()
    middle = (rows.shape[1] - 1) // 2
    columns.partition(middle, axis=2)
    return torch.from_numpy(columns[:, None, :, middle].copy()).to(rows.device)


class Squash(Fitted):
    """Centre and scale columns robustly, and squash what lies far out."""

    def fit(self, rows):
        rows = rows.double()
        median = _median(rows)
        deviation = _median((rows - median).abs())
        spread = torch.maximum(
            1.4826 * deviation, 0.1 * rows.std(dim=1, keepdim=True, correction=0)
        )
        self.store(median=median, spread=spread.clamp_min(_TINY))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        scaled = (rows - self.median) / self.spread
        size = scaled.abs()
        far = _SQUASH_FROM * (1 + (size.clamp_min(_SQUASH_FROM) / _SQUASH_FROM).log())
        return torch.where(size > _SQUASH_FROM, scaled.sign() * far, scaled)


class Whitening(Fitted):
    r"""Make the columns of each member uncorrelated, with unit scale.

    The covariance :math:`S` is shrunk to its diagonal, :math:`C = (1-a) S + a D`, by
    the share :math:`a = 4p / (4p + n)` for :math:`n` rows of :math:`p` columns, which
    keeps the distances of the rows it was fitted on from being much shorter than
    those of new ones. With :math:`C = L L^T`, a row :math:`u` becomes
    :math:`L^{-1} (u - \mu)`.

    Rows that are few for their columns span few directions :math:`V`, and across
    these :math:`C` is :math:`a D`. Then a row becomes
    :math:`(I + V (g - 1) V^T) (a D)^{-1/2} (u - \mu)`, where :math:`g` shrinks
    the directions to unit variance. Another square root of the same :math:`C^{-1}`:
    distances are equal, and no matrix has more than :math:`n p` entries.
    """

    def fit(self, rows):
        """Learn from rows of shape (n_members, n_rows, width)."""
        # Of an earlier fit, which may have been of the other kind.
        for name in dict(self.named_buffers()):
            delattr(self, name)
        n_rows, width = rows.shape[1:]
        in_span = width >= _MANY_COLUMNS and width > _COLUMNS_PER_ROW * n_rows
        fit_member = self._fit_span if in_span else self._fit_matrix
        members = [fit_member(*self._standardised(member)) for member in rows]
        self.store(
            **{name: torch.stack([m[name] for m in members]) for name in members[0]}
        )
        return self

    def _standardised(self, rows):
        """The rows with unit scale, and the mean and scale of their columns."""
        rows = rows.double()
        mean = rows.mean(0)
        centred = rows - mean
        variance = centred.square().mean(0)
        scale = variance.clamp_min(max(1e-3 * float(variance.mean()), _TINY)).sqrt()
        return centred / scale, mean, scale

    def _fit_matrix(self, standard, mean, scale):
        n_rows, width = standard.shape
        shrinkage = shrinkage_for(n_rows, width)
        identity = torch.eye(width, dtype=standard.dtype)
        correlation = standard.T @ standard / n_rows
        factor = torch.linalg.cholesky(
            (1 - shrinkage) * correlation + shrinkage * identity
        )
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        return {"mean": mean[None], "matrix": (inverse / scale).T}

    def _fit_span(self, standard, mean, scale):
        n_rows, width = standard.shape
        shrinkage = shrinkage_for(n_rows, width)
        variance, vectors = torch.linalg.eigh(standard @ standard.T / n_rows)
        # The mean took one direction away, and equal rows take more.
        varies = variance > _NO_VARIANCE * variance.max()
        variance = torch.where(varies, variance, torch.ones_like(variance))
        directions = standard.T @ (vectors * varies / (n_rows * variance).sqrt())
        gain = (1 + (1 - shrinkage) / shrinkage * variance).rsqrt() - 1
        return {
            "mean": mean[None],
            "scale": scale[None] * shrinkage**0.5,
            "directions": directions,
            "gain": gain[None],
        }

    def forward(self, rows: Tensor) -> Tensor:
        """Whiten rows of shape (n_members, n_rows, width)."""
        centred = rows - self.mean
        if hasattr(self, "matrix"):
            return row_product(centred, self.matrix)
        scaled = centred / self.scale
        along = row_product(scaled, self.directions) * self.gain
        return scaled + row_product(along, self.directions.mT)
