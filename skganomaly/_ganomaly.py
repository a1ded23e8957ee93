"""GANomaly as an estimator."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import torch

from ._base import BaseDetector
from ._compat import Interval, StrOptions
from ._docstrings import share_docs
from ._fit import Trained
from ._health import certainty, too_short
from ._models._ganomaly import GANomaly
from ._training._net import DiscriminatorRestart, mean_losses
from ._training._trainer import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from typing_extensions import Self, Unpack

    from ._parameters import Common

__all__ = ["GANomalyDetector"]

# Steps that the published networks need to learn anything.
_ENOUGH_STEPS = 200

_WEIGHT = [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})]


@share_docs
class GANomalyDetector(BaseDetector):
    r"""Anomaly detection with GANomaly's encoder-decoder-encoder GAN.

    A generator encodes a row to a code :math:`z`, decodes it to a reconstruction
    :math:`x'`, and encodes that to a second code :math:`z'`; a discriminator with
    features :math:`f` learns to tell rows from reconstructions [1]_. Trained on
    normal rows, the generator minimises

    .. math::

        w_r \lVert x - x' \rVert + w_l \lVert z - z' \rVert^2
        + w_a \lVert f(x) - f(x') \rVert^2

    (means over the entries), and what it has not learned to carry through shows in
    :math:`x - x'` and :math:`z - z'`.

    The defaults are not the published recipe but what works better; for that one see
    :meth:`from_paper`.

    {{scores}}

    Parameters
    ----------
    {{network_parameters}}
    reconstruction_loss : {"auto", "l1", "l2"} or callable, default="auto"
        Absolute or squared error of the reconstruction, or a function like those of
        :mod:`skganomaly.losses`. "auto" is "l2" for plain rows and "l1" otherwise.
    adversarial_loss : {"feature_matching", "bce"}, default="feature_matching"
        What the generator learns from the discriminator: to give reconstructions the
        features of their rows, or to pass for real. The discriminator itself always
        minimises a binary cross-entropy.
    reconstruction_weight : float or "auto", default="auto"
        Weight :math:`w_r`. "auto" is 1 for plain rows and the published 50 otherwise.
    latent_weight : float or "auto", default="auto"
        Weight :math:`w_l`. "auto" is 1.
    adversarial_weight : float or "auto", default="auto"
        Weight :math:`w_a`. "auto" is 0.1 for plain rows and the published 1
        otherwise.
    score_type : str, default="auto"
        What the score is made of.

        - "local": the distance to the nearest reference rows in the space of the
          residuals :math:`x - x'` and :math:`z - z'` and the code :math:`z` (of the
          code alone for images), relative to what is usual there; for plain rows,
          with the distance of the row itself beside it;
        - "joint": squared Mahalanobis distance of residuals, discriminator features
          and code together;
        - "latent": :math:`\lVert z - z' \rVert^2`, the published score;
        - "reconstruction": :math:`\lVert x - x' \rVert^2`;
        - "features": :math:`\lVert f(x) - f(x') \rVert^2`.

        "auto" is "local".
    max_restarts : int, default=2
        How often the discriminator is replaced by one from a new seed when it is never
        wrong in a whole epoch, and so has nothing left to teach.
    {{score_parameters}}
    {{step_parameters}}
    {{training_parameters}}

    Attributes
    ----------
    {{attributes}}

    See Also
    --------
    AutoencoderDetector : The same without a discriminator and a second encoder.
    sklearn.ensemble.IsolationForest : Fast detection by random splits.

    References
    ----------
    .. [1] S. Akcay, A. Atapour-Abarghouei and T. P. Breckon, "GANomaly:
       Semi-supervised anomaly detection via adversarial training", ACCV 2018,
       :arxiv:`1805.06725`.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import GANomalyDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = GANomalyDetector(max_steps=50, random_state=0)
    >>> detector.fit(rng.normal(size=(200, 3))).predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    _method = GANomaly
    _defaults = {
        "rows": {
            **BaseDetector._defaults["rows"],
            "reconstruction_loss": "l2",
            "reconstruction_weight": 1.0,
            "latent_weight": 1.0,
            "adversarial_weight": 0.1,
        },
        "maps": {
            **BaseDetector._defaults["maps"],
            "reconstruction_loss": "l1",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
        },
    }

    _parameter_constraints = {
        **BaseDetector._parameter_constraints,
        "reconstruction_loss": [StrOptions({"auto", "l1", "l2"}), callable],
        "adversarial_loss": [StrOptions({"feature_matching", "bce"})],
        "reconstruction_weight": _WEIGHT,
        "latent_weight": _WEIGHT,
        "adversarial_weight": _WEIGHT,
        "max_restarts": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        reconstruction_loss: Literal["auto", "l1", "l2"]
        | Callable[[Tensor, Tensor], Tensor] = "auto",
        adversarial_loss: Literal["feature_matching", "bce"] = "feature_matching",
        reconstruction_weight: float | Literal["auto"] = "auto",
        latent_weight: float | Literal["auto"] = "auto",
        adversarial_weight: float | Literal["auto"] = "auto",
        max_restarts: int = 2,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight
        self.max_restarts = max_restarts

    @classmethod
    def from_paper(cls, *, n_samples: int | None = None, **overrides: Any) -> Self:
        r"""A detector set up as published, to be cited and compared with.

        One network in the DCGAN layout with 64 base channels (for plain rows, batch
        normalised fully connected layers in its place), a 100-dimensional code, rows
        scaled to [-1, 1], losses weighted 50 : 1 : 1, Adam with
        :math:`\beta_1 = 0.5` at the constant learning rate of the authors' code,
        and the squared distance of the two codes as the score.

        Parameters
        ----------
        n_samples : int or None, default=None
            Number of training rows, from which follows the number of steps of the
            published 15 epochs. None leaves ``max_steps="auto"``, which is far
            shorter. Below 200 steps, as with fewer than 854 rows, the fit warns: the
            score of such networks can even be lower for anomalies.
        **overrides
            Parameters that should differ from the published ones.

        Returns
        -------
        GANomalyDetector
            Unfitted.

        Examples
        --------
        >>> from skganomaly import GANomalyDetector
        >>> GANomalyDetector.from_paper(n_samples=6400).max_steps
        1500
        """
        published = {
            "architecture": "published",
            "latent_dim": 100,
            "scaler": "channel",
            "n_members": 1,
            "input_noise": 0.0,
            "reconstruction_loss": "l1",
            "adversarial_loss": "feature_matching",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
            "score_type": "latent",
            "batch_size": 64,
            "learning_rate": 2e-4,
            "learning_rate_schedule": "constant",
            "beta_1": 0.5,
        }
        if n_samples is not None:
            published["max_steps"] = max(1, 15 * n_samples // 64)
        return cls(**published | overrides)

    def _train(self, trainer):
        method = trainer.build(self._method)
        # A stream of its own, so that a restart changes nothing but the discriminator.
        stream = torch.Generator().manual_seed(trainer.generator.initial_seed() + 1)
        restart = DiscriminatorRestart(
            partial(Builder(trainer.settings, stream), "discriminator"),
            lambda losses: _in_words(certainty(losses)),
            self.max_restarts,
            trainer.steps_per_pass(),
        )
        net = trainer.run(method, callbacks=[restart, *trainer.callbacks()])
        record = trainer.record
        problems = [certainty(mean_losses(record.history, record.loss_names))]
        if self.architecture != "published":
            return Trained(method, net, problems=problems)
        # Large networks whose codes say nothing at first; the published score, their
        # distance, can then be lower for anomalies.
        problems.append(too_short(record.n_steps, _ENOUGH_STEPS))
        judged = {"judged": record.n_steps >= _ENOUGH_STEPS}
        return Trained(method, net, report=judged, problems=problems)


def _in_words(finding):
    return None if finding is None else str(finding)
