"""Metrics over time: windows, one score and one alarm per step, and how good they are.

A series is an array, Series or DataFrame of shape (n_steps,) or (n_steps, n_metrics)
whose steps follow one another at one interval. Where it has an index of times, these
are checked: windows never span a gap.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OutlierMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from ._decisions import DecisionMixin, forget
from ._events import event_scores

__all__ = ["SlidingWindow", "TimeSeriesDetector", "event_scores"]

_AGGREGATIONS = ("mean", "max", "last")


class _SeriesEstimator(BaseEstimator):
    """What comes in as a series is checked in one place."""

    _parameter_constraints = {"missing": [StrOptions({"raise", "drop"})]}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "drop"
        return tags

    def _read(self, X, *, reset, groups=None):
        """Check a series; return it with which steps are whole and which follow on.

        A step follows on if the one before it is of the same series and there is no
        gap between them.
        """
        index = X.index if hasattr(X, "iloc") else None
        shape = np.shape(X) if isinstance(X, list | tuple) else getattr(X, "shape", ())
        if len(shape) == 1:
            if not reset and self.n_features_in_ != 1:
                raise ValueError(
                    f"X is one-dimensional, and {type(self).__name__} was fitted on "
                    f"{self.n_features_in_} metrics. Reshape your data to (n_steps, "
                    f"{self.n_features_in_})."
                )
            # A Series keeps its name.
            X = np.reshape(np.asarray(X), (-1, 1)) if index is None else X.to_frame()
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        whole = ~np.isnan(X).any(axis=1)
        if self.missing == "raise" and not whole.all():
            first = int(np.argmin(whole))
            raise ValueError(
                f"X contains NaN in {np.sum(~whole)} of {len(X)} steps, first in "
                f"step {first}{_at(index, first)}. Fill them first, or pass "
                "missing='drop' to leave out the windows that touch one."
            )
        follows = np.ones(len(X), dtype=bool)
        if groups is not None:
            check_consistent_length(X, groups)
            try:
                groups = check_array(column_or_1d(groups), ensure_2d=False, dtype=None)
            # AttributeError is what scikit-learn 1.6 makes of pandas.NA.
            except (AttributeError, ValueError) as error:
                raise ValueError(
                    "groups must be the name or the number of the series that each "
                    f"step is of, without missing ones. {error}"
                ) from error
            follows[1:] = groups[1:] == groups[:-1]
        follows[1:] &= ~self._gaps(index, follows[1:], reset)
        return X, whole, follows

    def _gaps(self, index, together, reset):
        """Between which neighbouring steps of one series time is missing."""
        times = index.to_timestamp() if hasattr(index, "to_timestamp") else index
        if getattr(times, "tz", None) is not None:
            times = times.tz_convert(None)
        times = np.asarray(times)
        if reset:
            self.sampling_interval_ = None
        if times.dtype.kind not in "mM" or not together.any():
            return np.zeros(len(together), dtype=bool)
        if np.isnat(times).any():
            first = int(np.argmax(np.isnat(times)))
            raise ValueError(f"Step {first} of X has no time (NaT). Remove it.")
        intervals = np.diff(times)
        usual = self.sampling_interval_
        if usual is None:
            usual = np.median(intervals[together])
        if reset:
            self.sampling_interval_ = usual

        def first(flags):
            step = int(np.argmax(flags)) + 1
            interval, expected = (
                value.astype("timedelta64[us]").item()
                for value in (intervals[step - 1], usual)
            )
            where = f"step {step}{_at(index, step)}"
            return f"{interval} before {where}, where {expected} is usual"

        early = together & (intervals <= max(usual / 2, np.timedelta64(0)))
        if early.any():
            raise ValueError(
                f"The times of X are not in steps: {first(early)}. Sort X by time, "
                "keep one row for each time, sample it as the training series was, "
                "and for several series fit with `groups`."
            )
        gaps = together & (intervals >= 1.5 * usual)
        if self.missing == "raise" and gaps.any():
            raise ValueError(
                f"X has gaps in time, {gaps.sum()} in number: {first(gaps)}. Fill them "
                "first (pandas: X.asfreq(...).interpolate()), pass missing='drop' to "
                "leave out the windows that span one, or pass X.to_numpy() if its "
                "steps follow one another all the same."
            )
        return gaps


class SlidingWindow(TransformerMixin, _SeriesEstimator):
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
        out the windows that touch them.

    Attributes
    ----------
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
        **_SeriesEstimator._parameter_constraints,
        "length": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, length, *, stride=1, missing="raise"):
        self.length = length
        self.stride = stride
        self.missing = missing

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
        forget(self)
        try:
            self._starts(*self._read(X, reset=True))
        except BaseException:
            forget(self)
            raise
        return self

    def transform(self, X):
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
        X, *whole = self._read(X, reset=False)
        return _windows(X, self._starts(X, *whole), self.length)

    def to_steps(self, scores, X, *, aggregation="mean"):
        """One score per step from one score per window.

        Parameters
        ----------
        scores : array-like of shape (n_windows,)
            Scores of the windows of `X`, in their order; higher is worse for "max".
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            The series that the windows are of.
        aggregation : {"mean", "max", "last"}, default="mean"
            See :class:`TimeSeriesDetector`.

        Returns
        -------
        ndarray of shape (n_steps,)
            NaN for steps that no window holds, which takes ``missing="drop"``.
        """
        check_is_fitted(self)
        X, *whole = self._read(X, reset=False)
        starts = self._starts(X, *whole)
        scores = column_or_1d(scores, dtype=np.float64)
        if len(scores) != len(starts):
            raise ValueError(
                f"There are {len(scores)} scores, and X has {len(starts)} windows. "
                "Pass the scores of all windows of this X."
            )
        if aggregation not in _AGGREGATIONS:
            raise ValueError(
                f"aggregation must be one of {_AGGREGATIONS}, got {aggregation!r}."
            )
        return _to_steps(scores, starts, len(X), self.length, aggregation)[0]

    def _starts(self, X, whole, follows):
        return _starts(whole, follows, self.length, self.stride)


class TimeSeriesDetector(
    MetaEstimatorMixin,
    CallbackSupportMixin,
    DecisionMixin,
    OutlierMixin,
    _SeriesEstimator,
):
    """One score and one alarm per time step, from a detector of windows.

    Parameters
    ----------
    detector : object
        Detector of rows with ``fit`` and ``score_samples`` (higher is more normal),
        such as :class:`~skganomaly.GANomalyDetector` or scikit-learn's; PyOD's come
        by way of :func:`~skganomaly.from_pyod`. It is cloned.
        A window is a flat row, the first metric's steps first; to convolve over the
        steps, give it ``input_shape=(n_metrics, window_length)``.
    window_length : int
        Steps of a window.
    stride : int or "auto", default="auto"
        Steps from one training window to the next, at most `window_length`. "auto"
        is a tenth of `window_length`, rounded down, and at least 1. Scoring looks at
        all windows whatever the stride.
    aggregation : {"mean", "max", "last"}, default="mean"
        How the scores of the windows that hold a step become the step's score:

        - "mean": their mean;
        - "max": the highest of them;
        - "last": the score of the window that ends with the step, so that no step's
          score depends on later ones, as alarms on live data require. Before the first
          window is complete, its steps wait for its score.

    n_blocks : int, default=5
        Blocks of consecutive steps, held out in turn to get reference scores:
        `detector` is fitted once without each block and once on everything.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of unseen normal *steps* that the threshold may flag.
    threshold : str, float, callable or object, default="auto"
        How the cut is found from the reference scores, as for
        :class:`~skganomaly.GANomalyDetector`. Steps depend on each other, so
        "conformal" guarantees nothing here.
    missing : {"raise", "drop"}, default="raise"
        What to do with NaN and with gaps in an index of times. "raise" refuses them.
        "drop" leaves out the windows that touch them; a step that is then in no window
        gets a score of NaN and the label 0.
    n_jobs : int or None, default=None
        Fits run in parallel; None is one, -1 as many as there are cores. With a GPU
        keep to one.

    Attributes
    ----------
    detector_ : object
        The detector fitted on the windows of all steps.
    offset_ : float
        The cut in the units of ``score_samples``:
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        The same cut in the units of ``anomaly_score``, ``-offset_``.
    threshold_rule_ : object
        The fitted threshold rule.
    reference_scores_ : ndarray of shape (n_references,)
        Sorted anomaly scores of held-out steps; with "mean" and "max" of those that
        as many windows hold as any.
    sampling_interval_ : numpy.timedelta64 or None
        Median time from step to step, if `X` had an index of times.
    n_features_in_ : int
        Number of metrics.
    feature_names_in_ : ndarray of shape (n_metrics,)
        Their names, if `X` had any.

    See Also
    --------
    event_scores : How good the alarms are.
    SlidingWindow : The windows alone.

    Notes
    -----
    A detector's own threshold does not hold for overlapping windows: each training
    window has near copies of itself among the others, as no new window has. (Windows
    that don't overlap are no way out: there are few, and they know few phases of a
    season.) So each block of steps is scored by a clone of the detector that was
    trained on windows without any of these steps. A clone has seen fewer steps than
    the detector, which errs towards fewer alarms.

    Neighbouring steps are alike: ``n_steps`` steps say about as much as ``n_steps /
    window_length`` independent ones. The share flagged therefore varies from case to
    case, the more so with "mean" and "max", and rates below ``window_length /
    n_steps`` cannot be resolved. On average over generated metrics with twenty
    seasons to learn from, a promise of 5 % became 3 to 5 % of new steps, depending on
    the detector. That held-out scores give about the right rate for dependent data as
    well is shown in [1]_, for series whose behaviour does not change.

    References
    ----------
    .. [1] R. I. Oliveira, P. Orenstein, T. Ramos, J. V. Romano, "Split Conformal
       Prediction and Non-Exchangeable Data", JMLR 25 (2024), arXiv:2203.15885.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from skganomaly.datasets import make_metric_anomalies
    >>> from skganomaly.timeseries import TimeSeriesDetector
    >>> X = make_metric_anomalies(2000, n_anomalies=0, random_state=0).data
    >>> monitor = TimeSeriesDetector(IsolationForest(random_state=0), window_length=25)
    >>> monitor.fit(X[:1000]).predict(X[1000:]).shape
    (1000,)
    """

    _parameter_constraints = {
        **_SeriesEstimator._parameter_constraints,
        "detector": [HasMethods(["fit", "score_samples"])],
        "window_length": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "aggregation": [StrOptions(set(_AGGREGATIONS))],
        "n_blocks": [Interval(Integral, 2, None, closed="left")],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "threshold": [
            StrOptions({"auto", "max", "tail", "conformal"}),
            Real,
            callable,
            HasMethods(["fit"]),
        ],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        detector,
        *,
        window_length,
        stride="auto",
        aggregation="mean",
        n_blocks=5,
        false_alarm_rate=0.05,
        threshold="auto",
        missing="raise",
        n_jobs=None,
    ):
        self.detector = detector
        self.window_length = window_length
        self.stride = stride
        self.aggregation = aggregation
        self.n_blocks = n_blocks
        self.false_alarm_rate = false_alarm_rate
        self.threshold = threshold
        self.missing = missing
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, groups=None):
        """Train on steps believed to be normal, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            The series, in the order of time.
        y : None
            Ignored; present for API consistency.
        groups : array-like of shape (n_steps,) or None, default=None
            Which series a step is of, where `X` is several of the same metrics one
            below the other. No window spans two.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If `X` has NaN or gaps and ``missing="raise"``; if times are not in order;
            if there are too few steps in a row for a window. The detector is then left
            unfitted.
        """
        forget(self)
        try:
            return self._fit(X, y, groups)
        except BaseException:
            forget(self)
            raise

    def _fit(self, X, y, groups):
        data = {"X": X, "y": y}
        X, whole, follows = self._read(X, reset=True, groups=groups)
        blocks = _blocks(len(X), groups, self.n_blocks)
        root, *tasks = self._tasks()
        if root is not None:
            root.call_on_fit_task_begin(estimator=self, **data)
        references = Parallel(n_jobs=self.n_jobs)(
            delayed(self._score_held_out)(X, whole, follows, blocks == block, task)
            for block, task in enumerate(tasks[:-1])
        )
        self.reference_scores_ = np.sort(np.concatenate(references))
        self.detector_ = self._fit_detector(X, whole, follows, tasks[-1])
        self.set_threshold(self.threshold)
        if root is not None:
            root.call_on_fit_task_end(estimator=self, **data)
        return self

    def _tasks(self):
        """Tasks of the whole and of each fit, for callbacks of scikit-learn 1.9."""
        names = ["fit without a block"] * self.n_blocks + ["fit on all steps"]
        if not hasattr(self, "_init_callback_context"):
            return [None, *(None for _ in names)]
        root = self._init_callback_context(
            max_subtasks=len(names), sequential_subtasks=False
        )
        tasks = [root.subcontext(name, task_id=i) for i, name in enumerate(names)]
        return [root, *tasks]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    def _fit_detector(self, X, whole, follows, task):
        length, stride = self.window_length, self.stride
        stride = max(1, length // 10) if stride == "auto" else stride
        starts = _starts(whole, follows, length, stride)
        windows, detector = _windows(X, starts, length), clone(self.detector)
        if task is None:
            return detector.fit(windows)
        with task.propagate_callback_context(detector):
            task.call_on_fit_task_begin(estimator=self, X=windows)
            detector.fit(windows)
            task.call_on_fit_task_end(estimator=self, X=windows)
        return detector

    def _score_held_out(self, X, whole, follows, held_out, task):
        detector = self._fit_detector(X, whole & ~held_out, follows, task)
        starts = _starts(whole & held_out, follows, self.window_length)
        scores = -detector.score_samples(_windows(X, starts, self.window_length))
        if self.aggregation == "last":
            return scores
        scores, n_windows = self._aggregate(scores, starts, len(X))
        # A mean of few windows varies more than those of most new steps will.
        return scores[n_windows == n_windows.max()]

    def _aggregate(self, scores, starts, n_steps):
        return _to_steps(scores, starts, n_steps, self.window_length, self.aggregation)

    def anomaly_score(self, X):
        """Anomaly scores, higher for more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series; at least ``window_length`` steps. Steps within
            ``window_length - 1`` of an end are in fewer windows than others.

        Returns
        -------
        ndarray of shape (n_steps,)
            Steps above ``threshold_`` are anomalies.
        """
        check_is_fitted(self)
        X, whole, follows = self._read(X, reset=False)
        starts = _starts(whole, follows, self.window_length)
        windows = _windows(X, starts, self.window_length)
        scores = -np.asarray(self.detector_.score_samples(windows), dtype=np.float64)
        return self._aggregate(scores, starts, len(X))[0]

    def predict(self, X):
        """Tell normal steps from anomalies.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series.

        Returns
        -------
        ndarray of shape (n_steps,), int
            1 for normal steps and -1 for anomalies; 0 for steps that have no score,
            which takes ``missing="drop"``.
        """
        decisions = self.decision_function(X)
        labels = np.where(decisions < 0, -1, 1)
        labels[np.isnan(decisions)] = 0
        return labels

    def set_threshold(self, threshold="auto", *, false_alarm_rate=None):
        """Set another threshold without training again.

        Parameters
        ----------
        threshold : str, float, callable or object, default="auto"
            As the parameter of the same name.
        false_alarm_rate : float or None, default=None
            Share of unseen normal steps that may be flagged; None keeps the
            parameter's value.

        Returns
        -------
        self : object
            With new ``threshold_rule_`` and ``offset_``.
        """
        check_is_fitted(self, "reference_scores_")
        return self._cut(threshold, false_alarm_rate)


def _blocks(n_steps, groups, n_blocks):
    """For each step its block; each series is divided into all of them."""
    groups = np.zeros(n_steps) if groups is None else np.asarray(groups)
    series = np.split(groups, np.flatnonzero(groups[1:] != groups[:-1]) + 1)
    return np.concatenate([np.arange(len(s)) * n_blocks // len(s) for s in series])


def _at(index, step):
    return "" if index is None else f" ({index[step]})"


def _starts(whole, follows, length, stride=1):
    """First steps of windows, `stride` apart and up to the end of each piece."""
    if stride > length:
        raise ValueError(
            f"stride={stride} leaves out the steps between windows of {length} steps. "
            "Use a stride of at most the length of a window."
        )
    n_windows = len(whole) - length + 1
    starts = np.empty(0, dtype=int)
    if n_windows > 0:
        piece = np.cumsum(~(whole & follows))
        in_one = piece[:n_windows] == piece[length - 1 :]
        starts = np.flatnonzero(whole[:n_windows] & in_one)
    if not len(starts):
        raise ValueError(
            f"No window of {length} steps fits: {np.sum(whole)} of {len(whole)} steps "
            "are to be used, and too few of them follow one another in one series. "
            "Pass more steps, each series in one piece and sorted by time, or fit with "
            "shorter windows or with fewer blocks (n_blocks)."
        )
    pieces = np.split(starts, np.flatnonzero(np.diff(starts) > 1) + 1)
    kept = [np.union1d(piece[::stride], piece[-1:]) for piece in pieces]
    return np.concatenate(kept)


def _windows(X, starts, length):
    view = np.lib.stride_tricks.sliding_window_view(X, length, axis=0)
    return view[starts].reshape(len(starts), -1)


def _to_steps(scores, starts, n_steps, length, aggregation):
    """Scores of steps, NaN where there is no window, and their numbers of windows."""
    steps = np.full(n_steps, -np.inf if aggregation == "max" else 0.0)
    n_windows = np.zeros(n_steps, dtype=int)
    for place in range(length):
        here = starts + place
        n_windows[here] += 1
        if aggregation == "mean":
            steps[here] += scores
        elif aggregation == "max":
            steps[here] = np.maximum(steps[here], scores)
        else:
            # What stays is written last, by the earliest window that holds the step.
            steps[here] = scores
    steps[n_windows == 0] = np.nan
    if aggregation == "mean":
        steps /= np.maximum(n_windows, 1)
    return steps, n_windows
