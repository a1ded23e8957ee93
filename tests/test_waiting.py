"""How often the processor waits for the device: once in many steps of a training.

On the device "meta" tensors have a shape and no values, so whatever would wait for
values on a GPU raises there.
"""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, _fit
from skganomaly._models._search import CandidateCodes, LatentSearch
from skganomaly._training import _batches
from skganomaly._training._step import Run
from skganomaly._training._trainer import Trainer
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.searches import EncoderSearch, GradientSearch

META = torch.device("meta")


class Reads(TorchFunctionMode):
    """Counts what is fetched from the device, and returns zeros."""

    n_reads = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.cpu and args[0].is_meta:
            self.n_reads += 1
            return torch.zeros_like(args[0], device="cpu")
        return function(*args, **kwargs or {})


class OnOneSide(TorchDispatchMode):
    """Refuses operations with tensors of the device and of the processor."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        tensors = tree_leaves((args, kwargs, made))
        sides = {t.device.type for t in tensors if isinstance(t, torch.Tensor)}
        assert len(sides) < 2, f"{function} has tensors on {sides}"
        return made


class TrainedError(Exception):
    """The training is over."""


@pytest.fixture
def steps(monkeypatch):
    """Have detectors train on "meta" and then stop; returns the steps taken."""
    taken = []

    def step(run, rows, phase, original=Run.step):
        assert rows.is_meta
        with OnOneSide():
            made = original(run, rows, phase)
        taken.append(phase)
        return made

    def over(*args):
        raise TrainedError

    def generator(trainer):
        return torch.Generator().manual_seed(0)

    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr(_fit, "resolve_device", lambda device: META)
    monkeypatch.setattr(_fit, "fit_score", over)
    monkeypatch.setattr(Trainer, "device_generator", generator)
    return taken


WGAN = Wasserstein(n_critic=2, penalty_interval=3)
VARIANTS = {
    "GANomaly": (GANomalyDetector, {}),
    "GANomaly, noise": (GANomalyDetector, {"input_noise": 0.1, "n_members": 2}),
    "GANomaly, BCE": (GANomalyDetector, {"adversarial_loss": "bce"}),
    "autoencoder": (AutoencoderDetector, {"input_noise": 0.1}),
    "AnoGAN": (AnoGANDetector, {}),
    "AnoGAN, Wasserstein": (AnoGANDetector, {"adversary": WGAN}),
    "AnoGAN, R1": (AnoGANDetector, {"adversary": Logistic(penalty=1.0)}),
}


@pytest.mark.parametrize("images", [False, True], ids=["rows", "images"])
@pytest.mark.parametrize(("cls", "params"), VARIANTS.values(), ids=VARIANTS)
def test_training_waits_once_a_chunk(small, steps, monkeypatch, cls, params, images):
    """For the losses of up to 25 steps, and for nothing else."""
    monkeypatch.setattr(_batches, "_MIN_EPOCHS", 1)
    shape = (40, 1, 8, 8) if images else (40, 4)
    X = np.random.default_rng(0).normal(size=shape)
    n_trainings = 1
    if cls is not AutoencoderDetector:
        # Losses are all zero here, which would call for a new discriminator.
        params = {"max_restarts": 0, **params}
    if cls is AnoGANDetector:
        n_trainings, params = 2, {"search": EncoderSearch(encoder_steps=12), **params}
    detector = small(cls, conv=images, max_steps=12, batch_size=8, **params)
    with Reads() as reads, pytest.raises(TrainedError):
        detector.fit(X)
    assert len(steps) == 12 * n_trainings
    # Epochs of 8 and 4 steps; between its two trainings, AnoGAN looks at the first.
    assert reads.n_reads == (5 if cls is AnoGANDetector else 2)


def test_chunks_are_long(small, steps, monkeypatch):
    monkeypatch.setattr(_batches, "_MIN_EPOCHS", 1)
    with Reads() as reads, pytest.raises(TrainedError):
        small(max_steps=50, max_restarts=0).fit(np.eye(100, 4))
    assert len(steps) == 50 and reads.n_reads == 2


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_search_never_waits(weight):
    options = GradientSearch(
        n_starts=2, n_steps=5, feature_weight=weight, prior_weight=0.1
    )
    networks = [torch.nn.Linear(4, 4, device=META).requires_grad_(False)] * 2
    x = torch.empty(3, 20, 4, device=META)
    candidates = CandidateCodes(torch.empty(3, 7, 4, device=META))
    with OnOneSide():
        candidates.nearest(networks[0], x, 2)
        starts = candidates.same_for_all(20)
        found = LatentSearch(options)(*networks, x, starts)
    assert found.is_meta and found.shape == (3, 20, 4)


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: torch.equal(x, x),
        lambda x: x.tolist(),
        lambda x: x + torch.tensor(1.0),
        lambda x: x + torch.tensor(1.0).to(x.device),
    ],
)
def test_waiting_is_noticed(waits):
    with (
        pytest.raises((RuntimeError, NotImplementedError, AssertionError)),
        OnOneSide(),
    ):
        waits(torch.ones(3, device=META))
