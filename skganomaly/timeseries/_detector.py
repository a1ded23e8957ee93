"""One score and one alarm per step, from a detector of windows."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import MetaEstimatorMixin, OutlierMixin, clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .._all_or_nothing import all_or_nothing
from .._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from .._decisions import CutMixin
from .._directions import anomaly_scores
from .._near_copies import near_copies_are_known
from .._saving import SaveMixin
from ..thresholds import p_values
from ._alarms import flagged_runs, make_alarm, read_cut
from ._drift import held_out_rates, warn_of_drift
from ._inner import refuse_file_of_one_fit, warn_of_ignored_options
from ._series import SeriesEstimator
from ._windows import AGGREGATIONS, cut_windows, first_steps, to_steps

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from .._cut import Threshold
    from ._alarms import Alarm
    from ._windows import Aggregation


class TimeSeriesDetector(
    SaveMixin,
    MetaEstimatorMixin,
    CallbackSupportMixin,
    CutMixin,
    OutlierMixin,
    SeriesEstimator,
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
    aggregation : {"mean", "max", "min", "last"}, default="mean"
        How the scores of the windows that hold a step become the step's score:

        - "mean": their mean;
        - "max": the highest of them;
        - "min": the lowest of them, so that a step is no more anomalous than the most
          normal window around it, and a spike is one step and not two windows wide;
        - "last": the score of the window that ends with the step, so that no step's
          score depends on later ones, as alarms on live data require. Before the first
          window is complete, its steps wait for its score.

    n_blocks : int, default=5
        Blocks of consecutive steps, held out in turn to get reference scores:
        `detector` is fitted once without each block and once on everything.
    contamination : "auto" or float in (0, 0.5], default="auto"
        A number is the share of the *training* steps that are anomalies, to look back
        over one series: that share of them is flagged, less where scores tie. "auto"
        believes the training steps to be normal and keeps ``false_alarm_rate``.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of unseen normal *steps* that the threshold may flag.
    threshold : str, float, callable or object, default="auto"
        How the cut is found from the reference scores, as for
        :class:`~skganomaly.GANomalyDetector`. Steps depend on each other, so
        "conformal" guarantees nothing here.
    missing : {"raise", "drop"}, default="raise"
        What to do with NaN and with gaps in an index of times. "raise" refuses them.
        "drop" leaves out the windows that touch them; a step that is then in no window
        gets a score of NaN and the label 0. Steps that repeat a time or come too early
        are left out as well, with a warning that counts them; see :ref:`time-missing`.
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
        Sorted anomaly scores of held-out steps; but for "last" of those that as many
        windows hold as any.
    held_out_rates_ : ndarray of shape (n_blocks,)
        Share of each block's windows, scored without it, above the cut that
        other inner blocks give: near ``false_alarm_rate`` for steps that are alike
        from beginning to end.
    window_length_ : int
        Steps of a window, as fitted: parameters set later wait for the next fit.
    aggregation_ : str
        From windows to steps, as fitted.
    sampling_interval_ : numpy.timedelta64 or None
        Median time from step to step, if `X` had an index of times.
    n_features_in_ : int
        Number of metrics.
    feature_names_in_ : ndarray of shape (n_metrics,)
        Their names, if `X` had any.

    See Also
    --------
    AdaptiveThreshold : A threshold that follows a series that drifts.
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
    case, less so with "last" than with others, and rates below ``window_length /
    n_steps`` cannot be resolved. On average over generated metrics with twenty
    seasons to learn from, a promise of 5 % became 3 to 5 % of new steps, depending on
    the detector. That held-out scores give about the right rate for dependent data as
    well is shown in [1]_, for series whose behaviour does not change. ``fit`` warns if
    the blocks of the training steps differ more than chance makes them.

    A detector whose ``fit`` takes ``groups`` could be told which windows overlap, but
    is not: its scores rank steps no better for it and are a little further from those
    of the clones. Blocks that are held out as a whole are all that the threshold needs.

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
        **SeriesEstimator._parameter_constraints,
        "detector": [HasMethods(["fit", "score_samples"])],
        "window_length": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "aggregation": [StrOptions(set(AGGREGATIONS))],
        "n_blocks": [Interval(Integral, 2, None, closed="left")],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "threshold": [
            StrOptions({"auto", "max", "tail", "conformal"}),
            Real,
            callable,
            HasMethods(["fit"]),
        ],
        "n_jobs": [Integral, None],
    }

    _counted = "steps"

    detector_: Any
    held_out_rates_: NDArray[np.float64]
    window_length_: int
    aggregation_: Aggregation

    def __init__(
        self,
        detector: Any,
        *,
        window_length: int,
        stride: int | Literal["auto"] = "auto",
        aggregation: Aggregation = "mean",
        n_blocks: int = 5,
        contamination: float | Literal["auto"] = "auto",
        false_alarm_rate: float = 0.05,
        threshold: Threshold = "auto",
        missing: Literal["raise", "drop"] = "raise",
        n_jobs: int | None = None,
    ) -> None:
        self.detector = detector
        self.window_length = window_length
        self.stride = stride
        self.aggregation = aggregation
        self.n_blocks = n_blocks
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.threshold = threshold
        self.missing = missing
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=False)
    @all_or_nothing
    def fit(self, X: ArrayLike, y: Any = None, groups: ArrayLike | None = None) -> Self:
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
            if there are too few steps in a row for a window; if both `contamination`
            and `threshold` are set; if callbacks of `detector` have a
            :class:`~skganomaly.callbacks.FitCheckpoint`. The detector is then left
            unfitted.

        Warns
        -----
        UserWarning
            If there are too few steps for ``false_alarm_rate``; if blocks of the
            training steps differ so much that the promise about new
            steps will not hold; if times are repeated or out of order and
            ``missing="drop"``; if an option of `detector` sets a threshold of its own.
        """
        self._check_promise()
        refuse_file_of_one_fit(self.detector)
        warn_of_ignored_options(self.detector)
        data = {"X": X, "y": y}
        series = self._read(X, reset=True, groups=groups)
        self.window_length_ = self.window_length
        self.aggregation_ = self.aggregation
        number = _number_series(len(series.values), groups, series.kept)
        blocks = _blocks(number, self.n_blocks)
        root, *tasks = self._callback_tasks()
        if root is not None:
            root.call_on_fit_task_begin(estimator=self, **data)
        scored = Parallel(n_jobs=self.n_jobs)(
            delayed(self._score_held_out)(series, blocks == block, task)
            for block, task in enumerate(tasks[:-1])
        )
        windows, references = zip(*scored, strict=True)
        self.reference_scores_ = np.sort(np.concatenate(references))
        self.detector_ = self._fit_detector(series, series.whole, tasks[-1])
        self._fit_cut(lambda: self._training_scores(series), stacklevel=6)
        rate = self.false_alarm_rate
        self.held_out_rates_ = held_out_rates(list(windows), rate)
        if self.contamination == "auto":
            warn_of_drift(list(windows), self.held_out_rates_, rate, self.window_length)
        if root is not None:
            root.call_on_fit_task_end(estimator=self, **data)
        return self

    def _training_scores(self, series):
        scores = self._step_scores(series)[0]
        return scores[~np.isnan(scores)]

    def _callback_tasks(self):
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

    def _fit_detector(self, series, whole, task):
        length, stride = self.window_length, self.stride
        stride = max(1, length // 10) if stride == "auto" else stride
        starts = first_steps(whole, series.follows, length, stride)
        windows = cut_windows(series.values, starts, length)
        detector = clone(self.detector)
        # Windows overlap, which concerns the detector's own threshold alone.
        if task is None:
            with near_copies_are_known():
                return detector.fit(windows)
        with task.propagate_callback_context(detector), near_copies_are_known():
            task.call_on_fit_task_begin(estimator=self, X=windows)
            detector.fit(windows)
            task.call_on_fit_task_end(estimator=self, X=windows)
        return detector

    def _score_held_out(self, series, held_out, task):
        """Scores of a block's windows, and of its steps, by a clone without them."""
        whole = series.whole
        detector = self._fit_detector(series, whole & ~held_out, task)
        starts = first_steps(whole & held_out, series.follows, self.window_length)
        scores = self._score_windows(detector, series, starts)
        if self.aggregation == "last":
            return scores, scores
        steps, n_windows = self._aggregate(scores, starts, series)
        # A mean of few windows varies more than those of most new steps will.
        return scores, steps[n_windows == n_windows.max()]

    def _score_windows(self, detector, series, starts):
        windows = cut_windows(series.values, starts, self.window_length_)
        return anomaly_scores(detector, windows, "normal")

    def _aggregate(self, scores, starts, series, aggregation=None):
        how = self.aggregation_ if aggregation is None else aggregation
        n_steps = len(series.values)
        return to_steps(scores, starts, n_steps, self.window_length_, how)

    def _step_scores(self, series, *others):
        """Scores of steps, aggregated as fitted and in other ways."""
        starts = first_steps(series.whole, series.follows, self.window_length_)
        scores = self._score_windows(self.detector_, series, starts)
        return [
            series.spread(self._aggregate(scores, starts, series, how)[0])
            for how in (None, *others)
        ]

    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]:
        """Anomaly scores, higher for more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series; at least ``window_length`` steps. Steps within
            ``window_length - 1`` of an end are in fewer windows than others.

        Returns
        -------
        ndarray of shape (n_steps,)
            Steps above ``threshold_`` are anomalies. NaN for steps that no window
            holds, which takes ``missing="drop"``.
        """
        check_is_fitted(self)
        return self._step_scores(self._read(X, reset=False))[0]

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """How usual the score of a step is among held-out training steps.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series.

        Returns
        -------
        ndarray of shape (n_steps,)
            ``(1 + number of reference scores at least as high) / (1 + number of
            reference scores)``, NaN for steps without a score. About uniform for new
            normal steps, taken one by one; those of neighbouring steps are nearly the
            same, so don't combine them as if they were independent.
        """
        scores = self.anomaly_score(X)
        values = np.full(len(scores), np.nan)
        known = ~np.isnan(scores)
        values[known] = p_values(self.reference_scores_, scores[known])
        return values

    def explain(self, X: ArrayLike) -> NDArray[np.float64]:
        """Contribution of each value to the scores of the windows that hold it.

        Says which metric it is, and at which step, where the score of a step says that
        something is wrong around it.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series.

        Returns
        -------
        ndarray of shape (n_steps, n_metrics)
            What the windows that hold a step are given for its values by ``explain``
            of the detector of windows, on average over these windows whatever the
            ``aggregation``. NaN for steps that no window holds.

        Raises
        ------
        AttributeError
            If the detector of windows has no ``explain``.
        """
        check_is_fitted(self)
        explain = getattr(self.detector_, "explain", None)
        if explain is None:
            raise AttributeError(
                f"{type(self.detector_).__name__} has no method explain, so windows "
                "cannot be explained. The detectors of skganomaly have one."
            )
        series = self._read(X, reset=False)
        length = self.window_length_
        starts = first_steps(series.whole, series.follows, length)
        rows = np.asarray(explain(cut_windows(series.values, starts, length)))
        parts = rows.reshape(len(starts), -1, length)
        totals = np.zeros(series.values.shape)
        n_windows = np.zeros(len(totals))
        for place in range(length):
            totals[starts + place] += parts[:, :, place]
            n_windows[starts + place] += 1
        with np.errstate(invalid="ignore"):
            return series.spread(totals / n_windows[:, None])

    def alarms(
        self,
        X: ArrayLike,
        *,
        threshold: ArrayLike | None = None,
        release: ArrayLike | None = None,
        cooldown: int | None = None,
    ) -> list[Alarm]:
        """Alarms as events: when each began, ended and was worst.

        A spike of one step raises the scores of all windows that hold it, and steps
        around it are flagged for as long as a window. So an alarm is narrowed to the
        steps of which *every* window scores above the cut, and if there is none, to the
        step nearest to that.

        Parameters
        ----------
        X : array-like of shape (n_steps,) or (n_steps, n_metrics)
            A series.
        threshold : float, array-like of shape (n_steps,) or None, default=None
            A cut, or one for each step as from :class:`AdaptiveThreshold`; None is
            ``threshold_``.
        release : float, array-like of shape (n_steps,) or None, default=None
            A lower cut, at or below which an alarm ends; None is `threshold`.
        cooldown : int or None, default=None
            Steps after the end of a flagged span within which no other alarm begins;
            None is ``window_length``, as windows cannot tell apart what is closer.

        Returns
        -------
        alarms : list of Alarm
            As from :func:`alarm_events`, with times for steps if `X` has an index.
            The end of an alarm less than a window before the last step may still
            change when the series goes on.
        """
        check_is_fitted(self)
        index = X.index if hasattr(X, "iloc") else None
        scores, least = self._step_scores(self._read(X, reset=False), "min")
        cut = read_cut(
            self.threshold_ if threshold is None else threshold, scores, "threshold"
        )
        cooldown = self.window_length_ if cooldown is None else cooldown
        alarms = []
        for start, stop in flagged_runs(scores, cut, release, cooldown):
            span = slice(start, stop)
            core = np.flatnonzero(least[span] > cut[span])
            if not len(core):
                core = np.array([np.nanargmax(least[span] - cut[span])])
            first, last = start + core[0], start + core[-1]
            alarms.append(make_alarm(scores, first, last + 1, index))
        return alarms

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
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

    def set_threshold(
        self, threshold: Threshold = "auto", *, false_alarm_rate: float | None = None
    ) -> Self:
        """Set another threshold without training again.

        Parameters
        ----------
        threshold : str, float, callable or object, default="auto"
            As the parameter of the same name; "auto" without a rate is the threshold
            that ``fit`` found, where `contamination` was set.
        false_alarm_rate : float or None, default=None
            Share of unseen normal steps that may be flagged; None is the parameter's
            value in the fit.

        Returns
        -------
        self : object
            With new ``threshold_rule_`` and ``offset_``.

        Warns
        -----
        UserWarning
            If there are too few reference scores for ``false_alarm_rate``.
        """
        check_is_fitted(self)
        return self._set_cut(threshold, false_alarm_rate)


def _number_series(n_steps, groups, kept):
    """For each step the number of its series, from 0."""
    if groups is None:
        return np.zeros(n_steps, dtype=int)
    groups = np.ravel(np.asarray(groups))[kept]
    return np.cumsum(np.append(False, groups[1:] != groups[:-1]))


def _blocks(number, n_blocks):
    """For each step its block; each series is divided into all of them."""
    sizes = np.bincount(number)
    return np.concatenate([np.arange(size) * n_blocks // size for size in sizes])
