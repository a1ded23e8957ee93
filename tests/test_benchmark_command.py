"""What is typed, and what is printed and written for it."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

from skganomaly import AutoencoderDetector
from skganomaly.benchmark import KNNDistance, _localise
from skganomaly.benchmark._cli import (
    _QUICK_DATASETS,
    _parser,
    _select_datasets,
    main,
)
from skganomaly.benchmark._compare import COLUMNS
from skganomaly.benchmark._optional import import_optional
from skganomaly.datasets import make_anomalies


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
        main(["localise", "--data", str(tmp_path)])
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
    [
        "--detectors nothing",
        "--datasets nothing",
        "--data nowhere",
        "--seeds 0",
        "--suite full --data .",
        "--suite full --datasets wine",
        "--classes 1",
        "localise --data nowhere",
        "localise --protocol contaminated",
        "speed --seeds 1",
        "speed --parts nothing",
        "series --data .",
        "nothing",
    ],
)
def test_the_command_refuses(arguments, capsys):
    """With the usage and one sentence, not a traceback; nothing is ignored."""
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


COMMANDS = ("compare", "speed", "localise", "series")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_command_explains_itself(command, capsys):
    """Each with its options and an example that it understands."""
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    if not command:
        assert all(f"\n    {name} " in shown for name in COMMANDS)
        return
    _, _, example = shown.partition("example:\n  python -m skganomaly.benchmark ")
    assert example.split()[0] == command
    options = _parser().parse_args(example.split())
    assert all(f"--{name}" in shown for name in _names(options))


def _names(options):
    return {n.replace("_", "-") for n in vars(options) if n not in ("run", "parser")}


@pytest.mark.parametrize("arguments", [[], ["--detectors", "kNN"]])
def test_without_a_command_detectors_are_compared(arguments, monkeypatch):
    """On the quick suite, unless options say otherwise."""
    asked = []
    monkeypatch.setattr("skganomaly.benchmark._cli._run_compare", asked.append)
    main(arguments)
    main(["compare", *arguments])
    bare, named = asked
    assert _names(bare) == _names(named)
    assert all(getattr(bare, n) == getattr(named, n) for n in ("detectors", "suite"))
    assert list(_select_datasets(bare, True)) == list(_QUICK_DATASETS)


def test_defects_are_looked_for(monkeypatch, capsys):
    """In the classes asked for; the nearest image is beside the detectors."""
    monkeypatch.setattr(
        _localise,
        "_DETECTORS",
        {"Autoencoder": partial(AutoencoderDetector, max_steps=20)},
    )
    assert main("localise --classes 3 --seeds 1 --max-train 50".split()) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][0] == "digits:"
    rows = [line for line in lines if line[-2:] and line[-1].replace(".", "").isdigit()]
    assert [row[0] for row in rows] == ["3", "nearest"]
    assert all(float(value) > 0.5 for row in rows for value in row[-4:-1])


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


def test_missing_packages_name_the_extra():
    """The error is the command to type."""
    with pytest.raises(ImportError, match=r"skganomaly\[benchmark\]"):
        import_optional("package_that_is_not_there.part")
