"""How rows are divided into training and test rows."""

from dataclasses import dataclass

import numpy as np

PROTOCOLS = ("one-class", "leave-one-class-out", "contaminated")


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of one division of a data set.

    Parameters
    ----------
    special : object
        The class that takes a turn; None where anomalies are fixed.
    train : ndarray of int of shape (n_train,)
        Training rows.
    test : ndarray of int of shape (n_test,)
        Test rows, none of them in `train`.
    anomalous : ndarray of bool of shape (n_test,)
        Which test rows are anomalies.
    """

    special: object
    train: np.ndarray
    test: np.ndarray
    anomalous: np.ndarray


def iterate_splits(
    dataset, protocol, seed, *, max_train=10_000, max_test=10_000, contamination=0.0
):
    """Divide a data set as a protocol says, once for each class that takes a turn.

    Parameters
    ----------
    dataset : AnomalyDataset
        The data.
    protocol, max_train, max_test, contamination
        As in :func:`compare`.
    seed : int
        Seed of every draw.

    Yields
    ------
    split : Split
        Sorted row numbers: reading a large array in order is quicker.

    Raises
    ------
    ValueError
        If the protocol needs classes and the data set has none, or if there are too few
        anomalies for the contamination.
    """
    if protocol == "leave-one-class-out" and dataset.classes is None:
        raise ValueError(
            f"Data set {dataset.name!r} has no classes to leave out; use another "
            "protocol."
        )
    target = dataset.target
    for position, special in enumerate(dataset.classes or (None,)):
        rng = np.random.default_rng((seed, position))
        if dataset.classes is None:
            normal = target == 1
        elif protocol == "one-class":
            normal = target == special
        else:
            normal = target != special
        if protocol == "contaminated":
            rows = rng.permutation(len(target))
            train = rows[: len(rows) // 2]
        elif protocol == "one-class" and dataset.test_rows is not None:
            train = rng.permutation(np.flatnonzero(normal & ~dataset.test_rows))
        else:
            rows = rng.permutation(np.flatnonzero(normal))
            share = 0.5 if protocol == "one-class" else 0.8
            train = rows[: round(share * len(rows) - 1e-9)]
        outside = np.ones(len(target), dtype=bool)
        # The whole half, also of what is too much to train on.
        outside[train] = False
        train = train[:max_train]
        if contamination:
            strange = ~normal
            if dataset.test_rows is not None:
                strange = strange & ~dataset.test_rows
            # Rows that make way for anomalies are tested on in their place.
            outside[train] = True
            train = _contaminated(train, np.flatnonzero(strange), contamination, rng)
        outside[train] = False
        if protocol == "one-class" and dataset.test_rows is not None:
            outside = dataset.test_rows
        test = rng.permutation(np.flatnonzero(outside))
        test = np.sort(_draw_both(test, normal, max_test))
        yield Split(special, np.sort(train), test, ~normal[test])


def _contaminated(train, anomalies, share, rng):
    """Training rows with anomalies in the place of some, at most half of these."""
    n_bad, most = round(share * len(train)), len(anomalies) // 2
    if n_bad > most:
        raise ValueError(
            f"contamination={share:g} of {len(train)} training rows takes {n_bad} "
            f"anomalies, and half of those there are is {most}. Lower max_train or "
            "contamination."
        )
    return np.append(train[n_bad:], rng.permutation(anomalies)[:n_bad])


def _draw_both(rows, normal, most):
    """Take the first `most` shuffled rows, with at least one row of either kind."""
    drawn = rows[:most].copy()
    for kind in (True, False):
        left_out = rows[most:][normal[rows[most:]] == kind]
        if len(left_out) and not (normal[drawn] == kind).any():
            drawn[-1] = left_out[0]
    return drawn
