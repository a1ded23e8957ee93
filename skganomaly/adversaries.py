"""Adversaries: what AnoGAN's ``adversary`` may be, besides a word.

An adversary says what generator and critic compete for, and how the critic is trained.
For a loss of your own, derive from :class:`Wasserstein` or :class:`Logistic` and
override their methods.
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
    """What all adversaries have; without a penalty, unless one says otherwise."""

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
    """Whether the penalty is taken between real and generated rows, not at real ones.
    """

    def __init__(
        self,
        *,
        penalty: float = 0.0,
        penalty_interval: int | _Auto = "auto",
        n_critic: int = 1,
        learning_rate: float | _Auto = "auto",
    ) -> None:
        self.penalty = penalty
        self.penalty_interval = penalty_interval
        self.n_critic = n_critic
        self.learning_rate = learning_rate

    def generator_loss(self, fake_values: Tensor) -> Tensor:
        """What the generator descends.

        Parameters
        ----------
        fake_values : Tensor of shape (n_members, n_rows)
            The critic's values of generated rows.

        Returns
        -------
        Tensor of shape (n_members,)
        """
        raise NotImplementedError

    def critic_loss(self, real_values: Tensor, fake_values: Tensor) -> Tensor:
        """What the critic descends, but for the penalty.

        Parameters
        ----------
        real_values, fake_values : Tensor of shape (n_members, n_rows)
            The critic's values of real and of generated rows.

        Returns
        -------
        Tensor of shape (n_members,)
        """
        raise NotImplementedError

    def penalty_loss(self, critic: _Critic, rows: Tensor) -> Tensor:
        """The penalty, before its weight.

        Parameters
        ----------
        critic : callable
            Maps rows to values of shape (n_members, n_rows).
        rows : Tensor of shape (n_members, n_rows, ...)
            Where the slope is taken.

        Returns
        -------
        Tensor of shape (n_members,)
        """
        raise NotImplementedError


class Wasserstein(_Adversary):
    """Wasserstein distance, with a penalty on the critic's slope.

    The word "wgan-gp" stands for it.

    Parameters
    ----------
    penalty : float, default=10.0
        Weight of the penalty for slopes other than 1, taken between real and generated
        rows [1]_; 0 for none.
    penalty_interval : int or "auto", default="auto"
        Steps from one penalty to the next; with fewer penalties, each weighs as many
        times more. "auto" is 1 for plain rows and 4 otherwise.
    n_critic : int, default=1
        Steps of the critic for each step of the generator: of the ``max_steps``
        batches, the generator is trained on every ``n_critic``-th. At most
        ``max_steps``.
    learning_rate : float or "auto", default="auto"
        Step size of the critic. "auto" is 8 times the generator's for plain rows,
        where a critic that learns faster keeps the generator from circling around the
        data [2]_, and the generator's otherwise.

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
        return -fake_values.mean(1)

    def critic_loss(self, real_values: Tensor, fake_values: Tensor) -> Tensor:
        return -wasserstein_estimate(real_values, fake_values)

    def penalty_loss(self, critic: _Critic, rows: Tensor) -> Tensor:
        return gradient_norm_penalty(critic, rows, target=1.0)


class Logistic(_Adversary):
    """Classification of rows as real or generated, as in the first GANs.

    The word "logistic" stands for it. The critic minimises a cross-entropy, the
    generator its non-saturating counterpart.

    Parameters
    ----------
    penalty : float, default=0.0
        Weight of half the squared slope of the critic at real rows (R1 [1]_); 0 for
        none.
    penalty_interval : int or "auto", default="auto"
        As in :class:`Wasserstein`.
    n_critic : int, default=1
        As in :class:`Wasserstein`.
    learning_rate : float or "auto", default="auto"
        As in :class:`Wasserstein`.

    References
    ----------
    .. [1] L. Mescheder, A. Geiger and S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018, :arxiv:`1801.04406`.

    Examples
    --------
    >>> from skganomaly import AnoGANDetector
    >>> from skganomaly.adversaries import Logistic
    >>> AnoGANDetector(adversary=Logistic(penalty=1.0)).adversary
    Logistic(penalty=1.0)
    """

    def generator_loss(self, fake_values: Tensor) -> Tensor:
        return generator_cross_entropy(fake_values)

    def critic_loss(self, real_values: Tensor, fake_values: Tensor) -> Tensor:
        return discriminator_cross_entropy(real_values, fake_values)

    def penalty_loss(self, critic: _Critic, rows: Tensor) -> Tensor:
        return 0.5 * gradient_norm_penalty(critic, rows, target=0.0)
