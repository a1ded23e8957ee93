"""The one place that knows private names of scikit-learn.

A third-party estimator needs scikit-learn's parameter validation to behave like a
native one, and that machinery is private. Keeping every such name here means that
a scikit-learn release which moves it breaks one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from typing_extensions import Self

    _Fit = TypeVar("_Fit", bound=Callable[..., Any])

    def _fit_context(
        *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Fit], _Fit]: ...

    class CallbackSupportMixin:
        def set_callbacks(self, *callbacks: Any) -> Self: ...

else:
    from sklearn.base import _fit_context

    try:
        from sklearn.callback import CallbackSupportMixin
    except ImportError:  # before scikit-learn 1.9

        class CallbackSupportMixin:
            """Nothing, as there are no callbacks to support."""


__all__ = [
    "KEPT_BY_SKLEARN",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_fit_context",
]

# How the names of attributes begin that scikit-learn keeps on an estimator for purposes
# of its own. Nothing in them was learned, and callbacks need theirs after a fit failed.
KEPT_BY_SKLEARN = (
    "_callback_fit_ctx",
    "_metadata_request",
    "_parent_callback_ctx",
    "_skl_callbacks",
    "_sklearn_output_config",
)
