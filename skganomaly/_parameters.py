"""Parameters that all detectors have, and constructors that need not repeat them."""

from __future__ import annotations

import copy
import inspect
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from sklearn.base import BaseEstimator

from ._compat import HasMethods, Interval, StrOptions
from ._cut import is_auto

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from typing_extensions import Self

    from ._cut import Threshold
    from .architectures import Architecture

    _Auto = Literal["auto"]
    _Architecture = Literal["auto", "mlp", "conv", "published"] | Architecture
    _Scaler = Literal["auto", "minmax", "standard", "channel"] | None
    _Schedule = Literal["auto", "cosine", "constant"]

    class Common(TypedDict, total=False):
        """Their types, for constructors that pass them on."""

        architecture: _Architecture
        input_shape: Sequence[int] | None
        latent_dim: int | _Auto
        scaler: _Scaler
        n_members: int | _Auto
        input_noise: float | Sequence[float] | _Auto
        score_type: Any
        max_references: int
        contamination: float | _Auto
        false_alarm_rate: float
        threshold: Threshold
        validation_fraction: float
        trim: float
        max_steps: int | _Auto
        batch_size: int
        learning_rate: float | _Auto
        learning_rate_schedule: _Schedule
        beta_1: float | _Auto
        callbacks: Sequence[Any] | None
        net_params: dict[str, Any] | None
        device: str | torch.device
        random_state: int | np.random.RandomState | None
        warm_start: bool
        verbose: int


__all__ = ["CommonParameters", "resolved"]

_AUTO = StrOptions({"auto"})
_COUNT = Interval(Integral, 1, None, closed="left")
_RATE = Interval(Real, 0, None, closed="neither")


class CommonParameters(BaseEstimator):
    """Stores the parameters that all detectors have.

    A subclass with parameters of its own writes these out and takes the others as
    ``**common``, which it passes on. Its signature, and so ``get_params``, has all of
    them by name.
    """

    _parameter_constraints = {
        "architecture": [
            StrOptions({"auto", "mlp", "conv", "published"}),
            HasMethods(["encoder", "decoder"]),
        ],
        "input_shape": ["array-like", None],
        "latent_dim": [_COUNT, _AUTO],
        "scaler": [StrOptions({"auto", "minmax", "standard", "channel"}), None],
        "n_members": [_COUNT, _AUTO],
        "input_noise": [Interval(Real, 0, None, closed="left"), "array-like", _AUTO],
        "score_type": [str, HasMethods(["make"])],
        "max_references": [Interval(Integral, 2, None, closed="left")],
        "contamination": [_AUTO, Interval(Real, 0, 0.5, closed="right")],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "threshold": [
            StrOptions({"auto", "max", "tail", "conformal"}),
            Real,
            callable,
            HasMethods(["fit"]),
        ],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "trim": [Interval(Real, 0, 0.5, closed="left")],
        "max_steps": [_COUNT, _AUTO],
        "batch_size": [_COUNT],
        "learning_rate": [_RATE, _AUTO],
        "learning_rate_schedule": [StrOptions({"auto", "cosine", "constant"})],
        "beta_1": [Interval(Real, 0, 1, closed="left"), _AUTO],
        "callbacks": [list, tuple, None],
        "net_params": [dict, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        architecture: _Architecture = "auto",
        input_shape: Sequence[int] | None = None,
        latent_dim: int | _Auto = "auto",
        scaler: _Scaler = "auto",
        n_members: int | _Auto = "auto",
        input_noise: float | Sequence[float] | _Auto = "auto",
        score_type: Any = "auto",
        max_references: int = 6000,
        contamination: float | _Auto = "auto",
        false_alarm_rate: float = 0.05,
        threshold: Threshold = "auto",
        validation_fraction: float = 0.0,
        trim: float = 0.0,
        max_steps: int | _Auto = "auto",
        batch_size: int = 64,
        learning_rate: float | _Auto = "auto",
        learning_rate_schedule: _Schedule = "auto",
        beta_1: float | _Auto = "auto",
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.architecture = architecture
        self.input_shape = input_shape
        self.latent_dim = latent_dim
        self.scaler = scaler
        self.n_members = n_members
        self.input_noise = input_noise
        self.score_type = score_type
        self.max_references = max_references
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.threshold = threshold
        self.validation_fraction = validation_fraction
        self.trim = trim
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.beta_1 = beta_1
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of objects, as in ``score_type__exponent=1.0``.

        Parameters
        ----------
        **params
            By their names.

        Returns
        -------
        self : object
            The detector.

        Raises
        ------
        ValueError
            If there is no such parameter, or an option of a word is set, which has
            none.
        """
        for path in params:
            name, _, option = path.partition("__")
            value = params.get(name, getattr(self, name, None))
            if option and isinstance(value, str):
                raise ValueError(
                    f"{path} is an option of an object, and {name}={value!r} is a "
                    f"word. Pass an object as {name} first, or in the same call; the "
                    f"documentation of {type(self).__name__} says which there are."
                )
        return super().set_params(**params)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Put names in the place of ``**common`` in the constructor's signature."""
        super().__init_subclass__(**kwargs)
        constructor = vars(cls).get("__init__")
        if constructor is None:
            return
        written = list(inspect.signature(constructor).parameters.values())
        if any(p.kind is p.VAR_KEYWORD for p in written):
            named = [p for p in written if p.kind is not p.VAR_KEYWORD]
            inherited = inspect.signature(super(cls, cls).__init__).parameters.values()
            names = {p.name for p in named}
            named += [p for p in inherited if p.name not in names]
            signature = inspect.signature(constructor)
            constructor.__signature__ = signature.replace(parameters=named)


def resolved(value, default, kind):
    """A value in the place of "auto", in parameter objects too."""
    if is_auto(value):
        return default
    if hasattr(value, "_parameter_constraints"):
        value._validate_params()
    # A copy, as what is set on an object later is for the next fit.
    value = copy.deepcopy(value)
    for name, chosen in getattr(value, "_defaults", {}).get(kind, {}).items():
        if is_auto(getattr(value, name, None)):
            setattr(value, name, chosen)
    return value
