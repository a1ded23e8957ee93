"""What each feature adds to scores."""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from .._directions import steps_inside, transform_by
from .._sources import names_behind
from ..pipelines import ThroughPipeline
from ._drawing import (
    BLUE,
    GREY,
    VERMILLION,
    check_count,
    grid_of_axes,
    import_pyplot,
    one_axes,
    strip,
)
from ._reading import check_has, is_number, scores_and_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._drawing import Panels

# Inches, at matplotlib's ordinary size of letters.
_HEIGHT_OF_BAR, _WIDTH_OF_LETTER = 0.3, 0.085
# Room for the numbers beside the bars, as a share of these.
_SHARE_OF_NUMBERS = 0.3
# Characters of a name or a value.
_LONGEST_NAME = 28


class ContributionDisplay:
    """What each feature adds to the scores of some rows, a panel for each row.

    Use :meth:`from_estimator` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    contributions : ndarray of shape (n_features,) or (n_rows, n_features)
        What each feature adds to the score; negative if it lowers it.
    feature_names : sequence of str of shape (n_features,)
        Names of the features.
    values : array-like of the shape of `contributions` or None, default=None
        The rows, of numbers or anything else; None where there is no value to show.
    expected : array-like of the shape of `contributions` or None, default=None
        The rows as the detector would have expected them.
    score : float, ndarray of shape (n_rows,) or None, default=None
        Anomaly scores of the rows.
    threshold : float or None, default=None
        The cut, in the units of the scores.
    row_names : sequence of shape (n_rows,) or None, default=None
        What the titles call the rows.

    Attributes
    ----------
    bars_ : matplotlib BarContainer or list of BarContainer
        The bars, from the top down; a list if there are several rows.
    axes_ : ndarray of shape (n_rows,)
        Axes with the bars.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    ReconstructionDisplay : The same question for images and windows.

    Examples
    --------
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.datasets import make_anomalies
    >>> from skganomaly.plotting import ContributionDisplay
    >>> X, y = make_anomalies(300, 4, random_state=0)
    >>> detector = AutoencoderDetector(max_steps=60, random_state=0).fit(X[y == 1])
    >>> display = ContributionDisplay.from_estimator(detector, X[y == -1][:3])
    >>> display.contributions.shape
    (3, 4)
    """

    bars_: BarContainer | list[BarContainer]
    axes_: NDArray[np.object_]
    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        contributions: ArrayLike,
        feature_names: Sequence[str],
        values: ArrayLike | None = None,
        expected: ArrayLike | None = None,
        score: float | ArrayLike | None = None,
        threshold: float | None = None,
        row_names: Sequence[Any] | None = None,
    ) -> None:
        self.contributions = contributions
        self.feature_names = feature_names
        self.values = values
        self.expected = expected
        self.score = score
        self.threshold = threshold
        self.row_names = row_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        top_k: int = 10,
        ax: Panels | None = None,
    ) -> Self:
        """Explain rows and draw the contributions of their features.

        Parameters
        ----------
        estimator : object
            A fitted detector of this library, or a Pipeline or search that ends in one.
            Of these, features, values and names are those that the detector sees, after
            the other steps. Those of the rows as they are given are drawn of
            :func:`through(estimator) <skganomaly.pipelines.through>`.
        X : array-like of shape (n_rows, n_features)
            At most 20 rows: ``X[[i]]`` of an array, ``X.iloc[[i, j]]`` of a data frame.
        feature_names : sequence of str or None, default=None
            Names of the features. None takes them from the detector's
            ``feature_names_in_`` or from the other steps of a Pipeline, or else calls
            them x0, x1, and so on.
        top_k : int, default=10
            Features to show of each row, the largest contributions first; the rest is
            summed.
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on, one for each row, or one in a grid that makes room for
            all. None makes a new figure.

        Returns
        -------
        display : ContributionDisplay
            The contributions, drawn. Of one row the arrays are one-dimensional.

        Raises
        ------
        TypeError
            If the estimator has no ``explain``.
        ValueError
            If `X` is not a table of 1 to 20 rows, if the names are not as many as the
            features, or if the detector was fitted on images or windows.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        if np.ndim(X) != 2:
            raise ValueError(
                f"{cls.__name__} explains rows of shape (n_rows, n_features); X has "
                f"shape {np.shape(X)}. Pass X[[i]], or X.iloc[[i]] of a data frame."
            )
        check_count(len(X), "rows", "some of them, X[:5]")
        row_names = list(X.index) if hasattr(X, "iloc") and len(X) > 1 else None
        if isinstance(estimator, ThroughPipeline):
            computed = _explain_originals(estimator, X, feature_names, cls.__name__)
        else:
            computed = _explain(estimator, X, feature_names, cls.__name__)
        if len(X) == 1:
            for name in ("contributions", "values", "expected"):
                if computed[name] is not None:
                    computed[name] = computed[name][0]
            computed["score"] = float(computed["score"][0])
        return cls(**computed, row_names=row_names).plot(ax=ax, top_k=top_k)

    def plot(self, ax: Panels | None = None, *, top_k: int = 10) -> Self:
        """Draw the bars, to the right where a feature raises the score.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to draw on, one for each row, or one in a grid that makes room for
            all. None makes a new figure.
        top_k : int, default=10
            Features to show of each row, the largest contributions first; the rest is
            summed.

        Returns
        -------
        display : ContributionDisplay
            The object itself.
        """
        check_scalar(top_k, "top_k", Integral, min_val=1)
        rows = np.atleast_2d(self.contributions)
        drawn = [self._bars_of(i, row, top_k) for i, row in enumerate(rows)]
        caller = f"{type(self).__name__}.plot"
        size = _figure_size(drawn)
        if len(rows) == 1 and not np.ndim(ax):
            self.axes_ = np.array([one_axes(ax, caller, figsize=size)], dtype=object)
        else:
            self.axes_ = grid_of_axes(ax, len(rows), 1, caller, figsize=size)[:, 0]
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        bars = [
            self._draw(panel, i, *one)
            for i, (panel, one) in enumerate(zip(self.axes_, drawn, strict=True))
        ]
        self.bars_ = bars[0] if len(bars) == 1 else bars
        return self

    def _bars_of(self, i, contributions, top_k):
        """Sizes and labels of the bars of one row, and whether the last is a sum."""
        order = np.argsort(-np.abs(contributions), kind="stable")
        top, rest = order[:top_k], order[top_k:]
        # One bar would say less about the last feature than its own.
        if len(rest) == 1:
            top, rest = order, rest[:0]
        sizes = list(contributions[top])
        labels = [self._label(i, j) for j in top]
        if len(rest):
            sizes.append(contributions[rest].sum())
            labels.append(f"{len(rest)} others, sum")
        return sizes, labels, len(rest) > 0

    def _draw(self, ax, i, sizes, labels, last_is_sum):
        places = np.arange(len(sizes))
        bars = ax.barh(
            places, sizes, color=[VERMILLION if size > 0 else BLUE for size in sizes]
        )
        if last_is_sum:
            bars[-1].set(hatch="///", facecolor="none", edgecolor=GREY)
        # To a thirtieth of the largest or better, and no minus before a zero.
        largest = max(map(abs, sizes)) or 1.0
        decimals = max(0, math.ceil(math.log10(30 / largest)))
        low, high = min(0.0, *sizes), max(0.0, *sizes)
        span = high - low or 1.0
        # The numbers stand in a column of their own, where they meet neither a bar
        # nor a name, whatever the size of the figure.
        ax.set_xlim(low - 0.03 * span, high + _SHARE_OF_NUMBERS * span)
        for place, size in zip(places, sizes, strict=True):
            ax.text(
                0.995,
                place,
                f"{round(size, decimals) + 0.0:+.{decimals}f}",
                transform=ax.get_yaxis_transform(),
                ha="right",
                va="center",
            )
        ax.set_yticks(places, labels)
        ax.set_ylim(len(sizes) - 0.4, -0.6)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel(f"contribution to the score (sum {sum(sizes):+.3g})")
        ax.set_title(self._title(i))
        strip(ax)
        return bars

    def _label(self, i, j):
        label = _shorten(self.feature_names[j])
        for values, text in ((self.values, " = {}"), (self.expected, " (expected {})")):
            value = None if values is None else _row_of(values, i)[j]
            if value is not None:
                label += text.format(_as_text(value))
        return label

    def _title(self, i):
        lines = [] if self.row_names is None else [_shorten(self.row_names[i])]
        if self.score is not None:
            score = float(np.atleast_1d(self.score)[i])
            lines.append(f"score {score:.2f}")
            if self.threshold is not None:
                verdict = "anomaly" if score > self.threshold else "normal"
                lines[-1] += f", threshold {self.threshold:.2f}: {verdict}"
        return "\n".join(lines)


def _explain(estimator, X, feature_names, caller):
    """What is drawn of a detector, in its own columns."""
    steps, detector = steps_inside(estimator)
    X = transform_by(steps, X)
    check_has(detector, "explain", caller)
    check_is_fitted(detector)
    _check_is_table(detector, caller)
    contributions = detector.explain(X)
    names = feature_names
    if names is None:
        names = names_behind(steps, detector, contributions.shape[1])
    scores, threshold = scores_and_threshold(detector, X)
    return {
        "contributions": contributions,
        "feature_names": _check_names(names, contributions),
        "values": np.asarray(X),
        "expected": detector.reconstruct(X),
        "score": scores,
        "threshold": threshold,
    }


def _explain_originals(view, X, feature_names, caller):
    """What is drawn of a detector in a pipeline, in the columns of X."""
    _check_is_table(view.detector_, caller)
    contributions = view.explain(X)
    names, values = feature_names, np.asarray(X, dtype=object)
    if hasattr(contributions, "iloc"):
        names = list(contributions.columns) if names is None else names
        # What is made of several columns has no value in the row.
        values = np.full(contributions.shape, None, dtype=object)
        for j, name in enumerate(contributions.columns):
            if name in X.columns:
                values[:, j] = list(X[name])
        contributions = contributions.to_numpy()
    elif names is None:
        names = [f"x{i}" for i in range(contributions.shape[1])]
    return {
        "contributions": contributions,
        "feature_names": _check_names(names, contributions),
        "values": values,
        "expected": None,
        "score": view.anomaly_score(X),
        "threshold": view.threshold_,
    }


def _check_is_table(detector, caller):
    if len(getattr(detector, "input_shape_", ())) > 1:
        raise ValueError(
            f"{caller} draws rows of tables, and this detector was fitted on rows of "
            f"shape {detector.input_shape_}. Use "
            "ReconstructionDisplay.from_estimator(..., heat='explain')."
        )


def _check_names(names, contributions):
    if len(names) != contributions.shape[1]:
        raise ValueError(
            f"There are {len(names)} feature names for {contributions.shape[1]} "
            "features."
        )
    return list(names)


def _row_of(values, i):
    """Row i of a table, or the one row there is."""
    return values if np.ndim(values) == 1 else values[i]


def _as_text(value):
    return f"{value:.4g}" if is_number(value) else _shorten(value)


def _shorten(text):
    """Cut out the middle of what is too long for a label."""
    text = str(text)
    if len(text) <= _LONGEST_NAME:
        return text
    half = _LONGEST_NAME // 2
    return f"{text[: half - 1]}…{text[-half:]}"


def _figure_size(drawn):
    """Inches that hold all labels, and the panels below each other."""
    longest = max(len(label) for _, labels, _ in drawn for label in labels)
    # With a title of two lines.
    heights = [1.3 + _HEIGHT_OF_BAR * len(sizes) for sizes, *_ in drawn]
    return 3.8 + _WIDTH_OF_LETTER * longest, 0.3 + sum(heights)
