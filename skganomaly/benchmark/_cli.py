"""The command ``python -m skganomaly.benchmark``."""

import argparse
import time
from pathlib import Path

import joblib

from ..datasets import AnomalyDataset, LazyDatasets, load_benchmark_data, load_bundled
from ._compare import (
    COLUMNS,
    iterate_comparison,
    limit_threads,
    warn_of_failures,
)
from ._detectors import get_detectors
from ._optional import import_optional
from ._protocols import PROTOCOLS
from ._report import (
    format_datasets,
    format_summary,
    plot_results,
    show,
    summarize,
)

# The quick suite must end within four minutes on two cores; networks on images cost
# most, hence one set of images.
_QUICK_DATASETS = (
    "breast-cancer",
    "digits-8",
    "global",
    "local",
    "cluster",
    "dependency",
)
_QUICK_CLASS_DATASETS = ("wine", "iris")
_QUICK_SEEDS = 2
_FULL_SEEDS = 3


def main(argv=None):
    """Run the benchmark command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; by default those of the command line.

    Returns
    -------
    code : int
        0 if all runs succeeded, 1 if some failed or the command was interrupted.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.overhead:
        return _report_overhead()
    if options.search_cost:
        return _report_search_cost()
    if options.localise:
        return _report_localisation(parser, options)
    if options.metrics:
        return _report_metrics(parser, options)
    if options.criterion and options.protocol != "one-class":
        parser.error("--criterion knows the one-class protocol only.")
    try:
        pandas = import_optional("pandas")
        import_optional("matplotlib")
        datasets = _select_datasets(options)
        # Criteria are measured on detectors of their own.
        detectors = {} if options.criterion else get_detectors(options.detectors)
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    if options.criterion:
        return _report_criterion(datasets, options)
    quick = options.suite == "quick"
    n_seeds = options.seeds or (_QUICK_SEEDS if quick else _FULL_SEEDS)
    show(
        f"{len(detectors)} detectors, {len(datasets)} data sets, {n_seeds} seeds, "
        f"{options.protocol} protocol, {options.jobs} processes"
    )
    start, rows, interrupted = time.perf_counter(), [], False
    try:
        for row in iterate_comparison(
            detectors,
            datasets,
            range(n_seeds),
            protocol=options.protocol,
            max_train=options.max_train,
            max_test=options.max_test,
            n_jobs=options.jobs,
            n_threads=options.threads,
            verbose=1,
        ):
            rows.append(row)
    except KeyboardInterrupt:
        # Hours of finished runs are worth reporting.
        interrupted = True
    if not rows:
        show("Interrupted before the first run ended.")
        return 1
    results = pandas.DataFrame(rows, columns=list(COLUMNS))
    _report(results, Path(options.output), time.perf_counter() - start)
    warn_of_failures(results)
    if interrupted:
        show("Interrupted: the figures cover the runs that had ended.")
    return int(interrupted or (results["error"] != "").any())


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m skganomaly.benchmark",
        description=(
            "Compare anomaly detectors and print ROC AUC, average precision, F1 and "
            "false alarms at the default threshold, CPU seconds, mean ranks and the "
            "spread over seeds. Writes results.csv, summary.csv and results.png. "
            "Nothing is downloaded."
        ),
    )
    parser.add_argument(
        "--suite",
        choices=("quick", "full"),
        default=None,
        help=(
            "quick: six bundled and generated data sets (wine and iris for "
            f"leave-one-class-out), {_QUICK_SEEDS} seeds, two to four minutes; full: "
            f"all of them, {_FULL_SEEDS} seeds (default: quick, with --data full)"
        ),
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help=(
            "use local data in place of the bundled: a folder of ADBench .npz files, "
            "or with a subfolder adbench, or with a mnist.npz, or one such file"
        ),
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="one-class",
        help=(
            "one-class: train on half of the normal rows; leave-one-class-out: each "
            "class in turn is the anomaly; contaminated: train on half of all rows, "
            "anomalies included (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--seeds", type=_positive, metavar="N", help="number of seeds, from 0 on"
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        metavar="NAME",
        help="only these detectors, e.g. GANomaly kNN IForest (an unknown name lists "
        "all)",
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        metavar="NAME",
        help="only these data sets (an unknown name lists all)",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        type=int,
        metavar="C",
        help="classes of MNIST that take a turn (default: all)",
    )
    for part in ("train", "test"):
        parser.add_argument(
            f"--max-{part}",
            type=_positive,
            default=10_000,
            metavar="N",
            help=f"most {part} rows, drawn by the seed (default: %(default)s)",
        )
    parser.add_argument(
        "--output",
        default="benchmark_results",
        metavar="FOLDER",
        help="where tables and picture go (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, joblib.cpu_count()),
        metavar="N",
        help="processes, -1 for one on each core (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        default=1,
        metavar="N",
        help="threads inside each process (default: %(default)s)",
    )
    parser.add_argument(
        "--overhead",
        action="store_true",
        help="instead, compare the training of GANomalyDetector with the same steps "
        "in a bare torch loop, in CPU time",
    )
    parser.add_argument(
        "--search-cost",
        action="store_true",
        help="instead, time the latent search of AnoGANDetector in a batch, row by "
        "row, and beside its encoder and PyOD's loop",
    )
    parser.add_argument(
        "--localise",
        action="store_true",
        help="instead, train on one class of the images of --data (or of the bundled "
        "digits) at a time, and report the pixel ROC AUC of anomaly maps on generated "
        "defects",
    )
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="instead, measure what detectors of windows find in generated metrics, "
        "and whether thresholds keep what they promise; half an hour",
    )
    parser.add_argument(
        "--criterion",
        action="store_true",
        help="instead, measure how well criteria without labels, and with few, rank "
        "settings of the detectors; tables only, at most 1000 training rows, one seed "
        "unless --seeds says more; writes criterion.csv",
    )
    return parser


def _report_overhead():
    # The estimators import torch, which the baselines do without.
    from ._overhead import measure_overhead

    with limit_threads(1):
        figures = measure_overhead()
    show(
        f"CPU milliseconds per training step: {figures['estimator_ms']:.2f} in the "
        f"estimator, {figures['loop_ms']:.2f} in a bare loop; median ratio "
        f"{figures['ratio']:.2f}"
    )
    return 0


def _report_search_cost():
    from ._search_cost import measure_search_cost

    with limit_threads(1):
        figures = measure_search_cost()
    for data, entries in figures.items():
        show(f"{data}:")
        for name, value in entries.items():
            show(f"  {name:20} {value:10.1f}")
    return 0


def _report_localisation(parser, options):
    from ._localise import DEFECTS, measure_localisation

    try:
        pandas = import_optional("pandas")
        if options.data:
            datasets = load_benchmark_data(options.data, classes=options.classes)
            images = [
                data
                for _, data in _readable(datasets)
                if data.classes and data.input_shape
            ]
            if len(images) != 1:
                raise ValueError(
                    f"--localise needs one set of images, and {options.data} has "
                    f"{len(images)} that can be read."
                )
            dataset = images[0]
        else:
            dataset = load_bundled()["digits"]
            if options.classes:
                dataset = AnomalyDataset(
                    dataset.name,
                    dataset.X,
                    dataset.target,
                    classes=options.classes,
                    input_shape=dataset.input_shape,
                )
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    seeds = range(options.seeds or _FULL_SEEDS)
    with limit_threads(options.threads):
        rows = pandas.DataFrame(
            measure_localisation(dataset, seeds, max_train=options.max_train)
        )
    medians = rows.groupby(["class", "method"], sort=False)[
        [*DEFECTS, "fit_s"]
    ].median()
    show(f"{dataset.name}: pixel ROC AUC, median of {len(seeds)} seeds")
    show(medians.to_string(float_format="{:.3f}".format))
    return 0


def _report_metrics(parser, options):
    from ._metrics import (
        measure_aggregation,
        measure_detection,
        measure_drift,
        measure_promise,
        measure_windows,
    )

    try:
        pandas = import_optional("pandas")
    except ImportError as error:
        parser.error(str(error))
    seeds = range(options.seeds or _FULL_SEEDS)

    def report(title, rows, by):
        grouped = pandas.DataFrame(rows).drop(columns="seed").groupby(by, sort=False)
        show(f"{title}; median of {len(seeds)} seeds")
        show(grouped.median().to_string(float_format="{:.3f}".format) + "\n")

    with limit_threads(options.threads):
        for n_metrics in (1, 3):
            rows = measure_detection(seeds, n_metrics=n_metrics)
            report(f"Metrics: {n_metrics}", rows, "detector")
        rows = measure_windows(seeds)
        report("1 metric", rows, ["detector", "window_length", "aggregation"])
        rows = measure_aggregation(seeds)
        report("1 metric", rows, ["detector", "series", "aggregation"])
        # The share varies from series to series, and more so than the others.
        many = range(10 * len(seeds))
        for title, figures in (
            ("Normal steps", pandas.DataFrame(measure_promise(many))),
            ("Steps of drifting series", pandas.DataFrame(measure_drift(many))),
        ):
            shares = figures.groupby(["threshold", "detector"], sort=False)["flagged"]
            table = shares.agg(["mean", "min", "max"])
            show(f"{title} flagged where 5 % is promised, {len(many)} seeds")
            show(table.to_string(float_format="{:.3f}".format) + "\n")
    return 0


def _report_criterion(datasets, options):
    # The estimators import torch, which the baselines do without.
    from ._criterion import format_criteria, measure_criteria, summarize_criteria

    tables = [name for name, data in _readable(datasets) if data.input_shape is None]
    if not tables:
        show("There is no table to measure criteria on.")
        return 1
    start = time.perf_counter()
    with limit_threads(options.threads):
        figures = measure_criteria(
            datasets.select(tables), range(options.seeds or 1), verbose=1
        )
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    figures.to_csv(output / "criterion.csv", index=False)
    show(format_criteria(summarize_criteria(figures)))
    show(f"\n{time.perf_counter() - start:.0f} s; figures in {output}")
    return 0


def _readable(datasets):
    """Yield name and data of each data set, and say which cannot be read."""
    for name in datasets:
        try:
            yield name, datasets[name]
        except (ValueError, OSError) as error:
            show(f"Left out: {error}")


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _select_datasets(options):
    """Open the data sets the options ask for; set the default suite."""
    if options.suite is None:
        options.suite = "full" if options.data else "quick"
    by_class = options.protocol == "leave-one-class-out"
    if options.data:
        datasets = load_benchmark_data(options.data, classes=options.classes)
    else:
        datasets = load_bundled()
    if options.datasets:
        unknown = [name for name in options.datasets if name not in datasets]
        if unknown:
            raise ValueError(
                f"Unknown data sets {unknown}; available: {', '.join(datasets)}."
            )
        # An unfit choice made by name fails in a visible row, and is not left out.
        return datasets.select(options.datasets)
    if options.suite == "quick" and not options.data:
        return datasets.select(_QUICK_CLASS_DATASETS if by_class else _QUICK_DATASETS)
    return _with_classes(datasets) if by_class else datasets


def _with_classes(datasets):
    """Leave out data sets that have no classes, and say which."""
    kept, left_out = [], []
    for name in datasets:
        try:
            (kept if datasets[name].classes else left_out).append(name)
        except ValueError:
            # A broken file shows up as a failed run.
            kept.append(name)
    if left_out:
        show(f"Without classes to leave out, not used: {', '.join(left_out)}.")
    if not kept:
        raise ValueError("No data set has classes to leave out.")
    return LazyDatasets.select(datasets, kept)


def _report(results, output, seconds):
    summary = summarize(results)
    output.mkdir(parents=True, exist_ok=True)
    results.to_csv(output / "results.csv", index=False)
    summary.to_csv(output / "summary.csv")
    plot_results(results).savefig(output / "results.png", dpi=150)
    for figure, title in (
        ("roc_auc", "ROC AUC"),
        ("average_precision", "Average precision"),
    ):
        show(f"\n{title} by data set (* best; lead: first detector less best other)\n")
        show(format_datasets(results, figure))
    show("\nShare of unseen normal rows flagged at the default threshold\n")
    show(format_datasets(results, "false_alarms"))
    show("\nAll data sets, best mean rank first (seconds are CPU seconds)\n")
    show(format_summary(summary))
    failed = results[results["error"] != ""]
    if len(failed):
        show(f"\n{len(failed)} failed runs:\n")
        for row in failed.to_dict("records"):
            turn = f" {row['class']}" if row["class"] != "" else ""
            show(
                f"{row['detector']} on {row['dataset']}{turn}, seed {row['seed']}: "
                f"{row['error']}"
            )
    show(f"\n{seconds:.0f} s; figures and picture in {output}")
