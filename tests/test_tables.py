"""Tables as people have them: text, categories, dates and gaps, through a Pipeline."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.utils.estimator_checks import parametrize_with_checks

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._sources import sources_of
from skganomaly.datasets import make_anomalies
from skganomaly.pipelines import MissingCount, through

ALL = pytest.mark.parametrize(
    "cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
)


def parts_of_a_date(X):
    """Hour and day of the week, without names."""
    when = X.iloc[:, 0].dt
    return np.column_stack([when.hour, when.day_of_week])


@pytest.fixture(scope="module")
def frame():
    """Two numbers with gaps, a category, a date and a column that nobody uses.

    The names are such that reading them from the names of dummies would go wrong.
    """
    rng = np.random.default_rng(0)
    n = 240
    X = pd.DataFrame(
        {
            "city": rng.normal(size=n),
            "city_a": rng.normal(3, 2, size=n),
            "city_a_b": rng.choice(["a", "b", "a_b"], n),
            "when": pd.date_range("2024-01-01", periods=n, freq="7h"),
            "comment": "nothing",
        },
        index=[f"row {i}" for i in range(n)],
    )
    X.loc[X.index[::11], "city"] = np.nan
    X.loc[X.index[::17], "city_a_b"] = None
    return X


def encoder():
    """Scikit-learn's own transformers; the order of the columns is changed."""
    return ColumnTransformer(
        [
            ("date", FunctionTransformer(parts_of_a_date), ["when"]),
            (
                "numbers",
                make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
                ["city_a", "city"],
            ),
            ("category", OneHotEncoder(sparse_output=False), ["city_a_b"]),
        ]
    )


@pytest.fixture(scope="module")
def pipeline(frame):
    detector = AutoencoderDetector(max_steps=20, n_members=1, random_state=0)
    return make_pipeline(encoder(), detector).fit(frame)


def test_methods_through_a_pipeline(pipeline, frame):
    """Scores, p-values, threshold and labels are those of the detector inside."""
    view, detector = through(pipeline), pipeline[-1]
    rows = pipeline[:-1].transform(frame)
    assert view.detector_ is detector
    assert_array_equal(view.transform(frame), rows)
    assert_array_equal(view.anomaly_score(frame), detector.anomaly_score(rows))
    assert_array_equal(
        view.anomaly_score(frame, part="code"),
        detector.anomaly_score(rows, part="code"),
    )
    assert_array_equal(view.p_values(frame), detector.p_values(rows))
    assert_array_equal(
        pipeline.predict(frame) == -1, view.anomaly_score(frame) > view.threshold_
    )


def test_a_threshold_set_through_a_pipeline_moves_its_labels(frame):
    """The detector in the pipeline is changed, and not a copy."""
    detector = AutoencoderDetector(max_steps=5, n_members=1, random_state=0)
    fitted = make_pipeline(encoder(), detector).fit(frame)
    view = through(fitted)
    before = view.threshold_
    assert view.set_threshold(false_alarm_rate=0.4) is view
    assert view.threshold_ < before
    share = np.mean(fitted.predict(frame) == -1)
    assert abs(share - 0.4) < 0.1
    view.set_threshold("max")
    assert np.all(fitted.predict(frame) == 1)


def test_contributions_are_summed_by_original_column(pipeline, frame):
    """Dummies, indicators and parts of a date count for the column they came from."""
    rows = frame.iloc[:30]
    found = through(pipeline).explain(rows)
    assert found.columns.tolist() == frame.columns.tolist()
    assert found.index.tolist() == rows.index.tolist()
    # In the order of the ColumnTransformer: hour, day; city_a, city, gap in city;
    # then four dummies, the last for None.
    inner = pipeline[-1].explain(pipeline[0].transform(rows))
    assert inner.shape == (30, 9)
    expected = {
        "city": inner[:, 3] + inner[:, 4],
        "city_a": inner[:, 2],
        "city_a_b": inner[:, 5:].sum(axis=1),
        "when": inner[:, 0] + inner[:, 1],
        "comment": np.zeros(30),
    }
    for name, values in expected.items():
        assert_allclose(found[name], values, atol=1e-12)
    transformed = through(pipeline).explain(rows, columns="transformed")
    # Those that have no names are numbered.
    names = transformed.columns.tolist()
    assert names[:3] == ["date__0", "date__1", "numbers__city_a"]
    assert names[-1].startswith("category__city_a_b_")
    assert_array_equal(transformed, inner)
    assert_allclose(found.sum(axis=1), transformed.sum(axis=1))
    finer = through(pipeline).explain(rows, n_steps=40)
    assert not np.allclose(finer, found)


def test_more_columns_or_another_order_do_not_mix_contributions_up(pipeline, frame):
    """Columns are known by name, as they are to a ColumnTransformer."""
    rows = frame.iloc[:5]
    other = rows[rows.columns[::-1]].assign(new=1.0)
    expected = through(pipeline).explain(rows)
    found = through(pipeline).explain(other)
    pd.testing.assert_frame_equal(found[expected.columns], expected)


def test_searches_and_frozen_pipelines(frame):
    """The best candidate is looked into, at any depth."""
    detector = AutoencoderDetector(max_steps=2, n_members=1, random_state=0)
    search = GridSearchCV(
        make_pipeline(encoder(), detector),
        {"autoencoderdetector__max_steps": [2, 3]},
        cv=2,
    )
    with pytest.raises(NotFittedError):
        through(search)
    search.fit(frame)
    best = through(search.best_estimator_).explain(frame[:4])
    for estimator in (search, FrozenEstimator(search)):
        pd.testing.assert_frame_equal(through(estimator).explain(frame[:4]), best)


def test_arrays_come_back_as_arrays(table, small):
    """Without names contributions stand in the order of the columns of X."""
    X = np.column_stack([np.arange(300) % 3, table])
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False), [0]), remainder="passthrough"
    )
    fitted = make_pipeline(encode, small()).fit(X)
    found = through(fitted).explain(X[:7])
    inner = fitted[-1].explain(fitted[0].transform(X[:7]))
    assert isinstance(found, np.ndarray)
    assert_allclose(found, np.column_stack([inner[:, :3].sum(1), inner[:, 3:]]))
    assert isinstance(through(fitted).explain(X[:7], columns="transformed"), np.ndarray)
    alone = through(fitted[-1])
    rows = fitted[0].transform(X[:7])
    assert_array_equal(alone.explain(rows), inner)


def test_mixed_columns_keep_their_names(frame):
    """Principal components are not divided among the columns they are made of."""
    numbers = make_pipeline(SimpleImputer(), PCA(1))
    encode = make_column_transformer(
        (numbers, ["city", "city_a"]),
        (OneHotEncoder(sparse_output=False), ["city_a_b"]),
        (MissingCount(), ["city", "city_a_b"]),
    )
    detector = AutoencoderDetector(max_steps=2, n_members=1, random_state=0)
    fitted = make_pipeline(encode, detector).fit(frame)
    found = through(fitted).explain(frame[:6])
    mixed = ["pipeline__pca0", "missingcount__n_missing"]
    assert found.columns.tolist() == [*frame.columns, *mixed]
    inner = fitted[-1].explain(fitted[0].transform(frame[:6]))
    assert_allclose(found[mixed], inner[:, [0, 5]])
    assert (found[["city", "city_a", "when"]] == 0).all(axis=None)
    assert_allclose(found.sum(axis=1), inner.sum(axis=1))
    X = SimpleImputer().fit_transform(frame[["city", "city_a"]])
    plain = make_pipeline(PCA(1), detector).fit(X)
    with pytest.raises(ValueError, match=r"made of several.*0, 1.*'transformed'"):
        through(plain).explain(X[:2])
    assert through(plain).explain(X[:2], columns="transformed").shape == (2, 1)


def test_what_cannot_be_looked_into(frame, table, small):
    """Errors name what was passed and what would do."""
    with pytest.raises(TypeError, match="IsolationForest, the last step, has no"):
        through(IsolationForest(n_estimators=2, random_state=0).fit(table))
    with pytest.raises(NotFittedError):
        through(make_pipeline(StandardScaler(), GANomalyDetector()))
    with pytest.raises(ValueError, match="'original' or 'transformed', got 'raw'"):
        through(small().fit(table)).explain(table, columns="raw")


def test_images_have_no_columns(small, images):
    """Explanations of images are theirs; flat rows have their pixels as columns."""
    flat = images.reshape(60, -1)
    fitted = make_pipeline(SimpleImputer(), small(conv=True, input_shape=(2, 6, 9)))
    fitted.fit(flat)
    assert through(fitted).explain(flat[:2]).shape == (2, 108)
    camera = through(small(conv=True).fit(images))
    assert camera.explain(images[:2], columns="transformed").shape == (2, 2, 6, 9)
    with pytest.raises(ValueError, match="not columns of a table"):
        camera.explain(images[:2])


X_GAPS = np.array([[1.0, np.nan, 5.0], [2.0, 1.0, 6.0], [np.nan, 3.0, 8.0]] * 4)
X_FULL = np.column_stack([np.arange(12) % 3, np.arange(12) % 4, np.arange(12.0)])
MADE_OF = [
    (SimpleImputer(add_indicator=True), X_GAPS, [[0], [1], [2], [0], [1]]),
    (KNNImputer(add_indicator=True), X_GAPS, [[0], [1], [2], [0], [1]]),
    (MissingIndicator(), X_GAPS, [[0], [1]]),
    (OneHotEncoder(), X_FULL[:, :2], [[0]] * 3 + [[1]] * 4),
    (
        OneHotEncoder(
            drop="first", feature_name_combiner=lambda name, category: str(category)
        ),
        X_FULL[:, :2],
        [[0]] * 2 + [[1]] * 3,
    ),
    (OrdinalEncoder(), X_FULL, [[0], [1], [2]]),
    (KBinsDiscretizer(2, quantile_method="averaged_inverted_cdf"), X_FULL[:, 1:], None),
    (PCA(2), X_FULL, [[0, 1, 2]] * 2),
    (
        PolynomialFeatures(2, include_bias=False),
        X_FULL[:, :2],
        [[0], [1], [0], [0, 1], [1]],
    ),
    (
        FeatureUnion([("same", "passthrough"), ("count", MissingCount())]),
        X_GAPS,
        [[0], [1], [2], [0, 1, 2]],
    ),
    (
        make_column_transformer(
            ("drop", [0]), (OneHotEncoder(), slice(1, 2)), remainder="passthrough"
        ),
        X_FULL,
        [[1]] * 4 + [[2]],
    ),
    (
        make_column_transformer(
            (StandardScaler(), [False, False, True]), ("passthrough", [-3, 1])
        ),
        X_FULL,
        [[2], [0], [1]],
    ),
]


@pytest.mark.parametrize(
    ("transformer", "X", "expected"), MADE_OF, ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("named", [False, True])
def test_what_columns_are_made_of(transformer, X, expected, named):
    """By what a transformer says of itself, with names that invite confusion."""
    rows = X
    if named:
        rows = pd.DataFrame(X, columns=["x", "x_1.0", "x_1"][: X.shape[1]])
    transformer.fit(rows)
    found = [sorted(source) for source in sources_of(transformer, X.shape[1])]
    if expected is None:
        expected = [[0]] * 2 + [[1]] * 2
    assert found == expected
    assert len(found) == transformer.transform(rows).shape[1]


def test_slices_of_names():
    """A slice of names holds both ends."""
    rows = pd.DataFrame(X_FULL, columns=list("abc"))
    fitted = make_column_transformer((StandardScaler(), slice("b", "c"))).fit(rows)
    assert sources_of(fitted, 3) == [{1}, {2}]
    fitted = make_column_transformer(("passthrough", slice(None, "b"))).fit(rows)
    assert sources_of(fitted, 3) == [{0}, {1}]


def test_transformers_that_say_themselves():
    """The TableVectorizer of skrub lists what each output was made of."""
    skrub = pytest.importorskip("skrub")
    rows = pd.DataFrame({"b": ["x", "y", "z"] * 8, "a": np.arange(24.0)})
    vectorizer = skrub.TableVectorizer().fit(rows)
    found = sources_of(vectorizer, 2)
    names = vectorizer.get_feature_names_out()
    assert [{0} if name.startswith("b") else {1} for name in names] == found


def test_a_width_that_is_not_known():
    """A function without names tells nothing of its columns, and the error says so."""
    double = FunctionTransformer(lambda X: np.column_stack([X, X])).fit(X_FULL)
    with pytest.raises(ValueError, match="feature_names_out"):
        sources_of(double, 3)
    assert sources_of(double, 1, 2) == [{0}, {0}]
    assert sources_of(double, 3, 6) == [{0, 1, 2}] * 6


# Missing values.


@parametrize_with_checks([MissingCount()])
def test_missing_count_is_a_transformer(estimator, check):
    check(estimator)


def test_missing_values_of_all_kinds_are_counted():
    """NaN, None, NaT and NA; other values of any type are not missing."""
    rows = pd.DataFrame(
        {
            "number": [1.0, np.nan, 2.0],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "text": ["x", None, "nan"],
            "date": pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
            "kind": pd.Categorical(["a", None, "b"]),
        }
    )
    count = MissingCount().fit(rows)
    assert_array_equal(count.transform(rows), [[0], [5], [0]])
    assert_array_equal(
        MissingCount().fit_transform(rows.astype(object).to_numpy()), [[0], [5], [0]]
    )
    dates = rows[["date"]].to_numpy()
    assert_array_equal(MissingCount().fit_transform(dates), [[0], [1], [0]])
    assert count.get_feature_names_out().tolist() == ["n_missing"]
    with pytest.raises(ValueError, match="feature names"):
        count.transform(rows.rename(columns={"text": "words"}))


def test_a_count_costs_less_than_indicators():
    """Values that are missing at random hide anomalies less if they are counted."""
    X, y = make_anomalies(900, 6, kind="local", contamination=0.2, random_state=0)
    rng = np.random.default_rng(0)
    gaps = np.where(rng.uniform(size=X.shape) < 0.1, np.nan, X)
    train = np.flatnonzero(y == 1)[:400]
    test = np.setdiff1d(np.arange(900), train)
    detector = AutoencoderDetector(max_steps=100, n_members=1, random_state=0)
    found = {}
    for name, encode in {
        "numbers": SimpleImputer(),
        "indicators": SimpleImputer(add_indicator=True),
        "count": make_union(SimpleImputer(), MissingCount()),
    }.items():
        fitted = make_pipeline(encode, detector).fit(gaps[train])
        scores = through(fitted).anomaly_score(gaps[test])
        found[name] = average_precision_score(y[test] == -1, scores)
    lost = {name: found["numbers"] - value for name, value in found.items()}
    assert lost["indicators"] > 0.05
    assert lost["count"] < 0.5 * lost["indicators"], lost


def test_categories_that_were_never_seen_are_alarms():
    """A row without any dummy is unlike all training rows."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"kind": rng.choice(list("abc"), 300), "size": rng.normal(size=300)}
    )
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["kind"]),
        remainder="passthrough",
    )
    detector = AutoencoderDetector(max_steps=100, n_members=1, random_state=0)
    fitted = make_pipeline(encode, detector).fit(rows[:200])
    new = rows[200:].assign(kind="z")
    assert np.mean(fitted.predict(new) == -1) > 0.9
    blamed = through(fitted).explain(new).idxmax(axis=1)
    assert (blamed == "kind").mean() > 0.8


# Explanations are complete.


@ALL
@pytest.mark.parametrize("n_steps", [1, 16])
def test_contributions_add_up_on_ordinary_rows(small, cls, n_steps, table, new_rows):
    """The score of a row less that of its counterpart, whatever the score jumps over.

    Rows like the training rows, whose neighbours change on the way, are the hard ones.
    """
    detector = small(cls, max_steps=100).fit(table)
    change = detector.anomaly_score(new_rows) - detector.anomaly_score(
        detector.reconstruct(new_rows)
    )
    total = detector.explain(new_rows, n_steps=n_steps).sum(axis=1)
    assert np.median(np.abs(change)) > 0.05
    assert_allclose(total, change, atol=2e-4 * np.abs(change).max() + 1e-4)


def test_a_view_can_be_saved(pipeline, frame, tmp_path):
    """It holds the pipeline, and has the same answers after loading."""
    joblib.dump(through(pipeline), tmp_path / "view")
    loaded = joblib.load(tmp_path / "view")
    pd.testing.assert_frame_equal(
        loaded.explain(frame[:3]), through(pipeline).explain(frame[:3])
    )
