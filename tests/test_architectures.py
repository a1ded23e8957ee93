"""Tests of the architectures: shapes, layers, and what they refuse."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skganomaly._models._networks import build_members
from skganomaly.architectures import MLP, ConvNet

IMAGES = [
    *((size % 4 + 1, size, size) for size in range(8, 66)),
    *((channels, size, size) for channels in range(1, 5) for size in (8, 13, 28, 65)),
    *((1, height, 73 - height) for height in range(8, 66, 3)),
    *((1, n, n) for n in range(1, 8)),
    (1, 4, 4),
    (1, 1, 30),
    (1, 30, 1),
    (3, 2, 50),
    (2, 5, 129),
]
WINDOWS = [(length % 3 + 1, length) for length in range(1, 67)]


def assert_round_trip(architecture, shape):
    with torch.device("meta"):
        networks = [
            architecture.encoder(shape, 3),
            architecture.decoder(3, shape),
            architecture.discriminator(shape),
        ]
    # Only shapes matter, so that the weights may be whatever the memory holds.
    encoder, decoder, discriminator = (
        network.to_empty(device="cpu").eval() for network in networks
    )
    x = torch.zeros(2, *shape)
    with torch.no_grad():
        code = encoder(x)
        assert code.shape == (2, 3)
        assert decoder(code).shape == x.shape
        logits, features = discriminator(x)
    assert logits.shape == (2,)
    assert features.shape == (2, discriminator.head.in_features)


@pytest.mark.parametrize("shapes", [IMAGES, WINDOWS], ids=["images", "windows"])
def test_convolutions_restore_any_shape(shapes):
    """A decoder gives back the very shape that the encoder took."""
    for shape in shapes:
        assert_round_trip(ConvNet(base_channels=1), shape)


@pytest.mark.parametrize("n_blocks", [1, 2, 5])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 65, 13), (1, 1, 30), (3, 51)])
def test_convolutions_take_any_number_of_blocks(shape, n_blocks):
    """Blocks beyond those that can halve an axis keep its length."""
    architecture = ConvNet(base_channels=1, n_blocks=n_blocks)
    assert_round_trip(architecture, shape)
    with torch.device("meta"):
        encoder = architecture.encoder(shape, 3)
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in encoder) == n_blocks


@pytest.mark.parametrize(
    "shape", [(1,), (7,), (2, 5), (1, 1), (3, 4, 5), (1, 1, 1)], ids=str
)
@pytest.mark.parametrize("normalization", ["batch", None])
def test_mlp_takes_any_shape(shape, normalization):
    """Fully connected networks flatten what they get and restore its shape."""
    assert_round_trip(MLP(hidden_layer_sizes=(4,), normalization=normalization), shape)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 1, 30), (3, 2, 50), (2, 17), (5,)])
def test_stacked_round_trip(shape):
    """The stacked networks of an ensemble restore shapes too."""
    architecture = MLP() if len(shape) == 1 else ConvNet(base_channels=2)
    generator = torch.Generator().manual_seed(0)
    encoder, decoder, discriminator = (
        build_members(factory, 2, generator, architecture.initialize).eval()
        for factory in (
            lambda: architecture.encoder(shape, 3),
            lambda: architecture.decoder(3, shape),
            lambda: architecture.discriminator(shape),
        )
    )
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, *shape))).float()
    code = encoder(x)
    assert code.shape == (2, 5, 3)
    assert decoder(code).shape == x.shape
    logits, features = discriminator(x)
    assert logits.shape == (2, 5)
    assert features.shape[:2] == (2, 5)


def layer_types(network):
    return [type(layer).__name__ for layer in network]


def test_mlp_layers_are_those_asked_for():
    """Sizes, mirrored for the decoder, with the options in their places."""
    architecture = MLP(
        hidden_layer_sizes=(6, 5),
        activation="silu",
        normalization="batch",
        output_activation="sigmoid",
    )
    hidden = ["Linear", "BatchNorm1d", "SiLU"]
    with torch.device("meta"):
        encoder, decoder = architecture.encoder((4,), 2), architecture.decoder(2, (4,))
        discriminator = architecture.discriminator((4,))
    assert layer_types(encoder) == [*hidden, *hidden, "Linear"]
    assert layer_types(decoder) == [*hidden, *hidden, "Linear", "Sigmoid"]
    sizes = [
        [layer.out_features for layer in network if isinstance(layer, nn.Linear)]
        for network in (encoder, decoder)
    ]
    assert sizes == [[6, 5, 2], [5, 6, 4]]
    assert layer_types(discriminator.features) == ["Linear", "SiLU"]
    assert discriminator.features[0].out_features == 512


def test_convnet_halves_and_doubles():
    """The DCGAN layout: halved axes, doubled channels, mirrored by the decoder."""
    architecture = ConvNet(base_channels=3)
    with torch.device("meta"):
        encoder = architecture.encoder((1, 28, 17), 5)
        decoder = architecture.decoder(5, (1, 28, 17))
        linear = ConvNet(output_activation="linear").decoder(5, (1, 8, 8))
    channels = [layer.out_channels for layer in encoder if isinstance(layer, nn.Conv2d)]
    assert channels == [3, 6, 12]
    # 28 x 17, 14 x 8, 7 x 4, and then only the long axis: 3 x 4.
    assert encoder[-1].in_features == 12 * 3 * 4
    channels = [
        layer.out_channels for layer in decoder if isinstance(layer, nn.ConvTranspose2d)
    ]
    assert channels == [6, 3, 1]
    assert layer_types(decoder)[-1] == "Tanh"
    # The first block of an encoder and the last of a decoder have no normalisation.
    assert layer_types(encoder)[:4] == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d"]
    n_norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in decoder)
    assert n_norms == 3
    assert isinstance(linear[-1], nn.ConvTranspose2d)


@pytest.mark.parametrize("sizes", [(0,), (-3,), (4, 0), (1.5,), ("4",), (None,)])
@pytest.mark.parametrize(
    "name", ["hidden_layer_sizes", "discriminator_layer_sizes"], ids=["hidden", "d"]
)
def test_bad_layer_sizes_raise(name, sizes):
    """A size that is no positive integer is named in the message."""
    architecture = MLP(**{name: sizes})
    build = {
        "hidden_layer_sizes": lambda: architecture.encoder((4,), 2),
        "discriminator_layer_sizes": lambda: architecture.discriminator((4,)),
    }[name]
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="MLP must be positive integers, got"),
    ):
        build()


@pytest.mark.parametrize(
    "architecture",
    [
        MLP(hidden_layer_sizes="55"),
        MLP(activation="step"),
        MLP(normalization="layer"),
        MLP(output_activation="relu"),
        ConvNet(base_channels=0),
        ConvNet(base_channels=2.5),
        ConvNet(n_blocks=0),
        ConvNet(n_blocks="many"),
        ConvNet(normalization="group"),
        ConvNet(output_activation="relu"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["encoder", "decoder"])
def test_bad_options_raise(architecture, method):
    """Every network of an architecture is refused before any layer is built."""
    (name,) = (
        name
        for name, value in architecture.get_params().items()
        if value != type(architecture)().get_params()[name]
    )
    arguments = {"encoder": ((1, 8, 8), 2), "decoder": (2, (1, 8, 8))}[method]
    with torch.device("meta"), pytest.raises(ValueError, match=name):
        getattr(architecture, method)(*arguments)


def test_bad_layer_sizes_raise_in_the_decoder_too():
    """One number in place of a tuple is named as it is by the encoder."""
    with torch.device("meta"), pytest.raises(ValueError, match="hidden_layer_sizes"):
        MLP(hidden_layer_sizes=5).decoder(2, (4,))


def test_convnet_refuses_plain_rows():
    """There is nothing to convolve in a row without axes, and the message says so."""
    with torch.device("meta"), pytest.raises(ValueError, match="input_shape"):
        ConvNet().encoder((5,), 2)


def test_architectures_can_be_cloned_and_tuned():
    """They are parameter objects: the parameters are all their state."""
    architecture = MLP(hidden_layer_sizes=(3,), normalization="batch")
    copied = clone(architecture).set_params(hidden_layer_sizes=np.array([4, 5]))
    assert architecture.hidden_layer_sizes == (3,)
    with torch.device("meta"):
        assert layer_types(copied.encoder((2,), 1)).count("Linear") == 3
        assert layer_types(copied.decoder(1, (2,))).count("BatchNorm1d") == 2
