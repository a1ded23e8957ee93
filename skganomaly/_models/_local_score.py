"""The local score: how far a row is from the reference rows nearest to it."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ._nearest import N_SPARE, NearestVectors
from ._products import aligned_product, is_traced
from ._scoring import Scoring, positive_median
from ._whitening import Fitted, Squash, Standardise, Whitening

__all__ = ["LocalScoring"]

_TINY = 1e-12

_N_NEIGHBORS = 5

# What is usual in a spot is taken to be at least this share of what is usual
# everywhere; a ratio of distances at least this share of its median. Rows that occur
# more than once would otherwise divide by zero, or have a score of minus infinity.
_FLOOR = 0.05
_SMALLEST_RATIO = 1e-3

# With at least this many rows per column, a row's own part in the whitening does not
# show in its score; with fewer, reference scores come from fits without it.
_ROWS_PER_COLUMN = 10
_FEWEST_ROWS = 10


class LocalScoring(Scoring):
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

    A reference row leaves itself and the other rows of its group out of the search,
    both when it is fitted and whenever it is scored. So its score is that of a new row
    of a new group, and always the same.

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

    row_by_row = True
    uses_references = True

    def __init__(self, part_names, *, row_weight, whiten, exponent, **search_options):
        super().__init__([*part_names, "row"])
        self.row_weight = row_weight
        self.whiten = whiten
        self.joined = _NeighborRatios(
            [Squash(), Whitening()] if whiten else [Standardise(scale=False)],
            exponent=exponent,
            **search_options,
        )
        self.rows = None
        if row_weight:
            self.rows = _NeighborRatios([Standardise()], exponent=0, **search_options)
        self._unfitted = partial(
            LocalScoring,
            part_names,
            row_weight=row_weight,
            whiten=whiten,
            exponent=exponent,
            **search_options,
        )

    @property
    def stores_rows(self):
        """Whether :meth:`nearest_rows` can tell what the nearest references are."""
        return self.rows is None

    @property
    def stores_codes(self):
        """Whether :meth:`nearest_vectors` can tell their codes."""
        return self.part_names[:-1] == ("code",) and not self.whiten

    def fit(self, parts, groups=None):
        """Take the rows of ``parts`` as references; without groups, each is its own."""
        if groups is None:
            groups = torch.arange(parts["row"].shape[1])
        self.joined.fit(self._joined(parts), groups)
        if self.rows is not None:
            self.rows.fit(parts["row"], groups)
        else:
            self.store(reference_rows=parts["row"][0])
        return self

    def forward(self, parts: dict, own_groups: Tensor | None = None) -> Tensor:
        """Score rows, shape (n_rows,).

        ``own_groups`` has a row's own group or -1, or several of them, (n_rows,
        n_groups). None says that no row is of any.
        """
        score = self.joined(self._joined(parts), own_groups).mean(0)
        if self.rows is None:
            return score
        distance = self.rows(parts["row"], own_groups)[0]
        return (score + self.row_weight * distance) / (1 + self.row_weight)

    def nearest_rows(self, parts, own_groups):
        """Mean of the nearest reference rows, over neighbours and members.

        Only without ``row_weight``, where the rows are stored as they are.

        Returns
        -------
        Tensor of shape (n_rows, n_features)
            What the normal rows most like each row look like, scaled.
        """
        vectors = self.joined.transforms(self._joined(parts))
        _, nearest = self.joined.neighbors(vectors, own_groups)
        nearest = nearest[:, :, :_N_NEIGHBORS]
        return self.reference_rows[nearest].mean((0, 2))

    def nearest_vectors(self, parts, own_groups):
        """Mean of the joined parts of the nearest reference rows.

        Only without ``whiten``, where these are stored but for their mean.

        Returns
        -------
        Tensor of shape (n_members, n_rows, width)
        """
        (centring,) = self.joined.transforms
        _, nearest = self.joined.neighbors(centring(self._joined(parts)), own_groups)
        width = self.joined.references.shape[2]
        place = nearest[:, :, :_N_NEIGHBORS].flatten(1)[:, :, None]
        vectors = self.joined.references.gather(1, place.expand(-1, -1, width))
        return vectors.unflatten(1, (nearest.shape[1], -1)).mean(2) + centring.mean

    def reference_scores(self, parts, groups, values):
        """Scores from fits without the rows, where these are few for their width.

        A reference row is new to the search, but the whitening has seen it. That
        shows where the rows are not many times as many as the columns.
        """
        n_groups, width = int(groups.max()) + 1, self.joined.references.shape[2]
        plenty = n_groups >= _ROWS_PER_COLUMN * width
        if plenty or not self.whiten or n_groups < _FEWEST_ROWS:
            return None
        return self._cross_fit(parts, groups, values, self._unfitted)

    def _joined(self, parts):
        return torch.cat([parts[name] for name in self.part_names[:-1]], dim=2)


class _NeighborRatios(Fitted):
    """One search among reference vectors; see :class:`LocalScoring`.

    Parameters
    ----------
    transforms : list of Fitted
        Applied to the vectors first, each fitted on what the one before returns.
    use_nearest, n_scale_neighbors, exponent
        See :class:`LocalScoring`.
    """

    def __init__(self, transforms, *, use_nearest, n_scale_neighbors, exponent):
        super().__init__()
        self.transforms = nn.Sequential(*transforms)
        self.use_nearest = use_nearest
        self.n_scale_neighbors = n_scale_neighbors
        self.exponent = exponent
        # References, what finds the nearest of them, and their order by groups.
        self._prepared = None, None, None

    def fit(self, vectors, groups):
        """Take vectors of shape (n_members, n_references, width) as references."""
        for transform in self.transforms:
            vectors = transform.fit(vectors)(vectors)
        self.store(references=vectors, squared_norms=vectors.square().sum(2)[:, None])
        # A copy, as a tensor that two modules share would be saved by one of them.
        self.store(groups=groups.clone())
        self._count_groups()
        nearest, mean, indices = self._search(vectors, groups)
        self.store(usual=mean, usual_floor=_FLOOR * positive_median(mean))
        self.store(unit=positive_median(self._ratios(nearest, mean, indices)))
        return self

    def _count_groups(self):
        # A number of Python, as an exported graph has no tensors that depend on data.
        self.largest_group = int(torch.bincount(self.groups).max())

    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        # The state of another score has none, of which torch tells.
        if hasattr(self, "groups"):
            self._count_groups()

    def forward(self, vectors: Tensor, own_groups: Tensor | None) -> Tensor:
        """Logarithms of the ratios, shape (n_members, n_rows)."""
        ratios = self._ratios(*self._search(self.transforms(vectors), own_groups))
        return (ratios / self.unit + _SMALLEST_RATIO).log()

    def _search(self, vectors, own_groups):
        """Distance to the nearest, mean of the 5 nearest, and all neighbours."""
        squared, indices = self.neighbors(vectors, own_groups)
        if vectors.requires_grad:
            squared = self._squared_distances(vectors, indices[:, :, :_N_NEIGHBORS])
        distances = squared[:, :, :_N_NEIGHBORS].clamp_min(_TINY).sqrt()
        return distances.amin(2), distances.mean(2), indices

    @torch.no_grad()
    def neighbors(
        self, vectors: Tensor, own_groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The nearest references outside a row's groups, nearest first.

        Returns
        -------
        squared : Tensor of shape (n_members, n_rows, n_neighbors)
            Squared distances.
        indices : Tensor of shape (n_members, n_rows, n_neighbors), int64
        """
        if own_groups is not None and own_groups.ndim == 1:
            own_groups = own_groups[:, None]
        n_own = 1 if own_groups is None else own_groups.shape[1]
        # What is left for the rows of the largest groups.
        left = len(self.groups) - n_own * self.largest_group
        wanted = self.n_scale_neighbors if self.exponent else _N_NEIGHBORS
        n_neighbors = min(wanted, max(left, 1))
        if vectors.device.type != "cpu" or is_traced():
            return self._by_products(vectors, own_groups, n_neighbors)
        of, nearest, order = self._prepared
        if of is not self.references:
            nearest = NearestVectors(self.references)
            order = self.groups.numpy().argsort(kind="stable")
            self._prepared = self.references, nearest, order
        hidden = None
        if own_groups is not None and (own_groups >= 0).any():
            hidden = self._kin(own_groups.numpy(), order)
        return nearest.search(vectors.detach(), n_neighbors, hidden)

    def _kin(self, own_groups, order):
        """Pairs of a row and a reference of one of its groups."""
        rows, column = np.nonzero(own_groups >= 0)
        of_rows = own_groups[rows, column]
        groups = self.groups.numpy()
        first = np.searchsorted(groups, of_rows, sorter=order)
        n_kin = np.searchsorted(groups, of_rows, side="right", sorter=order) - first
        places = np.arange(n_kin.sum()) - np.repeat(n_kin.cumsum() - n_kin, n_kin)
        return np.repeat(rows, n_kin), order[np.repeat(first, n_kin) + places]

    def _by_products(self, vectors, own_groups, n_neighbors):
        """The nearest by torch's operations alone, as graphs have them.

        Products choose a few more, as they are differences of large squares, a poor
        measure of short distances.
        """
        products = aligned_product(vectors, self.references.mT)
        squared = products.mul_(-2).add_(self.squared_norms)
        if own_groups is not None:
            known = torch.nonzero((own_groups >= 0).any(1)).flatten()
            if len(known):
                kin = (own_groups[known, :, None] == self.groups).any(1)
                squared[:, known] = squared[:, known].masked_fill_(kin, torch.inf)
        n_more = min(n_neighbors + N_SPARE, len(self.groups))
        lower, indices = squared.topk(n_more, dim=2, largest=False)
        squared = self._squared_distances(vectors, indices)
        squared = squared.masked_fill(lower == torch.inf, torch.inf)
        squared, order = squared.topk(n_neighbors, dim=2, largest=False)
        return squared, indices.gather(2, order)

    def _squared_distances(self, vectors, indices):
        """To some references, of the shape of their indices."""
        n_members, n_references, width = self.references.shape
        offsets = torch.arange(n_members, device=vectors.device) * n_references
        nearest = self.references.reshape(-1, width)[indices + offsets[:, None, None]]
        return (vectors[:, :, None] - nearest).square().sum(3)

    def _ratios(self, nearest, mean, indices):
        """Distance for what is usual there, shape (n_members, n_rows)."""
        distance = (nearest * mean).sqrt() if self.use_nearest else mean
        if not self.exponent:
            return distance
        usual = self.usual.gather(1, indices.flatten(1)).view(indices.shape).mean(2)
        return distance / (usual + self.usual_floor) ** self.exponent
