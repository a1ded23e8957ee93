"""Adversaries: what AnoGAN's generator and critic play for, beside a word.

Derive from :class:`Wasserstein` or :class:`Logistic`, or write an object with the same
parameters and methods, for a loss of your own.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal

from sklearn.base import BaseEstimator

from ._compat import Interval, StrOptions
from .losses import (
    discriminator_cross_entropy,
    generator_cross_entropy,
    gradient_norm_penalty,
    wasserstein_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    _Auto = Literal["auto"]
    _Critic = Callable[[Tensor], Tensor]

__all__ = ["Logistic", "Wasserstein"]


class _Adversary(BaseEstimator):
    """What all adversaries have."""

    _parameter_constraints = {
        "penalty": [Interval(Real, 0, None, closed="left")],
        "penalty_interval": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_critic": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
    }
    _defaults = {"rows": {"penalty_interval": 1}, "maps": {"penalty_interval": 4}}

    between = False
    """Whether the penalty is on rows between real and generated ones, not on real."""

    def __init__(
        self,
        *,
        penalty: float,
        penalty_interval: int | _Auto,
        n_critic: int,
        learning_rate: float | _Auto,
    ) -> None:
        self.penalty = penalty
        self.penalty_interval = penalty_interval
        self.n_critic = n_critic
        self.learning_rate = learning_rate


class Wasserstein(_Adversary):
    """The Wasserstein distance, with a penalty on the critic's slope; "wgan-gp".

    Parameters
    ----------
    penalty : float, default=10.0
        Weight of the penalty on slopes other than 1 between real and generated rows
        [1]_; 0 for none.
    penalty_interval : int or "auto", default="auto"
        The penalty is computed in every so many steps, and weighs as many times more.
        "auto" is 1 for plain rows and 4 otherwise.
    n_critic : int, default=1
        Steps of the critic for each step of the generator. Both are trained on
        ``max_steps`` batches, the generator on every ``n_critic``-th of them, so it
        must be at most ``max_steps``.
    learning_rate : float or "auto", default="auto"
        Step size of the critic. "auto" is 8 times the generator's for plain rows,
        where a critic that learns faster keeps the generator from circling around the
        data [2]_, and the same otherwise.

    References
    ----------
    .. [1] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017,
       :arxiv:`1704.00028`.
    .. [2] M. Heusel et al., "GANs trained by a two time-scale update rule converge to
       a local Nash equilibrium", NeurIPS 2017, :arxiv:`1706.08500`.

    Examples
    --------
    >>> from skganomaly import AnoGANDetector
    >>> from skganomaly.adversaries import Wasserstein
    >>> detector = AnoGANDetector(adversary=Wasserstein(n_critic=5))
    >>> detector.set_params(adversary__penalty=1.0).adversary
    Wasserstein(n_critic=5, penalty=1.0)
    """

    between = True

    def __init__(
        self,
        *,
        penalty: float = 10.0,
        penalty_interval: int | _Auto = "auto",
        n_critic: int = 1,
        learning_rate: float | _Auto = "auto",
    ) -> None:
        super().__init__(
            penalty=penalty,
            penalty_interval=penalty_interval,
            n_critic=n_critic,
            learning_rate=learning_rate,
        )

    def generator_loss(self, fake_values: Tensor) -> Tensor:
        """What the generator descends, (n_members,), of (n_members, n_rows)."""
        return -fake_values.mean(1)

    def critic_loss(self, real_values: Tensor, fake_values: Tensor) -> Tensor:
        """What the critic descends, (n_members,)."""
        return -wasserstein_estimate(real_values, fake_values)

    def penalty_loss(self, critic: _Critic, rows: Tensor) -> Tensor:
        """The penalty before its weight, (n_members,)."""
        return gradient_norm_penalty(critic, rows, target=1.0)


class Logistic(_Adversary):
    """To classify rows, the non-saturating loss of the first GANs; "logistic".

    Parameters
    ----------
    penalty : float, default=0.0
        Weight of half the squared slope of the critic on real rows (R1) [1]_.
    penalty_interval, n_critic, learning_rate
        See :class:`Wasserstein`.

    References
    ----------
    .. [1] L. Mescheder, A. Geiger and S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018, :arxiv:`1801.04406`.
    """

    def __init__(
        self,
        *,
        penalty: float = 0.0,
        penalty_interval: int | _Auto = "auto",
        n_critic: int = 1,
        learning_rate: float | _Auto = "auto",
    ) -> None:
        super().__init__(
            penalty=penalty,
            penalty_interval=penalty_interval,
            n_critic=n_critic,
            learning_rate=learning_rate,
        )

    def generator_loss(self, fake_values: Tensor) -> Tensor:
        """What the generator descends, (n_members,), of (n_members, n_rows)."""
        return generator_cross_entropy(fake_values)

    def critic_loss(self, real_values: Tensor, fake_values: Tensor) -> Tensor:
        """What the critic descends, (n_members,)."""
        return discriminator_cross_entropy(real_values, fake_values)

    def penalty_loss(self, critic: _Critic, rows: Tensor) -> Tensor:
        """The penalty before its weight, (n_members,)."""
        return 0.5 * gradient_norm_penalty(critic, rows, target=0.0)
