"""Anomaly scores: from the residual vectors of an ensemble to one number per row.

A score is fitted on the residual vectors ("parts") of reference rows and then maps
the parts of any row to a number, higher for more anomalous. It is a torch module
whose buffers are its whole fitted state, so it moves between devices and is saved
like a network.

All parts have shape (n_members, n_rows, width).
"""

import numpy as np
import torch
from torch import Tensor, nn

from ._networks import aligned_product

__all__ = ["JointScore", "LocalScore", "PartScore", "part_magnitudes"]

# Whitening gives up at least this share of the correlations, and more where there are
# few rows for the width (see _Whitening).
_MIN_SHRINKAGE = 0.03

# Deviations beyond this many robust standard deviations grow only logarithmically,
# so that one wild column cannot silence all others.
_SQUASH_FROM = 3.0

_N_NEIGHBORS = 5

# Rows of a block in the search of the references among themselves.
_SEARCH_ROWS = 256

# Up to this many reference rows their scores are taken from fits that left them out;
# beyond, what a row contributes to the statistics of its own score is negligible.
_CROSS_FIT_UP_TO = 2500
_N_FOLDS = 5

_TINY = 1e-12


def part_magnitudes(part: Tensor) -> Tensor:
    """Mean square of residual vectors, shape (n_members, n_rows)."""
    return part.square().mean(2)


def _positive_median(values: Tensor) -> Tensor:
    """Median over rows, kept away from zero, shape (n_members, 1)."""
    return values.median(dim=1, keepdim=True).values.clamp_min(_TINY)


class _Fitted(nn.Module):
    """A module whose fitted state is its buffers."""

    def _store(self, **tensors):
        for name, tensor in tensors.items():
            # Not every accelerator has double precision.
            self.register_buffer(name, tensor.float())


class _Score(_Fitted):
    """A mapping from parts to scores; a subclass fits and computes it.

    Parameters
    ----------
    part_names : tuple of str
        The parts it looks at.
    """

    def __init__(self, part_names):
        super().__init__()
        self.part_names = tuple(part_names)

    def reference_scores(self, parts, generator):
        """Scores of the reference rows as if they were new to the score.

        Parameters
        ----------
        parts : dict of str to Tensor
            What the score was fitted on.
        generator : torch.Generator
            Source of randomness.

        Returns
        -------
        Tensor of shape (n_references,) or None
            None where the ordinary scores of the reference rows will do.
        """
        return None

    def get_state(self):
        """All buffers as a dict of NumPy arrays."""
        return {name: buffer.cpu().numpy() for name, buffer in self.named_buffers()}

    def set_state(self, state):
        """Restore what :meth:`get_state` returned."""
        for name, array in state.items():
            owner, _, leaf = name.rpartition(".")
            buffer = torch.from_numpy(np.array(array))
            self.get_submodule(owner).register_buffer(leaf, buffer)

    def _join(self, parts):
        return torch.cat([parts[name] for name in self.part_names], dim=2)


class PartScore(_Score):
    """Mean square of one part, in units of its median over the reference rows.

    Up to that unit the score of the papers: for GANomaly's part "latent", the squared
    distance of the two codes. Members are averaged after the division, so that none
    of them dominates.

    Parameters
    ----------
    part_name : str
    """

    def __init__(self, part_name):
        super().__init__([part_name])

    def fit(self, parts):
        """Learn the unit from the parts of the reference rows."""
        return self.fit_magnitudes(part_magnitudes(self._join(parts)))

    def fit_magnitudes(self, magnitudes):
        """Learn the unit from magnitudes of shape (n_members, n_references)."""
        self._store(unit=_positive_median(magnitudes))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,)."""
        return (part_magnitudes(self._join(parts)) / self.unit).mean(0)


class JointScore(_Score):
    r"""Squared Mahalanobis distance of all parts together.

    Per member, with the mean :math:`\mu` and the shrunk covariance :math:`C` of the
    joined parts :math:`v` over the reference rows,
    :math:`(v-\mu)^T C^{-1} (v-\mu)`, in units of its median over the reference rows;
    then the mean over members.

    Parameters
    ----------
    part_names : tuple of str
    """

    def __init__(self, part_names):
        super().__init__(part_names)
        self.whitening = _Whitening()

    def fit(self, parts):
        """Learn mean, covariance and unit from the parts of the reference rows."""
        joined = self._join(parts)
        self.whitening.fit(joined)
        self._store(unit=_positive_median(part_magnitudes(self.whitening(joined))))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,)."""
        whitened = self.whitening(self._join(parts))
        return (part_magnitudes(whitened) / self.unit).mean(0)

    def reference_scores(self, parts, generator):
        """Leave-one-out distances in closed form.

        Removing a row from mean and covariance is a change of rank one, so its
        distance to the other rows follows from its distance to all of them (Sherman
        and Morrison). The diagonal that the covariance is shrunk to is kept.
        """
        joined = self._join(parts)
        n_rows = joined.shape[1]
        whitened = self.whitening(joined).double()
        distances = whitened.square().sum(2)
        keep = 1 - self.whitening.shrinkage.double().view(-1, 1)
        others = (1 - keep * distances / (n_rows - 1)).clamp_min(_TINY)
        left_out = n_rows / (n_rows - 1) * distances / others
        return (left_out / joined.shape[2] / self.unit).mean(0)


class LocalScore(_Score):
    r"""How far a row is from its nearest reference rows, for where it is.

    Per member, one search among the reference rows finds

    - :math:`d(x)`, the mean distance to the 5 nearest;
    - :math:`s(x)`, the mean of :math:`d` over the ``n_scale_neighbors`` nearest, which
      says what distance is usual there;
    - :math:`q(x)`, the length of the step to :math:`x` from the mean of the 5
      nearest, whitened by how such steps vary among the reference rows: a short step
      is anomalous in a direction in which normal rows do not vary.

    The terms "distance" :math:`\ln d`, "ratio" :math:`\ln (d / s^p)` and "step"
    :math:`\ln q` are averaged over members, standardised by median and interquartile
    range over the reference rows, and the chosen ones added up.

    A reference row leaves itself out of the search, both when it is fitted and
    whenever it is scored. So its score is that of a new row, and always the same.

    Parameters
    ----------
    part_names : tuple of str
        Parts that make up the vectors compared.
    whiten : bool
        Whether to squash outlying values and whiten the vectors first.
    terms : tuple of str
        Among "distance", "ratio" and "step".
    n_scale_neighbors : int
        Neighbours that :math:`s` averages over.
    exponent : float
        The power :math:`p`.
    """

    def __init__(self, part_names, *, whiten, terms, n_scale_neighbors, exponent):
        super().__init__(part_names)
        self.whiten = whiten
        self.terms = terms
        self.n_scale_neighbors = n_scale_neighbors
        self.exponent = exponent
        self.transforms = nn.Sequential(
            *([_Squash(), _Whitening()] if whiten else [_Centre()])
        )
        self.step_whitening = _Whitening(centre=False) if "step" in terms else None

    def fit(self, parts):
        """Take the rows of ``parts`` as references."""
        vectors = self._join(parts)
        for transform in self.transforms:
            vectors = transform.fit(vectors)(vectors)
        self._store(references=vectors, squared_norms=vectors.square().sum(2)[:, None])

        own = torch.arange(vectors.shape[1])
        found = [
            self._search(vectors[:, block], block) for block in own.split(_SEARCH_ROWS)
        ]
        distances, indices, steps = (
            torch.cat(part, dim=1) for part in zip(*found, strict=True)
        )
        self._store(
            reference_distances=distances, floor=0.05 * _positive_median(distances)
        )
        if self.step_whitening is not None:
            self.step_whitening.fit(steps)
        terms = self._terms(distances, indices, steps)
        self._store(units=terms.median(dim=2, keepdim=True).values.clamp_min(_TINY))
        logs = self._mean_logs(terms).double()
        low, middle, high = torch.quantile(
            logs, torch.tensor([0.25, 0.5, 0.75], dtype=logs.dtype), dim=1, keepdim=True
        )
        spread = (high - low) / 1.349
        self._store(center=middle, spread=spread.clamp_min(0.01))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,); ``own`` is a row's own reference, or -1."""
        logs = self._mean_logs(
            self._terms(*self._search(self.transforms(self._join(parts)), own))
        )
        return ((logs - self.center) / self.spread).sum(0)

    def reference_scores(self, parts, generator):
        """Scores from fits that each left out a fifth of the reference rows.

        Leaving itself out of the search makes a reference row new to the search, but
        not to the whitening, which has seen it; that matters where rows are few.
        """
        n_rows = self.references.shape[1]
        if n_rows > _CROSS_FIT_UP_TO or n_rows < 2 * _N_FOLDS:
            return None
        folds = torch.randperm(n_rows, generator=generator) % _N_FOLDS
        scores = torch.empty(n_rows)
        for fold in range(_N_FOLDS):
            inside, outside = folds != fold, folds == fold
            score = LocalScore(
                self.part_names,
                whiten=self.whiten,
                terms=self.terms,
                n_scale_neighbors=self.n_scale_neighbors,
                exponent=self.exponent,
            ).fit({name: part[:, inside] for name, part in parts.items()})
            left_out = {name: part[:, outside] for name, part in parts.items()}
            scores[outside] = score(left_out, torch.full((int(outside.sum()),), -1))
        return scores

    def _search(self, vectors, own):
        """Mean distance to the nearest, indices of the neighbours, and the step."""
        n_members, n_references, width = self.references.shape
        n_usable = n_references - 1
        with torch.no_grad():
            products = aligned_product(vectors, self.references.mT)
            squared = products.mul_(-2).add_(self.squared_norms)
            place = own.clamp_min(0).expand(n_members, -1)[:, :, None]
            itself = torch.where(own[:, None] >= 0, torch.inf, squared.gather(2, place))
            squared.scatter_(2, place, itself)
            indices = squared.topk(
                min(self.n_scale_neighbors, n_usable), dim=2, largest=False
            ).indices
            offsets = torch.arange(n_members, device=own.device) * n_references
            nearest = indices[:, :, :_N_NEIGHBORS] + offsets[:, None, None]
        # The products above only choose the neighbours: the difference of large
        # squares is a poor measure of a short distance.
        neighbors = self.references.reshape(-1, width)[nearest]
        differences = vectors[:, :, None] - neighbors
        distances = differences.square().sum(3).clamp_min(_TINY**2).sqrt().mean(2)
        return distances, indices, differences.mean(2)

    def _terms(self, distances, indices, steps):
        """Values of the terms, shape (n_terms, n_members, n_rows)."""
        values = []
        for term in self.terms:
            if term == "step":
                lengths = part_magnitudes(self.step_whitening(steps))
                values.append(lengths.clamp_min(_TINY**2).sqrt())
            elif term == "distance":
                values.append(distances)
            else:
                around = self.reference_distances.gather(1, indices.flatten(1))
                usual = around.view(indices.shape).mean(2) + self.floor
                values.append(distances / usual**self.exponent)
        return torch.stack(values)

    def _mean_logs(self, terms):
        return (terms / self.units + 1e-3).log().mean(1)


class _Centre(_Fitted):
    """Subtract the mean, which keeps squared distances accurate."""

    def fit(self, rows):
        self._store(mean=rows.double().mean(1, keepdim=True))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        return rows - self.mean


class _Squash(_Fitted):
    """Centre and scale columns robustly, and squash what lies far out."""

    def fit(self, rows):
        rows = rows.double()
        median = rows.median(dim=1, keepdim=True).values
        deviation = (rows - median).abs().median(dim=1, keepdim=True).values
        spread = torch.maximum(
            1.4826 * deviation, 0.1 * rows.std(dim=1, keepdim=True, correction=0)
        )
        self._store(median=median, spread=spread.clamp_min(_TINY))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        scaled = (rows - self.median) / self.spread
        size = scaled.abs()
        far = _SQUASH_FROM * (1 + (size.clamp_min(_SQUASH_FROM) / _SQUASH_FROM).log())
        return torch.where(size > _SQUASH_FROM, scaled.sign() * far, scaled)


class _Whitening(_Fitted):
    r"""Make the columns of each member uncorrelated, with unit scale.

    With standardised columns :math:`u`, their correlation matrix
    :math:`R = U \Lambda U^T` and shrinkage :math:`a`, the map is
    :math:`((1-a) R + a I)^{-1/2} u`. It is applied in the form
    :math:`a^{-1/2} u + U G U^T u`, where :math:`U` needs no more columns than there
    were rows: that bounds the cost for wide data.

    Parameters
    ----------
    centre : bool, default=True
        Whether to subtract the mean.
    """

    def __init__(self, centre=True):
        super().__init__()
        self.centre = centre

    def fit(self, rows):
        """Learn from rows of shape (n_members, n_rows, width)."""
        members = [self._fit_member(member.double()) for member in rows]
        names = ("mean", "scale", "shrinkage", "gain", "vectors")
        stacked = [torch.stack(tensors) for tensors in zip(*members, strict=True)]
        self._store(**dict(zip(names, stacked, strict=True)))
        return self

    def _fit_member(self, rows):
        n_rows, width = rows.shape
        mean = rows.mean(0) * self.centre
        centred = rows - mean
        variance = centred.square().mean(0)
        scale = variance.clamp_min(max(1e-3 * float(variance.mean()), _TINY)).sqrt()
        standard = centred / scale
        shrinkage = max(_MIN_SHRINKAGE, width / (width + n_rows))
        if n_rows < width:
            values, vectors = torch.linalg.eigh(standard @ standard.T / n_rows)
            norms = (n_rows * values).clamp_min(_TINY).sqrt()
            vectors = standard.T @ vectors / norms
        else:
            values, vectors = torch.linalg.eigh(standard.T @ standard / n_rows)
        gain = ((1 - shrinkage) * values.clamp_min(0) + shrinkage) ** -0.5
        return (
            mean[None],
            scale[None],
            torch.tensor([[shrinkage]]),
            (gain - shrinkage**-0.5)[None],
            vectors,
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Whiten rows of shape (n_members, n_rows, width)."""
        standard = (rows - self.mean) / self.scale
        inner = aligned_product(standard, self.vectors) * self.gain
        back = aligned_product(inner, self.vectors.mT)
        return standard * self.shrinkage**-0.5 + back
