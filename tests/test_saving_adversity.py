"""Files that were tampered with, processes that die while they save, full disks."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

import skganomaly

SCRIPT = Path(__file__).parent / "adverse_files.py"

posix = pytest.mark.skipif(os.name == "nt", reason="needs signals and limits of POSIX")


def run(*commands):
    """What the script says of each command."""
    arguments = [str(word) for command in commands for word in command]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=SCRIPT.parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _assert_outcomes(killed, filled, mutated, n_kills, n_files):
    # Each is whole: the script loads what is there and compares its scores.
    assert killed["old"] + killed["new"] == n_kills
    assert filled["error"] in (errno.EFBIG, errno.ENOSPC)
    assert filled["files"] == ["model.skganomaly"]
    assert mutated["refused"] + mutated["taken"] > 0.9 * n_files
    assert mutated["refused"] > 0.7 * n_files


@posix
def test_a_few_bad_days():
    """Kills, a full disk, and files that are not what they were."""
    outcomes = run(("kill", 8, 0), ("mutate", 80, 0), ("fill", 5000, 0))
    killed, mutated, filled = outcomes
    _assert_outcomes(killed, filled, mutated, 8, 80)


@pytest.mark.slow
@posix
def test_many_bad_days():
    """Kills and changed files: no crash, no hang, nothing run.

    The script takes any numbers: of 200 and 12,000 it was no different.
    """
    outcomes = run(("kill", 60, 1), ("mutate", 2500, 1), ("fill", 20_000, 1))
    killed, mutated, filled = outcomes
    _assert_outcomes(killed, filled, mutated, 60, 2500)
    # Some met the file while it was written, which of few none may.
    assert killed["begun"] and killed["old"] and killed["new"]
    assert killed["new"]


@pytest.mark.parametrize("what", ["fsync", "replace"])
def test_disk_is_full(what, small, table, tmp_path, monkeypatch):
    """The error is the system's, the old file is whole, and nothing else is left."""
    path = tmp_path / "model.skganomaly"
    small(max_steps=2).fit(table).save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, what, full)
    with pytest.raises(OSError, match="No space left"):
        small(max_steps=2, random_state=1).fit(table).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_eight_threads(small, table, new_rows, tmp_path):
    """Threads save to one name, load from it and score, and do not see each other."""
    path = tmp_path / "model.skganomaly"
    detectors = [small(max_steps=3, random_state=seed).fit(table) for seed in (0, 1)]
    expected = [detector.anomaly_score(new_rows) for detector in detectors]
    detectors[0].save(path)

    def work(i):
        detectors[i % 2].save(path)
        loaded = skganomaly.load(path).anomaly_score(new_rows)
        assert any((loaded == each).all() for each in expected)
        return detectors[i % 2].anomaly_score(new_rows)

    with ThreadPoolExecutor(8) as pool:
        for i, scores in enumerate(pool.map(work, range(16))):
            assert_array_equal(scores, expected[i % 2])
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
