"""A threshold that follows a stream of scores."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._all_or_nothing import all_or_nothing
from .._compat import Interval, _fit_context
from .._cut import fit_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

# Steps over which the unit of a step follows the scores.
_MEMORY = 500
# The lower level is followed more slowly than the cut.
_LOWER_STEP = 0.2


class AdaptiveThreshold(BaseEstimator):
    """A cut that follows a stream of scores, so that the share flagged stays right.

    Each score moves the cut: up by ``step * (1 - false_alarm_rate)`` units if the score
    was above it, and down by ``step * false_alarm_rate`` units if not. A unit is the
    distance from the middle of the reference scores to their cut, and grows if scores
    come to be spread more widely.

    Parameters
    ----------
    false_alarm_rate : float in (0, 1), default=0.05
        Share of steps to flag in the long run.
    step : float, default=0.05
        How fast the cut follows, in units a flagged step. With the default, 21 flagged
        steps raise the cut by a unit, and 400 quiet ones lower it by one. Scores that
        grow many times over, as ratios do, take more, such as 0.2.

    Attributes
    ----------
    threshold_ : float
        The cut for the next score.
    n_seen_ : int
        Scores that moved the cut since ``fit``.
    n_flagged_ : int
        How many of them were above it.

    See Also
    --------
    TimeSeriesDetector : Gives the scores, with ``aggregation="last"`` step by step.
    alarm_events : Makes alarms of scores and cuts.

    Notes
    -----
    This is the online update of adaptive conformal inference [1]_ applied to the cut
    itself, which [2]_ calls quantile tracking, the first of its three terms. Among
    ``n`` steps the share flagged differs from `false_alarm_rate` by about ``r / (step *
    n)`` at most, where ``r`` is the range of the cuts in units, whatever the scores do:
    no distribution and no independence is assumed. Nothing else is promised, in
    particular not that the right steps are flagged.

    Why not the level, as in [1]_ and its successor with several step sizes [3]_? The
    level can leave (0, 1), and the cut is then infinite for a while, in which the worst
    outage raises no alarm. Here, a single score has the same small influence however
    high it is, and a high enough one always alarms.

    *Anomalies are steps too*. What is flagged counts towards the rate, so after a long
    anomaly the cut is high, and quiet until the share is right again: an anomaly of 50
    steps raises the cut by up to 2.4 units, and 950 quiet steps take that back. A
    change that stays stops alarming in the same way. Where steps are known to be
    anomalous, pass them with ``learn=False``.

    The state is a few numbers, so copies are cheap, and so is :func:`skganomaly.save`,
    whose file may be of any moment of a stream. Scores one at a time, in pieces or all
    at once give the same cuts.

    References
    ----------
    .. [1] I. Gibbs, E. Candès, "Adaptive Conformal Inference Under Distribution Shift",
       NeurIPS 2021, arXiv:2106.00170.
    .. [2] A. N. Angelopoulos, E. J. Candès, R. J. Tibshirani, "Conformal PID Control
       for Time Series Prediction", NeurIPS 2023, arXiv:2307.16895.
    .. [3] I. Gibbs, E. Candès, "Conformal Inference for Online Prediction with
       Arbitrary Distribution Shifts", JMLR 25 (2024), arXiv:2208.08401.

    Examples
    --------
    Scores that drift away from those of training:

    >>> import numpy as np
    >>> from skganomaly.timeseries import AdaptiveThreshold
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=4000) + np.linspace(0, 5, 4000)
    >>> cut = AdaptiveThreshold().fit(rng.normal(size=500))
    >>> float(np.mean(scores > cut.threshold_))
    0.6615
    >>> float(np.mean(scores > cut.update(scores)))
    0.064
    """

    _parameter_constraints = {
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "step": [Interval(Real, 0, None, closed="neither")],
    }

    threshold_: float
    n_seen_: int
    n_flagged_: int

    def __init__(self, *, false_alarm_rate: float = 0.05, step: float = 0.05) -> None:
        self.false_alarm_rate = false_alarm_rate
        self.step = step

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    def fit(self, scores: ArrayLike, y: Any = None) -> Self:
        """Start from reference scores.

        Parameters
        ----------
        scores : array-like of shape (n_references,)
            Finite anomaly scores of normal steps that training has not seen, such as
            ``reference_scores_`` of :class:`TimeSeriesDetector`.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        self : object
            With the cut that the references give; all updates are forgotten.
        """
        rate = self.false_alarm_rate
        self.threshold_ = fit_threshold("auto", scores, rate=rate).threshold_
        scores = np.asarray(scores, dtype=np.float64)
        # The middle of the scores below the cut.
        self._lower = float(np.quantile(scores, (1 - rate) / 2))
        self._least_unit = self.threshold_ - self._lower
        if self._least_unit <= 0:
            # Half of the references are equal; anything of the right size will do.
            self._least_unit = float(np.ptp(scores) or abs(self.threshold_) / 100 or 1)
        self._unit = self._least_unit
        self._rate, self._step = rate, self.step
        self.n_seen_ = self.n_flagged_ = 0
        return self

    @overload
    def update(self, scores: float, *, learn: bool | ArrayLike = True) -> float: ...
    @overload
    def update(
        self,
        scores: Sequence[float] | NDArray[Any],
        *,
        learn: bool | ArrayLike = True,
    ) -> NDArray[np.float64]: ...
    def update(
        self, scores: ArrayLike, *, learn: bool | ArrayLike = True
    ) -> float | NDArray[np.float64]:
        """Judge new scores and follow them.

        Parameters
        ----------
        scores : float or array-like of shape (n_steps,)
            Anomaly scores of the next step or steps, in the order of time. NaN is a
            step without a score: it moves nothing.
        learn : bool or array-like of bool of shape (n_steps,), default=True
            Whether a score may move the cut. False for steps that are known to be
            anomalous.

        Returns
        -------
        thresholds : float or ndarray of shape (n_steps,)
            The cut that each score had to meet, found from the scores before it.
            ``scores > thresholds`` are anomalies.

        Raises
        ------
        ValueError
            If a score is infinite. Nothing has then been learned.
        """
        check_is_fitted(self, "threshold_")
        single = np.ndim(scores) == 0
        scores = np.atleast_1d(np.asarray(scores, dtype=np.float64))
        if scores.ndim != 1 or np.isinf(scores).any():
            raise ValueError(
                "scores must be one number or a one-dimensional array without infinite "
                f"values; got shape {scores.shape}, {np.isinf(scores).sum()} infinite."
            )
        learn = np.asarray(learn)
        if learn.dtype != bool or learn.shape not in ((), scores.shape):
            raise ValueError(
                f"learn must be a bool or one for each of {len(scores)} scores; got "
                f"shape {learn.shape} of {learn.dtype}."
            )
        learn = np.broadcast_to(learn, scores.shape) & ~np.isnan(scores)
        thresholds = np.empty(len(scores))
        for i, score in enumerate(scores.tolist()):
            thresholds[i] = self.threshold_
            if learn[i]:
                self._follow(score)
        return float(thresholds[0]) if single else thresholds

    def _follow(self, score):
        move, flagged = self._step * self._unit, score > self.threshold_
        self.n_seen_ += 1
        self.n_flagged_ += flagged
        self.threshold_ += move * (flagged - self._rate)
        # Followed as the cut is, for the share of scores that belong above it.
        over = (score > self._lower) - (1 + self._rate) / 2
        self._lower += _LOWER_STEP * move * over
        # Were the unit to shrink with a quiet spell, the cut would come to a halt.
        target = max(self._least_unit, self.threshold_ - self._lower)
        self._unit += (target - self._unit) / _MEMORY
