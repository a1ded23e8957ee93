"""Tests of the losses against NumPy, and of what stacking members asks of them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly.losses import (
    absolute_error,
    discriminator_cross_entropy,
    generator_cross_entropy,
    gradient_norm_penalty,
    mean_size,
    reconstruction_error,
    squared_error,
    wasserstein_estimate,
)

ERRORS = {
    squared_error: lambda difference: difference**2,
    absolute_error: np.abs,
}
every_error = pytest.mark.parametrize("loss", ERRORS)


def logistic(logits):
    """Negative logarithm of the sigmoid of ``-logits``."""
    return np.logaddexp(0, logits)


def draw(*shape, seed=0, scale=1.0):
    """A float64 tensor of normal values."""
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return torch.from_numpy(values)


# Each loss with as many arguments as it takes, of shape (3 members, 5 rows, ...).
CALLS = [
    pytest.param(squared_error, (3, 5, 4), 2, id="squared_error"),
    pytest.param(absolute_error, (3, 5, 4), 2, id="absolute_error"),
    pytest.param(squared_error, (3, 5, 2, 3, 2), 2, id="squared_error of maps"),
    pytest.param(discriminator_cross_entropy, (3, 5), 2, id="discriminator"),
    pytest.param(generator_cross_entropy, (3, 5), 1, id="generator"),
    pytest.param(wasserstein_estimate, (3, 5), 2, id="wasserstein"),
]
every_call = pytest.mark.parametrize("loss, shape, n_arguments", CALLS)


@every_error
@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 1), (3, 4, 2, 6), (2, 3, 1, 4, 5)])
def test_errors_are_means_over_all_but_the_members(loss, shape):
    """Rows and entries weigh the same, whatever the shape of a row."""
    a, b = draw(*shape), draw(*shape, seed=1)
    elementwise = ERRORS[loss](a.numpy() - b.numpy())
    expected = [member.sum() / member.size for member in elementwise]
    assert_allclose(loss(a, b), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 1), (3, 4, 2, 6)])
def test_sizes_are_means_over_the_entries_of_a_row(shape):
    """Absolute or squared, a value for each member and row."""
    differences = draw(*shape)
    rows = differences.numpy().reshape(*shape[:2], -1)
    assert_allclose(mean_size(differences, "l1"), np.abs(rows).mean(axis=2))
    assert_allclose(mean_size(differences, "l2"), np.square(rows).mean(axis=2))


def test_words_and_functions_for_an_error():
    """The words that parameters take, and a function of one's own as it is."""
    assert reconstruction_error("l1") is absolute_error
    assert reconstruction_error("l2") is squared_error
    assert reconstruction_error(np.hypot) is np.hypot


@every_error
def test_errors_are_zero_for_equal_input(loss):
    """Nothing is lost, and nothing pulls, where input and target agree."""
    a = draw(2, 3, 4).requires_grad_()
    value = loss(a, a.detach().clone())
    value.sum().backward()
    assert_array_equal(value.detach(), [0, 0])
    assert_array_equal(a.grad, np.zeros((2, 3, 4)))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_discriminator_cross_entropy_is_bce_of_ones_and_zeros(scale):
    """Mean of -log p over real rows and of -log(1 - p) over fake ones, halved."""
    real, fake = draw(3, 7, scale=scale), draw(3, 7, seed=1, scale=scale)
    expected = (logistic(-real.numpy()).mean(1) + logistic(fake.numpy()).mean(1)) / 2
    # torch takes log(1 + e^l) for l beyond 20, which is wrong by e^-20.
    assert_allclose(
        discriminator_cross_entropy(real, fake), expected, rtol=1e-9, atol=3e-9
    )


def test_discriminator_cross_entropy_of_undecided_is_log_two():
    """Logits of zero, as at the start of the training, cost ln 2."""
    zeros = torch.zeros(2, 9)
    assert_allclose(discriminator_cross_entropy(zeros, zeros), np.log([2, 2]))
    assert_allclose(generator_cross_entropy(zeros), np.log([2, 2]))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_generator_cross_entropy_does_not_saturate(scale):
    """-log p of fake rows, the mirror image of the discriminator's half."""
    fake = draw(3, 7, scale=scale)
    expected = logistic(-fake.numpy()).mean(1)
    assert_allclose(generator_cross_entropy(fake), expected, rtol=1e-9, atol=3e-9)
    sure = torch.full((1, 4), -50.0, requires_grad=True)
    generator_cross_entropy(sure).sum().backward()
    assert_allclose(sure.grad, np.full((1, 4), -1 / 4))


def test_discriminator_may_see_other_numbers_of_rows():
    """Each half is a mean of its own, so that neither outweighs the other."""
    real, fake = draw(2, 3), draw(2, 11, seed=1)
    halves = logistic(-real.numpy()).mean(1), logistic(fake.numpy()).mean(1)
    assert_allclose(discriminator_cross_entropy(real, fake), np.mean(halves, axis=0))


@every_call
def test_gradients_are_right(loss, shape, n_arguments):
    """Analytical and numerical gradients agree in double precision."""
    inputs = [draw(*shape, seed=seed).requires_grad_() for seed in range(n_arguments)]
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("real, fake", [(1e3, -1e3), (-1e3, 1e3), (1e3, 1e3)])
def test_cross_entropies_are_stable(real, fake, dtype):
    """Logits of a thousand give exact values and finite gradients."""
    real_logits = torch.full((2, 3), real, dtype=dtype, requires_grad=True)
    fake_logits = torch.full((2, 3), fake, dtype=dtype, requires_grad=True)
    verdict = discriminator_cross_entropy(real_logits, fake_logits)
    passing = generator_cross_entropy(fake_logits)
    assert_allclose(verdict.detach(), [(max(-real, 0) + max(fake, 0)) / 2] * 2)
    assert_allclose(passing.detach(), [max(-fake, 0)] * 2)
    (verdict + passing).sum().backward()
    for logits in (real_logits, fake_logits):
        assert torch.isfinite(logits.grad).all()
        # A mean over three rows, of slopes between -1 and 1.
        assert logits.grad.abs().max() <= 0.5


@every_call
def test_one_value_per_member(loss, shape, n_arguments):
    """A member's value is what it would be if there were no other."""
    inputs = [draw(*shape, seed=seed) for seed in range(n_arguments)]
    together = loss(*inputs)
    assert together.shape == (3,)
    alone = [loss(*(part[k : k + 1] for part in inputs))[0] for k in range(3)]
    assert_allclose(together, alone, rtol=1e-14)
    assert len(np.unique(together)) == 3


@every_call
def test_members_do_not_pull_at_each_other(loss, shape, n_arguments):
    """The loss of one member has no gradient at another's values."""
    inputs = [draw(*shape, seed=seed).requires_grad_() for seed in range(n_arguments)]
    for gradient in torch.autograd.grad(loss(*inputs)[1], inputs):
        assert_array_equal(gradient[[0, 2]], np.zeros((2, *shape[1:])))
        assert (gradient[1] != 0).all()


@every_call
def test_members_gradient_is_the_one_alone(loss, shape, n_arguments):
    """Descending the sum over members moves each as if it were trained alone."""
    inputs = [draw(*shape, seed=seed).requires_grad_() for seed in range(n_arguments)]
    together = torch.autograd.grad(loss(*inputs).sum(), inputs)
    alone = [part[1:2].detach().requires_grad_() for part in inputs]
    for whole, own in zip(
        together, torch.autograd.grad(loss(*alone).sum(), alone), strict=True
    ):
        assert_allclose(whole[1:2], own, rtol=1e-12)


def test_wasserstein_estimate_is_a_difference_of_means():
    """Positive where the critic values real rows higher, in the critic's units."""
    real, fake = draw(3, 7) + 2, draw(3, 11, seed=1)
    expected = real.numpy().mean(axis=1) - fake.numpy().mean(axis=1)
    assert_allclose(wasserstein_estimate(real, fake), expected)
    assert_allclose(wasserstein_estimate(fake, real), -expected)
    assert (expected > 0).all()


def test_wasserstein_estimate_of_a_shift_is_its_length():
    """The critic of slope one that points along a shift measures it exactly."""
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    fake = draw(2, 50, 3)
    real = fake + 3.5 * direction
    assert_allclose(wasserstein_estimate(real @ direction, fake @ direction), [3.5] * 2)


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 4)])
def test_penalty_of_a_linear_critic(shape, target):
    """A slope that is the same everywhere, of each member its own."""
    slopes = draw(2, 1, *shape)
    slopes[0] /= slopes[0].norm()
    slopes[1] *= 5 / slopes[1].norm()

    def critic(rows):
        return (rows * slopes).flatten(2).sum(2) + 3

    found = gradient_norm_penalty(critic, draw(2, 6, *shape, seed=1), target=target)
    expected = [(1 - target) ** 2, (5 - target) ** 2]
    assert_allclose(found.detach(), expected, atol=1e-9)


def curved(rows, weight):
    """A critic whose slope differs from row to row."""
    return (torch.tanh(rows @ weight) ** 2).sum(2)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_against_finite_differences(target):
    """The mean over rows of the squared distance of slopes from the target."""
    rows, weight, step = draw(2, 5, 3), draw(2, 3, 4, seed=1), 1e-5
    slopes = torch.stack(
        [
            (curved(rows + shift, weight) - curved(rows - shift, weight)) / (2 * step)
            for shift in step * torch.eye(3, dtype=torch.float64)
        ],
        dim=2,
    )
    expected = (slopes.norm(dim=2) - target).square().mean(1)
    found = gradient_norm_penalty(lambda x: curved(x, weight), rows, target=target)
    assert_allclose(found.detach(), expected, rtol=1e-6)
    assert len(np.unique(found.detach())) == 2


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_can_be_descended(target):
    """Its gradient at the critic's weights is right, each member's its own."""
    rows, weight = draw(3, 5, 3), draw(3, 3, 4, seed=1).requires_grad_()

    def penalty(weight):
        return gradient_norm_penalty(lambda x: curved(x, weight), rows, target=target)

    assert torch.autograd.gradcheck(penalty, [weight])
    (gradient,) = torch.autograd.grad(penalty(weight)[1], weight)
    assert_array_equal(gradient[[0, 2]], np.zeros((2, 3, 4)))
    assert (gradient[1] != 0).any()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_leaves_rows_alone(target):
    """Rows are taken as they are: no gradient flows to what made them."""
    rows = draw(2, 5, 3).requires_grad_()
    weight = draw(2, 3, 4, seed=1).requires_grad_()
    gradient_norm_penalty(
        lambda x: curved(x, weight), rows, target=target
    ).sum().backward()
    assert rows.grad is None and weight.grad is not None


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_of_a_dead_critic(target):
    """A critic without any slope costs the target, and has finite gradients."""
    weight = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
    value = gradient_norm_penalty(
        lambda x: (x @ weight).sum(2), draw(2, 5, 3), target=target
    )
    assert_allclose(value.detach(), [target**2] * 2, atol=1e-5)
    value.sum().backward()
    assert torch.isfinite(weight.grad).all()
