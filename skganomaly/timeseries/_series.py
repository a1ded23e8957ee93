"""Reading a series: its values, and which steps follow one another in time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from .._compat import StrOptions
from .._validation import first_few, read_groups, refuse_unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """A series that has been checked.

    Attributes
    ----------
    values : ndarray of shape (n_kept, n_metrics)
        The steps that have a time of their own.
    whole : ndarray of bool of shape (n_kept,)
        Which of them have all values.
    follows : ndarray of bool of shape (n_kept,)
        Which of them come one interval after the step before them, in one series.
    kept : ndarray of int of shape (n_kept,)
        Their positions in what was given.
    n_steps : int
        Steps that were given.
    """

    values: np.ndarray
    whole: np.ndarray
    follows: np.ndarray
    kept: np.ndarray
    n_steps: int

    def spread(self, steps):
        """Put what is known of the steps kept where they were; NaN elsewhere."""
        full = np.full((self.n_steps, *steps.shape[1:]), np.nan)
        full[self.kept] = steps
        return full


class SeriesEstimator(BaseEstimator):
    """What comes in as a series is checked in one place."""

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    sampling_interval_: np.timedelta64 | None

    _parameter_constraints = {"missing": [StrOptions({"raise", "drop"})]}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "drop"
        return tags

    def _read(self, X, *, reset, groups=None):
        """Check a series, or one below the other as many as `groups` tells apart."""
        refuse_unreadable(X)
        index = X.index if hasattr(X, "iloc") else None
        names = getattr(X, "columns", None)
        X = self._read_values(X, index, reset)
        whole = ~np.isnan(X).any(axis=1)
        if self.missing == "raise" and not whole.all():
            first = int(np.argmin(whole))
            raise ValueError(
                f"X contains NaN in {np.sum(~whole)} of {len(X)} steps, first in "
                f"step {first}{_at(index, first)}"
                f"{_in_columns(names, np.isnan(X).any(axis=0))}. Fill them first, or "
                "pass missing='drop' to leave out the windows that touch one."
            )
        together = _together(X, groups)
        kept, follows = self._follow(index, together, reset)
        return Series(X[kept], whole[kept], follows, kept, len(X))

    def _read_values(self, X, index, reset):
        if isinstance(X, list | tuple):
            X = _as_array(X)
        shape = getattr(X, "shape", ())
        if len(shape) == 1:
            if not reset and self.n_features_in_ != 1:
                raise ValueError(
                    f"X is one-dimensional, and {type(self).__name__} was fitted on "
                    f"{self.n_features_in_} metrics. Reshape your data to (n_steps, "
                    f"{self.n_features_in_})."
                )
            # A Series keeps its name; a masked array its mask.
            X = np.ma.asanyarray(X) if np.ma.isMaskedArray(X) else X
            X = _column(X) if index is None else X.to_frame()
        _refuse_what_is_no_number(X)
        if np.ma.isMaskedArray(X):
            X = np.ma.filled(X.astype(np.float64), np.nan)
        values = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            # scikit-learn can be told to assume it, and names no column.
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        _refuse_infinite(X, values, index)
        return values

    def _follow(self, index, together, reset):
        """Which steps have a time of their own, and which of these follow on."""
        n_steps = len(together) + 1
        kept, follows = np.arange(n_steps), np.append(True, together)
        times = _times_of(index)
        if reset:
            self.sampling_interval_ = None
        if times.dtype.kind not in "mM" or not together.any():
            return kept, follows
        if np.isnat(times).any():
            first = int(np.argmax(np.isnat(times)))
            raise ValueError(f"Step {first} of X has no time (NaT). Remove it.")
        intervals = np.diff(times)
        usual = self.sampling_interval_
        zero = np.timedelta64(0)
        if usual is None:
            usual = np.median(intervals[together])
        # Then nothing is out of step, the order itself is wrong, which no option mends.
        backward = reset and np.mean(intervals[together] <= zero) > 0.5
        # In whole numbers: half a second is none where times count seconds.
        early = together & (2 * intervals <= usual)
        if backward or usual <= zero or (early.any() and self.missing == "raise"):
            self._refuse_times(index, intervals, together, early, usual)
        if reset:
            self.sampling_interval_ = usual
        jumps = np.zeros(len(together), dtype=bool)
        if early.any():
            kept, jumps = _own_times(times, together, usual)
            series = np.append(0, np.cumsum(~together))[kept]
            together = series[1:] == series[:-1]
            intervals = np.diff(times[kept])
        gaps = together & ~jumps & (2 * intervals >= 3 * usual)
        if self.missing == "raise" and gaps.any():
            raise ValueError(
                f"X has gaps in time, {gaps.sum()} in number: "
                f"{_where(index, intervals, gaps, usual)}. Fill them first "
                f"({_remedy(index, usual)}), pass missing='drop' to leave out the "
                "windows that span one, or pass X.to_numpy() if its steps follow one "
                "another all the same."
            )
        if len(kept) < n_steps or jumps.any():
            warnings.warn(
                _out_of_step(n_steps, n_steps - len(kept), jumps, gaps, usual),
                UserWarning,
                stacklevel=2,
            )
        return kept, np.append(True, together & ~gaps & ~jumps)

    def _refuse_times(self, index, intervals, together, early, usual):
        """Say which times are not in steps, and what can be done."""
        wrong = early if early.any() else together & (intervals <= np.timedelta64(0))
        zero = np.timedelta64(0)
        repeated = int(np.sum(together & (intervals == zero)))
        if usual <= zero:
            # What is usual once the steps are sorted.
            sizes = np.abs(intervals[together & (intervals != zero)])
            if not len(sizes):
                raise ValueError(
                    f"All steps of X have one time{_at(index, 0)}. Give each step a "
                    "time of its own, or pass X.to_numpy() if steps follow one another."
                )
            usual = np.median(sizes)
        drop = ""
        if self.missing == "raise":
            drop = ", or pass missing='drop' to keep the first step of each time"
        raise ValueError(
            f"The times of X are not in steps, {wrong.sum()} times ({repeated} of them "
            f"repeated): {_where(index, intervals, wrong, usual)}. Sort X by time and "
            f"sample it as the training series was ({_remedy(index, usual)}), for "
            f"several series fit with `groups`{drop}."
        )


def _as_array(X):
    """An array of a list that hides neither a mask nor a missing time in it."""
    if any(np.ma.isMaskedArray(row) for row in X):
        return np.ma.stack(X)
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(f"The steps of X have unequal lengths. ({error})") from error
    return array


def _times_of(index):
    """Times of the steps as an array, which has another dtype if there are none."""
    times = index.to_timestamp() if hasattr(index, "to_timestamp") else index
    if getattr(getattr(times, "dtype", None), "kind", "") == "O":
        # As times with several offsets are read, or after a concatenation.
        kind = getattr(times, "inferred_type", "")
        if kind in ("date", "datetime", "datetime64"):
            times = np.array(list(map(_without_zone, times)), dtype="datetime64[us]")
        elif kind in ("timedelta", "timedelta64"):
            times = [None if time != time else time for time in times]
            times = np.array(times, dtype="timedelta64[us]")
    if getattr(times, "tz", None) is not None:
        times = times.tz_convert(None)
    return np.asarray(times)


def _without_zone(time):
    """The time in Greenwich; None, which NumPy reads as missing, if there is none."""
    if time != time:
        return None
    offset = time.utcoffset() if getattr(time, "tzinfo", None) is not None else None
    return time if offset is None else time.replace(tzinfo=None) - offset


def _column(X):
    X = X if np.ma.isMaskedArray(X) else np.asarray(X)
    return X.reshape(-1, 1)


def _together(X, groups):
    """Which neighbouring steps are of one series."""
    if groups is None:
        return np.ones(len(X) - 1, dtype=bool)
    words = (
        "groups must be the name or the number of the series that each step is of, "
        "without missing ones."
    )
    groups = read_groups(X, groups, words)
    return groups[1:] == groups[:-1]


def _out_of_step(n_steps, n_left_out, jumps, gaps, usual):
    """Say what became of times that are out of step."""
    found = ["Times of X are out of step."]
    if n_left_out:
        found.append(
            f"Of {n_steps} steps {n_left_out} repeat a time, come less than half an "
            "interval after the step before, or less than one and a half before it; "
            "they are left out and have no score."
        )
    if jumps.any():
        found.append(f"Places where time jumps back: {jumps.sum()}.")
    if gaps.any():
        found.append(f"Gaps: {gaps.sum()}.")
    if jumps.any() or gaps.any():
        found.append("No window spans one.")
    return " ".join([*found, f"An interval is {_plain(usual)}."])


def _own_times(times, together, usual):
    """Steps to keep, the first of each time, and where among them time jumps back.

    A step less than half an interval after the last one kept is another reading of
    the same moment. One that lies before it by no more than jitter explains came late;
    further back, a clock was set and what follows is a series of its own.
    """
    kept, jumps, last = [0], [], times[0]
    starts = np.append(True, ~together)
    for step in range(1, len(times)):
        ahead = times[step] - last
        jump = 2 * ahead <= -3 * usual
        if not starts[step] and not jump and 2 * ahead <= usual:
            continue
        kept.append(step)
        jumps.append(jump and not starts[step])
        last = times[step]
    return np.array(kept), np.array(jumps, dtype=bool)


def _refuse_what_is_no_number(X):
    """Dates and durations, whose missing values pass as numbers, and words."""
    if hasattr(X, "iloc"):
        columns = [(repr(name), X.iloc[:, i]) for i, name in enumerate(X.columns)]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind not in "biufc":
        columns = [(str(i), x) for i, x in enumerate(np.ma.getdata(X).T)]
    else:
        return
    reasons = [_why_no_number(x) for _, x in columns]
    bad = [
        f"{name} ({x.dtype})"
        for (name, x), reason in zip(columns, reasons, strict=True)
        if reason is not None
    ]
    if bad:
        reason = next(filter(None, reasons))
        raise type(reason)(
            f"X has columns that are not numbers: {first_few(bad)}. "
            "Make the times of the steps the index (X.set_index(...)), turn durations "
            "into seconds (X[...].dt.total_seconds()), encode or leave out the others. "
            f"({reason})"
        )


def _why_no_number(column):
    """The error that a column of dates or words gives, or None if it has numbers."""
    if _has_times(column):
        return ValueError("times are no numbers")
    try:
        np.asarray(column, dtype=np.float64)
    except TypeError as error:
        return TypeError(str(error))
    except ValueError as error:
        return ValueError(str(error))
    return None


def _has_times(column):
    kind = getattr(column.dtype, "kind", "O")
    if kind != "O":
        return kind in "mM"
    # float() takes NumPy's missing time for a number.
    times = np.datetime64, np.timedelta64
    return any(isinstance(value, times) for value in np.asarray(column, dtype=object))


def _refuse_infinite(X, values, index):
    """Refuse infinite values, with where the first one is."""
    infinite = np.isinf(values)
    if infinite.any():
        steps, names = infinite.any(axis=1), getattr(X, "columns", None)
        first = int(np.argmax(steps))
        raise ValueError(
            f"X contains infinity in {steps.sum()} of {len(values)} steps, first in "
            f"step {first}{_at(index, first)}"
            f"{_in_columns(names, infinite.any(axis=0))}. Set it to the largest value "
            "that makes sense, or to NaN with missing='drop'."
        )


def _in_columns(names, bad):
    """Which of several metrics it is."""
    if len(bad) == 1:
        return ""
    found = [str(i) if names is None else repr(names[i]) for i in np.flatnonzero(bad)]
    return f"; columns with any: {first_few(found)}"


def _at(index, step):
    return "" if index is None else f" ({index[step]})"


def _plain(interval):
    interval = interval.astype("timedelta64[us]").item()
    return f"-{-interval}" if interval.days < 0 else str(interval)


def _where(index, intervals, flags, usual):
    """The first of the intervals flagged, in words."""
    step = int(np.argmax(flags)) + 1
    return (
        f"{_plain(intervals[step - 1])} before step {step}{_at(index, step)}, where "
        f"{_plain(usual)} is usual"
    )


def _remedy(index, usual):
    """How pandas makes regular steps of these times, repeated ones included."""
    seconds = usual / np.timedelta64(1, "s")
    frame = "X.to_timestamp()" if hasattr(index, "to_timestamp") else "X"
    return f"pandas: {frame}.resample('{seconds:.6g}s').mean().interpolate()"
