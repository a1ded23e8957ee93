"""Rows that are nearer to each other than independent rows could be."""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from sklearn.metrics import euclidean_distances

from .reports import Finding

__all__ = ["NearCopies", "find_near_copies", "near_copies_are_known"]

# Gaps behind so many neighbours are looked at, and held against some further out. Where
# rows are few, neighbours soon lie where the density is another one.
_N_NEAR = 20
_N_FAR = 20
_ROWS_PER_NEIGHBOR = 20

# Rows whose neighbours are looked at, and the fewest that say anything.
_N_QUERIES = 500
_FEWEST_ROWS = 100

# A column whose values occur as often as this on average has steps instead of gaps. One
# that is mostly zero puts rows onto planes, whose neighbours outside are far away.
_OCCURRENCES = 10
_MOST_COMMON = 0.5

# Independent rows have gaps of mean 1, and one above 8 in three thousand. On 21 tables
# of ADBench the means stay below 1.5 and few rows have a wide gap, but for musk, whose
# rows are shapes of the same molecules: 2.6, and a fifth of the rows.
_MEAN_GAP = 1.8
_WIDE_GAP = 8.0
_SHARE = 0.05


# Whether somebody takes care of rows that belong together in another way.
_known = ContextVar("_known", default=False)


@contextmanager
def near_copies_are_known():
    """Fits inside do not look for near copies, such as windows that overlap."""
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


class NearCopies:
    """What gives rows away that belong together.

    Parameters
    ----------
    share : float
        Share of the rows whose next rows are set apart from all others.
    size : int
        How many rows there are in a group, as a rule.
    """

    def __init__(self, share, size):
        self.share = share
        self.size = size

    @property
    def finding(self):
        """What it means for the threshold, and what to do."""
        return Finding(
            "near_copies",
            f"Training rows come in groups of about {self.size} that are nearer to "
            "each other than independent rows are (plainly so for "
            f"{self.share:.0%} of the rows), as shots of one part or visits of one "
            "patient do. More rows of new groups than promised will be flagged.",
            "Name the groups, fit(X, groups=part_of_each_row), or keep one row of "
            "each.",
        )


def find_near_copies(vectors, labels):
    r"""Look for rows that belong together though nobody said so.

    Where rows are independent, and their density hardly changes from a row to its
    neighbours, the distances to these are those of a Poisson process: with the distance
    :math:`r_k` to the k-th neighbour among rows of intrinsic dimension d,
    :math:`k d \ln (r_{k+1} / r_k)` is exponential with mean 1, whatever k [1]_. Groups
    of m rows leave a gap behind the (m - 1)-th neighbour.

    Parameters
    ----------
    vectors : ndarray of shape (n_rows, n_columns)
        Rows in units in which columns can be compared.
    labels : ndarray of shape (n_rows,), int
        Groups that are known, of which only the first row is looked at.

    Returns
    -------
    NearCopies or None
        None if there are none, if rows or values are too few to tell, or inside of
        :func:`near_copies_are_known`.

    References
    ----------
    .. [1] E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic
       dimension", NIPS 2004.
    """
    if _known.get():
        return None
    # Neighbours come in groups as well, if these are known.
    _, first = np.unique(labels, return_index=True)
    vectors = np.asarray(vectors, dtype=np.float64)[np.sort(first)]
    vectors = vectors[:, [_is_continuous(column) for column in vectors.T]]
    # Equal rows are no near copies; there is a rule for them.
    if vectors.shape[1]:
        _, first = np.unique(vectors, axis=0, return_index=True)
        vectors = vectors[np.sort(first)]
    n_rows = len(vectors)
    n_near = min(_N_NEAR, n_rows // _ROWS_PER_NEIGHBOR)
    n_neighbors = n_near + _N_FAR
    if n_rows < _FEWEST_ROWS or not vectors.shape[1]:
        return None
    queries = np.random.default_rng(0).permutation(n_rows)[:_N_QUERIES]
    squared = euclidean_distances(vectors[queries], vectors, squared=True)
    squared[np.arange(len(queries)), queries] = np.inf
    squared = np.sort(np.partition(squared, n_neighbors, axis=1)[:, : n_neighbors + 1])
    # Rounding may leave nothing of a short distance.
    floor = 1e-12 * squared[:, -1:]
    logs = 0.5 * np.log(np.maximum(squared, floor) + np.finfo(np.float64).tiny)
    gaps = np.arange(1, n_neighbors + 1) * np.diff(logs, axis=1)
    near, far = gaps[:, :n_near], gaps[:, n_near:]
    mean = far.mean()
    if not mean > 0:
        return None
    near, far = near / mean, far / mean
    wide = np.mean(near.max(axis=1) > _WIDE_GAP) - np.mean(far.max(axis=1) > _WIDE_GAP)
    means = np.minimum(near, 2 * _WIDE_GAP).mean(axis=0)
    # By luck, few rows may have more.
    allowed = _SHARE + 3 * np.sqrt(_SHARE / len(queries))
    if wide <= allowed and means.max() <= _MEAN_GAP:
        return None
    return NearCopies(float(max(wide, 0.0)), int(means.argmax()) + 2)


def _is_continuous(column):
    """Whether a column has many values, none of which most rows have."""
    _, counts = np.unique(column, return_counts=True)
    n_rows = len(column)
    return len(counts) * _OCCURRENCES > n_rows and counts.max() <= _MOST_COMMON * n_rows
