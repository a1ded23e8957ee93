"""Which way scores and labels point: scikit-learn's detectors, PyOD's and ours.

Scikit-learn's detectors score normal rows higher and label anomalies -1; PyOD's score
anomalies higher and label them 1. A wrong guess would turn a ROC AUC of 0.9 into 0.1,
so nothing is guessed: the direction follows from the class, or is not known.
"""

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ._cut import cut_from_labels

__all__ = [
    "anomaly_flags",
    "anomaly_label",
    "anomaly_scores",
    "detector_inside",
    "higher_means",
    "is_pyod",
    "pyod_threshold",
    "score_method",
    "steps_inside",
]


def detector_inside(estimator):
    """Return the detector inside pipelines, searches and what is frozen."""
    while True:
        if isinstance(estimator, Pipeline):
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
            return estimator


def steps_inside(estimator):
    """Return the fitted transformers on the way to the detector inside, and it."""
    steps = []
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            before = [step for _, step in estimator.steps[:-1]]
            steps += [step for step in before if step not in (None, "passthrough")]
            estimator = estimator.steps[-1][1]
        else:
            return steps, estimator


def is_pyod(estimator):
    """Tell whether an object is one of PyOD's detectors."""
    # By name, so that PyOD is not imported to look at something else.
    return any(
        cls.__name__ == "BaseDetector" and cls.__module__.startswith("pyod.")
        for cls in type(estimator).__mro__
    )


def pyod_threshold(detector):
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
    # Some are arrays of one number.
    return float(np.asarray(detector.threshold_).item())


def higher_means(estimator):
    """Return what higher scores mean, "anomaly" or "normal"; None if unknown."""
    detector = detector_inside(estimator)
    # PyOD first: its detectors call themselves outlier detectors in scikit-learn's
    # sense although their sign is the opposite.
    if hasattr(estimator, "anomaly_score") or is_pyod(detector):
        return "anomaly"
    return "normal" if isinstance(detector, OutlierMixin) else None


def anomaly_label(estimator):
    """Return what `predict` gives anomalies, -1 or 1; None if unknown."""
    detector = detector_inside(estimator)
    if is_pyod(detector):
        return 1
    return -1 if isinstance(detector, OutlierMixin) else None


def score_method(estimator, higher_is):
    """Return the name of the method that scores rows in that direction."""
    names = ["score_samples", "decision_function"]
    if higher_is == "anomaly":
        names = ["anomaly_score", "decision_function", "score_samples"]
    for name in names:
        if hasattr(estimator, name):
            return name
    raise ValueError(
        f"{type(estimator).__name__} has none of the methods {', '.join(names)}."
    )


def anomaly_scores(estimator, X, higher_is):
    """Score rows; higher is worse."""
    score = getattr(estimator, score_method(estimator, higher_is))
    scores = np.asarray(score(X), dtype=np.float64)
    n_rows = np.shape(X)[0]
    if scores.shape != (n_rows,):
        raise ValueError(f"Got scores of shape {scores.shape} for {n_rows} rows.")
    return scores if higher_is == "anomaly" else -scores


def anomaly_flags(estimator, X, label):
    """Tell which rows `predict` calls anomalies.

    ``label`` is what it gives them, -1 or 1; where that is None, -1 or 0 among the
    labels decides.
    """
    labels = np.asarray(estimator.predict(X))
    found = set(np.unique(labels).tolist())
    if label is None:
        label = -1 if -1 in found else 1 if 0 in found else None
    if label is None or not found <= {label, 1 if label == -1 else 0}:
        raise ValueError(
            f"Cannot read the labels {sorted(found)} of "
            f"{type(estimator).__name__}.predict. Expected 1 and -1 with -1 = anomaly, "
            "or 0 and 1 with 1 = anomaly; all 1 could be either."
        )
    return labels == label
