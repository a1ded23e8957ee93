"""GANomaly: an encoder-decoder-encoder generator trained against a discriminator."""

from numbers import Real

from torch import nn

from ._base import BaseGANDetector
from ._compat import Interval, StrOptions
from ._losses import (
    absolute_error,
    discriminator_cross_entropy,
    generator_cross_entropy,
    squared_error,
)
from .architectures import MLP, ConvNet

__all__ = ["GANomalyDetector"]


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


class GANomalyObjective:
    """GANomaly's losses; see :class:`GANomalyDetector` for the weights."""

    def __init__(
        self,
        *,
        reconstruction_loss,
        adversarial_loss,
        reconstruction_weight,
        latent_weight,
        adversarial_weight,
    ):
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight

    def __call__(self, generator, discriminator, x, noisy):
        """Return the named losses of the generator and of the discriminator."""
        reconstruction, code, second_code = generator(noisy)
        real_logits, real_features = discriminator(x)
        fake_logits, fake_features = discriminator(reconstruction)
        compare = absolute_error if self.reconstruction_loss == "l1" else squared_error
        if self.adversarial_loss == "feature_matching":
            adversarial = squared_error(fake_features, real_features.detach())
        else:
            adversarial = generator_cross_entropy(fake_logits)
        generator_terms = {
            "reconstruction": self.reconstruction_weight * compare(reconstruction, x),
            "latent": self.latent_weight * squared_error(second_code, code),
            "adversarial": self.adversarial_weight * adversarial,
        }
        discriminator_terms = {
            "discriminator": discriminator_cross_entropy(real_logits, fake_logits)
        }
        return generator_terms, discriminator_terms


class GANomalyDetector(BaseGANDetector):
    """GANomaly."""

    _part_names = ("latent", "reconstruction", "features", "code")
    _chunk_rows = {"rows": 256, "maps": 64}  # noqa
    _defaults = {
        "rows": {
            "architecture": "mlp",
            "latent_dim": None,
            "scaler": "minmax",
            "n_members": 4,
            "input_noise": (0.1, 0.3, 0.6, 1.0),
            "score_type": "local",
            "max_steps": 600,
            "beta_1": 0.9,
            "reconstruction_loss": "l2",
            "reconstruction_weight": 1.0,
            "latent_weight": 1.0,
            "adversarial_weight": 0.1,
        },
        "maps": {
            "architecture": "conv",
            "latent_dim": 100,
            "scaler": "channel",
            "n_members": 1,
            "input_noise": 0.0,
            "score_type": "local",
            "max_steps": 375,
            "beta_1": 0.5,
            "reconstruction_loss": "l1",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
        },
    }
    _local_score = {
        "rows": {
            "part_names": ("reconstruction", "latent", "code"),
            "whiten": True,
            "terms": ("distance", "ratio", "step"),
            "n_scale_neighbors": 10,
            "exponent": 1.0,
        },
        "maps": {
            "part_names": ("code",),
            "whiten": False,
            "terms": ("ratio",),
            "n_scale_neighbors": 50,
            "exponent": 0.75,
        },
    }

    _parameter_constraints = {
        **BaseGANDetector._parameter_constraints,
        "score_type": [
            StrOptions({"auto", "local", "joint", "latent", "reconstruction", "features"})
        ],
        "reconstruction_loss": [StrOptions({"auto", "l1", "l2"})],
        "adversarial_loss": [StrOptions({"feature_matching", "bce"})],
        "reconstruction_weight": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "latent_weight": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "adversarial_weight": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    def __init__(
        self,
        *,
        architecture="auto",
        input_shape=None,
        latent_dim="auto",
        scaler="auto",
        n_members="auto",
        input_noise="auto",
        reconstruction_loss="auto",
        adversarial_loss="feature_matching",
        reconstruction_weight="auto",
        latent_weight="auto",
        adversarial_weight="auto",
        score_type="auto",
        max_references=5000,
        contamination="auto",
        false_alarm_rate=0.05,
        threshold="auto",
        validation_fraction=0.0,
        max_steps="auto",
        batch_size=64,
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        beta_1="auto",
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            architecture=architecture,
            input_shape=input_shape,
            latent_dim=latent_dim,
            scaler=scaler,
            n_members=n_members,
            input_noise=input_noise,
            score_type=score_type,
            max_references=max_references,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            threshold=threshold,
            validation_fraction=validation_fraction,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            beta_1=beta_1,
            callbacks=callbacks,
            net_params=net_params,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight

    def _build_networks(self, build):
        architecture, shape = self.architecture_, self.input_shape_
        width = self.latent_dim_
        generator = EncoderDecoderEncoder(
            build(lambda: architecture.encoder(shape, width)),
            build(lambda: architecture.decoder(width, shape)),
            build(lambda: architecture.encoder(shape, width)),
        )
        discriminator = build(lambda: architecture.discriminator(shape))
        return {"generator": generator, "discriminator": discriminator}

    def _objective(self):
        return GANomalyObjective(
            reconstruction_loss=self._auto("reconstruction_loss"),
            adversarial_loss=self.adversarial_loss,
            reconstruction_weight=self._auto("reconstruction_weight"),
            latent_weight=self._auto("latent_weight"),
            adversarial_weight=self._auto("adversarial_weight"),
        )

    def _score_parts(self, networks, x, names):
        generator = networks["generator"]
        code = generator.encoder(x)
        parts = {"code": code}
        if set(names) - {"code"}:
            reconstruction = generator.decoder(code)
            parts["reconstruction"] = (x - reconstruction).flatten(2)
            parts["latent"] = code - generator.second_encoder(reconstruction)
        if "features" in names:
            features = [networks["discriminator"](v)[1] for v in (x, reconstruction)]
            parts["features"] = features[0] - features[1]
        return {name: parts[name] for name in names}

    def _encode(self, networks, x):
        return networks["generator"].encoder(x)

    def _reconstruct(self, networks, x):
        return networks["generator"](x)[0]
