"""The autoencoder: an encoder and a decoder, and no adversary."""

from torch import nn

from ..losses import reconstruction_error
from ._method import Method

__all__ = ["Autoencoder"]


class EncoderDecoder(nn.Module):
    """An encoder and a decoder, called one after the other."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x):
        """Return the reconstruction of ``x``."""
        return self.decoder(self.encoder(x))


class Autoencoder(Method):
    """Its network and loss; see :class:`~skganomaly.AutoencoderDetector`."""

    draws = False
    row_by_row = True
    part_names = ("reconstruction", "code")
    local_parts = {"rows": ("reconstruction", "code"), "maps": ("code",)}

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = EncoderDecoder(build("encoder"), build("decoder"))
        self.compare = reconstruction_error(settings.reconstruction_loss)

    def losses(self, x, noisy, phase, random):
        """Return the error of the reconstruction."""
        return {"generator": {"reconstruction": self.compare(self.generator(noisy), x)}}

    def parts(self, x, names):
        """Return residuals and codes."""
        code = self.encode(x)
        parts = {"code": code}
        if "reconstruction" in names:
            parts["reconstruction"] = (x - self.decode(code)).flatten(2)
        return parts

    def encode(self, x):
        """Return the codes of rows."""
        return self.generator.encoder(x)

    def decode(self, codes):
        """Return the rows of codes."""
        return self.generator.decoder(codes)
