"""Searches: what AnoGAN's ``search`` may be, besides a word.

A search says which codes of a row to start from, and how gradient descent goes on. For
one of your own, derive from one of these and override ``starts``.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal

from sklearn.base import BaseEstimator

from ._compat import Interval, StrOptions

if TYPE_CHECKING:
    from torch import Tensor

    from ._models._anogan import AnoGAN

    _Auto = Literal["auto"]
    _Order = Literal["l1", "l2"]

__all__ = ["EncoderSearch", "GradientSearch", "NearestSearch"]

_COUNT = [Interval(Integral, 1, None, closed="left")]
_RATE = [Interval(Real, 0, None, closed="neither")]
_WEIGHT = [Interval(Real, 0, None, closed="left")]


class _Search(BaseEstimator):
    """What all searches have: where they start, and how they descend from there."""

    _parameter_constraints = {
        "n_steps": [Interval(Integral, 0, None, closed="left")],
        "learning_rate": _RATE,
        "residual_loss": [StrOptions({"l1", "l2"})],
        "feature_weight": [Interval(Real, 0, 1, closed="both")],
        "prior_weight": _WEIGHT,
    }

    needs_encoder = False

    @property
    def n_codes(self) -> int:
        """Number of random codes that a fit draws for the search."""
        return 0

    def __init__(
        self,
        *,
        n_steps: int,
        learning_rate: float,
        residual_loss: _Order,
        feature_weight: float,
        prior_weight: float,
    ) -> None:
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.residual_loss = residual_loss
        self.feature_weight = feature_weight
        self.prior_weight = prior_weight

    def starts(self, method: AnoGAN, x: Tensor) -> Tensor:
        """Codes to start from.

        Parameters
        ----------
        method : Method
            AnoGAN's networks.
        x : Tensor of shape ``(n_members, n_rows, *input_shape)``
            Scaled rows.

        Returns
        -------
        Tensor of shape (n_members, n_rows, n_starts, latent_dim)
        """
        raise NotImplementedError


class EncoderSearch(_Search):
    r"""Codes from an encoder that is trained after the GAN.

    The word "encoder" stands for it [1]_. Steps of gradient descent may follow.

    Parameters
    ----------
    encoder_steps : int or "auto", default="auto"
        Optimiser steps of the encoder. "auto" is 20 passes over plain rows, but at
        least 50 and at most 600 steps; otherwise 350, or 500 with a score that is not
        "local". Never more than the detector's ``max_steps``, if that is a number.
    encoder_learning_rate : float, default=1e-3
        Step size of the encoder.
    encoder_feature_weight : float, default=1.0
        Weight, in the encoder's training, of the error in the critic's features
        relative to the error in the row (:math:`\kappa` of [1]_).
    n_steps : int, default=0
        Steps of gradient descent from the encoder's code on. After many of them the
        generator matches anomalies as well.
    learning_rate : float, default=0.1
        Step size of Adam in the descent.
    residual_loss : {"l1", "l2"}, default="l1"
        Whether the descent, and the score "published", take absolute or squared
        differences.
    feature_weight : float in [0, 1], default=0.1
        Share of the features' difference in the descent and in the score "published";
        the rest is the rows' (:math:`\lambda` of [2]_).
    prior_weight : float, default=0.0
        Weight, in the descent, of the mean square of the code, which keeps it where the
        generator was trained.

    References
    ----------
    .. [1] T. Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with
       generative adversarial networks", Medical Image Analysis 54, 2019,
       :doi:`10.1016/j.media.2019.01.010`.
    .. [2] T. Schlegl et al., "Unsupervised anomaly detection with generative
       adversarial networks to guide marker discovery", IPMI 2017, :arxiv:`1703.05921`.

    Examples
    --------
    >>> from skganomaly import AnoGANDetector
    >>> from skganomaly.searches import EncoderSearch
    >>> detector = AnoGANDetector(search=EncoderSearch(encoder_steps=200))
    >>> detector.set_params(search__n_steps=10).search
    EncoderSearch(encoder_steps=200, n_steps=10)
    """

    _parameter_constraints = {
        **_Search._parameter_constraints,
        "encoder_steps": [*_COUNT, StrOptions({"auto"})],
        "encoder_learning_rate": _RATE,
        "encoder_feature_weight": _WEIGHT,
    }

    needs_encoder = True

    def __init__(
        self,
        *,
        encoder_steps: int | _Auto = "auto",
        encoder_learning_rate: float = 1e-3,
        encoder_feature_weight: float = 1.0,
        n_steps: int = 0,
        learning_rate: float = 0.1,
        residual_loss: _Order = "l1",
        feature_weight: float = 0.1,
        prior_weight: float = 0.0,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            learning_rate=learning_rate,
            residual_loss=residual_loss,
            feature_weight=feature_weight,
            prior_weight=prior_weight,
        )
        self.encoder_steps = encoder_steps
        self.encoder_learning_rate = encoder_learning_rate
        self.encoder_feature_weight = encoder_feature_weight

    def starts(self, method: AnoGAN, x: Tensor) -> Tensor:
        return method.encoder(x)[:, :, None]


class GradientSearch(_Search):
    """Gradient descent from random codes, the same for all rows.

    The word "gradient" stands for it [1]_.

    Parameters
    ----------
    n_starts : int, default=1
        Codes that each row's search starts from; the best end counts.
    n_steps : int, default=200
        Steps of gradient descent on the code. After many of them the generator matches
        anomalies as well.
    learning_rate : float, default=0.1
        Step size of Adam in the descent.
    residual_loss : {"l1", "l2"}, default="l1"
        As in :class:`EncoderSearch`.
    feature_weight : float in [0, 1], default=0.1
        As in :class:`EncoderSearch`.
    prior_weight : float, default=0.0
        As in :class:`EncoderSearch`.

    References
    ----------
    .. [1] T. Schlegl et al., "Unsupervised anomaly detection with generative
       adversarial networks to guide marker discovery", IPMI 2017, :arxiv:`1703.05921`.

    Examples
    --------
    >>> from skganomaly import AnoGANDetector
    >>> from skganomaly.searches import GradientSearch
    >>> AnoGANDetector(search=GradientSearch(n_steps=500)).search
    GradientSearch(n_steps=500)
    """

    _parameter_constraints = {**_Search._parameter_constraints, "n_starts": _COUNT}

    def __init__(
        self,
        *,
        n_starts: int = 1,
        n_steps: int = 200,
        learning_rate: float = 0.1,
        residual_loss: _Order = "l1",
        feature_weight: float = 0.1,
        prior_weight: float = 0.0,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            learning_rate=learning_rate,
            residual_loss=residual_loss,
            feature_weight=feature_weight,
            prior_weight=prior_weight,
        )
        self.n_starts = n_starts

    @property
    def n_codes(self) -> int:
        """Number of random codes that a fit draws for the search."""
        return self.n_starts

    def starts(self, method: AnoGAN, x: Tensor) -> Tensor:
        return method.candidates.same_for_all(x.shape[1])


class NearestSearch(_Search):
    """Gradient descent from those of many random codes whose rows are nearest.

    The word "nearest" stands for it.

    Parameters
    ----------
    n_candidates : int, default=1024
        Random codes to choose the starts from.
    n_starts : int, default=1
        Codes that each row's search starts from; the best end counts.
    n_steps : int, default=25
        Steps of gradient descent on the code. After many of them the generator matches
        anomalies as well.
    learning_rate : float, default=0.1
        Step size of Adam in the descent.
    residual_loss : {"l1", "l2"}, default="l1"
        As in :class:`EncoderSearch`.
    feature_weight : float in [0, 1], default=0.1
        As in :class:`EncoderSearch`.
    prior_weight : float, default=0.0
        As in :class:`EncoderSearch`.

    Examples
    --------
    >>> from skganomaly import AnoGANDetector
    >>> from skganomaly.searches import NearestSearch
    >>> AnoGANDetector(search=NearestSearch(n_starts=4)).search
    NearestSearch(n_starts=4)
    """

    _parameter_constraints = {
        **_Search._parameter_constraints,
        "n_candidates": _COUNT,
        "n_starts": _COUNT,
    }

    def __init__(
        self,
        *,
        n_candidates: int = 1024,
        n_starts: int = 1,
        n_steps: int = 25,
        learning_rate: float = 0.1,
        residual_loss: _Order = "l1",
        feature_weight: float = 0.1,
        prior_weight: float = 0.0,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            learning_rate=learning_rate,
            residual_loss=residual_loss,
            feature_weight=feature_weight,
            prior_weight=prior_weight,
        )
        self.n_candidates = n_candidates
        self.n_starts = n_starts

    @property
    def n_codes(self) -> int:
        """Number of random codes that a fit draws for the search."""
        return self.n_candidates

    def starts(self, method: AnoGAN, x: Tensor) -> Tensor:
        return method.candidates.nearest(method.generator, x, self.n_starts)
