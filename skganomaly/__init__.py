"""GAN-based anomaly detection as scikit-learn estimators."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._anogan import AnoGANDetector
    from ._autoencoder import AutoencoderDetector
    from ._ganomaly import GANomalyDetector
    from ._saving import load, save
    from .interop import as_pyod, from_pyod

__all__ = [
    "AnoGANDetector",
    "AutoencoderDetector",
    "GANomalyDetector",
    "__version__",
    "as_pyod",
    "from_pyod",
    "load",
    "save",
]

# Whose ``__all__`` says which of these names is whose.
_MODULES = ("interop", "_saving", "_autoencoder", "_ganomaly", "_anogan")


def __getattr__(name: str) -> Any:
    # The detectors import torch, which takes seconds; data sets and thresholds do
    # without it.
    if name in __all__:
        for module in (importlib.import_module(f".{m}", __name__) for m in _MODULES):
            if name in module.__all__:
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
