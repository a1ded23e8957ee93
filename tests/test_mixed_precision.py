"""Training with products in half precision."""

import pickle
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._training._net_params import check_net_params
from skganomaly._training._step import Run
from skganomaly.adversaries import Logistic
from skganomaly.architectures import MLP, ConvNet
from skganomaly.base import BaseDetector, Method
from skganomaly.callbacks import FitCheckpoint
from skganomaly.searches import EncoderSearch

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 6))
MAPS = rng.random((40, 8, 8)).astype(np.float32)
TINY = MLP(hidden_layer_sizes=(16,), discriminator_layer_sizes=(16,))
SMALL = ConvNet(base_channels=4)
OPTIONS = {"n_members": 2, "max_steps": 12, "random_state": 0, "device": "cpu"}
SEARCH = EncoderSearch(encoder_steps=6)
HALF = {"net_params": {"mixed_precision": "bfloat16"}}

# Detectors, whether of images, and their own parameters.
DETECTORS = {
    "GANomaly": (GANomalyDetector, ROWS, {"architecture": TINY}),
    "GANomaly, published": (GANomalyDetector, ROWS, {"architecture": "published"}),
    "GANomaly, images": (GANomalyDetector, MAPS, {"architecture": SMALL}),
    "autoencoder": (AutoencoderDetector, ROWS, {"architecture": TINY}),
    "AnoGAN": (AnoGANDetector, ROWS, {"architecture": TINY, "search": SEARCH}),
    "AnoGAN, images": (AnoGANDetector, MAPS, {"search": SEARCH}),
    "AnoGAN, logistic": (
        AnoGANDetector,
        ROWS,
        {"architecture": TINY, "search": SEARCH, "adversary": Logistic(penalty=1.0)},
    ),
}


def fit(name, **params):
    cls, X, options = DETECTORS[name]
    return cls(**OPTIONS | options | params).fit(X), X


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.filterwarnings("ignore")
def test_only_products_are_in_half_precision(name):
    """Training differs by rounding; what is learned and scored is in single."""
    half, X = fit(name, **HALF)
    single, _ = fit(name)
    for loss in single.net_.loss_names_:
        pairs = [
            [epoch[loss] for epoch in detector.history_ if loss in epoch]
            for detector in (single, half)
        ]
        assert pairs[0] != pairs[1]
        assert_allclose(*pairs, rtol=0.1, atol=0.02)
    for key, tensor in half.model_.method.state_dict().items():
        assert tensor.dtype == single.model_.method.state_dict()[key].dtype
        assert not any(m._forward_hooks for m in half.model_.modules())
    scores = half.anomaly_score(X)
    assert_array_equal(half.anomaly_score(X[3:9]), scores[3:9])
    # What a fitted model does is not cast, either.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_array_equal(half.anomaly_score(X), scores)


@pytest.mark.parametrize("name", ["GANomaly", "AnoGAN, images", "AnoGAN, logistic"])
@pytest.mark.filterwarnings("ignore")
def test_gradients_are_those_of_single_precision_to_rounding(name, monkeypatch):
    """Of each player, also through the slope that a penalty is taken of."""
    gradients = []

    def keep(run, player, terms, *args, **kwargs):
        assert all(term.dtype == torch.float32 for term in terms.values())
        backward(run, player, terms, *args, **kwargs)
        learned = [p for p in run.players[player].parameters() if p.grad is not None]
        assert learned
        assert all(p.grad.dtype == torch.float32 for p in learned)
        gradients[-1].append(torch.cat([p.grad.flatten() for p in learned]))

    backward = Run._backward
    monkeypatch.setattr(Run, "_backward", keep)
    for params in ({}, HALF):
        gradients.append([])
        fit(name, max_steps=4, **params)
    # Of the first step, which starts from the same weights.
    for single, half in list(zip(*gradients, strict=True))[:2]:
        assert (single != half).any()
        cosine = torch.cosine_similarity(single, half, dim=0)
        assert cosine > 0.99
        assert_allclose(half.norm(), single.norm(), rtol=0.1)


class Reconstructs(Method):
    """Looks at its critic without gradients first, and notes what losses see."""

    seen = ()
    part_names = ("reconstruction",)

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = nn.Sequential(build("encoder"), build("decoder"))
        self.discriminator = build("discriminator")

    def losses(self, x, noisy, phase, random):
        with torch.no_grad():
            self.discriminator(x)
        made = self.generator(noisy)
        logits, features = self.discriminator(x)
        inside = self.generator[0](noisy)
        Reconstructs.seen = [v.dtype for v in (made, logits, features, inside)]
        loss = (x - made).square().flatten(1).mean(1)
        return {
            "generator": {"made": loss},
            "discriminator": {"critic": logits.square().mean(1)},
        }

    def parts(self, x, names):
        return {"reconstruction": x - self.generator(x)}


class Made(NamedTuple):
    rows: torch.Tensor


class Holding(nn.Sequential):
    """A network that returns its output by names, and in a list."""

    def forward(self, x):
        made = super().forward(x)
        return {"named": Made(made), "listed": [made]}


class Holds(Reconstructs):
    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = Holding(*self.generator)

    def losses(self, x, noisy, phase, random):
        held = self.generator(noisy)
        parts = held["named"].rows, *held["listed"]
        Holds.seen = [part.dtype for part in parts]
        loss = (x - parts[0]).square().flatten(1).mean(1)
        return {
            "generator": {"made": loss},
            "discriminator": {"critic": self.discriminator(x)[0].square().mean(1)},
        }

    def parts(self, x, names):
        made = self.generator(x)["named"].rows
        return {"reconstruction": (x - made).flatten(2)}


class OwnDetector(BaseDetector):
    _method = Reconstructs


@pytest.mark.filterwarnings("ignore")
def test_own_losses_see_single_precision_and_all_networks_learn():
    """Of what a player returns; inside it there is half precision."""
    own = OwnDetector(**OPTIONS, architecture=TINY, score_type="joint")
    before = own.set_params(max_steps=1, learning_rate=1e-12, **HALF).fit(ROWS)
    first = before.net_.discriminator_.state_dict()
    after = own.set_params(max_steps=12, learning_rate=1e-2).fit(ROWS)
    assert Reconstructs.seen == [torch.float32] * 3 + [torch.bfloat16]
    for name, tensor in after.net_.discriminator_.state_dict().items():
        assert (tensor - first[name]).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore")
def test_outputs_that_are_held_by_something():
    """They are in single precision, and held as they were."""

    class Holder(BaseDetector):
        _method = Holds

    conv = {"architecture": SMALL, "score_type": "joint"}
    Holder(**OPTIONS | {"max_steps": 1}, **conv, **HALF).fit(MAPS)
    assert Holds.seen == [torch.float32] * 2


def test_it_is_saved_and_gone_on_with(tmp_path, monkeypatch):
    """In a pickle and in a checkpoint, which a training in single precision refuses."""
    whole, X = fit("GANomaly", **HALF)
    again = pickle.loads(pickle.dumps(whole))
    assert again.net_params == HALF["net_params"]
    assert_array_equal(again.anomaly_score(X), whole.anomaly_score(X))
    kept = {"callbacks": [FitCheckpoint(tmp_path / "fit", every_n_steps=1)]}
    step = Run.step

    def killed(run, *args):
        if run.n_steps == 5:
            raise RuntimeError("killed")
        return step(run, *args)

    monkeypatch.setattr(Run, "step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit("GANomaly", **HALF, **kept)
    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(ValueError, match=r"'mixed_precision': 'bfloat16'} and is None"):
        fit("GANomaly", **kept)
    resumed, _ = fit("GANomaly", **HALF, **kept)
    assert_array_equal(resumed.anomaly_score(X), whole.anomaly_score(X))


def check(device, precision="bfloat16"):
    params = {"mixed_precision": precision}
    check_net_params(
        params, parameters=(), adversarial=True, device=torch.device(device)
    )


def test_other_precisions_are_refused():
    """Half precision of another kind needs losses to be scaled."""
    with pytest.raises(ValueError, match=r"'float16'.*'bfloat16', or None"):
        fit("GANomaly", net_params={"mixed_precision": "float16"})
    with pytest.raises(ValueError, match="is 'bfloat16', or None"):
        check("cpu", np.array(["bfloat16", "float16"]))
    check("cpu", None)


def test_a_device_without_it_is_refused(monkeypatch):
    """Where torch would raise, or warn and train in single precision."""
    check("cpu")
    check("meta", None)
    with pytest.raises(ValueError, match="not to be had on the device 'meta'"):
        check("meta")

    def disabled(kind, dtype):
        # As older versions do on Apple's GPUs.
        warnings.warn("Disabling autocast.", UserWarning, stacklevel=2)
        return autocast(kind, dtype, enabled=False)

    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", disabled)
    with (
        pytest.warns(UserWarning, match=r"Disabling autocast\."),
        pytest.raises(ValueError, match=r"on the device 'cpu'\. Leave it out"),
    ):
        fit("GANomaly", **HALF)


def test_filters_of_warnings_are_left_alone(monkeypatch):
    """They are of the process, and fits in threads would not put them back in turn."""

    def watched(*args, **kwargs):
        assert warnings.filters == filters
        return autocast(*args, **kwargs)

    filters, autocast = list(warnings.filters), torch.autocast
    monkeypatch.setattr(torch, "autocast", watched)
    check("cpu")


def test_nothing_is_entered_without_it(monkeypatch):
    """Single precision costs and changes nothing."""

    def autocast(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(torch, "autocast", autocast)
    fit("GANomaly")
    fit("GANomaly", net_params={"mixed_precision": None})
