"""Bad input: a clear error, or what is documented."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector

METHODS = [
    "predict",
    "score_samples",
    "decision_function",
    "anomaly_score",
    "p_values",
    "encode",
    "reconstruct",
    "explain",
    "anomaly_map",
]


def _fitted_attributes(detector):
    """All that an unfitted detector does not have."""
    return sorted(set(vars(detector)) - set(detector.get_params(deep=False)))


def _assert_unfitted(detector, X):
    """Assert that nothing of any fit is left, and that every method says so."""
    assert _fitted_attributes(detector) == []
    for method in METHODS:
        with pytest.raises(NotFittedError):
            getattr(detector, method)(X)
    with pytest.raises(NotFittedError):
        detector.sample()
    with pytest.raises(NotFittedError):
        detector.set_threshold()
    with pytest.raises(NotFittedError):
        _ = detector.threshold_


def _with(X, value):
    X = np.array(X, dtype=np.result_type(X, type(value)))
    X[3, 1] = value
    return X


BAD_TABLES = {
    "NaN": (lambda X: _with(X, np.nan), ValueError, "NaN"),
    "infinity": (lambda X: _with(X, np.inf), ValueError, "infinity"),
    "complex": (lambda X: X + 0j, ValueError, "[Cc]omplex"),
    "text": (lambda X: X.astype(str).astype(object) + "x", ValueError, "could not"),
    "None": (lambda X: _with(X.astype(object), None), ValueError, "NaN"),
    "text column": (
        lambda X: pd.DataFrame(X, columns=list("abcd")).assign(d="one"),
        ValueError,
        "could not convert",
    ),
    "sparse": (scipy.sparse.csr_matrix, TypeError, "[Ss]parse"),
    "sparse array": (scipy.sparse.csr_array, TypeError, "[Ss]parse"),
    "one axis": (lambda X: X[:, 0], ValueError, "Expected 2D array, got 1D"),
    "a number": (lambda X: 3.0, ValueError, "Expected 2D array, got scalar"),
    "no rows": (lambda X: X[:0], ValueError, r"0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], ValueError, r"0 feature\(s\)"),
    "ragged": (lambda X: [[1.0, 2.0], [1.0]], ValueError, "inhomogeneous"),
    "five axes": (lambda X: X.reshape(-1, 2, 1, 1, 2), ValueError, "5 dimensions"),
}


@pytest.mark.parametrize("bad", BAD_TABLES)
def test_bad_tables_at_fit(small, bad, table):
    """Each kind of bad table is refused, and nothing is fitted."""
    make, error, message = BAD_TABLES[bad]
    detector = small()
    with pytest.raises(error, match=message):
        detector.fit(make(table))
    _assert_unfitted(detector, table)


@pytest.mark.parametrize("bad", BAD_TABLES)
def test_bad_tables_at_predict(small, bad, table):
    """They are refused by each method of a fitted detector, which stays as it was."""
    make, error, message = BAD_TABLES[bad]
    detector = small(max_steps=2).fit(table)
    before = detector.score_samples(table)
    with warnings.catch_warnings():
        # scikit-learn's about names that fit did not see.
        warnings.filterwarnings("ignore", "X has feature names", UserWarning)
        for method in METHODS:
            with pytest.raises(error, match=message):
                getattr(detector, method)(make(table))
    assert_array_equal(detector.score_samples(table), before)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_wrong_width(small, width, table):
    """Another number of columns than at fit is named with the expected one."""
    detector = small(max_steps=2).fit(table)
    for method in METHODS:
        with pytest.raises(ValueError, match=f"{width} features.*expecting 4 features"):
            getattr(detector, method)(np.ones((2, width)))


def test_other_column_names(small, table):
    """Columns in another order than at fit are refused."""
    frame = pd.DataFrame(table, columns=list("abcd"))
    detector = small(max_steps=2).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[list("badc")])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_images(small, bad, images):
    """Missing and infinite pixels are refused as in tables."""
    X = images.copy()
    X[0, 0, 0, 0] = bad
    detector = small(conv=True)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        detector.fit(X)
    _assert_unfitted(detector, images)
    detector.fit(images)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        detector.predict(X)
    with pytest.raises(ValueError, match=r"[Cc]omplex"):
        detector.fit(images + 0j)


def test_one_row(small, table):
    """One row cannot be learned from, but it can be scored."""
    detector = small()
    with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2"):
        detector.fit(table[:1])
    _assert_unfitted(detector, table)
    assert detector.fit(table).predict(table[:1]).shape == (1,)


@pytest.mark.parametrize("n_rows", [2, 3, 7])
@pytest.mark.parametrize("score_type", ["local", "joint", "latent", "reconstruction"])
def test_few_rows(small, n_rows, score_type, table):
    """Two rows are enough, for each score."""
    detector = small(score_type=score_type).fit(table[:n_rows])
    for X in (table[:n_rows], table, np.full((1, 4), 1e6)):
        assert np.isfinite(detector.score_samples(X)).all()
    assert np.isfinite(detector.offset_)
    assert detector.explain(table[:3]).shape == (3, 4)


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_two_images(small, cls, images):
    """Two images are enough too, batch normalisation and all."""
    detector = small(cls, conv=True).fit(images[:2])
    assert np.isfinite(detector.score_samples(images)).all()


@pytest.mark.parametrize("batch_size", [1, 2, 10_000])
def test_extreme_batch_sizes(small, batch_size, table, images):
    """Batches of one row, or of all rows, train."""
    assert np.isfinite(small(batch_size=batch_size).fit(table).offset_)
    if batch_size > 1:
        detector = small(conv=True, batch_size=batch_size)
        assert np.isfinite(detector.fit(images).offset_)


@pytest.mark.parametrize("scaler", ["auto", "standard", "channel", None])
@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
def test_constant_columns(small, scaler, score_type, table):
    """A constant column does no harm, and a deviation from it is an anomaly."""
    X = np.c_[table, np.full(300, 7.0)]
    steps = 100 if score_type == "reconstruction" else 10
    detector = small(scaler=scaler, score_type=score_type, max_steps=steps).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    strange = X[:20].copy()
    strange[:, 4] += 1000
    assert (detector.predict(strange) == -1).all()


@pytest.mark.parametrize("value", [0.0, 7.0, -1e12])
@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
@pytest.mark.filterwarnings("ignore:All training rows are equal:UserWarning")
def test_all_constant(small, score_type, value):
    """Where all rows are the same, that row is normal and others are not."""
    X = np.full((40, 3), value)
    detector = small(score_type=score_type).fit(X)
    assert (detector.predict(X) == 1).all()
    far = X + 1000 * (1 + abs(value))
    scores = detector.score_samples(np.vstack([X, far]))
    assert np.isfinite(scores).all()
    assert (scores[40:] < scores[:40].min()).all()
    assert (detector.predict(far) == -1).all()


@pytest.mark.parametrize("score_type", ["local", "joint", "latent", "reconstruction"])
def test_huge_values_at_predict(small, score_type, table):
    """Values near the end of double precision have a finite score, a high one."""
    detector = small(score_type=score_type, max_steps=30).fit(table)
    huge = np.array([[1e300] * 4, [-1e300, 1, 1, 1], [np.finfo(float).max] * 4])
    scores = detector.anomaly_score(huge)
    assert np.isfinite(scores).all()
    assert (scores > detector.threshold_).all()
    assert np.isfinite(detector.explain(huge)).all()
    assert np.isfinite(detector.reconstruct(huge)).all()


def test_huge_values_at_predict_around_a_large_centre(small, table):
    """Centring the largest numbers that there are does not warn."""
    detector = small().fit(table * 1e300)
    largest = np.finfo(float).max
    for row in ([largest, 0, 0, 0], [-largest, 0, 0, 0]):
        assert np.isfinite(detector.score_samples([row])).all()


def test_huge_values_at_fit(small, table):
    """Columns of any unit are scaled; a range beyond double precision is named."""
    assert np.isfinite(small().fit(table * 1e300).score_samples(table * 1e300)).all()
    assert np.isfinite(small().fit(table * 1e-300).score_samples(table * 1e-300)).all()
    X = table.copy()
    X[:2, 2] = 1e308, -1e308
    with pytest.raises(ValueError, match=r"Column 2 of X runs from -1e\+308"):
        small().fit(X)


def test_conformal_without_held_out_rows(small, table):
    """The conformal rule asks for held-out rows before anything is trained."""
    detector = small(threshold="conformal")
    with pytest.raises(ValueError, match="validation_fraction"):
        detector.fit(table)
    _assert_unfitted(detector, table)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [("conformal", "at least 99 held-out scores; got 30"), ("tail", "at least 10")],
)
def test_too_few_rows_for_a_threshold(small, threshold, message, table):
    """A rule that lacks rows says how many it needs; nothing is fitted."""
    detector = small(
        threshold=threshold, false_alarm_rate=0.01, validation_fraction=0.1
    )
    with pytest.raises(ValueError, match=message):
        detector.fit(table)
    _assert_unfitted(detector, table)


def test_too_few_rows_to_hold_out(small, table):
    """Holding out nearly everything leaves too little to train on."""
    detector = small(validation_fraction=0.9)
    with pytest.raises(ValueError, match=r"validation_fraction=0.9 of 5 rows leaves"):
        detector.fit(table[:5])
    _assert_unfitted(detector, table)


BAD_PARAMETERS = [
    ("architecture", "resnet"),
    ("architecture", 3),
    ("input_shape", "4"),
    ("latent_dim", 0),
    ("latent_dim", 2.5),
    ("scaler", "robust"),
    ("n_members", 0),
    ("input_noise", -1),
    ("input_noise", [0.1, -0.1]),
    ("input_noise", [[0.1], [0.2]]),
    ("input_noise", [np.nan]),
    ("input_noise", "loud"),
    ("score_type", "best"),
    ("max_references", 1),
    ("contamination", 0),
    ("contamination", 0.6),
    ("contamination", "some"),
    ("false_alarm_rate", 0),
    ("false_alarm_rate", 1),
    ("threshold", "otsu"),
    ("threshold", np.nan),
    ("threshold", True),
    ("threshold", None),
    ("threshold", lambda scores: "high"),
    ("threshold", lambda scores: np.nan),
    ("validation_fraction", 1),
    ("validation_fraction", -0.1),
    ("trim", 0.5),
    ("trim", -0.1),
    ("max_steps", 0),
    ("max_steps", 1.5),
    ("batch_size", 0),
    ("learning_rate", 0),
    ("learning_rate_schedule", "linear"),
    ("beta_1", 1),
    ("callbacks", 1),
    ("net_params", [1]),
    ("device", "abacus"),
    ("device", 3),
    ("random_state", "lucky"),
    ("verbose", -1),
    ("reconstruction_loss", "huber"),
    ("adversarial_loss", "hinge"),
    ("reconstruction_weight", -1),
    ("latent_weight", "heavy"),
    ("adversarial_weight", None),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_unknown_options(small, name, value, table):
    """A value that a parameter cannot have is refused by name, at fit."""
    detector = small(max_steps=2).set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        detector.fit(table)
    _assert_unfitted(detector, table)


def test_unknown_parameter():
    """A misspelt parameter is refused by the constructor and by set_params."""
    with pytest.raises(TypeError, match="max_step"):
        GANomalyDetector(max_step=3)
    with pytest.raises(ValueError, match="Invalid parameter 'max_step'"):
        GANomalyDetector().set_params(max_step=3)
    with pytest.raises(TypeError, match="positional"):
        GANomalyDetector("mlp")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (0,)),
        ("hidden_layer_sizes", 8),
        ("activation", "step"),
        ("normalization", "layer"),
        ("output_activation", "softmax"),
    ],
)
def test_unknown_options_of_networks(small, name, value, table):
    """The parameters of an architecture are checked too."""
    detector = small().set_params(**{f"architecture__{name}": value})
    with pytest.raises(ValueError, match=f"{name}|[Ll]ayer sizes"):
        detector.fit(table)
    _assert_unfitted(detector, table)


@pytest.mark.parametrize(
    "input_shape", [(), (0, 4), (2.0, 2), (1, 1, 2, 2), (-2, -2), (True, 4), ("a", 4)]
)
def test_impossible_input_shapes(small, input_shape, table):
    """What is no shape of a row is refused with those that are."""
    with pytest.raises(ValueError, match=r"is not the shape of a row. Use"):
        small(input_shape=input_shape).fit(table)


@pytest.mark.parametrize("input_shape", [(5,), (1, 2, 3), (3, 4)])
def test_input_shape_of_other_size(small, input_shape, table, images):
    """A shape with another number of values than a row is refused with both."""
    for X in (table, images):
        detector = small(input_shape=input_shape)
        with pytest.raises(ValueError, match="values and a row of X, of shape"):
            detector.fit(X)
        _assert_unfitted(detector, X)


def test_channels_last(small, images):
    """Images with the channels last are recognised, with the way out."""
    X = np.moveaxis(np.repeat(images[:, :1], 3, axis=1), 1, -1)
    with pytest.raises(ValueError, match=r"channels last.*transpose\(0, 3, 1, 2\)"):
        small(conv=True).fit(X)


def test_channels_last_confirmed(small, images):
    """Whoever means it confirms with input_shape: six channels of 9 x 3 pixels."""
    X = np.moveaxis(np.repeat(images[:, :1], 3, axis=1), 1, -1)
    detector = small(conv=True, input_shape=(6, 9, 3)).fit(X)
    assert detector.input_shape_ == (6, 9, 3)
    assert detector.predict(X).shape == (60,)


def test_channels_last_against_input_shape(small, images):
    """An array whose axes are ordered unlike input_shape is not scrambled."""
    X = np.moveaxis(images, 1, -1)
    with pytest.raises(ValueError, match="input_shape"):
        small(conv=True, input_shape=(2, 6, 9)).fit(X)


def test_conv_needs_a_shape(small, table):
    """Plain rows cannot be convolved, and the message says what to pass."""
    with pytest.raises(ValueError, match=r"architecture='conv'.*input_shape="):
        small(architecture="conv").fit(table)


def test_other_image_shape_at_predict(small, images):
    """Images of another shape than at fit are refused with the expected one."""
    detector = small(conv=True, max_steps=2).fit(images)
    for X in (images[:, :1], images.transpose(0, 1, 3, 2), images[:, 0]):
        with pytest.raises(ValueError, match=r"fitted on rows of shape \(2, 6, 9\)"):
            detector.predict(X)
    with pytest.raises(ValueError, match="5 dimensions"):
        detector.predict(images[None])
    with pytest.raises(ValueError, match="107 features"):
        detector.predict(images.reshape(60, -1)[:, 1:])


def test_no_images(small, images):
    """An empty array of images is called empty."""
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        small(conv=True).fit(images[:0])
    detector = small(conv=True, max_steps=2).fit(images)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        detector.predict(images[:0])


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 7), (3, 5, 33), (5, 2, 2), (1, 13), (4, 1), (2, 65)]
)
def test_any_image_shape_that_can_be(small, shape):
    """Any size, aspect ratio and number of channels trains and reconstructs."""
    X = np.random.default_rng(0).uniform(size=(12, int(np.prod(shape))))
    detector = small(conv=True, input_shape=shape, max_steps=2).fit(X)
    assert detector.reconstruct(X).shape == X.shape
    assert np.isfinite(detector.score_samples(X)).all()


def test_no_refit_survives_a_failed_one(small, table):
    """After a failed second fit nothing is left of the first."""
    detector = small().fit(table)
    assert "offset_" in _fitted_attributes(detector)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(_with(table, np.nan))
    _assert_unfitted(detector, table)


def test_fit_with_unknown_option_after_a_fit(small, table):
    """A refused parameter leaves a detector that is fitted or not, nothing between."""
    detector = small().fit(table)
    expected = detector.score_samples(table)
    with pytest.raises(ValueError, match="max_steps"):
        detector.set_params(max_steps=0).fit(table)
    if _fitted_attributes(detector):
        assert_array_equal(detector.score_samples(table), expected)
    else:
        _assert_unfitted(detector, table)


def test_second_fit_forgets_the_first(small, table, images):
    """A fit on other data is as if it were the first."""
    detector = small(AutoencoderDetector, architecture="auto", latent_dim=5)
    frame = pd.DataFrame(table, columns=list("abcd"))
    detector.fit(frame)
    assert detector.n_features_in_ == 4
    detector.fit(images)
    assert detector.n_features_in_ == 108
    assert not hasattr(detector, "feature_names_in_")
    again = small(AutoencoderDetector, architecture="auto", latent_dim=5).fit(images)
    assert_array_equal(detector.score_samples(images), again.score_samples(images))
