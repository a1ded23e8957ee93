"""Images on a GPU: fits, scores that agree with the CPU's, and memory given back."""

import gc
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skganomaly.images import DefectDiscriminator, FrozenFeatures, ImageDetector

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch finds no CUDA device"
    ),
]


def differences(x):
    """A network that is no module."""
    return nn.functional.avg_pool2d((x[..., 1:] - x[..., :-1]).square(), 4)


def tiny_network():
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return network


def method_of(name):
    options = {"scales": (1.0,), "max_references": 300}
    if name == "defects":
        return DefectDiscriminator(n_steps=20, batch_size=4)
    if name == "callable":
        return FrozenFeatures(differences, **options)
    memory = "gaussian" if name == "gaussian" else "bank"
    with torch.random.fork_rng():
        return FrozenFeatures(tiny_network(), memory=memory, **options)


METHODS = ["defects", "bank", "gaussian", "callable"]


def fit(name, pictures, **params):
    method = method_of(name) if isinstance(name, str) else [*map(method_of, name)]
    defaults = {"random_state": 0, "false_alarm_rate": 0.1, "device": "cuda"}
    return ImageDetector(method=method, **defaults | params).fit(pictures)


def on_cpu(detector):
    """The same detector on the CPU, by way of a pickle."""
    device = detector.device
    try:
        pickled = pickle.dumps(detector.set_params(device="cpu"))
    finally:
        detector.set_params(device=device)
    return pickle.loads(pickled)


def devices(method):
    return {tensor.device.type for tensor in method.state_dict().values()}


@pytest.mark.parametrize("name", [*METHODS, ("defects", "bank")], ids=str)
def test_agreement_with_the_cpu(name, pictures, spotted):
    """What was fitted on CUDA scores the same on the CPU, to what TF32 rounds."""
    detector = fit(name, pictures)
    assert all(devices(method) == {"cuda"} for method in detector.methods_)
    copied = on_cpu(detector)
    assert all(devices(method) == {"cpu"} for method in copied.methods_)
    assert copied.threshold_ == detector.threshold_
    both = np.concatenate([pictures[:20], spotted])
    expected = copied.anomaly_score(both)
    spread = expected.std()
    assert_allclose(detector.anomaly_score(both), expected, atol=0.05 * spread, rtol=0)
    for found, map_ in zip(
        detector.anomaly_map(spotted), copied.anomaly_map(spotted), strict=True
    ):
        assert found.dtype == np.float32 and found.shape == (40, 52)
        assert np.abs(found - map_).max() < 0.1 * np.ptp(map_)
    if name != "defects":
        assert (detector.predict(spotted) == -1).all()


@pytest.mark.parametrize("name", METHODS)
def test_from_the_cpu_to_cuda(name, pictures, spotted):
    detector = fit(name, pictures, device="cpu")
    expected = detector.anomaly_score(spotted)
    copied = pickle.loads(pickle.dumps(detector.set_params(device="cuda")))
    assert devices(copied.methods_[0]) == {"cuda"}
    found = copied.anomaly_score(spotted)
    assert_allclose(found, expected, atol=0.05 * np.abs(expected).max(), rtol=0)


def test_the_network_of_the_user_stays_where_it_is(pictures, spotted):
    """One on CUDA serves a detector on the CPU, and the reverse; none is moved."""
    for place, device in (("cuda", "cpu"), ("cpu", "cuda")):
        features = method_of("bank")
        features.network.to(place)
        detector = ImageDetector(
            method=features, random_state=0, false_alarm_rate=0.1, device=device
        ).fit(pictures)
        assert devices(features.network) == {place}
        assert devices(detector.methods_[0]) == {device}
        # A pickle has nothing of CUDA in it.
        state = pickle.loads(pickle.dumps(features))
        assert devices(state.network) == {"cpu"}
        assert np.isfinite(detector.anomaly_score(spotted)).all()


def test_tiles_on_cuda(pictures, monkeypatch):
    from skganomaly.images import _features

    detector = fit("bank", pictures)
    memory = detector.methods_[0]
    assert memory.extract.reach is not None
    image = np.random.default_rng(0).integers(0, 256, (1, 300, 400), dtype=np.uint8)
    whole = memory.map(image)
    monkeypatch.setattr(_features, "_TILE", (64, 96))
    assert_allclose(memory.map(image), whole, rtol=1e-2, atol=1e-2 * whole.max())


def test_global_generator_of_cuda(pictures):
    """CUDA's process-wide generator is neither used nor seeded."""
    torch.zeros(1, device="cuda")
    before = torch.cuda.get_rng_state()
    fit(("defects", "bank"), pictures).anomaly_map(pictures[:2])
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.parametrize("name", METHODS)
def test_memory_is_given_back(name, pictures):
    """After ``del`` the GPU is as empty as before, but for a small rest."""
    # The first use of cuBLAS and cuDNN leaves workspaces behind, once.
    fit(name, pictures).predict(pictures[:2])
    gc.collect()
    before = torch.cuda.memory_allocated()
    detector = fit(name, pictures)
    detector.anomaly_map(pictures[:2])
    gc.collect()
    held = torch.cuda.memory_allocated() - before
    owned = sum(
        tensor.nbytes
        for method in detector.methods_
        for tensor in method.state_dict().values()
    )
    # Blocks of 512 bytes, and no image, crop or gradient.
    assert held < owned + 2**20
    del detector
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 2**16
