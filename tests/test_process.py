"""Settings of the user's process, none of which may break or change a result."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._process import own_settings
from skganomaly.architectures import MLP, ConvNet
from skganomaly.searches import EncoderSearch, NearestSearch
from skganomaly.thresholds import TailThreshold


@contextmanager
def _set(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


SETTINGS = {
    "double precision": partial(
        _set, torch.set_default_dtype, torch.float64, torch.float32
    ),
    "half precision": partial(
        _set, torch.set_default_dtype, torch.bfloat16, torch.float32
    ),
    "no_grad": torch.no_grad,
    "gradients disabled": partial(_set, torch.set_grad_enabled, False, True),
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu"),
    "default device": partial(_set, torch.set_default_device, "meta", None),
    "device context": partial(torch.device, "meta"),
    "NumPy raises": partial(np.errstate, all="raise"),
    "assume_finite": partial(sklearn.config_context, assume_finite=True),
}


class SelfInitialising:
    """Networks of a user, which draw their own weights from the global generator."""

    def encoder(self, input_shape, latent_dim):
        return nn.Sequential(nn.Linear(input_shape[0], 4), nn.PReLU(), nn.Linear(4, 2))

    def decoder(self, latent_dim, input_shape):
        return nn.Linear(latent_dim, input_shape[0])


TINY = MLP(hidden_layer_sizes=(4,), discriminator_layer_sizes=(4,))
SHORT = {"architecture": TINY, "max_steps": 3, "n_members": 2, "random_state": 0}
DETECTORS = {
    "GANomaly": GANomalyDetector(**SHORT),
    "images": GANomalyDetector(
        **SHORT | {"architecture": ConvNet(base_channels=2)}, input_shape=(1, 5, 6)
    ),
    "autoencoder": AutoencoderDetector(**SHORT, validation_fraction=0.2),
    "own networks": AutoencoderDetector(
        **SHORT | {"architecture": SelfInitialising()}, latent_dim=2
    ),
    "AnoGAN": AnoGANDetector(**SHORT, search=EncoderSearch(encoder_steps=3)),
    "search": AnoGANDetector(**SHORT, search=NearestSearch(n_candidates=20, n_steps=2)),
}


def _rows(name):
    n_features = 30 if name == "images" else 3
    return np.random.default_rng(0).normal(size=(30, n_features))


def _everything(name):
    """All that a detector can say, after a round through pickle."""
    X = _rows(name)
    detector = sklearn.clone(DETECTORS[name]).fit(X)
    detector = pickle.loads(pickle.dumps(detector))
    return detector, {
        "threshold_": detector.threshold_,
        "predict": detector.predict(X),
        "score_samples": detector.score_samples(X),
        "p_values": detector.p_values(X),
        "encode": detector.encode(X),
        "reconstruct": detector.reconstruct(X),
        "sample": detector.sample(3, random_state=0),
        "anomaly_map": detector.anomaly_map(X),
        "explain": detector.explain(X[:3], n_steps=2),
    }


@cache
def _undisturbed(name):
    return _everything(name)[1]


# Every detector under every setting, and its variants under those that differ for them.
CASES = [
    (name, setting)
    for name in DETECTORS
    for setting in SETTINGS
    if name in ("GANomaly", "autoencoder", "AnoGAN")
    or setting in ("double precision", "inference_mode", "autocast", "default device")
]


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_settings_of_the_process_change_nothing(name, setting):
    """Fit, pickle and every method give the same to the last bit, inside and after."""
    expected = _undisturbed(name)
    with SETTINGS[setting]():
        detector, found = _everything(name)
    for method, values in expected.items():
        assert_array_equal(found[method], values, err_msg=method)
    assert_array_equal(
        detector.explain(_rows(name)[:3], n_steps=2), expected["explain"]
    )


def test_missing_values_are_refused_when_scikit_learn_assumes_there_are_none():
    """A row with NaN is an error and not a normal row, whatever is assumed."""
    X = _rows("GANomaly")
    detector = sklearn.clone(DETECTORS["GANomaly"]).fit(X)
    X[1, 1] = np.nan
    with sklearn.config_context(assume_finite=True):
        for method in (detector.predict, sklearn.clone(detector).fit):
            with pytest.raises(ValueError, match="NaN"):
                method(X)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_as_before_afterwards(setting):
    """What a block finds is put back, also when it fails."""

    def state():
        return (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.empty(0).device,
            np.geterr(),
            sklearn.get_config(),
        )

    detector = sklearn.clone(DETECTORS["GANomaly"])
    with SETTINGS[setting]():
        before = state()
        with own_settings():
            assert torch.zeros(1, requires_grad=True).sqrt().requires_grad
            assert torch.zeros(1).dtype == torch.float32
        assert state() == before
        with pytest.raises(ValueError, match="NaN"):
            detector.fit(np.full((3, 3), np.nan))
        assert state() == before


class _Look(Callback):
    def on_epoch_end(self, net, **kwargs):
        """Note, from this and from another thread, what torch makes by default."""
        with ThreadPoolExecutor() as pool:
            other = pool.submit(lambda: torch.zeros(1).dtype).result()
        self.net_dtypes = torch.zeros(1).dtype, other


def test_other_threads_keep_their_settings():
    """Callbacks see our settings; another thread, while one fits, those it had."""
    detector = sklearn.clone(DETECTORS["GANomaly"]).set_params(callbacks=[_Look()])
    with SETTINGS["double precision"]():
        detector.fit(_rows("GANomaly"))
    (seen,) = (c for _, c in detector.net_.callbacks_ if isinstance(c, _Look))
    assert seen.net_dtypes == (torch.float32, torch.float64)


def test_worker_threads_score_the_same():
    """Threads of a pool have settings of their own, and ours hold in each of them."""
    X = _rows("GANomaly")
    detector = sklearn.clone(DETECTORS["GANomaly"]).fit(X)
    expected = detector.explain(X, n_steps=2)

    def disturbed(setting):
        with SETTINGS[setting]():
            return detector.explain(X, n_steps=2)

    # Those that are of the process and not of a thread would disturb each other.
    settings = [name for name in SETTINGS if "precision" not in name]
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(disturbed, settings):
            assert_array_equal(found, expected)


MAKERS = {
    "layer": lambda: nn.BatchNorm1d(2).weight,
    "float": lambda: torch.tensor(1.5),
    "floats": lambda: torch.tensor([1.5]),
    "range of floats": lambda: torch.arange(0.0, 3.0),
    "full of floats": lambda: torch.full((2,), 1.5),
    "zeros": lambda: torch.zeros(2),
    "integers": lambda: torch.tensor([1, 2]),
    "range": lambda: torch.arange(3),
    "mask": lambda: torch.full((2,), True),
    "array": lambda: torch.tensor(np.ones(2)),
    "asked for": lambda: torch.zeros(2, dtype=torch.float64),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
    "like another": lambda: torch.zeros_like(torch.ones(2, dtype=torch.float64)),
    "into another": lambda: torch.zeros(2, out=torch.ones(2, dtype=torch.float64)),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_new_tensors_are_what_they_are_by_default(maker):
    """Another default dtype does not reach what a user's networks are made of."""
    expected = MAKERS[maker]().dtype
    with SETTINGS["double precision"](), own_settings():
        assert MAKERS[maker]().dtype == expected


def test_networks_in_double_precision(table):
    """Networks that a user builds in double precision are trained in single."""

    class Double(SelfInitialising):
        def encoder(self, input_shape, latent_dim):
            return super().encoder(input_shape, latent_dim).double()

    detector = AutoencoderDetector(**SHORT | {"architecture": Double()}, latent_dim=2)
    detector.fit(table)
    assert detector.encode(table).shape == (len(table), 4)


def test_rules_where_numpy_raises():
    """The weights of a tail underflow to zero, which is no error."""
    scores = np.random.default_rng(0).exponential(size=20_000)
    expected = TailThreshold().fit(scores).threshold_
    with np.errstate(all="raise"):
        assert TailThreshold().fit(scores).threshold_ == expected
