"""The command that measures detectors of windows on generated metrics."""

import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest

from skganomaly.benchmark import KNNDistance, _series
from skganomaly.benchmark._cli import main


@pytest.fixture
def short(monkeypatch, small):
    """Short series and windows, and detectors that are soon fitted."""
    sizes = {"_N_TRAIN": 400, "_N_NEW": 900, "_PERIOD": 20, "_WINDOW": 10}
    for name, value in sizes.items():
        monkeypatch.setattr(_series, name, value)
    monkeypatch.setattr(
        _series,
        "_detectors",
        lambda n_metrics, seed: {
            "GANomaly, table": small(n_members=1),
            "5 nearest windows": KNNDistance(),
            "isolation forest": IsolationForest(n_estimators=5, random_state=seed),
        },
    )
    monkeypatch.setattr(
        _series, "GANomalyDetector", lambda random_state: small(n_members=1)
    )


@pytest.mark.parametrize("n_metrics", [1, 2])
def test_detection(short, n_metrics):
    """Neighbours find anomalies, and the share flagged is of a series without any."""
    rows = pd.DataFrame(_series.measure_detection([0, 1], n_metrics=n_metrics))
    assert len(rows) == 2 * 4
    found = rows.groupby("detector").mean()
    assert found.loc["5 nearest windows", "ROC AUC"] > 0.8
    assert found.loc["distance to the mean season", "spikes"] > 0.8
    shares = rows[["ROC AUC", "AP", "normal flagged", "events", "spikes"]]
    assert shares.min(axis=None) >= 0
    assert shares.max(axis=None) <= 1
    assert found["normal flagged"].max() < 0.2


def test_windows(short, monkeypatch):
    """Each length with each aggregation, on the same series."""
    monkeypatch.setattr(
        _series, "_two_detectors", lambda seed: {"neighbours": KNNDistance()}
    )
    rows = list(_series.measure_windows([0], lengths=(5, 10)))
    kinds = [(r["detector"], r["window_length"], r["aggregation"]) for r in rows]
    assert len(set(kinds)) == len(kinds) == 8
    assert len({row["ROC AUC"] for row in rows}) > 1


def test_aggregation(short, monkeypatch):
    """Each kind of series with each aggregation; only one kind has spikes alone."""
    monkeypatch.setattr(
        _series, "_two_detectors", lambda seed: {"neighbours": KNNDistance()}
    )
    rows = pd.DataFrame(_series.measure_aggregation([0]))
    assert rows.groupby("series").size().to_dict() == dict.fromkeys(
        ["spike", "level_shift", "seasonality", "bursts", "drift"], 4
    )
    assert rows.loc[rows["series"] == "level_shift", "spikes"].isna().all()
    assert rows.loc[rows["series"] == "spike", "spikes"].notna().all()
    assert rows.groupby("series")["ROC AUC"].max().min() > 0.7


def test_drift(short):
    """A fixed threshold does not keep its promise, one that follows does."""
    rows = pd.DataFrame(_series.measure_drift(range(3)))
    shares = rows.set_index("threshold")["flagged"]
    assert shares["adaptive, step=0.2"].between(0.03, 0.08).all()
    neighbours = rows["detector"] == "5 nearest windows"
    shares = rows[neighbours].set_index("threshold")["flagged"]
    assert shares["adaptive"].between(0.03, 0.08).all()
    far = (shares - 0.05).abs()
    assert far["fixed"].mean() > 3 * far["adaptive"].mean()


@pytest.mark.slow
def test_promise(short):
    """Thresholds of windows that do not overlap flag far too many, blocks do not."""
    rows = pd.DataFrame(_series.measure_promise([0, 1, 2]))
    assert rows["flagged"].between(0, 1).all()
    mean = rows.groupby(["detector", "threshold"])["flagged"].mean()
    neighbours = mean["5 nearest windows"]
    assert neighbours["the detector's, no two windows"] > 0.3
    assert neighbours['blocks in turn, "last"'] < 0.15


@pytest.mark.slow
def test_command(short, monkeypatch, capsys):
    """All tables are shown, with their numbers of seeds."""
    measure = _series.measure_windows
    monkeypatch.setattr(
        _series, "measure_windows", lambda seeds: measure(seeds, lengths=(5,))
    )
    for name in ("measure_drift", "measure_promise"):
        whole = getattr(_series, name)
        monkeypatch.setattr(
            _series, name, lambda seeds, whole=whole: whole([*seeds][:1])
        )
    kinds = _series._kinds_of_series
    monkeypatch.setattr(
        _series, "_kinds_of_series", lambda seed: {"drift": kinds(seed)["drift"]}
    )
    monkeypatch.setattr(
        _series, "_two_detectors", lambda seed: {"5 nearest windows": KNNDistance()}
    )
    assert main(["series", "--seeds", "1"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "Metrics: 1; median of 1 seeds",
        "ROC AUC",
        "10 seeds",
        "blocks in",
        "Steps of drifting series",
    ):
        assert words in shown
    assert shown.count("5 nearest windows") > 2
