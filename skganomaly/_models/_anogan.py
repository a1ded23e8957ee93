"""AnoGAN: a generator of rows from random codes, its critic, and the way back."""

import torch

from ..losses import squared_error
from ._method import Game, Method, Phase
from ._networks import BATCH_NORMS, Discriminator
from ._search import CandidateCodes, LatentSearch

__all__ = ["AnoGAN", "EncoderGame"]

# Keeps the encoder's codes where the generator has been trained (Schlegl et al. leave
# it out, and find codes that no draw from the prior would give).
_ENCODER_PRIOR_WEIGHT = 0.01


class AnoGAN(Method):
    """AnoGAN's networks and losses; see :class:`~skganomaly.AnoGANDetector`."""

    part_names = ("reconstruction", "features", "code")
    local_parts = {"rows": ("reconstruction", "code"), "maps": ("code",)}
    has_prior = True
    # Without its encoder, or behind another one, a code says nothing.
    rated = False

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.adversary = settings.adversary
        self.search = settings.search
        self.feature_layer = settings.feature_layer
        self.latent_dim = settings.latent_dim
        self.generator = build("decoder")
        self.discriminator = build("discriminator")
        if self.search.needs_encoder:
            self.encoder = build("encoder")
        n_codes = self.search.n_codes
        if n_codes:
            self.candidates = CandidateCodes(build.codes(n_codes))
        self._check_critic()

    def _check_critic(self):
        critic = self.discriminator
        if self.adversary.penalty and any(
            isinstance(layer, BATCH_NORMS) for layer in critic.modules()
        ):
            raise ValueError(
                "The gradient penalty is a property of single rows, and the critic's "
                "batch normalisation mixes them. Build the critic without it, as "
                "ConvNet(discriminator_normalization=None) does, or pass "
                "adversary=Logistic(penalty=0)."
            )
        if self.feature_layer is None:
            return
        n_layers = getattr(critic, "n_hidden_layers", 0)
        if self.feature_layer > n_layers:
            raise ValueError(
                f"feature_layer={self.feature_layer!r}, but this critic has {n_layers} "
                "hidden layers to choose from. Pass one of these, or None for the "
                "features that the architecture itself provides."
            )

    # Training.

    def phase(self, step):
        """The critic moves in every step, the generator in every n_critic-th."""
        adversary, n_done = self.adversary, step + 1
        both = n_done % adversary.n_critic == 0
        return Phase(
            ("generator", "discriminator") if both else ("discriminator",),
            bool(adversary.penalty) and n_done % adversary.penalty_interval == 0,
        )

    def losses(self, x, noisy, phase, random):
        """Return the named losses of the generator, in its turn, and of the critic."""
        adversary, generates = self.adversary, "generator" in phase.players
        codes = _draw(torch.randn, x, self.latent_dim, random=random)
        with torch.set_grad_enabled(generates):
            fake = self.generator(codes)
        real_values, fake_values = self._values(x), self._values(fake)
        losses = {}
        if generates:
            losses["generator"] = {"generator": adversary.generator_loss(fake_values)}
        critic = {"discriminator": adversary.critic_loss(real_values, fake_values)}
        if phase.penalty:
            # Coming less often, it counts for more each time.
            weight = adversary.penalty * adversary.penalty_interval
            critic["penalty"] = weight * self._penalty(x, fake, random)
        return losses | {"discriminator": critic}

    def _penalty(self, x, fake, random):
        values = self._values
        if x.ndim > 3 and isinstance(self.discriminator, Discriminator):
            values = self.discriminator.twice_differentiable
        if not self.adversary.between:
            return self.adversary.penalty_loss(values, x)
        share = _draw(torch.rand, x, *[1] * (x.ndim - 2), random=random)
        return self.adversary.penalty_loss(values, torch.lerp(fake.detach(), x, share))

    def _values(self, rows):
        return self.discriminator(rows)[0]

    # Scoring.

    @property
    def searches_codes(self):
        """Whether codes are more than what the encoder says."""
        return not self.search.needs_encoder or self.search.n_steps > 0

    def features(self, x):
        """The critic's features of rows."""
        if self.feature_layer is None:
            return self.discriminator(x)[1]
        return self.discriminator.hidden(x, self.feature_layer)

    def encode(self, x):
        """Return the codes of the nearest rows that there are of codes."""
        starts = self.search.starts(self, x)
        if not self.searches_codes:
            return starts[:, :, 0]
        search = LatentSearch(self.search)
        return search(self.generator, self.features, x, starts)

    def decode(self, codes):
        """Return the rows of codes."""
        return self.generator(codes)

    def parts(self, x, names):
        """Return codes, and residuals of rows and features."""
        code = self.encode(x)
        parts = {"code": code}
        if set(names) - {"code"}:
            generated = self.generator(code)
            parts["reconstruction"] = (x - generated).flatten(2)
        if "features" in names:
            difference = self.features(x) - self.features(generated)
            parts["features"] = difference.flatten(2)
        return parts


class EncoderGame(Game):
    """The training of f-AnoGAN's encoder, behind a finished generator and critic.

    Parameters
    ----------
    method : AnoGAN
        Frozen and in evaluation mode, but for its encoder.
    """

    draws = False

    def __init__(self, method):
        self.method = method

    def players(self):
        """Return the encoder."""
        return {"encoder": self.method.encoder}

    def losses(self, x, noisy, phase, random):
        """Return the named losses of the encoder."""
        method, weight = self.method, self.method.search.encoder_feature_weight
        code = method.encoder(noisy)
        generated = method.generator(code)
        terms = {"encoder_reconstruction": squared_error(generated, x)}
        if weight:
            with torch.no_grad():
                target = method.features(x)
            # The critic is no player of this game, so what it says may be in half.
            error = squared_error(method.features(generated).float(), target.float())
            terms["encoder_features"] = weight * error
        size = code.square().flatten(1).mean(1)
        terms["encoder_prior"] = _ENCODER_PRIOR_WEIGHT * size
        return {"encoder": terms}


def _draw(function, x, *shape, random):
    """Random numbers for each row."""
    return function(
        *x.shape[:2], *shape, generator=random, dtype=x.dtype, device=x.device
    )
