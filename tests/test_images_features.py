"""Frozen features: whose network it is, what it may be, and large images."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skganomaly.images import FrozenFeatures, ImageDetector, as_images
from skganomaly.images import _features as inside

CPU = torch.device("cpu")


class Squeezed(nn.Module):
    """What is at a place depends on the mean of the whole image."""

    def forward(self, x):
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


def tiny_network(*more):
    """Feature maps at strides 2 and 4, from weights that a seed decides."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        *more,
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return network


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        return tiny_network()


def remember(network, images, *, seed=0, progress=None, **options):
    options = {"scales": (1.0,), "max_references": 300} | options
    features = FrozenFeatures(network, **options)
    images = as_images(images)
    return features.fit_maps(images, None, seed=seed, device=CPU, progress=progress)


@pytest.mark.parametrize("memory", ["bank", "gaussian"])
def test_layers_by_name_or_what_the_network_returns(memory, network, pictures, spotted):
    features = FrozenFeatures(
        network, layers=["2", "3"], memory=memory, max_references=500
    )
    detector = ImageDetector(method=features, random_state=0, false_alarm_rate=0.1)
    detector.fit(pictures)
    assert_array_equal(detector.predict(spotted), -1)
    found = detector.anomaly_map(spotted[:1])[0]
    top, left = np.unravel_index(found.argmax(), found.shape)
    assert 6 <= top <= 20 and 16 <= left <= 30
    last = remember(network, pictures, memory=memory)
    named = remember(network, pictures, memory=memory, layers=["3"])
    assert_array_equal(last.map(spotted[:1]), named.map(spotted[:1]))
    as_dict = remember(lambda x: {"a": network.eval()(x)}, pictures, memory=memory)
    assert_array_equal(last.map(spotted[:1]), as_dict.map(spotted[:1]))


def test_the_network_of_the_user_stays_as_it_is(pictures, spotted):
    """A copy is used: in evaluation, without gradients, in single precision."""
    with torch.random.fork_rng():
        network = tiny_network().double().train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    one = remember(network, pictures)
    other = remember(network, pictures)
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert not network[0]._forward_hooks
    for name, tensor in network.state_dict().items():
        assert_array_equal(tensor, before[name])
    copied = one.extract.network
    assert not copied.training and copied is not other.extract.network
    expected = one.map(spotted[:1])
    with torch.no_grad():
        network[0].weight.zero_()
    assert_array_equal(one.map(spotted[:1]), expected)
    assert_array_equal(other.map(spotted[:1]), expected)


def test_layers_behind_those_asked_for_do_not_run(pictures):
    class Refusing(nn.Module):
        def forward(self, x):
            raise AssertionError("this layer is not needed")

    with torch.random.fork_rng():
        network = nn.Sequential(tiny_network(), Refusing())
    assert np.isfinite(
        remember(network, pictures, layers=["0.2"]).map(pictures[:1])
    ).all()


@pytest.mark.parametrize("size", [(150, 201), (64, 96)])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_tiles_make_no_difference(network, size, scale, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    memory = remember(network, [image], scales=(scale,), layers=["2", "3"])
    assert memory.extract.reach == 32
    whole = memory.map(image)
    assert whole.shape == size
    seen = []
    features = inside._Extractor._features

    def counted(self, x):
        seen.append(x.shape[-2:])
        return features(self, x)

    monkeypatch.setattr(inside, "_TILE", (32, 64))
    monkeypatch.setattr(inside._Extractor, "_features", counted)
    assert_allclose(memory.map(image), whole, rtol=1e-4, atol=1e-5)
    assert len(seen) >= 4 and max(height for height, _ in seen) <= 32 + 2 * 32


@pytest.mark.parametrize(
    "layer",
    [Squeezed(), nn.Conv2d(6, 6, 40, dilation=20, padding="same"), nn.MaxPool2d(3)],
    ids=["global", "wide", "stride"],
)
def test_a_network_that_is_not_local_sees_images_whole(layer, monkeypatch):
    with torch.random.fork_rng():
        network = tiny_network(layer)
    image = np.random.default_rng(0).integers(0, 256, (3, 70, 90)).astype(np.uint8)
    memory = remember(network, [image])
    assert memory.extract.reach is None
    whole = memory.map(image)
    monkeypatch.setattr(inside, "_TILE", (32, 32))
    assert_array_equal(memory.map(image), whole)


def test_a_network_of_one_size_sees_images_whole(pictures):
    def fixed(x):
        assert x.shape[-2:] == (40, 52), "another size"
        return nn.functional.avg_pool2d(x, 4)

    assert remember(fixed, pictures).extract.reach is None
    with pytest.raises(AssertionError, match="another size"):
        remember(fixed, pictures[:, :30])


def test_a_map_lies_over_its_image():
    """Also where the size is no multiple of the stride."""

    def network(x):
        return nn.functional.avg_pool2d(x, 4)

    rng = np.random.default_rng(0)
    images = [rng.integers(100, 130, (3, 61, 75)).astype(np.uint8) for _ in range(5)]
    defect = images[0].copy()
    defect[:, 44:52, 60:68] = 255
    for scales in [(1.0,), (1.0, 2.0), (0.7,)]:
        found = remember(network, images, scales=scales, neighbourhood=1).map(defect)
        assert found.shape == (61, 75)
        rows, columns = np.nonzero(found > 0.7 * found.max())
        assert abs(rows.mean() - 47.5) < 2.5 and abs(columns.mean() - 63.5) < 2.5


def test_ranges_of_values(network, pictures):
    """The same picture in other units has the same map."""
    expected = remember(network, pictures[:, None]).map(pictures[:1])
    shares = (pictures / 255).astype(np.float32)
    found = remember(network, shares[:, None]).map(shares[:1])
    assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    deep = pictures.astype(np.uint16) * 16
    memory = remember(network, deep[:, None], value_range=(0, 4080))
    assert_allclose(memory.map(deep[:1]), expected, rtol=1e-3, atol=1e-4)
    kelvin = 270 + 100 * shares
    memory = remember(network, kelvin[:, None], value_range=(270, 370))
    assert_allclose(memory.map(kelvin[:1]), expected, rtol=1e-2, atol=1e-3)
    # Hotter than all before is what one looks for.
    assert np.isfinite(memory.map(kelvin[:1] + 200)).all()


def test_floats_that_are_no_shares_are_refused_by_name(network, pictures):
    images = list((pictures / 255).astype(np.float32))
    detector = ImageDetector(
        method=FrozenFeatures(network, scales=(1.0,)),
        random_state=0,
        false_alarm_rate=0.1,
    ).fit(images)
    bad = [*images[:7], images[7] * 255]
    words = r"Image 7: Values are between .* value_range=\(black, white\)"
    with pytest.raises(ValueError, match=words):
        detector.predict(bad)
    for place in range(20):
        images[place] = images[place] * 255
    # Whichever part of them is held out.
    with pytest.raises(ValueError, match=r"Image 1?\d: Values are between"):
        detector.fit(images)


def test_a_callable_that_is_no_module(pictures, spotted):
    """It is called as it is, and goes into a pickle if it can."""
    memory = remember(_edges, pictures)
    copied = pickle.loads(pickle.dumps(memory))
    assert_array_equal(copied.map(spotted[:1]), memory.map(spotted[:1]))
    unnamed = remember(lambda x: _edges(x), pictures)
    assert_array_equal(unnamed.map(spotted[:1]), memory.map(spotted[:1]))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(unnamed)


def _edges(x):
    return nn.functional.avg_pool2d(x[..., 1:] - x[..., :-1], 4)


def test_a_coreset_covers_what_is_rare(network, pictures, spotted):
    """One odd image in twenty is remembered; a random choice would forget it."""
    odd = np.concatenate([pictures[1:20], spotted[:1]])
    known = remember(network, odd[:, None]).map(spotted[:1]).max()
    unknown = remember(network, pictures[:20, None]).map(spotted[:1]).max()
    assert known < 0.5 * unknown


def test_progress_is_counted_in_images(network, pictures):
    counted = []

    def progress(items):
        for item in items:
            counted.append(item)
            yield item

    remember(network, pictures, progress=progress)
    assert len(counted) == len(pictures)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"layers": ["9"]}, r"layers has \['9'\].*It has \['0', '1'"),
        ({"scales": ()}, "factors above 0"),
        ({"scales": (1.0, -1.0)}, "factors above 0"),
        ({"neighbourhood": 2}, "has to be odd"),
        ({"neighbourhood": 0}, "neighbourhood"),
        ({"memory": "banks"}, "memory"),
        ({"value_range": 255}, "value_range"),
    ],
)
def test_bad_options_are_refused(options, words, network, pictures):
    with pytest.raises(ValueError, match=words):
        remember(network, pictures, **options)


@pytest.mark.parametrize(
    "network, words",
    [
        (lambda x: x.mean((2, 3)), r"\[\(1, 3\)\].* name some modules in layers"),
        (lambda x: [x, x * torch.nan], "not finite"),
        (lambda x: [], r"for one image, \[\]"),
    ],
)
def test_networks_without_feature_maps_are_refused(network, words, pictures):
    with pytest.raises(ValueError, match=words):
        remember(network, pictures)


def test_layers_that_are_not_called_are_refused(pictures):
    with torch.random.fork_rng():
        network = tiny_network()
        network[2].spare = nn.Conv2d(6, 6, 1)
    with pytest.raises(ValueError, match=r"does not call \['2.spare'\]"):
        remember(network, pictures, layers=["0", "2.spare"])


def test_images_of_other_channels_are_refused_by_place(network):
    with pytest.raises(ValueError, match=r"Image 0: .* 1 or 3 channels, and .* has 2"):
        remember(network, np.zeros((3, 2, 30, 30), dtype=np.uint8))
