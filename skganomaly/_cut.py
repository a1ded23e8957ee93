"""From the parameter ``threshold`` and scores to a cut."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from .thresholds import (
    CallableThreshold,
    ConformalThreshold,
    FixedThreshold,
    MaxThreshold,
    QuantileThreshold,
    TailThreshold,
    _check_cut,
    _check_scores,
    _snap,
    _ThresholdRule,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal, Protocol, TypeAlias

    from numpy.typing import ArrayLike, NDArray

    class Rule(Protocol):
        def fit(self, scores: NDArray[np.float64], /) -> Any: ...

    # What a detector's parameter `threshold` may be.
    Threshold: TypeAlias = (
        Literal["auto", "max", "tail", "conformal"]
        | float
        | Callable[[NDArray[np.float64]], float]
        | Rule
    )

__all__ = [
    "check_rate",
    "cut_from_labels",
    "fit_threshold",
    "highest_of",
    "is_auto",
    "resolve_threshold",
    "too_few",
    "words_if_constant",
]


def is_auto(value: object) -> bool:
    """Whether a parameter is the word "auto"; arrays have no answer to ``==``."""
    return isinstance(value, str) and value == "auto"


def resolve_threshold(threshold: Any, *, rate: float) -> Any:
    """Return an unfitted rule for any value of a detector's `threshold`.

    That is "auto", "max", "tail" or "conformal" (all but "max" at `rate`), a number, a
    function of the scores, or an object with ``fit(scores)``. An object is never
    changed: it is cloned (`BaseEstimator`) or deep-copied. Anything else raises
    ValueError.
    """
    if isinstance(threshold, str):
        rules = {
            "auto": QuantileThreshold(rate=rate),
            "max": MaxThreshold(),
            "tail": TailThreshold(rate=rate),
            "conformal": ConformalThreshold(rate=rate),
        }
        if threshold in rules:
            return rules[threshold]
    elif isinstance(threshold, Real | np.bool_):
        return FixedThreshold(value=_check_cut(threshold, "threshold"))
    # A class has `fit` and is callable, but it is an instance that was meant.
    elif not isinstance(threshold, type):
        if hasattr(threshold, "fit"):
            # A clone is constructed, and PyThresh seeds NumPy's global generator then.
            if isinstance(threshold, BaseEstimator) and not _is_pythresh(threshold):
                return clone(threshold)
            return copy.deepcopy(threshold)
        if callable(threshold):
            return CallableThreshold(function=threshold)
    raise ValueError(
        "threshold must be 'auto', 'max', 'tail', 'conformal', a finite number, a "
        "function of the scores, or an instance with fit(scores) such as "
        f"QuantileThreshold(); got {threshold!r}."
    )


def check_rate(rate: object, name: str) -> None:
    """Refuse a share that is not strictly between 0 and 1."""
    if not (isinstance(rate, Real) and 0 < rate < 1):
        raise ValueError(
            f"{name}={rate!r} must be a number strictly between 0 and 1, such as 0.01 "
            "for one false alarm in a hundred normal rows."
        )


def too_few(n_references: int, rate: float) -> bool:
    """Whether the quantile of so many scores is the highest, which flags more."""
    return _snap((n_references + 1) * rate) < 1


def highest_of(n_references: int, kind: str, rate: float) -> str:
    """Words for a rate that scores of so many rows, or others, are too few for."""
    return (
        f"With {n_references} reference {kind} the threshold is the highest of their "
        f"scores, which flags one in {n_references + 1} new normal ones and not the "
        f"share of {rate:g} that was asked for."
    )


def fit_threshold(threshold: Any, scores: ArrayLike, *, rate: float) -> Any:
    """Resolve `threshold` and fit it to `scores` of shape (n_references,).

    The rule returned has a finite ``threshold_``; where it found none, or where
    `threshold` or `scores` is invalid, ValueError is raised. A thresholder of PyThresh,
    whose ``thresh_`` is on a scale of its own, is given one.
    """
    rule = resolve_threshold(threshold, rate=rate)
    # Checked here too: a rule of the user need not check, nor spare the array.
    scores = _check_scores(scores)
    with words_if_constant(scores, rule):
        rule.fit(scores.copy())
    if _is_pythresh(rule):
        rule.threshold_ = cut_from_labels(scores, rule.labels_, rule.thresh_)
    _check_cut(
        getattr(rule, "threshold_", None),
        f"threshold_ of {type(rule).__name__} after fit",
    )
    return rule


@contextmanager
def words_if_constant(scores: NDArray[np.float64], rule: Any) -> Iterator[None]:
    """Say what is the matter where a rule of others fails on equal scores."""
    try:
        yield
    except Exception as error:
        if isinstance(rule, _ThresholdRule) or np.ptp(scores) > 0:
            raise
        raise ValueError(
            f"{type(rule).__name__} finds no threshold, as all {len(scores)} scores "
            f"are {scores[0]:.6g}. Are all rows the same? 'auto' and 'max' put the cut "
            "at that score, and what scores higher is flagged."
        ) from error


def _is_pythresh(rule: object) -> bool:
    # By name, so that PyThresh is not imported to look at something else.
    return any(cls.__module__.startswith("pythresh.") for cls in type(rule).__mro__)


def cut_from_labels(
    scores: NDArray[np.float64], labels: ArrayLike, position: float | None = None
) -> float:
    """Return a cut that flags just the scores labelled 1.

    It lies at `position` on a scale where `scores` span [0, 1], as PyThresh's
    ``thresh_`` does; without one in the middle of the gap. Where no cut flags just
    these scores, ValueError is raised.
    """
    flagged = np.asarray(labels) == 1
    lowest = scores[flagged].min(initial=np.inf)
    highest = scores[~flagged].max(initial=-np.inf)
    if highest >= lowest:
        raise ValueError(
            f"A threshold flags the highest scores; got labels that flag {lowest:.6g} "
            f"and not {highest:.6g}. Use a thresholder that finds a cut, as those of "
            "PyThresh do that have a thresh_ after fit."
        )
    # What ties with the cut is flagged by PyThresh and not by a threshold.
    below = np.nextafter(lowest, -np.inf)
    if position is not None and np.isfinite(position):
        cut = scores.min() + position * np.ptp(scores)
    elif np.isinf(highest) or np.isinf(lowest):
        cut = below if np.isinf(highest) else highest
    else:
        cut = highest + (lowest - highest) / 2
    return float(np.clip(cut, highest, below))
