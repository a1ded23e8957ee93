"""Metrics and scores in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_consistent_length

from .._directions import check_anomaly_labels
from ._drawing import (
    BLUE,
    ORANGE,
    check_count,
    draw_threshold,
    grid_of_axes,
    import_pyplot,
    label_panel,
    strip,
)
from ._reading import check_scores, check_time, scores_and_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._drawing import Panels

# Height of the bar that marks known anomalies, as a share of the panel's.
_BAR = 0.06


class ScoreOverTimeDisplay:
    """A metric over time, with the anomaly score below it.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it; they keep the
    parameters as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_times, n_metrics)
        The metric, or several measured at the same times; NaN where missing.
    scores : ndarray of shape (n_times,)
        Anomaly scores, higher for more anomalous; NaN where there is none.
    time : ndarray of shape (n_times,), of numbers or datetime64
        The times, increasing.
    threshold : float or None, default=None
        The cut, in the units of the scores.
    is_anomaly : ndarray of bool of shape (n_times,) or None, default=None
        Which times are known to be anomalous.
    names : sequence of str or None, default=None
        Names of the metrics.
    time_label : str, default="time"
        What the times are.

    Attributes
    ----------
    flagged_ : ndarray of bool of shape (n_times,)
        Times whose score is above the threshold.
    axes_ : ndarray of matplotlib Axes of shape (n_metrics + 1, 1)
        A panel for each metric, and one for the score.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    ScoreDistributionDisplay : Scores without their order.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.plotting import ScoreOverTimeDisplay
    >>> metric = np.sin(np.arange(200) / 9)
    >>> metric[120:123] += 2
    >>> display = ScoreOverTimeDisplay.from_predictions(
    ...     None, np.abs(metric), metric, threshold=1.2
    ... )
    >>> int(display.flagged_.sum())
    3
    """

    flagged_: NDArray[np.bool_]
    axes_: NDArray[np.object_]
    figure_: Figure

    def __init__(
        self,
        *,
        values: ArrayLike,
        scores: ArrayLike,
        time: ArrayLike,
        threshold: float | None = None,
        is_anomaly: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        time_label: str = "time",
    ) -> None:
        self.values = values
        self.scores = scores
        self.time = time
        self.threshold = threshold
        self.is_anomaly = is_anomaly
        self.names = names
        self.time_label = time_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        time: ArrayLike | None = None,
        ax: Panels | None = None,
    ) -> Self:
        """Score the times of a series and draw them.

        Parameters
        ----------
        estimator : object
            A fitted detector, Pipeline or search that gives one score per row of `X`;
            as in :meth:`ScoreDistributionDisplay.from_estimator`.
        X : array-like of shape (n_times, n_metrics) or (n_times,)
            The metrics, one row per time.
        y : array-like of shape (n_times,) or None, default=None
            Labels of the times, in any coding that
            :func:`~skganomaly.model_selection.check_anomaly_labels` reads.
        time : array-like of shape (n_times,) or None, default=None
            Times, as in :meth:`from_predictions`.
        ax : matplotlib Axes, array of them or None, default=None
            As in :meth:`from_predictions`.

        Returns
        -------
        display : ScoreOverTimeDisplay
            Metrics and scores, drawn.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        scores, threshold = scores_and_threshold(estimator, X)
        return cls.from_predictions(y, scores, X, time=time, threshold=threshold, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_score: ArrayLike,
        values: ArrayLike,
        *,
        time: ArrayLike | None = None,
        threshold: float | None = None,
        ax: Panels | None = None,
    ) -> Self:
        """Draw scores that are known already.

        Parameters
        ----------
        y_true : array-like of shape (n_times,) or None
            Labels of the times, as ``y`` in :meth:`from_estimator`; None if there are
            none.
        y_score : array-like of shape (n_times,)
            Anomaly scores, higher for more anomalous; NaN where there is none.
        values : array-like of shape (n_times,) or (n_times, n_metrics)
            The metric, or up to 20 of them; NaN where missing. A pandas object gives
            its names and its index.
        time : array-like of shape (n_times,) or None, default=None
            Times, increasing: numbers, datetime64, a DatetimeIndex or a PeriodIndex.
            Times with a zone are drawn in UTC. None is the index of `values` if it has
            one, else 0, 1, and so on.
        threshold : float or None, default=None
            The cut, in the units of the scores; times above it are flagged.
        ax : matplotlib Axes, array of them or None, default=None
            One Axes in a grid, in whose place the panels are drawn, or one for each
            panel, n_metrics + 1 of them. None makes a new figure.

        Returns
        -------
        display : ScoreOverTimeDisplay
            Metrics and scores, drawn.

        Raises
        ------
        ValueError
            If lengths differ, times do not increase, a score is infinite, there are
            more than 20 metrics, or these are no numbers.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        y_score = check_scores(y_score, "y_score", missing=True)
        names = getattr(values, "columns", None)
        if names is None and getattr(values, "name", None) is not None:
            names = [values.name]
        if time is None and hasattr(values, "index") and hasattr(values, "iloc"):
            time = values.index
        if time is None:
            time, label = np.arange(len(y_score)), "time step"
        else:
            time, label = check_time(time)
        try:
            values = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Only numbers can be drawn over time ({error}). Score the rows, and "
                "pass the columns to look at to from_predictions."
            ) from error
        values = values.reshape(len(values), -1)
        check_consistent_length(values, y_score, time, y_true)
        check_count(values.shape[1], "metrics", "the columns to look at")
        display = cls(
            values=values,
            scores=y_score,
            time=time,
            threshold=threshold,
            is_anomaly=None if y_true is None else check_anomaly_labels(y_true),
            names=None if names is None else list(map(str, names)),
            time_label=label,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Panels | None = None) -> Self:
        """Draw metrics and scores.

        Flagged spans are shaded in all panels; a bar at the top of a metric's panel
        marks the spans known to be anomalous.

        Parameters
        ----------
        ax : matplotlib Axes, array of them or None, default=None
            As in :meth:`from_predictions`.

        Returns
        -------
        display : ScoreOverTimeDisplay
            The object itself.
        """
        n_metrics = self.values.shape[1]
        self.axes_ = grid_of_axes(
            ax,
            n_metrics + 1,
            1,
            f"{type(self).__name__}.plot",
            figsize=(9, 1.6 * n_metrics + 2.2),
            sharex=True,
        )
        self.figure_ = self.axes_[0, 0].figure
        panels = self.axes_[:, 0]
        names = self.names
        if names is None:
            names = [f"metric {i}" for i in range(n_metrics)]
            names = ["metric"] if n_metrics == 1 else names
        for panel, metric, name in zip(panels, self.values.T, names, strict=False):
            panel.plot(self.time, metric, color="black", linewidth=0.9)
            label_panel(panel, name)
        panels[-1].plot(self.time, self.scores, color=BLUE, linewidth=0.9)
        panels[-1].set_xlabel(self.time_label)
        label_panel(panels[-1], "anomaly score")
        panels[-1].margins(x=0.01)
        if self.time.dtype.kind == "M":
            from matplotlib.dates import ConciseDateFormatter

            axis = panels[-1].xaxis
            axis.set_major_formatter(ConciseDateFormatter(axis.get_major_locator()))
        self.flagged_ = np.zeros(len(self.scores), dtype=bool)
        if self.threshold is not None:
            # NaN is not above anything.
            self.flagged_ = self.scores > self.threshold
            draw_threshold(panels[-1].axhline, self.threshold)
            for panel in panels:
                shading = {"color": ORANGE, "alpha": 0.4, "label": "flagged"}
                self._mark(panel, self.flagged_, 0, 1, shading)
        if self.is_anomaly is not None:
            for panel in panels[:-1]:
                # The power of ten of the tick labels goes above the bar.
                panel.yaxis.OFFSETTEXTPAD = (
                    3 + _BAR * panel.get_window_extent().height * 72 / panel.figure.dpi
                )
                self._mark(
                    panel,
                    self.is_anomaly,
                    1,
                    1 + _BAR,
                    {"color": "black", "label": "known anomaly", "clip_on": False},
                )
        handles = {}
        for panel in panels:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
            strip(panel)
        if handles:
            panels[0].legend(
                handles.values(),
                handles.keys(),
                frameon=False,
                ncols=3,
                loc="lower right",
                bbox_to_anchor=(1, 1.05),
            )
        return self

    def _mark(self, panel, marked, bottom, top, style):
        """Fill the spans of marked times, from half a step before to half after."""
        starts, stops = _spans(marked, self.time)
        # One artist, however many spans: each is a rise, a run and a gap.
        panel.fill_between(
            np.column_stack([starts, stops, stops]).ravel(),
            bottom,
            top,
            where=np.tile([True, True, False], len(starts)),
            transform=panel.get_xaxis_transform(),
            # Of a point among thousands, the edge is what is seen.
            linewidth=0.8,
            **style,
        )


def _spans(marked, time):
    """First and last moment of each run of marked times, half a step to each side."""
    if time.dtype.kind in "iu":
        time = time.astype(np.float64)
    edges = np.flatnonzero(np.diff(marked.astype(int), prepend=0, append=0))
    first, last = edges[::2], edges[1::2] - 1
    steps = np.diff(time)
    if not len(steps):
        return time[first], time[last]
    # The time beside a gap stands for no more than a usual step.
    half = np.minimum(steps, np.sort(steps)[len(steps) // 2]) / 2
    before, after = np.append(half[:1], half), np.append(half, half[-1:])
    return time[first] - before[first], time[last] + after[last]
