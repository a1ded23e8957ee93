"""The autoencoder that the adversarial detectors are to be compared with."""

from torch import nn

from ._base import BaseGANDetector
from ._compat import StrOptions
from ._docstrings import share_docs
from ._losses import squared_error

__all__ = ["AutoencoderDetector"]


class Autoencoder(nn.Module):
    """An encoder and a decoder, called one after the other."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x):
        """Return the reconstruction of ``x``."""
        return self.decoder(self.encoder(x))


def reconstruction_objective(generator, discriminator, x, noisy):
    """Squared error of the reconstruction, the only loss of an autoencoder."""
    return {"reconstruction": squared_error(generator(noisy), x)}, {}


@share_docs
class AutoencoderDetector(BaseGANDetector):
    r"""Anomaly detection with a denoising autoencoder, the honest baseline.

    An encoder and a decoder are trained to minimise
    :math:`\lVert x - x' \rVert^2` on normal rows. Data handling, training,
    scores and thresholds are those of the adversarial detectors, so a comparison shows
    what the adversary adds.

    {{scores}}

    Parameters
    ----------
    {{network_parameters}}
    score_type : str, default="auto"
        What the score is made of.

        - "local": the distance to the nearest reference rows in the space of the
          residual :math:`x - x'` and the code :math:`z` (of the code alone for
          images), relative to what is usual there; for plain rows, with the distance
          of the row itself beside it;
        - "joint": squared Mahalanobis distance of residual and code together;
        - "reconstruction": :math:`\lVert x - x' \rVert^2`, the classical score.

        "auto" is "local".
    {{score_parameters}}
    {{step_parameters}}
    {{training_parameters}}

    Attributes
    ----------
    {{attributes}}

    See Also
    --------
    GANomalyDetector : Adds a discriminator and a second encoder.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AutoencoderDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = AutoencoderDetector(max_steps=50, random_state=0)
    >>> detector.fit(rng.normal(size=(200, 3))).predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    _part_names = ("reconstruction", "code")
    _local_parts = {"rows": ("reconstruction", "code"), "maps": ("code",)}

    _parameter_constraints = {
        **BaseGANDetector._parameter_constraints,
        "score_type": [StrOptions({"auto", "local", "joint", "reconstruction"})],
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
        score_type="auto",
        max_references=6000,
        contamination="auto",
        false_alarm_rate=0.05,
        threshold="auto",
        validation_fraction=0.0,
        max_steps="auto",
        batch_size=64,
        learning_rate=1e-3,
        learning_rate_schedule="auto",
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

    def _build_networks(self, build):
        return {"generator": Autoencoder(build("encoder"), build("decoder"))}

    def _objective(self):
        return reconstruction_objective

    def _score_parts(self, networks, x, names):
        generator = networks["generator"]
        code = generator.encoder(x)
        parts = {"code": code, "row": x[:1].flatten(2)}
        if "reconstruction" in names:
            parts["reconstruction"] = (x - generator.decoder(code)).flatten(2)
        return {name: parts[name] for name in names}

    def _decode(self, networks, codes):
        return networks["generator"].decoder(codes)

    def _encode(self, networks, x):
        return networks["generator"].encoder(x)

    def _reconstruct(self, networks, x):
        return networks["generator"](x)
