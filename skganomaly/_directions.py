"""Reading detectors and labels of any package: what is inside, and what it means.

Scikit-learn's detectors score normal rows higher and label anomalies -1; PyOD's score
anomalies higher and label them 1. A wrong guess would turn a ROC AUC of 0.9 into 0.1,
so nothing is guessed: the direction follows from the class, or from what its fit has
left, or is not known.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d

from ._cut import cut_from_labels

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from numpy.typing import ArrayLike, NDArray

    Direction: TypeAlias = Literal["anomaly", "normal"]

__all__ = [
    "anomaly_flags",
    "anomaly_label",
    "anomaly_scores",
    "anomaly_threshold",
    "check_anomaly_labels",
    "detector_inside",
    "flags_of",
    "higher_means",
    "is_pyod",
    "pyod_threshold",
    "score_method",
    "steps_inside",
    "transform_by",
]

_NORMAL_WORDS = {"normal", "inlier"}
_ANOMALY_WORDS = {"anomaly", "anomalous", "abnormal", "outlier"}


def steps_inside(estimator: Any) -> tuple[list[Any], Any]:
    """Return the transformers on the way to the detector inside, and it.

    It may be inside of pipelines, searches and what is frozen, however deep.
    """
    steps: list[Any] = []
    while True:
        if isinstance(estimator, Pipeline):
            before = [step for _, step in estimator.steps[:-1]]
            steps += [step for step in before if step not in (None, "passthrough")]
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            # The search may have replaced the detector that it was made with.
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "param_grid") or hasattr(
            estimator, "param_distributions"
        ):
            estimator = estimator.estimator
        else:
            return steps, estimator


def detector_inside(estimator: Any) -> Any:
    """Return the detector inside pipelines, searches and what is frozen."""
    return steps_inside(estimator)[1]


def transform_by(steps: list[Any], X: Any) -> Any:
    """Transform rows by one step after another."""
    for step in steps:
        X = step.transform(X)
    return X


def is_pyod(estimator: Any) -> bool:
    """Tell whether an object is one of PyOD's detectors."""
    # By name, so that PyOD is not imported to look at something else.
    return any(
        cls.__name__ == "BaseDetector" and cls.__module__.startswith("pyod.")
        for cls in type(estimator).__mro__
    )


def _is_like_pyod(detector: Any) -> bool:
    """Tell whether a detector has PyOD's conventions, by its class or by its fit."""
    if is_pyod(detector):
        return True
    return hasattr(detector, "decision_scores_") and not isinstance(
        detector, OutlierMixin
    )


def higher_means(estimator: Any) -> Direction | None:
    """Return what higher scores mean, "anomaly" or "normal"; None if unknown."""
    detector = detector_inside(estimator)
    # PyOD first: a class may be an outlier detector in scikit-learn's sense as well,
    # with the opposite sign.
    if hasattr(estimator, "anomaly_score") or _is_like_pyod(detector):
        return "anomaly"
    if isinstance(detector, OutlierMixin) or (
        hasattr(detector, "score_samples") and hasattr(detector, "offset_")
    ):
        return "normal"
    return None


def score_method(estimator: Any, higher_is: Direction | None = None) -> str:
    """Return the name of the method that scores rows in a direction.

    None is the direction that the scores have; where it is not known, or where there
    is no such method, ValueError is raised.
    """
    higher_is = _known(estimator, higher_is)
    names = ["score_samples", "decision_function"]
    if higher_is == "anomaly":
        names = ["anomaly_score", "decision_function", "score_samples"]
    for name in names:
        if hasattr(estimator, name):
            return name
    raise ValueError(
        f"{type(estimator).__name__} has none of the methods {', '.join(names)}."
    )


def _known(estimator: Any, higher_is: Direction | None) -> Direction:
    higher_is = higher_means(estimator) if higher_is is None else higher_is
    if higher_is is None:
        raise ValueError(
            "Cannot know whether higher scores of "
            f"{type(detector_inside(estimator)).__name__} mean anomaly or normal. "
            "Derive the class from sklearn.base.OutlierMixin if its score_samples are "
            "lower for anomalies, or give it a method anomaly_score that is higher."
        )
    return higher_is


def anomaly_scores(
    estimator: Any, X: Any, higher_is: Direction | None = None
) -> NDArray[np.float64]:
    """Score rows; higher is worse, whatever `higher_is` in the estimator's own scores.

    None is what it is; where that is not known, ValueError is raised.
    """
    higher_is = _known(estimator, higher_is)
    score = getattr(estimator, score_method(estimator, higher_is))
    scores = np.asarray(score(X), dtype=np.float64)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    # Some of PyOD's detectors return a column.
    if scores.shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(f"Got scores of shape {scores.shape} for {n_rows} rows.")
    scores = scores.reshape(n_rows)
    return scores if higher_is == "anomaly" else -scores


def anomaly_threshold(estimator: Any) -> float:
    """Return the cut of a fitted detector, in the units of :func:`anomaly_scores`.

    Where there is none, or labels are not those of any cut, ValueError is raised.
    """
    detector = detector_inside(estimator)
    if _is_like_pyod(detector):
        return pyod_threshold(detector)
    if score_method(estimator) == "decision_function":
        # Its sign is the label.
        return 0.0
    if hasattr(detector, "offset_"):
        # Some are arrays of one number.
        return -float(np.asarray(detector.offset_).item())
    if hasattr(detector, "threshold_"):
        return float(detector.threshold_)
    raise ValueError(f"{type(detector).__name__} has no offset_, so no threshold.")


def pyod_threshold(detector: Any) -> float:
    """Return the cut of a fitted PyOD detector, in the units of its scores.

    With a thresholder as ``contamination``, ``threshold_`` is in units of that one, and
    the cut is between the training scores that it flagged and the others. ValueError
    if no cut is.
    """
    rule = getattr(detector, "contamination", None)
    if hasattr(rule, "fit"):
        return cut_from_labels(
            np.asarray(detector.decision_scores_, dtype=np.float64).ravel(),
            np.ravel(detector.labels_),
            getattr(rule, "thresh_", None),
        )
    return float(np.asarray(detector.threshold_).item())


def anomaly_label(estimator: Any) -> int | None:
    """Return what `predict` gives anomalies, -1 or 1; None if unknown."""
    detector = detector_inside(estimator)
    if _is_like_pyod(detector):
        return 1
    return -1 if isinstance(detector, OutlierMixin) else None


def anomaly_flags(
    estimator: Any, X: Any, label: int | None = None
) -> NDArray[np.bool_]:
    """Tell which rows `predict` calls anomalies.

    ``label`` is what it gives them, -1 or 1; None is what it is known to be, and else
    -1 or 0 among the labels decides.
    """
    labels = np.asarray(estimator.predict(X))
    found = set(np.unique(labels).tolist())
    label = anomaly_label(estimator) if label is None else label
    if label is None:
        label = -1 if -1 in found else 1 if 0 in found else None
    flags = None if label is None else flags_of(labels, label)
    if flags is None:
        raise ValueError(
            f"Cannot read the labels {sorted(found)} of "
            f"{type(estimator).__name__}.predict. Expected 1 and -1 with -1 = anomaly, "
            "or 0 and 1 with 1 = anomaly; all 1 could be either."
        )
    return flags


def flags_of(labels: NDArray[Any], label: int) -> NDArray[np.bool_] | None:
    """Tell which labels say anomaly, -1 or 1; None if there are labels of neither."""
    normal = 1 if label == -1 else 0
    return labels == label if np.isin(labels, [label, normal]).all() else None


def check_anomaly_labels(y: ArrayLike) -> NDArray[np.bool_]:
    """Read labels of any usual coding.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        One label per row, all in one of these codings:

        - booleans: True is an anomaly;
        - numbers 0 and 1, as in PyOD: 1 is an anomaly;
        - numbers 1 and -1, as in scikit-learn: -1 is an anomaly;
        - strings, in upper or lower case: "normal" or "inlier"; "anomaly",
          "anomalous", "abnormal" or "outlier".

    Returns
    -------
    anomalous : ndarray of bool of shape (n_samples,)
        True for anomalies.

    Raises
    ------
    ValueError
        If there are no labels, if they are all the number 1 (which is normal in one
        coding and an anomaly in the other), or if there is any other value: a third
        class, a missing label, a mixture of codings.

    Examples
    --------
    >>> from skganomaly.model_selection import check_anomaly_labels
    >>> check_anomaly_labels([1, 1, -1])
    array([False, False,  True])
    >>> check_anomaly_labels(["normal", "Outlier"])
    array([False,  True])
    """
    y = np.asarray(column_or_1d(y))
    if not len(y):
        raise ValueError("y has no labels.")
    values = set(y.tolist())
    kinds = {_kind(value) for value in values}
    if kinds == {bool}:
        return y.astype(bool)
    if kinds == {str}:
        words = np.array([value.lower() for value in y.tolist()])
        if set(words) <= _NORMAL_WORDS | _ANOMALY_WORDS:
            return np.isin(words, list(_ANOMALY_WORDS))
    if kinds == {Real}:
        if values == {1}:
            raise ValueError(
                "All labels are 1, which is normal where anomalies are -1, and an "
                "anomaly where normal rows are 0. Pass booleans with True for "
                "anomalies, y == -1 or y == 1."
            )
        if values <= {1, -1}:
            return y == -1
        if values <= {0, 1}:
            return y == 1
    shown = ", ".join(sorted(map(repr, values))[:5]) + ", ..." * (len(values) > 5)
    raise ValueError(
        f"Cannot read the labels {shown}. Use 1 and -1 with -1 = anomaly, 0 and 1 with "
        "1 = anomaly, booleans with True = anomaly, or the strings 'normal' and "
        "'anomaly'. Leave out rows without a label; of several classes say which are "
        "anomalies, as in np.isin(y, anomalous_classes)."
    )


def _kind(value: object) -> type | None:
    """Return bool, Real, str or None for what a label may be."""
    # In this order, since a bool is a number, too.
    if isinstance(value, np.bool_):
        return bool
    return next((t for t in (bool, Real, str) if isinstance(value, t)), None)
