"""Signs and figures of the benchmark; failures stay visible."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skganomaly.benchmark import (
    Detector,
    KNNDistance,
    compare,
    format_datasets,
    format_summary,
    summarize,
)
from skganomaly.benchmark._compare import COLUMNS
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import (
    AnomalyDataset,
    LazyDatasets,
    load_bundled,
)


class Norm(OutlierMixin, BaseEstimator):
    """Scikit-learn's convention: higher is normal, -1 is an anomaly."""

    def __init__(self, random_state=None, input_shape=None):
        self.random_state = random_state
        self.input_shape = input_shape

    def fit(self, X, y=None):
        """Remember the centre and the longest distance to it."""
        self.centre_ = X.mean(axis=0)
        self.most_ = np.linalg.norm(X - self.centre_, axis=1).max()
        return self

    def decision_function(self, X):
        """Return what is left to the longest distance."""
        return self.most_ - np.linalg.norm(X - self.centre_, axis=1)

    def predict(self, X):
        """Return -1 beyond the longest distance."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class OppositeNorm(BaseEstimator):
    """PyOD's convention, without its base class; fit returns None."""

    def fit(self, X, y=None):
        """Fit the twin."""
        self.twin_ = Norm().fit(X)

    def decision_function(self, X):
        """Return the excess over the longest distance."""
        return -self.twin_.decision_function(X)

    def predict(self, X):
        """Return 1 for anomalies, 0 for the rest."""
        return (self.decision_function(X) > 0).astype(int)


class NamedNorm:
    """Neither base class nor parameters, but a method that names the direction."""

    def fit(self, X):
        """Fit the twin."""
        self.twin_ = Norm().fit(X)

    def anomaly_score(self, X):
        """Return the excess over the longest distance."""
        return -self.twin_.decision_function(X)


class Broken(Norm):
    """Fails, or scores with a NaN or an infinity."""

    def __init__(self, how="fit", random_state=None):
        self.how = how
        self.random_state = random_state

    def fit(self, X, y=None):
        """Fail if asked to."""
        if self.how == "fit":
            raise RuntimeError("out of\nluck")
        return super().fit(X)

    def decision_function(self, X):
        """Spoil the first score."""
        scores = super().decision_function(X)
        scores[0] = {"nan": np.nan, "inf": np.inf}[self.how]
        return scores


def test_leaving_a_class_out_needs_classes(dataset):
    """A table with fixed anomalies gives a failed row, not a silent gap."""
    with pytest.raises(ValueError, match="no classes"):
        next(iterate_splits(dataset, "leave-one-class-out", 0))
    with pytest.warns(RuntimeWarning, match="no classes"):
        results = compare(
            {"n": Norm()}, dataset, seeds=[0], protocol="leave-one-class-out"
        )
    assert len(results) == 1 and np.isnan(results["roc_auc"][0])


def test_both_conventions_give_the_same_figures(dataset):
    """Sign and labels are read right, whatever the convention."""
    detectors = {
        "native": Norm(),
        "opposite": Detector(OppositeNorm(), higher_is="anomaly"),
        "named": NamedNorm(),
        "pipeline": make_pipeline(
            StandardScaler(with_mean=False, with_std=False), Norm()
        ),
    }
    results = compare(detectors, [dataset], seeds=(0, 1))
    assert list(results.columns) == list(COLUMNS) and len(results) == 8
    assert (results["error"] == "").all()
    for figure in ("roc_auc", "average_precision", "f1", "false_alarms"):
        table = results.pivot(index="seed", columns="detector", values=figure)
        for name in ("opposite", "pipeline"):
            assert_allclose(table["native"], table[name])
    assert results["roc_auc"].min() > 0.6
    named = results[results["detector"] == "named"]
    assert named["f1"].isna().all() and named["roc_auc"].notna().all()


def test_figures_are_right(dataset):
    """F1 and false alarms agree with a count by hand."""
    results = compare({"n": Norm()}, dataset, seeds=[0])
    (split,) = iterate_splits(dataset, "one-class", 0)
    labels = Norm().fit(dataset.X[split.train]).predict(dataset.X[split.test])
    hits = np.sum(split.anomalous & (labels == -1))
    f1 = 2 * hits / (split.anomalous.sum() + (labels == -1).sum())
    assert_allclose(results["f1"][0], f1)
    alarms = (labels[~split.anomalous] == -1).mean()
    assert_allclose(results["false_alarms"][0], alarms)
    assert results["n_train"][0] == 90 and results["n_features"][0] == 4
    seconds = results[["fit_seconds", "score_seconds", "wall_seconds"]].to_numpy()
    assert (seconds >= 0).all()


@pytest.mark.parametrize(
    "estimator, higher_is, label",
    [
        (IsolationForest(), "normal", -1),
        (
            make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)),
            "normal",
            -1,
        ),
        (GridSearchCV(IsolationForest(), {"n_estimators": [5]}), "normal", -1),
        (NamedNorm(), "anomaly", "auto"),
    ],
)
def test_directions_that_are_known(estimator, higher_is, label):
    """Direction and label follow from the class of the last step."""
    detector = Detector(estimator)
    assert (detector.higher_is, detector.anomaly_label) == (higher_is, label)


def test_directions_that_are_not_known_are_not_guessed(dataset):
    """The error shows how to say it; all detectors are checked before any runs."""
    with pytest.raises(ValueError, match="Cannot know whether"):
        Detector(OppositeNorm())
    with pytest.raises(ValueError, match=r"Detector 'density'.*higher_is"):
        compare({"n": Norm(), "density": KernelDensity()}, dataset)
    with pytest.raises(ValueError, match="higher_is must be"):
        Detector(Norm(), higher_is="up")
    with pytest.raises(ValueError, match="anomaly_label must be"):
        Detector(Norm(), anomaly_label=0)
    with pytest.raises(ValueError, match="Pass an instance"):
        Detector(Norm)
    with pytest.raises(ValueError, match="none of the methods"):
        Detector(StandardScaler(), higher_is="normal")


@pytest.mark.parametrize("labels", [[1, 1], [0, 2]])
def test_unreadable_labels_cost_f1_only(dataset, labels):
    """All rows labelled 1 could mean either; the ROC AUC stands."""

    class Odd(NamedNorm):
        def predict(self, X):
            return np.resize(labels, len(X))

    with pytest.warns(RuntimeWarning, match="anomaly_label"):
        results = compare({"odd": Odd()}, dataset, seeds=[0])
    assert results["roc_auc"][0] > 0.6 and np.isnan(results["f1"][0])
    detector = Detector(Odd(), anomaly_label=1)
    if labels == [1, 1]:
        results = compare({"odd": detector}, dataset, seeds=[0])
        assert results["false_alarms"][0] == 1


def test_seed_and_image_shape_reach_nested_parameters():
    """A copy is changed, the original is not; a shape already given stays."""
    pipeline = make_pipeline(StandardScaler(), Norm())
    copy = Detector(pipeline).prepare(7, (1, 2, 2))
    assert copy[-1].random_state == 7 and copy[-1].input_shape == (1, 2, 2)
    assert pipeline[-1].random_state is None and pipeline[-1].input_shape is None
    kept = Detector(Norm(input_shape=(1, 4))).prepare(0, (1, 2, 2))
    assert kept.input_shape == (1, 4)


@pytest.mark.parametrize("how", ["fit", "nan", "inf"])
def test_a_failing_detector_is_a_row_of_nan(dataset, how):
    """Its error is in the table and in a warning; the others go on."""
    with pytest.warns(RuntimeWarning, match="1 of 2 runs failed"):
        results = compare({"bad": Broken(how), "good": Norm()}, [dataset], seeds=[0])
    bad, good = results.iloc[0], results.iloc[1]
    assert np.isnan(bad["roc_auc"]) and np.isnan(bad["f1"])
    expected = "RuntimeError: out of luck" if how == "fit" else "not finite"
    assert expected in bad["error"]
    assert good["error"] == "" and good["roc_auc"] > 0.6
    summary = summarize(results)
    assert summary.loc["bad", "n_failed"] == 1
    assert summary["rank_auc"].to_dict() == {"good": 1, "bad": 2}
    assert "-" in format_datasets(results) and "failed" in format_summary(summary)


def test_a_data_set_that_cannot_be_read_is_a_row_of_nan(dataset):
    """The sets after it are run all the same."""

    def broken():
        raise ValueError("damaged file")

    sets = LazyDatasets({"broken": broken, "small": lambda: dataset})
    with pytest.warns(RuntimeWarning, match="damaged file"):
        results = compare({"n": Norm()}, sets, seeds=(0, 1))
    assert list(results["dataset"]) == ["broken"] * 2 + ["small"] * 2
    assert results["roc_auc"].notna().tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    "options, match",
    [
        ({"detectors": {}}, "non-empty dict"),
        ({"detectors": [Norm()]}, "dict"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"protocol": "other"}, "protocol must be one of"),
        ({"max_test": 1}, "max_test"),
        ({"datasets": []}, "no data sets"),
        ({"datasets": {"d": (np.ones((2, 1)), [0, 1])}}, "numpy.where"),
        ({"datasets": {"d": np.ones((3, 1))}}, "pair"),
        ({"datasets": [np.ones((3, 1))]}, "AnomalyDataset objects"),
    ],
)
def test_wrong_arguments_are_refused(dataset, options, match):
    """Before anything has run."""
    with pytest.raises(ValueError, match=match):
        compare(**({"detectors": {"n": Norm()}, "datasets": dataset} | options))


def test_processes_change_nothing(dataset, classes):
    """Two processes give the rows of one, in the same order."""
    detectors = {"forest": IsolationForest(n_estimators=5), "knn": KNNDistance()}
    columns = list(COLUMNS[: COLUMNS.index("fit_seconds")])
    one = compare(detectors, [dataset, classes], seeds=[0])
    two = compare(detectors, [dataset, classes], seeds=[0], n_jobs=2)
    assert len(one) == 2 * (1 + 3)
    pd.testing.assert_frame_equal(one[columns], two[columns])


def test_progress_goes_to_standard_error(dataset, capsys):
    """Silent by default; with verbose a bar that names what runs."""
    compare({"n": Norm()}, dataset, seeds=[0])
    assert capsys.readouterr() == ("", "")
    compare({"n": Norm()}, dataset, seeds=[0], verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and "n on small" in err and "1/1" in err


def test_a_constructor_that_changes_its_arguments_is_copied():
    """As in PyOD's networks, where clone gives up."""

    class Stubborn(Norm):
        def __init__(self, random_state=None, input_shape=None):
            super().__init__(random_state, input_shape=[input_shape])

    copy = Detector(Stubborn()).prepare(5)
    assert copy.random_state == 5


def test_the_bundled_sets_can_be_compared_on_as_they_are():
    """A lazy dict goes into compare unchanged."""
    sets = load_bundled().select(["breast-cancer"])
    assert compare({"knn": KNNDistance()}, sets, seeds=[0])["roc_auc"][0] > 0.8


class Spy(TransformerMixin, BaseEstimator):
    """Passes rows on, and keeps how those of `fit` looked."""

    seen = []

    def fit(self, X, y=None):
        """Remember the rows."""
        self.seen.append(X)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        """Return the rows."""
        return X


@pytest.fixture
def raw():
    """Return a frame of words, numbers with gaps and dates; anomalies are "grey"."""
    rng = np.random.default_rng(0)
    y = np.r_[np.ones(150, int), -np.ones(10, int)]
    words = np.where(y == 1, rng.choice(["red", "blue"], 160), "grey")
    X = pd.DataFrame(
        {
            "word": pd.Categorical(words),
            "size": np.where(rng.uniform(size=160) < 0.1, np.nan, rng.normal(size=160)),
            "when": pd.date_range("2024-01-01", periods=160, freq="h"),
        },
        index=rng.permutation(160),
    )
    return X, y


def test_frames_are_divided_as_they_are(raw):
    """Each pipeline encodes the training rows by itself; others fail visibly."""
    X, y = raw
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["word"]),
        (SimpleImputer(), ["size"]),
    )
    forest = IsolationForest(n_estimators=20)
    detectors = {
        "pipeline": make_pipeline(Spy(), encode, forest),
        "bare": IsolationForest(n_estimators=2),
    }
    Spy.seen.clear()
    with pytest.warns(RuntimeWarning, match="1 of 2 runs failed.*bare on raw"):
        results = compare(detectors, {"raw": (X, y)}, seeds=(0,)).set_index("detector")
    (split,) = iterate_splits(AnomalyDataset("raw", X, y), "one-class", 0)
    (train,) = Spy.seen
    pd.testing.assert_frame_equal(train, X.iloc[split.train])
    assert "grey" not in set(train["word"])
    row = results.loc["pipeline"]
    assert (row["n_train"], row["n_test"], row["n_features"]) == (75, 85, 3)
    model = make_pipeline(encode, clone(forest).set_params(random_state=0)).fit(train)
    scores = -model.score_samples(X.iloc[split.test])
    assert row["roc_auc"] == roc_auc_score(split.anomalous, scores)
    assert results.loc["bare", "error"]


def test_frames_with_classes_and_limits(raw):
    """Turns of classes and limits on rows work as for arrays."""
    X, _ = raw
    data = AnomalyDataset("raw", X, np.asarray(X["word"]), classes=("red", "blue"))
    encode = make_column_transformer((SimpleImputer(), ["size"]))
    detectors = {"pipeline": make_pipeline(encode, IsolationForest(n_estimators=2))}
    results = compare(detectors, [data], seeds=(0,), max_train=20, max_test=30)
    assert results["class"].tolist() == ["red", "blue"]
    assert (results["n_train"] == 20).all() and (results["n_test"] == 30).all()
    assert (results["error"] == "").all()


def test_arrays_of_text_are_pointed_to_frames():
    """An array cannot hold text beside numbers."""
    X = np.array([["a", 1], ["b", 2]], dtype=object)
    with pytest.raises(ValueError, match="can be passed in a pandas data frame"):
        AnomalyDataset("text", X, [1, -1])
