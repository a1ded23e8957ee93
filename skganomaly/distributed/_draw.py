"""A uniform sample of rows that come in blocks, and what is known of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from .._models._scaling import column_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._models._scaling import ColumnStatistics

__all__ = ["Draw", "Drawn"]

# Parts that are merged at a time.
TOGETHER = 8


@dataclass
class Drawn:
    """What is kept of some rows.

    Parameters
    ----------
    rows : ndarray or DataFrame
        The sample, in the order in which its rows came.
    keys : ndarray of shape (n_drawn,) or None
        A number in [0, 1) for each of them: the sample has the rows of the smallest.
    n_rows : int
        How many rows there were.
    statistics : ColumnStatistics or None
        Of all of them; None if they were not asked for, or are not numbers.
    """

    rows: Any
    keys: np.ndarray | None
    n_rows: int
    statistics: ColumnStatistics | None


@dataclass(frozen=True)
class Draw:
    """How rows are drawn.

    Each row gets a random key, and those with the smallest keys of all are the sample.
    This holds for the rows of a block and for what is kept of several, so that blocks
    may be read in one pass, in any order and anywhere.

    Parameters
    ----------
    n_rows : int
        Size of the sample.
    seed : int
    describe : bool
        Whether statistics of all rows are wanted.
    """

    n_rows: int
    seed: int
    describe: bool

    def of_block(self, block: Any, place: int, below: float = 1.0) -> Drawn:
        """Draw from one block.

        Parameters
        ----------
        block : ndarray or DataFrame of n rows
        place : int
            A number that no other block has.
        below : float, default=1.0
            Keys from here on are not among the smallest.
        """
        keys = np.random.default_rng([self.seed, place]).random(len(block))
        chosen = np.flatnonzero(keys < below)
        chosen = chosen[_smallest(keys[chosen], self.n_rows)]
        statistics = _describe(block) if self.describe and len(block) else None
        return Drawn(_taken(block, chosen), keys[chosen], len(block), statistics)

    def merge(self, parts: Sequence[Drawn]) -> Drawn:
        """What would have been kept of the rows of several blocks together."""
        parts = [part for part in parts if part.n_rows] or parts[:1]
        keys = np.concatenate([part.keys for part in parts])
        chosen = _smallest(keys, self.n_rows)
        statistics = [part.statistics for part in parts]
        with np.errstate(invalid="ignore"):
            known = None if None in statistics else reduce(add, statistics)
        rows = _taken(_joined([part.rows for part in parts]), chosen)
        n_rows = sum(part.n_rows for part in parts)
        return Drawn(rows, keys[chosen], n_rows, known)

    def of_stream(self, blocks: Iterable[Any]) -> Drawn:
        """Draw from blocks that come one after the other in this process."""
        kept: list[Drawn] = []
        below = 1.0
        for place, block in enumerate(blocks):
            kept.append(self.of_block(block, place, below))
            if len(kept) == TOGETHER:
                kept = [self.merge(kept)]
                if len(kept[0].keys) == self.n_rows:
                    below = kept[0].keys.max()
        return self.merge(kept)


def _smallest(keys, n):
    """Positions of the smallest keys, in increasing order."""
    if len(keys) <= n:
        return np.arange(len(keys))
    return np.sort(np.argpartition(keys, n - 1)[:n])


def _taken(rows, places):
    return rows[places] if isinstance(rows, np.ndarray) else rows.iloc[places]


def _joined(rows):
    if isinstance(rows[0], np.ndarray):
        return np.concatenate(rows)
    import pandas as pd

    return pd.concat(rows, ignore_index=True)


def _describe(block):
    """Statistics of a block, or None if it has values that are no numbers."""
    try:
        if not isinstance(block, np.ndarray):
            block = block.to_numpy(dtype=np.float64, na_value=np.nan)
        block = block.reshape(len(block), -1).astype(np.float64, copy=False)
    except (TypeError, ValueError):
        return None
    with np.errstate(invalid="ignore"):
        return column_statistics(block)
