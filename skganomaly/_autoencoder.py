"""The autoencoder that the adversarial detectors are to be compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ._base import BaseDetector
from ._compat import StrOptions
from ._docstrings import share_docs
from ._models._autoencoder import Autoencoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from typing_extensions import Unpack

    from ._parameters import Common

__all__ = ["AutoencoderDetector"]


@share_docs
class AutoencoderDetector(BaseDetector):
    r"""Anomaly detection with a denoising autoencoder, the honest baseline.

    An encoder and a decoder are trained to minimise
    :math:`\lVert x - x' \rVert^2` on normal rows. Data handling, training,
    scores and thresholds are those of the adversarial detectors, so a comparison shows
    what the adversary adds.

    {{scores}}

    Parameters
    ----------
    {{network_parameters}}
    reconstruction_loss : {"auto", "l1", "l2"} or callable, default="auto"
        Absolute or squared error of the reconstruction, or a function like those of
        :mod:`skganomaly.losses`. "auto" is "l2".
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

    _method = Autoencoder
    _defaults = {
        kind: {**defaults, "reconstruction_loss": "l2"}
        for kind, defaults in BaseDetector._defaults.items()
    }

    _parameter_constraints = {
        **BaseDetector._parameter_constraints,
        "reconstruction_loss": [StrOptions({"auto", "l1", "l2"}), callable],
    }

    def __init__(
        self,
        *,
        reconstruction_loss: Literal["auto", "l1", "l2"]
        | Callable[[Tensor, Tensor], Tensor] = "auto",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.reconstruction_loss = reconstruction_loss
