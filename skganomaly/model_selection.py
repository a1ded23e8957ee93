"""Cross-validation and scorers for detectors, with labels and without.

Labels are read by :func:`check_anomaly_labels`, whatever their coding, and anomalies
are always the positive class. The scorers are functions of ``(estimator, X, y)`` for
``scoring=`` of scikit-learn's searches and of ``cross_val_score``; they know which way
the scores of scikit-learn's, PyOD's and this library's detectors point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.utils import check_consistent_length, check_scalar

from ._directions import anomaly_flags, anomaly_scores, check_anomaly_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from numpy.typing import ArrayLike, NDArray

    _Flags: TypeAlias = NDArray[np.bool_]
    _Rows: TypeAlias = NDArray[np.int64]
    _Scores: TypeAlias = NDArray[np.float64]

__all__ = [
    "InlierGroupKFold",
    "InlierKFold",
    "anomaly_average_precision",
    "anomaly_f1",
    "anomaly_roc_auc",
    "check_anomaly_labels",
    "pseudo_anomaly_roc_auc",
    "recall_at_false_alarm_rate",
]


class _InlierFolds(BaseCrossValidator):
    """Takes the anomalies from the training sets of the class behind it."""

    # What divides rows that are all normal.
    _unlabelled: ClassVar[type[BaseCrossValidator]]

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[tuple[_Rows, _Rows]]:
        """Yield the rows of each training and test set.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The rows; only their number counts.
        y : array-like of shape (n_samples,) or None, default=None
            Labels in any coding that :func:`check_anomaly_labels` reads. None means
            that all rows are normal.
        groups : array-like of shape (n_samples,) or None, default=None
            The group of each row. :class:`InlierGroupKFold` needs them, and
            :class:`InlierKFold` ignores them with a warning.

        Yields
        ------
        train : ndarray of int
            Normal rows of the other folds.
        test : ndarray of int
            All rows of one fold.

        Raises
        ------
        ValueError
            If the labels cannot be read, or there are fewer normal rows, fewer
            anomalies or fewer groups than folds.
        """
        if y is None:
            folds = self._unlabelled(
                self.n_splits, shuffle=self.shuffle, random_state=self.random_state
            )
            yield from folds.split(X, groups=groups)
            return
        anomalous = _labels_for_folds(X, y, self.n_splits)
        for train, test in super().split(X, anomalous, groups):
            yield train[~anomalous[train]], test


class InlierKFold(_InlierFolds, StratifiedKFold):
    """Cross-validation that trains on normal rows and tests on all.

    The rows are divided into folds with the same share of anomalies, as
    :class:`~sklearn.model_selection.StratifiedKFold` does. Each fold is the test set
    once, as it is; the training set is the *normal* rows of the others. So anomalies
    never reach ``fit``, which believes its rows to be normal, and every test set has
    some to be found.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Whether to shuffle before dividing. Rows of a time series are better left in
        order, as neighbours in time resemble each other.
    random_state : int, RandomState instance or None, default=None
        Decides the shuffling; None draws from NumPy's global generator, as in
        scikit-learn. Successive halving needs an int, as each of its rounds must see
        the same folds.

    See Also
    --------
    InlierGroupKFold : Keeps rows that belong together in one fold.
    sklearn.model_selection.StratifiedKFold : Keeps anomalies in the training sets.

    Notes
    -----
    Only the folds are free of anomalies. With ``refit=True``, its default, a search
    trains the best candidate on *all* rows that its ``fit`` was given. If these have
    anomalies, set ``refit=False`` and train on the normal rows, with
    ``clone(search.estimator).set_params(**search.best_params_)``.

    Scorers that need labels cannot rate the training sets. Where
    ``return_train_score=True`` is the default, as in successive halving, set it to
    False. Successive halving over the number of rows, its default, may draw test sets
    without an anomaly; with ``resource="max_steps"`` all rows are used throughout.

    For out-of-fold scores pass the folds as a list, and no labels:
    ``cross_val_predict(detector, X, cv=list(folds.split(X, y)),
    method="decision_function")``. Given labels, scikit-learn expects a classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.model_selection import InlierKFold
    >>> X, y = np.arange(8)[:, None], np.array([1, 1, -1, 1, 1, 1, -1, 1])
    >>> for train, test in InlierKFold(2, shuffle=False).split(X, y):
    ...     print(train, test)
    [4 5 7] [0 1 2 3]
    [0 1 3] [4 5 6 7]
    """

    _unlabelled = KFold


class InlierGroupKFold(_InlierFolds, StratifiedGroupKFold):
    """Cross-validation by groups that trains on normal rows and tests on all.

    Like :class:`InlierKFold`, with all rows of a group in one fold: shots of one part,
    visits of one patient, copies of one row. Otherwise detectors are tested with rows
    whose like they were trained on.

    The groups go to ``split``, as ``groups=`` of ``cross_validate`` or of a search's
    ``fit``. For the detector to leave groups out of its own threshold as well, it needs
    them, too: with scikit-learn's ``enable_metadata_routing``, by
    ``detector.set_fit_request(groups=True)``.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Whether to shuffle before dividing.
    random_state : int, RandomState instance or None, default=None
        Decides the shuffling, as in :class:`InlierKFold`.

    See Also
    --------
    InlierKFold : For rows that are independent.
    sklearn.model_selection.StratifiedGroupKFold : Keeps anomalies in the training sets.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.model_selection import InlierGroupKFold
    >>> X, y = np.arange(8)[:, None], np.array([1, 1, -1, 1, 1, 1, -1, 1])
    >>> part = [0, 0, 1, 1, 2, 2, 3, 3]
    >>> for train, test in InlierGroupKFold(2, shuffle=False).split(X, y, part):
    ...     print(train, test)
    [4 5 7] [0 1 2 3]
    [0 1 3] [4 5 6 7]
    """

    _unlabelled = GroupKFold

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[tuple[_Rows, _Rows]]:
        if groups is None:
            raise ValueError(
                "InlierGroupKFold needs the groups of the rows. Pass groups=..., as to "
                "cross_validate or to the fit of a search, or use InlierKFold."
            )
        yield from super().split(X, y, groups)


def _labels_for_folds(X: Any, y: ArrayLike, n_splits: int) -> _Flags:
    """Read labels of which every fold can have some of both kinds."""
    anomalous = check_anomaly_labels(y)
    check_consistent_length(X, anomalous)
    n_anomalies = int(anomalous.sum())
    if not n_anomalies:
        raise ValueError(
            "y has no anomalies, so there is nothing to test with. Pass y=None to "
            "divide rows that are all normal."
        )
    if min(n_anomalies, len(anomalous) - n_anomalies) < n_splits:
        raise ValueError(
            f"{n_splits} folds need at least as many anomalies and as many normal "
            f"rows, and y has {n_anomalies} and {len(anomalous) - n_anomalies}. Lower "
            "n_splits; with a single anomaly there is no cross-validation."
        )
    return anomalous


def anomaly_roc_auc(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Area under the ROC curve, with anomalies as the positive class.

    Parameters
    ----------
    estimator : object
        Fitted detector of this library, of scikit-learn or of PyOD, or a pipeline or
        search that ends in one.
    X : array-like of shape (n_samples, ...)
        Rows to score.
    y : array-like of shape (n_samples,)
        Labels in any coding that :func:`check_anomaly_labels` reads.

    Returns
    -------
    score : float
        The probability that a random anomaly scores worse than a random normal row,
        ties counting half; from 0 to 1, and 0.5 by chance.

    Raises
    ------
    ValueError
        If the labels cannot be read or are all alike, or if it is not known which way
        the estimator's scores point.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.model_selection import cross_val_score
    >>> from skganomaly.datasets import make_anomalies
    >>> from skganomaly.model_selection import InlierKFold, anomaly_roc_auc
    >>> X, y = make_anomalies(300, kind="global", random_state=0)
    >>> folds = InlierKFold(3, random_state=0)
    >>> forest = IsolationForest(random_state=0)
    >>> scores = cross_val_score(forest, X, y, cv=folds, scoring=anomaly_roc_auc)
    >>> scores.shape, bool(scores.min() > 0.8)
    ((3,), True)
    """
    return float(roc_auc_score(*_labels_and_scores(estimator, X, y)))


def anomaly_average_precision(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Average precision of the ranking, with anomalies as the positive class.

    Parameters
    ----------
    estimator : object
        Fitted detector; see :func:`anomaly_roc_auc`.
    X : array-like of shape (n_samples, ...)
        Rows to score.
    y : array-like of shape (n_samples,)
        Labels in any coding that :func:`check_anomaly_labels` reads.

    Returns
    -------
    score : float
        Precision, averaged over the anomalies as their ranks are reached; up to 1. By
        chance it is the share of anomalies, so only figures of data with the same
        share can be compared.

    Raises
    ------
    ValueError
        As :func:`anomaly_roc_auc`.
    """
    return float(average_precision_score(*_labels_and_scores(estimator, X, y)))


def anomaly_f1(estimator: Any, X: Any, y: ArrayLike) -> float:
    """F1 of the anomalies that ``predict`` finds at the fitted threshold.

    Parameters
    ----------
    estimator : object
        Fitted detector; see :func:`anomaly_roc_auc`.
    X : array-like of shape (n_samples, ...)
        Rows to judge.
    y : array-like of shape (n_samples,)
        Labels in any coding that :func:`check_anomaly_labels` reads.

    Returns
    -------
    score : float
        Harmonic mean of precision and recall, from 0 to 1; 0 if nothing is flagged.

    Raises
    ------
    ValueError
        If the labels cannot be read or are all alike, or those of ``predict`` cannot.
    """
    anomalous = _labels_of_both_kinds(y)
    flags = anomaly_flags(estimator, X)
    return float(f1_score(anomalous, flags, zero_division=0.0))


def recall_at_false_alarm_rate(
    rate: float,
) -> Callable[[Any, Any, ArrayLike], float]:
    """Make a scorer: the share of anomalies found when few normal rows are flagged.

    The threshold is the lowest that flags no more than ``rate`` of the normal rows
    *scored*. The detector's own threshold does not count.

    Parameters
    ----------
    rate : float in [0, 1)
        Share of the normal rows that may be flagged. With fewer than ``1 / rate`` of
        them, none may be.

    Returns
    -------
    scorer : callable
        Function of ``(estimator, X, y)`` that returns the recall, from 0 to 1, and
        can be pickled and saved. It takes and raises what :func:`anomaly_roc_auc` does.

    Examples
    --------
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> from skganomaly.model_selection import recall_at_false_alarm_rate
    >>> detector = LocalOutlierFactor(3, novelty=True).fit([[0], [1], [2], [3]])
    >>> scorer = recall_at_false_alarm_rate(0.01)
    >>> scorer(detector, [[1.5], [2.5], [9], [2]], [0, 0, 1, 1])
    0.5
    """
    check_scalar(rate, "rate", Real, min_val=0, max_val=1, include_boundaries="left")
    if math.isnan(rate):
        raise ValueError("rate is NaN; it must be a share in [0, 1).")
    return _RecallAt(rate)


@dataclass(frozen=True)
class _RecallAt:
    rate: float

    def __call__(self, estimator: Any, X: Any, y: ArrayLike) -> float:
        anomalous, scores = _labels_and_scores(estimator, X, y)
        normal = np.sort(scores[~anomalous])[::-1]
        # The small number is for products such as 0.29 * 100 = 28.999999999999996.
        n_allowed = int(self.rate * len(normal) + 1e-9)
        return float(np.mean(scores[anomalous] > normal[n_allowed]))


def pseudo_anomaly_roc_auc(estimator: Any, X: Any, y: Any = None) -> float:
    """Area under the ROC curve against rows with swapped columns: needs no labels.

    A pseudo-anomaly is made from each row: a random share of its columns, from one to
    all, gets the values that random other rows have there. Every value is then as
    usual as before, and what is unusual is how they go together. The score is the
    ROC AUC between the rows, taken to be normal, and the pseudo-anomalies.

    It is a weak criterion: better than a random choice, no substitute for labels, and
    hardly able to tell recipes with the same ``score_type`` apart; see
    :ref:`tuning-without-labels` for figures. It is blind to anomalies that are only
    unusual in one column.

    Parameters
    ----------
    estimator : object
        Fitted detector; see :func:`anomaly_roc_auc`.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Held-out rows, at least two of at least two values. Values may be of any type
        that the estimator accepts, missing ones included. Figures are known for
        tables only, not for images and windows.
    y : None
        Ignored; present for API consistency.

    Returns
    -------
    score : float
        From 0 to 1, 0.5 if the detector cannot tell the two apart. The draw is the
        same in each call, so that candidates can be compared; figures of different
        data cannot.

    Raises
    ------
    ValueError
        If there are fewer than two rows or columns, or if it is not known which way
        the estimator's scores point.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical
       Learning", 2nd edition, section 14.2.4, Springer 2009,
       :doi:`10.1007/978-0-387-84858-7`; there all columns are permuted.
    .. [2] M. Q. Ma, Y. Zhao, X. Zhang and L. Akoglu, "The need for unsupervised outlier
       model selection: a review and evaluation of internal evaluation strategies",
       SIGKDD Explorations 25(1), 2023, arXiv:2104.01422; none of those that it tries
       is found to be of practical use.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.covariance import EllipticEnvelope
    >>> from skganomaly.model_selection import pseudo_anomaly_roc_auc
    >>> x = np.linspace(0, 1, 200)
    >>> X = np.column_stack([x, x + 0.1 * np.sin(40 * x)])
    >>> detector = EllipticEnvelope(random_state=0).fit(X[::2])
    >>> pseudo_anomaly_roc_auc(detector, X[1::2]) > 0.8
    True
    """
    pseudo = _swap_columns(X, np.random.default_rng(0))
    scores = [_scores(estimator, rows) for rows in (X, pseudo)]
    made = np.repeat([False, True], [len(rows) for rows in scores])
    return float(roc_auc_score(made, np.concatenate(scores)))


def _swap_columns(X: Any, rng: np.random.Generator) -> Any:
    """Give each row the values of other rows in a random share of its columns."""
    shape = np.shape(X)
    n, width = len(X), math.prod(shape[1:])
    if n < 2 or width < 2:
        raise ValueError(
            f"X has shape {shape}. To swap columns between rows takes at least two "
            "of each."
        )
    rows = np.arange(n)[:, None]
    others = (rows + rng.integers(1, n, size=(n, width))) % n
    order = rng.permuted(np.tile(np.arange(width), (n, 1)), axis=1)
    swapped = order < rng.integers(1, width, size=(n, 1), endpoint=True)
    source = np.where(swapped, others, rows)
    if not hasattr(X, "iloc"):
        values = np.asarray(X).reshape(n, width)
        return np.take_along_axis(values, source, axis=0).reshape(shape)
    pseudo = X.copy()
    for column in range(width):
        # With its dtype, which a pipeline may go by.
        pseudo.isetitem(column, X.iloc[source[:, column], column].array)
    return pseudo


def _labels_and_scores(estimator: Any, X: Any, y: ArrayLike) -> tuple[_Flags, _Scores]:
    """Return which rows are anomalies, and scores that are higher for worse rows."""
    anomalous = _labels_of_both_kinds(y)
    check_consistent_length(X, anomalous)
    return anomalous, _scores(estimator, X)


def _labels_of_both_kinds(y: ArrayLike) -> _Flags:
    anomalous = check_anomaly_labels(y)
    if anomalous.all() or not anomalous.any():
        kind = "anomalies" if anomalous.all() else "normal rows"
        raise ValueError(
            f"The labels are all of {kind}, and a score needs rows of both kinds. In "
            "cross-validation, cv=InlierKFold() puts some of both into each test set; "
            "its training sets are normal, so set return_train_score=False."
        )
    return anomalous


def _scores(estimator: Any, X: Any) -> _Scores:
    """Score rows, higher for worse ones."""
    scores = anomaly_scores(estimator, X)
    if np.isnan(scores).any():
        raise ValueError(
            f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN. Leave out the "
            "rows that the estimator cannot score, such as steps around missing values "
            "that are in no window."
        )
    return scores
