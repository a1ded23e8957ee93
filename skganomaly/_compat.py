"""The one place that imports private scikit-learn names.

A third-party estimator needs scikit-learn's parameter validation to behave like a
native one, and that machinery is private. Keeping every such import here means that
a scikit-learn release which moves it breaks one file.
"""

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

__all__ = ["HasMethods", "Interval", "StrOptions", "_fit_context"]
