"""Tests of AnoGAN's trainings: who moves when, and down which losses."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn
from torch.nn import functional as F

from skganomaly._models._anogan import AnoGAN, EncoderGame
from skganomaly._models._networks import build_members
from skganomaly._models._scaling import fit_scaling
from skganomaly._training._batches import Orders, RowDataset, TensorBatches
from skganomaly._training._net import AdversarialNet
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.architectures import MLP
from skganomaly.base import Phase
from skganomaly.searches import EncoderSearch, GradientSearch

CPU = torch.device("cpu")
N_MEMBERS, WIDTH, LATENT_DIM = 2, 3, 2
BOTH = ("generator", "discriminator")
ADVERSARIES = {
    "wgan-gp": Wasserstein(penalty_interval=1),
    "logistic": Logistic(penalty=10.0, penalty_interval=1),
}
both_losses = pytest.mark.parametrize(
    "adversary", ADVERSARIES.values(), ids=ADVERSARIES
)


def make_method(adversary=ADVERSARIES["wgan-gp"], normalization=None, **options):
    """AnoGAN's tiny networks of two members; options are those of the adversary."""
    architecture = MLP(
        hidden_layer_sizes=(5,),
        discriminator_layer_sizes=(6,),
        normalization=normalization,
    )
    sizes = {"decoder": (LATENT_DIM, (WIDTH,)), "discriminator": ((WIDTH,),)}
    generator = torch.Generator().manual_seed(0)

    def build(name):
        return build_members(
            lambda: getattr(architecture, name)(*sizes[name]),
            N_MEMBERS,
            generator,
            architecture.initialize,
        )

    build.codes = lambda n: torch.zeros(N_MEMBERS, n, LATENT_DIM)
    settings = SimpleNamespace(
        adversary=clone(adversary).set_params(**options),
        search=GradientSearch(),
        feature_layer=None,
        latent_dim=LATENT_DIM,
    )
    return AnoGAN(build, settings)


def make_rows(n_rows=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N_MEMBERS, n_rows, WIDTH, generator=generator) + 1


def source():
    """What losses draw from; always the same."""
    return torch.Generator().manual_seed(7)


def losses_of(method, x, *, penalty=False):
    """Losses of both players, with random numbers from :func:`source`."""
    losses = method.losses(x, x, Phase(BOTH, penalty), source())
    return losses["generator"], losses["discriminator"]


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def differs(first, second):
    """Names of the tensors in which two states differ."""
    return {name for name, value in first.items() if (value != second[name]).any()}


def train(method, max_steps, **options):
    """Train, and return the states of the networks before each step and at the end."""
    states, losses = [], method.losses

    def watched(*args):
        states.append([state_of(player) for player in method.players().values()])
        return losses(*args)

    method.losses = watched
    X = np.random.default_rng(0).normal(size=(40, WIDTH))
    orders = Orders(40, 8, N_MEMBERS, torch.Generator().manual_seed(3))
    defaults = {
        "lr": 1e-2,
        "batch_size": 8,
        "max_epochs": len(TensorBatches.epoch_lengths(40, 8, max_steps)),
        "device": "cpu",
        "verbose": 0,
        "schedule": "constant",
        "sources": {"losses": source()},
        "orders": orders,
        "iterator_train": TensorBatches,
        "iterator_train__max_steps": max_steps,
        "iterator_train__orders": orders,
    }
    net = AdversarialNet(method, max_steps=max_steps, **defaults | options).initialize()
    net.partial_fit(RowDataset(X, fit_scaling("standard", (WIDTH,), X), CPU))
    states.append([state_of(player) for player in method.players().values()])
    return net, states


# Who moves when.


@both_losses
def test_a_critic_step_moves_the_critic_alone(adversary):
    """Before the generator's first turn not a bit of it has changed."""
    _, states = train(make_method(adversary, n_critic=2), 1)
    assert not differs(states[0][0], states[1][0])
    # The bias of the head shifts real and generated values alike.
    assert differs(states[0][1], states[1][1]) >= set(states[0][1]) - {"head.0.bias"}


@both_losses
def test_a_generator_step_moves_the_generator_alone(adversary):
    """With the critic's rate at zero not a bit of it changes."""
    _, states = train(make_method(adversary), 1, optimizer_d__lr=0.0)
    assert differs(states[0][0], states[1][0]) == set(states[0][0])
    assert not differs(states[0][1], states[1][1])


@both_losses
@pytest.mark.parametrize("n_critic", [1, 3])
def test_generator_moves_on_every_so_manieth_step(adversary, n_critic):
    """The critic moves on all of them."""
    net, states = train(make_method(adversary, n_critic=n_critic), 10)
    assert net.n_steps_ == 10
    moves = [
        (bool(differs(a[0], b[0])), bool(differs(a[1], b[1])))
        for a, b in pairwise(states)
    ]
    assert moves == [(step % n_critic == 0, True) for step in range(1, 11)]


@both_losses
def test_what_a_step_brings_follows_from_its_number(adversary):
    """So it is known before the step, and is the same whenever one asks."""
    method = make_method(adversary, n_critic=2, penalty_interval=3)
    first = [method.phase(step) for step in range(6)]
    assert [phase.players for phase in first] == [BOTH[1:], BOTH] * 3
    assert [phase.penalty for phase in first] == [False, False, True] * 2
    assert [method.phase(step) for step in range(6)] == first
    method = make_method(adversary, penalty=0.0)
    assert not any(method.phase(step).penalty for step in range(6))


def test_history_has_terms_that_come_now_and_then():
    """Each is the mean over the steps that it came in."""
    seen = {"generator": [], "discriminator": [], "penalty": []}
    method = make_method(n_critic=4, penalty_interval=3)
    losses = method.losses

    def watched(*args):
        terms = losses(*args)
        for player in terms.values():
            for name, value in player.items():
                seen[name].append(value.detach().mean().item())
        return terms

    method.losses = watched
    net, _ = train(method, 500)
    assert {name: len(values) for name, values in seen.items()} == {
        "generator": 125,
        "discriminator": 500,
        "penalty": 166,
    }
    # Epochs of 25 steps, of which each fourth and each third have these terms.
    last = {"generator": 6, "discriminator": 25, "penalty": 8}
    for name, values in seen.items():
        expected = np.mean(values[-last[name] - (name == "generator") :])
        assert_allclose(net.history[-1][name], expected, rtol=1e-5)


# Losses.


def drawn_again(x):
    """The first code and the first share that losses draw."""
    random = source()
    z = torch.randn(*x.shape[:2], LATENT_DIM, generator=random)
    return z, torch.rand(*x.shape[:2], *[1] * (x.ndim - 2), generator=random)


def test_wasserstein_losses():
    """The critic raises its values of real rows over those of generated ones."""
    method, x = make_method(), make_rows()
    generator, critic = method.players().values()
    fake = generator(drawn_again(x)[0])
    for_generator, for_critic = losses_of(method, x)
    real_values, fake_values = critic(x)[0], critic(fake)[0]
    assert set(for_generator) == {"generator"} and set(for_critic) == {"discriminator"}
    assert_allclose(
        for_generator["generator"].detach(), -fake_values.mean(1).detach(), rtol=1e-5
    )
    assert_allclose(
        for_critic["discriminator"].detach(),
        (fake_values.mean(1) - real_values.mean(1)).detach(),
        rtol=1e-5,
        atol=1e-7,
    )


def test_logistic_losses():
    """Cross-entropies with ones for real and zeros for generated rows."""
    method, x = make_method(Logistic()), make_rows()
    generator, critic = method.players().values()
    fake = generator(drawn_again(x)[0])
    for_generator, for_critic = losses_of(method, x)

    def cross_entropy(rows, label):
        logits = critic(rows)[0].detach()
        return F.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, label), reduction="none"
        ).mean(1)

    assert_allclose(
        for_generator["generator"].detach(), cross_entropy(fake, 1.0), rtol=1e-6
    )
    assert_allclose(
        for_critic["discriminator"].detach(),
        (cross_entropy(x, 1.0) + cross_entropy(fake, 0.0)) / 2,
        rtol=1e-6,
    )
    assert set(for_critic) == {"discriminator"}


def test_a_critic_step_has_no_loss_of_the_generator():
    """Nor a gradient that goes through it."""
    method, x = make_method(), make_rows()
    losses = method.losses(x, x, Phase(BOTH[1:], penalty=True), source())
    assert set(losses) == {"discriminator"}
    total = sum(term.sum() for term in losses["discriminator"].values())
    total.backward()
    assert all(p.grad is None for p in method.generator.parameters())


@both_losses
@pytest.mark.parametrize("interval", [1, 3])
def test_penalty_comes_on_every_so_manieth_batch(adversary, interval):
    """It weighs as many times more, so that its mean weight stays the same."""
    weight = 2.5
    method = make_method(adversary, penalty=weight, penalty_interval=interval)
    generator, critic = method.players().values()
    given, random = source(), source()
    for step in range(7):
        x = make_rows(seed=step)
        terms = method.losses(x, x, method.phase(step), given)["discriminator"]
        fake = generator(torch.randn(*x.shape[:2], LATENT_DIM, generator=random))
        assert ("penalty" in terms) == ((step + 1) % interval == 0)
        if "penalty" not in terms:
            continue
        rows, target, half = x, 0.0, 0.5
        if isinstance(adversary, Wasserstein):
            share = torch.rand(*x.shape[:2], 1, generator=random)
            rows, target, half = share * x + (1 - share) * fake, 1.0, 1.0
        slopes = slopes_of(critic, rows)
        by_hand = (slopes - target).square().mean(1) * half * weight * interval
        assert_allclose(terms["penalty"].detach(), by_hand, rtol=1e-4)


def slopes_of(critic, rows):
    """Norm of the gradient of the critic's value at each row, one by one."""
    norms = torch.zeros(rows.shape[:2])
    for i in range(rows.shape[1]):
        row = rows[:, i : i + 1].detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(row)[0].sum(), row)
        norms[:, i] = slope.flatten(1).norm(dim=1)
    return norms


@both_losses
def test_penalty_has_no_say_in_the_generator(adversary):
    """Its gradient is the critic's alone."""
    method = make_method(adversary)
    _, terms = losses_of(method, make_rows(), penalty=True)
    gradients = torch.autograd.grad(
        terms["penalty"].sum(), list(method.generator.parameters()), allow_unused=True
    )
    assert gradients == (None,) * len(gradients)
    weight = method.discriminator.features[0].weight
    (gradient,) = torch.autograd.grad(terms["penalty"].sum(), weight)
    assert (gradient != 0).any()


class _Zeros(nn.Module):
    """Generates images of nothing."""

    def forward(self, z):
        return torch.zeros(*z.shape[:2], 3, 4, 5, requires_grad=True)


class _Sums(nn.Module):
    """Values an image by the sum of its pixels, and remembers what it saw."""

    def forward(self, rows):
        self.seen = rows
        return rows.flatten(2).sum(2), rows.flatten(2)


def test_shares_of_an_image_are_one_number():
    """All pixels of an interpolate lie at the same place between two images."""
    method, x = make_method(), torch.ones(2, 6, 3, 4, 5)
    method.generator, method.discriminator = _Zeros(), _Sums()
    losses_of(method, x, penalty=True)
    shares = method.discriminator.seen.detach().flatten(2)
    assert_array_equal(shares, shares[:, :, :1].expand_as(shares))
    assert ((shares > 0) & (shares < 1)).all()
    assert len(torch.unique(shares)) == 12
    assert_array_equal(shares[:, :, 0], drawn_again(x)[1].flatten(1))


def test_steep_critics_are_brought_to_slope_one():
    """What the penalty of WGAN-GP is for: a training with it has gentler critics."""
    slopes = {}
    for penalty in (0.0, 10.0):
        method = make_method(penalty=penalty)
        train(method, 200, optimizer_d__lr=3e-2)
        slopes[penalty] = slopes_of(method.discriminator, make_rows(100)).mean()
    assert slopes[0.0] > 3
    assert slopes[10.0] < 1.5


# The moving average.


@pytest.mark.parametrize("n_critic", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.8])
@pytest.mark.parametrize("normalization", [None, "batch"])
def test_finished_generator_is_a_moving_average(n_critic, decay, normalization):
    """Of what it was after each of its steps, running statistics included."""
    # Without a penalty, as that would refuse a normalised critic.
    method = make_method(Logistic(n_critic=n_critic), normalization)
    net, states = train(method, 11, average_decay=decay)
    steps = [state for state, _ in states[1:]][n_critic - 1 :: n_critic]
    average = steps[0]
    for state in steps[1:]:
        average = {
            name: decay * average[name] + (1 - decay) * value
            for name, value in state.items()
        }
    critic = state_of(method.discriminator)
    net.finish()
    finished = state_of(method.generator)
    floating = [name for name in finished if finished[name].is_floating_point()]
    assert any("running_var" in name for name in floating) == bool(normalization)
    for name in floating:
        assert_allclose(finished[name], average[name], rtol=1e-4, atol=1e-6)
    if decay:
        assert differs(states[-1][0], finished) >= set(
            dict(method.generator.named_parameters())
        )
    assert not differs(critic, state_of(method.discriminator))


def test_without_average_the_last_weights_stay():
    """None keeps the generator as its last step left it."""
    method = make_method()
    net, states = train(method, 5)
    net.finish()
    assert not differs(states[-1][0], state_of(method.generator))


# The encoder.


class _FirstEntries(nn.Module):
    """Takes the first entries of a row for its code."""

    def forward(self, rows):
        return rows[:, :, :LATENT_DIM]


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_encoder_losses(weight):
    """Residuals of rows and features, and a little of the squared code."""
    method, x = make_method(), make_rows()
    method.encoder = _FirstEntries()
    method.search = EncoderSearch(encoder_feature_weight=weight)
    noisy = x + 0.1
    game = EncoderGame(method)
    # It draws nothing, and so is handed no source of random numbers.
    losses = game.losses(x, noisy, game.phase(0), None)
    code = noisy[:, :, :LATENT_DIM]
    made = method.generator(code)
    expected = {
        "encoder_reconstruction": (x - made).square().mean((1, 2)),
        "encoder_prior": 0.01 * code.square().mean((1, 2)),
    }
    if weight:
        difference = method.features(x) - method.features(made)
        expected["encoder_features"] = weight * difference.square().mean((1, 2))
    assert set(losses) == set(game.players()) == {"encoder"}
    assert set(losses["encoder"]) == set(expected)
    for name, value in expected.items():
        assert_allclose(losses["encoder"][name].detach(), value.detach(), rtol=1e-5)
