"""Rows that count for more or less than one."""

from numbers import Real

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_array, column_or_1d

__all__ = ["drawn_by_weight", "priority_sample", "read_weights", "worth"]

_WORDS = (
    "sample_weight must have one finite number of at least 0 for each row: how many "
    "rows it counts for."
)


def read_weights(X, sample_weight):
    """Weights of rows, in units of the largest of them.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
    sample_weight : array-like of shape (n_rows,), float or None

    Returns
    -------
    kept : ndarray of shape (n_kept,), int, or None
        The rows that count, whose weight is not zero; None stands for all.
    weights : ndarray of shape (n_kept,) or None
        Their weights in (0, 1]; None if all of these are equal.

    Raises
    ------
    ValueError
        If there are other than one for each row, negative or missing weights, or fewer
        than two that are not zero.
    """
    if sample_weight is None:
        return None, None
    if isinstance(sample_weight, Real):
        sample_weight = np.full(len(X), sample_weight)
    try:
        weights = column_or_1d(sample_weight)
        weights = check_array(weights, ensure_2d=False, dtype=np.float64)
        check_consistent_length(X, weights)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{_WORDS} {error}") from error
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        first = negative[0]
        raise ValueError(
            f"{_WORDS} {len(negative)} of {len(weights)} are negative, the first "
            f"{weights[first]:g} of row {first}. Use 0 for rows to leave out."
        )
    weights = weights / (weights.max(initial=0) or 1)
    kept = np.flatnonzero(weights)
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {len(weights)} rows have a sample_weight that is not "
            "zero, and at least 2 are needed. Give more rows a weight above 0."
        )
    weights = weights[kept]
    alike = weights.min() == weights.max()
    everybody = len(kept) == len(X)
    return None if everybody else kept, None if alike else weights


def worth(weights):
    r"""Share of the rows that, with equal weights, would tell as much, in (0, 1].

    Kish's effective sample size, :math:`(\sum w)^2 / \sum w^2`, for their number.
    """
    return weights.sum() ** 2 / (len(weights) * np.square(weights).sum())


def drawn_by_weight(weights, start):
    """As many rows as there are, each about as often as its weight says.

    Of all draws in proportion to weights it is the most even, as a row comes as often
    as it should be but for less than one time: once, if all weights are equal.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        In random order, as neighbours are not drawn independently.
    start : float in [0, 1)
        Drawn at random.

    Returns
    -------
    ndarray of shape (n_rows,), int
        Positions, in increasing order.
    """
    n_rows, cumulated = len(weights), np.cumsum(weights)
    marks = (np.arange(n_rows) + start) * (cumulated[-1] / n_rows)
    return np.searchsorted(cumulated[:-1], marks, side="right")


def priority_sample(weights, uniform, n_drawn):
    """Draw rows, and what each counts for so that sums over all rows are kept.

    Priority sampling (Duffield, Lund and Thorup, 2007, :doi:`10.1145/1314690.1314696`):
    a row has the priority w / u, and those of the highest count for their weight or
    for the highest priority that was not drawn, whichever is more. Then the expected
    sum over those drawn is that over all rows.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
    uniform : ndarray of shape (n_rows,)
        Drawn at random from [0, 1).
    n_drawn : int
        Fewer than there are rows.

    Returns
    -------
    order : ndarray of shape (n_rows,), int
        Positions by falling priority, the drawn ones first.
    counts : ndarray of shape (n_rows,)
        What each row counts for, if it is drawn.
    """
    priority = weights / (1 - uniform)
    order = np.argsort(-priority, kind="stable")
    return order, np.maximum(weights, priority[order[n_drawn]])
