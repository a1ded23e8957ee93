"""What the figures say: summary, text tables and the picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_FIGURES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "f1": "F1",
    "false_alarms": "false alarms",
}

# Okabe and Ito's colours, told apart with any colour vision; shapes differ as well.
_COLORS = (
    "#D55E00",
    "#0072B2",
    "#CC79A7",
    "#000000",
    "#7F7F7F",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#8A6D3B",
    "#B2A300",
)
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "h")


def summarize(results: DataFrame) -> DataFrame:
    """Reduce the rows of :func:`compare` to one line for each detector.

    Parameters
    ----------
    results : DataFrame
        What :func:`compare` returned, or several of these concatenated.

    Returns
    -------
    summary : DataFrame
        One row for each detector, the best mean rank by ROC AUC first. Figures are
        first averaged over seeds; every class that takes a turn counts as a data set.

        - roc_auc, average_precision, f1: means over data sets;
        - rank_auc, rank_ap: mean rank among the detectors, 1 is best; ties share
          their mean, and where any run of a detector failed it comes last;
        - wins, losses: data sets with the best and with the worst ROC AUC;
        - false_alarms_median, false_alarms_max: share of flagged normal test rows,
          median and worst data set;
        - seed_spread: standard deviation (n - 1 in the denominator) of the ROC AUC over
          seeds, mean over data sets; NaN for a single seed;
        - fit_seconds, score_seconds, score_seconds_per_1000: medians, CPU seconds;
        - n_datasets, n_failed: data sets, and failed runs, which no figure above but
          the ranks takes into account.

    Examples
    --------
    >>> import pandas as pd
    >>> from skganomaly.benchmark import summarize
    >>> names = ["roc_auc", "average_precision", "f1", "false_alarms", "fit_seconds",
    ...          "score_seconds", "score_seconds_per_1000"]
    >>> rows = pd.DataFrame({"detector": ["a", "b"], "dataset": "d", "class": "",
    ...                      "error": ""} | dict.fromkeys(names, [0.5, 0.9]))
    >>> summarize(rows)["rank_auc"].to_dict()
    {'b': 1.0, 'a': 2.0}
    """
    pandas = import_optional("pandas")
    cells = results.assign(task=_tasks(results)).groupby(
        ["detector", "task"], sort=False
    )
    figures = [*_FIGURES, "fit_seconds", "score_seconds", "score_seconds_per_1000"]
    means = cells[figures].mean()
    failed = cells["error"].agg(lambda texts: int((texts != "").sum()))
    spread = cells["roc_auc"].std()

    def by_detector(values):
        return values.groupby("detector", sort=False)

    def table(figure):
        # Detectors as columns; whatever failed anywhere must not rank by the rest.
        return means[figure].where(failed == 0).unstack("detector")

    rank_auc, rank_ap = (
        table(name).rank(axis=1, ascending=False, na_option="bottom")
        for name in ("roc_auc", "average_precision")
    )
    auc = table("roc_auc")
    worst = auc.eq(auc.min(axis=1), axis=0) | auc.isna()
    summary = pandas.DataFrame(
        {
            **{
                name: by_detector(means[name]).mean()
                for name in ("roc_auc", "average_precision", "f1")
            },
            "rank_auc": rank_auc.mean(),
            "rank_ap": rank_ap.mean(),
            "wins": auc.eq(auc.max(axis=1), axis=0).sum(),
            "losses": worst.sum(),
            "false_alarms_median": by_detector(means["false_alarms"]).median(),
            "false_alarms_max": by_detector(means["false_alarms"]).max(),
            "seed_spread": by_detector(spread).mean(),
            **{name: by_detector(means[name]).median() for name in figures[4:]},
            "n_datasets": by_detector(failed).size(),
            "n_failed": by_detector(failed).sum(),
        }
    )
    summary.index.name = "detector"
    return summary.sort_values("rank_auc", kind="stable")


def format_summary(summary: DataFrame) -> str:
    """Write the table of :func:`summarize` as aligned text.

    Parameters
    ----------
    summary : DataFrame
        What :func:`summarize` returned.

    Returns
    -------
    text : str
        The table, one line for each detector.
    """
    header = [
        "detector",
        "ROC AUC",
        "AP",
        "F1",
        "rank AUC",
        "rank AP",
        "wins",
        "losses",
        "alarms median",
        "alarms worst",
        "seed spread",
        "fit s",
        "score s/1000",
        "failed",
    ]
    lines = [
        [
            name,
            _number(row["roc_auc"]),
            _number(row["average_precision"]),
            _number(row["f1"]),
            _number(row["rank_auc"], 2),
            _number(row["rank_ap"], 2),
            str(int(row["wins"])),
            str(int(row["losses"])),
            _number(row["false_alarms_median"]),
            _number(row["false_alarms_max"]),
            _number(row["seed_spread"]),
            _number(row["fit_seconds"], 2),
            _number(row["score_seconds_per_1000"]),
            str(int(row["n_failed"])),
        ]
        for name, row in summary.iterrows()
    ]
    return _align([header, *lines])


def format_datasets(results: DataFrame, figure: str = "roc_auc") -> str:
    """Write one figure for each data set and detector as aligned text.

    Parameters
    ----------
    results : DataFrame
        What :func:`compare` returned.
    figure : str, default="roc_auc"
        The column to show, averaged over seeds: "roc_auc", "average_precision", "f1" or
        "false_alarms".

    Returns
    -------
    text : str
        One line for each data set. Except for false alarms a star marks the best, and
        the last column is the first detector's lead over the best of the others. "-"
        stands where no run succeeded.
    """
    table = _table(results, figure)
    rated = figure != "false_alarms"
    header = ["data set", *table.columns] + (["lead"] if rated else [])
    lines = []
    for task, values in table.iterrows():
        best = values.max()
        cells = [
            _number(value) + ("*" if rated and value == best else " ")
            for value in values
        ]
        if rated:
            lead = values.iloc[0] - values.iloc[1:].max()
            cells.append("-" if np.isnan(lead) else f"{lead:+.3f}")
        lines.append([task, *cells])
    return _align([header, *lines])


def plot_results(
    results: DataFrame,
    figure: Literal["roc_auc", "average_precision", "f1"] = "roc_auc",
) -> Figure:
    """Draw one figure of every detector on every data set, and the mean ranks.

    Parameters
    ----------
    results : DataFrame
        What :func:`compare` returned.
    figure : {"roc_auc", "average_precision", "f1"}, default="roc_auc"
        What to draw, averaged over seeds.

    Returns
    -------
    picture : matplotlib.figure.Figure
        Left a line of dots for each data set, a thin bar spanning the seeds; right the
        mean ranks, best first, which serve as the legend. Save it with `savefig`.
    """
    figures = import_optional("matplotlib.figure")
    table = _table(results, figure)
    failed = _table(results.assign(error=(results["error"] != "") * 1.0), "error") > 0
    ranks = table.mask(failed).rank(axis=1, ascending=False, na_option="bottom").mean()
    # Best rank first, also within a line, so that dots and legend run alike.
    ranks = ranks.sort_values(kind="stable")
    styles = {
        name: (_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(table.columns)
    }
    n_tasks, n_detectors = table.shape
    # A lane for each detector keeps equal figures from hiding one another.
    lane_height = 0.11 if n_tasks <= 10 else 0.075
    height = max(n_tasks * max(lane_height * n_detectors, 0.3), 0.3 * n_detectors)
    picture = figures.Figure(figsize=(10.5, 1.2 + height), layout="constrained")
    left, right = picture.subplots(1, 2, width_ratios=[2.6, 1])
    cells = results.assign(task=_tasks(results)).groupby(["detector", "task"])[figure]
    low, high = cells.min(), cells.max()
    lanes = (np.arange(n_detectors) - (n_detectors - 1) / 2) * 0.84 / n_detectors
    positions = np.arange(n_tasks)
    for lane, name in zip(lanes, ranks.index, strict=True):
        color, marker = styles[name]
        keys = [(name, task) for task in table.index]
        y = positions + lane
        left.hlines(y, low.reindex(keys), high.reindex(keys), color=color, lw=1)
        left.plot(table[name], y, marker, color=color, ms=5, mec="white", mew=0.4)
    for boundary in positions[1:]:
        left.axhline(boundary - 0.5, color="0.85", lw=0.8, zorder=0)
    left.set_yticks(positions, table.index)
    left.set_ylim(n_tasks - 0.5, -0.5)
    left.grid(axis="x", color="0.9", lw=0.8)
    n_seeds = results["seed"].nunique()
    left.set_title(
        f"{_FIGURES[figure]}, {', '.join(results['protocol'].unique())} protocol, "
        + (f"mean and range over {n_seeds} seeds" if n_seeds > 1 else "one seed"),
        fontsize=10,
    )
    # Read off at either end of a tall picture.
    left.tick_params(labeltop=n_tasks > 10)
    for position, (name, rank) in enumerate(ranks.items()):
        color, marker = styles[name]
        right.hlines(position, 1, rank, color=color, lw=1)
        right.plot(rank, position, marker, color=color, ms=8, mec="white", mew=0.5)
        right.annotate(
            f"{rank:.1f}",
            (rank, position),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    right.set_yticks(range(n_detectors), ranks.index)
    # At most 0.6 inches apart: beside many data sets the legend stays at the top.
    right.set_ylim(max(n_detectors, height / 0.6) - 0.5, -0.5)
    right.set_xlim(0.9, max(2.0, ranks.max()) * 1.15)
    right.set_xticks([])
    right.set_title("mean rank, 1 is best", fontsize=10)
    for axes in (left, right):
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    right.spines["bottom"].set_visible(False)
    return picture


def show(text=""):
    """Print a piece of the command's report; the only place that prints."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _tasks(results):
    """Name what counts as a data set: its name, and the class whose turn it is."""
    names, turns = results["dataset"].astype(str), results["class"].astype(str)
    return (names + " " + turns).str.strip()


def _table(results, figure):
    """Return seed means with data sets as rows and detectors as columns."""
    cells = results.assign(task=_tasks(results)).groupby(
        ["task", "detector"], sort=False
    )
    table = cells[figure].mean().unstack("detector")
    return table.reindex(columns=results["detector"].unique())


def _number(value, digits=3):
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _align(lines):
    """Lay out cells in columns; the header's words share a column's width."""
    header, body = lines[0], lines[1:]
    split = [title.replace("-", "- ").split() for title in header]
    depth = max(len(words) for words in split)
    # Titles end on the line above the figures.
    titles = [[""] * (depth - len(words)) + words for words in split]
    rows = [list(words) for words in zip(*titles, strict=True)] + body
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    text = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)][1:]
        text.append("  ".join([first, *rest]).rstrip())
    text.insert(depth, "-" * max(len(line) for line in text))
    return "\n".join(text)
