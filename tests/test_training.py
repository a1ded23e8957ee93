"""Tests of adversarial training: what a step moves, what is recorded, how it ends."""

import copy
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from torch import nn
from torch.nn import functional as F

from skganomaly._data import FeatureScaler, RowDataset, TensorBatches
from skganomaly._ganomaly import EncoderDecoderEncoder, GANomalyObjective
from skganomaly._networks import build_members
from skganomaly._training import AdversarialNet, ProgressBar
from skganomaly.architectures import MLP

CPU = torch.device("cpu")
N_MEMBERS = 2
WEIGHTS = {
    "reconstruction_weight": 1.0,
    "latent_weight": 0.5,
    "adversarial_weight": 0.3,
}
TERMS = {"reconstruction", "latent", "adversarial", "discriminator"}


def make_networks():
    """A tiny GANomaly of two members, in double precision."""
    architecture = MLP(hidden_layer_sizes=(5,), discriminator_layer_sizes=(6,))
    generator = torch.Generator().manual_seed(0)

    def build(factory):
        return build_members(factory, N_MEMBERS, generator, architecture.initialize)

    networks = {
        "generator": EncoderDecoderEncoder(
            build(lambda: architecture.encoder((3,), 2)),
            build(lambda: architecture.decoder(2, (3,))),
            build(lambda: architecture.encoder((3,), 2)),
        ),
        "discriminator": build(lambda: architecture.discriminator((3,))),
    }
    return {name: network.double() for name, network in networks.items()}


def make_objective(adversarial_loss="feature_matching"):
    """GANomaly's losses, on rows brought to double precision."""
    losses = GANomalyObjective(
        reconstruction_loss="l2", adversarial_loss=adversarial_loss, **WEIGHTS
    )

    def objective(generator, discriminator, x, noisy):
        return losses(generator, discriminator, x.double(), noisy.double())

    return objective


def make_dataset(n_rows=40):
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    return RowDataset(X, FeatureScaler("standard", (3,)).fit(X), CPU)


def make_net(networks=None, objective=None, *, max_steps=30, **options):
    """An initialised net, made as detectors make it."""
    defaults = {
        "lr": 1e-2,
        "batch_size": 8,
        "max_epochs": len(TensorBatches.epoch_lengths(40, 8, max_steps)),
        "device": "cpu",
        "verbose": 0,
        "schedule": "constant",
        "iterator_train": TensorBatches,
        "iterator_train__n_members": N_MEMBERS,
        "iterator_train__max_steps": max_steps,
        "iterator_train__generator": torch.Generator().manual_seed(3),
    }
    return AdversarialNet(
        networks or make_networks(),
        objective or make_objective(),
        max_steps=max_steps,
        **defaults | options,
    ).initialize()


def train(**options):
    """A trained net, and the weights of its networks before."""
    networks = make_networks()
    before = {name: weights(network) for name, network in networks.items()}
    return make_net(networks, **options).partial_fit(make_dataset()), before


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(net, before):
    """By network and parameter, whether training moved it."""
    return {
        name: {
            key: bool((value != before[name][key]).any())
            for key, value in weights(network).items()
        }
        for name, network in net.networks.items()
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
        objective=make_objective(adversarial_loss),
        optimizer__lr=0.0,
        optimizer_d__lr=1e-2,
    )
    found = moved(net, before)
    assert not any(found["generator"].values())
    assert all(found["discriminator"].values())


@pytest.mark.parametrize("adversarial_loss", ["feature_matching", "bce"])
def test_generator_loss_moves_the_generator_alone(adversarial_loss):
    """With the discriminator's rate at zero not a bit of it changes."""
    net, before = train(objective=make_objective(adversarial_loss), optimizer_d__lr=0.0)
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
        assert held == {id(p) for p in net.networks[name].parameters()}
        assert group["lr"] == group["initial_lr"] == rate
        assert group["betas"] == (0.5, 0.9)


def losses_by_hand(networks, x, noisy, adversarial_loss):
    """Both losses of the members together, from the formulas."""
    generator, discriminator = networks["generator"], networks["discriminator"]
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
    by_hand = make_networks()
    scale = None if noise_scale is None else torch.full((N_MEMBERS, 1, 1), noise_scale)
    net = make_net(
        copy.deepcopy(by_hand),
        make_objective(adversarial_loss),
        max_steps=4,
        optimizer_d__lr=3e-2,
        noise=scale,
        noise_generator=torch.Generator().manual_seed(5),
    )
    dataset = make_dataset()
    net.partial_fit(dataset)

    batches = TensorBatches(
        dataset,
        8,
        n_members=N_MEMBERS,
        max_steps=4,
        generator=torch.Generator().manual_seed(3),
    )
    steps = [rows for _ in range(4) for chunk in batches for rows in chunk]
    noise_generator = torch.Generator().manual_seed(5)
    sides = [list(by_hand[name].parameters()) for name in by_hand]
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
    for name, network in by_hand.items():
        for key, value in weights(network).items():
            assert_allclose(
                weights(net.networks[name])[key], value, rtol=1e-5, atol=1e-6
            )


def test_members_train_as_if_alone():
    """What one member descends leaves the weights of the other alone."""
    full = make_objective()

    def first_member_only(*args):
        return tuple(
            {name: term * torch.tensor([1.0, 0.0]) for name, term in terms.items()}
            for terms in full(*args)
        )

    net, before = train(objective=first_member_only, max_steps=3)
    for name, network in net.networks.items():
        for key, value in weights(network).items():
            assert (value[0] != before[name][key][0]).any()
            assert_array_equal(value[1], before[name][key][1])


def test_networks_train_in_train_mode():
    """Whatever mode they were left in."""
    modes = []
    full = make_objective()

    def objective(generator, discriminator, x, noisy):
        modes.append((generator.training, discriminator.training))
        return full(generator, discriminator, x, noisy)

    networks = make_networks()
    for network in networks.values():
        network.eval()
    make_net(networks, objective, max_steps=2).partial_fit(make_dataset())
    assert modes == [(True, True)] * 2


def test_training_without_discriminator():
    """An autoencoder is the same with one network and one optimiser."""
    networks = {"generator": make_networks()["generator"]}

    def objective(generator, discriminator, x, noisy):
        assert discriminator is None
        difference = generator(noisy.double())[0] - x.double()
        return {"reconstruction": difference.square().flatten(1).mean(1)}, {}

    net = make_net(networks, objective, max_steps=60)
    net.partial_fit(make_dataset())
    assert not hasattr(net, "optimizer_d_")
    first, *_, last = (row["reconstruction"] for row in net.history)
    assert last < 0.9 * first


# What is recorded.


def test_history_has_every_loss_of_every_epoch():
    """The mean over members and steps of each term, and no rows of batches."""
    seen = []
    full = make_objective()

    def objective(*args):
        terms = full(*args)
        seen.append(
            {k: v.detach().mean().item() for k, v in (terms[0] | terms[1]).items()}
        )
        return terms

    net = make_net(objective=objective, max_steps=800, max_epochs=22)
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
    names = [set(dict(net.networks[n].named_parameters())) for n in make_networks()]
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
            for name, network in net.networks.items()
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
    full = make_objective()
    steps = []

    def objective(*args):
        steps.append(1)
        if len(steps) == 31:
            raise KeyboardInterrupt
        return full(*args)

    net = make_net(objective=objective, max_steps=100)
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
    networks = make_networks()
    for network in networks.values():
        next(network.parameters()).requires_grad_(False)
    before = {name: weights(network) for name, network in networks.items()}
    net = make_net(networks, max_steps=2).partial_fit(make_dataset())
    for found in moved(net, before).values():
        first, *others = found.values()
        assert not first
        assert all(others)


# Divergence.


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_divergence_raises(value):
    """The error names the epoch, the step, the rate, the losses and what to do."""
    full = make_objective()
    steps = []

    def objective(*args):
        generator_terms, discriminator_terms = full(*args)
        steps.append(1)
        if len(steps) > 60:
            generator_terms["latent"] = generator_terms["latent"] * value
        return generator_terms, discriminator_terms

    net = make_net(objective=objective, max_steps=100, lr=2e-3)
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

    def objective(generator, discriminator, x, noisy):
        total = generator(x.double())[0].square().flatten(1).mean(1)
        verdict = discriminator(x.double())[0].mean(1)
        return {"one": total * torch.tensor([torch.inf, -torch.inf])}, {"two": verdict}

    with pytest.raises(FloatingPointError, match="Training diverged in epoch 1"):
        train(objective=objective, max_steps=1)


# Noise.


def noise_of(scale, seed=5, max_steps=3):
    """Rows and noisy rows of each step."""
    full = make_objective()
    seen = []

    def objective(generator, discriminator, x, noisy):
        seen.append((x.clone(), noisy.clone()))
        return full(generator, discriminator, x, noisy)

    make_net(
        objective=objective,
        max_steps=max_steps,
        noise=scale,
        noise_generator=torch.Generator().manual_seed(seed),
    ).partial_fit(make_dataset())
    return [torch.stack(part) for part in zip(*seen, strict=True)]


def test_noise_has_its_members_scale():
    """Gaussian noise on the input, for each member of its own strength."""
    x, noisy = noise_of(torch.tensor([0.0, 0.5]).view(2, 1, 1), max_steps=100)
    assert_array_equal(noisy[:, 0], x[:, 0])
    noise = (noisy - x)[:, 1]
    assert_allclose(float(noise.std()), 0.5, rtol=0.1)
    assert abs(float(noise.mean())) < 0.05
    assert len(torch.unique(noise[:, :, 0])) > 0.99 * noise[:, :, 0].numel()


def test_no_noise():
    """Without noise the generator gets the rows as they are."""
    x, noisy = noise_of(None)
    assert_array_equal(x, noisy)


def test_noise_comes_from_its_generator_alone():
    """Its seed decides it, the process-wide generator neither does nor is moved."""
    scale = torch.full((2, 1, 1), 0.5)
    before = torch.get_rng_state()
    x, noisy = noise_of(scale)
    assert_array_equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        same_x, same_noisy = noise_of(scale)
    assert_array_equal(same_noisy, noisy)
    other_x, other_noisy = noise_of(scale, seed=6)
    assert_array_equal(other_x, x)
    assert_array_equal(same_x, x)
    assert (other_noisy != noisy).all()


def test_networks_stay_those_that_were_given():
    """Skorch trains the very modules, with the weights they came with."""
    networks = make_networks()
    net = make_net(networks)
    assert net.module_ is networks["generator"]
    assert net.discriminator_ is networks["discriminator"]
    assert isinstance(net.module_, nn.Module)
    for name, fresh in make_networks().items():
        for key, value in weights(fresh).items():
            assert_array_equal(weights(networks[name])[key], value)
