"""Constructors of detectors: parameters by name, stored as they are, and no more."""

import inspect
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._models._autoencoder import Autoencoder
from skganomaly.base import BaseDetector

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]


class Inherits(GANomalyDetector):
    """A user's, with nothing of its own."""


class Adds(AnoGANDetector):
    """A user's, with a parameter of its own and another default."""

    def __init__(self, *, patience=3, max_steps=2, **common):
        super().__init__(max_steps=max_steps, **common)
        self.patience = patience


class AddsToThat(Adds):
    """A subclass of a subclass."""

    def __init__(self, *, colour="red", **others):
        super().__init__(**others)
        self.colour = colour


class Own(BaseDetector):
    """A detector of a user's own, which needs no constructor."""

    _method = Autoencoder
    _defaults = AutoencoderDetector._defaults

    def __init__(self, *, reconstruction_loss="auto", **common):
        super().__init__(**common)
        self.reconstruction_loss = reconstruction_loss


class Spelled(AutoencoderDetector):
    """A user's, which names what it takes and passes nothing else on."""

    def __init__(self, *, max_steps=2, random_state=None):
        super().__init__(max_steps=max_steps, random_state=random_state)


EVERY = [*DETECTORS, BaseDetector, Inherits, Adds, AddsToThat, Own]
OWN = {
    GANomalyDetector: {
        "reconstruction_loss",
        "adversarial_loss",
        "reconstruction_weight",
        "latent_weight",
        "adversarial_weight",
        "max_restarts",
    },
    AutoencoderDetector: {"reconstruction_loss"},
    AnoGANDetector: {
        "adversary",
        "average_decay",
        "search",
        "feature_layer",
        "max_restarts",
    },
    Inherits: set(),
    Adds: {"patience"},
    AddsToThat: {"colour"},
    Own: {"reconstruction_loss"},
}
every_class = pytest.mark.parametrize("cls", EVERY)


def parameters_of(cls):
    return inspect.signature(cls).parameters


@every_class
def test_signature_has_all_parameters_by_name(cls):
    """None hides behind ``**``, none can be passed by its place."""
    parameters = parameters_of(cls)
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert all(p.default is not p.empty for p in parameters.values())
    assert set(parameters) == set(cls._get_param_names())
    assert set(parameters) >= set(parameters_of(BaseDetector))
    with pytest.raises(TypeError, match="positional"):
        cls(3)
    with pytest.raises(TypeError, match="max_step"):
        cls(max_step=3)


@pytest.mark.parametrize("cls", OWN)
def test_signature_adds_what_is_new(cls):
    """To that of the class derived from, whose own constructor stays as it was."""
    parent = cls.__mro__[1]
    assert set(parameters_of(cls)) == set(parameters_of(parent)) | OWN[cls]
    if OWN[cls]:
        # What is the class's own is what one looks for first.
        assert set(list(parameters_of(cls))[: len(OWN[cls])]) <= OWN[cls] | {
            "max_steps"
        }
    assert "patience" not in parameters_of(AnoGANDetector)


def test_no_detector_has_too_many():
    """Beyond so many nobody reads the list."""
    assert all(len(parameters_of(cls)) <= 30 for cls in DETECTORS)


def test_another_default_shows():
    """In the signature, the parameters and the fit; a value overrides it."""
    assert parameters_of(Adds)["max_steps"].default == 2
    assert parameters_of(AddsToThat)["max_steps"].default == 2
    assert AddsToThat().max_steps == 2 and AddsToThat(max_steps=5).max_steps == 5
    assert parameters_of(AnoGANDetector)["max_steps"].default == "auto"


def test_a_subclass_may_take_less():
    """What it does not name is no parameter of it, and stays at its default."""
    assert set(parameters_of(Spelled)) == {"max_steps", "random_state"}
    detector = clone(Spelled(random_state=0))
    assert detector.get_params() == {"max_steps": 2, "random_state": 0}
    assert detector.batch_size == 64


@every_class
def test_constructors_only_store(cls):
    """Each parameter by its name, the very object, and nothing beside them."""
    defaults = {name: p.default for name, p in parameters_of(cls).items()}
    assert vars(cls()) == cls().get_params(deep=False) == defaults
    given = {name: object() for name in defaults}
    stored = vars(cls(**given))
    assert set(stored) == set(given)
    assert all(stored[name] is value for name, value in given.items())


@every_class
def test_parameters_are_read_set_and_cloned(cls):
    """By their names alone."""
    detector = cls(max_steps=7, latent_dim=3)
    assert detector.set_params(batch_size=5) is detector
    copied = clone(detector)
    assert type(copied) is cls
    assert copied.get_params() == detector.get_params()
    assert (copied.max_steps, copied.latent_dim, copied.batch_size) == (7, 3, 5)
    with pytest.raises(ValueError, match="Invalid parameter 'max_step'"):
        detector.set_params(max_step=3)


@every_class
def test_repr_has_what_was_changed(cls):
    """And so a default that a subclass has changed is not in it."""
    name = cls.__name__
    assert repr(cls()) == f"{name}()"
    assert repr(cls(random_state=0, max_steps=9)) == (
        f"{name}(max_steps=9, random_state=0)"
    )


@pytest.mark.parametrize("cls", [Inherits, Adds, AddsToThat, Own, Spelled])
def test_subclasses_fit_and_are_stored(cls, table):
    """With parameters of their own, which a fit and a pickle keep."""
    changed = {"colour": "blue"} if cls is AddsToThat else {}
    detector = cls(max_steps=2, random_state=0, **changed).fit(table)
    assert detector.n_iter_ == (4 if issubclass(cls, AnoGANDetector) else 2)
    copied = pickle.loads(pickle.dumps(detector))
    assert copied.get_params() == detector.get_params()
    scores = detector.score_samples(table)
    assert_array_equal(copied.score_samples(table), scores)
    assert_array_equal(clone(detector).fit(table).score_samples(table), scores)
    assert np.isfinite(scores).all()
