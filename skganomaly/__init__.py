"""GAN-based anomaly detection as scikit-learn estimators."""

from ._autoencoder import AutoencoderDetector
from ._ganomaly import GANomalyDetector
from ._version import __version__

__all__ = ["AutoencoderDetector", "GANomalyDetector", "__version__"]
