"""Sums, tables and the picture of a comparison."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skganomaly.benchmark import (
    KNNDistance,
    compare,
    format_datasets,
    plot_results,
    summarize,
)
from skganomaly.benchmark._compare import COLUMNS


def frame(**columns):
    """Return results with the given columns and plausible others."""
    base = dict.fromkeys(COLUMNS, 0.0) | {
        "class": "",
        "protocol": "one-class",
        "error": "",
    }
    return pd.DataFrame(base | columns)


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
    results = compare({"n": KNNDistance(1), "k": KNNDistance()}, classes, seeds=[0])
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
