"""Windows of a series and the way back, and the transformer that cuts them."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._all_or_nothing import all_or_nothing
from .._compat import Interval, _fit_context
from ._series import SeriesEstimator

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    Aggregation: TypeAlias = Literal["mean", "max", "min", "last"]

AGGREGATIONS = ("mean", "max", "min", "last")


class SlidingWindow(TransformerMixin, SeriesEstimator):
    """Cut a series into windows, one flat row each.

    Parameters
    ----------
    length : int
        Steps of a window.
    stride : int, default=1
        Steps from one window to the next, at most `length`. The last window of a
        piece without gaps ends with the piece, so every step of it is in a window.
    missing : {"raise", "drop"}, default="raise"
        What to do with NaN and with gaps in an index of times: refuse them, or leave
        out the windows that touch them. With "drop" a step that repeats a time or comes
        too early is left out as well, with a warning that counts them; see
        :ref:`time-missing`.

    Attributes
    ----------
    length_ : int
        Steps of a window, as fitted: parameters set later wait for the next fit.
    stride_ : int
        Steps from one window to the next, as fitted.
    n_features_in_ : int
        Number of metrics.
    feature_names_in_ : ndarray of shape (n_metrics,)
        Their names, if `X` had any.
    sampling_interval_ : numpy.timedelta64 or None
        Median time from step to step, if `X` had an index of times.

    See Also
    --------
    TimeSeriesDetector : Does this and sets a threshold that holds for new steps.

    Notes
    -----
    The number of rows changes. In a pipeline with a detector the scores are those of
    windows, and the detector's own threshold is too low: see
    :class:`TimeSeriesDetector`. Windows are arrays in any case; there is no
    ``set_output``, whose frames would have the index of the steps.

    Examples
    --------
    >>> from skganomaly.timeseries import SlidingWindow
    >>> window = SlidingWindow(3)
    >>> window.fit_transform([0, 1, 2, 3])
    array([[0., 1., 2.],
           [1., 2., 3.]])
    >>> window.to_steps([0.0, 1.0], [0, 1, 2, 3])
    array([0. , 0.5, 0.5, 1. ])
    """

    _parameter_constraints = {
        **SeriesEstimator._parameter_constraints,
        "length": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left")],
    }

    length_: int
    stride_: int

    def __init__(
        self,
        length: int,
        *,
        stride: int = 1,
        missing: Literal["raise", "drop"] = "raise",
    ) -> None:
        self.length = length
        self.stride = stride
        self.missing = missing

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the number of metrics and the sampling interval.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            The series.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        series = self._read(X, reset=True)
        first_steps(series.whole, series.follows, self.length, self.stride)
        self.length_, self.stride_ = self.length, self.stride
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Cut a series into windows.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            The series.

        Returns
        -------
        windows : ndarray of shape (n_windows, n_metrics * length)
            The first metric's steps, then the second's: with
            ``input_shape=(n_metrics, length)`` convolutions run over the steps.
        """
        check_is_fitted(self)
        series = self._read(X, reset=False)
        return cut_windows(series.values, self._first_steps(series), self.length_)

    def to_steps(
        self, scores: ArrayLike, X: ArrayLike, *, aggregation: Aggregation = "mean"
    ) -> NDArray[np.float64]:
        """One score per step from one score per window.

        Parameters
        ----------
        scores : array-like of shape (n_windows,)
            Scores of the windows of `X`, in their order; higher is worse for "max".
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            The series that the windows are of.
        aggregation : {"mean", "max", "min", "last"}, default="mean"
            See :class:`TimeSeriesDetector`.

        Returns
        -------
        ndarray of shape (n_steps,)
            NaN for steps that no window holds, which takes ``missing="drop"``.
        """
        check_is_fitted(self)
        series = self._read(X, reset=False)
        starts = self._first_steps(series)
        scores = column_or_1d(scores, dtype=np.float64)
        if len(scores) != len(starts):
            raise ValueError(
                f"There are {len(scores)} scores, and X has {len(starts)} windows. "
                "Pass the scores of all windows of this X."
            )
        if aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation must be one of {AGGREGATIONS}, got {aggregation!r}."
            )
        n_steps = len(series.values)
        steps, _ = to_steps(scores, starts, n_steps, self.length_, aggregation)
        return series.spread(steps)

    def _first_steps(self, series):
        return first_steps(series.whole, series.follows, self.length_, self.stride_)


def first_steps(whole, follows, length, stride=1):
    """First steps of windows, `stride` apart and up to the end of each piece."""
    if stride > length:
        raise ValueError(
            f"stride={stride} leaves out the steps between windows of {length} steps. "
            "Use a stride of at most the length of a window."
        )
    n_windows = len(whole) - length + 1
    starts = np.empty(0, dtype=int)
    if n_windows > 0:
        # Both a step that is missing and one that does not follow on begin a piece, so
        # that a window is in one piece where its first and last step are.
        piece = np.cumsum(~(whole & follows))
        in_one = piece[:n_windows] == piece[length - 1 :]
        starts = np.flatnonzero(whole[:n_windows] & in_one)
    if not len(starts):
        raise ValueError(
            f"No window of {length} steps fits: {np.sum(whole)} of {len(whole)} steps "
            "are to be used, and at most "
            f"{_longest_run(whole, follows)} of them follow one another in one series. "
            "Pass more steps, each series in one piece and sorted by time, or fit with "
            "shorter windows or with fewer blocks (n_blocks). If times come at no "
            "regular interval, sample them at one first: "
            "X.resample(...).mean().interpolate() in pandas."
        )
    pieces = np.split(starts, np.flatnonzero(np.diff(starts) > 1) + 1)
    kept = [np.union1d(piece[::stride], piece[-1:]) for piece in pieces]
    return np.concatenate(kept)


def _longest_run(whole, follows):
    pieces = np.cumsum(~(whole & follows))[whole]
    return int(np.bincount(pieces).max()) if len(pieces) else 0


def cut_windows(X, starts, length):
    view = np.lib.stride_tricks.sliding_window_view(X, length, axis=0)
    return view[starts].reshape(len(starts), -1)


def to_steps(scores, starts, n_steps, length, aggregation):
    """Scores of steps, NaN where there is no window, and their numbers of windows."""
    neutral = {"max": -np.inf, "min": np.inf}.get(aggregation, 0.0)
    steps = np.full(n_steps, neutral)
    n_windows = np.zeros(n_steps, dtype=int)
    for place in range(length):
        here = starts + place
        n_windows[here] += 1
        if aggregation == "mean":
            steps[here] += scores
        elif aggregation == "max":
            steps[here] = np.maximum(steps[here], scores)
        elif aggregation == "min":
            steps[here] = np.minimum(steps[here], scores)
        else:
            # What stays is written last, by the earliest window that holds the step.
            steps[here] = scores
    steps[n_windows == 0] = np.nan
    if aggregation == "mean":
        steps /= np.maximum(n_windows, 1)
    return steps, n_windows
