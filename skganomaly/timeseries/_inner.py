"""What the detector of windows says that does not matter for steps."""

import inspect
import warnings

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


def refuse_file_of_one_fit(detector):
    """Refuse callbacks that keep one fit in a file, as clones would share it."""
    for name, callbacks in detector.get_params(deep=True).items():
        if name.rpartition("__")[2] != "callbacks":
            continue
        for callback in callbacks or ():
            callback = callback[1] if isinstance(callback, tuple) else callback
            if getattr(callback, "_of_one_fit", False):
                raise ValueError(
                    f"{name} has a {type(callback).__name__}, whose file is of one "
                    "fit, and TimeSeriesDetector fits a clone for each of n_blocks "
                    "and one more. Leave it out."
                )


def _same(value, default):
    return value is default or (type(value) is type(default) and value == default)
