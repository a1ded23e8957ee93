"""Tests of AnoGAN: who is trained when, on what, and what its scores are."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch.nn import functional as F

from skganomaly import AnoGANDetector
from skganomaly._anogan import AnoGANObjective, EncoderObjective
from skganomaly._data import FeatureScaler, RowDataset, TensorBatches
from skganomaly._networks import build_members
from skganomaly._training import AdversarialNet
from skganomaly.architectures import MLP, ConvNet

CPU = torch.device("cpu")
N_MEMBERS, WIDTH, LATENT_DIM = 2, 3, 2
OBJECTIVE = {
    "loss": "wgan-gp",
    "latent_dim": LATENT_DIM,
    "n_critic": 1,
    "gradient_penalty": 10.0,
    "penalty_interval": 1,
}
# A search of each kind, and all that there is to them.
SEARCHES = {
    "encoder": {"search": "encoder"},
    "encoder, refined": {"search": "encoder", "n_search_steps": 3},
    "gradient": {"search": "gradient", "n_search_steps": 4, "n_starts": 2},
    "nearest": {"search": "nearest", "n_search_steps": 3, "n_starts": 3},
    "nearest alone": {"search": "nearest", "n_search_steps": 0},
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
# Those that differ in what scores are made of, not only in how long they look.
KINDS = ["encoder", "gradient", "nearest"]
one_search_of_a_kind = pytest.mark.parametrize(
    "search", [SEARCHES[kind] for kind in KINDS], ids=KINDS
)
both_losses = pytest.mark.parametrize("loss", ["wgan-gp", "logistic"])


def make_objective(**options):
    random = torch.Generator().manual_seed(7)
    return AnoGANObjective(**OBJECTIVE | {"random": random} | options)


def make_networks(normalization=None, seed=0):
    """A tiny generator and critic of two members."""
    architecture = MLP(
        hidden_layer_sizes=(5,),
        discriminator_layer_sizes=(6,),
        normalization=normalization,
    )
    generator = torch.Generator().manual_seed(seed)

    def build(factory):
        return build_members(factory, N_MEMBERS, generator, architecture.initialize)

    return {
        "generator": build(lambda: architecture.decoder(LATENT_DIM, (WIDTH,))),
        "discriminator": build(lambda: architecture.discriminator((WIDTH,))),
    }


def make_rows(n_rows=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N_MEMBERS, n_rows, WIDTH, generator=generator) + 1


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def differs(first, second):
    """Names of the tensors in which two states differ."""
    return {name for name, value in first.items() if (value != second[name]).any()}


def train(objective, networks, max_steps, **options):
    """Train, and return the states of the networks before each step and at the end."""
    states = []

    def watched(generator, discriminator, x, noisy):
        states.append([state_of(generator), state_of(discriminator)])
        return objective(generator, discriminator, x, noisy)

    X = np.random.default_rng(0).normal(size=(40, WIDTH))
    defaults = {
        "lr": 1e-2,
        "batch_size": 8,
        "max_epochs": len(TensorBatches.epoch_lengths(40, 8, max_steps)),
        "device": "cpu",
        "verbose": 0,
        "schedule": "constant",
        "iterator_train": TensorBatches,
        "iterator_train__n_members": N_MEMBERS,
        "iterator_train__max_steps": max_steps,
        "iterator_train__generator": torch.Generator().manual_seed(3),
    }
    net = AdversarialNet(
        networks, watched, max_steps=max_steps, **defaults | options
    ).initialize()
    net.partial_fit(
        RowDataset(X, FeatureScaler("standard", (WIDTH,)).fit(X), CPU),
    )
    states.append([state_of(network) for network in networks.values()])
    return net, states


# Who moves when.


@both_losses
def test_a_critic_step_moves_the_critic_alone(loss):
    """Before the generator's first turn not a bit of it has changed."""
    networks = make_networks()
    _, states = train(make_objective(loss=loss, n_critic=2), networks, 1)
    assert not differs(states[0][0], states[1][0])
    # The bias of the head shifts real and generated values alike.
    assert differs(states[0][1], states[1][1]) >= set(states[0][1]) - {"head.0.bias"}


@both_losses
def test_a_generator_step_moves_the_generator_alone(loss):
    """With the critic's rate at zero not a bit of it changes."""
    networks = make_networks()
    _, states = train(make_objective(loss=loss), networks, 1, optimizer_d__lr=0.0)
    assert differs(states[0][0], states[1][0]) == set(states[0][0])
    assert not differs(states[0][1], states[1][1])


@both_losses
@pytest.mark.parametrize("n_critic", [1, 3])
def test_generator_moves_on_every_so_manieth_step(loss, n_critic):
    """The critic moves on all of them."""
    networks = make_networks()
    net, states = train(make_objective(loss=loss, n_critic=n_critic), networks, 10)
    assert net.n_steps_ == 10
    moves = [
        (bool(differs(a[0], b[0])), bool(differs(a[1], b[1])))
        for a, b in pairwise(states)
    ]
    assert moves == [(step % n_critic == 0, True) for step in range(1, 11)]


def test_history_has_terms_that_come_now_and_then():
    """Each is the mean over the steps that it came in."""
    seen = {"generator": [], "discriminator": [], "penalty": []}
    objective = make_objective(n_critic=4, penalty_interval=3)

    def watched(*args):
        terms = objective(*args)
        for name, value in (terms[0] | terms[1]).items():
            seen[name].append(value.detach().mean().item())
        return terms

    net, _ = train(watched, make_networks(), 500)
    assert {name: len(values) for name, values in seen.items()} == {
        "generator": 125,
        "discriminator": 500,
        "penalty": 166,
    }
    # Epochs of 25 steps, of which each fourth and each third have these terms.
    last = {"generator": 6, "discriminator": 25, "penalty": 8}
    for name, values in seen.items():
        expected = np.mean(values[-last[name] - (name == "generator") :])
        assert_allclose(net.history[-1][name], expected, rtol=1e-5)


# Losses.


def drawn_again(x, loss="wgan-gp"):
    """The first code and the first share that an objective draws."""
    random = torch.Generator().manual_seed(7)
    z = torch.randn(*x.shape[:2], LATENT_DIM, generator=random)
    return z, torch.rand(*x.shape[:2], *[1] * (x.ndim - 2), generator=random)


def test_wasserstein_losses():
    """The critic raises its values of real rows over those of generated ones."""
    networks, x = make_networks(), make_rows()
    generator, critic = networks.values()
    fake = generator(drawn_again(x)[0])
    for_generator, for_critic = make_objective(gradient_penalty=0)(
        generator, critic, x, x
    )
    real_values, fake_values = critic(x)[0], critic(fake)[0]
    assert set(for_generator) == {"generator"} and set(for_critic) == {"discriminator"}
    assert_allclose(
        for_generator["generator"].detach(), -fake_values.mean(1).detach(), rtol=1e-5
    )
    assert_allclose(
        for_critic["discriminator"].detach(),
        (fake_values.mean(1) - real_values.mean(1)).detach(),
        rtol=1e-5,
        atol=1e-7,
    )


def test_logistic_losses():
    """Cross-entropies with ones for real and zeros for generated rows."""
    networks, x = make_networks(), make_rows()
    generator, critic = networks.values()
    fake = generator(drawn_again(x)[0])
    for_generator, for_critic = make_objective(loss="logistic", gradient_penalty=0)(
        generator, critic, x, x
    )

    def cross_entropy(rows, label):
        logits = critic(rows)[0].detach()
        return F.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, label), reduction="none"
        ).mean(1)

    assert_allclose(
        for_generator["generator"].detach(), cross_entropy(fake, 1.0), rtol=1e-6
    )
    assert_allclose(
        for_critic["discriminator"].detach(),
        (cross_entropy(x, 1.0) + cross_entropy(fake, 0.0)) / 2,
        rtol=1e-6,
    )
    assert set(for_critic) == {"discriminator"}


@both_losses
@pytest.mark.parametrize("interval", [1, 3])
def test_penalty_comes_on_every_so_manieth_batch(loss, interval):
    """It weighs as many times more, so that its mean weight stays the same."""
    generator, critic = make_networks().values()
    weight = 2.5
    objective = make_objective(
        loss=loss, gradient_penalty=weight, penalty_interval=interval
    )
    random = torch.Generator().manual_seed(7)
    for call in range(1, 8):
        x = make_rows(seed=call)
        _, terms = objective(generator, critic, x, x)
        fake = generator(torch.randn(*x.shape[:2], LATENT_DIM, generator=random))
        assert ("penalty" in terms) == (call % interval == 0)
        if "penalty" not in terms:
            continue
        rows, target, half = x, 0.0, 0.5
        if loss == "wgan-gp":
            share = torch.rand(*x.shape[:2], 1, generator=random)
            rows, target, half = share * x + (1 - share) * fake, 1.0, 1.0
        slopes = slopes_of(critic, rows)
        by_hand = (slopes - target).square().mean(1) * half * weight * interval
        assert_allclose(terms["penalty"].detach(), by_hand, rtol=1e-4)


def slopes_of(critic, rows):
    """Norm of the gradient of the critic's value at each row, one by one."""
    norms = torch.zeros(rows.shape[:2])
    for i in range(rows.shape[1]):
        row = rows[:, i : i + 1].detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(row)[0].sum(), row)
        norms[:, i] = slope.flatten(1).norm(dim=1)
    return norms


@both_losses
def test_penalty_has_no_say_in_the_generator(loss):
    """Its gradient is the critic's alone."""
    generator, critic = make_networks().values()
    x = make_rows()
    _, terms = make_objective(loss=loss)(generator, critic, x, x)
    gradients = torch.autograd.grad(
        terms["penalty"].sum(), list(generator.parameters()), allow_unused=True
    )
    assert gradients == (None,) * len(gradients)
    weight = critic.features[0].weight
    (gradient,) = torch.autograd.grad(terms["penalty"].sum(), weight)
    assert (gradient != 0).any()


def test_shares_of_an_image_are_one_number():
    """All pixels of an interpolate lie at the same place between two images."""
    seen = []

    def critic(rows):
        seen.append(rows)
        return rows.flatten(2).sum(2), rows.flatten(2)

    x = torch.ones(2, 6, 3, 4, 5)
    objective = make_objective()
    objective(lambda z: torch.zeros_like(x, requires_grad=True), critic, x, x)
    shares = seen[-1].detach().flatten(2)
    assert_array_equal(shares, shares[:, :, :1].expand_as(shares))
    assert ((shares > 0) & (shares < 1)).all()
    assert len(torch.unique(shares)) == 12
    assert_array_equal(shares[:, :, 0], drawn_again(x)[1].flatten(1))


def test_steep_critics_are_brought_to_slope_one():
    """What the penalty of WGAN-GP is for: a training with it has gentler critics."""
    slopes = {}
    for weight in (0.0, 10.0):
        networks = make_networks()
        objective = make_objective(gradient_penalty=weight)
        train(objective, networks, 200, optimizer_d__lr=3e-2)
        slopes[weight] = slopes_of(networks["discriminator"], make_rows(100)).mean()
    assert slopes[0.0] > 3
    assert slopes[10.0] < 1.5


# The moving average.


@pytest.mark.parametrize("n_critic", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.8])
@pytest.mark.parametrize("normalization", [None, "batch"])
def test_finished_generator_is_a_moving_average(n_critic, decay, normalization):
    """Of what it was after each of its steps, running statistics included."""
    networks = make_networks(normalization)
    net, states = train(
        make_objective(n_critic=n_critic), networks, 11, average_decay=decay
    )
    steps = [state for state, _ in states[1:]][n_critic - 1 :: n_critic]
    average = steps[0]
    for state in steps[1:]:
        average = {
            name: decay * average[name] + (1 - decay) * value
            for name, value in state.items()
        }
    critic = state_of(networks["discriminator"])
    net.finish()
    finished = state_of(networks["generator"])
    floating = [name for name in finished if finished[name].is_floating_point()]
    assert any("running_var" in name for name in floating) == bool(normalization)
    for name in floating:
        assert_allclose(finished[name], average[name], rtol=1e-4, atol=1e-6)
    if decay:
        assert differs(states[-1][0], finished) >= set(
            dict(networks["generator"].named_parameters())
        )
    assert not differs(critic, state_of(networks["discriminator"]))


def test_without_average_the_last_weights_stay():
    """None keeps the generator as its last step left it."""
    networks = make_networks()
    net, states = train(make_objective(), networks, 5)
    net.finish()
    assert not differs(states[-1][0], state_of(networks["generator"]))


# The encoder.


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_encoder_losses(weight):
    """Residuals of rows and features, and a little of the squared code."""
    generator, critic = make_networks().values()
    x = make_rows()
    noisy = x + 0.1
    objective = EncoderObjective(generator, lambda rows: critic(rows)[1], weight)

    def encoder(rows):
        return rows[:, :, :LATENT_DIM]

    terms, others = objective(encoder, None, x, noisy)
    assert others == {}
    code = noisy[:, :, :LATENT_DIM]
    made = generator(code)
    expected = {
        "encoder_reconstruction": (x - made).square().mean((1, 2)),
        "encoder_prior": 0.01 * code.square().mean((1, 2)),
    }
    if weight:
        difference = critic(x)[1] - critic(made)[1]
        expected["encoder_features"] = weight * difference.square().mean((1, 2))
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert_allclose(terms[name].detach(), value.detach(), rtol=1e-5)


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
            "loss": "logistic",
            "gradient_penalty": 0,
        },
        True,
    ),
}


@pytest.mark.parametrize("params, maps", ENCODED.values(), ids=ENCODED)
def test_encoder_is_trained_behind_finished_networks(
    small, params, maps, table, images, monkeypatch
):
    """Its training changes neither generator nor critic, statistics included."""
    train_encoder = AnoGANDetector._train_encoder
    before, after = {}, {}

    def watched(detector, *args):
        networks = detector.net_.networks
        before.update({name: state_of(n) for name, n in networks.items()})
        train_encoder(detector, *args)
        after.update({name: state_of(n) for name, n in networks.items()})

    monkeypatch.setattr(AnoGANDetector, "_train_encoder", watched)
    detector = small(AnoGANDetector, search="encoder", **params)
    detector.fit(images if maps else table)
    assert set(before) == {"generator", "discriminator", "encoder"}
    for name in ("generator", "discriminator"):
        assert not differs(before[name], after[name])
        assert not differs(before[name], state_of(detector.net_.networks[name]))
    weights = set(dict(detector.net_.networks["encoder"].named_parameters()))
    assert weights <= differs(before["encoder"], after["encoder"])
    for network in detector.net_.networks.values():
        assert not any(module.training for module in network.modules())
        assert not any(p.requires_grad for p in network.parameters())


def test_steps_of_generator_and_encoder_add_up(small, table):
    """The history goes on through the encoder's training."""
    detector = small(AnoGANDetector, max_steps=30, encoder_steps=60).fit(table)
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
        encoder_steps=300,
        learning_rate=5e-3,
        n_members=1,
        input_noise=0.0,
    )
    history = detector.fit(table).history_
    (first, *_, last) = (
        row["encoder_reconstruction"] for row in history if row["n_steps"] > 199
    )
    assert last < 0.8 * first


@pytest.mark.parametrize("search", ["gradient", "nearest"])
def test_other_searches_train_no_encoder(small, search, table):
    """Nor do they keep one."""
    detector = small(AnoGANDetector, search=search, n_search_steps=1).fit(table)
    assert set(detector.net_.networks) == {"generator", "discriminator", "candidates"}
    assert detector.n_iter_ == 10


# Scores.


@every_search
@pytest.mark.parametrize("conv", [False, True])
def test_scoring_leaves_the_networks_alone(small, search, conv, table, images):
    """No method moves a weight, a statistic, a mode or a gradient."""
    X = images if conv else table
    detector = small(AnoGANDetector, conv=conv, score_type="joint", **search)
    networks = detector.set_params(latent_dim=5).fit(X).net_.networks
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
    detector = small(AnoGANDetector, max_steps=5, **params, **search)
    labels = detector.fit_predict(table)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(table))
    )
    assert (labels == -1).sum() == 30
    assert_array_equal(detector.predict(table), labels)


@pytest.mark.parametrize("search", ["encoder", "nearest"])
def test_scores_of_fit_are_scores_of_predict_for_images(small, search, images):
    """The same for images."""
    params = {"search": search, "n_search_steps": 2, "score_type": "published"}
    detector = small(AnoGANDetector, conv=True, **params).fit(images)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(images))
    )


def inside(detector, X):
    """Scaled rows, what is generated for them, and the features of both."""
    networks = detector.net_.networks
    rows = torch.from_numpy(detector.scaler_.transform(X))
    codes = detector.encode(X).reshape(len(X), detector.n_members_, -1)
    codes = torch.from_numpy(codes.transpose(1, 0, 2)).float()
    x = rows.expand(detector.n_members_, *rows.shape)
    made = networks["generator"](codes)
    critic = networks["discriminator"]
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
        residual_loss=residual_loss,
        feature_weight=feature_weight,
        **search,
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
    expected = made * detector.scaler_.scale_ + detector.scaler_.center_
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
        search="nearest",
        n_candidates=200,
        n_search_steps=30,
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


@pytest.mark.parametrize("search", ["gradient", "nearest"])
def test_search_lowers_the_published_score_of_every_row(small, search, table):
    """Refinement never makes a code worse, as seen from outside."""
    values = []
    for n_steps in (0, 20):
        detector = small(
            AnoGANDetector, search=search, n_search_steps=n_steps, n_members=1
        ).fit(table)
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
        found = detector._features(detector.net_.networks)(x)
    layers = detector.net_.networks["discriminator"].features
    expected = F.leaky_relu(x @ layers[0].weight + layers[0].bias, 0.2)
    if feature_layer != 1:
        expected = F.leaky_relu(expected @ layers[2].weight + layers[2].bias, 0.2)
    assert found.shape == (n_members, 50, 7 if feature_layer == 1 else 5)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("search", ["encoder", "nearest"])
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
    params = {"search": search, "n_search_steps": 2, "score_type": "features"}
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


@both_losses
def test_batch_norm_in_a_penalised_critic(loss, images):
    """It is refused before any training, and accepted without the penalty."""
    detector = AnoGANDetector(
        architecture=ConvNet(base_channels=2, n_blocks=2),
        loss=loss,
        gradient_penalty=1.0,
        max_steps=2,
        encoder_steps=2,
        random_state=0,
    )
    with pytest.raises(ValueError, match=r"discriminator_normalization=None") as caught:
        detector.fit(images)
    assert "gradient_penalty=0" in str(caught.value)
    assert not hasattr(detector, "net_")
    assert detector.set_params(gradient_penalty=0).fit(images).n_iter_ == 4


@pytest.mark.parametrize(
    "params, normalization",
    [
        ({"loss": "wgan-gp"}, None),
        ({"loss": "logistic"}, "batch"),
        ({"loss": "logistic", "gradient_penalty": 1.0}, None),
        ({"loss": "wgan-gp", "gradient_penalty": 0}, "batch"),
    ],
)
def test_named_architecture_suits_the_penalty(params, normalization, images):
    """The critic of "conv" normalises no batches where slopes are penalised."""
    detector = AnoGANDetector(
        architecture="conv", max_steps=2, encoder_steps=2, random_state=0, **params
    ).fit(images)
    assert detector.architecture_.discriminator_normalization == normalization
    assert detector.architecture_.normalization == "batch"


def test_more_starts_than_candidates(small, table):
    """They could not be chosen; nothing is trained for that."""
    detector = small(AnoGANDetector, search="nearest", n_starts=51, n_candidates=50)
    with pytest.raises(ValueError, match=r"n_starts=51 is more than n_candidates=50"):
        detector.fit(table)
    assert not hasattr(detector, "net_")
    detector.set_params(n_starts=50, n_search_steps=0).fit(table)
    assert np.isfinite(detector.offset_)


BAD_PARAMETERS = [
    ("loss", "hinge"),
    ("n_critic", 0),
    ("gradient_penalty", -1),
    ("gradient_penalty", "strong"),
    ("penalty_interval", 0),
    ("average_decay", 1),
    ("average_decay", -0.1),
    ("encoder_steps", 0),
    ("encoder_feature_weight", -1),
    ("search", "random"),
    ("n_search_steps", -1),
    ("n_search_steps", 1.5),
    ("search_learning_rate", 0),
    ("n_starts", 0),
    ("n_candidates", 0),
    ("residual_loss", "huber"),
    ("feature_weight", 1.1),
    ("feature_layer", 0),
    ("prior_weight", -1),
    ("score_type", "latent"),
    ("max_restarts", -1),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_unknown_options(small, name, value, table):
    """A value that a parameter cannot have is refused by name, at fit."""
    detector = small(AnoGANDetector, max_steps=2).set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        detector.fit(table)
    assert set(vars(detector)) == set(detector.get_params(deep=False))


@pytest.mark.parametrize("name", ["n_critic", "average_decay", "prior_weight"])
@pytest.mark.parametrize("search", ["nearest"])
def test_parameters_have_an_effect(small, search, name, table):
    """What is asked for is done, and so shows in the scores."""
    other = {"n_critic": 3, "average_decay": 0.0, "prior_weight": 5.0}[name]
    params = {"search": search, "n_search_steps": 5, "max_steps": 20}
    scores = [
        small(AnoGANDetector, **params, **change).fit(table).score_samples(table)
        for change in ({}, {name: other})
    ]
    assert (scores[0] != scores[1]).mean() > 0.9


@pytest.mark.parametrize("n_rows", [2, 7])
@one_search_of_a_kind
def test_few_rows(small, n_rows, search, table):
    """Two rows are enough, for each search."""
    detector = small(AnoGANDetector, max_steps=3, **search).fit(table[:n_rows])
    for X in (table[:n_rows], table, np.full((1, 4), 1e6)):
        assert np.isfinite(detector.score_samples(X)).all()


@one_search_of_a_kind
@pytest.mark.filterwarnings("ignore:All training rows are equal:UserWarning")
def test_constant_rows(small, search):
    """Where all rows are the same, nothing divides by zero."""
    X = np.full((40, 3), 7.0)
    detector = small(AnoGANDetector, **search).fit(X)
    assert np.isfinite(detector.score_samples(np.vstack([X, X + 1000]))).all()
    assert (detector.predict(X) == 1).all()


SHAPES = [(1, 13), (4, 1), (1, 1, 1), (1, 5, 7), (3, 9, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("search", ["encoder", "nearest"])
def test_windows_and_images_of_any_size(small, shape, search):
    """Flat rows with ``input_shape`` train, score and come back in their size."""
    X = np.random.default_rng(0).uniform(size=(12, int(np.prod(shape))))
    detector = small(
        AnoGANDetector,
        conv=True,
        input_shape=shape,
        search=search,
        n_search_steps=1,
        max_steps=2,
        encoder_steps=2,
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
    detector = small(AnoGANDetector, conv=conv, max_steps=3, **search).fit(X)
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
        {"n_search_steps": 5},
        {"feature_weight": 0.9},
        {"residual_loss": "l2"},
        {"feature_layer": 1},
    ],
)
def test_parameters_changed_after_fit(small, changed, table):
    """A detector scores as it was fitted, whatever parameters were set since."""
    architecture = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(7, 5))
    detector = small(
        AnoGANDetector,
        architecture=architecture,
        search="nearest",
        n_search_steps=2,
        score_type="published",
    ).fit(table)
    expected = detector.score_samples(table)
    detector.set_params(**changed)
    assert_array_equal(detector.score_samples(table), expected)


@pytest.mark.parametrize("changed", [{"search": "gradient"}, {"n_candidates": 7}])
def test_pickle_after_parameters_changed(small, changed, table):
    """A pickle is of what was fitted."""
    params = {"search": "nearest", "n_search_steps": 2, "max_steps": 3}
    detector = small(AnoGANDetector, **params).fit(table)
    expected = detector.score_samples(table)
    copied = pickle.loads(pickle.dumps(detector.set_params(**changed)))
    assert_array_equal(copied.score_samples(table), expected)


def test_remedy_for_a_certain_critic(small, table):
    """The options that the warning names can be passed."""
    detector = small(
        AnoGANDetector,
        loss="logistic",
        search="encoder",
        net_params={"optimizer_d__lr": 1e-4},
    )
    assert np.isfinite(detector.fit(table).offset_)
