"""Rows that come in pieces: a bounded, uniform sample of all that were seen."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ._calibration import divide
from ._memorisation import held_out_by_itself
from ._training._plain import flat
from .reports import Finding

if TYPE_CHECKING:
    from ._calibration import Division
    from ._groups import RowGroups
    from ._models._method import Method
    from ._models._scaling import Scaling
    from ._settings import Settings

__all__ = ["Reservoir", "Start", "beyond_range"]

# A column has drifted if so many rows, and such a share, are beyond its values.
_FEWEST_BEYOND = 3
_SHARE_BEYOND = 0.05

# How networks are trained further, and what is found anew from piece to piece.
_MAY_CHANGE = {
    *("adversary__learning_rate", "batch_size", "beta_1", "input_noise"),
    *("learning_rate", "learning_rate_schedule", "max_steps"),
    *("search__encoder_steps", "contamination", "false_alarm_rate", "score_type"),
    *("trim", "own"),
}


class Reservoir:
    """A uniform sample of all rows seen, of bounded size, some of it held out.

    Each row draws two numbers when it comes: whether it is held out, and a priority.
    Those of the highest priority stay, however the rows were divided into pieces.

    Parameters
    ----------
    seed : int
    most : int
        Rows that stay of either kind.
    fraction : float in [0, 1)
        Share of the rows to hold out.

    Attributes
    ----------
    rows : ndarray of shape (n_kept, ...)
    held_out : ndarray of shape (n_kept,), bool
    n_seen : int
    """

    def __init__(self, seed: int, most: int, fraction: float) -> None:
        self.seed = seed
        self.most = most
        self.fraction = fraction
        self.rows = None
        self.held_out = np.empty(0, dtype=bool)
        self.n_seen = 0
        self._priority = np.empty(0)

    def with_rows(self, X: np.ndarray) -> Reservoir:
        """Another reservoir that has seen more rows, of shape (n_rows, ...)."""
        new = copy.copy(self)
        # Where the numbers of all rows before end.
        source = np.random.PCG64(self.seed).advance(2 * self.n_seen)
        drawn = np.random.Generator(source).random((len(X), 2))
        held_out = np.append(self.held_out, drawn[:, 0] < self.fraction)
        priority = np.append(self._priority, drawn[:, 1])
        places = [np.flatnonzero(held_out == kind) for kind in (False, True)]
        stay = np.sort(
            np.concatenate(
                [
                    p[np.argsort(-priority[p], kind="stable")[: self.most]]
                    for p in places
                ]
            )
        )
        n_old = len(self.held_out)
        fresh = X[stay[stay >= n_old] - n_old]
        if self.rows is not None:
            old = self.rows[stay[stay < n_old]]
            fresh = np.concatenate([old, fresh.astype(old.dtype, copy=False)])
        new.rows, new.held_out, new._priority = fresh, held_out[stay], priority[stay]
        new.n_seen = self.n_seen + len(X)
        return new


@dataclass
class Start:
    """Where a fit goes on from, if it does.

    Parameters
    ----------
    reservoir : Reservoir
    n_new : int
        Rows that came with this piece.
    scaling : Scaling or None, default=None
        None is learned.
    method : Method or None, default=None
        The trained networks; None are drawn. They are trained further in place.
    settings : Settings or None, default=None
        With which they were drawn.
    n_steps : int, default=0
        Steps that these have had.
    problems : list of Finding or None, default=[]
        What is wrong with the new rows.
    """

    reservoir: Reservoir
    n_new: int
    scaling: Scaling | None = None
    method: Method | None = None
    settings: Settings | None = None
    n_steps: int = 0
    problems: list[Finding | None] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Another for each piece, whatever the others were."""
        return self.reservoir.seed + self.reservoir.n_seen

    def check(self, settings: Settings) -> None:
        """Refuse parameters that only a detector that begins anew can have."""
        if self.settings is None:
            return
        then, now = (
            {k: v for k, v in flat(vars(each) | each.own) if k not in _MAY_CHANGE}
            for each in (self.settings, settings)
        )
        changed = [
            f"{name} was {then.get(name)!r} and is {now.get(name)!r}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        if changed:
            raise ValueError(
                "partial_fit goes on with networks, a scaling and rows that are there, "
                f"and these were begun otherwise: {'; '.join(changed)}. Set it back, "
                "or begin anew with partial_fit on a clone."
            )

    def divide(
        self, X: np.ndarray, groups: RowGroups, rows: np.ndarray | slice
    ) -> Division:
        """Hold out whole groups, by the first of their rows.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
        groups : RowGroups
        rows : ndarray of shape (n_rows,), int, or slice
            Positions in the reservoir.
        """
        held_out = self.reservoir.held_out[rows]
        _, first = np.unique(groups.labels, return_index=True)
        if np.sum(~held_out[first]) < 2:
            raise ValueError(
                f"{self.reservoir.n_seen} rows with validation_fraction="
                f"{self.reservoir.fraction:g} leave fewer than 2 to train on. Begin "
                "with more rows."
            )
        return divide(X, groups, held_out[first])

    def finding(self, settings: Settings, n_groups: int) -> Finding | None:
        """Say so if the networks may have memorised rows and none are held out."""
        if self.reservoir.fraction:
            return None
        n_steps = self.n_steps + settings.max_steps
        n_passes = n_steps * min(settings.batch_size, n_groups) / n_groups
        kind, score, rate = (
            settings.kind,
            settings.score_type,
            settings.false_alarm_rate,
        )
        if not held_out_by_itself(
            n_passes, 10**9, kind=kind, score_type=score, rate=rate
        ):
            return None
        return Finding(
            "not_held_out",
            f"The networks have seen each row about {n_passes:.0f} times and may know "
            "it by heart, and no rows are held out for the threshold, so the share of "
            "new normal rows that it flags is not known.",
            "Begin anew with validation_fraction=0.2, pass more rows at a time, or "
            "lower max_steps.",
        )


def beyond_range(X, trained, names=None):
    """A finding on rows beyond the range that a frozen scaling was learned from.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    trained : ndarray of shape (2, n_groups)
        Their smallest and largest values.
    names : sequence of str or None, default=None
        Names of the columns of a table.

    Returns
    -------
    Finding or None
    """
    n_groups = trained.shape[1]
    columns = np.asarray(X).reshape(len(X), n_groups, -1)
    low, high = columns.min(axis=2), columns.max(axis=2)
    share = ((low < trained[0]) | (high > trained[1])).mean(axis=0)
    group = int(np.argmax(share))
    if share[group] < max(_SHARE_BEYOND, _FEWEST_BEYOND / len(X)):
        return None
    what = f"channel {group}"
    if n_groups == X.shape[1]:
        what = f"column {group if names is None else repr(names[group])}"
    return Finding(
        "drifted",
        f"{share[group]:.0%} of these rows lie outside of {trained[0, group]:.4g} to "
        f"{trained[1, group]:.4g} in {what}, the range of the rows that the scaling "
        "was learned from.",
        "If normal has changed for good, fit again on recent rows; if not, look for a "
        "fault in these.",
    )
