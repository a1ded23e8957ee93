"""What follows from anomaly scores: a cut, by the parameters, and labels."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._cut import check_rate, fit_threshold, highest_of, is_auto, too_few
from .thresholds import QuantileThreshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._cut import Threshold

__all__ = ["CutMixin", "DecisionMixin"]


class DecisionMixin:
    """Scores, labels and threshold in both directions.

    The sign conventions meet here: ``anomaly_score``, which the class supplies, and
    ``threshold_`` are higher for more anomalous rows, as in the papers;
    ``score_samples`` and ``offset_`` are their negatives, as in scikit-learn.
    """

    offset_: float

    def _validate_params(self) -> None:
        super()._validate_params()
        # Conformal tools take the directions of a detector from its class. What
        # nonconform does not know by name it takes for higher-is-anomalous, in
        # silence; it leaves this mark on what it is given.
        if getattr(self, "contamination", None) == sys.float_info.min:
            name = type(self).__name__
            raise ValueError(
                f"contamination={self.contamination} flags no row of any table. "
                "nonconform sets it, and takes higher decision_function for more "
                "anomalous, the opposite of scikit-learn: p-values would be the wrong "
                f"way round. Give it as_pyod({name}(...)) in place of {name}(...)."
            )

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores in scikit-learn's direction, lower for more anomalous.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to score, or a series.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``-anomaly_score(X)``.
        """
        return -self.anomaly_score(X)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores shifted so that anomalies are negative.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to score, or a series.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Tell normal rows from anomalies.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,), int
            1 for normal rows and -1 for anomalies, whose decision function is
            negative.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @property
    def threshold_(self) -> float:
        """The cut in the units of :meth:`anomaly_score`, ``-offset_``."""
        check_is_fitted(self)
        return -self.offset_

    def _cut_at(self, threshold: float) -> None:
        """Put the cut there, in the units of :meth:`anomaly_score`."""
        self.offset_ = -float(threshold)


class CutMixin(DecisionMixin):
    """A cut that is found by a rule, at `fit` and again whenever another is wanted.

    The class has the parameters ``contamination``, ``threshold`` and
    ``false_alarm_rate``, and by the time of the cut ``reference_scores_``.
    """

    # What the references are scores of.
    _counted = "rows"

    threshold_rule_: Any
    reference_scores_: NDArray[np.float64]

    def _check_promise(self) -> None:
        """Refuse two promises at a time, before anything is trained."""
        if self.contamination != "auto" and not is_auto(self.threshold):
            raise ValueError(
                f"contamination={self.contamination!r} flags that share of the "
                f"training rows, and threshold={self.threshold!r} finds the cut in "
                "another way. Leave one of them at 'auto'; after the fit, "
                "set_threshold takes any rule."
            )

    def _check_held_out(self, threshold: Any) -> None:
        """Refuse a rule that needs held-out rows where there are none."""
        if isinstance(threshold, str) and threshold == "conformal":
            raise ValueError(
                "threshold='conformal' needs rows that training does not see, and "
                "none are held out. Fit with validation_fraction=0.2, for example."
            )

    def _references(
        self, threshold: Threshold, rate: float
    ) -> tuple[NDArray[np.float64], str]:
        """Scores that a cut is found from, and words if they are too few for it."""
        n_references, words = len(self.reference_scores_), ""
        if is_auto(threshold) and too_few(n_references, rate):
            words = (
                f"{highest_of(n_references, self._counted, rate)} Fit with more, raise "
                "false_alarm_rate, or set threshold='tail'."
            )
        return self.reference_scores_, words

    def _fit_cut(
        self,
        training_scores: Callable[[], NDArray[np.float64]],
        stacklevel: int | None = None,
    ) -> Self:
        """Find the cut that the parameters ask for.

        Parameters
        ----------
        training_scores : callable
            Gives the anomaly scores of the training rows themselves, which are needed
            if `contamination` is a number.
        stacklevel : int or None, default=None
            Where to warn of too few references; None leaves that to the caller.
        """
        # Parameters that are set later wait for the next fit.
        self._rate_, self._contamination_rule_ = self.false_alarm_rate, None
        if self.contamination == "auto":
            return self._set_cut(self.threshold, None, stacklevel)
        # A promise about the training rows, so it is their own scores that count.
        rule = QuantileThreshold(rate=self.contamination, method="linear")
        self._contamination_rule_ = rule.fit(training_scores())
        return self._cut_by(self._contamination_rule_)

    def _set_cut(
        self,
        threshold: Threshold,
        false_alarm_rate: float | None,
        stacklevel: int | None = 3,
    ) -> Self:
        """Find another cut, as ``set_threshold`` does."""
        rule = self._contamination_rule_
        if rule is not None and is_auto(threshold) and false_alarm_rate is None:
            return self._cut_by(rule)
        rate = self._rate_ if false_alarm_rate is None else false_alarm_rate
        check_rate(rate, "false_alarm_rate")
        references, words = self._references(threshold, rate)
        fitted = fit_threshold(threshold, references, rate=rate)
        if words and stacklevel is not None:
            warnings.warn(words, UserWarning, stacklevel=stacklevel)
        self.reference_scores_ = references
        return self._cut_by(fitted)

    def _cut_by(self, rule: Any) -> Self:
        self.threshold_rule_ = rule
        self._cut_at(rule.threshold_)
        return self
