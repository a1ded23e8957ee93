"""What a fitted detector shows of itself: codes, counterparts, reasons, losses."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import MinMaxScaler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.adversaries import Logistic
from skganomaly.architectures import MLP, ConvNet
from skganomaly.searches import GradientSearch, NearestSearch

BOTH = pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
ALL = pytest.mark.parametrize(
    "cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
)
PARTS = {
    GANomalyDetector: ("latent", "reconstruction", "features", "code"),
    AutoencoderDetector: ("reconstruction", "code"),
    AnoGANDetector: ("reconstruction", "features", "code"),
}
SCORES = [
    (cls, score_type)
    for cls, parts in PARTS.items()
    for score_type in ("local", "joint", *(part for part in parts if part != "code"))
]


@pytest.fixture(scope="module")
def trained():
    """A detector for each class that has learned six columns of two factors.

    Three columns show one factor, so that two of them can outvote a third. Columns
    have means and units of their own.
    """
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(500, 2))
    X = np.c_[factors, -factors, factors] + 0.05 * rng.normal(size=(500, 6))
    X = X * [1, 100, 5, 0.01, 1, 1] + [1000, -1000, 0, 5, 0, 1]
    params = {
        "architecture": MLP(hidden_layer_sizes=(32,), discriminator_layer_sizes=(8,)),
        "learning_rate": 1e-2,
        "n_members": 2,
        "input_noise": 0.1,
        "max_steps": 300,
        "random_state": 0,
    }
    return X, {cls: cls(**params).fit(X) for cls in PARTS}


@BOTH
def test_reconstruct_units(trained, cls):
    """Counterparts are in the units of the input, each column in its own."""
    X, detectors = trained
    counterparts = detectors[cls].reconstruct(X)
    assert counterparts.shape == X.shape and counterparts.dtype == np.float64
    shift = np.abs(counterparts.mean(axis=0) - X.mean(axis=0))
    assert (shift < X.std(axis=0) / 5).all()
    error = np.sqrt(((counterparts - X) ** 2).mean(axis=0)) / X.std(axis=0)
    assert (error < 0.5).all()


@BOTH
def test_reconstruct_finds_the_normal_counterpart(trained, cls):
    """A value that contradicts the others is drawn to what they suggest."""
    X, detectors = trained
    odd = X.copy()
    odd[:, 0] += 3 * X[:, 0].std()
    counterparts = detectors[cls].reconstruct(odd)
    closer = np.abs(counterparts[:, 0] - X[:, 0]) < np.abs(odd[:, 0] - X[:, 0])
    assert closer.mean() > 0.8


@ALL
@pytest.mark.parametrize("n_members", [1, 2])
def test_reconstruct_and_explain_shapes(small, cls, n_members, images):
    """They have the shape of what was passed, in any of the layouts."""
    detector = small(cls, conv=True, n_members=n_members).fit(images)
    flat = images.reshape(60, -1)
    for method in ("reconstruct", "explain"):
        function = getattr(detector, method)
        expected = function(images)
        assert expected.shape == images.shape
        assert np.isfinite(expected).all()
        assert_array_equal(function(flat), expected.reshape(60, -1))
        assert_array_equal(function(images[:3].tolist()), expected[:3])
    grey = small(cls, conv=True).fit(images[:, 0])
    for X in (images[:5, 0], images[:5, :1], images[:5, 0].reshape(5, -1)):
        assert grey.reconstruct(X).shape == grey.explain(X).shape == X.shape


@BOTH
def test_reconstruct_images_in_their_range(small, cls, images):
    """Images come back in the range of grey values that was seen."""
    detector = small(cls, conv=True, max_steps=80, learning_rate=0.01).fit(images)
    counterparts = detector.reconstruct(images)
    assert counterparts.min() >= images.min() - 1e-3
    assert counterparts.max() <= images.max() + 1e-3
    # The bright bar is there.
    assert counterparts[:, :, 2:4].mean() > counterparts[:, :, 4:].mean() + 50


@ALL
@pytest.mark.parametrize(("n_members", "latent_dim"), [(1, 3), (4, 2), (2, "auto")])
def test_encode(small, cls, n_members, latent_dim, table):
    """Codes of all members stand side by side."""
    detector = small(cls, n_members=n_members, latent_dim=latent_dim).fit(table)
    codes = detector.encode(table)
    width = 4 if latent_dim == "auto" else latent_dim
    settings = detector.settings_
    assert settings.latent_dim == width and settings.n_members == n_members
    assert codes.shape == (300, n_members * width)
    assert codes.dtype == np.float64
    assert (codes.std(axis=0) > 0).all()


def test_encode_images(small, images):
    """Images have codes as well, of 100 entries unless asked otherwise."""
    detector = small(conv=True, n_members=2).fit(images)
    assert detector.encode(images).shape == (60, 200)


@pytest.mark.parametrize(("cls", "score_type"), SCORES)
def test_explain_is_complete(small, cls, score_type, table):
    """Contributions add up to the score of a row less that of its counterpart."""
    detector = small(cls, score_type=score_type, max_steps=199, learning_rate=0.01)
    detector.fit(table)
    rng = np.random.default_rng(0)
    X = table[:40] + rng.normal(size=(40, 4)) * 2 * table.std(axis=0)
    contributions = detector.explain(X)
    assert contributions.shape == X.shape and contributions.dtype == np.float64
    change = detector.anomaly_score(X) - detector.anomaly_score(detector.reconstruct(X))
    # The reconstruction is rounded on its way through the units of the input.
    limit = 2e-4 * np.abs(change).max() + 1e-4
    assert_allclose(contributions.sum(axis=1), change, atol=limit)


@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
@BOTH
def test_explain_points_at_what_is_wrong(trained, cls, score_type):
    """The column that was tampered with contributes most, whichever it is."""
    X, detectors = trained
    detector = detectors[cls]
    if score_type != "local":
        params = {**detector.get_params(deep=False), "score_type": score_type}
        detector = cls(**params).fit(X)
    rng = np.random.default_rng(1)
    columns = rng.integers(6, size=100)
    odd = X[:100].copy()
    odd[np.arange(100), columns] += (
        rng.choice([-4, 4], size=100) * X.std(axis=0)[columns]
    )
    assert (detector.predict(odd) == -1).mean() > 0.9
    found = detector.explain(odd).argmax(axis=1)
    # Chance is one in six.
    assert (found == columns).mean() > 0.7


@pytest.mark.parametrize("score_type", ["local", "joint", "latent", "reconstruction"])
@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.filterwarnings("ignore:The networks see each row")
def test_explain_images(small, score_type, n_members, images):
    """A patch that does not belong there draws more than its share of attention."""
    detector = small(
        conv=True,
        score_type=score_type,
        n_members=n_members,
        latent_dim=6,
        max_steps=100,
        learning_rate=5e-3,
    ).fit(images)
    odd = images[:20].copy()
    patch = np.s_[:, :, 4:6, 5:8]
    odd[patch] = 220
    assert (
        detector.anomaly_score(odd) > detector.anomaly_score(images[:20])
    ).mean() > (0.9)
    contributions = detector.explain(odd)
    assert contributions.shape == odd.shape
    inside = np.abs(contributions[patch]).mean()
    assert inside > 1.5 * np.abs(contributions).mean()


def test_explain_steps(small, table):
    """More steps converge, and a number that is none is refused."""
    detector = small().fit(table)
    X = table[:20] * 1.5
    coarse, fine, finest = (detector.explain(X, n_steps=n) for n in (4, 64, 96))
    assert np.abs(fine - finest).mean() < np.abs(coarse - finest).mean()
    for bad in (0, -1, 1.5):
        with pytest.raises((ValueError, TypeError), match="n_steps"):
            detector.explain(X, n_steps=bad)


def test_explain_leaves_no_gradients(small, table):
    """Explaining leaves the networks as they were, and scores too."""
    detector = small().fit(table)
    before = detector.score_samples(table)
    detector.explain(table)
    for parameter in detector.model_.parameters():
        assert parameter.grad is None and not parameter.requires_grad
    assert_array_equal(detector.score_samples(table), before)


@BOTH
@pytest.mark.parametrize("conv", [False, True])
def test_history(small, cls, conv, table, images):
    """Each epoch's losses are plain numbers with names, and steps add up."""
    X = images if conv else table
    detector = small(cls, conv=conv, max_steps=60).fit(X)
    history = json.loads(json.dumps(detector.history_))
    assert history == detector.history_
    names = {"reconstruction", "train_loss"}
    if cls is GANomalyDetector:
        names |= {"latent", "adversarial", "discriminator"}
    for number, row in enumerate(history, start=1):
        assert row["epoch"] == number
        assert names <= set(row)
        assert all(np.isfinite(row[name]) for name in names)
        assert "batches" not in row
    # An epoch is short enough for a curve, and there is one that ends after 25 steps.
    ends = [row["n_steps"] for row in history]
    assert len(ends) >= 20
    assert {25, 50, 60} <= set(ends)
    assert detector.n_iter_ == 60
    # The total is that of the terms.
    for row in history:
        terms = sum(row[name] for name in names if name != "train_loss")
        assert_allclose(row["train_loss"], terms, rtol=1e-5)


@BOTH
def test_history_shows_that_training_helps(trained, cls):
    """The reconstruction gets better."""
    history = trained[1][cls].history_
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]


@pytest.mark.parametrize(("cls", "score_type"), SCORES)
def test_parts(small, cls, score_type, table, new_rows):
    """Each part can be looked at alone, whichever score is in use."""
    detector = small(cls, score_type=score_type).fit(table)
    scores = {part: detector.anomaly_score(new_rows, part=part) for part in PARTS[cls]}
    for part, values in scores.items():
        assert values.shape == (200,) and values.dtype == np.float64
        assert (values >= 0).all()
        # In units of the median over the training rows; the mean over the members.
        median = np.median(detector.anomaly_score(table, part=part))
        assert 0.5 < median < 2
    assert_array_equal(
        detector.anomaly_score(new_rows, part=None), detector.anomaly_score(new_rows)
    )
    if score_type in scores:
        assert_array_equal(scores[score_type], detector.anomaly_score(new_rows))
    assert len({values.tobytes() for values in scores.values()}) == len(scores)


@ALL
@pytest.mark.parametrize("part", ["score", "pixels", "", 1])
def test_unknown_part(small, cls, part, table):
    """An unknown part is refused with the known ones."""
    detector = small(cls, max_steps=2).fit(table)
    with pytest.raises(ValueError, match=r"is not a part of this score.*'code'"):
        detector.anomaly_score(table, part=part)


def test_reconstruction_part_is_what_reconstruct_shows(small, table):
    """With one member the part is the squared residual in scaled units."""
    detector = small(AutoencoderDetector, n_members=1, scaler="channel").fit(table)
    scaler = MinMaxScaler((-1, 1)).fit(table)
    residual = scaler.transform(table) - scaler.transform(detector.reconstruct(table))
    magnitude = (residual**2).mean(axis=1)
    part = detector.anomaly_score(table, part="reconstruction")
    assert_allclose(part / np.median(part), magnitude / np.median(magnitude), rtol=1e-3)


def test_from_paper_parameters():
    """The preset is the published recipe, and says so in its parameters."""
    detector = GANomalyDetector.from_paper()
    published = {
        "architecture": "published",
        "latent_dim": 100,
        "n_members": 1,
        "input_noise": 0.0,
        "scaler": "channel",
        "reconstruction_loss": "l1",
        "adversarial_loss": "feature_matching",
        "reconstruction_weight": 50.0,
        "latent_weight": 1.0,
        "adversarial_weight": 1.0,
        "score_type": "latent",
        "batch_size": 64,
        "learning_rate": 2e-4,
        "learning_rate_schedule": "constant",
        "beta_1": 0.5,
    }
    params = detector.get_params()
    assert {name: params[name] for name in published} == published
    defaults = GANomalyDetector().get_params()
    assert {k: v for k, v in params.items() if k not in published} == {
        k: v for k, v in defaults.items() if k not in published
    }
    assert GANomalyDetector.from_paper(n_samples=640).max_steps == 150
    assert GANomalyDetector.from_paper(n_samples=3).max_steps == 1
    changed = GANomalyDetector.from_paper(latent_dim=7, random_state=3)
    assert changed.latent_dim == 7 and changed.random_state == 3
    with pytest.raises(TypeError, match="max_step"):
        GANomalyDetector.from_paper(max_step=3)


def test_from_paper_fits_images(images):
    """It fits images: 64 base channels, codes of 100, the distance of the codes."""
    params = {"max_steps": 2, "random_state": 0}
    detector = GANomalyDetector.from_paper(**params).fit(images[:20])
    settings = detector.settings_
    assert isinstance(settings.architecture, ConvNet)
    assert settings.architecture.base_channels == 64
    assert settings.score_type == "latent"
    assert detector.encode(images[:2]).shape == (2, 100)
    assert_array_equal(
        detector.anomaly_score(images), detector.anomaly_score(images, part="latent")
    )
    assert detector.predict(images).shape == (60,)


def test_from_paper_fits_rows(table):
    """Plain rows get fully connected networks with batch normalisation."""
    detector = GANomalyDetector.from_paper(max_steps=2, random_state=0).fit(table)
    architecture = detector.settings_.architecture
    assert isinstance(architecture, MLP)
    assert architecture.normalization == "batch"
    assert architecture.output_activation == "tanh"
    assert detector.predict(table).shape == (300,)


def test_latent_score_of_the_paper(small, table):
    """The published score is the squared distance of the codes, up to its unit."""
    detector = small(score_type="latent", n_members=1).fit(table)
    model = detector.model_
    (rows, x), *_ = model.chunks(table)
    _, code, second = model.method.generator(x)
    distance = ((code - second) ** 2).mean(dim=2)[0, : len(rows)].numpy()
    scores = detector.anomaly_score(table[: len(rows)])
    assert_allclose(scores / scores[0], distance / distance[0], rtol=1e-4)


# Maps of differences.


def scaled(detector, X):
    return detector.model_.scaling.transform(np.asarray(X).reshape(len(X), -1))


@ALL
@pytest.mark.parametrize("error", ["absolute", "squared"])
def test_anomaly_map_of_rows(small, cls, error, table):
    """Differences from what is made of a row, in scaled units."""
    detector = small(cls).fit(table)
    change = scaled(detector, table) - scaled(detector, detector.reconstruct(table))
    expected = np.abs(change) if error == "absolute" else change**2
    found = detector.anomaly_map(table, error=error)
    assert found.shape == table.shape and found.dtype == np.float64
    assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@ALL
def test_anomaly_map_of_images(small, cls, images):
    """From reconstructions, or with the local score from the nearest references."""
    flat = images.reshape(60, -1)
    for score_type in ("local", "reconstruction"):
        detector = small(cls, conv=True, score_type=score_type).fit(images)
        found = detector.anomaly_map(images, smoothing=0)
        assert found.shape == images.shape
        assert_array_equal(
            detector.anomaly_map(flat, smoothing=0), found.reshape(60, -1)
        )
        change = scaled(detector, images) - scaled(
            detector, detector.reconstruct(images)
        )
        same = np.allclose(found, np.abs(change), rtol=1e-3, atol=1e-4)
        assert same == (score_type != "local" or cls is AnoGANDetector)


def test_smoothing_spreads_without_loss(small, images):
    """A Gaussian over the pixels of each channel, which keeps their sum."""
    detector = small(AnoGANDetector, conv=True).fit(images)
    sharp = detector.anomaly_map(images, smoothing=0)
    for smoothing in (0.7, 2):
        smooth = detector.anomaly_map(images, smoothing=smoothing)
        # Beyond a border lies the mirror image, so that nothing is lost there.
        assert_allclose(smooth.sum((2, 3)), sharp.sum((2, 3)), rtol=1e-6)
        assert (smooth.std((2, 3)) < sharp.std((2, 3))).all()
    # "auto" is half a pixel for images as small as these.
    assert_array_equal(
        detector.anomaly_map(images), detector.anomaly_map(images, smoothing=0.5)
    )


def test_smoothing_stays_within_an_image_and_a_channel(small, images):
    """Neither neighbours in the batch nor other channels are mixed in."""
    detector = small(AnoGANDetector, conv=True, score_type="published").fit(images)
    X = images[:3].copy()
    X[1, 1] = 1e6
    maps = detector.anomaly_map(X, smoothing=2.0)
    assert_array_equal(
        maps[[0, 2]], detector.anomaly_map(images[[0, 2]], smoothing=2.0)
    )
    assert maps[1, 1].min() > 100 * maps[1, 0].max()


def test_smoothing_of_windows_is_asked_for(small, images):
    """Windows and rows are left as they are unless asked; rows refuse."""
    windows = images[:, :, 2]
    detector = small(AnoGANDetector, conv=True, input_shape=(2, 9)).fit(windows)
    sharp = detector.anomaly_map(windows)
    assert_array_equal(sharp, detector.anomaly_map(windows, smoothing=0))
    smooth = detector.anomaly_map(windows, smoothing=1.5)
    assert_allclose(smooth.sum(2), sharp.sum(2), rtol=1e-6)
    assert (smooth.std(2) < sharp.std(2)).all()


@ALL
def test_bad_options_of_anomaly_maps(small, cls, table):
    """What cannot be is refused with what can."""
    detector = small(cls, max_steps=2).fit(table)
    with pytest.raises(ValueError, match="'absolute' or 'squared', got 'cubed'"):
        detector.anomaly_map(table, error="cubed")
    with pytest.raises(ValueError, match=r"smoothing=1.5.*Pass 0"):
        detector.anomaly_map(table, smoothing=1.5)
    for bad in (-1, "much"):
        with pytest.raises((ValueError, TypeError), match="smoothing"):
            detector.anomaly_map(table, smoothing=bad)


@ALL
def test_anomaly_map_points_at_the_defect(small, cls, images):
    """A patch that does not belong there stands out."""
    detector = small(cls, conv=True, max_steps=150, learning_rate=5e-3, latent_dim=6)
    detector.fit(images)
    odd = images[:20].copy()
    patch = np.s_[:, :, 4:6, 5:8]
    odd[patch] = 220
    maps = detector.anomaly_map(odd)
    assert maps[patch].mean() > 2 * maps.mean()


# New rows.


@ALL
@pytest.mark.parametrize("n_members", [1, 3])
def test_sample(small, cls, n_members, table):
    """As many rows as asked for, decided by the seed."""
    detector = small(cls, n_members=n_members).fit(table)
    rows = detector.sample(300, random_state=0)
    assert rows.shape == (300, 4) and rows.dtype == np.float64
    assert np.isfinite(rows).all()
    assert len(np.unique(rows, axis=0)) == 300
    assert_array_equal(detector.sample(300, random_state=0), rows)
    assert (detector.sample(300, random_state=1) != rows).any(axis=1).all()
    assert (detector.sample(300) != detector.sample(300)).any(axis=1).all()
    assert detector.sample().shape == (1, 4)
    shared = np.random.RandomState(0)
    first, second = (detector.sample(5, random_state=shared) for _ in range(2))
    assert (first != second).any(axis=1).all()


@ALL
def test_sample_images(small, cls, images):
    """Images have the shape of a row, and grey values that were seen."""
    detector = small(cls, conv=True).fit(images)
    samples = detector.sample(70, random_state=0)
    assert samples.shape == (70, 2, 6, 9)
    assert samples.min() >= images.min() - 1e-3
    assert samples.max() <= images.max() + 1e-3
    grey = small(cls, conv=True).fit(images[:, 0])
    assert grey.sample(2, random_state=0).shape == (2, 1, 6, 9)


@ALL
@pytest.mark.parametrize("bad", [0, -1, 1.5, "many"])
def test_bad_numbers_of_samples(small, cls, bad, table):
    """A number that is none is refused."""
    detector = small(cls, max_steps=2).fit(table)
    with pytest.raises((ValueError, TypeError), match="n_samples"):
        detector.sample(bad)


@pytest.fixture(scope="module", params=[GANomalyDetector, AnoGANDetector])
def sampler(request):
    """A detector that can sample from two correlated columns of unlike units."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) @ np.array([[1.0, 0.8], [0, 0.6]])
    X = X * [1, 100] + [10, -1000]
    params = {
        "architecture": MLP(hidden_layer_sizes=(32,), discriminator_layer_sizes=(32,)),
        "learning_rate": 5e-3,
        "n_members": 4,
        "input_noise": 0.1,
        "max_steps": 400,
        "random_state": 0,
    }
    if request.param is AnoGANDetector:
        params["search"] = NearestSearch(n_steps=0)
        params["adversary"] = Logistic(penalty=1.0)
    return X, request.param(**params).fit(X)


def test_samples_are_like_the_rows(sampler):
    """Mean, spread and correlation are about those of the training rows."""
    X, detector = sampler
    samples = detector.sample(2000, random_state=0)
    assert (np.abs(samples.mean(axis=0) - X.mean(axis=0)) < X.std(axis=0) / 2).all()
    share = samples.std(axis=0) / X.std(axis=0)
    assert (share > 0.6).all() and (share < 1.6).all()
    assert np.corrcoef(samples.T)[0, 1] > 0.5


def test_samples_come_from_all_members(sampler, monkeypatch):
    """Each row is made by one member at random."""
    _, detector = sampler
    model, drawn = detector.model_, []
    decode = model.method.decode

    def watched(codes):
        drawn.append(decode(codes))
        return drawn[-1]

    monkeypatch.setattr(model.method, "decode", watched)
    samples = detector.sample(200, random_state=0)
    scale, center = model.scaling.scale.numpy(), model.scaling.center.numpy()
    rows = drawn[0].double().numpy() * scale + center
    makers = np.abs(rows - samples).sum(2).argmin(0)
    assert_allclose(rows[makers, np.arange(200)], samples, rtol=1e-5)
    assert (np.bincount(makers, minlength=4) > 25).all()


def test_samples_of_others_follow_their_codes(small, table):
    """Codes are drawn with the mean and covariance of those of the training rows."""
    detector = small(AutoencoderDetector, n_members=2, latent_dim=3).fit(table)
    generator = torch.Generator().manual_seed(0)
    drawn = detector.model_.draw_codes(20_000, generator).numpy()
    codes = detector.encode(table).reshape(300, 2, 3)
    for k in range(2):
        spread = codes[:, k].std(axis=0)
        assert (
            np.abs(drawn[k].mean(axis=0) - codes[:, k].mean(axis=0)) < 0.05 * spread
        ).all()
        expected = np.cov(codes[:, k].T, bias=True)
        found = np.cov(drawn[k].T)
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_samples_of_anogan_follow_the_prior(small, table):
    """Its codes are standard normal, as in its training."""
    detector = small(AnoGANDetector, n_members=2, latent_dim=3).fit(table)
    generator = torch.Generator().manual_seed(0)
    drawn = detector.model_.draw_codes(20_000, generator).numpy()
    for member in drawn:
        assert_allclose(member.mean(axis=0), 0, atol=0.03)
        assert_allclose(np.cov(member.T), np.eye(3), atol=0.05)


# AnoGAN's searches.


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"search": GradientSearch(n_steps=5)},
        {"search": NearestSearch(n_candidates=50, n_steps=5)},
    ],
)
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("score_type", ["joint", "published", "local"])
def test_explain_every_search(small, params, conv, score_type, table, images):
    """Every score can be explained, whichever way codes are found."""
    X = images if conv else table
    params = {"score_type": score_type, "latent_dim": 4, **params}
    contributions = small(AnoGANDetector, conv=conv, **params).fit(X).explain(X[:5])
    assert contributions.shape == X[:5].shape
    assert np.isfinite(contributions).all() and (contributions != 0).any()
