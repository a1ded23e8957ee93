"""What a calendar knows of a step, as metrics beside the others."""

import numpy as np

__all__ = ["calendar_columns"]


def calendar_columns(times, *, days_off=(5, 6), holidays=()):
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
        dates of.

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
    off = np.isin(weekday, list(days_off))
    if len(holidays):
        dates = np.asarray(list(holidays), dtype="datetime64[D]")
        off |= np.isin(days.astype("datetime64[D]"), dates)
    angle = 2 * np.pi * hours / 24
    return {
        "day_off": off.astype(np.float64),
        "hour_sin": np.sin(angle) / 2,
        "hour_cos": np.cos(angle) / 2,
    }
