"""A row's score depends on that row alone: bit for bit, on the CPU."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import ConvNet
from skganomaly.searches import EncoderSearch, GradientSearch, NearestSearch

SEARCHES = {
    "AnoGAN, encoder": {"search": EncoderSearch(encoder_steps=5)},
    "AnoGAN, encoder refined": {
        "search": EncoderSearch(encoder_steps=5, n_steps=4),
        "score_type": "joint",
    },
    "AnoGAN, gradient": {
        "search": GradientSearch(n_steps=4, n_starts=2),
        "score_type": "published",
    },
    "AnoGAN, nearest": {
        "search": NearestSearch(n_candidates=50, n_steps=4),
        "score_type": "published",
    },
}
ROW_DETECTORS = {
    "local": {},
    "joint": {"score_type": "joint"},
    "latent": {"score_type": "latent", "n_members": 3},
    "reconstruction": {"score_type": "reconstruction", "n_members": 1},
    "features": {"score_type": "features"},
    "few references": {"max_references": 50},
    "scaler standard": {"scaler": "standard"},
    "batch norm": {"architecture": "published"},
    **SEARCHES,
    "AnoGAN, nearest, local": {**SEARCHES["AnoGAN, nearest"], "score_type": "local"},
}
IMAGE_DETECTORS = {
    "local": {},
    "two members": {"n_members": 2},
    "joint": {"score_type": "joint", "latent_dim": 8},
    "latent, two members": {"score_type": "latent", "n_members": 2},
    "mlp": {"architecture": "mlp", "latent_dim": 8, "n_members": 2},
    **{name: {"latent_dim": 8, **params} for name, params in SEARCHES.items()},
}


def _make(name, params):
    """AnoGAN for the names that say so, GANomaly for the others."""
    if not name.startswith("AnoGAN"):
        return GANomalyDetector(**params)
    if isinstance(params["architecture"], ConvNet):
        params["architecture"].set_params(discriminator_normalization=None)
    return AnoGANDetector(**params)


@pytest.fixture(params=ROW_DETECTORS, scope="module")
def fitted(request, table):
    """A detector of rows for each score and network."""
    params = {"max_steps": 8, "random_state": 0, "latent_dim": 3}
    params["architecture"] = "mlp"
    return _make(request.param, params | ROW_DETECTORS[request.param]).fit(table)


@pytest.fixture(params=IMAGE_DETECTORS, scope="module")
def fitted_on_images(request, images):
    """A detector of images for each score and network."""
    params = {"max_steps": 5, "random_state": 0}
    params["architecture"] = ConvNet(base_channels=2)
    return _make(request.param, params | IMAGE_DETECTORS[request.param]).fit(images)


def _check_company(detector, X):
    """Assert that scores of ``X`` are the same in any company."""
    together = detector.score_samples(X)
    assert len(np.unique(together)) > len(X) // 2
    order = np.random.default_rng(3).permutation(len(X))
    assert_array_equal(detector.score_samples(X[order]), together[order])
    assert_array_equal(detector.score_samples(X[::3]), together[::3])
    assert_array_equal(detector.score_samples(X[7:]), together[7:])
    alone = [detector.score_samples(X[i : i + 1])[0] for i in range(0, len(X), 9)]
    assert_array_equal(alone, together[::9])
    many = np.resize(np.arange(len(X)), 1000)
    assert_array_equal(detector.score_samples(X[many]), together[many])
    twice = np.repeat(np.arange(20), 2)
    assert_array_equal(detector.score_samples(X[twice]), together[twice])


def test_rows_in_any_company(fitted, table, new_rows):
    """Order, subset, a row alone, 1000 rows and duplicates change nothing."""
    _check_company(fitted, np.vstack([new_rows, table[:50]]))


def test_images_in_any_company(fitted_on_images, images):
    """The same for images."""
    _check_company(fitted_on_images, np.vstack([images[:40], images[20:40] * 1.5]))


@pytest.mark.parametrize("cls", [GANomalyDetector, AnoGANDetector])
def test_all_methods_in_any_company(small, cls, table, new_rows):
    """What else is computed row by row is also the same for a row alone."""
    detector = small(cls).fit(table)
    for method in (
        "p_values",
        "predict",
        "encode",
        "reconstruct",
        "explain",
        "anomaly_map",
    ):
        together = getattr(detector, method)(new_rows)
        assert_array_equal(getattr(detector, method)(new_rows[5:6]), together[5:6])
        assert_array_equal(getattr(detector, method)(new_rows[::-1]), together[::-1])


@pytest.mark.parametrize("method", ["explain", "anomaly_map"])
@pytest.mark.parametrize("cls", [GANomalyDetector, AnoGANDetector])
def test_maps_of_images_in_any_company(small, cls, method, images):
    """Attributions and differences of an image are the same for the image alone."""
    function = getattr(small(cls, conv=True, n_members=2).fit(images), method)
    together = function(images[:20])
    assert_array_equal(function(images[5:6]), together[5:6])


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
@pytest.mark.parametrize("max_references", [6000, 100])
def test_scores_of_fit_are_scores_of_predict(
    small, cls, score_type, max_references, table
):
    """A numeric contamination flags exactly that share when predicting later."""
    params = {"contamination": 0.1, "max_references": max_references}
    detector = small(cls, score_type=score_type, **params)
    labels = detector.fit_predict(table)
    assert (labels == -1).sum() == 30
    assert_array_equal(detector.predict(table), labels)
    assert (detector.predict(table[:1]) == labels[0]).all()


def test_scores_of_fit_are_scores_of_predict_for_images(small, images):
    """The same for images and for images as flat rows."""
    params = {"contamination": 0.1, "n_members": 2, "input_shape": (2, 6, 9)}
    for X in (images, images.reshape(60, -1)):
        detector = small(conv=True, **params)
        labels = detector.fit_predict(X)
        assert (labels == -1).sum() == 6
        assert_array_equal(detector.predict(X[:7]), labels[:7])


def test_reference_scores_are_those_of_the_training_rows(small, table, images):
    """With rows enough, reference scores are the scores that predict gives."""
    # 300 rows are more than ten times the 12 columns of the local score.
    detector = small(latent_dim=4).fit(table)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(table))
    )
    detector = small(conv=True).fit(images)
    assert_array_equal(
        detector.reference_scores_, np.sort(detector.anomaly_score(images))
    )


def test_reference_scores_are_out_of_sample_where_rows_are_few(small, table):
    """With few rows for the width, a row's score out of sample is another one."""
    detector = small(latent_dim=4).fit(table[:60])
    reference = detector.reference_scores_
    own = np.sort(detector.anomaly_score(table[:60]))
    assert reference.shape == own.shape
    assert not np.array_equal(reference, own)


def test_reference_scores_of_held_out_rows(small, table):
    """Held-out rows are scored as new rows are: all of them are among X."""
    detector = small(validation_fraction=0.25).fit(table)
    assert detector.reference_scores_.shape == (75,)
    assert np.isin(detector.reference_scores_, detector.anomaly_score(table)).all()


@pytest.mark.parametrize("score_type", ["local", "joint"])
def test_duplicated_training_rows(small, score_type, table):
    """Rows that occur more than once score finitely, alike, and lower."""
    X = np.vstack([table, np.repeat(table[:5], 40, axis=0)])
    detector = small(score_type=score_type).fit(X)
    scores = detector.anomaly_score(X)
    assert np.isfinite(scores).all()
    for i in range(5):
        copies = scores[300 + 40 * i : 340 + 40 * i]
        assert_array_equal(copies, np.full(40, scores[i]))
    if score_type == "local":
        assert scores[:5].max() < np.median(scores[5:300])


def test_only_duplicates(small):
    """Two distinct rows, many times each, make a detector that knows them."""
    X = np.repeat([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0]], 30, axis=0)
    detector = small().fit(X)
    scores = detector.anomaly_score(X)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) <= 2
    assert (detector.predict(X) == 1).all()


@pytest.mark.parametrize("score_type", ["local", "joint", "latent"])
def test_types_of_input(small, score_type, table, new_rows):
    """The same numbers in another container give the same bits."""
    # Values that single precision holds exactly.
    train, test = (X.astype(np.float32).astype(np.float64) for X in (table, new_rows))
    expected = small(score_type=score_type).fit(train).score_samples(test)
    strided = np.repeat(test, 2, axis=1)[:, ::2]
    for convert in (
        lambda X: X.astype(np.float32),
        lambda X: X.tolist(),
        np.asfortranarray,
        lambda X: np.asfortranarray(X.astype(np.float32)),
        lambda X: X.astype(">f8"),
        lambda X: pd.DataFrame(X, columns=list("abcd")),
    ):
        detector = small(score_type=score_type).fit(convert(train))
        assert_array_equal(detector.score_samples(convert(test)), expected)
    assert_array_equal(detector.fit(train).score_samples(strided), expected)
    assert not table.flags.writeable
    frozen = small(score_type=score_type).fit(table)
    assert_array_equal(
        frozen.score_samples(new_rows),
        small(score_type=score_type).fit(table.copy()).score_samples(new_rows.copy()),
    )


def test_integers(small):
    """Integers, booleans and the same as floats give the same bits."""
    X = np.random.default_rng(0).integers(0, 2, size=(100, 6))
    scores = [
        small().fit(X.astype(dtype)).score_samples(X.astype(dtype))
        for dtype in (np.float64, np.int64, np.uint8, bool, np.float16)
    ]
    for other in scores[1:]:
        assert_array_equal(other, scores[0])


def test_memory_map(small, table, new_rows, tmp_path):
    """Rows read from a file are the same rows."""
    np.save(tmp_path / "X.npy", table)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(
        small(validation_fraction=0.2).fit(mapped).score_samples(new_rows),
        small(validation_fraction=0.2).fit(table).score_samples(new_rows),
    )


def test_inputs_are_not_changed(small, images):
    """Neither fitting nor scoring writes to a writable array."""
    X = images.copy()
    detector = small(conv=True).fit(X)
    for method in ("predict", "explain", "reconstruct", "encode"):
        getattr(detector, method)(X)
    assert_array_equal(X, images)


@pytest.mark.parametrize("n_members", [1, 2])
def test_layouts_of_images(small, n_members, images):
    """Four axes and flat rows are the same images, at fit and at predict."""
    flat = images.reshape(60, -1)
    from_images = small(conv=True, n_members=n_members).fit(images)
    from_rows = small(conv=True, n_members=n_members, input_shape=(2, 6, 9)).fit(flat)
    assert from_images.input_shape_ == from_rows.input_shape_ == (2, 6, 9)
    expected = from_images.score_samples(images)
    for detector in (from_images, from_rows):
        for X in (images, flat, images.tolist(), images.transpose(0, 1, 3, 2).copy()):
            if np.shape(X)[2:] == (9, 6):
                X = X.transpose(0, 1, 3, 2)
            assert_array_equal(detector.score_samples(X), expected)


@pytest.mark.parametrize("n_members", [1, 2])
def test_layouts_of_grey_images(small, n_members, images):
    """Grey images come with or without the axis of the channel, or flat."""
    grey = images[:, 0]
    layouts = [grey, grey[:, None], grey.reshape(60, -1)]
    expected = None
    for X in layouts:
        shape = None if X.ndim > 2 else (1, 6, 9)
        detector = small(conv=True, n_members=n_members, input_shape=shape).fit(X)
        assert detector.input_shape_ == (1, 6, 9)
        for other in layouts:
            scores = detector.score_samples(other)
            expected = scores if expected is None else expected
            assert_array_equal(scores, expected)


def test_layouts_of_windows(small, images):
    """Windows of a series come as (n, channels, length) or flat."""
    windows = images[:, :, 2]
    flat = windows.reshape(60, -1)
    fits = [small(conv=True, input_shape=(2, 9)).fit(X) for X in (windows, flat)]
    expected = fits[0].score_samples(windows)
    for detector in fits:
        assert detector.input_shape_ == (2, 9)
        for X in (windows, flat):
            assert_array_equal(detector.score_samples(X), expected)


def test_offset_and_scale_of_columns(small, table, new_rows):
    """A column's unit and origin hardly matter, as columns are scaled."""
    powers = 2.0 ** np.array([-20, 0, 3, 20])
    expected = small().fit(table).score_samples(new_rows)
    scaled = small().fit(table * powers).score_samples(new_rows * powers)
    assert_array_equal(scaled, expected)
    moved = small().fit(table + 1e6).score_samples(new_rows + 1e6)
    np.testing.assert_allclose(moved, expected, atol=1e-4)
