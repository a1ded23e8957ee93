"""An estimator is fitted or unfitted, and never in between."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ._compat import KEPT_BY_SKLEARN

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _Fit = TypeVar("_Fit", bound=Callable[..., Any])

__all__ = ["all_or_nothing"]


def all_or_nothing(fit: _Fit) -> _Fit:
    """Decorate a `fit` that learns all that it is to learn, or leaves nothing behind.

    What an earlier fit has learned is gone when the method begins, and what it has
    learned itself is gone if it raises anything, Ctrl-C included. Nobody lists what
    that is: by scikit-learn's conventions, names of what is learned end with an
    underscore, or begin with one if they are not shown, and a constructor only stores
    its parameters.

    With ``warm_start`` the earlier fit is not lost: it is back if this one fails, and
    during it ``_trainings`` is what that one kept there to go on from, or None.

    Parameters
    ----------
    fit : function
        The method. Parameters are validated outside of it, by ``_fit_context``: a fit
        that was never begun takes nothing away.

    Returns
    -------
    function
        With the same signature.
    """

    @functools.wraps(fit)
    def wrapper(estimator, *args, **kwargs):
        learned = _forget(estimator)
        kept = learned if getattr(estimator, "warm_start", False) else {}
        if kept:
            estimator._trainings = kept.get("_trainings")
        try:
            return fit(estimator, *args, **kwargs)
        except BaseException:
            _forget(estimator)
            vars(estimator).update(kept)
            raise

    return wrapper


def _forget(estimator):
    """Remove what was learned, and return it."""
    kept, forgotten = estimator.get_params(deep=False), {}
    for name in list(vars(estimator)):
        # What has neither underscore is a user's note on the object.
        learned = name.endswith("_") or name.startswith("_")
        if learned and not (name in kept or name.startswith(("__", *KEPT_BY_SKLEARN))):
            forgotten[name] = vars(estimator).pop(name)
    return forgotten
