"""What follows from anomaly scores and a cut, and forgetting what was fitted."""

import sys

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._cut import check_rate, fit_threshold

__all__ = ["DecisionMixin", "forget"]


class DecisionMixin:
    """Scores, labels and threshold in both directions.

    The sign conventions meet here: ``anomaly_score``, which the class supplies, and
    ``threshold_`` are higher for more anomalous rows, as in the papers;
    ``score_samples`` and ``offset_`` are their negatives, as in scikit-learn.
    """

    def _validate_params(self):
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

    def score_samples(self, X):
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

    def decision_function(self, X):
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

    def predict(self, X):
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
    def threshold_(self):
        """The cut in the units of :meth:`anomaly_score`, ``-offset_``."""
        check_is_fitted(self)
        return -self.offset_

    def _cut(self, threshold, false_alarm_rate):
        """Find the cut by a rule; None is the rate in the parameters."""
        rate = self.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        check_rate(rate, "false_alarm_rate")
        rule = fit_threshold(threshold, self.reference_scores_, rate=rate)
        self.threshold_rule_ = rule
        self.offset_ = -float(rule.threshold_)
        return self


def forget(estimator, private=()):
    """Take away what was learned, so that a failed fit leaves nothing half done.

    Parameters
    ----------
    estimator : object
        Loses the attributes that end with an underscore.
    private : sequence of str, default=()
        Names of further ones.
    """
    for name in list(vars(estimator)):
        if name.endswith("_") or name in private:
            delattr(estimator, name)
