"""What the page "Write your own detector" builds keeps the promises of ours."""

import importlib.util
import math
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector
from skganomaly.architectures import MLP
from skganomaly.base import BaseDetector, Game, Method, Trained
from skganomaly.checks import check_architecture, check_detector
from skganomaly.losses import squared_error
from skganomaly.scores import Scoring

PAGE = Path(__file__).parents[1] / "docs" / "own_detector.rst"
TINY = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))


@pytest.fixture(scope="module")
def egbad(tmp_path_factory):
    """The detector of the page, in a module of its own, as a user would have it."""
    page = PAGE.read_text(encoding="utf-8")
    block = re.search(r"   :caption: egbad\.py\n\n((?:   .*\n|\n)+)", page)[1]
    source = textwrap.dedent(block).strip() + "\n"
    assert len(source.splitlines()) <= 80
    path = tmp_path_factory.mktemp("own") / "egbad.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("egbad", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["egbad"] = module
    spec.loader.exec_module(module)
    yield module.EGBADDetector
    del sys.modules["egbad"]


def test_egbad_keeps_the_promises_of_this_package(egbad):
    check_detector(egbad())


# So few steps train nothing, and the battery warns of that.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_egbad_keeps_the_conventions_of_scikit_learn(egbad):
    # Some of the checks draw from NumPy's global generator themselves.
    state = np.random.get_state()  # noqa: NPY002
    check_estimator(
        egbad(architecture=TINY, n_members=1, max_steps=3, latent_dim=2),
        expected_failed_checks={
            "check_sample_weight_equivalence_on_dense_data": "Training is stochastic.",
            "check_fit_score_takes_y": "It calls partial_fit after fit.",
        },
    )
    np.random.set_state(state)  # noqa: NPY002


def test_egbad_finds_anomalies(egbad):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, 6))
    X = rng.normal(size=(300, 2)) @ mixing
    detector = egbad(architecture=TINY, max_steps=150, random_state=0).fit(X)
    normal, others = rng.normal(size=(300, 2)) @ mixing, rng.normal(size=(100, 6)) * 2
    assert (detector.predict(others) == -1).mean() > 0.9
    assert (detector.predict(normal) == -1).mean() < 0.12
    assert detector.sample(4).shape == (4, 6)
    assert {"generator", "discriminator"} <= set(detector.history_[-1])
    # Its score of the paper is there by name, and others are refused by name.
    detector.set_params(score_type="published", max_steps=3).fit(X)
    with pytest.raises(ValueError, match="'published'"):
        detector.set_params(score_type="publsihed").fit(X)


class Plain(Method):
    """One network and no more; the faults below are made in copies of it."""

    part_names = ("reconstruction", "code")

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = nn.ModuleList([build("encoder"), build("decoder")])

    def encode(self, x):
        return self.generator[0](x)

    def decode(self, codes):
        return self.generator[1](codes)

    def losses(self, x, noisy, phase, random):
        made = self.decode(self.encode(noisy))
        return {"generator": {"reconstruction": squared_error(made, x)}}

    def parts(self, x, names):
        code = self.encode(x)
        return {"code": code, "reconstruction": (x - self.decode(code)).flatten(2)}


class PlainDetector(BaseDetector):
    _method = Plain


class FromGlobalGenerator(Plain):
    def losses(self, x, noisy, phase, random):
        return super().losses(x, x + 0.1 * torch.randn(x.shape), phase, random)


class WrongTerms(Plain):
    def losses(self, x, noisy, phase, random):
        terms = super().losses(x, noisy, phase, random)["generator"]
        return {"generator": {name: term.mean() for name, term in terms.items()}}


class NoTerms(Plain):
    def losses(self, x, noisy, phase, random):
        return {}


class OverTheBatch(Plain):
    def parts(self, x, names):
        parts = super().parts(x, names)
        parts["code"] = parts["code"] - parts["code"].mean(1, keepdim=True)
        return parts


class FlatParts(Plain):
    def parts(self, x, names):
        return {name: part.mean(2) for name, part in super().parts(x, names).items()}


class FewerParts(Plain):
    def parts(self, x, names):
        return {"code": self.encode(x)}


class WrongCodes(Plain):
    def encode(self, x):
        return super().encode(x)[..., :1]

    def decode(self, codes):
        return super().decode(codes.expand(*codes.shape[:2], 4))


FAULTS = {
    FromGlobalGenerator: (AssertionError, "global generator of torch"),
    WrongTerms: (ValueError, "one value for each member"),
    NoTerms: (ValueError, "no dict of terms for the generator"),
    OverTheBatch: (AssertionError, "Scores (in another order|alone)"),
    FlatParts: (ValueError, "FlatParts.parts returned '.*' of shape"),
    FewerParts: (ValueError, "FewerParts.parts returned no 'reconstruction'"),
    WrongCodes: (AssertionError, "WrongCodes.encode returned"),
}


def test_check_passes_a_plain_method():
    check_detector(PlainDetector())


@pytest.mark.parametrize("method", FAULTS)
def test_check_says_what_is_wrong(method, monkeypatch):
    members = {"_method": method, "__module__": __name__}
    detector = type("Faulty", (BaseDetector,), members)
    # For its pickles.
    monkeypatch.setitem(globals(), "Faulty", detector)
    error, words = FAULTS[method]
    with torch.random.fork_rng(), pytest.raises(error, match=words):
        check_detector(detector(), kinds=["rows"])


class TrainsAnew(PlainDetector):
    def _train(self, trainer):
        method = trainer.build(self._method)
        for network in method.generator:
            for parameter in network.parameters():
                parameter.data.mul_(0.5)
        return Trained(method, trainer.run(method))


class KeepsPairs(PlainDetector):
    def _train(self, trainer):
        self.pairs_ = {(0, 1): 2}
        return super()._train(trainer)


class IgnoresWeights(PlainDetector):
    def fit(self, X, y=None, *, groups=None, sample_weight=None):
        return super().fit(X, y, groups=groups)


@pytest.mark.parametrize(
    "cls, error, words",
    [
        (TrainsAnew, AssertionError, "partial_fit begins anew: all of the"),
        (KeepsPairs, TypeError, "without pickle: keys must be str"),
        (IgnoresWeights, AssertionError, "without the rows of weight 0 differ"),
    ],
)
def test_check_says_what_is_wrong_with_a_detector(cls, error, words):
    with pytest.raises(error, match=words):
        check_detector(cls(), kinds=["rows"])


def own_error(a, b):
    return squared_error(a, b)


def test_check_of_what_is_yours():
    """Losses by their name, which is trusted, and architectures as they are."""
    detector = AutoencoderDetector(
        architecture=NoDiscriminator(), reconstruction_loss=own_error
    )
    check_detector(detector, kinds=["rows"], trusted=[own_error])
    with pytest.raises(TypeError, match=r"reconstruction_loss needs .*own_error"):
        check_detector(detector, kinds=["rows"])


class NoCodes(Method):
    """Skip connections leave no code that could be decoded alone."""

    part_names = ("difference",)

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = nn.ModuleList([build("encoder"), build("decoder")])

    def reconstruct(self, x):
        return 0.1 * x + self.generator[1](self.generator[0](x))

    def losses(self, x, noisy, phase, random):
        return {"generator": {"difference": squared_error(self.reconstruct(x), x)}}

    def parts(self, x, names):
        return {"difference": (x - self.reconstruct(x)).flatten(2)}


class NoCodesDetector(BaseDetector):
    _method = NoCodes


def test_what_the_method_lacks_the_detector_lacks():
    check_detector(NoCodesDetector())
    X = np.random.default_rng(0).normal(size=(60, 3))
    detector = NoCodesDetector(random_state=0).fit(X)
    assert detector.explain(X[:2]).shape == (2, 3)
    for name in ("encode", "sample"):
        assert not hasattr(detector, name)
    assert detector.training_report_.latent_usage == []


def test_own_constructor_has_all_parameters():
    class Detector(BaseDetector):
        _method = Plain

        def __init__(self, *, weight=1.0, **common):
            super().__init__(**common)
            self.weight = weight

    class Further(Detector):
        def __init__(self, *, extra=2, **common):
            super().__init__(**common)
            self.extra = extra

    common = set(AutoencoderDetector().get_params()) - {"reconstruction_loss"}
    assert set(Further().get_params()) == common | {"weight", "extra"}
    assert Further(weight=3.0, n_members=2).get_params()["weight"] == 3.0
    with pytest.raises(TypeError, match="latent_dims"):
        Further(latent_dims=3)


def test_own_defaults_are_those_that_differ():
    class Detector(AnoGANDetector):
        _defaults = {"rows": {"n_members": 1, "learning_rate": 2e-3}}

    rows = np.random.default_rng(0).normal(size=(60, 3))
    settings = Detector(max_steps=3).fit(rows).settings_
    inherited = AnoGANDetector(max_steps=3).fit(rows).settings_
    assert (settings.n_members, settings.learning_rate) == (1, 2e-3)
    for name in ("beta_1", "learning_rate_schedule", "scaler", "score_type"):
        assert getattr(settings, name) == getattr(inherited, name)


@pytest.mark.parametrize("name", ["kind", "own"])
def test_own_parameters_have_names_of_their_own(name):
    """Not those of other entries of settings, which would take their place."""

    class Detector(PlainDetector):
        def __init__(self, *, kind="a", **common):
            super().__init__(**common)
            self.kind = kind

    class Other(PlainDetector):
        def __init__(self, *, own=3, **common):
            super().__init__(**common)
            self.own = own

    cls = Detector if name == "kind" else Other
    with pytest.raises(ValueError, match=f"has a parameter '{name}'"):
        cls().fit(np.zeros((5, 2)))


class OnlyDecoder(Game):
    """The second training of a detector, of a part of its networks."""

    def __init__(self, method):
        self.method = method

    def players(self):
        return {"decoder": self.method.generator[1]}

    def losses(self, x, noisy, phase, random):
        made = self.method.decode(self.method.encode(x))
        return {"decoder": {"decoder": squared_error(made, x)}}


def arrays(network):
    return {k: v.numpy().copy() for k, v in network.state_dict().items()}


class TwiceDetector(BaseDetector):
    _method = Plain
    _n_trainings = 2

    def _train(self, trainer):
        method = trainer.build(self._method)
        net = trainer.run(method, is_last=False)
        self.encoders = [arrays(method.generator[0])]
        self.decoders = [arrays(method.generator[1])]
        trainer.run(OnlyDecoder(method), max_steps=7, learning_rate=1e-2, label="Again")
        self.encoders.append(arrays(method.generator[0]))
        self.decoders.append(arrays(method.generator[1]))
        return Trained(method, net)


def test_a_method_may_train_one_game_after_another():
    check_detector(TwiceDetector())
    X = np.random.default_rng(0).normal(size=(60, 3))
    detector = TwiceDetector(random_state=0, max_steps=5).fit(X)
    assert detector.n_iter_ == detector.history_[-1]["n_steps"] == 12
    assert {"reconstruction"} <= set(detector.history_[0])
    assert {"decoder"} <= set(detector.history_[-1])
    for pair, same in ((detector.encoders, True), (detector.decoders, False)):
        assert all((pair[0][k] == pair[1][k]).all() for k in pair[0]) is same


def test_more_trainings_than_were_announced():
    class Detector(TwiceDetector):
        _n_trainings = 1

    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(ValueError, match="Detector trains more often than its _n_tr"):
        Detector(max_steps=2).fit(X)


class NoDecoder(BaseEstimator):
    def encoder(self, input_shape, latent_dim):
        return nn.Linear(input_shape[0], latent_dim)


class NoDiscriminator(NoDecoder):
    def decoder(self, latent_dim, input_shape):
        return nn.Linear(latent_dim, input_shape[0])


class WrongShape(BaseEstimator):
    def encoder(self, input_shape, latent_dim):
        return nn.Linear(input_shape[0], latent_dim + 1)

    def decoder(self, latent_dim, input_shape):
        return nn.Linear(latent_dim, input_shape[0])


@pytest.mark.parametrize(
    "architecture, words",
    [(WrongShape(), "encoder of the architecture"), (NoDecoder(), "decoder")],
)
def test_check_says_what_is_wrong_with_an_architecture(architecture, words):
    with pytest.raises((TypeError, ValueError), match=words):
        check_architecture(architecture, input_shape=(5,))


def test_check_passes_our_architectures():
    check_architecture(MLP(), input_shape=(5,), discriminator=True)
    check_architecture(NoDiscriminator(), input_shape=(5,))
    with pytest.raises(TypeError, match="no method discriminator"):
        check_architecture(NoDiscriminator(), input_shape=(5,), discriminator=True)


class UNet(nn.Module):
    """A generator with a skip connection, which no architecture describes."""

    def __init__(self, n_features):
        super().__init__()
        self.inner = nn.Linear(n_features, n_features)

    def forward(self, x):
        return x + self.inner(x)


class SkipMethod(Method):
    """Networks of other kinds and sizes, and what is learned before the training."""

    part_names = ("reconstruction", "place")

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = build.members(lambda: UNet(math.prod(settings.input_shape)))
        self.side = build("encoder", latent_dim=2, architecture=TINY)
        self.register_buffer("centre", torch.zeros(settings.input_shape))

    def reconstruct(self, x):
        return self.generator(x.flatten(2)).view(x.shape)

    def losses(self, x, noisy, phase, random):
        return {"generator": {"made": squared_error(self.reconstruct(noisy), x)}}

    def parts(self, x, names):
        return {
            "reconstruction": (x - self.reconstruct(x)).flatten(2),
            "place": self.side(x) + (x - self.centre).flatten(2).mean(2, keepdim=True),
        }


class SkipDetector(BaseDetector):
    _method = SkipMethod

    def _train(self, trainer):
        method = trainer.build(self._method)
        method.centre.copy_(torch.cat(list(trainer.rows())).mean(0))
        return Trained(method, trainer.run(method))


def test_networks_of_any_kind_and_what_is_learned_beforehand():
    check_detector(SkipDetector())
    X = np.random.default_rng(0).normal(size=(60, 3)) + 5
    detector = SkipDetector(random_state=0).fit(X)
    scaled = detector.model_.scaling.transform(X)
    assert np.allclose(detector.model_.method.centre, scaled.mean(0), atol=1e-6)


class NoPlayers(Plain):
    def players(self):
        return {}


class NoLosses(Method):
    part_names = ("code",)

    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.generator = build("encoder")


class OneName(Plain):
    def __init__(self, build, settings):
        super().__init__(build, settings)
        self.discriminator = build("discriminator")

    def losses(self, x, noisy, phase, random):
        terms = super().losses(x, noisy, phase, random)["generator"]
        verdict = {"reconstruction": self.discriminator(x)[0].mean(1)}
        return {"generator": terms, "discriminator": verdict}


class NoDicts(Plain):
    def losses(self, x, noisy, phase, random):
        return super().losses(x, noisy, phase, random)["generator"]["reconstruction"]


class NotAScore(BaseEstimator):
    def __init__(self, made=None):
        self.made = made

    def make(self, method, kind):
        return self.made


class PerMember(Scoring):
    def fit(self, parts, groups=None):
        return self

    def forward(self, parts, own_groups=None):
        return parts["code"].square().mean(2)


@pytest.mark.parametrize(
    "method, params, error, words",
    [
        (NoPlayers, {}, ValueError, "NoPlayers has no players"),
        (NoLosses, {}, NotImplementedError, "NoLosses has no losses"),
        (OneName, {}, ValueError, r"\['reconstruction'\] for two players"),
        (NoDicts, {}, ValueError, "NoDicts.losses returned a Tensor"),
        (Plain, {"score_type": NotAScore(len)}, TypeError, "make returned a builtin"),
        (
            Plain,
            {"score_type": NotAScore(PerMember(["code", "nope"]))},
            ValueError,
            r"parts \['code', 'nope'\] was asked for",
        ),
        (
            Plain,
            {"score_type": NotAScore(PerMember(["code"]))},
            ValueError,
            "PerMember returned a Tensor of shape",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(method, params, error, words):
    detector = type("Detector", (BaseDetector,), {"_method": method})
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(error, match=words):
        detector(architecture=TINY, max_steps=2, **params).fit(X)
