"""From estimators, scores and times to arrays."""

import warnings
from numbers import Real

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_is_fitted

from .._directions import (
    anomaly_scores,
    anomaly_threshold,
    detector_inside,
    score_method,
)

_NUMBER_THEM = "Pass time=np.arange(len(y_score)) to number the rows instead."


def scores_and_threshold(estimator, X):
    """Scores of rows, higher for more anomalous, and the threshold in their units.

    The threshold is None, with a warning, where labels are not those of any cut.
    """
    try:
        score_method(estimator)
    except ValueError as error:
        check_is_fitted(detector_inside(estimator))
        raise TypeError(
            f"{error} Or score the rows yourself and use from_predictions."
        ) from error
    scores = anomaly_scores(estimator, X)
    try:
        return scores, anomaly_threshold(estimator)
    except ValueError as error:
        warnings.warn(f"No threshold is drawn. {error}", stacklevel=3)
        return scores, None


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
