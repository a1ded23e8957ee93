"""Tests of AnoGAN as a detector: its encoder, its searches, what its scores are."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch.nn import functional as F

from skganomaly import AnoGANDetector
from skganomaly._models._anogan import EncoderGame
from skganomaly._settings import resolve_settings
from skganomaly._training._trainer import Trainer
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.architectures import MLP, ConvNet
from skganomaly.scores import LocalScore
from skganomaly.searches import EncoderSearch, GradientSearch, NearestSearch

# A search of each kind, and all that there is to them.
SEARCHES = {
    "encoder": EncoderSearch(encoder_steps=10),
    "encoder, refined": EncoderSearch(encoder_steps=10, n_steps=3),
    "gradient": GradientSearch(n_steps=4, n_starts=2),
    "nearest": NearestSearch(n_candidates=50, n_steps=3, n_starts=3),
    "nearest alone": NearestSearch(n_candidates=50, n_steps=0),
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
# Those that differ in what scores are made of, not only in how long they look.
KINDS = ["encoder", "gradient", "nearest"]
one_search_of_a_kind = pytest.mark.parametrize(
    "search", [SEARCHES[kind] for kind in KINDS], ids=KINDS
)
# Where the kind does not matter but for whether there is an encoder.
encoder_or_none = pytest.mark.parametrize(
    "search",
    [EncoderSearch(encoder_steps=2, n_steps=2), NearestSearch(n_steps=2)],
    ids=["encoder", "nearest"],
)


def networks_of(detector):
    """Generator, critic, and encoder or candidates."""
    return dict(detector.model_.method.named_children())


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def differs(first, second):
    """Names of the tensors in which two states differ."""
    return {name for name, value in first.items() if (value != second[name]).any()}


ENCODED = {
    "mlp": ({}, False),
    "mlp, batch norm": (
        {"architecture": MLP(hidden_layer_sizes=(6,), normalization="batch")},
        False,
    ),
    "conv": ({"conv": True}, True),
    "conv, critic with batch norm": (
        {
            "architecture": ConvNet(base_channels=2, n_blocks=2),
            "adversary": Logistic(penalty=0),
        },
        True,
    ),
}


@pytest.mark.parametrize("params, maps", ENCODED.values(), ids=ENCODED)
def test_encoder_is_trained_behind_finished_networks(
    small, params, maps, table, images, monkeypatch
):
    """Its training changes neither generator nor critic, statistics included."""
    run = Trainer.run
    before, after = {}, {}

    def watched(trainer, game, **options):
        if not isinstance(game, EncoderGame):
            return run(trainer, game, **options)
        networks = dict(game.method.named_children())
        before.update({name: state_of(n) for name, n in networks.items()})
        net = run(trainer, game, **options)
        after.update({name: state_of(n) for name, n in networks.items()})
        return net

    monkeypatch.setattr(Trainer, "run", watched)
    detector = small(AnoGANDetector, **params)
    networks = networks_of(detector.fit(images if maps else table))
    assert set(before) == {"generator", "discriminator", "encoder"}
    for name in ("generator", "discriminator"):
        assert not differs(before[name], after[name])
        assert not differs(before[name], state_of(networks[name]))
    weights = set(dict(networks["encoder"].named_parameters()))
    assert weights <= differs(before["encoder"], after["encoder"])
    for network in networks.values():
        assert not any(module.training for module in network.modules())
        assert not any(p.requires_grad for p in network.parameters())


def test_steps_of_generator_and_encoder_add_up(small, table):
    """The history goes on through the encoder's training."""
    detector = small(
        AnoGANDetector, max_steps=30, search=EncoderSearch(encoder_steps=60)
    ).fit(table)
    assert detector.n_iter_ == 90
    ends = [row["n_steps"] for row in detector.history_]
    assert {25, 30, 55, 80, 90} <= set(ends)
    assert ends == sorted(set(ends))
    assert [row["epoch"] for row in detector.history_] == [*range(1, len(ends) + 1)]
    for row in detector.history_:
        if row["n_steps"] <= 30:
            assert {"generator", "discriminator", "penalty"} <= set(row)
        else:
            assert {"encoder_reconstruction", "encoder_features"} <= set(row)


def test_encoder_learns(small, table):
    """It comes to find codes of nearer rows."""
    detector = small(
        AnoGANDetector,
        max_steps=199,
        search=EncoderSearch(encoder_steps=300),
        learning_rate=5e-3,
        n_members=1,
        input_noise=0.0,
    )
    history = detector.fit(table).history_
    (first, *_, last) = (
        row["encoder_reconstruction"] for row in history if row["n_steps"] > 199
    )
    assert last < 0.8 * first


@pytest.mark.parametrize("search", [GradientSearch(n_steps=1), NearestSearch()])
def test_other_searches_train_no_encoder(small, search, table):
    """Nor do they keep one."""
    detector = small(AnoGANDetector, search=search).fit(table)
    assert set(networks_of(detector)) == {"generator", "discriminator", "candidates"}
    assert detector.n_iter_ == 10


# Scores.


@every_search
@pytest.mark.parametrize("conv", [False, True])
def test_scoring_leaves_the_networks_alone(small, search, conv, table, images):
    """No method moves a weight, a statistic, a mode or a gradient."""
    X = images if conv else table
    detector = small(AnoGANDetector, conv=conv, score_type="joint", search=search)
    networks = networks_of(detector.set_params(latent_dim=5).fit(X))
    before = {name: state_of(network) for name, network in networks.items()}
    scores = detector.score_samples(X)
    for method in ("reconstruct", "encode", "anomaly_map", "explain", "p_values"):
        getattr(detector, method)(X[:5])
    detector.sample(3)
    for name, network in networks.items():
        assert not differs(before[name], state_of(network))
        assert not any(module.training for module in network.modules())
        for parameter in network.parameters():
            assert parameter.grad is None and not parameter.requires_grad
    assert_array_equal(detector.score_samples(X), scores)


@every_search
@pytest.mark.parametrize("score_type", ["local", "published", "features"])
def test_scores_of_fit_are_scores_of_predict(small, search, score_type, table):
    """Reference scores are what the training rows score later."""
    params = {"score_type": score_type, "contamination": 0.1, "n_members": 2}
    detector = small(AnoGANDetector, max_steps=5, search=search, **params)
    labels = detector.fit_predict(table)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(table))
    )
    assert (labels == -1).sum() == 30
    assert_array_equal(detector.predict(table), labels)


@encoder_or_none
def test_scores_of_fit_are_scores_of_predict_for_images(small, search, images):
    """The same for images."""
    params = {"search": search, "score_type": "published"}
    detector = small(AnoGANDetector, conv=True, **params).fit(images)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(images))
    )


def inside(detector, X):
    """Scaled rows, what is generated for them, and the features of both."""
    model, n_members = detector.model_, detector.settings_.n_members
    rows = torch.from_numpy(model.scaling.transform(X))
    codes = detector.encode(X).reshape(len(X), n_members, -1)
    codes = torch.from_numpy(codes.transpose(1, 0, 2)).float()
    x = rows.expand(n_members, *rows.shape)
    made = model.method.generator(codes)
    critic = model.method.discriminator
    return x, made, critic(x)[1], critic(made)[1]


@one_search_of_a_kind
@pytest.mark.parametrize(
    ("residual_loss", "feature_weight"),
    [("l1", 0.1), ("l2", 0.1), ("l1", 0), ("l2", 1)],
)
def test_published_score(small, search, residual_loss, feature_weight, table):
    """(1 - w) |x - G(z)| + w |f(x) - f(G(z))|, in units of its median."""
    detector = small(
        AnoGANDetector,
        max_steps=3,
        n_members=2,
        score_type="published",
        search=clone(search).set_params(
            residual_loss=residual_loss, feature_weight=feature_weight
        ),
    ).fit(table)
    x, made, features, made_features = (
        part.numpy() for part in inside(detector, table)
    )
    size = np.abs if residual_loss == "l1" else np.square
    value = (1 - feature_weight) * size(x - made).mean(2)
    value += feature_weight * size(features - made_features).mean(2)
    # The lower of the two in the middle, as torch has it.
    unit = np.sort(value, axis=1)[:, (len(table) - 1) // 2]
    expected = (value / unit[:, None]).mean(0)
    assert_allclose(detector.anomaly_score(table), expected, rtol=2e-4)


@pytest.mark.parametrize("part", ["reconstruction", "features"])
def test_parts_are_mean_squares(small, part, table):
    """Each in units of its median; the same as a score and as a part."""
    detector = small(AnoGANDetector, score_type=part, n_members=2).fit(table)
    x, made, features, made_features = (p.numpy() for p in inside(detector, table))
    difference = x - made if part == "reconstruction" else features - made_features
    value = (difference**2).mean(2)
    unit = np.sort(value, axis=1)[:, (len(table) - 1) // 2]
    expected = (value / unit[:, None]).mean(0)
    assert_allclose(detector.anomaly_score(table), expected, rtol=2e-4)
    assert_array_equal(
        detector.anomaly_score(table), detector.anomaly_score(table, part=part)
    )


def test_reconstruct_is_what_is_generated_from_the_codes(small, table):
    """In the units of the table, the mean over the members."""
    detector = small(AnoGANDetector, n_members=3).fit(table)
    made = inside(detector, table)[1].mean(0).numpy()
    scaling = detector.model_.scaling
    expected = made * scaling.scale.numpy() + scaling.center.numpy()
    assert_allclose(detector.reconstruct(table), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("score_type", ["published", "reconstruction"])
def test_search_finds_what_is_normal_and_not_the_rest(score_type):
    """Rows on the line that was trained on are found; rows off it are not."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(400, 1))
    X = np.c_[t, t, t, t] + 0.02 * rng.normal(size=(400, 4))
    off = X[:100] + np.array([1, -1, 1, -1])
    detector = AnoGANDetector(
        architecture=MLP(hidden_layer_sizes=(32,), discriminator_layer_sizes=(32,)),
        latent_dim=2,
        n_members=2,
        max_steps=400,
        learning_rate=5e-3,
        search=NearestSearch(n_candidates=200, n_steps=30),
        score_type=score_type,
        random_state=0,
    ).fit(X)
    scores = detector.anomaly_score(np.vstack([X[:100], off]))
    assert scores[100:].min() > np.quantile(scores[:100], 0.9)
    assert (detector.predict(off) == -1).mean() > 0.95
    nearest = detector.reconstruct(X)
    assert np.abs(nearest - X).mean() < 0.75 * np.abs(X - X.mean(axis=0)).mean()
    # What is found for rows off the line, by one, is nearer to it.
    counterparts = (
        detector.reconstruct(off) - detector.reconstruct(off).mean(1)[:, None]
    )
    assert np.abs(counterparts).mean() < 0.5


@pytest.mark.parametrize("search", [GradientSearch(), NearestSearch(n_candidates=50)])
def test_search_lowers_the_published_score_of_every_row(small, search, table):
    """Refinement never makes a code worse, as seen from outside."""
    values = []
    for n_steps in (0, 20):
        detector = small(AnoGANDetector, search=search, n_members=1)
        detector.set_params(search=clone(search).set_params(n_steps=n_steps)).fit(table)
        x, made, features, made_features = inside(detector, table)
        value = 0.9 * (x - made).abs().mean(2)
        value += 0.1 * (features - made_features).abs().mean(2)
        values.append(value.numpy())
    # One rounding more, as the codes went through the public method.
    assert (values[1] <= values[0] * (1 + 1e-5)).all()
    assert values[1].mean() < 0.95 * values[0].mean()


# Features.


@pytest.mark.parametrize("feature_layer", [None, 1, 2])
@pytest.mark.parametrize("n_members", [1, 3])
def test_feature_layer(small, feature_layer, n_members, table):
    """The part "features" has the units of that layer, counted from the rows."""
    architecture = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(7, 5))
    detector = small(
        AnoGANDetector,
        architecture=architecture,
        n_members=n_members,
        feature_layer=feature_layer,
    ).fit(table)
    x, *_ = inside(detector, table[:50])
    with torch.inference_mode():
        found = detector.model_.method.features(x)
    layers = detector.model_.method.discriminator.features
    expected = F.leaky_relu(x @ layers[0].weight + layers[0].bias, 0.2)
    if feature_layer != 1:
        expected = F.leaky_relu(expected @ layers[2].weight + layers[2].bias, 0.2)
    assert found.shape == (n_members, 50, 7 if feature_layer == 1 else 5)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@encoder_or_none
@pytest.mark.parametrize("conv", [False, True])
def test_feature_layer_decides(small, search, conv, table, images):
    """Another layer leads to another score; the last one is the default."""
    X, architecture = (
        table,
        MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(7, 5)),
    )
    if conv:
        X, architecture = (
            images,
            ConvNet(base_channels=2, n_blocks=2, discriminator_normalization=None),
        )
    params = {"search": search, "score_type": "features"}
    scores = [
        small(AnoGANDetector, architecture=architecture, feature_layer=layer, **params)
        .fit(X)
        .score_samples(X)
        for layer in (None, 1, 2)
    ]
    assert (scores[0] != scores[1]).mean() > 0.9
    assert_allclose(scores[0], scores[2], rtol=1e-5)


@pytest.mark.parametrize("feature_layer", [2, 7])
def test_feature_layer_beyond_the_critic(small, feature_layer, table):
    """A layer that is not there is refused with the number of those that are."""
    detector = small(AnoGANDetector, feature_layer=feature_layer)
    with pytest.raises(
        ValueError, match=rf"feature_layer={feature_layer}, but .* 1 hidden layers"
    ):
        detector.fit(table)
    assert not hasattr(detector, "net_")


# What is refused, and what is chosen.


@pytest.mark.parametrize("adversary", [Wasserstein(penalty=1.0), Logistic(penalty=1.0)])
def test_batch_norm_in_a_penalised_critic(adversary, images):
    """It is refused before any training, and accepted without the penalty."""
    detector = AnoGANDetector(
        architecture=ConvNet(base_channels=2, n_blocks=2),
        adversary=clone(adversary),
        max_steps=2,
        search=EncoderSearch(encoder_steps=2),
        random_state=0,
    )
    with pytest.raises(ValueError, match=r"discriminator_normalization=None") as caught:
        detector.fit(images)
    assert "adversary=Logistic(penalty=0)" in str(caught.value)
    assert not hasattr(detector, "net_")
    assert detector.set_params(adversary__penalty=0).fit(images).n_iter_ == 4


@pytest.mark.parametrize(
    "adversary, normalization",
    [
        ("wgan-gp", None),
        ("logistic", "batch"),
        (Logistic(penalty=1.0), None),
        (Wasserstein(penalty=0), "batch"),
    ],
)
def test_named_architecture_suits_the_penalty(adversary, normalization, images):
    """The critic of "conv" normalises no batches where slopes are penalised."""
    detector = AnoGANDetector(
        architecture="conv", max_steps=2, adversary=adversary, random_state=0
    ).fit(images)
    architecture = detector.settings_.architecture
    assert architecture.discriminator_normalization == normalization
    assert architecture.normalization == "batch"


def test_more_starts_than_candidates(small, table):
    """They could not be chosen; nothing is trained for that."""
    search = NearestSearch(n_starts=51, n_candidates=50, n_steps=0)
    detector = small(AnoGANDetector, search=search)
    with pytest.raises(ValueError, match=r"n_starts=51 is more than n_candidates=50"):
        detector.fit(table)
    assert not hasattr(detector, "net_")
    assert np.isfinite(detector.set_params(search__n_starts=50).fit(table).offset_)


# Of the search or adversary that has the parameter, where it is not the detector's.
BAD_PARAMETERS = [
    ("adversary", "hinge"),
    ("adversary__n_critic", 0),
    ("adversary__penalty", -1),
    ("adversary__penalty", "strong"),
    ("adversary__penalty_interval", 0),
    ("adversary__learning_rate", 0),
    ("average_decay", 1),
    ("average_decay", -0.1),
    ("search", "random"),
    ("search__encoder_steps", 0),
    ("search__encoder_learning_rate", 0),
    ("search__encoder_feature_weight", -1),
    ("search__n_steps", -1),
    ("search__n_steps", 1.5),
    ("search__learning_rate", 0),
    ("search__n_starts", 0),
    ("search__n_candidates", 0),
    ("search__residual_loss", "huber"),
    ("search__feature_weight", 1.1),
    ("search__prior_weight", -1),
    ("feature_layer", 0),
    ("score_type", "latent"),
    ("max_restarts", -1),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_unknown_options(small, name, value, table):
    """A value that a parameter cannot have is refused by name, at fit."""
    detector = small(AnoGANDetector, max_steps=2, adversary=Wasserstein())
    if name in ("search__n_starts", "search__n_candidates"):
        detector.set_params(search=NearestSearch())
    detector.set_params(**{name: value})
    with pytest.raises(ValueError, match=name.split("__")[-1]):
        detector.fit(table)
    assert set(vars(detector)) == set(detector.get_params(deep=False))


@pytest.mark.parametrize(
    "changed",
    [
        {"adversary__n_critic": 3},
        {"average_decay": 0.0},
        {"search__prior_weight": 5.0},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_parameters_have_an_effect(small, changed, table):
    """What is asked for is done, and so shows in the scores."""
    detector = small(
        AnoGANDetector,
        adversary=Wasserstein(),
        search=NearestSearch(n_candidates=50, n_steps=5),
        max_steps=20,
    )
    before = detector.fit(table).score_samples(table)
    after = detector.set_params(**changed).fit(table).score_samples(table)
    assert (after != before).mean() > 0.9


@pytest.mark.parametrize("n_rows", [2, 7])
@one_search_of_a_kind
def test_few_rows(small, n_rows, search, table):
    """Two rows are enough, for each search."""
    detector = small(AnoGANDetector, max_steps=3, search=search).fit(table[:n_rows])
    for X in (table[:n_rows], table, np.full((1, 4), 1e6)):
        assert np.isfinite(detector.score_samples(X)).all()


@one_search_of_a_kind
@pytest.mark.filterwarnings("ignore:All training rows are equal:UserWarning")
def test_constant_rows(small, search):
    """Where all rows are the same, nothing divides by zero."""
    X = np.full((40, 3), 7.0)
    detector = small(AnoGANDetector, search=search).fit(X)
    assert np.isfinite(detector.score_samples(np.vstack([X, X + 1000]))).all()
    assert (detector.predict(X) == 1).all()


SHAPES = [(1, 13), (4, 1), (1, 1, 1), (1, 5, 7), (3, 9, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@encoder_or_none
def test_windows_and_images_of_any_size(small, shape, search):
    """Flat rows with ``input_shape`` train, score and come back in their size."""
    X = np.random.default_rng(0).uniform(size=(12, int(np.prod(shape))))
    detector = small(
        AnoGANDetector,
        conv=True,
        input_shape=shape,
        search=search,
        max_steps=2,
    ).fit(X)
    assert detector.input_shape_ == shape
    assert np.isfinite(detector.score_samples(X)).all()
    assert detector.reconstruct(X).shape == X.shape
    assert detector.anomaly_map(X).shape == X.shape
    assert detector.sample(3).shape == (3, *shape)


@one_search_of_a_kind
@pytest.mark.parametrize("conv", [False, True])
def test_copies(small, search, conv, table, images):
    """A pickle and a clone score as the original, by codes, maps and samples too."""
    X = images if conv else table
    detector = small(AnoGANDetector, conv=conv, max_steps=3, search=search).fit(X)
    copies = [pickle.loads(pickle.dumps(detector)), clone(detector).fit(X)]
    for copied in copies:
        assert copied.get_params(deep=False).keys() == detector.get_params(False).keys()
        for method in ("score_samples", "encode", "reconstruct", "anomaly_map"):
            assert_array_equal(
                getattr(copied, method)(X[:20]), getattr(detector, method)(X[:20])
            )
        assert_array_equal(
            copied.sample(5, random_state=0), detector.sample(5, random_state=0)
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"search": "gradient"},
        {"search__n_steps": 5},
        {"search__feature_weight": 0.9},
        {"search__residual_loss": "l2"},
        {"feature_layer": 1},
    ],
)
def test_parameters_changed_after_fit(small, changed, table):
    """A detector scores as it was fitted, whatever parameters were set since."""
    architecture = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(7, 5))
    detector = small(
        AnoGANDetector,
        architecture=architecture,
        search=NearestSearch(n_candidates=50, n_steps=2),
        score_type="published",
    ).fit(table)
    expected = detector.score_samples(table)
    detector.set_params(**changed)
    assert_array_equal(detector.score_samples(table), expected)


@pytest.mark.parametrize(
    "changed", [{"search": "gradient"}, {"search__n_candidates": 7}]
)
def test_pickle_after_parameters_changed(small, changed, table):
    """A pickle is of what was fitted."""
    search = NearestSearch(n_candidates=50, n_steps=2)
    detector = small(AnoGANDetector, search=search, max_steps=3).fit(table)
    expected = detector.score_samples(table)
    copied = pickle.loads(pickle.dumps(detector.set_params(**changed)))
    assert_array_equal(copied.score_samples(table), expected)


def test_remedy_for_a_certain_critic(small, table):
    """The options that the warning names can be passed."""
    detector = small(
        AnoGANDetector,
        adversary="logistic",
        net_params={"optimizer_d__lr": 1e-4},
    )
    assert np.isfinite(detector.fit(table).offset_)


@pytest.mark.parametrize("shape", [(1, 4, 4), (16,)])
def test_scores_that_go_by_reconstructions_are_trained_for_longer(shape):
    """By default, and of images alone."""

    def steps(**params):
        detector = AnoGANDetector(**params)
        settings = detector._settle_steps(resolve_settings(detector, shape), 100)
        return settings.max_steps, settings.search.encoder_steps

    images = len(shape) == 3
    for local in ("auto", "local", LocalScore(exponent=0.5)):
        assert steps(score_type=local) == ((700, 350) if images else (600, 50))
    for other in ("published", "joint", "reconstruction"):
        assert steps(score_type=other) == ((1000, 500) if images else (600, 50))
    assert steps(score_type="published", max_steps=300)[0] == 300
