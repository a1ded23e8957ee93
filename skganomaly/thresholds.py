"""Rules that turn the anomaly scores of reference rows into a cut.

Scores are anomaly scores: the higher, the worse. A row is flagged when its score
is strictly above ``threshold_``, so a row that ties with the cut is not flagged,
and where all reference scores are equal nothing equal to them is flagged.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import boxcox
from sklearn.base import BaseEstimator

from ._compat import Interval, StrOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    _Scores: TypeAlias = NDArray[np.float64]

__all__ = [
    "CallableThreshold",
    "ConformalThreshold",
    "FixedThreshold",
    "MaxThreshold",
    "QuantileThreshold",
    "TailThreshold",
    "p_values",
]

_MIN_EXCEEDANCES = 10


def _check_scores(scores: ArrayLike, name: str = "scores") -> _Scores:
    """Return `scores` as a finite 1-D float64 array, or say what is wrong with it."""
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(
            f"{name} must be a one-dimensional array of at least one number; got an "
            f"array of shape {scores.shape}. Pass one anomaly score per reference row."
        )
    if scores.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be an array of real numbers; got dtype {scores.dtype}. "
            "Convert it to float first."
        )
    scores = scores.astype(np.float64, copy=False)
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(
            f"{name} must be finite; got {bad.size} NaN or infinite values among "
            f"{scores.size}, the first at index {bad[0]}. Remove these rows, or check "
            "that training did not diverge."
        )
    return scores


def _check_cut(value: object, source: str) -> float:
    """Return `value` as a float; refuse bools, non-numbers, NaN and infinities."""
    # bool is a subclass of int, but threshold=True is a slip and not the cut 1.0.
    if isinstance(value, bool) or not isinstance(value, Real):
        problem = f"{value!r} of type {type(value).__name__}"
    elif not math.isfinite(value):
        problem = repr(value)
    else:
        return float(value)
    raise ValueError(
        f"{source} must be a finite real number in the units of the anomaly scores; "
        f"got {problem}."
    )


def _snap(value: float) -> float:
    """Round `value` to the nearest integer if only floating error keeps it away."""
    # 100 * 0.29 is 28.999999999999996; taken literally, the next score would be used.
    nearest = round(value)
    return nearest if abs(value - nearest) <= 1e-12 * max(1.0, nearest) else value


def _score_at_depth(scores: _Scores, depth: float) -> float:
    """Return the `depth`-th largest score (from 1), interpolating between two."""
    descending = np.sort(scores)[::-1]
    depth = min(max(_snap(depth), 1), descending.size)
    above = descending[math.floor(depth) - 1]
    below = descending[math.ceil(depth) - 1]
    if depth == math.floor(depth):
        return above
    cut = below + (math.ceil(depth) - depth) * (above - below)
    # Rounding must not lift the cut onto the upper score, which has to stay flagged.
    return min(cut, np.nextafter(above, below))


class _ThresholdRule(BaseEstimator):
    """Checks shared by all rules; a rule supplies `_cut(scores)` alone."""

    _parameter_constraints: dict[str, list[Any]] = {}

    def fit(self, scores: ArrayLike) -> Self:
        """Find the cut.

        Parameters
        ----------
        scores : array-like of shape (n_references,)
            Finite anomaly scores of the reference rows, higher is worse.

        Returns
        -------
        self : object
            The fitted rule.

        Raises
        ------
        ValueError
            If a parameter is out of range, if `scores` is empty, not one-dimensional
            or not finite, or if it does not suffice for this rule.
        """
        self._validate_params()
        scores = _check_scores(scores)
        self.threshold_ = float(self._cut(scores))
        self.n_references_ = scores.size
        return self


class QuantileThreshold(_ThresholdRule):
    """Cut at the quantile of level ``1 - rate`` of the reference scores.

    Parameters
    ----------
    rate : float, default=0.05
        Share of rows to flag, in (0, 1). See `method` for which rows.
    method : {"weibull", "linear"}, default="weibull"
        How the level becomes a position among the sorted scores, as in
        :func:`numpy.quantile`:

        - "weibull" is about *unseen* rows: the cut is the score of rank
          ``(n_references + 1) * rate`` from the top.
        - "linear" is about the *given* rows, scikit-learn's convention for
          `contamination`: ``n_references * rate`` of them lie above the cut, exactly
          where that is a whole number, otherwise rounded up or down.

    Attributes
    ----------
    threshold_ : float
        The cut, in the units of the scores.
    n_references_ : int
        Number of scores it was found from.

    See Also
    --------
    ConformalThreshold : Never exceeds the rate, or says that it cannot.
    TailThreshold : Rates too small for the number of reference rows.

    Notes
    -----
    Let a new normal row be exchangeable with the n reference rows, without ties. With
    "weibull" it is flagged with probability `rate` exactly where ``(n + 1) * rate`` is
    a whole number from 1 to n; in between, the cut is interpolated and the probability
    lies between the two neighbouring multiples of ``1 / (n + 1)``. Below
    ``n = 1 / rate - 1`` the cut is the largest score and the probability
    ``1 / (n + 1)``, above `rate`. Ties can only lower the share flagged. The methods
    are definitions 6 and 7 of [1]_.

    References
    ----------
    .. [1] Hyndman and Fan (1996), :doi:`10.1080/00031305.1996.10473566`

    Examples
    --------
    >>> from skganomaly.thresholds import QuantileThreshold
    >>> QuantileThreshold(rate=0.2).fit([0.0, 1.0, 2.0, 3.0]).threshold_
    3.0
    """

    _parameter_constraints = {
        "rate": [Interval(Real, 0, 1, closed="neither")],
        "method": [StrOptions({"weibull", "linear"})],
    }

    def __init__(
        self, *, rate: float = 0.05, method: Literal["weibull", "linear"] = "weibull"
    ) -> None:
        self.rate = rate
        self.method = method

    def _cut(self, scores: _Scores) -> float:
        if self.method == "weibull":
            return _score_at_depth(scores, (scores.size + 1) * self.rate)
        return _score_at_depth(scores, 1 + (scores.size - 1) * self.rate)


class MaxThreshold(_ThresholdRule):
    """Cut at the largest reference score.

    The usual choice in GANomaly practice; the paper [1]_ leaves the threshold open.

    Attributes
    ----------
    threshold_ : float
        The cut, in the units of the scores.
    n_references_ : int
        Number of scores it was found from.

    Notes
    -----
    A new normal row exchangeable with n reference rows is flagged with probability
    ``1 / (n + 1)`` (less with ties): the rate follows from n and cannot be chosen. One
    anomaly among the reference rows can lift the cut above all others.

    References
    ----------
    .. [1] Akcay et al. (2018), GANomaly, :doi:`10.1007/978-3-030-20893-6_39`

    Examples
    --------
    >>> from skganomaly.thresholds import MaxThreshold
    >>> MaxThreshold().fit([0.5, 2.0, 1.0]).threshold_
    2.0
    """

    def _cut(self, scores: _Scores) -> float:
        return scores.max()


class TailThreshold(_ThresholdRule):
    r"""Cut from a generalised Pareto tail, for rates the sample cannot resolve.

    With n reference rows no order statistic speaks about rates below
    ``1 / (n + 1)``. Peaks over threshold extrapolates: the excesses x over a high score
    u approach a generalised Pareto distribution [1]_ [2]_,

    .. math:: P(X > u + x) = p_u \, (1 + \xi x / \sigma)^{-1 / \xi},

    which is solved for the x of probability `rate`, as in SPOT [3]_.

    Parameters
    ----------
    rate : float, default=0.01
        Share of unseen normal rows to flag, in (0, 1) and below `tail_fraction`.
    tail_fraction : float, default=0.1
        Share of the reference scores that makes up the tail, in (0, 0.5]; the
        ``int(n_references * tail_fraction)`` largest scores. The smaller it is, the
        better the approximation and the noisier the fit.

    Attributes
    ----------
    threshold_ : float
        The cut, in the units of the scores.
    n_references_ : int
        Number of scores it was found from.
    location_ : float
        Score u where the tail begins: the largest one outside the tail.
    shape_ : float
        The exponent xi; 0 is an exponential tail, positive is heavier, negative ends at
        ``location_ - scale_ / shape_``.
    scale_ : float
        The scale sigma, in the units of the scores.

    See Also
    --------
    ConformalThreshold : A guarantee, where there are rows enough for it.

    Notes
    -----
    :math:`\xi` and :math:`\sigma` are the likelihood-weighted means of Zhang and
    Stephens [4]_. Maximum likelihood can fail to converge on tens of excesses, and
    probability-weighted moments can end a bounded tail below scores that were
    observed; this estimator does neither. In simulations (8 distributions; 10, 20 and
    100 excesses; rates of 1, 0.2 and 0.05 %) it flagged closest to `rate` of the three.
    :math:`p_u = (k + 1) / (n + 1)` with k scores above u, the probability that a new
    exchangeable row exceeds u.

    This is an extrapolation without guarantee: there, the mean share of normal rows
    flagged was 1.2 to 1.8 times `rate`, and less only where scores are bounded. At
    least 10 distinct scores above u are needed; fewer, as in constant scores, are an
    error. Where ties leave no more than `rate` of the probability above u, the cut
    is u.

    References
    ----------
    .. [1] Balkema and de Haan (1974), :doi:`10.1214/aop/1176996548`
    .. [2] Pickands (1975), :doi:`10.1214/aos/1176343003`
    .. [3] Siffer et al. (2017), SPOT, :doi:`10.1145/3097983.3098144`
    .. [4] Zhang and Stephens (2009), :doi:`10.1198/tech.2009.08017`

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.thresholds import TailThreshold
    >>> scores = np.random.default_rng(0).exponential(size=1000)
    >>> rule = TailThreshold(rate=1e-4).fit(scores)
    >>> bool(rule.threshold_ > scores.max())
    True
    """

    _parameter_constraints = {
        "rate": [Interval(Real, 0, 1, closed="neither")],
        "tail_fraction": [Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(self, *, rate: float = 0.01, tail_fraction: float = 0.1) -> None:
        self.rate = rate
        self.tail_fraction = tail_fraction

    def _cut(self, scores: _Scores) -> float:
        if self.rate >= self.tail_fraction:
            raise ValueError(
                f"TailThreshold needs rate < tail_fraction; got rate={self.rate} and "
                f"tail_fraction={self.tail_fraction}. Raise tail_fraction (at most "
                "0.5), or use QuantileThreshold, which suits rates this large."
            )
        n = scores.size
        location = _score_at_depth(
            scores, math.floor(_snap(n * self.tail_fraction)) + 1
        )
        excesses = scores[scores > location] - location
        n_distinct = np.unique(excesses).size
        if n_distinct < _MIN_EXCEEDANCES:
            enough = math.ceil(_snap(_MIN_EXCEEDANCES / self.tail_fraction))
            raise ValueError(
                f"TailThreshold needs at least {_MIN_EXCEEDANCES} distinct scores in "
                f"the tail; got {n_distinct} above {location:.6g} among {n} scores, "
                f"with tail_fraction={self.tail_fraction}. Give at least {enough} "
                "scores (more if many are equal), raise tail_fraction (at most 0.5), "
                "or use QuantileThreshold or MaxThreshold, which accept any scores."
            )
        self.location_ = float(location)
        self.shape_, self.scale_ = _fit_generalised_pareto(excesses)
        p_tail = (excesses.size + 1) / (n + 1)
        # The Box-Cox transform is the quantile function, with its limit at shape 0.
        excess = self.scale_ * boxcox(max(p_tail / self.rate, 1.0), self.shape_)
        return location + excess


def _fit_generalised_pareto(excesses: _Scores) -> tuple[float, float]:
    """Return shape and scale by the method of Zhang and Stephens (2009).

    The profile likelihood of ``theta = -shape / scale`` is averaged over a grid that
    keeps every excess inside the support.
    """
    unit = excesses.max()
    x = np.sort(excesses / unit)
    n = x.size
    n_grid = 20 + math.isqrt(n)
    quartile = x[math.floor(n / 4 + 0.5) - 1]
    steps = np.arange(1, n_grid + 1) - 0.5
    grid = 1 + (1 - np.sqrt(n_grid / steps)) / (3 * quartile)
    # At exactly zero (the exponential) the formulas read 0 / 0; next to it they hold.
    grid[grid == 0] = np.finfo(np.float64).eps
    # One grid point at a time: the outer product with 1e5 excesses fills memory.
    shapes = np.array([np.log1p(-theta * x).mean() for theta in grid])
    log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
    # Most of the grid is so unlikely that its weight is zero.
    with np.errstate(under="ignore"):
        weights = np.exp(log_likelihood - log_likelihood.max())
        theta = np.average(grid, weights=weights) or np.finfo(np.float64).eps
    shape = np.log1p(-theta * x).mean()
    return float(shape), float(-shape / theta * unit)


class ConformalThreshold(_ThresholdRule):
    r"""Cut at an order statistic that guarantees the false alarm rate.

    The cut is the score of rank :math:`\lceil (n + 1)(1 - rate) \rceil` from below
    among n held-out scores: split conformal prediction [1]_.

    Parameters
    ----------
    rate : float, default=0.05
        Largest share of unseen normal rows to flag, in (0, 1), at least
        ``1 / (n_references + 1)``.

    Attributes
    ----------
    threshold_ : float
        The cut, in the units of the scores.
    n_references_ : int
        Number of scores it was found from.

    See Also
    --------
    p_values : The same statement for each row instead of one rate.
    QuantileThreshold : Needs no minimum number of rows, guarantees less.

    Notes
    -----
    If a new normal row is exchangeable with the reference rows, which must then have
    had no part in training, it is flagged with probability at most `rate`, and above
    ``rate - 1 / (n + 1)`` where no scores tie. The probability is over the reference
    rows too; for one given set the share flagged varies around it. Ties only lower it.

    References
    ----------
    .. [1] Bates et al. (2023), :doi:`10.1214/22-AOS2244`

    Examples
    --------
    >>> from skganomaly.thresholds import ConformalThreshold
    >>> ConformalThreshold(rate=0.4).fit([4.0, 1.0, 3.0, 2.0]).threshold_
    3.0
    """

    _parameter_constraints = {"rate": [Interval(Real, 0, 1, closed="neither")]}

    def __init__(self, *, rate: float = 0.05) -> None:
        self.rate = rate

    def _cut(self, scores: _Scores) -> float:
        n = scores.size
        # n + 1 - ceil((n + 1) * (1 - rate)), without the rounding error of 1 - rate.
        depth = math.floor(_snap((n + 1) * self.rate))
        if depth < 1:
            enough = math.ceil(_snap(1 / self.rate)) - 1
            raise ValueError(
                f"ConformalThreshold(rate={self.rate}) needs at least {enough} "
                f"held-out scores; got {n}, for which the smallest possible rate is "
                f"1/{n + 1}. Hold out more rows (a larger validation_fraction), raise "
                "the rate, or use QuantileThreshold, which guarantees less."
            )
        return _score_at_depth(scores, depth)


class FixedThreshold(_ThresholdRule):
    """Cut at a given number, whatever the reference scores.

    Parameters
    ----------
    value : float
        The cut, in the units of the scores; finite.

    Attributes
    ----------
    threshold_ : float
        The cut, equal to `value`.
    n_references_ : int
        Number of scores given to `fit`.

    Examples
    --------
    >>> from skganomaly.thresholds import FixedThreshold
    >>> FixedThreshold(value=3).fit([0.0, 1.0]).threshold_
    3.0
    """

    _parameter_constraints = {"value": [Interval(Real, None, None, closed="neither")]}

    def __init__(self, *, value: float) -> None:
        self.value = value

    def _cut(self, scores: _Scores) -> float:
        return _check_cut(self.value, "value")


class CallableThreshold(_ThresholdRule):
    """Cut at the number that a function makes of the reference scores.

    Parameters
    ----------
    function : callable
        Called with the scores, a float64 ndarray of shape (n_references,) of its own,
        and returns the cut as a finite real number; else `fit` raises ValueError.
        Only a function defined in a module can be pickled, a lambda cannot.

    Attributes
    ----------
    threshold_ : float
        The cut, in the units of the scores.
    n_references_ : int
        Number of scores it was found from.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.thresholds import CallableThreshold
    >>> CallableThreshold(function=np.median).fit([0.0, 1.0, 5.0]).threshold_
    1.0
    """

    _parameter_constraints = {"function": [callable]}

    def __init__(self, *, function: Callable[[_Scores], float]) -> None:
        self.function = function

    def _cut(self, scores: _Scores) -> float:
        # A copy, so that a function sorting in place leaves the caller's scores alone.
        name = getattr(self.function, "__name__", repr(self.function))
        return _check_cut(
            self.function(scores.copy()), f"the value returned by threshold={name}"
        )


def p_values(reference_scores_sorted: ArrayLike, scores: ArrayLike) -> _Scores:
    """Return conformal p-values of anomaly scores.

    The share of n + 1 rows, the references and the row itself, that score at least as
    high: ``(1 + #{reference >= score}) / (n + 1)`` [1]_.

    Parameters
    ----------
    reference_scores_sorted : array-like of shape (n_references,)
        Anomaly scores of held-out normal rows, in increasing order.
    scores : array-like of any shape
        Anomaly scores of the rows in question; not NaN.

    Returns
    -------
    p_values : ndarray of the shape of `scores`
        In [1 / (n_references + 1), 1]; small is anomalous. For a normal row
        exchangeable with the references, P(p <= t) is at most t for every t.

    Raises
    ------
    ValueError
        If the references are empty, not finite or not sorted, or a score is NaN.

    See Also
    --------
    ConformalThreshold : Flags exactly the rows with a p-value of at most `rate`.

    References
    ----------
    .. [1] Bates et al. (2023), :doi:`10.1214/22-AOS2244`

    Examples
    --------
    >>> from skganomaly.thresholds import p_values
    >>> p_values([1.0, 2.0, 3.0], [0.0, 2.0, 9.0])
    array([1.  , 0.75, 0.25])
    """
    references = _check_scores(reference_scores_sorted, "reference_scores_sorted")
    if np.any(references[1:] < references[:-1]):
        raise ValueError(
            "reference_scores_sorted must be in increasing order; got scores that "
            "decrease. Pass numpy.sort(reference_scores)."
        )
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"scores must not be NaN; got {np.isnan(scores).sum()} NaN among "
            f"{scores.size}. Remove these rows."
        )
    n = references.size
    # side="left" counts the references strictly below, so that ties count as >=.
    return (1 + n - np.searchsorted(references, scores, side="left")) / (n + 1)
