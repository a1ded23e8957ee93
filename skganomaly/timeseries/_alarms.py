"""From scores over time to alarms that a person can be called for."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar
from sklearn.utils.validation import column_or_1d

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Alarm:
    """One alarm: when it began, ended and was worst.

    ``pandas.DataFrame(alarms)`` makes a table of a list of them.

    Parameters
    ----------
    start, end, peak : int or label of the index
        First step, last step, and the step with the highest score.
    score : float
        The score of the peak.
    n_steps : int
        Steps from the first to the last, both included.
    """

    start: Any
    end: Any
    peak: Any
    score: float
    n_steps: int


def alarm_events(
    scores: ArrayLike,
    threshold: ArrayLike,
    *,
    release: ArrayLike | None = None,
    cooldown: int = 0,
    index: Sequence[Any] | Any | None = None,
) -> list[Alarm]:
    """Alarms as events, from scores and a cut.

    Parameters
    ----------
    scores : array-like of shape (n_steps,)
        Anomaly scores in the order of time, higher is worse; NaN where there is none.
        Flags will do as well, with ``threshold=0.5``.
    threshold : float or array-like of shape (n_steps,)
        An alarm begins where a score is above it. An array has a cut for each step, as
        from :class:`AdaptiveThreshold`.
    release : float, array-like of shape (n_steps,) or None, default=None
        A lower cut, at or below which an alarm ends (hysteresis), so that a score that
        hovers around `threshold` makes one alarm and not many. None is `threshold`.
    cooldown : int, default=0
        Steps after an alarm's end within which no other begins: it is the same alarm,
        which then lasts until the end of both.
    index : sequence of length n_steps or None, default=None
        Names of the steps, such as the index of a DataFrame. None is their numbers.

    Returns
    -------
    alarms : list of Alarm
        In the order of time, each with ``start``, ``end``, ``peak``, ``score`` and
        ``n_steps``. ``pandas.DataFrame(alarms)`` makes a table of them.

    Raises
    ------
    ValueError
        If lengths differ, a cut is NaN, or `release` is above `threshold`.

    See Also
    --------
    TimeSeriesDetector.alarms : Does this, and narrows alarms to what caused them.
    event_scores : How good alarms are.

    Notes
    -----
    A step without a score changes nothing: an alarm goes on across it if the next score
    says so. Alarms before a step do not depend on what comes after it, but for the end
    of the last one.

    Examples
    --------
    >>> from skganomaly.timeseries import alarm_events
    >>> for alarm in alarm_events([0, 3, 5, 2, 0, 0, 4], 2.5, release=1):
    ...     print(alarm)
    Alarm(start=1, end=3, peak=2, score=5.0, n_steps=3)
    Alarm(start=6, end=6, peak=6, score=4.0, n_steps=1)
    """
    scores = column_or_1d(scores, dtype=np.float64)
    check_scalar(cooldown, "cooldown", Integral, min_val=0)
    if index is not None:
        check_consistent_length(scores, index)
    runs = flagged_runs(scores, threshold, release, cooldown)
    return [make_alarm(scores, start, stop, index) for start, stop in runs]


def make_alarm(scores, start, stop, index):
    """The alarm of the steps from `start` to before `stop`."""
    peak = start + int(np.nanargmax(scores[start:stop]))
    names = range(len(scores)) if index is None else index
    named = (names[step] for step in (start, stop - 1, peak))
    return Alarm(*named, float(scores[peak]), int(stop - start))


def flagged_runs(scores, threshold, release, cooldown):
    """First step of each alarm and the step after its last."""
    threshold = read_cut(threshold, scores, "threshold")
    release = threshold if release is None else read_cut(release, scores, "release")
    if np.any(release > threshold):
        raise ValueError(
            f"release must not be above threshold; got {np.max(release):g} and "
            f"{np.min(threshold):g}. An alarm ends at or below release."
        )
    known = np.flatnonzero(~np.isnan(scores))
    above = scores[known] > threshold[known]
    # Between the cuts a step is as the one before it.
    decided = above | (scores[known] <= release[known])
    last = np.maximum.accumulate(np.where(decided, np.arange(len(known)), -1))
    alarmed = np.where(last >= 0, above[np.maximum(last, 0)], False)
    edges = np.flatnonzero(np.diff(np.r_[0, alarmed.astype(np.int8), 0]))
    runs = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        start, stop = int(known[first]), int(known[stop - 1]) + 1
        if runs and start - runs[-1][1] < cooldown:
            runs[-1][1] = stop
        else:
            runs.append([start, stop])
    return runs


def read_cut(cut, scores, name):
    """A cut for each score."""
    cut = np.asarray(cut, dtype=np.float64)
    if cut.ndim > 1 or (cut.ndim == 1 and len(cut) != len(scores)):
        raise ValueError(
            f"{name} must be one number or one for each of {len(scores)} steps; got "
            f"shape {cut.shape}."
        )
    if np.isnan(cut).any():
        raise ValueError(f"{name} must not be NaN. Pass a number, or inf for no alarm.")
    return np.broadcast_to(cut, scores.shape)
