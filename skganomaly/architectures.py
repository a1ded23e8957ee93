"""Network architectures: parameter objects that build one network at a time.

An architecture is any object with three methods,

- ``encoder(input_shape, latent_dim)``: maps rows of shape ``(n, *input_shape)`` to
  codes of shape ``(n, latent_dim)``;
- ``decoder(latent_dim, input_shape)``: the way back;
- ``discriminator(input_shape)``: returns ``(logits, features)`` of shapes ``(n,)``
  and ``(n, n_features)``,

each returning a new :class:`torch.nn.Module`. An optional fourth,
``initialize(network, generator)``, draws the weights from a
:class:`torch.Generator`; without it a network initialises itself. A class that
derives from :class:`sklearn.base.BaseEstimator`, as the two here do, can be cloned
and tuned through ``architecture__<parameter>``.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from sklearn.base import BaseEstimator
from torch import nn

from ._compat import Interval, StrOptions
from ._models._networks import Discriminator, initialize_layers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, Protocol

    class Architecture(Protocol):
        """What a detector needs of one, a discriminator only if it has an adversary."""

        def encoder(self, input_shape: Any, latent_dim: Any, /) -> nn.Module: ...

        def decoder(self, latent_dim: Any, input_shape: Any, /) -> nn.Module: ...

    _Activation = Literal["leaky_relu", "relu", "elu", "silu", "tanh"]
    _Output = Literal["linear", "tanh", "sigmoid"]

__all__ = ["MLP", "ConvNet"]

_ACTIVATIONS = {
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
_OUTPUTS = {"linear": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class MLP(BaseEstimator):
    """Fully connected networks, for tables, embeddings and other plain rows.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Units of the encoder's hidden layers; the decoder mirrors them.
    discriminator_layer_sizes : tuple of int, default=(512,)
        Units of the discriminator's hidden layers. The last of them are the
        features that feature matching compares.
    activation : {"leaky_relu", "relu", "elu", "silu", "tanh"}, default="leaky_relu"
        Nonlinearity after each hidden layer.
    normalization : {"batch"} or None, default=None
        Batch normalisation before each nonlinearity of encoder and decoder.
    output_activation : {"linear", "tanh", "sigmoid"}, default="linear"
        Last layer of the decoder.

    Examples
    --------
    >>> from skganomaly.architectures import MLP
    >>> MLP(hidden_layer_sizes=(8,)).encoder((3,), latent_dim=2)
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): LeakyReLU(negative_slope=0.2)
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like"],
        "discriminator_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "normalization": [StrOptions({"batch"}), None],
        "output_activation": [StrOptions(set(_OUTPUTS))],
    }

    def __init__(
        self,
        *,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        discriminator_layer_sizes: Sequence[int] = (512,),
        activation: _Activation = "leaky_relu",
        normalization: Literal["batch"] | None = None,
        output_activation: _Output = "linear",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.discriminator_layer_sizes = discriminator_layer_sizes
        self.activation = activation
        self.normalization = normalization
        self.output_activation = output_activation

    def encoder(self, input_shape: Sequence[int], latent_dim: int) -> nn.Module:
        """Network from rows to codes; see the module's description."""
        layers = _flatten(input_shape)
        n_units = math.prod(input_shape)
        hidden, n_units = self._hidden(n_units, self.hidden_layer_sizes)
        return nn.Sequential(*layers, *hidden, nn.Linear(n_units, latent_dim))

    def decoder(self, latent_dim: int, input_shape: Sequence[int]) -> nn.Module:
        """Network from codes to rows; see the module's description."""
        self._validate_params()
        hidden, n_units = self._hidden(latent_dim, tuple(self.hidden_layer_sizes)[::-1])
        layers = [*hidden, nn.Linear(n_units, math.prod(input_shape))]
        if self.output_activation != "linear":
            layers.append(_OUTPUTS[self.output_activation]())
        if len(input_shape) > 1:
            layers.append(nn.Unflatten(1, tuple(input_shape)))
        return nn.Sequential(*layers)

    def discriminator(self, input_shape: Sequence[int]) -> nn.Module:
        """Network from rows to (logits, features); see the module's description."""
        hidden, n_units = self._hidden(
            math.prod(input_shape), self.discriminator_layer_sizes, normalize=False
        )
        features = nn.Sequential(*_flatten(input_shape), *hidden)
        return Discriminator(features, nn.Linear(n_units, 1))

    def initialize(self, network: nn.Module, generator: torch.Generator) -> None:
        """Draw the weights of ``network`` from ``generator``."""
        initialize_layers(network, generator)

    def _hidden(self, n_units, sizes, *, normalize=True):
        self._validate_params()
        layers = []
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
                raise ValueError(
                    f"Layer sizes of {type(self).__name__} must be positive integers, "
                    f"got {size!r}."
                )
            layers.append(nn.Linear(n_units, int(size)))
            if normalize and self.normalization == "batch":
                layers.append(nn.BatchNorm1d(int(size)))
            layers.append(_ACTIVATIONS[self.activation]())
            n_units = int(size)
        return layers, n_units


class ConvNet(BaseEstimator):
    """Convolutional networks in the DCGAN layout, for images and windows.

    Strided convolutions halve each axis until it has at most four entries, doubling
    the channels each time; the decoder mirrors them with transposed convolutions
    whose output padding restores odd sizes exactly. Any number of channels, any size
    and any aspect ratio will do: an axis that is short already is convolved without
    being halved. ``input_shape`` is (channels, height, width) for images and
    (channels, length) for windows of a series.

    Parameters
    ----------
    base_channels : int, default=8
        Channels after the first block.
    n_blocks : int or "auto", default="auto"
        Number of blocks. "auto" adds blocks until the longest axis has at most four
        entries, and at least one.
    normalization : {"batch"} or None, default="batch"
        Batch normalisation in every block but the first of an encoder.
    discriminator_normalization : {"batch"} or None, default="batch"
        The same for the discriminator. A gradient penalty needs None.
    output_activation : {"linear", "tanh", "sigmoid"}, default="tanh"
        Last layer of the decoder. "tanh" fits the scaler that brings images to
        [-1, 1].

    References
    ----------
    .. [1] A. Radford, L. Metz and S. Chintala, "Unsupervised representation
       learning with deep convolutional generative adversarial networks", 2015,
       :arxiv:`1511.06434`.

    Examples
    --------
    >>> import torch
    >>> from skganomaly.architectures import ConvNet
    >>> encoder = ConvNet().encoder((1, 21, 37), latent_dim=16)
    >>> encoder(torch.zeros(2, 1, 21, 37)).shape
    torch.Size([2, 16])
    """

    _parameter_constraints = {
        "base_channels": [Interval(Integral, 1, None, closed="left")],
        # Channels double in each.
        "n_blocks": [Interval(Integral, 1, 30, closed="both"), StrOptions({"auto"})],
        "normalization": [StrOptions({"batch"}), None],
        "discriminator_normalization": [StrOptions({"batch"}), None],
        "output_activation": [StrOptions(set(_OUTPUTS))],
    }

    def __init__(
        self,
        *,
        base_channels: int = 8,
        n_blocks: int | Literal["auto"] = "auto",
        normalization: Literal["batch"] | None = "batch",
        discriminator_normalization: Literal["batch"] | None = "batch",
        output_activation: _Output = "tanh",
    ) -> None:
        self.base_channels = base_channels
        self.n_blocks = n_blocks
        self.normalization = normalization
        self.discriminator_normalization = discriminator_normalization
        self.output_activation = output_activation

    def encoder(self, input_shape: Sequence[int], latent_dim: int) -> nn.Module:
        """Network from images to codes; see the module's description."""
        blocks, n_features = self._halving_blocks(input_shape, self.normalization)
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(n_features, latent_dim))

    def decoder(self, latent_dim: int, input_shape: Sequence[int]) -> nn.Module:
        """Network from codes to images; see the module's description."""
        self._validate_params()
        sizes = self._sizes(input_shape)
        channels = [self.base_channels * 2**i for i in range(len(sizes) - 1)][::-1]
        deepest = (channels[0], *sizes[-1])
        layers = [
            nn.Linear(latent_dim, math.prod(deepest)),
            nn.Unflatten(1, deepest),
            *_normalized(self.normalization, channels[0], len(sizes[0])),
            nn.ReLU(),
        ]
        convolution = getattr(nn, f"ConvTranspose{len(sizes[0])}d")
        outputs = [*channels[1:], input_shape[0]]
        for i, (before, after) in enumerate(zip(channels, outputs, strict=True)):
            small, large = sizes[-1 - i], sizes[-2 - i]
            kernel, stride, padding = _geometry(large)
            layers.append(
                convolution(
                    before,
                    after,
                    kernel,
                    stride,
                    padding,
                    output_padding=tuple(
                        to - step * size
                        for to, step, size in zip(large, stride, small, strict=True)
                    ),
                )
            )
            if i < len(channels) - 1:
                layers += [
                    *_normalized(self.normalization, after, len(small)),
                    nn.ReLU(),
                ]
        if self.output_activation != "linear":
            layers.append(_OUTPUTS[self.output_activation]())
        return nn.Sequential(*layers)

    def discriminator(self, input_shape: Sequence[int]) -> nn.Module:
        """Network from images to (logits, features); see the module's description."""
        blocks, n_features = self._halving_blocks(
            input_shape, self.discriminator_normalization
        )
        return Discriminator(
            nn.Sequential(*blocks, nn.Flatten()), nn.Linear(n_features, 1)
        )

    def initialize(self, network: nn.Module, generator: torch.Generator) -> None:
        """Draw the weights of ``network`` from ``generator``."""
        # The small weights of DCGAN need a normalisation that brings back the scale.
        normalized = any("BatchNorm" in type(m).__name__ for m in network.modules())
        std = 0.02 if normalized else None
        initialize_layers(network, generator, normal_std=std)

    def _sizes(self, input_shape):
        """Spatial sizes from the input to the deepest layer."""
        if len(input_shape) not in (2, 3):
            raise ValueError(
                f"ConvNet cannot work on rows of shape {tuple(input_shape)}. Pass "
                "input_shape=(channels, height, width) or (channels, length)."
            )
        sizes = [tuple(input_shape[1:])]
        while len(sizes) == 1 or (
            max(sizes[-1]) > 4
            if self.n_blocks == "auto"
            else len(sizes) <= self.n_blocks
        ):
            _, stride, _ = _geometry(sizes[-1])
            sizes.append(
                tuple(n // step for n, step in zip(sizes[-1], stride, strict=True))
            )
        return sizes

    def _halving_blocks(self, input_shape, normalization):
        self._validate_params()
        sizes = self._sizes(input_shape)
        convolution = getattr(nn, f"Conv{len(sizes[0])}d")
        layers, before = [], input_shape[0]
        for i, size in enumerate(sizes[:-1]):
            after = self.base_channels * 2**i
            layers.append(convolution(before, after, *_geometry(size)))
            if i:
                layers += _normalized(normalization, after, len(size))
            layers.append(nn.LeakyReLU(0.2))
            before = after
        return layers, before * math.prod(sizes[-1])


def _normalized(normalization, n_channels, n_axes):
    if normalization is None:
        return []
    return [getattr(nn, f"BatchNorm{n_axes}d")(n_channels)]


def _flatten(input_shape):
    return [nn.Flatten()] if len(input_shape) > 1 else []


def _geometry(size):
    """Kernel, stride and padding that halve long axes and keep short ones."""
    halve = [n > 4 for n in size]
    return (
        tuple(4 if h else 3 for h in halve),
        tuple(2 if h else 1 for h in halve),
        tuple(1 for _ in halve),
    )


def check_network(method, input_shape, latent_dim, network):
    """Call a network of a user on two rows, and refuse one of the wrong shape.

    Parameters
    ----------
    method : {"encoder", "decoder", "discriminator"}
        What it should be; see the module's description.
    input_shape : tuple of int
    latent_dim : int
    network : nn.Module
        On the CPU. It is left in the mode it was in.
    """
    rows, codes = (2, *input_shape), (2, latent_dim)
    given = codes if method == "decoder" else rows
    expected = {
        "encoder": f"codes of shape {codes}",
        "decoder": f"rows of shape {rows}",
        "discriminator": "(logits, features) of shapes (2,) and (2, n_features)",
    }[method]
    modes = [(module, module.training) for module in network.modules()]
    problem, cause = None, None
    try:
        with torch.no_grad():
            made = network.eval()(torch.zeros(given, dtype=torch.float32))
    except Exception as error:
        problem, cause = f"it raised {type(error).__name__}: {error}", error
    else:
        if not _fits(made, method, codes if method == "encoder" else rows):
            problem = f"it returned {_described(made)}"
    finally:
        for module, mode in modes:
            module.training = mode
    if problem is not None:
        raise ValueError(
            f"The {method} of the architecture does not fit: given two rows, a tensor "
            f"of shape {given}, {problem}. It must return {expected}; see "
            "skganomaly.architectures."
        ) from cause


def _fits(made, method, shape):
    if method != "discriminator":
        return _shape(made) == shape
    shapes = [_shape(part) for part in made] if isinstance(made, tuple) else []
    return len(shapes) == 2 and shapes[0] == (2,) and len(shapes[1] or ()) == 2


def _shape(made):
    return tuple(made.shape) if isinstance(made, torch.Tensor) else None


def _described(made):
    if isinstance(made, torch.Tensor):
        return f"a tensor of shape {_shape(made)}"
    if isinstance(made, tuple | list):
        parts = " and ".join(map(_described, made))
        return f"a {type(made).__name__} of {parts}"
    return f"a {type(made).__name__}"
