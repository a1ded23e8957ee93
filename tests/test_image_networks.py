"""Tests of how networks of images are trained: layout, and what is done twice."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skganomaly._models._networks import Discriminator, stack_members
from skganomaly.architectures import ConvNet

SMALL = ConvNet(base_channels=2)
NETWORKS = {
    "encoder": (lambda: SMALL.encoder((3, 9, 10), 3), (3, 9, 10)),
    "decoder": (lambda: SMALL.decoder(3, (3, 9, 10)), (3,)),
    "discriminator": (lambda: SMALL.discriminator((3, 9, 10)), (3, 9, 10)),
}


def seeded(factory):
    """Call ``factory`` with the process-wide generator seeded, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return factory()


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_trained_with_channels_last(name):
    """All convolutions, there and back; what comes out is laid out as elsewhere."""
    factory, shape = NETWORKS[name]
    stacked = stack_members(seeded(lambda: [factory() for _ in range(2)]))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, *shape))).float()
    layouts = []

    def see(tensor):
        layouts.append(tensor.is_contiguous(memory_format=torch.channels_last))

    for layer in stacked.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, x, y: (see(x[0]), see(y)) and None)
            layer.register_full_backward_hook(lambda _, x, y: see(y[0]))
    outputs = stacked(x.requires_grad_())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(output.square().sum() for output in outputs).backward()
    assert all(layouts) and len(layouts) % 3 == 0
    assert all(output.is_contiguous() for output in outputs)
    layouts.clear()
    with torch.no_grad():
        stacked(x)
    assert not any(layouts[:2])


@pytest.mark.parametrize(
    "options", [{}, {"dilation": 2, "output_padding": 1}, {"bias": False}], ids=repr
)
def test_transposed_convolution_can_be_differentiated_twice(options):
    """As by whoever has a penalty on what a decoder does to codes."""
    layer = seeded(
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 1, 3, 2, 1, **options))
    ).double()
    stacked = stack_members([layer, copy.deepcopy(layer)]).double()
    x = torch.arange(24).view(2, 1, 2, 3, 2).double().cos()
    found, wanted = [], []
    for results, network, rows in (
        (found, stacked, x),
        # Equal members, whose gradients in a stack are apart.
        (wanted, lambda x: layer(x.flatten(0, 1)), x.clone()),
    ):
        made = network(rows.requires_grad_())
        (pull,) = torch.autograd.grad(made.exp().sum(), rows, create_graph=True)
        pull.square().sum().backward()
        (weight,) = (
            p for p in (layer, stacked)[network is stacked].parameters() if p.ndim == 4
        )
        results.extend([made.flatten(), pull.detach(), rows.grad])
        results.append(weight.grad.view(-1, 2, 1, 3, 3).sum(0))
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one.detach(), other.detach())


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.3), nn.ReLU(), nn.Tanh()])
def test_logits_for_penalties(activation):
    """The same logits and slopes, and what a penalty on these does to the weights."""
    networks = seeded(
        lambda: [
            Discriminator(
                nn.Sequential(
                    nn.Conv2d(1, 2, 3), activation, nn.Conv2d(2, 2, 2), nn.Flatten()
                ),
                nn.Linear(8, 1),
            )
            for _ in range(2)
        ]
    )
    critic = stack_members(networks).double()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 1, 5, 5)))
    found, wanted = [], []
    for results, values in (
        (found, critic.twice_differentiable),
        (wanted, lambda rows: critic(rows)[0]),
    ):
        rows = x.clone().requires_grad_()
        logits = values(rows)
        (slopes,) = torch.autograd.grad(logits.sum(), rows, create_graph=True)
        weights = [p for name, p in critic.named_parameters() if "weight" in name]
        pulls = torch.autograd.grad(slopes.square().sum(), weights)
        results.extend([logits.detach(), slopes.detach(), *pulls])
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one, other, rtol=1e-10, atol=1e-12)
