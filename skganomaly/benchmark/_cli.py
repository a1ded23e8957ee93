"""The command ``python -m skganomaly.benchmark`` and its sub-commands."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import joblib

from ..datasets import AnomalyDataset, LazyDatasets, load_benchmark_data, load_bundled
from ._baselines import get_detectors
from ._compare import (
    COLUMNS,
    iterate_comparison,
    limit_threads,
    warn_of_failures,
)
from ._optional import import_optional
from ._protocols import PROTOCOLS
from ._report import (
    format_datasets,
    format_summary,
    plot_results,
    show,
    summarize,
)

_PROGRAM = "python -m skganomaly.benchmark"
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
_SPEED_PARTS = ("training", "images", "scoring", "growth")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; by default those of the command line. Without the name of a
        sub-command in front they are those of ``compare``.

    Returns
    -------
    code : int
        0 if all runs succeeded, 1 if some failed or the command was interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (
        arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")
    ):
        arguments.insert(0, "compare")
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser():
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Compare anomaly detectors, and measure what ours cost and find. "
        "Nothing is downloaded.",
        epilog=f"Without a command, compare runs. {_PROGRAM} COMMAND --help explains "
        "the options of a command.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, name, summary, description, example):
        command = commands.add_parser(
            name,
            help=summary,
            usage=f"{_PROGRAM} {name} [options]",
            description=description,
            epilog=f"example:\n  {_PROGRAM} {name} {example}",
            formatter_class=_ExampleFormatter,
        )
        command.set_defaults(run=run, parser=command)
        return command

    _add_compare_options(
        command(
            _run_compare,
            "compare",
            "compare detectors on data sets",
            "Compare anomaly detectors and print ROC AUC, average precision, F1 and "
            "false alarms at the default threshold, CPU seconds, mean ranks and the "
            "spread over seeds. Writes results.csv, summary.csv and results.png.",
            "--data FOLDER --detectors GANomaly kNN IForest",
        )
    )
    speed = command(
        _run_speed,
        "speed",
        "measure what training and scoring cost",
        "Measure a training step and the scoring of rows in CPU time of one thread: "
        "the floor that this machine's rates of products and copies set, then ours, "
        "then loops of others and other detectors, in turn. Two minutes or three.",
        "--parts training --columns 100",
    )
    _add_speed_options(speed)
    localise = command(
        _run_localise,
        "localise",
        "look for defects in images",
        "Train on the images of one class at a time, and print the pixel ROC AUC of "
        "anomaly maps on generated defects: patches, erasures and strokes.",
        "--data mnist.npz --classes 0 2 --seeds 2",
    )
    localise.add_argument(
        "--data",
        metavar="PATH",
        help="a mnist.npz, or a folder with one (default: the bundled digits)",
    )
    _add_classes(localise)
    _add_number(localise, "--seeds", "number of seeds, from 0 on", _FULL_SEEDS)
    _add_number(localise, "--max-train", "maximum number of training images", 10_000)
    _add_threads(localise)
    series = command(
        _run_series,
        "series",
        "find anomalies in generated metrics over time",
        "Measure what detectors of windows find in generated metrics over time, for "
        "which windows and aggregations, and whether thresholds keep what they "
        "promise. Three seeds take an hour.",
        "--seeds 1",
    )
    _add_number(series, "--seeds", "number of seeds, from 0 on", _FULL_SEEDS)
    _add_threads(series)
    images = command(
        _run_images,
        "images",
        "find small defects in images",
        "Measure what detectors find in images with small defects: image AUC, average "
        "precision, alarms and recall at the promised 5 %, the AUC of pixels within "
        "defective images, per-region overlap and CPU time. The method for defects "
        "takes 80 to 150 CPU seconds for each data set and seed.",
        "--methods defects kNN --seeds 1",
    )
    images.add_argument(
        "--data",
        metavar="FOLDER",
        help="boards.npz or cells.npz, or train/good, test/KIND, ground_truth/KIND, or "
        "folders of that kind (default: generated textures)",
    )
    images.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="only these methods (an unknown name lists all)",
    )
    images.add_argument(
        "--features",
        metavar="MODULE:FUNCTION",
        help="what returns a network, for the methods features and both; nothing is "
        "downloaded",
    )
    images.add_argument(
        "--datasets",
        nargs="+",
        metavar="NAME",
        help="only these data sets (an unknown name lists all)",
    )
    _add_number(images, "--seeds", "number of seeds, from 0 on", _FULL_SEEDS)
    _add_threads(images)
    return parser


class _ExampleFormatter(argparse.HelpFormatter):
    """Wraps everything but the example, which is to be copied."""

    def _fill_text(self, text, width, indent):
        if text.startswith("example:"):
            return text
        return super()._fill_text(text, width, indent)


def _add_compare_options(parser):
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--suite",
        choices=("quick", "full"),
        help=(
            "quick: six bundled and generated data sets (wine and iris for "
            f"leave-one-class-out), {_QUICK_SEEDS} seeds, one to two minutes; full: "
            f"all of them, {_FULL_SEEDS} seeds (default: quick)"
        ),
    )
    source.add_argument(
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
        "--contamination",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the training rows of one-class to replace by anomalies, such as "
        "0.05 (default: none)",
    )
    parser.add_argument(
        "--seeds",
        type=_positive,
        metavar="N",
        help=f"number of seeds, from 0 on (default: the suite's; {_FULL_SEEDS} with "
        "--data)",
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
    _add_classes(parser)
    for name, rows in (("--max-train", "training"), ("--max-test", "test")):
        _add_number(parser, name, f"maximum number of {rows} rows", 10_000)
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
    _add_threads(parser)


def _add_speed_options(parser):
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=_SPEED_PARTS,
        default=_SPEED_PARTS,
        help="steps of a table and of images, scoring, and scoring as training rows "
        "grow (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small and short: whether it works"
    )
    parser.add_argument(
        "--independent",
        action="store_true",
        help="rows of independent columns; by default they have five causes in common",
    )
    _add_number(parser, "--columns", "number of columns", 30)
    for name, words, default in (
        ("--rows", "training rows, and rows to score", "10000"),
        ("--steps", "steps of a training of the table", "200"),
        ("--repeats", "turns; medians count", "5"),
        ("--most-rows", "most training rows of the growth, up to 1000000", "100000"),
    ):
        _add_number(parser, name, words, None, shown=f"{default}; less with --quick")


def _add_number(parser, name, words, default, shown="%(default)s"):
    parser.add_argument(
        name,
        type=_positive,
        default=default,
        metavar="N",
        help=f"{words} (default: {shown})",
    )


def _add_threads(parser):
    _add_number(parser, "--threads", "number of threads of a process", 1)


def _add_classes(parser):
    parser.add_argument(
        "--classes",
        nargs="+",
        type=int,
        metavar="C",
        help="classes of the images that take a turn (default: all)",
    )


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _run_compare(options):
    quick = not options.data and options.suite != "full"
    try:
        pandas = import_optional("pandas")
        import_optional("matplotlib")
        datasets = _select_datasets(options, quick)
        detectors = get_detectors(options.detectors)
    except (ImportError, OSError, ValueError) as error:
        options.parser.error(str(error))
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
            contamination=options.contamination,
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


def _select_datasets(options, quick):
    """Open the data sets the options ask for."""
    by_class = options.protocol == "leave-one-class-out"
    if options.data:
        datasets = load_benchmark_data(options.data, classes=options.classes)
    else:
        datasets = load_bundled()
    if options.classes and "mnist-digits" not in datasets:
        raise ValueError("--classes needs a mnist.npz in --data.")
    if options.datasets:
        if options.suite:
            raise ValueError("--suite chooses data sets, and so does --datasets.")
        unknown = [name for name in options.datasets if name not in datasets]
        if unknown:
            raise ValueError(
                f"Unknown data sets {unknown}; available: {', '.join(datasets)}."
            )
        # An unfit choice made by name fails in a visible row, and is not left out.
        return datasets.select(options.datasets)
    if quick:
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


# The modules below import torch, which the baselines do without.


def _run_speed(options):
    from ._speed_report import report_speed

    arguments = {k: v for k, v in vars(options).items() if k not in ("run", "parser")}
    with limit_threads(1):
        try:
            report_speed(**arguments)
        except ImportError as error:
            options.parser.error(str(error))
    return 0


def _run_localise(options):
    from ._localise import DEFECTS, measure_localisation

    try:
        pandas = import_optional("pandas")
        dataset = _images(options)
    except (ImportError, OSError, ValueError) as error:
        options.parser.error(str(error))
    seeds = range(options.seeds)
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


def _images(options):
    """Open the one set of images there is."""
    if not options.data:
        digits = load_bundled()["digits"]
        return AnomalyDataset(
            digits.name,
            digits.X,
            digits.target,
            classes=options.classes or digits.classes,
            input_shape=digits.input_shape,
        )
    images, datasets = [], load_benchmark_data(options.data, classes=options.classes)
    for name in datasets:
        try:
            data = datasets[name]
        except (ValueError, OSError) as error:
            show(f"Left out: {error}")
        else:
            images += [data] if data.classes and data.input_shape else []
    if len(images) != 1:
        raise ValueError(
            f"localise needs one set of images, and {options.data} has {len(images)} "
            "that can be read."
        )
    return images[0]


def _run_series(options):
    from ._series import (
        measure_aggregation,
        measure_detection,
        measure_drift,
        measure_promise,
        measure_windows,
    )

    try:
        pandas = import_optional("pandas")
    except ImportError as error:
        options.parser.error(str(error))
    seeds = range(options.seeds)

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
        for title, rows in (
            ("Normal steps", measure_promise(many)),
            ("Steps of drifting series", measure_drift(many)),
        ):
            grouped = pandas.DataFrame(rows).groupby(
                ["threshold", "detector"], sort=False
            )
            table = grouped["flagged"].agg(["mean", "min", "max"])
            show(f"{title} flagged where 5 % is promised, {len(many)} seeds")
            show(table.to_string(float_format="{:.3f}".format) + "\n")
    return 0


def _run_images(options):
    from ._images import (
        format_images,
        get_image_detectors,
        load_image_data,
        measure_images,
    )

    try:
        pandas = import_optional("pandas")
        sets = load_image_data(options.data)
        detectors = get_image_detectors(options.methods, features=options.features)
        unknown = [name for name in options.datasets or () if name not in sets]
        if unknown:
            raise ValueError(
                f"Unknown data sets {unknown}; available: {', '.join(sets)}."
            )
    except (ImportError, OSError, ValueError) as error:
        options.parser.error(str(error))
    sets = {name: sets[name] for name in options.datasets or sets}
    show(f"{len(detectors)} methods, {len(sets)} data sets, {options.seeds} seeds")
    rows, interrupted = [], False
    with limit_threads(options.threads):
        try:
            for row in measure_images(detectors, sets, range(options.seeds)):
                rows.append(row)
                words = row["error"] or f"image AUC {row['roc_auc']:.3f}"
                show(f"{row['data']}, {row['method']}, seed {row['seed']}: {words}")
        except KeyboardInterrupt:
            # Hours of finished runs are worth reporting.
            interrupted = True
    if not rows:
        show("Interrupted before the first run ended.")
        return 1
    results = pandas.DataFrame(rows)
    seeds = results["seed"].nunique()
    show(f"\nMedians of {seeds} seeds [range]; seconds are CPU seconds\n")
    show(format_images(results))
    if interrupted:
        show("Interrupted: the figures cover the runs that had ended.")
    return int(interrupted or (results["error"] != "").any())
