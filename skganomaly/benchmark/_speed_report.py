"""The report of ``python -m skganomaly.benchmark speed``."""

import importlib.util

import numpy as np
import torch

from ._floor import Machine
from ._optional import import_optional
from ._report import show
from ._speed import make_rows, measure_training
from ._speed_scoring import measure_growth, measure_pyod_anogan, measure_scoring

__all__ = ["report_speed"]

_FULL = {"rows": 10_000, "steps": 200, "repeats": 5, "most_rows": 100_000}
_QUICK = {"rows": 300, "steps": 10, "repeats": 1, "most_rows": 1_000}

_IMAGE = (1, 32, 32)
# Image steps in the place of steps of a table, which are so much shorter.
_STEPS_OF_TABLES = 20


def report_speed(
    *, columns, independent, parts, quick, rows, steps, repeats, most_rows
):
    """Measure and show; what is None is as for a quick run or a full one."""
    pandas = import_optional("pandas")
    given = {"rows": rows, "steps": steps, "repeats": repeats, "most_rows": most_rows}
    chosen = (_QUICK if quick else _FULL) | {k: v for k, v in given.items() if v}
    n_rows, n_steps, n_repeats = chosen["rows"], chosen["steps"], chosen["repeats"]
    max_steps = n_steps if quick else None
    has_pyod = importlib.util.find_spec("pyod") is not None

    def draw(n, seed=0):
        return make_rows(n, columns, seed, independent=independent)

    def table(records):
        columns = list(max(records, key=len))
        frame = pandas.DataFrame(records, columns=columns).set_index("what")
        show(
            frame.rename_axis(None).to_string(
                float_format="{:.2f}".format, na_rep="", justify="right"
            )
            + "\n"
        )

    show("CPU time of one thread; ratios are medians [range], turn by turn")
    machine = Machine()
    single, half = (
        1e-9 * machine.operations[d] for d in (torch.float32, torch.bfloat16)
    )
    show(
        f"This machine: products at {single:.0f} Gflop/s in single precision and "
        f"{half:.0f} in half, large copies at "
        f"{1e-9 * machine.bytes_per_second(2**28):.0f} GB/s\n"
    )
    if "training" in parts:
        show(f"A training step, {n_rows:,} rows of {columns} columns; 1: the estimator")
        measured = measure_training(
            draw(n_rows), n_steps=n_steps, n_repeats=n_repeats, machine=machine
        )
        table(_training(*measured))
    if "images" in parts:
        show("A training step, images of 32 x 32; 1: the estimator")
        images = np.random.default_rng(0).random((128, np.prod(_IMAGE)))
        measured = measure_training(
            images,
            n_steps=max(1, n_steps // _STEPS_OF_TABLES),
            n_repeats=n_repeats,
            machine=machine,
            input_shape=_IMAGE,
        )
        table(_training(*measured))
    if "scoring" in parts:
        sizes = sorted({1, min(256, n_rows), n_rows})
        show(
            f"Fit on {n_rows:,} rows of {columns} columns; microseconds a row to score "
            "so many at once"
        )
        table(
            _scoring(
                *measure_scoring(
                    draw(n_rows),
                    draw(n_rows, 1),
                    sizes=sizes,
                    n_repeats=n_repeats,
                    machine=machine,
                    max_steps=max_steps,
                )
            )
        )
        if has_pyod:
            step, score = measure_pyod_anogan(draw(n_rows))
            show(
                f"PyOD's AnoGAN: {step:.2f} ms a step and {1e3 * score:.0f} us a row "
                "scored; its fit is 500 passes over the rows in batches of 32, and "
                "scores all of them\n"
            )
        else:
            show(
                "PyOD is not installed, so its detectors are left out: pip install "
                '"skganomaly[pyod]"\n'
            )
    if "growth" in parts:
        most = chosen["most_rows"]
        sizes = [n for n in (10**3, 10**4, 10**5) if n < most] + [most]
        n_new = min(1_000, n_rows)
        show(
            f"Microseconds a row to score {n_new:,} at once, after a fit on so many "
            "rows; 1: GANomaly"
        )
        found = measure_growth(
            draw(sizes[-1]),
            draw(n_new, 1),
            sizes=sizes,
            n_repeats=n_repeats,
            max_steps=max_steps,
        )
        table(_growth(found))


def _ratio(row):
    if row["least"] == row["most"] == 1:
        return "1"
    return f"{row['ratio']:.2f} [{row['least']:.2f}, {row['most']:.2f}]"


def _training(floor, rows):
    """The floor, then all others, as multiples of the estimator's steps."""
    step = next(row["ms"] for row in rows if row["what"] == "estimator")
    words = f"floor: {1e-6 * floor.operations:.0f} M operations, "
    words += f"{1e-6 * floor.n_bytes:.1f} MB"
    return [
        {"what": what, "ms": 1e3 * seconds, "ratio": f"{1e3 * seconds / step:.2f}"}
        for what, seconds in (
            (words, floor.seconds),
            ("products alone", floor.products),
        )
    ] + [{"what": row["what"], "ms": row["ms"], "ratio": _ratio(row)} for row in rows]


def _scoring(floors, fits, rows):
    records = [
        {"what": "GANomaly: floor"}
        | {f"{n:,}": 1e6 * floor.seconds / n for n, floor in floors.items()},
        {"what": "GANomaly: products alone"}
        | {f"{n:,}": 1e6 * floor.products / n for n, floor in floors.items()},
    ]
    for place, fit in enumerate(fits):
        record = {"what": fit["what"], "fit, s": fit["fit"]}
        for n, of_size in rows.items():
            record[f"{n:,}"] = of_size[place]["us"]
            record[f"ratio, {n:,}"] = _ratio(of_size[place])
        records.append(record)
    return records


def _growth(found):
    records = {}
    for n, rows in found.items():
        for row in rows:
            record = records.setdefault(row["what"], {"what": row["what"]})
            record |= {f"{n:,}": row["us"], f"ratio, {n:,}": _ratio(row)}
    return list(records.values())
