"""Graphs: onnxruntime says of rows what the detector says."""

import json
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP
from skganomaly.export import register_converters, to_onnx
from skganomaly.images import ImageDetector
from skganomaly.pipelines import through
from skganomaly.scores import LocalScore, WeightedScore
from skganomaly.searches import EncoderSearch, NearestSearch
from skganomaly.thresholds import p_values
from skganomaly.timeseries import TimeSeriesDetector

for package in ("onnx", "onnxscript", "skl2onnx"):
    pytest.importorskip(package, reason=f"{package} is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
import skl2onnx  # noqa: E402

DETECTORS = [GANomalyDetector, AnoGANDetector, AutoencoderDetector]


def session_of(graph):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


def run(session, rows, size=100):
    """Labels, scores and p-values, by blocks, the last of another size."""
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    found = [session.run(None, feed(block)) for block in blocks]
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def feed(rows):
    if not hasattr(rows, "columns"):
        return {"X": rows}
    numbers = rows.select_dtypes("number").columns
    return {
        name: rows[[name]].to_numpy(float if name in numbers else object)
        for name in rows
    }


def assert_says_what(graph, detector, rows):
    """Scores are equal up to rounding, and labels and p-values follow from them."""
    labels, scores, values = run(session_of(graph), rows)
    expected = detector.anomaly_score(rows)
    # Of the logarithms that "local" is made of, the error is relative to 1.
    assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(expected)) > len(rows) / 2
    assert_array_equal(labels, detector.predict(rows))
    assert set(labels) == {-1, 1}
    assert_array_equal(values, p_values(detector.reference_scores_, scores))


def near(X, seed=1):
    """Rows of which none is one of ``X``, some like these and some far out."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=X.shape) * X.std()
    return X + noise * np.resize([0.02, 0.02, 2], len(X)).reshape(
        -1, *[1] * noise[0].ndim
    )


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(3).normal(size=(60, 2, 16)).cumsum(axis=2)


def cases():
    """Every score of every detector, on a table, images and windows."""
    for cls in DETECTORS:
        for kind in ("table", "images", "windows"):
            for word in cls()._score_words():
                quick = (cls, kind, word) in {
                    (GANomalyDetector, "table", "local"),
                    (AnoGANDetector, "images", "published"),
                }
                marks = () if quick else pytest.mark.slow
                yield pytest.param(cls, kind, word, marks=marks)


@pytest.mark.parametrize(("cls", "kind", "word"), list(cases()))
def test_a_graph_says_what_the_detector_says(small, request, cls, kind, word):
    """Whatever is scored, and by whichever score."""
    X = request.getfixturevalue(kind)
    shape = {"input_shape": (2, 16)} if kind == "windows" else {}
    detector = small(cls, conv=kind != "table", score_type=word, n_members=2, **shape)
    detector.set_params(false_alarm_rate=0.2).fit(X)
    assert_says_what(to_onnx(detector), detector, near(X))


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"score_type": LocalScore(exponent=1.0, row_weight=0)},
        {"score_type": WeightedScore({"reconstruction": 0.9, "latent": 0.1})},
        {"validation_fraction": 0.3, "threshold": "conformal"},
        {"scaler": "standard"},
        {"scaler": None},
    ],
    ids=repr,
)
def test_other_parameters(small, table, params):
    detector = small(**params, false_alarm_rate=0.2).fit(table)
    assert_says_what(to_onnx(detector), detector, near(table))


@pytest.mark.slow
def test_a_search_that_only_chooses(small, table):
    """The nearest of random codes, with no step of descent."""
    search = NearestSearch(n_candidates=20, n_steps=0)
    detector = small(AnoGANDetector, search=search, false_alarm_rate=0.2).fit(table)
    assert_says_what(to_onnx(detector), detector, near(table))


@pytest.fixture(scope="module")
def served():
    """A detector that was fitted to a frame, and its graph."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    architecture = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))
    detector = AutoencoderDetector(
        architecture=architecture, max_steps=10, random_state=0
    ).fit(X)
    return detector, to_onnx(detector, X), X


def test_metadata(served):
    """What is served says what it is."""
    detector, graph, _ = served
    found = session_of(graph).get_modelmeta().custom_metadata_map
    versions = json.loads(found.pop("versions"))
    assert versions["skganomaly"] == skganomaly.__version__
    assert versions.keys() == {"skganomaly", "scikit-learn", "torch", "skl2onnx"}
    assert float(found.pop("threshold")) == detector.threshold_
    assert json.loads(found.pop("feature_names")) == ["a", "b", "c"]
    assert found == {
        "detector": "AutoencoderDetector",
        "false_alarm_rate": "0.05",
        "input_shape": "[3]",
    }


def test_a_frame_has_an_input_for_each_column(served):
    detector, graph, X = served
    inputs = session_of(graph).get_inputs()
    assert [i.name for i in inputs] == ["a", "b", "c"]
    rows = X + 0.5
    _, scores, _ = run(session_of(graph), rows)
    assert_allclose(scores, detector.anomaly_score(rows), rtol=1e-5, atol=1e-5)


def test_rows_that_are_no_numbers_are_anomalies(served):
    """The detector refuses them, and a graph cannot; others are left alone."""
    _, graph, X = served
    rows = X[:4].copy()
    _, alone, _ = run(session_of(graph), rows[3:])
    rows.iloc[0, 0], rows.iloc[1, 1], rows.iloc[2, 2] = np.nan, np.inf, -np.inf
    labels, scores, values = run(session_of(graph), rows)
    assert_array_equal(labels[:3], -1)
    assert np.isnan(scores[:3]).all() and np.isnan(values[:3]).all()
    assert_allclose(scores[3], alone, rtol=1e-5)


def test_every_row_is_new_to_a_graph(served):
    """A reference row meets itself, where the detector leaves it out."""
    detector, graph, X = served
    _, scores, _ = run(session_of(graph), X)
    assert (scores < detector.anomaly_score(X)).all()


@pytest.mark.parametrize(
    "dtype", [np.uint8, pytest.param(np.float32, marks=pytest.mark.slow)]
)
def test_inputs_have_the_type_of_the_rows(small, dtype):
    """Bytes of images go in as they are, without an axis of channels as well."""
    images = np.random.default_rng(0).integers(0, 200, size=(60, 6, 6)).astype(dtype)
    detector = small(conv=True, score_type="reconstruction").fit(images)
    session = session_of(to_onnx(detector, images))
    new = np.random.default_rng(1).integers(0, 250, size=(7, 6, 6)).astype(dtype)
    _, scores, _ = session.run(None, {"X": new})
    assert_allclose(scores, detector.anomaly_score(new), rtol=1e-5)
    assert_allclose(session.run(None, {"X": new[:1]})[1], scores[:1], rtol=1e-5)


# Pipelines.


def frame(n_rows, seed):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(5, 5))
    # A large offset, which single precision would not bear.
    numbers = rng.normal(size=(n_rows, 5)) @ mixing * [1, 10, 100, 1, 9] + [
        0,
        5,
        1e7,
        0,
        0,
    ]
    X = pd.DataFrame(numbers, columns=list("abcde"))
    # An integer comes first, and is not what the others are to become.
    X.insert(0, "n", rng.integers(0, 4, size=n_rows))
    X["city"] = rng.choice(["Rome", "Oslo", "Bern", "Graz"][: 3 + seed], size=n_rows)
    X.loc[rng.uniform(size=n_rows) < 0.1, "b"] = np.nan
    return X


def prepared():
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    return make_column_transformer((numeric, ["n", *"abcde"]), (encoder, ["n", "city"]))


@pytest.fixture(scope="module")
def pipeline():
    detector = GANomalyDetector(
        n_members=1, max_steps=50, false_alarm_rate=0.1, random_state=0
    )
    return make_pipeline(prepared(), detector).fit(frame(1000, seed=0))


@pytest.fixture(scope="module")
def graph(pipeline):
    return to_onnx(pipeline, frame(1000, seed=0))


def test_a_whole_pipeline(pipeline, graph):
    """Missing values, text that was not seen, and equal labels on 10,000 rows."""
    X = frame(10_000, seed=1)
    labels, scores, values = run(session_of(graph), X, size=500)
    assert_allclose(scores, -pipeline.score_samples(X), rtol=1e-5, atol=1e-5)
    assert_array_equal(labels, pipeline.predict(X))
    assert 100 < np.sum(labels == -1) < 9900
    assert_array_equal(values, p_values(pipeline[-1].reference_scores_, scores))


@pytest.mark.slow
def test_skl2onnx_knows_detectors(small, table):
    """Who calls it need not call us but once; those of users' are known as well."""

    class Own(AutoencoderDetector):
        pass

    register_converters()
    detector = small(Own, score_type="joint").fit(table)
    graph = skl2onnx.to_onnx(make_pipeline(detector), table[:1].astype(np.float32))
    rows = near(table).astype(np.float32)
    _, scores, _ = run(session_of(graph), rows)
    assert_allclose(scores, detector.anomaly_score(rows), rtol=1e-5)


@pytest.mark.slow
def test_searches_and_frozen_pipelines(small, table):
    pipeline = make_pipeline(StandardScaler(), small(score_type="joint", n_members=1))
    search = GridSearchCV(
        pipeline,
        {"ganomalydetector__max_steps": [3]},
        cv=2,
        scoring=lambda estimator, X, y=None: 0.0,
    ).fit(table)
    rows = near(table)
    _, scores, _ = run(session_of(to_onnx(FrozenEstimator(search), table)), rows)
    assert_allclose(scores, -search.score_samples(rows), rtol=1e-5)


@pytest.mark.slow
def test_a_single_row_takes_two_milliseconds():
    """On one thread, for the default detector of 10,000 rows of 30 columns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 30)) @ rng.normal(size=(30, 30))
    session = session_of(to_onnx(GANomalyDetector(random_state=0).fit(X)))
    times = []
    for row in near(X[:500])[:, np.newaxis]:
        start = time.process_time()
        session.run(None, {"X": row})
        times.append(time.process_time() - start)
    assert np.median(times) < 2e-3


# Networks of users.


class Gated(nn.Module):
    """No sequence of plain layers, so members are called in turn."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return torch.tanh(self.network(x)) * self.network(-x)


class Branching(Gated):
    def forward(self, x):
        return self.network(x) if x.sum() > 0 else self.network(-x)


class OwnNetworks(MLP):
    layer = Gated

    def encoder(self, input_shape, latent_dim):
        return self.layer(super().encoder(input_shape, latent_dim))


class BranchingNetworks(OwnNetworks):
    layer = Branching


@pytest.mark.slow
def test_networks_of_users(small, table):
    detector = small(architecture=OwnNetworks(), n_members=2, false_alarm_rate=0.2)
    detector.fit(table)
    assert_says_what(to_onnx(detector), detector, near(table))


# What is refused.


def test_networks_that_no_graph_can_hold(small, table):
    detector = small(architecture=BranchingNetworks()).fit(table)
    with pytest.raises(ValueError, match="without branches by values") as error:
        to_onnx(detector)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    "search", ["gradient", "nearest", EncoderSearch(encoder_steps=2, n_steps=1)]
)
def test_steps_of_a_search(small, table, search):
    detector = small(AnoGANDetector, search=search, score_type="published", max_steps=2)
    detector.fit(table)
    with pytest.raises(ValueError, match=r"gradient descent.*search='encoder'"):
        to_onnx(detector)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (IsolationForest(), "tables, images and windows.*; got IsolationForest"),
        (make_pipeline(StandardScaler(), PCA()), "got PCA"),
        (ImageDetector(), "got ImageDetector"),
    ],
    ids=repr,
)
def test_what_is_no_detector_of_rows(model, words):
    with pytest.raises(TypeError, match=words):
        to_onnx(model)


@pytest.mark.slow
def test_series():
    """There is a graph of what is inside."""
    series = np.random.default_rng(0).normal(size=(400, 2))
    inside = AutoencoderDetector(n_members=1, max_steps=2, random_state=0)
    detector = TimeSeriesDetector(inside, window_length=32).fit(series)
    with pytest.raises(TypeError, match="Convert its detector_"):
        to_onnx(detector)
    to_onnx(detector.detector_)


def test_a_view_of_a_pipeline(small, table):
    """Its detector alone would be without the steps."""
    view = through(make_pipeline(StandardScaler(), small()).fit(table))
    with pytest.raises(TypeError, match=r"got ThroughPipeline\. Convert its estimator"):
        to_onnx(view)


@pytest.mark.parametrize(
    "model", [GANomalyDetector(), make_pipeline(PCA(), GANomalyDetector())]
)
def test_unfitted(model, table):
    with pytest.raises(NotFittedError):
        to_onnx(model, table)


def test_rows_that_are_missing_or_wrong(pipeline, served):
    with pytest.raises(ValueError, match="pass some rows as X"):
        to_onnx(pipeline)
    detector, _, X = served
    with pytest.raises(ValueError, match="feature names should match"):
        to_onnx(detector, X[["a", "b"]])


@pytest.mark.slow
def test_old_operators(served):
    detector, _, _ = served
    with pytest.raises(ValueError, match=r"target_opset=17 is too old.*from 18 on"):
        to_onnx(detector, target_opset=17)
    opset = to_onnx(detector, target_opset=18).opset_import[0]
    assert (opset.domain, opset.version) == ("", 18)


def test_steps_that_skl2onnx_converts_to_something_else(small, monkeypatch):
    """It leaves out the columns of an indicator, for one."""
    X = frame(60, seed=0)
    indicate = make_column_transformer((SimpleImputer(add_indicator=True), ["a", "b"]))
    pipeline = make_pipeline(indicate, small()).fit(X)
    with pytest.raises(ValueError, match="Transformer, GANomalyDetector does not"):
        to_onnx(pipeline, X)
    pipeline = make_pipeline(SimpleImputer(), small()).fit(X[["a", "b"]])
    # What is converted is not what transforms.
    fill = SimpleImputer.transform
    monkeypatch.setattr(SimpleImputer, "transform", lambda self, X: fill(self, X) + 9)
    with pytest.raises(ValueError, match="is not what they do: it gives row 0"):
        to_onnx(pipeline, X[["a", "b"]])


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript", "skl2onnx"])
def test_packages_that_are_missing(served, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (register_converters, lambda: to_onnx(served[0])):
        with pytest.raises(ImportError, match=f'{package} is not.*extra "onnx"'):
            call()


# The page.


def test_serving_needs_onnxruntime_alone(pipeline, graph, tmp_path):
    """The page's server answers where nothing else can be imported."""
    page = Path(__file__).parents[1] / "docs" / "onnx.rst"
    block = re.search(
        r"   :caption: serve\.py\n\n((?:   .*\n|\n)+)", page.read_text(encoding="utf-8")
    )[1]
    (tmp_path / "serve.py").write_text(textwrap.dedent(block))
    (tmp_path / "detector.onnx").write_bytes(graph.SerializeToString())
    X = frame(20, seed=1)
    blocked = "skganomaly", "torch", "sklearn", "skl2onnx", "onnx", "scipy", "pandas"
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "sys.path.insert(0, '.')\n"
        "import serve\nprint(serve.answer(sys.stdin.read()))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code],
        input=X.to_json(orient="records"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    assert [each["anomaly"] for each in answers] == (pipeline.predict(X) < 0).tolist()
    scores = [each["score"] for each in answers]
    assert_allclose(scores, -pipeline.score_samples(X), rtol=1e-5, atol=1e-5)
