"""What each feature adds to a score."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from ._drawing import BLUE, GREY, VERMILLION, import_pyplot, one_axes, strip
from ._reading import anomaly_scores, check_has, names_of_features, rows_at_last_step


class ContributionDisplay:
    """What each feature adds to the score of one row.

    Use :meth:`from_estimator` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    contributions : ndarray of shape (n_features,)
        What each feature adds to the score; negative if it lowers it.
    feature_names : sequence of str of shape (n_features,)
        Names of the features.
    values : ndarray of shape (n_features,) or None, default=None
        The row.
    expected : ndarray of shape (n_features,) or None, default=None
        The row as the detector would have expected it.
    score : float or None, default=None
        Anomaly score of the row.
    threshold : float or None, default=None
        The cut, in the units of the score.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        The bars, from the top down.
    ax_ : matplotlib Axes
        Axes with the bars.
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
    >>> display = ContributionDisplay.from_estimator(detector, X[y == -1][[0]])
    >>> display.contributions.shape
    (4,)
    """

    def __init__(
        self,
        *,
        contributions,
        feature_names,
        values=None,
        expected=None,
        score=None,
        threshold=None,
    ):
        self.contributions = contributions
        self.feature_names = feature_names
        self.values = values
        self.expected = expected
        self.score = score
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, estimator, X, *, feature_names=None, top_k=10, ax=None):
        """Explain a row and draw the contributions of its features.

        Parameters
        ----------
        estimator : object
            A fitted detector of this library, or a Pipeline or search that ends in one.
            Features, values and names are those that the detector sees, after the
            other steps.
        X : array-like of shape (1, n_features)
            The row: ``X[[i]]`` of an array, ``X.iloc[[i]]`` of a data frame.
        feature_names : sequence of str or None, default=None
            Names of the features. None takes them from the detector's
            ``feature_names_in_`` or from the other steps of a Pipeline, or else calls
            them x0, x1, and so on.
        top_k : int, default=10
            Features to show, the largest contributions first; the rest is summed.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ContributionDisplay
            The contributions, drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``explain``.
        ValueError
            If there is not exactly one row, if the names are not as many as the
            features, or if the detector was fitted on images or windows.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        if np.ndim(X) != 2 or len(X) != 1:
            raise ValueError(
                f"{cls.__name__} explains one row, of shape (1, n_features); X has "
                f"shape {np.shape(X)}. Pass X[[i]], or X.iloc[[i]] of a data frame."
            )
        names = feature_names
        if names is None:
            names = names_of_features(estimator)
        detector, X = rows_at_last_step(estimator, X)
        check_has(detector, "explain", cls.__name__)
        check_is_fitted(detector)
        if len(detector.input_shape_) > 1:
            raise ValueError(
                f"{cls.__name__} draws rows of tables, and this detector was fitted on "
                f"rows of shape {detector.input_shape_}. Use "
                "ReconstructionDisplay.from_estimator(..., heat='explain')."
            )
        contributions = detector.explain(X)[0]
        if names is None:
            names = [f"x{i}" for i in range(len(contributions))]
        if len(names) != len(contributions):
            raise ValueError(
                f"There are {len(names)} feature names for {len(contributions)} "
                "features."
            )
        (score,), threshold = anomaly_scores(detector, X)
        display = cls(
            contributions=contributions,
            feature_names=list(names),
            values=np.asarray(X)[0],
            expected=detector.reconstruct(X)[0],
            score=float(score),
            threshold=threshold,
        )
        return display.plot(ax=ax, top_k=top_k)

    def plot(self, ax=None, *, top_k=10):
        """Draw the bars, to the right where a feature raises the score.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.
        top_k : int, default=10
            Features to show, the largest contributions first; the rest is summed.

        Returns
        -------
        display : ContributionDisplay
            The object itself.
        """
        check_scalar(top_k, "top_k", Integral, min_val=1)
        order = np.argsort(-np.abs(self.contributions), kind="stable")
        top, rest = order[:top_k], order[top_k:]
        # One bar would say less about the last feature than its own.
        if len(rest) == 1:
            top, rest = order, rest[:0]
        sizes = list(self.contributions[top])
        labels = [self._label(i) for i in top]
        if len(rest):
            sizes.append(self.contributions[rest].sum())
            labels.append(f"{len(rest)} others, sum")
        self.ax_ = ax = one_axes(
            ax, f"{type(self).__name__}.plot", figsize=(6.4, 1.4 + 0.32 * len(sizes))
        )
        self.figure_ = ax.figure
        places = np.arange(len(sizes))
        self.bars_ = ax.barh(
            places,
            sizes,
            color=[VERMILLION if size > 0 else BLUE for size in sizes],
        )
        if len(rest):
            self.bars_[-1].set(hatch="///", facecolor="none", edgecolor=GREY)
        # To a thirtieth of the largest or better, and no minus before a zero.
        largest = max(map(abs, sizes)) or 1.0
        decimals = max(0, math.ceil(math.log10(30 / largest)))
        numbers = [f"{round(size, decimals) + 0.0:+.{decimals}f}" for size in sizes]
        ax.bar_label(self.bars_, numbers, padding=3)
        ax.set_yticks(places, labels)
        ax.invert_yaxis()
        # Room for the numbers at the ends of the bars.
        ax.margins(x=0.2)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel(f"contribution to the score (sum {sum(sizes):+.3g})")
        ax.set_title(self._title())
        strip(ax)
        return self

    def _label(self, i):
        label = str(self.feature_names[i])
        if self.values is not None:
            label += f" = {self.values[i]:.4g}"
        if self.expected is not None:
            label += f" (expected {self.expected[i]:.4g})"
        return label

    def _title(self):
        if self.score is None:
            return ""
        title = f"score {self.score:.2f}"
        if self.threshold is not None:
            verdict = "anomaly" if self.score > self.threshold else "normal"
            title += f", threshold {self.threshold:.2f}: {verdict}"
        return title
