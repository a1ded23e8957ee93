"""From estimators, labels and times to arrays."""

import warnings
from numbers import Real

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_is_fitted

from .._directions import detector_inside, pyod_threshold, steps_inside

_NUMBER_THEM = "Pass time=np.arange(len(y_score)) to number the rows instead."


def rows_at_last_step(estimator, X):
    """Return the detector inside pipelines and searches, and rows as it sees them."""
    steps, detector = steps_inside(estimator)
    for step in steps:
        X = step.transform(X)
    return detector, X


def names_of_features(estimator):
    """Names of the columns that the detector sees, or None."""
    names = getattr(detector_inside(estimator), "feature_names_in_", None)
    estimator = getattr(estimator, "best_estimator_", estimator)
    if names is None and isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            names = estimator[:-1].get_feature_names_out()
        except AttributeError:
            # Not every transformer can name its columns.
            return None
    return names


def anomaly_scores(estimator, X):
    """Scores of rows, higher for more anomalous, and the threshold in their units.

    The threshold is None, with a warning, where labels are not those of any cut.
    """
    detector = detector_inside(estimator)
    # A detector of PyOD calls itself an outlier detector, with the opposite sign.
    if hasattr(detector, "decision_scores_"):
        scores = estimator.decision_function(X)
        try:
            threshold = pyod_threshold(detector)
        except ValueError as error:
            warnings.warn(f"No threshold is drawn. {error}", stacklevel=3)
            threshold = None
    elif hasattr(detector, "offset_") and hasattr(estimator, "score_samples"):
        scores, threshold = -estimator.score_samples(X), -detector.offset_
        threshold = float(np.asarray(threshold).item())
    else:
        check_is_fitted(detector)
        raise TypeError(
            f"Which way the scores of {type(detector).__name__} point is not known: it "
            "has neither score_samples and offset_, as the detectors of scikit-learn "
            "have that score new rows, nor decision_scores_, as those of PyOD have. "
            "Score the rows yourself and use from_predictions."
        )
    return np.asarray(scores, dtype=np.float64), threshold


def check_scores(scores, name, *, missing=False):
    """Scores as a vector of finite numbers or, if they may be missing, NaN."""
    return check_array(
        column_or_1d(scores),
        ensure_2d=False,
        dtype=np.float64,
        ensure_all_finite="allow-nan" if missing else True,
        input_name=name,
    )


def check_has(detector, name, caller):
    """Refuse a detector that is not fitted, or cannot do what is to be drawn."""
    if not hasattr(detector, name):
        check_is_fitted(detector)
        raise TypeError(
            f"{caller} needs a detector with {name!r}, such as those of skganomaly; "
            f"{type(detector).__name__} has none."
        )


def is_number(value):
    """Tell a number from a boolean, which Python counts as one."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def check_time(time):
    """Times as numbers or datetime64, and what they are."""
    label = getattr(time, "name", None) or "time"
    # A pandas column has them in its array, an index has them itself.
    time = time.array if hasattr(time, "iloc") else time
    if hasattr(time, "to_timestamp"):
        time = time.to_timestamp()
    if getattr(time, "tz", None) is not None:
        time, label = time.tz_convert(None), f"{label} (UTC)"
    time = np.asarray(time)
    if time.dtype.kind not in "iuf":
        try:
            # Microseconds, of which there are halves in a step of a day or an hour.
            time = time.astype("datetime64[us]")
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Cannot read the times, such as {time[0]!r}. {_NUMBER_THEM}"
            ) from error
    if np.isnan(time).any() or (time[1:] <= time[:-1]).any():
        raise ValueError(
            "Times must increase, without repetition or missing ones. Sort by time, "
            f"and draw one series at a time. {_NUMBER_THEM}"
        )
    return time, label
