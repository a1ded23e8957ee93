"""Tests of methods of one's own: what a detector can do is what its method has."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

from skganomaly.base import BaseDetector, Method
from skganomaly.losses import discriminator_cross_entropy, squared_error
from skganomaly.scores import LocalScore, WeightedScore


class Compact(Method):
    """Maps rows near one point: no codes, no reconstruction, parts of other names."""

    draws = False
    part_names = ("place", "spread")

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = build("encoder")

    def losses(self, x, noisy, phase, random):
        """The distance from a point."""
        error = squared_error(self.generator(noisy), torch.ones(()))
        return {"generator": {"compactness": error}}

    def parts(self, x, names):
        """How far a row is from the point, and from its own mirror image."""
        place = self.generator(x)
        return {"place": place - 1, "spread": place - self.generator(-x)}


class Coding(Compact):
    """Has codes, and nothing to make of them."""

    part_names = ("place", "code")

    def parts(self, x, names):
        """The code and its place."""
        code = self.encode(x)
        return {"place": code - 1, "code": code}

    def encode(self, x):
        """The output of the network."""
        return self.generator(x)


class Denoising(Method):
    """Makes rows of rows, without a code in between."""

    draws = False
    part_names = ("reconstruction",)

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = nn.Sequential(build("encoder"), build("decoder"))

    def losses(self, x, noisy, phase, random):
        """The error of the reconstruction."""
        return {"generator": {"error": squared_error(self.generator(noisy), x)}}

    def parts(self, x, names):
        """The residual."""
        return {"reconstruction": (x - self.reconstruct(x)).flatten(2)}

    def reconstruct(self, x):
        """The output of the network."""
        return self.generator(x)


class Generating(Method):
    """A generator and a discriminator, of which the second tells all there is."""

    part_names = ("realness",)
    has_prior = True

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.latent_dim = settings.latent_dim
        self.generator = build("decoder")
        self.discriminator = build("discriminator")

    def losses(self, x, noisy, phase, random):
        """Those of a GAN."""
        shape = *x.shape[:2], self.latent_dim
        fake = self.decode(torch.randn(shape, generator=random))
        real_logits, fake_logits = self.discriminator(x)[0], self.discriminator(fake)[0]
        verdict = discriminator_cross_entropy(real_logits, fake_logits)
        return {
            "generator": {"generator": -fake_logits.mean(1)},
            "discriminator": {"discriminator": verdict},
        }

    def parts(self, x, names):
        """The verdict."""
        return {"realness": self.discriminator(x)[0][:, :, None]}

    def decode(self, codes):
        """The output of the generator."""
        return self.generator(codes)


class CompactDetector(BaseDetector):
    """Detects what is far from one point."""

    _method = Compact


class CodingDetector(BaseDetector):
    """Detects unusual codes."""

    _method = Coding


class DenoisingDetector(BaseDetector):
    """Detects what is made anew badly."""

    _method = Denoising


class GeneratingDetector(BaseDetector):
    """Detects what a discriminator takes for generated."""

    _method = Generating


OF_CODES, OF_ROWS = {"encode"}, {"reconstruct", "explain", "anomaly_map"}
CAPABILITIES = {
    CompactDetector: set(),
    CodingDetector: OF_CODES,
    DenoisingDetector: OF_ROWS,
    GeneratingDetector: {"sample"},
}
LOSSES = {
    CompactDetector: {"compactness"},
    CodingDetector: {"compactness"},
    DenoisingDetector: {"error"},
    GeneratingDetector: {"generator", "discriminator"},
}
every_detector = pytest.mark.parametrize("cls", CAPABILITIES)
every_kind = pytest.mark.parametrize("conv", [False, True], ids=["table", "images"])


@pytest.fixture
def fitted(small, table, images):
    """Return a maker of detectors of methods of one's own."""

    def make(cls, conv=False, **params):
        detector = small(cls, conv=conv, n_members=2, max_steps=60, **params)
        return detector.fit(images if conv else table)

    return make


@every_kind
@every_detector
def test_own_method_makes_a_detector(fitted, images, table, cls, conv):
    """It fits, scores, judges and reports, with whatever parts it has."""
    detector = fitted(cls, conv)
    X = images if conv else table
    scores = detector.anomaly_score(X)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > len(X) / 2
    assert set(np.unique(detector.predict(X))) == {-1, 1}
    far = np.concatenate([X, X[:5] + 10 * np.ptp(X)])
    assert detector.predict(far)[-5:].max() == -1
    assert (detector.p_values(X) > 0).all()
    for part in cls._method.part_names:
        of_part = detector.anomaly_score(X, part=part)
        assert_allclose(np.median(of_part), 1, atol=0.5)
    report = detector.training_report_
    assert set(report.losses) == LOSSES[cls]
    assert all(name in str(report) for name in report.losses)
    assert report.n_steps == detector.n_iter_ == 60
    assert bool(report.error) == bool(report.diversity) == (cls is DenoisingDetector)
    assert bool(report.latent_usage) == (cls is CodingDetector)


@every_detector
def test_a_detector_can_what_its_method_can(fitted, table, cls):
    """Methods of the detector that need more are not there, fitted or not."""
    detector = fitted(cls)
    for instance in (detector, clone(detector)):
        for name in ("encode", "sample", *OF_ROWS):
            assert hasattr(instance, name) == (name in CAPABILITIES[cls])
    if cls is CodingDetector:
        assert detector.encode(table).shape == (300, 2 * 4)
    if cls is DenoisingDetector:
        assert detector.reconstruct(table).shape == table.shape
        assert detector.explain(table).shape == table.shape
        assert detector.anomaly_map(table).shape == table.shape
    if cls is GeneratingDetector:
        assert detector.sample(7, random_state=0).shape == (7, 4)


@every_detector
def test_own_method_is_copied_and_stored(fitted, new_rows, cls):
    """As any detector: a clone fits to equal scores, a pickle has them."""
    detector = fitted(cls)
    scores = detector.anomaly_score(new_rows)
    restored = pickle.loads(pickle.dumps(detector))
    assert_array_equal(restored.anomaly_score(new_rows), scores)
    for part in cls._method.part_names:
        assert_array_equal(
            restored.anomaly_score(new_rows, part=part),
            detector.anomaly_score(new_rows, part=part),
        )


@pytest.mark.parametrize(
    "score_type",
    [
        "joint",
        "place",
        "spread",
        LocalScore(parts=["spread"]),
        WeightedScore({"place": 0.7, "spread": 0.3}),
    ],
    ids=str,
)
def test_scores_of_own_parts(fitted, table, score_type):
    """Words and objects go by the names of the method."""
    detector = fitted(CompactDetector, score_type=score_type)
    assert np.isfinite(detector.anomaly_score(table)).all()
    assert set(detector.model_.score.part_names) <= {"place", "spread", "row"}


@pytest.mark.parametrize(
    "score_type",
    ["reconstruction", LocalScore(parts=["code"]), WeightedScore({"latent": 1.0})],
    ids=str,
)
def test_scores_of_parts_that_the_method_has_not(small, table, score_type):
    """They are refused before a training, with those that there are."""
    detector = small(CompactDetector, score_type=score_type)
    with pytest.raises(ValueError, match=r"(?s)place.*spread"):
        detector.fit(table)
    assert not hasattr(detector, "model_")


def test_parts_that_were_promised_and_do_not_come(small, table):
    """The message has the names on both sides."""

    class Forgetful(Compact):
        def parts(self, x, names):
            parts = super().parts(x, names)
            del parts["spread"]
            return parts

    with pytest.raises(ValueError, match=r"Forgetful.parts returned no \['spread'\]"):
        small(type("Broken", (BaseDetector,), {"_method": Forgetful})).fit(table)


@pytest.mark.parametrize(
    ("cls", "conv", "parts"),
    [
        (CompactDetector, False, ("place", "spread", "row")),
        (CodingDetector, True, ("place", "code", "row")),
    ],
)
def test_without_local_parts_all_are_compared(fitted, cls, conv, parts):
    """A method may say which, and need not."""
    assert fitted(cls, conv).model_.score.part_names == parts
