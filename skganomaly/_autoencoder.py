"""The autoencoder that the adversarial detectors are to be compared with."""

from torch import nn

from ._base import BaseGANDetector
from ._losses import squared_error

__all__ = ["AutoencoderDetector"]


class Autoencoder(nn.Module):
    """An encoder and a decoder, called one after the other."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x):
        """Return the reconstruction of ``x`` and its code."""
        code = self.encoder(x)
        return self.decoder(code), code


class AutoencoderDetector(BaseGANDetector):
    pass
