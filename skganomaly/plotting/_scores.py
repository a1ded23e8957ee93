"""Scores by their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_consistent_length

from .._directions import check_anomaly_labels, detector_inside
from ._drawing import (
    BLUE,
    GREY,
    VERMILLION,
    draw_threshold,
    import_pyplot,
    one_axes,
    strip,
)
from ._reading import check_scores, scores_and_threshold

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from ._drawing import Scale


class ScoreDistributionDisplay:
    """Distribution of anomaly scores, with the threshold.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it; they keep the
    parameters as attributes.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Anomaly scores, higher for more anomalous; NaN where there is none.
    is_anomaly : ndarray of bool of shape (n_samples,) or None, default=None
        Which rows are known to be anomalies. None if nothing is known.
    threshold : float or None, default=None
        The cut, in the units of the scores; rows above it are flagged.
    reference_scores : ndarray of shape (n_references,) or None, default=None
        Scores of normal rows that the threshold was found from. They are the backdrop
        if there are no labels.

    Notes
    -----
    Rows without a score, such as the steps beside a gap in a series, are not drawn. The
    legend says how many they are, and shares are of the others.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the distribution.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    ScoreOverTimeDisplay : Scores in the order of time.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from skganomaly.datasets import make_anomalies
    >>> from skganomaly.plotting import ScoreDistributionDisplay
    >>> X, y = make_anomalies(300, 4, random_state=0)
    >>> detector = IsolationForest(n_estimators=10, random_state=0).fit(X[y == 1])
    >>> display = ScoreDistributionDisplay.from_estimator(detector, X, y)
    >>> display.ax_.get_xlabel()
    'anomaly score'
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        scores: ArrayLike,
        is_anomaly: ArrayLike | None = None,
        threshold: float | None = None,
        reference_scores: ArrayLike | None = None,
    ) -> None:
        self.scores = scores
        self.is_anomaly = is_anomaly
        self.threshold = threshold
        self.reference_scores = reference_scores

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        bins: int = 40,
        xscale: Scale = "auto",
        ax: Axes | None = None,
    ) -> Self:
        """Score rows and draw the distribution.

        Parameters
        ----------
        estimator : object
            A fitted detector: of this library, of scikit-learn, or of PyOD; or a
            Pipeline or search that ends in one.
        X : array-like of the shape that ``fit`` saw
            Rows to score.
        y : array-like of shape (n_samples,) or None, default=None
            Labels in any coding that
            :func:`~skganomaly.model_selection.check_anomaly_labels` reads.
        bins : int, default=40
            Number of bins.
        xscale : {"auto", "linear", "log"}, default="auto"
            Scale of the scores; "auto" is "log" for scores that are all positive and
            some of them more than 50 times the median.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ScoreDistributionDisplay
            The scores, drawn.

        Raises
        ------
        ValueError
            If the labels cannot be read, or are not as many as the rows; if no row has
            a score.
        TypeError
            If it is not known which way the estimator's scores point.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        scores, threshold = scores_and_threshold(estimator, X)
        return cls.from_predictions(
            y,
            scores,
            threshold=threshold,
            reference_scores=getattr(
                detector_inside(estimator), "reference_scores_", None
            ),
            bins=bins,
            xscale=xscale,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_score: ArrayLike,
        *,
        threshold: float | None = None,
        reference_scores: ArrayLike | None = None,
        bins: int = 40,
        xscale: Scale = "auto",
        ax: Axes | None = None,
    ) -> Self:
        """Draw the distribution of scores that are known already.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or None
            Labels, as ``y`` in :meth:`from_estimator`; None if there are none.
        y_score : array-like of shape (n_samples,)
            Anomaly scores, higher for more anomalous: the negative of scikit-learn's
            ``score_samples``; NaN where there is none.
        threshold : float or None, default=None
            The cut, in the units of the scores.
        reference_scores : array-like of shape (n_references,) or None, default=None
            Scores of normal rows to compare with.
        bins : int, default=40
            Number of bins.
        xscale : {"auto", "linear", "log"}, default="auto"
            Scale of the scores, as in :meth:`from_estimator`.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ScoreDistributionDisplay
            The scores, drawn.

        Raises
        ------
        ValueError
            If labels cannot be read, lengths differ, a score is infinite or no row has
            one.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        y_score = check_scores(y_score, "y_score", missing=True)
        if reference_scores is not None:
            reference_scores = check_scores(reference_scores, "reference_scores")
        if y_true is not None:
            check_consistent_length(y_true, y_score)
            y_true = check_anomaly_labels(y_true)
        display = cls(
            scores=y_score,
            is_anomaly=y_true,
            threshold=threshold,
            reference_scores=reference_scores,
        )
        return display.plot(ax=ax, bins=bins, xscale=xscale)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        bins: int = 40,
        xscale: Scale = "auto",
    ) -> Self:
        """Draw the distribution.

        Each group's bars add up to 100 %, so that a few anomalies can be seen beside
        many normal rows.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.
        bins : int, default=40
            Number of bins.
        xscale : {"auto", "linear", "log"}, default="auto"
            Scale of the scores, as in :meth:`from_estimator`.

        Returns
        -------
        display : ScoreDistributionDisplay
            The object itself.
        """
        filled = {"histtype": "stepfilled", "linewidth": 0, "alpha": 0.7}
        outline = {"histtype": "stepfilled", "facecolor": "none", "linewidth": 1.5}
        normal = filled | {"color": BLUE}
        anomalous = outline | {"edgecolor": VERMILLION, "hatch": "///"}
        scored = ~np.isnan(self.scores)
        if not scored.any():
            raise ValueError(
                f"None of the {len(scored)} rows has a score: all are NaN. A detector "
                "of series scores no step whose window has a gap in it."
            )
        if self.is_anomaly is not None:
            groups = [
                ("normal rows", self.scores[scored & ~self.is_anomaly], normal),
                ("anomalies", self.scores[scored & self.is_anomaly], anomalous),
            ]
        else:
            groups = [("rows", self.scores[scored], outline | {"edgecolor": BLUE})]
            if self.reference_scores is not None:
                backdrop = filled | {"color": GREY}
                groups.insert(0, ("reference rows", self.reference_scores, backdrop))
        groups = [group for group in groups if len(group[1])]
        shown = np.concatenate([scores for _, scores, _ in groups])
        xscale = self._resolve_scale(xscale, shown)
        if xscale == "log" and shown.min() < shown.max():
            edges = np.geomspace(shown.min(), shown.max(), bins + 1)
        else:
            edges = np.histogram_bin_edges(shown, bins)
        self.ax_ = ax = one_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        for name, scores, style in groups:
            label = f"{len(scores)} {name}"
            if self.threshold is not None:
                label += f", {np.mean(scores > self.threshold):.1%} above"
            weights = np.full(len(scores), 100 / len(scores))
            ax.hist(scores, edges, weights=weights, label=label, **style)
        if not scored.all():
            ax.plot([], [], " ", label=f"{np.sum(~scored)} without a score")
        if self.threshold is not None:
            # Below the legend.
            draw_threshold(ax.axvline, self.threshold, ymax=0.74)
        ax.set(xlabel="anomaly score", ylabel="share of rows (%)", xscale=xscale)
        # Room for the legend above the bars.
        ax.margins(y=0.35)
        ax.legend(frameon=False, loc="upper right")
        strip(ax)
        return self

    @staticmethod
    def _resolve_scale(xscale, shown):
        if xscale not in ("auto", "linear", "log"):
            raise ValueError(f"xscale={xscale!r} must be 'auto', 'linear' or 'log'.")
        positive = shown.min() > 0
        if xscale == "log" and not positive:
            raise ValueError(
                f"xscale='log' needs positive scores; the lowest is {shown.min():g}."
            )
        if xscale == "auto":
            heavy = positive and shown.max() > 50 * np.median(shown)
            return "log" if heavy else "linear"
        return xscale
