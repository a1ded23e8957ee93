"""Tests of stacking members, of seeding them, and of how they round."""

import copy
import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skganomaly._models._networks import (
    Discriminator,
    MemberLoop,
    build_members,
    initialize_layers,
    keeps_blocks,
    stack_members,
)
from skganomaly.architectures import MLP, ConvNet

N_MEMBERS = 3


class Residual(nn.Module):
    """A module that is no sequence of layers."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        """Add a skip connection."""
        return self.outer(x + torch.tanh(self.inner(x)))


class CustomDiscriminator(Residual):
    """A module that is no sequence of layers and returns two tensors."""

    def forward(self, x):
        """Return logits and features."""
        features = x + torch.tanh(self.inner(x))
        return self.outer(features)[:, 0], features


def table_normed():
    """Batch-normalised MLPs, of two hidden layers."""
    return MLP(
        hidden_layer_sizes=(6, 5), discriminator_layer_sizes=(7,), normalization="batch"
    )


def shared_flatten():
    """Maps that become vectors between a convolution and another one."""
    return nn.Sequential(
        nn.Conv1d(2, 3, 3, padding=1),
        nn.BatchNorm1d(3),
        nn.Flatten(),
        nn.Linear(15, 6),
        nn.BatchNorm1d(6),
        nn.Unflatten(1, (2, 3)),
        nn.BatchNorm1d(2),
        nn.Conv1d(2, 2, 3, stride=2, bias=False),
    )


# Plain networks of one member by the shape of the rows they take.
PLAIN = {
    "linear": (lambda: nn.Linear(4, 2), (4,)),
    "linear without bias": (lambda: nn.Linear(4, 2, bias=False), (4,)),
    "mlp encoder": (lambda: MLP(hidden_layer_sizes=(6, 5)).encoder((4,), 2), (4,)),
    "mlp decoder": (
        lambda: MLP(hidden_layer_sizes=(6,), output_activation="tanh").decoder(2, (4,)),
        (2,),
    ),
    "mlp batch norm": (lambda: table_normed().encoder((4,), 2), (4,)),
    "mlp encoder of maps": (lambda: table_normed().encoder((2, 3), 2), (2, 3)),
    "mlp decoder of maps": (lambda: table_normed().decoder(2, (2, 3)), (2,)),
    "mlp discriminator": (lambda: table_normed().discriminator((4,)), (4,)),
    "mlp discriminator of maps": (
        lambda: table_normed().discriminator((1, 2, 2)),
        (1, 2, 2),
    ),
    "conv 1-D encoder": (
        lambda: ConvNet(base_channels=2).encoder((2, 11), 3),
        (2, 11),
    ),
    "conv 1-D decoder": (lambda: ConvNet(base_channels=2).decoder(3, (2, 11)), (3,)),
    "conv 2-D encoder": (
        lambda: ConvNet(base_channels=2).encoder((3, 9, 10), 3),
        (3, 9, 10),
    ),
    "conv 2-D decoder": (lambda: ConvNet(base_channels=2).decoder(3, (3, 9, 10)), (3,)),
    "conv without norm": (
        lambda: ConvNet(base_channels=2, normalization=None).encoder((1, 9, 5), 3),
        (1, 9, 5),
    ),
    "conv discriminator": (
        lambda: ConvNet(base_channels=2).discriminator((1, 9, 10)),
        (1, 9, 10),
    ),
    "conv between vectors": (shared_flatten, (2, 5)),
    "grouped conv": (
        lambda: nn.Sequential(nn.Conv1d(4, 2, 3, groups=2), nn.ReLU()),
        (4, 6),
    ),
    "conv and pooling": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.MaxPool1d(2), nn.Flatten()),
        (2, 7),
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)),
        (4,),
    ),
    "residual": (Residual, (4,)),
    "custom discriminator": (CustomDiscriminator, (4,)),
}
LOOPS = ["conv and pooling", "layer norm", "residual", "custom discriminator"]


def seeded(factory, seed=0):
    """Call ``factory`` with the process-wide generator seeded, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return factory()


def plain_networks(name):
    """The shape of a row, and members alike but for their (random) weights."""
    factory, shape = PLAIN[name]
    networks = seeded(lambda: [factory() for _ in range(N_MEMBERS)])
    generator = torch.Generator().manual_seed(1)
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (layer.weight, layer.bias, layer.running_mean):
                    tensor.data.normal_(generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
    return networks, shape


def stacked_and_plain(name, n_rows=6):
    """The stack of copies of some networks, these networks, and rows for them.

    In double precision, so that only a mistake makes a difference.
    """
    networks, shape = plain_networks(name)
    stacked = stack_members(copy.deepcopy(networks)).double()
    x = torch.from_numpy(
        np.random.default_rng(2).normal(size=(N_MEMBERS, n_rows, *shape))
    )
    return stacked, [network.double() for network in networks], x


def as_tuple(output):
    return output if isinstance(output, tuple) else (output,)


def call_each(networks, x):
    """Outputs of the networks called one by one, with the members first."""
    outputs = [
        as_tuple(network(rows)) for network, rows in zip(networks, x, strict=True)
    ]
    return [torch.stack(part) for part in zip(*outputs, strict=True)]


def assert_same_output(stacked, networks, x, mode, atol=1e-11):
    for network in (stacked, *networks):
        network.train(mode)
    with torch.no_grad():
        output, expected = as_tuple(stacked(x)), call_each(networks, x)
    assert len(output) == len(expected)
    for found, wanted in zip(output, expected, strict=True):
        assert found.shape == wanted.shape
        assert_allclose(found, wanted, rtol=1e-9, atol=atol)


every_network = pytest.mark.parametrize("name", PLAIN)


@every_network
def test_stack_equals_the_networks_one_by_one(name):
    """In both modes, and with the running statistics that training leaves behind."""
    stacked, networks, x = stacked_and_plain(name)
    assert_same_output(stacked, networks, x, mode=False)
    assert_same_output(stacked, networks, x, mode=True)
    assert_same_output(stacked, networks, 2 * x + 1, mode=True)
    assert_same_output(stacked, networks, x, mode=False)


@pytest.mark.parametrize("name", ["mlp batch norm", "conv 2-D encoder"])
def test_training_moves_running_statistics(name):
    """What the test above compares in the end is not what it started from."""
    stacked, _, x = stacked_and_plain(name)
    before = stacked.eval()(x)
    stacked.train()(3 * x + 2)
    assert (stacked.eval()(x) - before).abs().max() > 1e-3


@every_network
def test_what_has_a_batched_form_gets_it(name):
    """Members are called one by one only where there is no other way."""
    stacked, _, _ = stacked_and_plain(name)
    loops = [part for part in stacked.modules() if isinstance(part, MemberLoop)]
    assert len(loops) == (name in LOOPS)


@pytest.mark.parametrize(
    "shape, factory",
    [
        ((4,), lambda: Discriminator(CustomFeatures(), nn.Linear(4, 1))),
        ((2, 7), lambda: nn.Sequential(nn.Flatten(2), nn.Softmax(2))),
    ],
    ids=["parts of a discriminator", "softmax"],
)
def test_loop_stands_in_anywhere(shape, factory):
    """Layers in an unusual place are called member by member."""
    networks = seeded(lambda: [factory() for _ in range(2)])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, *shape))).float()
    stacked = stack_members(copy.deepcopy(networks))
    assert any(isinstance(part, MemberLoop) for part in stacked.modules())
    for found, wanted in zip(as_tuple(stacked(x)), call_each(networks, x), strict=True):
        assert_allclose(found.detach(), wanted.detach(), rtol=1e-5, atol=1e-6)


class CustomFeatures(nn.Module):
    """Features of a custom kind in a discriminator of ours."""

    def forward(self, x):
        """Return something that depends on ``x``."""
        return x.square()


class Doubled(nn.Linear):
    """A linear layer with a forward pass of its own."""

    def forward(self, x):
        """Return twice what a linear layer would."""
        return 2 * super().forward(x)


ODD = {
    "subclass": (lambda: nn.Sequential(Doubled(4, 2)), (4,)),
    "spectral norm": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)), nn.Tanh()
        ),
        (4,),
    ),
    "flatten in part": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(1, 2)),
        (1, 5, 4),
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_layers_are_not_mistaken(name):
    """What only resembles a layer with a batched form is called by itself."""
    factory, shape = ODD[name]
    networks = seeded(lambda: [factory() for _ in range(2)])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, *shape))).float()
    with torch.no_grad():
        stacked = stack_members(copy.deepcopy(networks)).eval()
        found = stacked(x)
        (wanted,) = call_each([network.eval() for network in networks], x)
    assert any(isinstance(part, MemberLoop) for part in stacked.modules())
    assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "shape, factory",
    [
        ((2, 5), lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Conv1d(2, 3, 3))),
        ((2, 5), lambda: nn.Sequential(nn.Linear(5, 3))),
        ((2, 7), lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Linear(5, 2))),
        ((6,), lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Linear(3, 2))),
    ],
    ids=["norm of maps", "linear on maps", "after a convolution", "after unflatten"],
)
def test_layers_in_unusual_places(shape, factory):
    """Layers that take vectors and maps alike have a batched form for both."""
    networks = seeded(lambda: [factory() for _ in range(2)])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, *shape))).float()
    with torch.no_grad():
        stacked = stack_members(copy.deepcopy(networks)).eval()
        (wanted,) = call_each([network.eval() for network in networks], x)
        assert_allclose(stacked(x), wanted, rtol=1e-5, atol=1e-6)
    assert not any(isinstance(part, MemberLoop) for part in stacked.modules())


def of_member(k, stacked, plain):
    """The k-th member's part of a stacked tensor, shaped like the plain one."""
    if plain.ndim < 3 and stacked.ndim == 3:
        return stacked[k].T if plain.ndim == 2 else stacked[k, 0]
    return stacked.unflatten(0, (N_MEMBERS, -1))[k]


@pytest.mark.parametrize("mode", [False, True], ids=["eval", "train"])
@every_network
def test_gradients_are_those_of_the_network_alone(name, mode):
    """Every parameter of a member is pulled as if no other member existed."""
    stacked, networks, x = stacked_and_plain(name)

    def loss(output):
        # A different pull for each entry, and not a linear one.
        return sum((part.cos() * part.exp()).sum() for part in as_tuple(output))

    loss(stacked.train(mode)(x)).backward()
    for k, network in enumerate(networks):
        loss(network.train(mode)(x[k])).backward()
        expected = list(network.parameters())
        if name in LOOPS:
            found = [p.grad for p in stacked.members[k].parameters()]
        else:
            pairs = zip(stacked.parameters(), expected, strict=True)
            found = [of_member(k, p.grad, plain) for p, plain in pairs]
        for gradient, plain in zip(found, expected, strict=True):
            assert_allclose(gradient, plain.grad, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["mlp batch norm", "conv 2-D encoder", "residual"])
def test_training_together_is_training_alone(name):
    """After some steps of Adam each member is what it would be by itself."""
    stacked, networks, x = stacked_and_plain(name)
    for network in (stacked, *networks):
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            if network is stacked:
                loss = stacked(x).square().flatten(1).mean(1).sum()
            else:
                loss = network(x[networks.index(network)]).square().mean()
            loss.backward()
            optimizer.step()
    before, _, _ = stacked_and_plain(name)
    # Adam blows the rounding of gradients that should be zero up to 1e-10.
    assert_same_output(stacked, networks, x, mode=False, atol=1e-8)
    assert (before.eval()(x) - stacked(x)).abs().max() > 1e-4


def test_stack_copies_the_weights():
    """Training the stack leaves the networks it was made from alone."""
    networks, _ = plain_networks("mlp encoder")
    before = copy.deepcopy(networks[0].state_dict())
    for parameter in stack_members(networks).parameters():
        parameter.data.zero_()
    for name, tensor in networks[0].state_dict().items():
        assert_array_equal(tensor, before[name])


# Seeding.

# How a network is made and seeded, and the shape of the rows it takes.
FACTORIES = {
    "mlp": (lambda: table_normed().encoder((4,), 2), initialize_layers, (4,)),
    "conv": (
        lambda: ConvNet(base_channels=2).encoder((1, 9, 9), 2),
        ConvNet().initialize,
        (1, 9, 9),
    ),
    "decoder": (
        lambda: ConvNet(base_channels=2).decoder(2, (1, 9, 9)),
        ConvNet().initialize,
        (2,),
    ),
    "itself": (Residual, None, (4,)),
    "itself, batched": (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU()),
        None,
        (3,),
    ),
}
every_factory = pytest.mark.parametrize(
    "factory, initialize", [entry[:2] for entry in FACTORIES.values()], ids=FACTORIES
)


def weights(factory, initialize, seed):
    generator = torch.Generator().manual_seed(seed)
    network = build_members(factory, N_MEMBERS, generator, initialize)
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def global_states():
    """States of the three process-wide generators, comparable."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (
        torch.get_rng_state().tolist(),
        (kind, keys.tolist(), *rest),
        random.getstate(),
    )


@every_factory
def test_same_seed_same_weights(factory, initialize):
    """The generator decides all weights, whatever the process-wide one did."""
    first = weights(factory, initialize, 0)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        assert_array_equal(weights(factory, initialize, 0), first)
    assert torch.isfinite(first).all()


@every_factory
def test_other_seed_other_weights(factory, initialize):
    """No weight that is drawn at all is drawn without the generator."""
    first, second = (weights(factory, initialize, seed) for seed in range(2))
    alike = first == second
    # Batch normalisation and zero biases start from constants.
    assert torch.isin(first[alike], torch.tensor([0.0, 1.0])).all()
    assert (~alike).float().mean() > 0.5


@every_factory
def test_global_generators_are_left_alone(factory, initialize):
    """Building draws from no process-wide generator, or puts it back."""
    before = global_states()
    weights(factory, initialize, 0)
    assert global_states() == before


def test_failing_factory_leaves_global_generators_alone():
    """The process-wide generator is put back when a constructor raises."""

    def factory():
        nn.Linear(3, 3)
        raise RuntimeError("no network today")

    before = global_states()
    with pytest.raises(RuntimeError, match="today"):
        build_members(factory, 2, torch.Generator().manual_seed(0))
    assert global_states() == before


@pytest.mark.parametrize("name", FACTORIES)
def test_members_differ(name):
    """An ensemble of equal networks would be no ensemble."""
    factory, initialize, shape = FACTORIES[name]
    generator = torch.Generator().manual_seed(0)
    stacked = build_members(factory, 2, generator, initialize).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, *shape))).float()
    with torch.no_grad():
        first, second = stacked(torch.stack([x, x]))
    assert (first != second).any()


def test_layers_that_initialize_does_not_know():
    """They would be left with what the memory held, so they are refused by name."""

    def factory():
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))

    generator = torch.Generator().manual_seed(0)
    with pytest.raises(TypeError, match=r"LayerNorm.*initialize"):
        build_members(factory, 2, generator, MLP().initialize)
    member = build_members(factory, 2, generator).members[0]
    assert_array_equal(member[1].weight.detach(), np.ones(4))


def test_uniform_weights_follow_the_number_of_inputs():
    """Uniform within 1 / sqrt(fan-in), torch's default for weights and biases."""
    network = seeded(lambda: nn.Sequential(nn.Linear(100, 300), nn.Conv1d(25, 100, 4)))
    initialize_layers(network, torch.Generator().manual_seed(0))
    for parameter in network.state_dict().values():
        assert parameter.abs().max() <= 0.1
        assert parameter.abs().max() > 0.095
        assert abs(float(parameter.std()) - 0.1 / 3**0.5) < 0.01


def test_gaussian_weights_are_those_of_dcgan():
    """Convolutions of the given deviation without bias, normalisation around one."""
    network = seeded(lambda: ConvNet(base_channels=16).encoder((2, 32, 32), 20))
    initialize_layers(network, torch.Generator().manual_seed(0), normal_std=0.02)
    for layer in network.requires_grad_(False):
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            assert 0.95 * bound < float(layer.weight.abs().max()) <= bound
        elif isinstance(layer, nn.Conv2d):
            assert abs(float(layer.weight.std()) - 0.02) < 0.004
            assert abs(float(layer.weight.mean())) < 0.004
            assert_array_equal(layer.bias.detach(), np.zeros(len(layer.bias)))
        elif isinstance(layer, nn.BatchNorm2d):
            assert abs(float(layer.weight.mean()) - 1) < 0.02
            assert 0.01 < float(layer.weight.std()) < 0.03
            assert_array_equal(layer.bias.detach(), np.zeros(len(layer.bias)))
            assert_array_equal(layer.running_var, np.ones(len(layer.bias)))


# Rows that round alike.


@pytest.mark.parametrize(
    ("network", "keeps"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(), nn.Linear(2, 2)), True),
        (nn.Linear(3, 2), True),
        (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), False),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), False),
        (nn.Sequential(nn.Linear(3, 2), nn.Dropout()), False),
        (nn.Sequential(nn.Sequential(nn.Linear(3, 2))), False),
        (Residual(), False),
    ],
)
def test_which_networks_take_many_blocks(network, keeps):
    """Those of batched products and what is exact, and nothing of a user's own."""
    stacked = stack_members([network, copy.deepcopy(network)])
    assert keeps_blocks(stacked) is keeps
    assert keeps_blocks(nn.Sequential(stacked, nn.ReLU())) is keeps


@pytest.mark.parametrize("name", ["mlp encoder", "mlp batch norm", "mlp discriminator"])
def test_evaluation_does_not_depend_on_position(name):
    """In eval mode an MLP gives a row the same bits wherever it stands."""
    networks, shape = plain_networks(name)
    stacked = stack_members(networks).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(N_MEMBERS, 64, *shape)))
    order = torch.from_numpy(np.random.default_rng(1).permutation(64))
    with torch.no_grad():
        straight = as_tuple(stacked(x.float()))
        shuffled = as_tuple(stacked(x.float()[:, order]))
    for one, other in zip(straight, shuffled, strict=True):
        assert_array_equal(one[:, order], other)


# Hidden layers.

HIDDEN = {
    "mlp": (MLP(discriminator_layer_sizes=(7, 6, 5)), (4,), 3),
    "mlp of maps": (MLP(discriminator_layer_sizes=(7, 5)), (2, 3, 3), 2),
    "conv 2-D": (ConvNet(base_channels=2), (3, 33, 9), 3),
    "conv 1-D": (ConvNet(base_channels=3, n_blocks=2), (2, 11), 2),
    "conv without norm": (
        ConvNet(base_channels=2, discriminator_normalization=None),
        (1, 9, 13),
        2,
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("n_members", [1, N_MEMBERS])
def test_hidden_units_are_those_of_each_network(name, n_members):
    """After the n-th nonlinearity, of every member, one vector for each row."""
    architecture, shape, n_layers = HIDDEN[name]
    networks = seeded(
        lambda: [architecture.discriminator(shape) for _ in range(n_members)]
    )
    stacked = stack_members(copy.deepcopy(networks)).double().eval()
    assert stacked.n_hidden_layers == n_layers
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(n_members, 5, *shape)))
    for layer in range(1, n_layers + 1):
        found = stacked.hidden(x, layer)
        for k, network in enumerate(networks):
            # The network's own layers, up to the n-th that bends.
            rows, passed = x[k], 0
            for module in network.double().eval().features:
                rows = module(rows)
                passed += isinstance(module, nn.LeakyReLU)
                if passed == layer:
                    break
            assert_allclose(found[k].detach(), rows.detach().flatten(1), rtol=1e-9)
    assert_allclose(found.detach(), stacked(x)[1].detach(), rtol=1e-12)


def test_hidden_units_that_cannot_be_shown():
    """Of a critic that is no sequence of plain layers, none are."""
    odd = seeded(
        lambda: [
            Discriminator(
                nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5)), nn.Linear(5, 1)
            )
            for _ in range(2)
        ]
    )
    assert stack_members(odd).n_hidden_layers == 0
    custom = stack_members(seeded(lambda: [CustomDiscriminator() for _ in range(2)]))
    assert not hasattr(custom, "n_hidden_layers")
