"""Metrics over time: windows, one score and one alarm per step, and how good they are.

A series is an array, Series or DataFrame of shape (n_steps,) or (n_steps, n_metrics)
whose steps follow one another at one interval. Where it has an index of times, these
are checked: windows never span a gap.
"""

from ._adaptive import AdaptiveThreshold
from ._alarms import Alarm, alarm_events
from ._calendar import calendar_columns
from ._detector import TimeSeriesDetector
from ._event_scores import event_scores
from ._windows import SlidingWindow

__all__ = [
    "AdaptiveThreshold",
    "Alarm",
    "SlidingWindow",
    "TimeSeriesDetector",
    "alarm_events",
    "calendar_columns",
    "event_scores",
]
