"""Anomaly scores: from the residual vectors of an ensemble to one number per row.

A score is fitted on the residual vectors ("parts") of reference rows and then maps
the parts of any row to a number, higher for more anomalous. It is a torch module
whose buffers are its whole fitted state, so it moves between devices and is saved
like a network.

All parts have shape (n_members, n_rows, width).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..losses import mean_size
from ._whitening import Fitted, Whitening, shrinkage_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

__all__ = [
    "JointScoring",
    "PartScoring",
    "Scoring",
    "WeightedScoring",
    "part_magnitudes",
    "positive_median",
]

# Reference scores from fits without the rows: so many fits, but of many rows only one,
# which leaves out enough of them to set a threshold with.
_N_FOLDS = 10
_CROSS_FIT_UP_TO = 2000
_N_LARGE_FOLDS = 5

_TINY = 1e-12
_ALMOST_ZERO = 1e-5

# A mean square below this is that of no residual.
_NO_RESIDUAL = 1e-24


def part_magnitudes(part: Tensor) -> Tensor:
    """Mean square of residual vectors, shape (n_members, n_rows)."""
    return mean_size(part, "l2")


def positive_median(values: Tensor) -> Tensor:
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


class Scoring(Fitted):
    """A torch module that turns the parts of rows into scores.

    A subclass has :meth:`fit`, which keeps what it learns with :meth:`store`, and
    ``forward(parts, own_groups=None)``, which returns scores of shape (n_rows,), higher
    for more anomalous; ``own_groups`` has, for each row, the group of reference rows
    that it belongs to, or -1.

    Parameters
    ----------
    part_names : iterable of str
        The parts that it needs. The part "row" is the scaled rows themselves, the same
        for all members.
    """

    uses_references: ClassVar[bool] = False
    """Whether rows are compared with the reference rows, so that a row which is one of
    these has to be told of its own group."""

    row_by_row: ClassVar[bool] = False
    """Whether ``forward`` rounds each row in the same way, however many multiples of 16
    rows there are. If not, it is always handed as many, some of which only fill up."""

    # Whether it can tell what the nearest reference rows, or their codes, are.
    stores_rows = False
    stores_codes = False

    def __init__(self, part_names: Iterable[str]) -> None:
        super().__init__()
        self.part_names = tuple(part_names)

    def fit(self, parts: Mapping[str, Tensor], groups: Tensor | None = None) -> Self:
        """Learn from the parts of the reference rows.

        Parameters
        ----------
        parts : dict of str to Tensor of shape (n_members, n_references, width)
            The parts in ``part_names``.
        groups : Tensor of shape (n_references,), int, or None, default=None
            The group of each reference row, from 0 on; None if each is its own.

        Returns
        -------
        self : object
            The fitted score.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fit().")

    def reference_scores(
        self, parts: Mapping[str, Tensor], groups: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Scores that the reference rows would have if they and their groups were new.

        Parameters
        ----------
        parts : dict of str to Tensor
            What the score was fitted on.
        groups : Tensor of shape (n_references,), int
            The group of each reference row, from 0 on.
        values : Tensor of shape (n_references,), int
            Numbers from 0 on, the same for rows that are equal.

        Returns
        -------
        tuple of (Tensor, Tensor), or None
            Scores of all reference rows, or of enough of them, and the indices of
            these. None, the default, where their ordinary scores will do.
        """
        return None

    def _cross_fit(self, parts, groups, values, new):
        """Scores from fits of ``new()`` that leave out a fold of groups in turn."""
        n_rows, n_groups = len(groups), int(groups.max()) + 1
        few = n_rows < _CROSS_FIT_UP_TO
        n_folds = min(_N_FOLDS if few else _N_LARGE_FOLDS, n_groups)
        # Shuffled, so that no fold is a season of ordered rows.
        shuffle = torch.Generator().manual_seed(0)
        folds = (torch.randperm(n_groups, generator=shuffle) % n_folds)[groups]
        scores, rows = [], []
        for fold in range(n_folds if few else 1):
            seen, unseen = (
                {name: part[:, chosen] for name, part in parts.items()}
                for chosen in (folds != fold, folds == fold)
            )
            _, kept = groups[folds != fold].unique(return_inverse=True)
            score = new().fit(seen, kept)
            # New rows are measured in these units, and a median may jump where rows
            # are of two kinds.
            fitted = dict(score.named_buffers())
            for name, unit in self.named_buffers():
                if name.endswith("unit"):
                    fitted[name].copy_(unit)
            rows.append(torch.nonzero(folds == fold).flatten())
            # Known are those that equal a row of the others; the first of these counts.
            known = np.full(int(values.max()) + 1, -1)
            known[values[folds != fold].numpy()[::-1]] = kept.numpy()[::-1]
            own_groups = torch.from_numpy(known[values[rows[-1]].numpy()])
            scores.append(score(unseen, own_groups))
        return torch.cat(scores), torch.cat(rows)

    def _join(self, parts):
        return torch.cat([parts[name] for name in self.part_names], dim=2)


class PartScoring(Scoring):
    """Mean square of one part, in units of its median over the reference rows.

    Up to that unit the score of the papers: for GANomaly's part "latent", the squared
    distance of the two codes. Members are averaged after the division, so that none
    of them dominates.

    Parameters
    ----------
    part_name : str
    """

    row_by_row = True

    def __init__(self, part_name):
        super().__init__([part_name])

    def fit(self, parts, groups=None):
        """Learn the unit from the parts of the reference rows."""
        return self.fit_magnitudes(part_magnitudes(self._join(parts)))

    def fit_magnitudes(self, magnitudes):
        """Learn the unit from magnitudes of shape (n_members, n_references)."""
        self.store(unit=_typical(magnitudes))
        return self

    def forward(self, parts: dict, own_groups: Tensor | None = None) -> Tensor:
        """Score rows, shape (n_rows,)."""
        return (part_magnitudes(self._join(parts)) / self.unit).mean(0)


class WeightedScoring(Scoring):
    """Weighted mean of the sizes of some parts, in units of its median.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each part.
    order : {"l1", "l2"}
        Whether a part's size is its mean absolute value or its mean square.
    """

    row_by_row = True

    def __init__(self, weights, order):
        super().__init__(name for name, weight in weights.items() if weight)
        self.weights = weights
        self.order = order

    def fit(self, parts, groups=None):
        """Learn the unit from the parts of the reference rows."""
        self.store(unit=_typical(self._value(parts)))
        return self

    def forward(self, parts: dict, own_groups: Tensor | None = None) -> Tensor:
        """Score rows, shape (n_rows,)."""
        return (self._value(parts) / self.unit).mean(0)

    def _value(self, parts):
        return sum(
            self.weights[name] * mean_size(parts[name], self.order)
            for name in self.part_names
        )


class JointScoring(Scoring):
    r"""Squared Mahalanobis distance of all parts together.

    Per member, with the mean :math:`\mu` and the shrunk covariance :math:`C` of the
    joined parts :math:`v` over the reference rows,
    :math:`(v-\mu)^T C^{-1} (v-\mu)`, in units of its median over the reference rows;
    then the mean over members.

    Parameters
    ----------
    part_names : tuple of str
    """

    row_by_row = True

    def __init__(self, part_names):
        super().__init__(part_names)
        self.whitening = Whitening()

    def fit(self, parts, groups=None):
        """Learn mean, covariance and unit from the parts of the reference rows."""
        joined = self._join(parts)
        self.whitening.fit(joined)
        self.store(unit=_typical(part_magnitudes(self.whitening(joined))))
        return self

    def forward(self, parts: dict, own_groups: Tensor | None = None) -> Tensor:
        """Score rows, shape (n_rows,)."""
        whitened = self.whitening(self._join(parts))
        return (part_magnitudes(whitened) / self.unit).mean(0)

    def reference_scores(self, parts, groups, values):
        """Leave-one-out distances in closed form, or from fits that leave groups out.

        Removing a row from mean and covariance is a change of rank one, so its
        distance to the other rows follows from its distance to all of them (Sherman
        and Morrison). The change of the diagonal that the covariance is shrunk to is
        neglected.
        """
        joined = self._join(parts)
        n_rows = joined.shape[1]
        if int(groups.max()) + 1 < n_rows:
            new = partial(JointScoring, self.part_names)
            return self._cross_fit(parts, groups, values, new)
        whitened = self.whitening(joined).double()
        distances = whitened.square().sum(2)
        keep = 1 - shrinkage_for(n_rows, joined.shape[2])
        others = (1 - keep * distances / (n_rows - 1)).clamp_min(_TINY)
        left_out = n_rows / (n_rows - 1) * distances / others
        scores = (left_out / joined.shape[2] / self.unit).mean(0)
        return scores, torch.arange(n_rows)
