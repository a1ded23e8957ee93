"""What every "auto" became: the settings that a fit goes by."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from ._cut import is_auto
from ._parameters import CommonParameters, resolved
from .architectures import MLP, ConvNet

__all__ = [
    "DEFAULTS",
    "FEWEST_STEPS",
    "Settings",
    "named_architecture",
    "resolve_settings",
    "steps_of_few_passes",
]

# Steps that "auto" takes at least, and passes over the rows that it takes at most.
FEWEST_STEPS = 50
_PASSES = 20

# What "auto" stands for, by whether rows are plain or have axes of their own. Chosen by
# the protocols on the accuracy page of the documentation.
DEFAULTS: dict[str, dict[str, Any]] = {
    "rows": {
        "architecture": "mlp",
        "scaler": "minmax",
        "n_members": 4,
        "input_noise": (0.1, 0.3, 0.6, 1.0),
        "score_type": "local",
        "learning_rate": 1e-3,
        "learning_rate_schedule": "cosine",
        "beta_1": 0.9,
    },
    "maps": {
        "architecture": "conv",
        "scaler": "channel",
        "n_members": 2,
        "input_noise": 0.0,
        "score_type": "local",
        "learning_rate": 1e-3,
        "learning_rate_schedule": "constant",
        "beta_1": 0.5,
    },
}

_ARCHITECTURES = {
    "mlp": {"rows": MLP, "maps": MLP},
    "conv": {"maps": ConvNet},
    # The sizes of the published networks; fully connected ones of the same style
    # stand in where there is nothing to convolve.
    "published": {
        "rows": partial(MLP, normalization="batch", output_activation="tanh"),
        "maps": partial(ConvNet, base_channels=64),
    },
}


@dataclass(frozen=True)
class Settings:
    """The parameters of a fit, with a value in the place of every "auto".

    Parameters that are not listed here, as they belong to one detector, are in ``own``
    and can be read as attributes, too.

    Parameters
    ----------
    kind : {"rows", "maps"}
        Plain rows, or rows with axes of their own, such as images and windows.
    input_shape : tuple of int
        Shape of one row, channels first.
    architecture : object
        What builds the networks.
    latent_dim : int
        Width of the latent code.
    scaler : {"minmax", "standard", "channel"} or None
    n_members : int
        Number of networks.
    input_noise : tuple of float
        One standard deviation for each member.
    score_type : str or object
    max_references : int
    contamination : float or None
        None is "auto", which believes the training rows to be normal.
    false_alarm_rate : float
    validation_fraction : float
        As it was asked for; ``n_held_out_`` says how many rows were held out.
    max_steps : int
        Optimiser steps of the (first) training.
    batch_size : int
    learning_rate : float
    learning_rate_schedule : {"cosine", "constant"}
    beta_1 : float
    trim : float, default=0.0
    own : dict, default={}
        Further parameters, of the detector itself.
    """

    kind: str
    input_shape: tuple[int, ...]
    architecture: Any
    latent_dim: int
    scaler: str | None
    n_members: int
    input_noise: tuple[float, ...]
    score_type: Any
    max_references: int
    contamination: float | None
    false_alarm_rate: float
    validation_fraction: float
    max_steps: int
    batch_size: int
    learning_rate: float
    learning_rate_schedule: str
    beta_1: float
    trim: float = 0.0
    own: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        # While it is unpickled there is not even `own`.
        own = vars(self).get("own", {})
        if name in own:
            return own[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")


# Parameters of a constructor that change nothing of the model, or of which another
# attribute says what became of them.
_NOT_SETTINGS = {
    "callbacks",
    "device",
    "net_params",
    "random_state",
    "threshold",
    "verbose",
    "warm_start",
}


def resolve_settings(detector: Any, input_shape: tuple[int, ...]) -> Settings:
    """Settings of a detector for rows of a shape; steps may still be "auto".

    Raises
    ------
    ValueError
        If parameters contradict each other or the rows.
    TypeError
        If a parameter is a class where an object of it was meant.
    """
    kind = "rows" if len(input_shape) == 1 else "maps"
    given = {
        name: getattr(detector, name)
        for name in _parameter_names(type(detector))
        if name not in _NOT_SETTINGS
    }
    for name, value in given.items():
        if isinstance(value, type):
            made = f"{name}={value.__name__}()"
            raise TypeError(f"{name} is a class. Pass an object of it, as in {made}.")
    for name in {"kind", "own"} & set(given):
        raise ValueError(
            f"{type(detector).__name__} has a parameter {name!r}, which is something "
            "else in settings_. Call it by another name."
        )
    defaults: dict[str, Any] = {}
    for cls in reversed(type(detector).__mro__):
        defaults |= vars(cls).get("_defaults", {}).get(kind, {})
    values = {
        name: resolved(value, defaults.get(name, value), kind)
        for name, value in given.items()
    }
    values["kind"], values["input_shape"] = kind, input_shape
    if is_auto(values["latent_dim"]):
        widest = detector._widest_code[kind]
        values["latent_dim"] = min(*input_shape, widest) if kind == "rows" else widest
    values["input_noise"] = _noise_levels(values["input_noise"], values["n_members"])
    if is_auto(values["contamination"]):
        values["contamination"] = None
    _check_score(detector, values["score_type"])
    values = detector._complete_settings(values)
    values["architecture"] = _resolve_architecture(detector, values)
    common = {f.name for f in fields(Settings)} - {"own"}
    own = {name: value for name, value in values.items() if name not in common}
    return Settings(**{name: values[name] for name in common}, own=own)


def _parameter_names(cls):
    """Names of all that is stored, also where a subclass takes less of a user."""
    classes = [base for base in cls.__mro__ if issubclass(base, CommonParameters)]
    return sorted({name for base in classes for name in base._get_param_names()})


def steps_of_few_passes(n_groups: int, batch_size: int, most: int) -> int:
    """So many steps that networks do not learn the rows by heart."""
    passes = round(_PASSES * n_groups / min(batch_size, n_groups))
    return int(np.clip(passes, FEWEST_STEPS, most))


def _noise_levels(levels, n_members):
    """One for each member; members beyond the list start over."""
    array = np.atleast_1d(np.asarray(levels, dtype=float))
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(
            f"input_noise={levels!r} must be one non-negative number or a list of "
            "them, one per member."
        )
    return tuple(np.resize(array, n_members).tolist())


def _check_score(detector, score_type):
    words = detector._score_words()
    if isinstance(score_type, str) and score_type not in words:
        raise ValueError(
            f"score_type={score_type!r} is no score of {type(detector).__name__}. Use "
            f"one of {words}, 'auto', or an object such as those in skganomaly.scores."
        )


def _resolve_architecture(detector, values):
    architecture = values["architecture"]
    if not isinstance(architecture, str):
        return architecture
    if architecture == "conv" and values["kind"] == "rows":
        (n_features,) = values["input_shape"]
        raise ValueError(
            "architecture='conv' needs rows with a shape, and X has plain rows of "
            f"{n_features} values. Pass input_shape=(channels, height, width) or "
            "(channels, length)."
        )
    return detector._named_architecture(architecture, values)


def named_architecture(name: str, kind: str) -> Any:
    """The architecture that a word stands for."""
    return _ARCHITECTURES[name][kind]()
