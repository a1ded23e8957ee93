"""Which training rows belong together: groups that the user names, and copies."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ._models._scaling import row_blocks
from ._validation import read_groups

__all__ = ["RowGroups", "group_rows", "one_score_a_group", "read_labels", "twins"]

# Rows are copies if no column differs by more than this share of its standard
# deviation, or where rows are many by a small part of the gaps within one column.
_TOLERANCE = 1e-7
_SHARE_OF_GAP = 1e-3

# Rows that the scales of columns are estimated from.
_N_SCALE_ROWS = 10_000

# How many of the next rows, in the order of a projection, a row is compared with. A
# copy is nearly always the very next.
_N_NEXT = 3

# Repeats are chance if it explains at least this share of them, or if there are as many
# pairs of rows that differ in a single column.
_EXPLAINED = 0.1
# Rows that such pairs are counted among.
_N_PAIRED_ROWS = 20_000
# A column is discrete if its values occur as often as this on average.
_OCCURRENCES = 10

# Rows that occur equally often tell something if they are one in so many of all.
_PLAIN = 50

# A row as frequent as this, where others are not, is a value that new rows take too.
_FREQUENT = 0.05
_MUCH_MORE = 10


class RowGroups:
    """Groups of rows that are not independent of each other.

    Parameters
    ----------
    labels : ndarray of shape (n_rows,), int
        The group of each row, numbered from 0 in the order of appearance.
    originals : ndarray of shape (n_rows,), int
        Position of the first row that a row is a copy of: its own, if it is no copy.
    weights : ndarray of shape (n_rows,) or None, default=None
        How many rows each counts for; None if all count alike.
    """

    def __init__(self, labels, originals, weights=None):
        self.labels = labels
        self.originals = originals
        self.weights = weights

    def __len__(self):
        return len(self.labels)

    @property
    def n_groups(self):
        """Number of groups."""
        return int(self.labels.max()) + 1

    @property
    def distinct(self):
        """Positions of the rows that are no copies of earlier ones."""
        return np.flatnonzero(self.originals == np.arange(len(self)))

    @property
    def counts(self):
        """How many rows each counts for, together with its copies; 0 for these."""
        return np.bincount(self.originals, self.weights, minlength=len(self))

    def take(self, rows):
        """The groups of some rows, whose positions increase.

        A row may be there only together with the row that it is a copy of.
        """
        return RowGroups(
            _number(self.labels[rows]),
            np.searchsorted(rows, self.originals[rows]),
            None if self.weights is None else self.weights[rows],
        )


def group_rows(X, groups=None, *, one_unit=False, weights=None):
    """Find which rows of a table are not independent of each other.

    Rows belong together if the user says so, and if they are copies: equal, or equal
    but for rounding.

    Where columns take few values, rows are equal without being copies, and new rows
    will equal old ones, too. Repeats are therefore taken for chance where independent
    columns would give about as many, by the values that each takes and how often, and
    where as many rows differ in one column alone. They are copies all the same where
    rows occur twice, or three times, and hardly ever once more or less, which chance
    does not do, and never where one row makes up a good part of the table while others
    don't.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    groups : array-like of shape (n_rows,) or None, default=None
        The group of each row.
    one_unit : bool, default=False
        Whether all values are in the same unit, like the pixels of an image.
    weights : ndarray of shape (n_rows,) or None, default=None
        How many rows each counts for.

    Returns
    -------
    RowGroups
    """
    named = None if groups is None else read_labels(X, groups)
    copies = _find_copies(X, one_unit)
    originals = copies
    # A number for each row takes as much memory as two columns of the table.
    if copies[-1] < len(X) - 1:
        # Rows that are all one have nobody else to be compared with.
        if copies.max() == 0 or _repeats_by_chance(X, copies):
            copies = np.arange(len(X))
        copies = _without_frequent(copies)
        originals = _first_places(copies)[copies]
    if named is None:
        return RowGroups(copies, originals, weights)
    labels = _join(copies, named)
    if labels.max() == 0:
        raise ValueError(
            f"groups puts all {len(X)} rows into one group, and rows are scored "
            "without those of their own group. Name at least two groups that share no "
            "row."
        )
    return RowGroups(labels, originals, weights)


def one_score_a_group(scores, n_rows, n_groups):
    """As many scores as there are groups, distributed like those of the rows.

    Rows of a group are not independent, so that a rule which counts scores would trust
    in more than there is.

    Parameters
    ----------
    scores : ndarray of shape (n_scores,)
    n_rows : ndarray of shape (n_scores,), int or float
        How many rows each is the score of.
    n_groups : int

    Returns
    -------
    ndarray of shape (n_groups,)
        In increasing order; the scores themselves, if all rows are groups of their own.
    """
    scores, n_rows = np.asarray(scores, dtype=np.float64), np.asarray(n_rows)
    order = np.argsort(scores, kind="stable")
    up_to = np.cumsum(n_rows[order])
    middle = (2 * np.arange(n_groups) + 1) * up_to[-1]
    # Whole numbers of rows in whole numbers, which are not rounded.
    whole = n_rows.dtype.kind == "i"
    middle = middle // (2 * n_groups) if whole else middle / (2 * n_groups)
    return scores[order][np.searchsorted(up_to, middle, side="right")]


def twins(values, labels):
    """For each row the group of another row that equals it, or -1.

    A new row that equals a reference is scored without that one. If a row had not been
    there, and came as a new one, so would be its twin.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        The same for rows that are equal.
    labels : ndarray of shape (n_rows,), int
        The groups of the rows.

    Returns
    -------
    ndarray of shape (n_rows,), int
    """
    _, first, place = np.unique(values, return_index=True, return_inverse=True)
    known = labels[first][place]
    strange = np.flatnonzero(labels != known)
    other = np.full(len(first), -1)
    other[place[strange[::-1]]] = labels[strange[::-1]]
    return np.where(labels != known, known, other[place])


def read_labels(X, groups, item="row"):
    """The group of each row that a user names, numbered from 0.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
    groups : array-like of shape (n_rows,)
    item : str, default="row"
        What a row is.

    Returns
    -------
    ndarray of shape (n_rows,), int
    """
    if isinstance(groups, str):
        raise ValueError(
            f"groups={groups!r} names no {item}s. Pass one group for each {item}, such "
            f"as the column itself: groups=table[{groups!r}]."
        )
    words = (
        f"groups must name, for each {item}, the group that it belongs to, such as the "
        "part that was measured, all of them numbers or all of them names, without "
        "missing values."
    )
    groups = read_groups(X, groups, words)
    try:
        return _number(np.unique(groups, return_inverse=True)[1])
    except TypeError as error:  # Numbers and names have no order.
        raise ValueError(f"{words} {error}") from error


def _first_places(labels):
    """Where each label, a number from 0, comes first; -1 for those that do not come."""
    places = np.full(int(labels.max(initial=-1)) + 1, -1)
    # Of several values for one place the last one stays.
    places[labels[::-1]] = np.arange(len(labels) - 1, -1, -1)
    return places


def _number(labels):
    """Number labels, any numbers from 0, without gaps in the order of appearance."""
    first = _first_places(labels)
    begins = np.zeros(len(labels), dtype=bool)
    begins[first[first >= 0]] = True
    return (np.cumsum(begins) - 1)[first[labels]]


def _join(labels, others):
    """Groups of rows that share a label in the one or in the other numbering."""
    n = labels.max() + 1
    size = n + others.max() + 1
    links = coo_array((np.ones(len(labels)), (labels, others + n)), (size, size))
    _, component = connected_components(links, directed=False)
    return _number(component[labels])


def _find_copies(X, one_unit):
    """Numbers that are the same for rows that are equal, at least but for rounding."""
    n_rows, n_features = X.shape
    step = max(1, n_rows // _N_SCALE_ROWS)
    some = np.asarray(X[::step], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        center = np.median(some, axis=0)
        # In units of the largest value, as squares of huge ones overflow.
        unit = np.abs(some - center).max(axis=0)
        scale = unit * (some / np.where(unit > 0, unit, 1)).std(axis=0)
        if one_unit:
            scale = np.full(n_features, np.sqrt(np.mean(scale**2)))
    # A column that does not vary, or that overflows, cannot tell rows apart.
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, np.inf)
    tolerance = min(_TOLERANCE, _SHARE_OF_GAP / n_rows)
    resolution = np.finfo(X.dtype).eps

    # Copies have the same place along any line, and are next to each other there.
    weights = np.random.default_rng(0).normal(size=n_features)
    places = np.empty(n_rows)
    for block in row_blocks(n_rows, n_features):
        part = np.asarray(X[block], dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            places[block] = np.nan_to_num(((part - center) / scale) @ weights)
    order = np.argsort(places, kind="stable")
    places = places[order]
    pairs = [np.empty((2, 0), dtype=int)]
    for ahead in range(1, min(_N_NEXT, n_rows - 1) + 1):
        for block in row_blocks(n_rows - ahead, 1):
            here, next_ = places[:-ahead][block], places[ahead:][block]
            reach = tolerance * np.abs(weights).sum()
            reach = reach + (resolution + 1e-12) * (np.abs(next_) + n_features)
            close = block.start + np.flatnonzero(next_ - here <= reach)
            close = np.stack([order[close], order[close + ahead]])
            # In a large table most rows are close to the next, and hardly any equal.
            pairs.append(close[:, _equal(X, close, scale, tolerance, resolution)])
    del places, order
    pairs = np.concatenate(pairs, axis=1)
    if not pairs.size:
        return np.arange(n_rows)
    links = coo_array((np.ones(pairs.shape[1]), pairs), (n_rows, n_rows))
    _, component = connected_components(links, directed=False)
    return _number(component)


def _equal(X, pairs, scale, tolerance, resolution):
    """Whether the rows of pairs, (2, n_pairs), are equal but for rounding."""
    equal = np.empty(pairs.shape[1], dtype=bool)
    for block in row_blocks(pairs.shape[1], X.shape[1]):
        a, b = (np.asarray(X[rows[block]], dtype=np.float64) for rows in pairs)
        with np.errstate(over="ignore"):
            allowed = tolerance * np.where(np.isfinite(scale), scale, 0)
            allowed = allowed + resolution * np.abs(a)
            equal[block] = (np.abs(a - b) <= allowed).all(axis=1)
    return equal


def _repeats_by_chance(X, copies):
    """Whether so many rows of a table are equal as chance makes equal."""
    sizes = np.bincount(copies)
    if len(sizes) == len(X) or _multiplied(sizes):
        return False
    return _columns_explain(X, copies) or _differ_in_one_column(X, copies)


def _multiplied(sizes):
    r"""Whether rows occur k times for some k, and hardly ever k - 1 or k + 1 times.

    How often rows occur by chance is a mixture of Poisson distributions. The number
    :math:`f_k` of rows that occur k times then obeys
    :math:`k f_k^2 \le (k + 1) f_{k-1} f_{k+1}`, but for luck (Cauchy and Schwarz).
    """
    occurring = np.bincount(np.append(sizes, sizes.max() + 1)).astype(float)
    occurring[-1] = 0
    k = np.arange(2, len(occurring) - 1)
    before, here, behind = occurring[1:-2], occurring[2:-1], occurring[3:]
    surplus = here - 2 * np.sqrt((k + 1) / k * before * (behind + 1))
    plain = (surplus > 4 * np.sqrt(here)) & (_PLAIN * k * here > sizes.sum())
    return bool(plain.any())


def _columns_explain(X, copies):
    """Whether independent columns would make as many pairs of rows equal."""
    n_rows = len(X)
    _, distinct = np.unique(copies, return_index=True)
    n = len(distinct)
    # In logarithms, as the product over many columns is next to nothing.
    surplus = np.log(_n_pairs(np.full(1, n_rows)))
    surplus -= np.log(_EXPLAINED * _n_pairs(np.bincount(copies)))
    for column in range(X.shape[1]):
        _, counts = np.unique(X[distinct, column], return_counts=True)
        if len(counts) * _OCCURRENCES <= n_rows:
            agree = np.sum((counts / n) ** 2)
        else:
            agree = _n_pairs(counts) / _n_pairs(np.full(1, n)) if n > 1 else 1.0
        if agree == 0:
            return False
        surplus += np.log(agree)
        if surplus < 0:
            return False
    return True


def _differ_in_one_column(X, copies):
    """Whether pairs that differ in one column are about as many as equal ones."""
    n_rows, n_features = X.shape
    if n_features == 1:
        return False
    rng = np.random.default_rng(0)
    rows = np.arange(n_rows)
    if n_rows > _N_PAIRED_ROWS:
        rows = np.sort(rng.choice(rows, _N_PAIRED_ROWS, replace=False))
    # The sum of random numbers, one for each value of each column, tells rows apart,
    # and without one of them it tells apart what is left of the rows.
    marks = np.empty((len(rows), n_features), dtype=np.uint64)
    for column in range(n_features):
        _, place = np.unique(X[rows, column], return_inverse=True)
        drawn = rng.integers(2**63, size=place.max() + 1, dtype=np.uint64)
        marks[:, column] = drawn[place]
    whole = marks.sum(axis=1, dtype=np.uint64)
    n_equal = _n_pairs(np.unique(whole, return_counts=True)[1])
    needed = _EXPLAINED * _n_pairs(np.bincount(copies[rows]))
    n_near = 0
    for column in range(n_features):
        rest = whole - marks[:, column]
        n_near += _n_pairs(np.unique(rest, return_counts=True)[1]) - n_equal
        if n_near > needed:
            return True
    return False


def _n_pairs(sizes):
    """Number of pairs within classes of these sizes."""
    return float(np.sum(sizes * (sizes - 1.0)) / 2)


def _without_frequent(copies):
    """Take apart the copies of rows that are frequent where others are not."""
    sizes = np.bincount(copies)
    frequent = sizes > max(_FREQUENT * len(copies), _MUCH_MORE * np.median(sizes))
    if not frequent.any():
        return copies
    apart = np.arange(len(copies)) + len(sizes)
    return _number(np.where(frequent[copies], apart, copies))
