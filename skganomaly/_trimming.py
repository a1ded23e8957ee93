"""Training rows that are left out as the most anomalous of all."""

import numpy as np

from ._groups import one_score_a_group

__all__ = ["with_left_out", "worst_rows"]


def worst_rows(scores, groups, share):
    """Positions of the rows of the groups that score highest, the worst first.

    Groups go as a whole, by the median score of their rows, and at least two are left.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,)
    groups : RowGroups
    share : float in [0, 1)
        So large a share of the rows, by weight, at most.

    Returns
    -------
    ndarray of shape (n_left_out,), int
    """
    labels, weights = groups.labels, groups.weights
    weights = np.ones(len(scores)) if weights is None else weights
    order, sizes = np.lexsort((scores, labels)), np.bincount(labels)
    middle = np.cumsum(sizes) - sizes + (sizes - 1) // 2
    worst_first = np.argsort(-scores[order][middle], kind="stable")
    rank = np.argsort(worst_first)
    taken = np.cumsum(np.bincount(labels, weights)[worst_first])
    n_out = int((taken <= share * weights.sum() * (1 + 1e-12)).sum())
    n_out = max(0, min(n_out, len(sizes) - 2))
    by_rank = np.argsort(rank[labels], kind="stable")
    return by_rank[: int(sizes[worst_first[:n_out]].sum())]


def with_left_out(reference_scores, scores, weights, share):
    """Reference scores of all rows, from those of two kinds.

    Parameters
    ----------
    reference_scores : ndarray of shape (n_references,)
        Of the rows that stayed.
    scores : ndarray of shape (n_scores,)
        Of the rows that were left out, or of some of them.
    weights : ndarray of shape (n_scores,)
    share : float in (0, 1)
        Share of the rows that were left out, by weight.

    Returns
    -------
    ndarray of shape (n_all_references,)
        In increasing order.
    """
    n_kept = len(reference_scores)
    counts = np.append(
        np.full(n_kept, (1 - share) / n_kept), weights * (share / weights.sum())
    )
    together = np.append(reference_scores, scores)
    return one_score_a_group(together, counts, round(n_kept / (1 - share)))
