"""The command that measures criteria without labels."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

from skganomaly import GANomalyDetector
from skganomaly.benchmark import _criterion
from skganomaly.benchmark._cli import main
from skganomaly.benchmark._criterion import (
    format_criteria,
    measure_criteria,
    summarize_criteria,
)
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import AnomalyDataset, make_anomalies
from skganomaly.model_selection import pseudo_anomaly_roc_auc


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

    monkeypatch.setattr(_criterion, "_recipes", recipes)
    return recipes(3)


def test_figures_are_what_they_are_called(few_recipes):
    """Truth is on rows that no criterion sees; criteria are means over folds."""
    data = AnomalyDataset("made", *make_anomalies(160, 3, random_state=0))
    figures = measure_criteria({"made": data}, [3])
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
    figures = _criterion._criteria(detector, X[100:], X[:20] * [1, -1, 1])
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
    summary = summarize_criteria(_figures())
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
    text = format_criteria(summarize_criteria(figures))
    assert "0.950" in text and "0.925" in text
    lines = [line.split() for line in text.splitlines() if line]
    assert ["a", "0.800", "0.750", "0.900", "0.900", "1.000"] in lines
    for name in ("bad", "constant", "random", "best"):
        assert sum(name == line[0] for line in lines) == 2


def test_the_command_measures_tables_only(few_recipes, tmp_path, capsys):
    """Images are left out; raw figures are written."""
    arguments = f"--criterion --datasets wine digits-8 --output {tmp_path}".split()
    assert main(arguments) == 0
    assert "swapped columns" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "criterion.csv")
    assert written["dataset"].tolist() == ["wine"] * 3


def test_the_command_leaves_out_what_cannot_be_read(few_recipes, tmp_path, capsys):
    """One broken table does not end it, and is named."""
    X, y = make_anomalies(100, 3, random_state=0)
    np.savez(tmp_path / "bad.npz", X=X, y=np.zeros(100))
    arguments = f"--criterion --data {tmp_path} --output {tmp_path}".split()
    assert main(arguments) == 1
    np.savez(tmp_path / "good.npz", X=X, y=y == -1)
    assert main(arguments) == 0
    assert f"Left out: y in file '{tmp_path / 'bad.npz'}'" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "criterion.csv")
    assert set(written["dataset"]) == {"good"}


def test_the_command_refuses_other_protocols(capsys):
    """What it measures is defined for one."""
    with pytest.raises(SystemExit):
        main("--criterion --protocol contaminated".split())
    assert "one-class" in capsys.readouterr().err


def test_recipes_differ_and_begin_with_the_default():
    """The first is the detector's default but for one network."""
    recipes = _criterion._recipes(5)
    first = next(iter(recipes.values()))
    changed = {"n_members": 1, "random_state": 5, "score_type": "local"}
    assert first.get_params() == GANomalyDetector(**changed).get_params()
    assert len({repr(recipe) for recipe in recipes.values()}) == len(recipes) >= 8
