"""Parameters that are a word or an object: the same thing, with options or without."""

import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.architectures import MLP, ConvNet
from skganomaly.losses import absolute_error, squared_error
from skganomaly.model_selection import InlierKFold, pseudo_anomaly_roc_auc
from skganomaly.scores import JointScore, LocalScore, PartScore, WeightedScore
from skganomaly.searches import EncoderSearch, GradientSearch, NearestSearch

BOTH = pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
WORDS = {
    "search": {
        "encoder": EncoderSearch(),
        "gradient": GradientSearch(),
        "nearest": NearestSearch(),
    },
    "adversary": {"wgan-gp": Wasserstein(), "logistic": Logistic()},
    "score_type": {
        "local": LocalScore(),
        "joint": JointScore(),
        "reconstruction": PartScore("reconstruction"),
        "features": PartScore("features"),
    },
}
OBJECTS = [
    pytest.param(name, value, id=f"{name}-{type(value).__name__}")
    for name, objects in WORDS.items()
    for value in objects.values()
]


def fitted(X, cls=AnoGANDetector, **params):
    """A detector of tiny networks; unlike that of the fixture with all defaults."""
    tiny = (
        MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))
        if X.ndim == 2
        else ConvNet(base_channels=2, discriminator_normalization=None)
    )
    defaults = {"architecture": tiny, "max_steps": 3, "random_state": 0}
    return cls(**defaults | params).fit(X)


@pytest.mark.parametrize(
    ("name", "word"), [(name, word) for name in WORDS for word in WORDS[name]]
)
def test_a_word_is_an_object_with_defaults(name, word, table):
    """In every bit of the scores, and of another one with the other words."""
    expected = fitted(table[:100], **{name: word}).score_samples(table[:100])
    given = WORDS[name][word]
    scores = fitted(table[:100], **{name: given}).score_samples(table[:100])
    assert_array_equal(scores, expected)
    (other, *_) = (one for one in WORDS[name] if one != word)
    others = fitted(table[:100], **{name: other}).score_samples(table[:100])
    assert (others != expected).mean() > 0.9


@pytest.mark.parametrize(("name", "value"), OBJECTS)
def test_objects_are_parameters(name, value):
    """They are read and set through the detector, cloned with it, and shown."""
    detector = AnoGANDetector(**{name: value})
    inner = value.get_params()
    params = detector.get_params()
    assert {key: params[f"{name}__{key}"] for key in inner} == inner
    copied = clone(detector)
    assert getattr(copied, name) is not value
    assert getattr(copied, name).get_params() == inner
    assert repr(value) in repr(detector)
    changed = next(iter(inner))
    detector = clone(detector).set_params(**{f"{name}__{changed}": "other"})
    assert getattr(getattr(detector, name), changed) == "other"
    assert getattr(value, changed) == inner[changed]
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        detector.set_params(**{f"{name}__nothing": 1})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"search": GradientSearch(n_starts=0)}, "'n_starts' parameter of GradientS"),
        ({"adversary": Logistic(penalty=-1)}, "'penalty' parameter of Logistic"),
        ({"score_type": LocalScore(exponent=-1)}, "'exponent' parameter of LocalScore"),
        ({"score_type": PartScore("latent")}, r"\['latent'\] was asked for"),
        ({"search": Wasserstein()}, "'search' parameter of AnoGANDetector"),
        ({"adversary": EncoderSearch()}, "'adversary' parameter of AnoGANDetector"),
        ({"score_type": Wasserstein()}, "'score_type' parameter of AnoGANDetector"),
    ],
)
def test_bad_objects_are_named(params, words, table):
    """Their options, with whose they are; another kind of object, as the parameter."""
    with pytest.raises(ValueError, match=words):
        fitted(table, **params)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("search", EncoderSearch),
        ("adversary", Wasserstein),
        ("score_type", LocalScore),
        ("architecture", MLP),
    ],
)
def test_classes_are_not_objects(name, cls, table):
    """Who forgets to call one is told to."""
    with pytest.raises(TypeError, match=rf"as in {name}={cls.__name__}\(\)"):
        fitted(table, **{name: cls})


@pytest.mark.parametrize(
    ("name", "value"),
    [("search__n_steps", 1), ("score_type__exponent", 1.0), ("threshold__rate", 0.1)],
)
def test_words_have_no_options(name, value, table):
    """And an error says what has, in a search over parameters, too."""
    detector = AnoGANDetector()
    words = f"{name} is an option of an object, and {name.split('__')[0]}='.*' is a wor"
    with pytest.raises(ValueError, match=words):
        detector.set_params(latent_dim=3, **{name: value})
    assert detector.latent_dim == "auto"
    with pytest.raises(ValueError, match=words):
        GridSearchCV(detector, {name: [value]}, cv=2).fit(table)
    # The object may come in the same call.
    detector.set_params(search__n_steps=1, search=GradientSearch())
    assert detector.search.n_steps == 1


def test_options_of_published_objects():
    """They can be changed while all others stay as published."""
    detector = AnoGANDetector.from_paper("anogan", search__n_steps=7, n_members=2)
    published = AnoGANDetector.from_paper("anogan")
    assert detector.search.n_steps == 7 and detector.n_members == 2
    detector.set_params(search__n_steps=500, n_members=1)
    assert repr(detector) == repr(published)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (PartScore("latent"), "asked for"),
        (WeightedScore({"reconstruction": 0.0}), "nothing to score"),
        (WeightedScore({"reconstruction": -1.0}), "numbers from 0 on"),
        (WeightedScore({"reconstruction": np.nan}), "numbers from 0 on"),
        (WeightedScore({"reconstruction": "1"}), "numbers from 0 on"),
    ],
)
def test_impossible_scores_are_refused_before_the_training(score, words, table):
    """Which may take hours."""

    class Told(Callback):
        def on_train_begin(self, net, **kwargs):
            raise AssertionError("Training has begun.")

    with pytest.raises(ValueError, match=words):
        fitted(table, AutoencoderDetector, score_type=score, callbacks=[Told()])


def test_options_of_objects_are_searched_for(table):
    """As those of any nested estimator, by the names with two underscores."""
    detector = AnoGANDetector(
        architecture=MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,)),
        max_steps=3,
        n_members=1,
        search=NearestSearch(n_candidates=20),
        adversary=Wasserstein(),
        score_type=LocalScore(),
        random_state=0,
    )
    grid = {
        "search__n_steps": [0, 2],
        "adversary__n_critic": [1, 2],
        "score_type__exponent": [0.0, 1.0],
    }
    found = GridSearchCV(
        detector,
        grid,
        cv=InlierKFold(2, random_state=0),
        scoring=pseudo_anomaly_roc_auc,
        error_score="raise",
    ).fit(table[:80])
    assert len(found.cv_results_["params"]) == 8
    assert len(set(found.cv_results_["mean_test_score"])) > 4
    settings = found.best_estimator_.settings_
    assert settings.search.n_steps == found.best_params_["search__n_steps"]
    assert settings.adversary.n_critic == found.best_params_["adversary__n_critic"]
    # Nor did the fits change what was passed.
    assert detector.search.n_steps == 25 and detector.adversary.n_critic == 1


class Doubled(Wasserstein):
    """A user's adversary: twice the loss of the critic, and a record of its calls."""

    def critic_loss(self, real_values, fake_values):
        """Return twice what the base class does."""
        return 2 * super().critic_loss(real_values, fake_values)


class AtZero(BaseEstimator):
    """A user's search that derives from nothing of ours: each row starts at zero."""

    needs_encoder = False
    n_codes = 0
    residual_loss = "l1"
    feature_weight = prior_weight = 0.0
    learning_rate = 0.1

    def __init__(self, n_steps=3):
        self.n_steps = n_steps

    def starts(self, method, x):
        """Codes to start from."""
        return torch.zeros(*x.shape[:2], 1, method.latent_dim, device=x.device)


def test_adversaries_and_searches_of_a_user(table):
    """What has the methods is taken, trained with, stored and tuned."""
    detector = fitted(table, adversary=Doubled(), search=AtZero())
    codes = detector.encode(table)
    # Three steps of Adam from zero, each as long as its learning rate.
    assert (codes != 0).mean() > 0.9 and np.abs(codes).max() < 0.31
    copied = pickle.loads(pickle.dumps(detector))
    assert_array_equal(copied.score_samples(table), detector.score_samples(table))
    assert (fitted(table, search=AtZero()).encode(table) != codes).any()
    still = clone(detector).set_params(search__n_steps=0).fit(table)
    assert (still.encode(table) == 0).all()


# Reconstruction losses.


@BOTH
@pytest.mark.parametrize(
    ("word", "function"), [("l1", absolute_error), ("l2", squared_error)]
)
def test_losses_by_word_and_by_function(cls, word, function, table):
    """The same to the last bit."""
    scores = [
        fitted(table, cls, reconstruction_loss=loss).score_samples(table)
        for loss in (word, function)
    ]
    assert_array_equal(*scores)


class Huber:
    """A user's loss, an object with an option that remembers how it was called."""

    def __init__(self, delta):
        self.delta = delta
        self.shapes = set()

    def __call__(self, input, target):
        self.shapes.add((tuple(input.shape), tuple(target.shape)))
        assert input.requires_grad and not target.requires_grad
        values = torch.nn.functional.huber_loss(
            input, target, delta=self.delta, reduction="none"
        )
        return values.flatten(1).mean(1)


@BOTH
def test_a_loss_of_a_user(cls, table, images):
    """It is given what was made and what it should be, of all members at once."""
    loss = Huber(0.05)
    detector = fitted(table, cls, reconstruction_loss=loss, n_members=2)
    assert detector.settings_.reconstruction_loss.shapes == {((2, 64, 4), (2, 64, 4))}
    # The fit has a copy.
    assert not loss.shapes
    scores = detector.score_samples(table)
    copied = pickle.loads(pickle.dumps(detector))
    assert_array_equal(copied.score_samples(table), scores)
    assert_array_equal(clone(detector).fit(table).score_samples(table), scores)
    other = fitted(table, cls, reconstruction_loss=Huber(5.0), n_members=2)
    assert (other.score_samples(table) != scores).mean() > 0.9
    assert "reconstruction" in detector.history_[0]
    assert fitted(images, cls, reconstruction_loss=loss).n_iter_ == 3


@BOTH
def test_a_loss_of_all_members_together(cls, table):
    """As of torch's own functions, whose mean would couple the members."""
    loss = torch.nn.functional.l1_loss
    words = r"'reconstruction' of \w+ is a Tensor of shape \(\).*\(4,\)"
    with pytest.raises(ValueError, match=words):
        fitted(table, cls, reconstruction_loss=loss)
    with pytest.raises(ValueError, match=r"is a float"):
        fitted(table, cls, reconstruction_loss=lambda *rows: 1.0)


def test_a_loss_that_is_none(table):
    """Another word is refused, and so is a number."""
    for bad in ("huber", 2):
        with pytest.raises(ValueError, match="'reconstruction_loss' parameter"):
            fitted(table, AutoencoderDetector, reconstruction_loss=bad)


# What "auto" became.


def settled(settings):
    """All values of settings by name, those of objects as well."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    values |= values.pop("own")
    for name, value in list(values.items()):
        if isinstance(value, BaseEstimator) and name != "score_type":
            inner = value.get_params().items()
            values |= {f"{name}__{key}": part for key, part in inner}
    return values


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_settings_have_no_auto(cls, maps, table, images):
    """Not a single one, also in objects; and what was given is as it was given."""
    X = images if maps else table
    detector = cls(random_state=0, max_references=50).set_params(latent_dim=3)
    if cls is AnoGANDetector:
        # Its "auto" has a test of its own, as it takes long.
        detector.set_params(max_steps=2)
    detector.set_params(architecture=MLP(hidden_layer_sizes=(8,))).fit(X)
    values = settled(detector.settings_)
    assert not [name for name, value in values.items() if repr(value) == "'auto'"]
    assert values["kind"] == ("maps" if maps else "rows")
    assert values["input_shape"] == detector.input_shape_
    assert (values["latent_dim"], values["max_references"]) == (3, 50)
    assert values["architecture__hidden_layer_sizes"] == (8,)
    unlisted = {"callbacks", "device", "net_params", "random_state", "verbose"}
    unlisted |= {"threshold", "warm_start"}
    assert set(detector.get_params(deep=False)) - unlisted <= set(values)


def test_settings_of_rows_and_of_images(table, images):
    """What the documentation says that "auto" is."""
    rows = AnoGANDetector(max_steps=8, random_state=0).fit(table).settings_
    maps = AnoGANDetector(
        architecture=ConvNet(base_channels=2, discriminator_normalization=None),
        max_steps=8,
        random_state=0,
    )
    maps = maps.fit(images).settings_
    assert type(rows.architecture) is MLP and type(maps.architecture) is ConvNet
    for name, of_rows, of_maps in [
        ("scaler", "minmax", "channel"),
        ("n_members", 4, 2),
        ("input_noise", (0.1, 0.3, 0.6, 1.0), (0.0, 0.0)),
        ("latent_dim", 4, 64),
        ("learning_rate_schedule", "cosine", "constant"),
        ("beta_1", 0.9, 0.5),
        ("contamination", None, None),
        ("score_type", "local", "local"),
    ]:
        assert getattr(rows, name) == of_rows, name
        assert getattr(maps, name) == of_maps, name
    assert rows.adversary.penalty_interval == 1 and maps.adversary.penalty_interval == 4
    assert rows.adversary.learning_rate == 8 * rows.learning_rate
    assert maps.adversary.learning_rate == maps.learning_rate
    # Never more than a max_steps that is a number.
    assert rows.search.encoder_steps == maps.search.encoder_steps == 8


@pytest.mark.filterwarnings("ignore:What the generator makes")
def test_steps_of_auto(table):
    """Twenty passes of a network that sees rows; a GAN's generator sees none."""
    passes = round(20 * 300 / 64)
    tiny = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))
    params = {"architecture": tiny, "n_members": 1, "random_state": 0}
    detector = GANomalyDetector(**params).fit(table)
    assert detector.settings_.max_steps == detector.n_iter_ == passes
    detector = AnoGANDetector(**params).fit(table)
    settings = detector.settings_
    assert (settings.max_steps, settings.search.encoder_steps) == (600, passes)
    assert detector.n_iter_ == 600 + passes
    assert detector.max_steps == "auto" and detector.search == "encoder"


def test_settings_are_frozen(table):
    """They say what was, so nobody can set them; a name that is not there is one."""
    detector = fitted(table)
    settings = detector.settings_
    for name in ("latent_dim", "kind", "search", "new"):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, name, 3)
    with pytest.raises(FrozenInstanceError):
        del settings.latent_dim
    with pytest.raises(AttributeError, match="Settings has no 'n_critic'"):
        settings.n_critic  # noqa: B018
    with pytest.raises(AttributeError, match="input_shape_"):
        detector.input_shape_ = (2, 2)


def test_settings_stay_when_parameters_change(table):
    """Parameters are for the next fit, also those of objects."""
    search = NearestSearch(n_candidates=20)
    detector = fitted(table, search=search)
    detector.set_params(search__n_steps=99, architecture__hidden_layer_sizes=(3,))
    detector.set_params(latent_dim=2)
    assert search.n_steps == 99
    settings = pickle.loads(pickle.dumps(detector)).settings_
    for one in (detector.settings_, settings):
        assert one.search.n_steps == 25
        assert one.architecture.hidden_layer_sizes == (8,)
        assert one.latent_dim == 4
    assert detector.fit(table).settings_.search.n_steps == 99
