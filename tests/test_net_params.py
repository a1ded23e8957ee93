"""Which further arguments of skorch's net are taken, and which are refused."""

import inspect

import numpy as np
import pytest
import torch
from skorch import NeuralNet

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.searches import EncoderSearch

X = np.random.default_rng(0).normal(size=(60, 3))
OPTIONS = {"max_steps": 5, "n_members": 1, "random_state": 0}

TAKEN = {"optimizer", "compile", "mixed_precision"}
# The detector's own parameter for it.
INSTEAD = {
    "lr": "learning_rate",
    "batch_size": "batch_size",
    "max_epochs": "max_steps",
    "callbacks": "callbacks",
    "callbacks__print_log": "callbacks",
    "device": "device",
    "verbose": "verbose",
    "module": "architecture",
    "module__input_dim": "architecture",
    "train_split": "validation_fraction",
    "schedule": "learning_rate_schedule",
    "noise": "input_noise",
    "max_steps": "max_steps",
}
ALL = [*inspect.signature(NeuralNet.__init__).parameters][1:]


@pytest.mark.parametrize(
    "name", sorted({*ALL, *INSTEAD, "objective", "lerning_rate"} - TAKEN - {"kwargs"})
)
def test_what_the_detector_sets_is_refused(name):
    """The error names the parameter to use instead, if there is one."""
    detector = GANomalyDetector(**OPTIONS, net_params={name: 1})
    words = f"net_params has {name!r}.*Allowed are 'optimizer'"
    if name in INSTEAD:
        words = f"net_params has {name!r}.*parameter {INSTEAD[name]!r}.*Allowed"
    with pytest.raises(ValueError, match=words):
        detector.fit(X)
    assert not detector.__sklearn_is_fitted__()


def test_average_decay_is_a_parameter_of_one_detector():
    """It is named only where it exists."""
    for cls, words in (
        (AnoGANDetector, "'average_decay' instead"),
        (None, "none of the options"),
    ):
        detector = (cls or GANomalyDetector)(net_params={"average_decay": 0.5})
        with pytest.raises(ValueError, match=words):
            detector.fit(X)


def test_options_without_their_network_are_refused():
    """An autoencoder has no discriminator whose optimiser could be set."""
    detector = AutoencoderDetector(**OPTIONS, net_params={"optimizer_d__lr": 0.1})
    with pytest.raises(ValueError, match=r"no discriminator.*'optimizer__lr'"):
        detector.fit(X)


def test_optimisers_are_taken():
    """In every phase, the options of the discriminator's where there is one."""
    params = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5}
    plain = AutoencoderDetector(**OPTIONS).fit(X)
    detector = AutoencoderDetector(**OPTIONS, net_params=params).fit(X)
    assert type(detector.net_.optimizer_) is torch.optim.SGD
    assert not np.array_equal(plain.score_samples(X), detector.score_samples(X))
    params = params | {"optimizer_d__lr": 0.01}
    detector = AnoGANDetector(**OPTIONS, net_params=params).fit(X)
    assert detector.net_.optimizer_d_.param_groups[0]["initial_lr"] == 0.01


def test_a_short_training_is_short():
    """The encoder's steps follow a number of steps, unless they are given as well."""
    images = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    for X_, steps in ((X, "auto"), (images, 3)):
        detector = AnoGANDetector(
            max_steps=6,
            search=EncoderSearch(encoder_steps=steps),
            n_members=1,
            random_state=0,
        )
        assert detector.fit(X_).n_iter_ == 6 + (6 if steps == "auto" else steps)
