"""Losses of adversarial training, as pure functions on tensors.

Every function takes tensors whose first axis runs over the members of the ensemble
and returns one value per member, so that the gradient of a member is the gradient
it would have had if it were trained alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = [
    "absolute_error",
    "discriminator_cross_entropy",
    "generator_cross_entropy",
    "gradient_norm_penalty",
    "mean_size",
    "reconstruction_error",
    "squared_error",
    "wasserstein_estimate",
]

_SIZES = {"l1": torch.abs, "l2": torch.square}


def mean_size(differences: Tensor, order: str) -> Tensor:
    """Mean absolute ("l1") or squared ("l2") entry of each row.

    Parameters
    ----------
    differences : Tensor of shape (n_members, n_rows, ...)
    order : {"l1", "l2"}

    Returns
    -------
    Tensor of shape (n_members, n_rows)
    """
    return _SIZES[order](differences.flatten(2)).mean(2)


def reconstruction_error(
    loss: str | Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function that ``reconstruction_loss`` stands for.

    Parameters
    ----------
    loss : {"l1", "l2"} or callable
        :func:`absolute_error`, :func:`squared_error`, or a function like these.

    Returns
    -------
    callable
    """
    if callable(loss):
        return loss
    return {"l1": absolute_error, "l2": squared_error}[loss]


def squared_error(input: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each member.

    Parameters
    ----------
    input, target : Tensor of shape (n_members, n_rows, ...)
        What is compared.

    Returns
    -------
    Tensor of shape (n_members,)
        Mean over all other axes.
    """
    return _SIZES["l2"](input - target).flatten(1).mean(1)


def absolute_error(input: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each member.

    Parameters
    ----------
    input, target : Tensor of shape (n_members, n_rows, ...)
        What is compared.

    Returns
    -------
    Tensor of shape (n_members,)
        Mean over all other axes.
    """
    return _SIZES["l1"](input - target).flatten(1).mean(1)


def discriminator_cross_entropy(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Binary cross-entropy of a discriminator, ones for real and zeros for fake.

    Computed from logits, :math:`\log(1 + e^{-l})` for real rows and
    :math:`\log(1 + e^{l})` for fake ones, which cannot overflow as a cross-entropy
    after a sigmoid does.

    Parameters
    ----------
    real_logits, fake_logits : Tensor of shape (n_members, n_rows)
        Outputs of the discriminator before the sigmoid.

    Returns
    -------
    Tensor of shape (n_members,)
        Mean of the two halves.
    """
    return 0.5 * (F.softplus(-real_logits).mean(1) + F.softplus(fake_logits).mean(1))


def generator_cross_entropy(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of a generator whose output should pass for real.

    Parameters
    ----------
    fake_logits : Tensor of shape (n_members, n_rows)
        The discriminator's logits for generated rows.

    Returns
    -------
    Tensor of shape (n_members,)
    """
    return F.softplus(-fake_logits).mean(1)


def wasserstein_estimate(real_values: Tensor, fake_values: Tensor) -> Tensor:
    """How much higher a critic values real rows than generated ones.

    With a critic of slope one, the best that it can do is the Wasserstein distance of
    the two distributions; it descends the negative of this.

    Parameters
    ----------
    real_values, fake_values : Tensor of shape (n_members, n_rows)
        Outputs of the critic.

    Returns
    -------
    Tensor of shape (n_members,)
    """
    return real_values.mean(1) - fake_values.mean(1)


def gradient_norm_penalty(
    critic: Callable[[Tensor], Tensor], rows: Tensor, *, target: float
) -> Tensor:
    r"""Mean of :math:`(\lVert \nabla_x D(x) \rVert_2 - t)^2` over rows.

    The penalty of WGAN-GP [1]_ with target 1 on rows between real and generated ones,
    and of R1 [2]_ with target 0 on real rows. The gradient of a row must depend on that
    row alone, so the critic must not normalise over a batch.

    Parameters
    ----------
    critic : callable
        Maps rows to values of shape (n_members, n_rows).
    rows : Tensor of shape (n_members, n_rows, ...)
        Where the slope is taken.
    target : float
        The slope :math:`t` that costs nothing.

    Returns
    -------
    Tensor of shape (n_members,)
        Differentiable with respect to the critic's weights.

    References
    ----------
    .. [1] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017,
       :arxiv:`1704.00028`.
    .. [2] L. Mescheder, A. Geiger and S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018, :arxiv:`1801.04406`.
    """
    rows = rows.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(rows).sum(), rows, create_graph=True)
    squared = slopes.flatten(2).square().sum(2)
    if not target:
        return squared.mean(1)
    # The root has no derivative at zero, where a dead critic would have it taken.
    return ((squared + 1e-12).sqrt() - target).square().mean(1)
