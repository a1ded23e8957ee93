"""Fits that several processes share, each with its part of every batch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from numpy.testing import assert_array_equal
from skorch.callbacks import Checkpoint, TrainEndCheckpoint

import skganomaly
from skganomaly import AutoencoderDetector, _ranks
from skganomaly._device import resolve_device
from skganomaly._ranks import Ranks, current
from skganomaly._training._callbacks import check_callbacks
from skganomaly.distributed import data_parallel

HERE = Path(skganomaly.__file__).parents[1]

launched = pytest.mark.skipif(
    sys.platform == "win32", reason="PyTorch's launcher needs settings of its own here"
)


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def second_of_two():
    """As if this were the second of two processes, as long as it says nothing."""
    token = _ranks._CURRENT.set(Ranks(rank=1, size=2))
    yield
    _ranks._CURRENT.reset(token)


def _run(*command):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=600,
        check=False,
    )


@launched
def test_two_processes_fit_one_detector():
    """As ``ranks.py`` checks in each of them."""
    script = Path(__file__).with_name("ranks.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = _run(*launcher, script)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    names = re.findall(r"^def (check_\w+)", script.read_text(encoding="utf-8"), re.M)
    assert result.stdout.split() == names


@launched
@pytest.mark.slow
def test_it_is_as_good_as_a_fit_of_one():
    """As the measurement that the page quotes finds, here with one seed."""
    script = HERE / "docs" / "measurements" / "data_parallel.py"
    result = _run(script, "--only", "quality", "--seeds", "1")
    found = re.findall(r"(\w+): together (\S+), alone (\S+)", result.stdout)
    assert len(found) == 4, result.stderr[-4000:]
    for name, together, alone in found:
        assert float(together) > 0.9, name
        assert float(together) > float(alone) - 0.03, name


def test_it_needs_a_process_group():
    with pytest.raises(RuntimeError, match=r"init_process_group\(\) first.* torchrun"):
        with data_parallel():
            raise AssertionError("unreachable")


def test_it_has_to_be_in_the_group(one_process, monkeypatch):
    real = dist.get_rank
    monkeypatch.setattr(dist, "get_rank", lambda group=None: -1 if group else real())
    with pytest.raises(ValueError, match="Process 0 is not in the group"):
        with data_parallel(object()):
            raise AssertionError("unreachable")


def test_one_process_is_as_no_block(one_process, table, small):
    """To the last bit, and so is what comes after it, whatever happened in it."""
    scores = [small().fit(table).anomaly_score(table)]
    with data_parallel():
        scores.append(small().fit(table).anomaly_score(table))
    with pytest.raises(ZeroDivisionError), data_parallel():
        raise ZeroDivisionError
    assert current().size == 1
    scores.append(small().fit(table).anomaly_score(table))
    assert_array_equal(scores[0], scores[1])
    assert_array_equal(scores[0], scores[2])


@pytest.mark.parametrize("n_rows, size", [(33, 2), (2, 2), (64, 3), (1, 1)])
def test_shares_are_equal(n_rows, size):
    ranks = Ranks(size=size)
    if size == 1:
        ranks.check_batch(n_rows)
        return
    words = f"A batch of {n_rows} cannot be shared by {size} processes.*{2 * size} or"
    with pytest.raises(ValueError, match=words):
        ranks.check_batch(n_rows)


def test_shares_make_up_the_whole():
    batch = torch.arange(24).view(2, 12)
    shares = [Ranks(rank=rank, size=3).share(batch, 1) for rank in range(3)]
    assert_array_equal(torch.cat(shares, 1), batch)


def test_no_two_processes_or_steps_draw_alike():
    source = torch.Generator().manual_seed(3)
    before = source.get_state()
    draws = {
        torch.rand((), generator=Ranks(rank=rank, size=2).own_source(source, step))
        for rank in range(2)
        for step in range(5)
    }
    assert len({float(draw) for draw in draws}) == 10
    assert_array_equal(source.get_state(), before)


@pytest.mark.parametrize(
    "callback", [Checkpoint(monitor="train_loss_best"), TrainEndCheckpoint()]
)
def test_callbacks_that_save_are_refused(second_of_two, callback):
    """Two processes would write to one file."""
    words = "all processes .* write to its files at once. Use .*FitCheckpoint"
    with pytest.raises(ValueError, match=words):
        check_callbacks([callback], schedule="constant", averaged=False)


def test_streams_are_refused(second_of_two, table):
    with pytest.raises(ValueError, match=r"partial_fit is not shared.* outside of the"):
        AutoencoderDetector().partial_fit(table)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_process_has_a_gpu_of_its_own(second_of_two, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert resolve_device(device) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device(device) == torch.device("cuda", 3)
    assert resolve_device("cpu") == torch.device("cpu")
