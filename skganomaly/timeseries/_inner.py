"""What the detector of windows is told, and what it is not asked."""

import inspect
import warnings

import numpy as np
from sklearn import get_config
from sklearn.utils.validation import has_fit_parameter

__all__ = ["group_parameters", "warn_of_ignored_options"]

# Windows in one group; those on both sides of a border are near copies all the same.
_WINDOWS_IN_A_GROUP = 10
_CUTS = ("contamination", "false_alarm_rate", "threshold")


def warn_of_ignored_options(detector):
    """Say which options of a detector set a cut of windows, which is not used."""
    parameters = detector.get_params(deep=True)
    ignored = []
    for path, value in parameters.items():
        outer, _, name = path.rpartition("__")
        owner = parameters.get(outer) if outer else detector
        if name not in _CUTS or owner is None:
            continue
        default = inspect.signature(type(owner).__init__).parameters.get(name)
        if default is not None and not _same(value, default.default):
            ignored.append(f"{type(owner).__name__}({name}={value!r})")
    if ignored:
        warnings.warn(
            f"{', '.join(ignored)} sets a threshold for windows, and "
            "TimeSeriesDetector sets one for steps and uses no other. Pass "
            "contamination, false_alarm_rate or threshold to TimeSeriesDetector.",
            UserWarning,
            stacklevel=2,
        )


def _same(value, default):
    return value is default or (type(value) is type(default) and value == default)


def group_parameters(detector, starts, series, length):
    """Keyword arguments for a ``fit`` that can be told which windows belong together.

    Windows that overlap are near copies. A group holds those that begin within ten
    window lengths of one series, or within a fifth of a shorter series.

    Parameters
    ----------
    detector : object
        Unfitted detector, or a Pipeline that ends in one.
    starts : ndarray of int of shape (n_windows,)
        First steps of windows.
    series : ndarray of int of shape (n_steps,)
        Number of the series that a step is of.
    length : int
        Steps of a window.

    Returns
    -------
    dict
        Empty if ``fit`` takes no groups.
    """
    prefix = ""
    # With metadata routing a Pipeline has to be told by its user what to hand on.
    while hasattr(detector, "steps") and not get_config()["enable_metadata_routing"]:
        name, detector = detector.steps[-1]
        prefix += f"{name}__"
    if not has_fit_parameter(detector, "groups"):
        return {}
    first = np.flatnonzero(np.diff(series, prepend=-1))
    sizes = np.diff(np.append(first, len(series)))
    n_blocks = np.maximum(sizes // (_WINDOWS_IN_A_GROUP * length), 5)
    within = np.arange(len(series)) - np.repeat(first, sizes)
    block = within * np.repeat(n_blocks, sizes) // np.repeat(sizes, sizes)
    labels = block + np.repeat(np.cumsum(n_blocks) - n_blocks, sizes)
    return {f"{prefix}groups": labels[starts]}
