"""Splits, signs and sums of the benchmark; failures stay visible."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skganomaly.benchmark import (
    Detector,
    KNNDistance,
    compare,
    format_datasets,
    format_summary,
    get_detectors,
    plot_results,
    summarize,
)
from skganomaly.benchmark._cli import main
from skganomaly.benchmark._compare import COLUMNS
from skganomaly.benchmark._optional import import_optional
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import (
    AnomalyDataset,
    LazyDatasets,
    load_bundled,
    make_anomalies,
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


@pytest.fixture
def small():
    """Return a table of 200 rows with 20 anomalies."""
    X, y = make_anomalies(200, 4, kind="local", random_state=0)
    return AnomalyDataset("small", X, y)


@pytest.fixture
def classes():
    """Return a table of three classes of 40, 30 and 20 rows."""
    target = np.repeat([0, 1, 2], [40, 30, 20])
    X = np.random.default_rng(0).standard_normal((90, 4)) + target[:, np.newaxis]
    return AnomalyDataset("classes", X, target, classes=(0, 1, 2))


def frame(**columns):
    """Return results with the given columns and plausible others."""
    base = dict.fromkeys(COLUMNS, 0.0) | {
        "class": "",
        "protocol": "one-class",
        "error": "",
    }
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize("seed", range(3))
def test_one_class_split(small, seed):
    """Train on half of the normal rows; test on all others, each once."""
    (split,) = iterate_splits(small, "one-class", seed)
    assert len(split.train) == 90 and (small.target[split.train] == 1).all()
    assert_array_equal(
        np.sort(np.concatenate([split.train, split.test])), np.arange(200)
    )
    assert_array_equal(split.anomalous, small.target[split.test] == -1)
    assert split.anomalous.sum() == 20 and split.special is None


def test_splits_follow_their_seed(small):
    """The same seed draws the same rows, another seed others."""
    (first,), (again,), (other,) = (
        iterate_splits(small, "one-class", seed) for seed in (0, 0, 1)
    )
    assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_one_class_split_of_classes(classes):
    """Each class in turn is the only normal one."""
    for split, size in zip(
        iterate_splits(classes, "one-class", 0), (40, 30, 20), strict=True
    ):
        assert len(split.train) == size / 2
        assert set(classes.target[split.train]) == {split.special}
        assert len(split.test) == 90 - size / 2
        assert_array_equal(split.anomalous, classes.target[split.test] != split.special)


def test_leave_one_class_out_split(classes):
    """Train on 80 % of the other classes; test on the rest and the whole class."""
    for split, size in zip(
        iterate_splits(classes, "leave-one-class-out", 0), (40, 30, 20), strict=True
    ):
        assert len(split.train) == round(0.8 * (90 - size))
        assert split.special not in classes.target[split.train]
        assert split.anomalous.sum() == size
        assert not set(split.train) & set(split.test)
        assert len(split.train) + len(split.test) == 90


def test_contaminated_split(small, classes):
    """Train on half of all rows, anomalies among them."""
    (split,) = iterate_splits(small, "contaminated", 0)
    assert len(split.train) == 100 and (small.target[split.train] == -1).any()
    assert not set(split.train) & set(split.test) and len(split.test) == 100
    splits = list(iterate_splits(classes, "contaminated", 0))
    assert [split.special for split in splits] == [0, 1, 2]
    assert_array_equal(splits[2].anomalous, classes.target[splits[2].test] == 2)


def test_rows_set_aside_for_testing_stay_there(classes):
    """The one-class protocol trains on the others' rows of the class only."""
    test_rows = np.arange(90) % 3 == 0
    data = AnomalyDataset(
        "d", classes.X, classes.target, classes=(1,), test_rows=test_rows
    )
    (split,) = iterate_splits(data, "one-class", 0)
    assert_array_equal(split.test, np.flatnonzero(test_rows))
    assert_array_equal(split.train, np.flatnonzero(~test_rows & (data.target == 1)))


@pytest.mark.parametrize("seed", range(5))
def test_caps_keep_one_row_of_either_kind(seed):
    """At most so many rows, and still something to tell apart."""
    X = np.zeros((1000, 1))
    for n_anomalies in (1, 999):
        target = np.repeat([1, -1], [1000 - n_anomalies, n_anomalies])
        data = AnomalyDataset("d", X, target)
        (split,) = iterate_splits(data, "contaminated", seed, max_train=7, max_test=10)
        assert len(split.train) == 7 and len(split.test) == len(set(split.test)) == 10
        there = (target[np.setdiff1d(np.arange(1000), split.train)] == -1).sum()
        assert not set(split.train) & set(split.test)
        if n_anomalies == 1:
            assert split.anomalous.sum() <= there
    target = np.repeat([1, -1], [999, 1])
    data = AnomalyDataset("d", X, target)
    (split,) = iterate_splits(data, "one-class", seed, max_test=10)
    assert split.anomalous.sum() == 1 and len(split.test) == 10


def test_leaving_a_class_out_needs_classes(small):
    """A table with fixed anomalies gives a failed row, not a silent gap."""
    with pytest.raises(ValueError, match="no classes"):
        next(iterate_splits(small, "leave-one-class-out", 0))
    with pytest.warns(RuntimeWarning, match="no classes"):
        results = compare(
            {"n": Norm()}, small, seeds=[0], protocol="leave-one-class-out"
        )
    assert len(results) == 1 and np.isnan(results["roc_auc"][0])


def test_both_conventions_give_the_same_figures(small):
    """Sign and labels are read right, whatever the convention."""
    detectors = {
        "native": Norm(),
        "opposite": Detector(OppositeNorm(), higher_is="anomaly"),
        "named": NamedNorm(),
        "pipeline": make_pipeline(
            StandardScaler(with_mean=False, with_std=False), Norm()
        ),
    }
    results = compare(detectors, [small], seeds=(0, 1))
    assert list(results.columns) == list(COLUMNS) and len(results) == 8
    assert (results["error"] == "").all()
    for figure in ("roc_auc", "average_precision", "f1", "false_alarms"):
        table = results.pivot(index="seed", columns="detector", values=figure)
        for name in ("opposite", "pipeline"):
            assert_allclose(table["native"], table[name])
    assert results["roc_auc"].min() > 0.6
    named = results[results["detector"] == "named"]
    assert named["f1"].isna().all() and named["roc_auc"].notna().all()


def test_figures_are_right(small):
    """F1 and false alarms agree with a count by hand."""
    results = compare({"n": Norm()}, small, seeds=[0])
    (split,) = iterate_splits(small, "one-class", 0)
    labels = Norm().fit(small.X[split.train]).predict(small.X[split.test])
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


def test_directions_that_are_not_known_are_not_guessed(small):
    """The error shows how to say it; all detectors are checked before any runs."""
    with pytest.raises(ValueError, match="Cannot know whether"):
        Detector(OppositeNorm())
    with pytest.raises(ValueError, match=r"Detector 'density'.*higher_is"):
        compare({"n": Norm(), "density": KernelDensity()}, small)
    with pytest.raises(ValueError, match="higher_is must be"):
        Detector(Norm(), higher_is="up")
    with pytest.raises(ValueError, match="anomaly_label must be"):
        Detector(Norm(), anomaly_label=0)
    with pytest.raises(ValueError, match="Pass an instance"):
        Detector(Norm)
    with pytest.raises(ValueError, match="none of the methods"):
        Detector(StandardScaler(), higher_is="normal")


@pytest.mark.parametrize("labels", [[1, 1], [0, 2]])
def test_unreadable_labels_cost_f1_only(small, labels):
    """All rows labelled 1 could mean either; the ROC AUC stands."""

    class Odd(NamedNorm):
        def predict(self, X):
            return np.resize(labels, len(X))

    with pytest.warns(RuntimeWarning, match="anomaly_label"):
        results = compare({"odd": Odd()}, small, seeds=[0])
    assert results["roc_auc"][0] > 0.6 and np.isnan(results["f1"][0])
    detector = Detector(Odd(), anomaly_label=1)
    if labels == [1, 1]:
        results = compare({"odd": detector}, small, seeds=[0])
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
def test_a_failing_detector_is_a_row_of_nan(small, how):
    """Its error is in the table and in a warning; the others go on."""
    with pytest.warns(RuntimeWarning, match="1 of 2 runs failed"):
        results = compare({"bad": Broken(how), "good": Norm()}, [small], seeds=[0])
    bad, good = results.iloc[0], results.iloc[1]
    assert np.isnan(bad["roc_auc"]) and np.isnan(bad["f1"])
    expected = "RuntimeError: out of luck" if how == "fit" else "not finite"
    assert expected in bad["error"]
    assert good["error"] == "" and good["roc_auc"] > 0.6
    summary = summarize(results)
    assert summary.loc["bad", "n_failed"] == 1
    assert summary["rank_auc"].to_dict() == {"good": 1, "bad": 2}
    assert "-" in format_datasets(results) and "failed" in format_summary(summary)


def test_a_data_set_that_cannot_be_read_is_a_row_of_nan(small):
    """The sets after it are run all the same."""

    def broken():
        raise ValueError("damaged file")

    sets = LazyDatasets({"broken": broken, "small": lambda: small})
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
def test_wrong_arguments_are_refused(small, options, match):
    """Before anything has run."""
    with pytest.raises(ValueError, match=match):
        compare(**({"detectors": {"n": Norm()}, "datasets": small} | options))


def test_processes_change_nothing(small, classes):
    """Two processes give the rows of one, in the same order."""
    detectors = {"forest": IsolationForest(n_estimators=5), "knn": KNNDistance()}
    columns = list(COLUMNS[: COLUMNS.index("fit_seconds")])
    one = compare(detectors, [small, classes], seeds=[0])
    two = compare(detectors, [small, classes], seeds=[0], n_jobs=2)
    assert len(one) == 2 * (1 + 3)
    pd.testing.assert_frame_equal(one[columns], two[columns])


def test_progress_goes_to_standard_error(small, capsys):
    """Silent by default; with verbose a bar that names what runs."""
    compare({"n": Norm()}, small, seeds=[0])
    assert capsys.readouterr() == ("", "")
    compare({"n": Norm()}, small, seeds=[0], verbose=1)
    out, err = capsys.readouterr()
    assert out == "" and "n on small" in err and "1/1" in err


def test_the_summary_ranks_and_averages():
    """Seeds first, then data sets; ties share their rank."""
    results = frame(
        detector=["a", "a", "b", "b", "c", "c"] * 2,
        dataset=["x"] * 6 + ["y"] * 6,
        seed=[0, 1] * 6,
        roc_auc=[0.9, 0.7, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 1.0, 0.8, 0.3, 0.3],
        average_precision=[0.1, 0.1, 0.2, 0.2, 0.3, 0.3] * 2,
        false_alarms=[0.1, 0.3, 0.0, 0.0, 0.0, 0.0, 0.6, 0.6, 0.0, 0.0, 0.0, 0.0],
        fit_seconds=[1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 1.0, 1.0],
    )
    summary = summarize(results)
    assert summary["rank_auc"].to_dict() == {"a": 1.5, "b": 1.75, "c": 2.75}
    assert summary["rank_ap"].to_dict() == {"a": 3, "b": 2, "c": 1}
    assert list(summary.index) == ["a", "b", "c"]
    a = summary.loc["a"]
    assert_allclose(a["roc_auc"], (0.8 + 0.5) / 2)
    assert_allclose(a["seed_spread"], (np.sqrt(2) * 0.1 + 0) / 2)
    assert_allclose([a["false_alarms_median"], a["false_alarms_max"]], [0.4, 0.6])
    assert_allclose(a["fit_seconds"], 3.0)
    assert summary["wins"].to_dict() == {"a": 1, "b": 1, "c": 0}
    assert summary["losses"].to_dict() == {"a": 0, "b": 1, "c": 2}
    assert summary["n_datasets"].tolist() == [2, 2, 2]


def test_every_class_counts_as_a_data_set(classes):
    """A line for each class that takes a turn."""
    results = compare({"n": Norm(), "k": KNNDistance()}, classes, seeds=[0])
    assert summarize(results)["n_datasets"].tolist() == [3, 3]
    lines = format_datasets(results).splitlines()
    assert [line.split("  ")[0] for line in lines[-3:]] == [
        "classes 0",
        "classes 1",
        "classes 2",
    ]


def test_tables_show_wins_and_losses():
    """A star for the best of a line, the lead of the first detector with its sign."""
    results = frame(
        detector=["ours", "other"] * 2,
        dataset=["x", "x", "y", "y"],
        seed=0,
        roc_auc=[0.9, 0.8, 0.7, 0.75],
    )
    text = format_datasets(results)
    assert "0.900*" in text and "+0.100" in text and "-0.050" in text
    widths = {len(line) for line in text.splitlines()[-2:]}
    assert len(widths) == 1
    assert "lead" not in format_datasets(results, "false_alarms")


@pytest.mark.parametrize("figure", ["roc_auc", "average_precision"])
def test_the_picture_shows_every_detector_on_every_data_set(figure):
    """Its axes carry the names; no global figure is left behind."""
    results = frame(
        detector=["a", "b"] * 12,
        dataset=np.repeat([f"d{i}" for i in range(12)], 2),
        seed=0,
        roc_auc=np.linspace(0.5, 1, 24),
    )
    left, right = plot_results(results, figure).axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        f"d{i}" for i in range(12)
    ]
    assert {text.get_text() for text in right.get_yticklabels()} == {"a", "b"}


@parametrize_with_checks([KNNDistance()])
def test_knn_distance_is_an_estimator(estimator, check):
    """The baseline passes scikit-learn's battery."""
    check(estimator)


def test_knn_distance_is_a_mean_distance():
    """By hand on five rows; with few rows it uses those there are."""
    X = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    detector = KNNDistance(n_neighbors=2).fit(X)
    assert_allclose(detector.score_samples([[0.5]]), [-0.5])
    assert_allclose(KNNDistance().fit(X).score_samples([[0.0]]), [-2.5])


def test_baselines_can_be_chosen_by_name():
    """Upper and lower case alike, in the order asked for."""
    chosen = get_detectors(["iforest", "KNN", "lof", "kNN-minmax", "OneClassSVM"])
    assert list(chosen) == ["IForest", "kNN", "LOF", "kNN-minmax", "OneClassSVM"]
    for detector in chosen.values():
        assert Detector(detector).higher_is == "normal"
    with pytest.raises(ValueError, match=r"Unknown.*available here: GANomaly"):
        get_detectors(["nothing"])


def test_pyod_detectors_run_with_their_own_signs(small):
    """Labels and direction of PyOD are known; the seed reaches its networks."""
    pytest.importorskip("pyod")
    detectors = get_detectors(["PyOD-KNN"])
    detector = Detector(detectors["PyOD-KNN"])
    assert (detector.higher_is, detector.anomaly_label) == ("anomaly", 1)
    results = compare(detectors | {"kNN": get_detectors(["kNN"])["kNN"]}, small, [0])
    assert results["roc_auc"].min() > 0.6 and results["false_alarms"].max() < 0.5


def test_a_constructor_that_changes_its_arguments_is_copied():
    """As in PyOD's networks, where clone gives up."""

    class Stubborn(Norm):
        def __init__(self, random_state=None, input_shape=None):
            super().__init__(random_state, input_shape=[input_shape])

    copy = Detector(Stubborn()).prepare(5)
    assert copy.random_state == 5


def test_missing_packages_name_the_extra():
    """The error is the command to type."""
    with pytest.raises(ImportError, match=r"skganomaly\[benchmark\]"):
        import_optional("package_that_is_not_there.part")


def test_the_command_writes_tables_and_a_picture(tmp_path, capsys):
    """On two bundled sets with one quick detector."""
    code = main(
        "--detectors kNN kNN-minmax --datasets wine breast-cancer --seeds 1 --jobs 1 "
        f"--output {tmp_path / 'out'}".split()
    )
    assert code == 0
    out = capsys.readouterr().out
    for text in ("wine 2", "breast-cancer", "kNN", "lead", "seed", "alarms"):
        assert text in out
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(results.columns) == list(COLUMNS) and len(results) == 2 * (3 + 1)
    summary = pd.read_csv(tmp_path / "out" / "summary.csv", index_col="detector")
    assert set(summary.index) == {"kNN", "kNN-minmax"}
    assert (tmp_path / "out" / "results.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_reads_local_files(tmp_path, capsys):
    """A folder of tables in place of the bundled sets; broken ones are reported."""
    X, y = make_anomalies(100, 3, random_state=0)
    np.savez(tmp_path / "good.npz", X=X, y=y == -1)
    np.savez(tmp_path / "bad.npz", X=X, y=np.zeros(100))
    arguments = (
        f"--detectors kNN --data {tmp_path} --seeds 1 --jobs 1 --max-train 20 "
        f"--output {tmp_path}"
    ).split()
    with pytest.warns(RuntimeWarning, match="1 of 2 runs failed"):
        assert main(arguments) == 1
    assert "kNN on bad, seed 0: ValueError" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["n_train"].tolist() == [0, 20]


def test_the_command_reads_what_is_beside_a_broken_file(tmp_path, capsys):
    """A folder or text in the place of a table is named in a warning."""
    X, y = make_anomalies(100, 3, random_state=0)
    np.savez(tmp_path / "good.npz", X=X, y=y == -1)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "text.npz").write_text("X,y")
    arguments = (
        f"--detectors kNN --data {tmp_path} --seeds 1 --jobs 1 --output {tmp_path}"
    ).split()
    with pytest.warns(UserWarning, match=r"Left out.*\.npz") as caught:
        assert main(arguments) == 0
    assert len(caught) == 2
    assert pd.read_csv(tmp_path / "results.csv")["dataset"].tolist() == ["good"]
    with pytest.warns(UserWarning), pytest.raises(SystemExit):
        main(["--localise", "--data", str(tmp_path)])
    assert "needs one set of images" in capsys.readouterr().err


def test_the_command_leaves_out_what_has_no_classes(tmp_path, capsys):
    """And says so; the quick suite then has sets of classes."""
    options = f"--protocol leave-one-class-out --detectors kNN --seeds 1 --jobs 1 \
        --output {tmp_path}".split()
    assert main(options) == 0
    assert "iris 0" in capsys.readouterr().out
    assert main([*options, "--suite", "full"]) == 0
    out = capsys.readouterr().out
    assert "not used: breast-cancer" in out and "digits 9" in out


@pytest.mark.parametrize(
    "arguments",
    ["--detectors nothing", "--datasets nothing", "--data nowhere", "--seeds 0"],
)
def test_the_command_refuses(arguments, capsys):
    """With the usage and one sentence, not a traceback."""
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_command_explains_itself(capsys):
    """Every option has its line in the help."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for option in ("suite", "data", "protocol", "seeds", "detectors", "datasets"):
        assert f"--{option}" in out


def test_an_interrupt_keeps_what_was_done(tmp_path, monkeypatch, capsys):
    """The finished runs are written, and the report says so."""

    class Impatient(KNNDistance):
        def fit(self, X, y=None):
            if X.shape[1] == 4:
                raise KeyboardInterrupt
            return super().fit(X)

    monkeypatch.setattr(
        "skganomaly.benchmark._cli.get_detectors", lambda names: {"k": Impatient()}
    )
    arguments = "--datasets wine iris --seeds 1 --jobs 1 --output".split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([*arguments, str(tmp_path)]) == 1
    assert "Interrupted" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "results.csv")) == 3


def test_the_bundled_sets_can_be_compared_on_as_they_are():
    """A lazy dict goes into compare unchanged."""
    sets = load_bundled().select(["breast-cancer"])
    assert compare({"knn": KNNDistance()}, sets, seeds=[0])["roc_auc"][0] > 0.8


# Data frames.


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
