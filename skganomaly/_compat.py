"""The one place that imports private scikit-learn names.

A third-party estimator needs scikit-learn's parameter validation to behave like a
native one, and that machinery is private. Keeping every such import here means that
a scikit-learn release which moves it breaks one file.
"""

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """Nothing, as there are no callbacks to support."""


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_fit_context",
]
