"""The measurements that pages of the documentation quote."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

import skganomaly
from skganomaly import GANomalyDetector
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import AnomalyDataset, make_anomalies
from skganomaly.model_selection import pseudo_anomaly_roc_auc

DOCS = Path(skganomaly.__file__).parents[1] / "docs"
COMMANDS = sorted(DOCS.glob("measurements/*.py"))


def _load(name):
    """Import one of them from its file, as they are in no package."""
    path = DOCS / "measurements" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


criterion = _load("criterion")


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_page_quotes_every_measurement(path):
    """With the command as it is to be typed, which its file repeats."""
    command = f"python docs/measurements/{path.name}"
    pages = [
        " ".join(p.read_text(encoding="utf-8").split()) for p in DOCS.glob("*.rst")
    ]
    assert any(command in page for page in pages)
    assert command in _load(path.stem).__doc__


def test_a_search_in_a_batch_costs_less():
    """Each quantity of the table on the page, for few steps of the search."""
    search = _load("search")
    X = np.random.default_rng(0).normal(size=(256, 3))
    figures = search.measure(X, n_steps=2, n_repeats=1)
    assert figures["alone / batch"] > 1
    assert figures["encoder_us"] < 200 * figures["batch_us"]


@pytest.fixture
def few_recipes(monkeypatch, small):
    """Settings that are soon trained, in place of those of the command."""

    def recipes(seed):
        shared = {"n_members": 1, "random_state": seed}
        return {
            "latent": small(score_type="latent", **shared),
            "latent, narrow": small(score_type="latent", latent_dim=1, **shared),
            "latent, 1 step": small(score_type="latent", max_steps=1, **shared),
        }

    monkeypatch.setattr(criterion, "recipes", recipes)
    return recipes(3)


def test_figures_are_what_they_are_called(few_recipes):
    """Truth is on rows that no criterion sees; criteria are means over folds."""
    data = AnomalyDataset("made", *make_anomalies(160, 3, random_state=0))
    figures = criterion.measure({"made": data}, [3])
    assert figures["recipe"].tolist() == list(few_recipes)
    split = next(iterate_splits(data, "one-class", 3, max_train=1000, max_test=2000))
    X, test = data.X[split.train], data.X[split.test]
    scores = clone(few_recipes["latent"]).fit(X).anomaly_score(test)
    # Half of the 16 anomalies are kept for the criteria with labels.
    normal = scores[~split.anomalous]
    bounds = [
        np.mean([np.mean(score > normal) for score in chosen])
        for chosen in (
            np.sort(scores[split.anomalous])[:8],
            np.sort(scores[split.anomalous])[8:],
        )
    ]
    assert bounds[0] - 1e-9 <= figures["roc_auc"][0] <= bounds[1] + 1e-9
    by_hand = []
    for train, held_out in KFold(3, shuffle=True, random_state=3).split(X):
        detector = clone(few_recipes["latent"]).fit(X[train])
        by_hand.append(
            (
                pseudo_anomaly_roc_auc(detector, X[held_out]),
                detector.score_samples(X[held_out]).mean(),
            )
        )
    found = figures.loc[0, ["swapped columns", "mean score"]].to_numpy(float)
    assert_allclose(found, np.mean(by_hand, axis=0))
    labels = figures.filter(like="labels")
    assert labels.shape == (3, 30)
    assert ((labels >= 0) & (labels <= 1)).all(axis=None)
    # With 8 anomalies 10 labels are all of them in any order, 5 are not.
    assert labels.filter(like="10 labels").iloc[0].nunique() == 1
    assert labels.filter(like="5 labels").filter(regex="^5").iloc[0].nunique() > 1


def test_uniform_rows_are_told_apart(small):
    """A detector that knows the rows rates uniform ones worse."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1)) + 0.05 * rng.normal(size=(200, 3))
    detector = GANomalyDetector(n_members=1, max_steps=20, random_state=0).fit(X[:100])
    figures = criterion.rate(detector, X[100:], X[:20] * [1, -1, 1])
    assert figures["uniform rows"] > 0.9
    assert figures["5 labels #0"] > 0.9
    scores = detector.anomaly_score(np.vstack([X[100:], X[:20] * [1, -1, 1]]))
    whole = roc_auc_score(np.arange(120) >= 100, scores)
    assert_allclose(
        np.mean([figures[f"20 labels #{draw}"] for draw in range(10)]), whole
    )


def _figures():
    """Two tables, four recipes, and criteria whose worth is known."""
    truth = np.array([0.8, 0.9, 0.6, 0.7])
    frames = []
    for name, shift in (("a", 0.0), ("b", 0.05)):
        frames.append(
            pd.DataFrame(
                {
                    "dataset": name,
                    "seed": 0,
                    "recipe": ["local", "joint", "joint, x", "joint, y"],
                    "roc_auc": truth + shift,
                    "good": truth,
                    "bad": -truth,
                    "constant": 1.0,
                    "5 labels #0": truth,
                    "5 labels #1": -truth,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_summary_of_known_criteria():
    """A perfect criterion has no regret, an inverted one the largest."""
    summary = criterion.summarize(_figures())
    mean = summary.groupby("criterion").mean(numeric_only=True)
    expected = {
        # spearman, within, chosen (0.025 is half the shift), regret, gain
        "good": (1, 1, 0.925, 0, 0.1),
        "bad": (-1, -1, 0.625, 0.3, -0.2),
        "constant": (0, 0, 0.775, 0.15, -0.05),
        "5 labels": (0, 0, 0.775, 0.15, -0.05),
        "the default": (np.nan, np.nan, 0.825, 0.1, 0),
        "random": (np.nan, np.nan, 0.775, 0.15, -0.05),
        "best": (np.nan, np.nan, 0.925, 0, 0.1),
    }
    assert set(mean.index) == set(expected)
    columns = ["spearman", "within", "chosen", "regret", "gain"]
    for name, values in expected.items():
        assert_allclose(mean.loc[name, columns], values, atol=1e-12)


def test_the_text_has_every_table_and_criterion():
    """And the figures of the summary."""
    figures = _figures().rename(columns={"good": "swapped columns"})
    text = criterion.tables(criterion.summarize(figures))
    assert "0.950" in text and "0.925" in text
    lines = [line.split() for line in text.splitlines() if line]
    assert ["a", "0.800", "0.750", "0.900", "0.900", "1.000"] in lines
    for name in ("bad", "constant", "random", "best"):
        assert sum(name == line[0] for line in lines) == 2


def test_the_command_measures_tables_only(few_recipes, tmp_path, monkeypatch, capsys):
    """Images are left out, so is what cannot be read, and raw figures are written."""
    monkeypatch.chdir(tmp_path)
    X, y = make_anomalies(100, 3, random_state=0)
    images = {f"X_{part}": np.zeros((2, 4, 4)) for part in ("train", "test")}
    np.savez("mnist.npz", **images, y_train=[0, 1], y_test=[0, 1])
    np.savez("bad.npz", X=X, y=np.zeros(100))
    assert "no table" in criterion.main(["--data", "."])
    np.savez("good.npz", X=X, y=y == -1)
    assert criterion.main(["--data", ".", "--seeds", "2"]) is None
    shown = capsys.readouterr().out
    assert "swapped columns" in shown
    assert "Left out: y in file 'bad.npz'" in shown
    written = pd.read_csv("criterion.csv")
    assert written["dataset"].tolist() == ["good"] * 6
    assert written["seed"].tolist() == [0] * 3 + [1] * 3


def test_recipes_differ_and_begin_with_the_default():
    """The first is the detector's default but for one network."""
    recipes = criterion.recipes(5)
    first = next(iter(recipes.values()))
    changed = {"n_members": 1, "random_state": 5, "score_type": "local"}
    assert first.get_params() == GANomalyDetector(**changed).get_params()
    assert len({repr(recipe) for recipe in recipes.values()}) == len(recipes) >= 8
