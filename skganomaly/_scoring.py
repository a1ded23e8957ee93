"""Anomaly scores: from the residual vectors of an ensemble to one number per row.

A score is fitted on the residual vectors ("parts") of reference rows and then maps
the parts of any row to a number, higher for more anomalous. It is a torch module
whose buffers are its whole fitted state, so it moves between devices and is saved
like a network.

All parts have shape (n_members, n_rows, width).
"""

from functools import partial

import torch
from torch import Tensor, nn

from ._networks import aligned_product
from ._whitening import _Fitted, _Squash, _Standardise, _Whitening, shrinkage_for

__all__ = [
    "JointScore",
    "LocalScore",
    "PartScore",
    "WeightedScore",
    "part_magnitudes",
]

_N_NEIGHBORS = 5

# Rows of a block in the search of the references among themselves.
_SEARCH_ROWS = 256

# What is usual in a spot is taken to be at least this share of what is usual
# everywhere; a ratio of distances at least this share of its median. Rows that occur
# more than once would otherwise divide by zero, or have a score of minus infinity.
_FLOOR = 0.05
_SMALLEST_RATIO = 1e-3

# With at least this many rows per column, a row's own part in the whitening does not
# show in its score; with fewer, reference scores come from fits without it.
_ROWS_PER_COLUMN = 10
_N_FOLDS = 5
_CROSS_FIT_UP_TO = 2000

_TINY = 1e-12
_ALMOST_ZERO = 1e-5

# A mean square below this is that of no residual.
_NO_RESIDUAL = 1e-24


def part_magnitudes(part: Tensor) -> Tensor:
    """Mean square of residual vectors, shape (n_members, n_rows)."""
    return part.square().mean(2)


def _positive_median(values: Tensor) -> Tensor:
    """Median over the rows whose value is not (almost) zero, shape (n_members, 1)."""
    medians = [
        member[member > _ALMOST_ZERO].median()
        if (member > _ALMOST_ZERO).any()
        else member.new_ones(())
        for member in values
    ]
    return torch.stack(medians)[:, None]


def _typical(magnitudes: Tensor) -> Tensor:
    """Median of what is not next to nothing beside the others, (n_members, 1).

    So rows without a residual make no unit of zero, however small the residuals of
    the others are.
    """
    medians = []
    for member in magnitudes:
        some = member[member > _NO_RESIDUAL]
        if len(some):
            some = some[some > _ALMOST_ZERO * some.median()]
        medians.append(some.median() if len(some) else member.new_ones(()))
    return torch.stack(medians)[:, None]


class _Score(_Fitted):
    """A mapping from parts to scores; a subclass fits and computes it.

    Parameters
    ----------
    part_names : tuple of str
        The parts it looks at.
    """

    # Whether rows are searched for among the references, and so have to know which
    # of these they are themselves.
    searches = False

    def __init__(self, part_names):
        super().__init__()
        self.part_names = tuple(part_names)

    def reference_scores(self, parts):
        """Scores of the reference rows as if they were new to the score.

        Parameters
        ----------
        parts : dict of str to Tensor
            What the score was fitted on.

        Returns
        -------
        Tensor or None
            Scores of all reference rows, or enough of them, in any order. None where
            their ordinary scores will do.
        """
        return None

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
        self._store(unit=_typical(magnitudes))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,)."""
        return (part_magnitudes(self._join(parts)) / self.unit).mean(0)


class WeightedScore(_Score):
    """Weighted mean of the sizes of some parts, in units of its median.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each part.
    order : {"l1", "l2"}
        Whether a part's size is its mean absolute value or its mean square.
    """

    def __init__(self, weights, order):
        super().__init__(name for name, weight in weights.items() if weight)
        self.weights = weights
        self.order = order

    def fit(self, parts):
        """Learn the unit from the parts of the reference rows."""
        self._store(unit=_typical(self._value(parts)))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,)."""
        return (self._value(parts) / self.unit).mean(0)

    def _value(self, parts):
        size = torch.abs if self.order == "l1" else torch.square
        return sum(self.weights[n] * size(parts[n]).mean(2) for n in self.part_names)


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
        self._store(unit=_typical(part_magnitudes(self.whitening(joined))))
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,)."""
        whitened = self.whitening(self._join(parts))
        return (part_magnitudes(whitened) / self.unit).mean(0)

    def reference_scores(self, parts):
        """Leave-one-out distances in closed form.

        Removing a row from mean and covariance is a change of rank one, so its
        distance to the other rows follows from its distance to all of them (Sherman
        and Morrison). The change of the diagonal that the covariance is shrunk to is
        neglected.
        """
        joined = self._join(parts)
        n_rows = joined.shape[1]
        whitened = self.whitening(joined).double()
        distances = whitened.square().sum(2)
        keep = 1 - shrinkage_for(n_rows, joined.shape[2])
        others = (1 - keep * distances / (n_rows - 1)).clamp_min(_TINY)
        left_out = n_rows / (n_rows - 1) * distances / others
        return (left_out / joined.shape[2] / self.unit).mean(0)


class LocalScore(_Score):
    r"""How far a row is from its nearest reference rows, for where it is.

    Per member, one search among the joined parts of the reference rows finds

    - :math:`m(x)`, the mean distance to the 5 nearest;
    - :math:`d(x)`, that, or its geometric mean with the distance to the very nearest;
    - :math:`s(x)`, the mean of :math:`m` over the ``n_scale_neighbors`` nearest,
      which says what distance is usual there.

    The score is the mean over members of :math:`\ln (d(x) / s(x)^p)`, averaged, with
    weight ``row_weight``, with :math:`\ln d(x)` among the standardised rows
    themselves. Each logarithm is relative to the median over the reference rows: 0 is
    a typical row, and 1 one that is e times as far out.

    A reference row leaves itself out of the search, both when it is fitted and
    whenever it is scored. So its score is that of a new row, and always the same.

    Parameters
    ----------
    part_names : tuple of str
        Parts whose joined vectors are compared.
    row_weight : float
        Weight of the rows themselves beside the members' mean; 0 for none.
    whiten : bool
        Whether to squash outlying values and whiten the joined vectors first.
    use_nearest : bool
        Whether the distance to the very nearest reference row counts on its own.
    n_scale_neighbors : int
        Neighbours that :math:`s` averages over.
    exponent : float
        The power :math:`p`.
    """

    searches = True

    def __init__(self, part_names, *, row_weight, whiten, exponent, **search_options):
        super().__init__([*part_names, "row"])
        self.row_weight = row_weight
        self.whiten = whiten
        self.joined = _NeighborRatios(
            [_Squash(), _Whitening()] if whiten else [_Standardise(scale=False)],
            exponent=exponent,
            **search_options,
        )
        self.rows = None
        if row_weight:
            self.rows = _NeighborRatios([_Standardise()], exponent=0, **search_options)
        self._unfitted = partial(
            LocalScore,
            part_names,
            row_weight=row_weight,
            whiten=whiten,
            exponent=exponent,
            **search_options,
        )

    def fit(self, parts):
        """Take the rows of ``parts`` as references."""
        self.joined.fit(self._joined(parts))
        if self.rows is not None:
            self.rows.fit(parts["row"])
        else:
            self._store(reference_rows=parts["row"][0])
        return self

    def forward(self, parts: dict, own: Tensor) -> Tensor:
        """Score rows, shape (n_rows,); ``own`` is a row's own reference, or -1."""
        score = self.joined(self._joined(parts), own).mean(0)
        if self.rows is None:
            return score
        distance = self.rows(parts["row"], own)[0]
        return (score + self.row_weight * distance) / (1 + self.row_weight)

    def nearest_rows(self, parts, own):
        """Mean of the nearest reference rows, over neighbours and members.

        Only without ``row_weight``, where the rows are stored as they are.

        Returns
        -------
        Tensor of shape (n_rows, n_features)
            What the normal rows most like each row look like, scaled.
        """
        vectors = self.joined.transforms(self._joined(parts))
        nearest = self.joined.neighbors(vectors, own)[:, :, :_N_NEIGHBORS]
        return self.reference_rows[nearest].mean((0, 2))

    def nearest_vectors(self, parts, own):
        """Mean of the joined parts of the nearest reference rows.

        Only without ``whiten``, where these are stored but for their mean.

        Returns
        -------
        Tensor of shape (n_members, n_rows, width)
        """
        (centring,) = self.joined.transforms
        nearest = self.joined.neighbors(centring(self._joined(parts)), own)
        n_members, _, width = self.joined.references.shape
        place = nearest[:, :, :_N_NEIGHBORS].flatten(1)[:, :, None]
        vectors = self.joined.references.gather(1, place.expand(-1, -1, width))
        return vectors.view(n_members, -1, _N_NEIGHBORS, width).mean(2) + centring.mean

    def reference_scores(self, parts):
        """Scores from fits without the rows, where these are few for their width.

        A reference row is new to the search, but the whitening has seen it. That
        shows where the rows are not many times as many as the columns.
        """
        n_rows, width = self.joined.references.shape[1:]
        plenty = n_rows >= _ROWS_PER_COLUMN * width
        if plenty or not self.whiten or n_rows < 2 * _N_FOLDS:
            return None
        # Shuffled, so that no fold is a season of ordered rows.
        shuffle = torch.Generator().manual_seed(0)
        folds = torch.randperm(n_rows, generator=shuffle) % _N_FOLDS
        scores = []
        # A fifth of many rows is enough to set a threshold with.
        for fold in range(_N_FOLDS if n_rows < _CROSS_FIT_UP_TO else 1):
            seen, unseen = (
                {name: part[:, chosen] for name, part in parts.items()}
                for chosen in (folds != fold, folds == fold)
            )
            new = torch.full((int((folds == fold).sum()),), -1)
            scores.append(self._unfitted().fit(seen)(unseen, new))
        return torch.cat(scores)

    def _joined(self, parts):
        return torch.cat([parts[name] for name in self.part_names[:-1]], dim=2)


class _NeighborRatios(_Fitted):
    """One search among reference vectors; see :class:`LocalScore`.

    Parameters
    ----------
    transforms : list of _Fitted
        Applied to the vectors first, each fitted on what the one before returns.
    use_nearest, n_scale_neighbors, exponent
        See :class:`LocalScore`.
    """

    def __init__(self, transforms, *, use_nearest, n_scale_neighbors, exponent):
        super().__init__()
        self.transforms = nn.Sequential(*transforms)
        self.use_nearest = use_nearest
        self.n_scale_neighbors = n_scale_neighbors
        self.exponent = exponent

    def fit(self, vectors):
        """Take vectors of shape (n_members, n_references, width) as references."""
        for transform in self.transforms:
            vectors = transform.fit(vectors)(vectors)
        self._store(references=vectors, squared_norms=vectors.square().sum(2)[:, None])
        own = torch.arange(vectors.shape[1])
        found = [
            self._search(vectors[:, block], block) for block in own.split(_SEARCH_ROWS)
        ]
        nearest, mean, indices = (
            torch.cat(part, dim=1) for part in zip(*found, strict=True)
        )
        self._store(usual=mean, usual_floor=_FLOOR * _positive_median(mean))
        self._store(unit=_positive_median(self._ratios(nearest, mean, indices)))
        return self

    def forward(self, vectors: Tensor, own: Tensor) -> Tensor:
        """Logarithms of the ratios, shape (n_members, n_rows)."""
        ratios = self._ratios(*self._search(self.transforms(vectors), own))
        return (ratios / self.unit + _SMALLEST_RATIO).log()

    def _search(self, vectors, own):
        """Distance to the nearest, mean of the 5 nearest, and all neighbours."""
        indices = self.neighbors(vectors, own)
        n_members, n_references, width = self.references.shape
        offsets = torch.arange(n_members, device=own.device) * n_references
        places = indices[:, :, :_N_NEIGHBORS] + offsets[:, None, None]
        # The products that chose the neighbours are differences of large squares, a
        # poor measure of short distances.
        nearest = self.references.reshape(-1, width)[places]
        squared = (vectors[:, :, None] - nearest).square().sum(3)
        distances = squared.clamp_min(_TINY).sqrt()
        return distances.amin(2), distances.mean(2), indices

    @torch.no_grad()
    def neighbors(self, vectors: Tensor, own: Tensor) -> Tensor:
        """Indices of the nearest references but a row's own, nearest first."""
        n_members, n_references, _ = self.references.shape
        products = aligned_product(vectors, self.references.mT)
        squared = products.mul_(-2).add_(self.squared_norms)
        place = own.clamp_min(0).expand(n_members, -1)[:, :, None]
        itself = torch.where(own[:, None] >= 0, torch.inf, squared.gather(2, place))
        squared.scatter_(2, place, itself)
        # One less than there are, for the rows that leave themselves out.
        n_neighbors = min(self.n_scale_neighbors, n_references - 1)
        return squared.topk(n_neighbors, dim=2, largest=False).indices

    def _ratios(self, nearest, mean, indices):
        """Distance for what is usual there, shape (n_members, n_rows)."""
        usual = self.usual.gather(1, indices.flatten(1)).view(indices.shape).mean(2)
        distance = (nearest * mean).sqrt() if self.use_nearest else mean
        return distance / (usual + self.usual_floor) ** self.exponent
