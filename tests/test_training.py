"""Tests of adversarial training: what a step moves, what is recorded, how it ends."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from torch import nn
from torch.nn import functional as F

from skganomaly._models._ganomaly import GANomaly
from skganomaly._models._networks import build_members
from skganomaly._models._scaling import fit_scaling
from skganomaly._training._batches import Orders, RowDataset, TensorBatches
from skganomaly._training._net import AdversarialNet, ProgressBar
from skganomaly.architectures import MLP

CPU = torch.device("cpu")
N_MEMBERS = 2
SETTINGS = {
    "reconstruction_loss": "l2",
    "reconstruction_weight": 1.0,
    "latent_weight": 0.5,
    "adversarial_weight": 0.3,
}
TERMS = {"reconstruction", "latent", "adversarial", "discriminator"}


class DoubleGANomaly(GANomaly):
    """GANomaly on rows brought to double precision."""

    def losses(self, x, noisy, phase, random):
        """Return the losses of GANomaly."""
        return super().losses(x.double(), noisy.double(), phase, random)


def make_game(adversarial_loss="feature_matching", cls=DoubleGANomaly):
    """A tiny GANomaly of two members, in double precision."""
    architecture = MLP(hidden_layer_sizes=(5,), discriminator_layer_sizes=(6,))
    generator = torch.Generator().manual_seed(0)
    sizes = {"encoder": ((3,), 2), "decoder": (2, (3,)), "discriminator": ((3,),)}

    def build(name):
        def factory():
            return getattr(architecture, name)(*sizes[name])

        return build_members(factory, N_MEMBERS, generator, architecture.initialize)

    settings = SimpleNamespace(adversarial_loss=adversarial_loss, **SETTINGS)
    return cls(build, settings).double()


def watched(look):
    """A game that calls ``look(game, x, noisy)`` before it gives its losses."""

    class Watched(DoubleGANomaly):
        def losses(self, x, noisy, phase, random):
            look(self, x, noisy)
            return super().losses(x, noisy, phase, random)

    return make_game(cls=Watched)


def make_dataset(n_rows=40):
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    return RowDataset(X, fit_scaling("standard", (3,), X), CPU)


def make_orders(n_rows=40):
    return Orders(n_rows, 8, N_MEMBERS, torch.Generator().manual_seed(3))


def make_net(game=None, *, max_steps=30, n_rows=40, **options):
    """An initialised net, made as detectors make it."""
    orders = make_orders(n_rows)
    defaults = {
        "lr": 1e-2,
        "batch_size": 8,
        "max_epochs": len(TensorBatches.epoch_lengths(40, 8, max_steps)),
        "device": "cpu",
        "verbose": 0,
        "schedule": "constant",
        "iterator_train": TensorBatches,
        "orders": orders,
        "iterator_train__max_steps": max_steps,
        "iterator_train__orders": orders,
    }
    return AdversarialNet(
        game or make_game(), max_steps=max_steps, **defaults | options
    ).initialize()


def train(game=None, **options):
    """A trained net, and the weights of its networks before."""
    game = game or make_game()
    before = {name: weights(network) for name, network in game.players().items()}
    return make_net(game, **options).partial_fit(make_dataset()), before


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(net, before):
    """By network and parameter, whether training moved it."""
    return {
        name: {
            key: bool((value != before[name][key]).any())
            for key, value in weights(network).items()
        }
        for name, network in net.game.players().items()
    }


class Watch(Callback):
    """Keep what skorch tells its callbacks about gradients."""

    def __init__(self):
        self.gradients = []
        self.rates = []

    def on_grad_computed(self, net, named_parameters, batch, training, **kwargs):
        assert training
        assert batch.shape == (N_MEMBERS, 8, 3)
        self.gradients.append(
            {name: p.grad.clone() for name, p in dict(named_parameters).items()}
        )
        self.rates.append(
            (
                net.optimizer_.param_groups[0]["lr"],
                net.optimizer_d_.param_groups[0]["lr"],
            )
        )


# What a step moves.


def test_step_moves_both_networks():
    """Every parameter of generator and discriminator is trained."""
    net, before = train(max_steps=1)
    for network in moved(net, before).values():
        assert all(network.values())


@pytest.mark.parametrize("adversarial_loss", ["feature_matching", "bce"])
def test_discriminator_loss_moves_the_discriminator_alone(adversarial_loss):
    """With the generator's rate at zero not a bit of the generator changes."""
    net, before = train(
        make_game(adversarial_loss),
        optimizer__lr=0.0,
        optimizer_d__lr=1e-2,
    )
    found = moved(net, before)
    assert not any(found["generator"].values())
    assert all(found["discriminator"].values())


@pytest.mark.parametrize("adversarial_loss", ["feature_matching", "bce"])
def test_generator_loss_moves_the_generator_alone(adversarial_loss):
    """With the discriminator's rate at zero not a bit of it changes."""
    net, before = train(make_game(adversarial_loss), optimizer_d__lr=0.0)
    found = moved(net, before)
    assert all(found["generator"].values())
    assert not any(found["discriminator"].values())


def test_optimizers_hold_their_own_network():
    """Together they hold every parameter once, each those of its network."""
    net = make_net(optimizer_d__lr=0.5, optimizer__betas=(0.5, 0.9))
    for optimizer, name, rate in [
        (net.optimizer_, "generator", 1e-2),
        (net.optimizer_d_, "discriminator", 0.5),
    ]:
        (group,) = optimizer.param_groups
        held = {id(p) for p in group["params"]}
        assert held == {id(p) for p in net.game.players()[name].parameters()}
        assert group["lr"] == group["initial_lr"] == rate
        assert group["betas"] == (0.5, 0.9)


def losses_by_hand(game, x, noisy, adversarial_loss):
    """Both losses of the members together, from the formulas."""
    generator, discriminator = game.generator, game.discriminator
    code = generator.encoder(noisy)
    fake = generator.decoder(code)
    second = generator.second_encoder(fake)
    real_logits, real_features = discriminator(x)
    fake_logits, fake_features = discriminator(fake)
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
    cross_entropy = F.binary_cross_entropy_with_logits
    if adversarial_loss == "bce":
        adversarial = cross_entropy(fake_logits, ones)
    else:
        adversarial = F.mse_loss(fake_features, real_features)
    # Members have equally many rows: the sum of their means is K times the mean.
    for_generator = N_MEMBERS * (
        F.mse_loss(fake, x) + 0.5 * F.mse_loss(second, code) + 0.3 * adversarial
    )
    for_discriminator = (
        N_MEMBERS
        * (cross_entropy(real_logits, ones) + cross_entropy(fake_logits, zeros))
        / 2
    )
    return for_generator, for_discriminator


class AdamByHand:
    """Adam as its paper writes it."""

    def __init__(self, parameters, rate):
        self.parameters = parameters
        self.rate = rate
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.t = 0

    def step(self, gradients):
        self.t += 1
        for p, g, m, v in zip(
            self.parameters, gradients, self.first, self.second, strict=True
        ):
            m.copy_(0.9 * m + 0.1 * g)
            v.copy_(0.999 * v + 0.001 * g**2)
            corrected = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            p.data -= self.rate * corrected[0] / (corrected[1].sqrt() + 1e-8)


@pytest.mark.parametrize("adversarial_loss", ["feature_matching", "bce"])
@pytest.mark.parametrize("noise_scale", [None, 0.3])
def test_training_equals_adam_by_hand(adversarial_loss, noise_scale):
    """Both gradients are taken before either network moves, each for its own."""
    by_hand = make_game(adversarial_loss)
    scale = None if noise_scale is None else torch.full((N_MEMBERS, 1, 1), noise_scale)
    net = make_net(
        copy.deepcopy(by_hand),
        max_steps=4,
        optimizer_d__lr=3e-2,
        noise=scale,
        sources={"noise": torch.Generator().manual_seed(5)},
    )
    dataset = make_dataset()
    net.partial_fit(dataset)

    steps = [dataset[batch] for batch in make_orders().draw(4)]
    noise_generator = torch.Generator().manual_seed(5)
    players = by_hand.players()
    sides = [list(network.parameters()) for network in players.values()]
    optimizers = [AdamByHand(sides[0], 1e-2), AdamByHand(sides[1], 3e-2)]
    for x in steps:
        noisy = x
        if noise_scale is not None:
            noisy = x + noise_scale * torch.randn(x.shape, generator=noise_generator)
        losses = losses_by_hand(by_hand, x.double(), noisy.double(), adversarial_loss)
        gradients = [
            torch.autograd.grad(loss, side, retain_graph=True)
            for loss, side in zip(losses, sides, strict=True)
        ]
        for optimizer, own in zip(optimizers, gradients, strict=True):
            optimizer.step(own)
    for name, network in players.items():
        found = weights(net.game.players()[name])
        for key, value in weights(network).items():
            assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


def test_members_train_as_if_alone():
    """What one member descends leaves the weights of the other alone."""

    class FirstMemberOnly(DoubleGANomaly):
        def losses(self, *args):
            return {
                player: {k: v * torch.tensor([1.0, 0.0]) for k, v in terms.items()}
                for player, terms in super().losses(*args).items()
            }

    net, before = train(make_game(cls=FirstMemberOnly), max_steps=3)
    for name, network in net.game.players().items():
        for key, value in weights(network).items():
            assert (value[0] != before[name][key][0]).any()
            assert_array_equal(value[1], before[name][key][1])


def test_networks_train_in_train_mode():
    """Whatever mode they were left in."""
    modes = []

    def look(game, x, noisy):
        modes.append((game.generator.training, game.discriminator.training))

    make_net(watched(look).eval(), max_steps=2).partial_fit(make_dataset())
    assert modes == [(True, True)] * 2


def test_training_without_discriminator():
    """An autoencoder is the same with one network and one optimiser."""

    class Alone(DoubleGANomaly):
        def players(self):
            return {"generator": self.generator}

        def losses(self, x, noisy, phase, random):
            difference = self.generator(noisy.double())[0] - x.double()
            error = difference.square().flatten(1).mean(1)
            return {"generator": {"reconstruction": error}}

    net = make_net(make_game(cls=Alone), max_steps=60)
    net.partial_fit(make_dataset())
    assert not hasattr(net, "optimizer_d_")
    first, *_, last = (row["reconstruction"] for row in net.history)
    assert last < 0.9 * first


# What is recorded.


def test_history_has_every_loss_of_every_epoch():
    """The mean over members and steps of each term, and no rows of batches."""
    seen = []

    class Kept(DoubleGANomaly):
        def losses(self, *args):
            losses = super().losses(*args)
            terms = losses["generator"] | losses["discriminator"]
            seen.append({k: v.detach().mean().item() for k, v in terms.items()})
            return losses

    net = make_net(make_game(cls=Kept), max_steps=800, n_rows=300, max_epochs=22)
    net.partial_fit(make_dataset(300))
    net.finish()
    # 37 batches are a pass over 300 rows, in chunks of 25 and 12.
    ends = [row["n_steps"] for row in net.history]
    assert ends == [*range(37, 800, 37), 800]
    assert len(seen) == 800
    for row, start in zip(net.history, [0, *ends], strict=False):
        steps = seen[start : row["n_steps"]]
        assert row["batches"] == []
        for name in TERMS:
            assert_allclose(row[name], np.mean([step[name] for step in steps]))
            assert type(row[name]) is float
        assert_allclose(row["train_loss"], sum(row[name] for name in TERMS), rtol=1e-5)
        assert row["dur"] >= 0


@pytest.mark.parametrize("max_steps", [1, 25, 26, 60])
def test_number_of_steps(max_steps):
    """As many updates as asked for, counted anew by every training."""
    watch = Watch()
    net = make_net(max_steps=max_steps, callbacks=[watch])
    net.partial_fit(make_dataset())
    assert net.n_steps_ == max_steps
    assert net.history[-1, "n_steps"] == max_steps
    assert not net.stopped_by_callback_
    # skorch copies no callbacks: one call for each network and step.
    assert len(watch.gradients) == 2 * max_steps


# Callbacks.


def test_callbacks_see_the_gradients_of_each_network():
    """First the discriminator's and then the generator's, under their names."""
    watch = Watch()
    net = make_net(max_steps=3, callbacks=[watch])
    net.partial_fit(make_dataset())
    names = [set(weights(network)) for network in net.game.players().values()]
    assert [set(found) for found in watch.gradients] == [names[1], names[0]] * 3
    for gradients in watch.gradients:
        assert all((gradient != 0).any() for gradient in gradients.values())


def test_gradient_clipping_has_its_effect():
    """The norm that skorch's GradientNormClipping allows bounds either step."""

    def step_lengths(**options):
        net, before = train(max_steps=1, optimizer=torch.optim.SGD, lr=1.0, **options)
        return [
            math.sqrt(
                sum(
                    float((value - before[name][key]).square().sum())
                    for key, value in weights(network).items()
                )
            )
            for name, network in net.game.players().items()
        ]

    clipped = step_lengths(callbacks=[GradientNormClipping(1e-3)])
    assert_allclose(clipped, [1e-3, 1e-3], rtol=1e-2)
    assert min(step_lengths()) > 1e-2


def test_early_stopping_ends_the_training():
    """It finds our losses under their names, and the net notes who stopped it."""
    stopping = EarlyStopping(
        "reconstruction",
        patience=2,
        threshold=1e9,
        threshold_mode="abs",
        sink=lambda *args: None,
    )
    net, _ = train(max_steps=500, callbacks=[stopping])
    assert net.stopped_by_callback_
    # The first epoch is the best, and two more are waited for.
    assert net.n_steps_ == 3 * 25
    assert len(net.history) == 3


@pytest.mark.parametrize(
    "event, n_steps",
    [("on_epoch_end", 5), ("on_batch_end", 5), ("on_epoch_begin", 0)],
)
def test_callback_may_interrupt(event, n_steps):
    """Training ends where a callback raises KeyboardInterrupt, without an error."""

    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    stopper = type("Stopper", (Callback,), {event: interrupt})()
    net, before = train(max_steps=100, callbacks=[stopper])
    assert net.stopped_by_callback_
    assert net.n_steps_ == n_steps
    assert any(moved(net, before)["generator"].values()) == (n_steps > 0)


def test_keyboard_is_no_callback():
    """An interrupt from outside ends the training and is told apart."""
    steps = []

    def look(game, x, noisy):
        steps.append(1)
        if len(steps) == 31:
            raise KeyboardInterrupt

    net = make_net(watched(look), max_steps=100)
    net.partial_fit(make_dataset())
    assert net.n_steps_ == 30
    assert net.interrupted_
    assert not net.stopped_by_callback_


def test_progress_bar_counts_steps(capsys):
    """The bar ends at all steps, on standard error and under its label."""
    train(max_steps=30, callbacks=[ProgressBar("Some detector")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Some detector" in captured.err
    assert "30/30" in captured.err


def test_progress_bar_goes_by_steps():
    """It stands where the training does, in the middle of a chunk as well."""
    bar, seen = ProgressBar("Some detector"), []

    class Look(Callback):
        def on_grad_computed(self, net, **kwargs):
            seen.append((bar.bar_.n, net.n_steps_))

    train(max_steps=600, callbacks=[bar, Look()])
    assert len(seen) == 2 * 600
    assert all(shown == done for shown, done in seen)
    assert bar.bar_.n == 600


# The learning rate.


@pytest.mark.parametrize("max_steps", [1, 10, 75, 200])
def test_cosine_schedule_warms_up_and_falls(max_steps):
    """Linear over the first 2 % of the steps, then half a cosine down to 1 %."""
    watch = Watch()
    train(
        max_steps=max_steps,
        schedule="cosine",
        callbacks=[watch],
        lr=0.5,
        optimizer_d__lr=0.2,
    )
    step = np.arange(max_steps)
    cosine = 0.01 + 0.99 * (1 + np.cos(np.pi * step / max_steps)) / 2
    expected = np.minimum(cosine, (step + 1) / (0.02 * max_steps))
    rates = np.array(watch.rates)
    # The discriminator's gradients come first in a step; both see the same rates.
    assert_array_equal(rates[::2], rates[1::2])
    assert_allclose(rates[::2, 0], 0.5 * expected)
    assert_allclose(rates[::2, 1], 0.2 * expected)


def test_cosine_schedule_by_hand():
    """The values at the ends of the warm-up, half way, and at the end."""
    watch = Watch()
    train(max_steps=200, schedule="cosine", callbacks=[watch], lr=1.0)
    rates = np.array(watch.rates)[::2, 0]
    assert_allclose(rates[:4], [0.25, 0.5, 0.75, 0.99 * 0.99944 + 0.01], rtol=1e-4)
    assert_allclose(rates[100], 0.505)
    assert 0.01 < rates[-1] < 0.0102
    assert (np.diff(rates[4:]) < 0).all()


def test_constant_schedule():
    """The rate stays where it was put."""
    watch = Watch()
    train(max_steps=60, callbacks=[watch], lr=0.03, optimizer_d__lr=0.02)
    assert set(watch.rates) == {(0.03, 0.02)}


def test_frozen_parameters_stay():
    """A network may hold parameters that are not to be trained."""
    game = make_game()
    for network in game.players().values():
        next(network.parameters()).requires_grad_(False)
    net, before = train(game, max_steps=2)
    for found in moved(net, before).values():
        first, *others = found.values()
        assert not first
        assert all(others)


# Divergence.


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_divergence_raises(value):
    """The error names the epoch, the step, the rate, the losses and what to do."""
    steps = []

    class Diverging(DoubleGANomaly):
        def losses(self, *args):
            losses = super().losses(*args)
            steps.append(1)
            if len(steps) > 60:
                losses["generator"]["latent"] = losses["generator"]["latent"] * value
            return losses

    net = make_net(make_game(cls=Diverging), max_steps=100, lr=2e-3)
    with pytest.raises(FloatingPointError) as caught:
        net.partial_fit(make_dataset())
    message = str(caught.value)
    assert "in epoch 13, after 65 of 100 steps" in message
    assert "learning_rate, which is 0.002, for example to 0.0002" in message
    assert "scaler='auto'" in message
    assert "GradientNormClipping" in message
    assert all(f"{name}=" in message for name in TERMS)
    assert "=nan" in message or "=inf" in message


def test_large_learning_rate_diverges_with_the_peak_in_the_message():
    """A real divergence, on a schedule, is told by the rate that was asked for."""
    with pytest.raises(FloatingPointError, match="which is 1e\\+12, for example"):
        train(max_steps=100, optimizer=torch.optim.SGD, lr=1e12, schedule="cosine")


def test_infinities_of_both_signs_are_a_divergence():
    """No warning of NumPy comes first where members diverge in opposite ways."""

    class Opposite(DoubleGANomaly):
        def losses(self, x, noisy, phase, random):
            total = self.generator(x.double())[0].square().flatten(1).mean(1)
            verdict = self.discriminator(x.double())[0].mean(1)
            return {
                "generator": {"one": total * torch.tensor([torch.inf, -torch.inf])},
                "discriminator": {"two": verdict},
            }

    with pytest.raises(FloatingPointError, match="Training diverged in epoch 1"):
        train(make_game(cls=Opposite), max_steps=1)


# Networks.


def test_networks_stay_those_that_were_given():
    """Skorch trains the very modules, with the weights they came with."""
    game = make_game()
    net = make_net(game)
    assert net.module_ is game.generator
    assert net.discriminator_ is game.discriminator
    assert isinstance(net.module_, nn.Module)
    for key, value in weights(make_game()).items():
        assert_array_equal(weights(game)[key], value)
