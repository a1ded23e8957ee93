"""Networks: building, seeding and stacking the members of an ensemble.

An architecture describes *one* network in ordinary torch layers. An ensemble of K
such networks is trained as one: :func:`stack_members` turns K equally shaped
networks into a single module whose input and output carry a leading member axis,
with batched matrix products for linear layers and grouped convolutions for
convolutional ones. One call then does the work of K, which is what makes an ensemble
of small networks affordable.
"""

import math
import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from ._products import aligned_product

__all__ = [
    "BATCH_NORMS",
    "Discriminator",
    "build_members",
    "initialize_layers",
    "keeps_blocks",
    "shapes_of_members",
    "stack_members",
]

# torch.random.fork_rng swaps the state of the process-wide generator, so two threads
# must not do it at once.
_GLOBAL_GENERATOR_LOCK = threading.Lock()

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CHANNEL_LAYERS = (*_CONVOLUTIONS, *_TRANSPOSED, *BATCH_NORMS)
_ELEMENTWISE = (
    nn.ELU,
    nn.GELU,
    nn.Identity,
    nn.LeakyReLU,
    nn.ReLU,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
)


class Discriminator(nn.Module):
    """A discriminator that also shows the features its verdict rests on.

    Parameters
    ----------
    features : nn.Module
        Maps rows to feature vectors of shape (n_rows, n_features).
    head : nn.Module
        Maps feature vectors to logits of shape (n_rows, 1).
    """

    def __init__(self, features, head):
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (last axis dropped) and the features of ``x``."""
        features = self.features(x)
        return self.head(features).squeeze(-1), features

    def twice_differentiable(self, x: Tensor) -> Tensor:
        """Logits of ``x``, for penalties on their slopes.

        A rectifier is a product with a factor that does not depend on ``x``. Its second
        derivative is zero, and autograd would send that back through all layers.
        """
        if not isinstance(self.features, nn.Sequential):
            return self(x)[0]
        for layer in self.features:
            if type(layer) in (nn.LeakyReLU, nn.ReLU):
                slope = getattr(layer, "negative_slope", 0.0)
                x = x * (x.detach() > 0).to(x.dtype).mul_(1 - slope).add_(slope)
            else:
                x = layer(x)
        return self.head(x).squeeze(-1)

    @property
    def n_hidden_layers(self):
        """Number of hidden layers that :meth:`hidden` can show; 0 if it cannot."""
        if not isinstance(self.features, nn.Sequential):
            return 0
        return sum(type(layer) in _ELEMENTWISE for layer in self.features)

    def hidden(self, x: Tensor, layer: int) -> Tensor:
        """Units of a stacked discriminator after its ``layer``-th nonlinearity.

        Parameters
        ----------
        x : Tensor of shape (n_members, n_rows, ...)
        layer : int
            From 1 to :attr:`n_hidden_layers`.

        Returns
        -------
        Tensor of shape (n_members, n_rows, n_units)
        """
        # While members are joined, their units are channels side by side.
        n_members, joined, passed = len(x), False, 0
        for module in self.features:
            x = module(x)
            if isinstance(module, _JoinChannels | _SplitChannels):
                joined = isinstance(module, _JoinChannels)
            passed += type(module) in _ELEMENTWISE
            if passed == layer:
                break
        return (_SplitChannels(n_members)(x) if joined else x).flatten(2)


class MemberLinear(nn.Module):
    """K linear layers as one batched matrix product."""

    def __init__(self, layers):
        super().__init__()
        self.weight = nn.Parameter(
            torch.stack([layer.weight.detach().T for layer in layers])
        )
        bias = [layer.bias for layer in layers if layer.bias is not None]
        self.bias = (
            nn.Parameter(torch.stack([b.detach() for b in bias])[:, None])
            if bias
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_members, n_rows, ..., n_in) to (n_members, n_rows, ..., n_out)."""
        if x.ndim > 3:
            return self(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])
        if self.training:
            if self.bias is None:
                return torch.bmm(x, self.weight)
            return torch.baddbmm(self.bias, x, self.weight)
        product = aligned_product(x, self.weight)
        return product if self.bias is None else product + self.bias


class MemberLoop(nn.Module):
    """K arbitrary modules called in turn, for layers that have no batched form."""

    def __init__(self, modules):
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Apply the k-th module to the k-th slice of the member axis."""
        outputs = [module(rows) for module, rows in zip(self.members, x, strict=True)]
        if isinstance(outputs[0], tuple):
            return tuple(torch.stack(part) for part in zip(*outputs, strict=True))
        return torch.stack(outputs)


def keeps_blocks(module: nn.Module) -> bool:
    """Whether a stacked network does the same to blocks of rows together and alone.

    What is approximated may be so in another way at the end of a tensor.
    """
    exact = MemberLinear, nn.Identity, nn.LeakyReLU, nn.ReLU
    return all(
        type(part) in exact
        for part in module.modules()
        if type(part) is MemberLoop or not part._modules
    )


def _prefers_channels_last(layer, x):
    """Whether convolutions of images are to be done with channels as the last axis.

    Twice as fast on processors, forward and back. They round differently, so rows are
    scored without.
    """
    learns = torch.is_grad_enabled() and (layer.training or x.requires_grad)
    return x.ndim == 4 and x.device.type == "cpu" and learns


def _channels_last(x):
    # A gradient that nothing depends on is None.
    return None if x is None else x.contiguous(memory_format=torch.channels_last)


class _JoinChannels(nn.Module):
    """(K, n, C, ...) to (n, K C, ...): members become groups of channels."""

    def forward(self, x: Tensor) -> Tensor:
        joined = x.transpose(0, 1).flatten(1, 2)
        return (
            _channels_last(joined) if _prefers_channels_last(self, joined) else joined
        )


class _SplitChannels(nn.Module):
    """(n, K C, ...) back to (K, n, C, ...)."""

    def __init__(self, n_members):
        super().__init__()
        self.n_members = n_members

    def forward(self, x: Tensor) -> Tensor:
        split = x.unflatten(1, (self.n_members, -1)).transpose(0, 1)
        if not _prefers_channels_last(self, x):
            return split
        if x.requires_grad:
            # Layers before this one are as slow as the slower of two layouts.
            x.register_hook(_channels_last)
        return split.contiguous()


class _Flatten(nn.Module):
    """(K, n, ...) to (K, n, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class _Unflatten(nn.Module):
    """(K, n, p) to (K, n, *shape)."""

    def __init__(self, shape):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(2, self.shape)


class _Spread(torch.autograd.Function):
    """A transposed convolution, as the gradient of a convolution to its input.

    Libraries for processors are up to twice as fast with the gradient.
    """

    @staticmethod
    def forward(ctx, x, weight, size, options):
        ctx.save_for_backward(x, weight)
        ctx.options = options
        # Of the input only the shape and the layout matter.
        into = torch.empty(
            size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
        stride, padding, dilation, groups = options
        return torch.ops.aten.convolution_backward(
            x,
            into,
            weight,
            None,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            (True, False, False),
        )[0]

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x = F.conv2d(gradient, weight, None, *ctx.options)
        if ctx.needs_input_grad[1]:
            to_weight = conv2d_weight(gradient, weight.shape, x, *ctx.options)
        return to_x, to_weight, None, None


class _Transposed2d(nn.ConvTranspose2d):
    """Transposed convolution of images that is trained faster."""

    def forward(self, x: Tensor) -> Tensor:
        if not _prefers_channels_last(self, x):
            return super().forward(x)
        sizes = zip(
            x.shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.kernel_size,
            self.output_padding,
            strict=True,
        )
        size = [
            (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1
            for n, stride, padding, dilation, kernel, more in sizes
        ]
        n_channels = self.weight.shape[1] * self.groups
        options = self.stride, self.padding, self.dilation, self.groups
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            # Which does not know of ours.
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        made = _Spread.apply(x, weight, (len(x), n_channels, *size), options)
        return made if bias is None else made + bias[:, None, None]


def _concatenated(layers):
    """One batch normalisation whose channels are those of ``layers``, side by side."""
    first = layers[0]
    layer = type(first)(
        first.num_features * len(layers),
        eps=first.eps,
        momentum=first.momentum,
        affine=first.affine,
        track_running_stats=first.track_running_stats,
    )
    _concatenate_tensors(layer, layers)
    return layer


def _grouped(layers):
    """One grouped convolution that holds the convolutions ``layers``."""
    first, n_members = layers[0], len(layers)
    options = {
        "kernel_size": first.kernel_size,
        "stride": first.stride,
        "padding": first.padding,
        "dilation": first.dilation,
        "groups": first.groups * n_members,
        "bias": first.bias is not None,
        "padding_mode": first.padding_mode,
    }
    if isinstance(first, _TRANSPOSED):
        options["output_padding"] = first.output_padding
    kind = _Transposed2d if type(first) is nn.ConvTranspose2d else type(first)
    # Built without storage: the weights come from the members, and drawing new ones
    # would advance the process-wide generator.
    layer = kind(
        first.in_channels * n_members,
        first.out_channels * n_members,
        device="meta",
        **options,
    )
    layer.to_empty(device=first.weight.device)
    _concatenate_tensors(layer, layers)
    return layer


def _concatenate_tensors(layer, layers):
    """Fill ``layer`` with the parameters and buffers of ``layers``, on axis 0."""
    states = [member.state_dict() for member in layers]
    layer.load_state_dict(
        {
            name: torch.cat([state[name] for state in states])
            if states[0][name].ndim
            else states[0][name]
            for name in states[0]
        }
    )


def stack_members(networks):
    """Combine K equally shaped networks into one that trains them side by side.

    Sequential networks of linear, convolutional, batch normalisation, flattening
    and elementwise layers become batched layers. Anything else, such as a layer with
    a forward of its own, hooks or frozen weights, is called member by member, which
    is slower and otherwise the same.

    Parameters
    ----------
    networks : list of nn.Module
        Networks that map (n_rows, *in) to (n_rows, *out), alike but for their
        weights.

    Returns
    -------
    nn.Module
        Maps (n_members, n_rows, *in) to (n_members, n_rows, *out).
    """
    first = networks[0]
    if type(first) is Discriminator:
        return Discriminator(
            stack_members([network.features for network in networks]),
            stack_members([network.head for network in networks]),
        )
    if type(first) is nn.Linear:
        networks = [nn.Sequential(network) for network in networks]
    if type(networks[0]) is nn.Sequential and all(map(_is_plain, networks[0])):
        return _stack_sequential(networks)
    return MemberLoop(networks)


def _is_plain(layer):
    """Whether a layer does what its type does, and there is a batched form of it."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if not all(parameter.requires_grad for parameter in layer.parameters()):
        return False
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.Unflatten:
        return layer.dim == 1
    return type(layer) in (nn.Linear, *_CHANNEL_LAYERS, *_ELEMENTWISE)


def _stack_sequential(networks):
    """Stack sequential networks of plain layers.

    Convolutions and batch normalisation work on (n, K C, ...), where members are
    groups of channels; the other layers on (K, n, ...).
    """
    n_members = len(networks)
    stacked, joined = [], False
    for layers in zip(*networks, strict=True):
        first = layers[0]
        if type(first) in _ELEMENTWISE:
            stacked.append(first)
            continue
        join = type(first) in _CHANNEL_LAYERS
        if join != joined:
            stacked.append(_JoinChannels() if join else _SplitChannels(n_members))
            joined = join
        if type(first) is nn.Linear:
            stacked.append(MemberLinear(layers))
        elif type(first) is nn.Flatten:
            stacked.append(_Flatten())
        elif type(first) is nn.Unflatten:
            stacked.append(_Unflatten(first.unflattened_size))
        elif type(first) in BATCH_NORMS:
            stacked.append(_concatenated(layers))
        else:
            stacked.append(_grouped(layers))
    if joined:
        stacked.append(_SplitChannels(n_members))
    return nn.Sequential(*stacked)


def initialize_layers(network, generator, *, normal_std=None):
    r"""Draw the weights of ordinary torch layers from ``generator``.

    Parameters
    ----------
    network : nn.Module
        A network of linear, convolutional and batch normalisation layers, with
        storage.
    generator : torch.Generator
        Source of randomness; the process-wide generator is not used.
    normal_std : float or None, default=None
        Standard deviation of zero-mean Gaussian weights of convolutions, with zero
        biases, and of batch normalisation scales around one, as is customary for
        convolutional GANs [1]_. Other layers, and all with None, draw weights and
        biases uniformly within :math:`\pm 1 / \sqrt{n_{in}}`, torch's own default.

    References
    ----------
    .. [1] A. Radford, L. Metz and S. Chintala, "Unsupervised representation
       learning with deep convolutional generative adversarial networks", 2015,
       arXiv:1511.06434.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, BATCH_NORMS):
                layer.reset_parameters()
                if normal_std is not None and layer.affine:
                    layer.weight.normal_(1.0, normal_std, generator=generator)
            elif isinstance(layer, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)):
                if normal_std is not None and not isinstance(layer, nn.Linear):
                    layer.weight.normal_(0.0, normal_std, generator=generator)
                    if layer.bias is not None:
                        layer.bias.zero_()
                    continue
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
                bound = 1 / math.sqrt(fan_in)
                for tensor in (layer.weight, layer.bias):
                    if tensor is not None:
                        tensor.uniform_(-bound, bound, generator=generator)
            elif layer._parameters or layer._buffers:
                raise TypeError(
                    f"Cannot initialise a {type(layer).__name__}, only linear, "
                    "convolutional and batch normalisation layers. Override "
                    "`initialize(network, generator)` of the architecture, or set it "
                    "to None for networks that initialise themselves."
                )


def _module(network):
    if not isinstance(network, nn.Module):
        raise TypeError(
            "Each method of an architecture must return a torch.nn.Module; one "
            f"returned {network!r}."
        )
    return network


def build_members(factory, n_members, generator, initialize=None, check=None):
    """Build ``n_members`` networks, seed them, and stack them into one.

    Parameters
    ----------
    factory : callable
        Returns a new network of one member.
    n_members : int
        Number of networks.
    generator : torch.Generator
        CPU generator that decides all weights.
    initialize : callable or None, default=None
        ``initialize(network, generator)`` draws the weights. None means that the
        network initialises itself when it is constructed, which torch does from the
        process-wide generator; its state is put back afterwards.
    check : callable or None, default=None
        ``check(network)`` raises if it is not what it should be.

    Returns
    -------
    nn.Module
        In single precision, as rows are; see :func:`stack_members`.
    """
    networks = []
    for _ in range(n_members):
        if initialize is not None:
            with torch.device("meta"):
                network = _module(factory())
            network.to_empty(device="cpu")
            initialize(network, generator)
        else:
            seed = int(torch.randint(2**62, (), generator=generator))
            with _GLOBAL_GENERATOR_LOCK, torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                network = _module(factory())
        networks.append(network.float())
    if check is not None:
        # A network may draw numbers whenever it is called.
        with _GLOBAL_GENERATOR_LOCK, torch.random.fork_rng(devices=[]):
            check(networks[0])
    return stack_members(networks)


def shapes_of_members(factory, n_members):
    """What :func:`build_members` builds, without storage: on torch's device "meta"."""
    with torch.device("meta"):
        return stack_members([factory().float() for _ in range(n_members)])
