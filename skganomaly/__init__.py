"""GAN-based anomaly detection as scikit-learn estimators."""

import importlib
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._anogan import AnoGANDetector
    from ._autoencoder import AutoencoderDetector
    from ._ganomaly import GANomalyDetector
    from .interop import as_pyod, from_pyod

__all__ = [
    "AnoGANDetector",
    "AutoencoderDetector",
    "GANomalyDetector",
    "__version__",
    "as_pyod",
    "from_pyod",
]

_MODULES = {
    "AnoGANDetector": "_anogan",
    "AutoencoderDetector": "_autoencoder",
    "GANomalyDetector": "_ganomaly",
    "as_pyod": "interop",
    "from_pyod": "interop",
}


def __getattr__(name):
    # The detectors import torch, which takes seconds; data sets and thresholds do
    # without it.
    if name in _MODULES:
        value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
