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

_MODULES = {
    "AnoGANDetector": "_anogan",
    "AutoencoderDetector": "_autoencoder",
    "GANomalyDetector": "_ganomaly",
    "as_pyod": "interop",
    "from_pyod": "interop",
    "load": "_saving",
    "save": "_saving",
}


def __getattr__(name: str) -> Any:
    # The detectors import torch, which takes seconds; data sets and thresholds do
    # without it. The wrappers of PyOD import that, which takes half a second.
    if name in _MODULES:
        module = importlib.import_module(f".{_MODULES[name]}", __name__)
        globals()[name] = getattr(module, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
