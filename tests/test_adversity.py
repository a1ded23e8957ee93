"""Any table of numbers is fitted and scored, or refused in words: found by drawing."""

import multiprocessing
import pickle
import traceback
from decimal import Decimal

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.searches import EncoderSearch

# Warnings of the library are in words; those of NumPy stay errors.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]

DETECTORS = [AutoencoderDetector, GANomalyDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)


def examples(number):
    """Settings for so many examples, the same in every run."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        print_blob=True,
        # The fixture returns a function, which keeps nothing between examples.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


FLOATS = ["float16", "float32", "float64", ">f8", "longdouble"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
EXPONENTS = st.integers(-140, 140)


@st.composite
def floats(draw, min_rows=3):
    """Rows in double precision whose columns have any scale, offset and outliers."""
    n_rows, n_columns = draw(st.integers(min_rows, 60)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    X = rng.normal(size=(n_rows, n_columns))
    for column in X.T:
        kind = draw(st.sampled_from(["plain", "constant", "two values", "outlier"]))
        if kind == "constant":
            column[:] = column[0]
        elif kind == "two values":
            column[:] = column > 0
        elif kind == "outlier":
            column[draw(st.integers(0, n_rows - 1))] = 10.0 ** draw(EXPONENTS)
        if draw(st.booleans()):
            column *= 10.0 ** draw(EXPONENTS)
        if draw(st.booleans()):
            column += draw(st.sampled_from([-1.0, 1.0])) * 10.0 ** draw(EXPONENTS)
    if draw(st.booleans()):
        X = X[rng.integers(0, draw(st.integers(1, n_rows)), size=n_rows)]
    return X


def cast(X, dtype):
    """The rows in another type, as near as that comes to them."""
    if dtype == "object":
        return X.astype(object)
    if dtype == "decimal":
        return np.vectorize(Decimal, otypes=[object])(X)
    if dtype == "bool":
        return X > np.median(X)
    limits = np.iinfo(dtype) if dtype in INTEGERS else np.finfo(dtype)
    # The largest 64 bit integers are not among the doubles.
    most = limits.max if dtype not in ("int64", "uint64") else float(limits.max) / 2
    low, high = (np.asarray(v, dtype="longdouble") for v in (limits.min, most))
    return np.clip(X, low, high).astype(dtype)


def laid_out(X, layout):
    """The same rows, in another place in memory or another container."""
    if layout == "Fortran":
        return np.asfortranarray(X)
    if layout == "read-only":
        X.flags.writeable = False
        return X
    if layout == "negative strides":
        return X[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "every other":
        return np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
    if layout == "lists":
        return X.tolist()
    if layout in ("frame", "nullable"):
        frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
        return frame if layout == "frame" else frame.astype(float).astype("Float64")
    return X


LAYOUTS = ["C", "Fortran", "read-only", "negative strides", "every other"]
TABLES = st.builds(
    laid_out,
    st.builds(
        cast,
        floats(),
        st.sampled_from([*FLOATS, *INTEGERS, "bool", "object", "decimal"]),
    ),
    st.sampled_from([*LAYOUTS, "lists", "frame", "nullable"]),
)
OPTIONS = st.fixed_dictionaries(
    {
        "scaler": st.sampled_from(["auto", "minmax", "standard", "channel", None]),
        "score_type": st.sampled_from(["auto", "local", "joint", "reconstruction"]),
        "n_members": st.integers(1, 2),
        "validation_fraction": st.sampled_from([0.0, 0.3]),
    }
)


@pytest.fixture
def tiny(small):
    """Make detectors that are trained for three steps."""

    def make(cls, **params):
        if cls is AnoGANDetector:
            params["search"] = EncoderSearch(encoder_steps=3)
            params.pop("n_members", None)
        return small(cls, max_steps=3, latent_dim=2, **params)

    return make


def refusal(detector, X, **fit_params):
    """Fit, and return None or why not, after a look that it failed as it should."""
    try:
        detector.fit(X, **fit_params)
    except (ValueError, TypeError, FloatingPointError) as error:
        in_words(error)
        assert not [name for name in vars(detector) if name.endswith("_")]
        return error
    return None


def in_words(error):
    """Assert that an error is one of the library's or scikit-learn's own."""
    path = traceback.extract_tb(error.__traceback__)[-1].filename
    assert "skganomaly" in path or "sklearn" in path, error
    assert len(str(error).split()) > 5


def take(X, rows):
    """Some of the rows of an array, a frame or a list."""
    if isinstance(X, list):
        return X[rows]
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


@every_detector
@examples(50)
@given(X=TABLES, options=OPTIONS)
def test_any_table_of_numbers(tiny, tmp_path_factory, cls, X, options):
    """Scores are finite, and the same alone, in any order, stored and fitted again."""
    detector = tiny(cls, **options)
    if error := refusal(detector, X):
        # Rows that cannot be told apart next to an outlier are one group.
        assert options["validation_fraction"]
        assert "leaves 1 for training" in str(error)
        return
    scores = detector.anomaly_score(X)
    assert scores.shape == (len(X),)
    assert np.isfinite(scores).all()
    assert_array_equal(
        detector.anomaly_score(take(X, slice(None, None, -1)))[::-1], scores
    )
    for i in (0, len(X) // 2, len(X) - 1):
        assert detector.anomaly_score(take(X, slice(i, i + 1)))[0] == scores[i]
    labels = detector.predict(X)
    assert_array_equal(labels, np.where(scores > detector.threshold_, -1, 1))
    assert_array_equal(detector.decision_function(X) < 0, labels == -1)
    p_values = detector.p_values(X)
    assert ((p_values > 0) & (p_values <= 1)).all()
    path = tmp_path_factory.getbasetemp() / "any.skganomaly"
    detector.save(path)
    for other in (
        pickle.loads(pickle.dumps(detector)),
        skganomaly.load(path),
        clone(detector).fit(X),
    ):
        assert_array_equal(other.anomaly_score(X), scores)
        assert other.threshold_ == detector.threshold_


@every_detector
@examples(20)
@given(X=floats(), options=OPTIONS, power=st.integers(-60, 60))
def test_units_do_not_matter(tiny, cls, X, options, power):
    """In units of a power of two, scores and labels are the same to the bit."""
    options |= {"scaler": options["scaler"] or "standard", "validation_fraction": 0.0}
    detector, other = (
        tiny(cls, **options).fit(X),
        tiny(cls, **options).fit(X * 2.0**power),
    )
    assert_array_equal(other.anomaly_score(X * 2.0**power), detector.anomaly_score(X))
    assert other.threshold_ == detector.threshold_


BAD = st.sampled_from(["NaN", "infinity", "wide", "narrow", "flat", "text", "complex"])


def spoiled(X, kind, place):
    """Rows that cannot be scored."""
    if kind in ("NaN", "infinity"):
        X = X.copy()
        X.flat[place % X.size] = np.nan if kind == "NaN" else -np.inf
        return X
    if kind == "text":
        X = X.astype(object)
        X.flat[place % X.size] = "x"
        return X
    return {
        "wide": np.hstack([X, X]),
        "narrow": X[:, 1:],
        "flat": X[:, 0],
        "complex": X + 1j,
    }[kind]


@every_detector
@examples(30)
@given(X=floats(), kind=BAD, place=st.integers(0, 359))
def test_what_cannot_be_scored_changes_nothing(tiny, cls, X, kind, place):
    """Rows with other values or of another width are refused, and are no harm."""
    detector = tiny(cls).fit(X)
    scores = detector.anomaly_score(X)
    before = pickle.dumps(detector)
    for method in ("predict", "anomaly_score", "p_values", "explain"):
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(detector, method)(spoiled(X, kind, place))
        in_words(caught.value)
    assert pickle.dumps(detector) == before
    assert_array_equal(detector.anomaly_score(X), scores)
    if kind in ("NaN", "infinity", "flat", "text", "complex"):
        assert refusal(tiny(cls), spoiled(X, kind, place))


@every_detector
@examples(30)
@given(X=floats(min_rows=2), data=st.data())
def test_any_weights(tiny, cls, X, data):
    """Rows of weight 0 are as good as not there; too few of weight are refused."""
    counts = st.sampled_from([0.0, 1e-30, 0.5, 1.0, 3.0, 1e30])
    n_rows = len(X)
    weights = np.array(data.draw(st.lists(counts, min_size=n_rows, max_size=n_rows)))
    if data.draw(st.integers(0, 5)) == 5:
        bad = data.draw(st.sampled_from([-1.0, np.nan, np.inf]))
        weights[data.draw(st.integers(0, n_rows - 1))] = bad
    detector = tiny(cls)
    if refusal(detector, X, sample_weight=weights):
        fine = np.isfinite(weights).all() and (weights >= 0).all()
        assert not fine or (weights > 0).sum() < 2
        return
    kept = weights > 0
    scores = detector.anomaly_score(X)
    assert np.isfinite(scores).all()
    other = tiny(cls).fit(X[kept], sample_weight=weights[kept])
    assert_array_equal(other.anomaly_score(X), scores)
    assert other.threshold_ == detector.threshold_


@every_detector
@examples(20)
@given(X=floats(), n_calls=st.integers(1, 3))
def test_any_stream(tiny, cls, X, n_calls):
    """Rows of any kind may come later than others."""
    detector = tiny(cls).partial_fit(X[:2])
    for part in np.array_split(X[2:], n_calls):
        if len(part):
            detector.partial_fit(part)
    assert np.isfinite(detector.anomaly_score(X)).all()
    assert np.isfinite(detector.threshold_)


def test_other_processes(tiny, table):
    """A new process gives the same scores, and so do the workers of joblib."""
    detectors = [tiny(cls).fit(table) for cls in DETECTORS]
    expected = [detector.anomaly_score(table) for detector in detectors]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = [pool.apply(d.anomaly_score, (table,)) for d in detectors]
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        loky = joblib.Parallel()(
            joblib.delayed(d.anomaly_score)(table) for d in detectors
        )
    assert_array_equal(spawned, expected)
    assert_array_equal(loky, expected)
