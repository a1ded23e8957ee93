"""GANomaly: an encoder-decoder-encoder generator against a discriminator."""

from torch import nn

from ..losses import (
    discriminator_cross_entropy,
    generator_cross_entropy,
    reconstruction_error,
    squared_error,
)
from ._method import Method

__all__ = ["GANomaly"]


class EncoderDecoderEncoder(nn.Module):
    """GANomaly's generator: encode, decode, and encode the result again."""

    def __init__(self, encoder, decoder, second_encoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.second_encoder = second_encoder

    def forward(self, x):
        """Return the reconstruction of ``x``, its code, and the second code."""
        code = self.encoder(x)
        reconstruction = self.decoder(code)
        return reconstruction, code, self.second_encoder(reconstruction)


class GANomaly(Method):
    """GANomaly's networks and losses; see :class:`~skganomaly.GANomalyDetector`."""

    draws = False
    row_by_row = True
    part_names = ("latent", "reconstruction", "features", "code")
    local_parts = {
        "rows": ("reconstruction", "latent", "code"),
        "maps": ("code",),
    }

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = EncoderDecoderEncoder(
            build("encoder"), build("decoder"), build("encoder")
        )
        self.discriminator = build("discriminator")
        self.compare = reconstruction_error(settings.reconstruction_loss)
        self.adversarial_loss = settings.adversarial_loss
        self.weights = {
            name: getattr(settings, f"{name}_weight")
            for name in ("reconstruction", "latent", "adversarial")
        }

    def losses(self, x, noisy, phase, random):
        """Return the named losses of the generator and of the discriminator."""
        reconstruction, code, second_code = self.generator(noisy)
        real_logits, real_features = self.discriminator(x)
        fake_logits, fake_features = self.discriminator(reconstruction)
        if self.adversarial_loss == "feature_matching":
            adversarial = squared_error(fake_features, real_features.detach())
        else:
            adversarial = generator_cross_entropy(fake_logits)
        terms = {
            "reconstruction": self.compare(reconstruction, x),
            "latent": squared_error(second_code, code),
            "adversarial": adversarial,
        }
        return {
            "generator": {name: self.weights[name] * terms[name] for name in terms},
            "discriminator": {
                "discriminator": discriminator_cross_entropy(real_logits, fake_logits)
            },
        }

    def parts(self, x, names):
        """Return residuals of rows, codes and features, and codes."""
        code = self.encode(x)
        parts = {"code": code}
        if set(names) - {"code"}:
            reconstruction = self.decode(code)
            parts["reconstruction"] = (x - reconstruction).flatten(2)
            parts["latent"] = code - self.generator.second_encoder(reconstruction)
        if "features" in names:
            features = [self.discriminator(v)[1] for v in (x, reconstruction)]
            parts["features"] = features[0] - features[1]
        return parts

    def encode(self, x):
        """Return the codes of rows."""
        return self.generator.encoder(x)

    def decode(self, codes):
        """Return the rows of codes."""
        return self.generator.decoder(codes)
