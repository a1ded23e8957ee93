"""Losses of adversarial training, as pure functions on tensors.

Every function takes tensors whose first axis runs over the members of the ensemble
and returns one value per member, so that the gradient of a member is the gradient
it would have had if it were trained alone.
"""

from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "absolute_error",
    "discriminator_cross_entropy",
    "generator_cross_entropy",
    "squared_error",
]


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
    return (input - target).square().flatten(1).mean(1)


def absolute_error(input: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each member; see :func:`squared_error`."""
    return (input - target).abs().flatten(1).mean(1)


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
