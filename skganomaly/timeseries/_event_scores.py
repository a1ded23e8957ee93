"""How good alarms over time are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import column_or_1d

from .._directions import check_anomaly_labels, flags_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def event_scores(
    y_true: ArrayLike, y_pred: ArrayLike, *, alpha: float = 0.0
) -> dict[str, float]:
    r"""How good alarms are, by steps, by events, and by ranges.

    An event is a run of anomalous steps, an alarm a run of flagged steps.

    Parameters
    ----------
    y_true : array-like of shape (n_steps,)
        True labels, in any coding that
        :func:`~skganomaly.model_selection.check_anomaly_labels` reads. At least one
        step must be anomalous.
    y_pred : array-like of shape (n_steps,)
        Labels as from ``predict``, -1 for flagged steps and 1 for others, or booleans
        that are True for flagged steps.
    alpha : float in [0, 1], default=0.0
        Weight of being found at all in the range-based recall.

    Returns
    -------
    scores : dict of str to float
        By steps: ``precision``, ``recall``, and ``false_alarm_rate``, the share of
        normal steps that are flagged. By events: ``event_recall``, the share of
        events with a flagged step; ``delay``, from the first step of an event to the
        first flagged one, mean over the events found (NaN if there is none); ``alarms``
        and ``false_alarms``, how many there are and how many meet no event. By ranges:
        ``range_precision`` and ``range_recall``. A precision is 0 without alarms.

    Notes
    -----
    Read the numbers of events with those of steps: one alarm that never ends meets
    every event. In the terms of [1]_, with flat positional bias and reciprocal
    cardinality, the recall of an event :math:`R` that :math:`k` alarms meet is
    :math:`\alpha [k > 0] + (1 - \alpha) |R \cap P| / (|R| \max(k, 1))` with the flagged
    steps :math:`P`; ``range_recall`` is its mean over events. ``range_precision`` is
    the same with the roles exchanged and :math:`\alpha = 0`.

    The point-adjusted F1 score is left out on purpose: it counts all steps of an event
    as found if one is, and random scores can look like the state of the art [2]_.

    References
    ----------
    .. [1] N. Tatbul, T. J. Lee, S. Zdonik, M. Alam, J. Gottschlich, "Precision and
       Recall for Time Series", NeurIPS 2018, arXiv:1803.03639.
    .. [2] S. Kim, K. Choi, H.-S. Choi, B. Lee, S. Yoon, "Towards a Rigorous Evaluation
       of Time-Series Anomaly Detection", AAAI 2022, arXiv:2109.05257.

    Examples
    --------
    >>> from skganomaly.timeseries import event_scores
    >>> scores = event_scores([1, -1, -1, 1, 1, 1], [1, 1, -1, 1, -1, 1])
    >>> scores["event_recall"], scores["delay"], scores["false_alarms"]
    (1.0, 1.0, 1)
    """
    truth, flagged = check_anomaly_labels(y_true), _read_alarms(y_pred)
    check_consistent_length(truth, flagged)
    if not truth.any():
        raise ValueError("y_true has no anomalous step, so there is nothing to find.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha!r}.")
    events, alarms = _runs(truth), _runs(flagged)
    found = [flagged[start:stop].any() for start, stop in events]
    met = [truth[start:stop].any() for start, stop in alarms]
    delays = [
        np.argmax(flagged[start:stop])
        for (start, stop), seen in zip(events, found, strict=True)
        if seen
    ]
    overlap = _mean_overlap(events, flagged)
    return {
        "precision": float(truth[flagged].mean()) if len(alarms) else 0.0,
        "recall": float(flagged[truth].mean()),
        "false_alarm_rate": float(flagged[~truth].mean()) if not truth.all() else 0.0,
        "event_recall": float(np.mean(found)),
        "delay": float(np.mean(delays)) if delays else np.nan,
        "alarms": len(alarms),
        "false_alarms": len(alarms) - int(np.sum(met)),
        "range_precision": _mean_overlap(alarms, truth) if len(alarms) else 0.0,
        "range_recall": float(alpha * np.mean(found) + (1 - alpha) * overlap),
    }


def _read_alarms(y_pred):
    """Flags of steps; all 1 is no alarm, and 0 no label but that of no score."""
    y_pred = column_or_1d(y_pred)
    flags = y_pred if y_pred.dtype.kind == "b" else flags_of(y_pred, -1)
    if flags is None:
        raise ValueError(
            "y_pred must hold 1 and -1 (anomaly), or booleans (True is an anomaly); "
            f"got {np.unique(y_pred)[:5].tolist()}. Compare first, for example "
            "y_pred == -1."
        )
    return flags


def _runs(flags):
    """First step of each run of True, and the step after its last."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.column_stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)])


def _mean_overlap(runs, flags):
    """Mean share of each run that is flagged, divided by the number of pieces."""
    parts = [flags[start:stop] for start, stop in runs]
    return float(np.mean([part.mean() / max(len(_runs(part)), 1) for part in parts]))
