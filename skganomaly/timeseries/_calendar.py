"""What a calendar knows of a step, as metrics beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def calendar_columns(
    times: Any, *, days_off: Sequence[int] = (5, 6), holidays: Iterable[Any] = ()
) -> dict[str, NDArray[np.float64]]:
    """Columns that tell windows what day and what hour it is.

    Windows of values alone cannot tell a dead Wednesday from a quiet Sunday. With
    these columns as further metrics they can.

    Parameters
    ----------
    times : pandas.DatetimeIndex of length n_steps
        Times of the steps, by the clock and the calendar of the place.
    days_off : sequence of int, default=(5, 6)
        Days of the week that are not like the others, from 0 for Monday.
    holidays : sequence of dates, default=()
        Further days off: strings such as "2024-12-25", or anything that NumPy makes
        dates of. Of a time with a time zone it is the date there.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_steps,)
        "day_off", 1 on days off and 0 on others, and "hour_sin" and "hour_cos", the
        hand of a clock with 24 hours, of length 1/2.
        ``X.assign(**calendar_columns(X.index))`` adds them to a DataFrame.

    Raises
    ------
    TypeError
        If `times` have no hours and days.
    ValueError
        If a time is missing (NaT), if `days_off` are not numbers from 0 to 6, or if
        `holidays` is one string.

    Examples
    --------
    >>> import pandas as pd
    >>> from skganomaly.timeseries import calendar_columns
    >>> times = pd.date_range("2024-01-05 12:00", periods=4, freq="12h")
    >>> calendar_columns(times)["day_off"]
    array([0., 1., 1., 1.])
    """
    try:
        hours = np.asarray(times.hour) + np.asarray(times.minute) / 60
        days, weekday = np.asarray(times.strftime("%Y-%m-%d")), times.day_of_week
    except AttributeError as error:
        raise TypeError(
            f"times must be a DatetimeIndex, got {type(times).__name__}. Make one with "
            "pandas.to_datetime, or pass X.index."
        ) from error
    if np.isnan(hours).any():
        raise ValueError(f"{np.isnan(hours).sum()} of the times are missing (NaT).")
    if not set(days_off) <= set(range(7)):
        raise ValueError(
            "days_off must be numbers from 0 for Monday to 6 for Sunday, got "
            f"{tuple(days_off)!r}."
        )
    if isinstance(holidays, str):
        raise ValueError(
            f"holidays must be a sequence of dates; pass [{holidays!r}] for one."
        )
    off = np.isin(weekday, list(days_off))
    if len(holidays):
        # NumPy's dates know no time zone, and would be those of another place.
        dates = [day.date() if hasattr(day, "hour") else day for day in holidays]
        dates = np.asarray(dates, dtype="datetime64[D]")
        off |= np.isin(days.astype("datetime64[D]"), dates)
    angle = 2 * np.pi * hours / 24
    return {
        "day_off": off.astype(np.float64),
        "hour_sin": np.sin(angle) / 2,
        "hour_cos": np.cos(angle) / 2,
    }
