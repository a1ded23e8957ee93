"""What a training and a score cost: whether the right things are measured."""

import copy
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skganomaly import GANomalyDetector
from skganomaly.benchmark import _loops, _speed_scoring
from skganomaly.benchmark._cli import main
from skganomaly.benchmark._floor import Floor
from skganomaly.benchmark._loops import BareStep, OriginalStep
from skganomaly.benchmark._speed import compared, make_rows, take_turns

SHAPES = {"table": None, "images": (1, 16, 16)}


@pytest.fixture(scope="module", params=SHAPES)
def detector(request):
    shape = SHAPES[request.param]
    X = make_rows(80, 256 if shape else 5)
    return GANomalyDetector(
        max_steps=3, input_shape=shape, random_state=0, device="cpu"
    ).fit(X)


def test_steps_of_the_publication_are_ours(detector):
    """Graphs for each player and members in turn lead to the same weights."""
    method = copy.deepcopy(detector.model_.method).double()
    n_members, generator = method.settings.n_members, torch.Generator().manual_seed(0)
    bare, original = BareStep(method), OriginalStep(method)
    for _ in range(3):
        shape = n_members, 8, *method.settings.input_shape
        x, noise = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        bare(x, x + 0.1 * noise)
        original(x, x + 0.1 * noise)
    for place, (name, player) in enumerate(bare.players.items()):
        before = method.players()[name].parameters()
        of_members = [networks[place].parameters() for networks in original.members]
        for ours, start, *theirs in zip(
            player.parameters(), before, *of_members, strict=True
        ):
            # A bias before a batch normalisation changes nothing.
            assert ours.ndim < 3 or not torch.allclose(ours, start)
            for member, weight in enumerate(theirs):
                part = _loops._of_member(ours, weight, member, n_members)
                torch.testing.assert_close(part, weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loop", ["bare_loop", "stock_loop", "original_loop"])
def test_loops_take_all_steps(detector, loop, monkeypatch):
    """As many updates of both players as are asked for, in copies."""
    before = {k: v.clone() for k, v in detector.model_.state_dict().items()}
    steps, step = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: steps.append(self) or step(self)
    )
    rows = torch.zeros(80, *detector.settings_.input_shape)
    assert getattr(_loops, loop)(detector, rows, 4) > 0
    in_turn = detector.settings_.n_members if loop == "original_loop" else 1
    assert len(steps) == 2 * 4 * in_turn and len(set(steps)) == 2 * in_turn
    for key, value in detector.model_.state_dict().items():
        assert torch.equal(value, before[key])


def test_products_are_counted():
    """By precision, whatever is around them; the floor is the slower of two rates."""
    a, b = torch.ones(2, 32, 64), torch.ones(2, 64, 16)
    half = torch.ones(8, 8).bfloat16()

    def function():
        torch.bmm(a, b).relu().exp()
        torch.mm(half, half, out=torch.empty_like(half))

    operations = {torch.float32: 1e6, torch.bfloat16: 4e6}
    machine = SimpleNamespace(operations=operations, bytes_per_second=lambda n: 1e9)
    floor = Floor(machine, function, 10)
    single, halved = 2 * 2 * 32 * 64 * 16, 2 * 8**3
    assert floor.operations == single + halved
    assert floor.seconds == pytest.approx(single / 1e6 + halved / 4e6)
    assert floor.products > 0
    assert Floor(machine, function, 10**9).seconds == pytest.approx(1)


def test_turns_are_compared_one_by_one():
    """The first is not counted, and a slow turn is slow for all."""
    called, slowness = [], iter([100, 1, 1, 1, 5, 5, 2, 3])

    def function(name, seconds):
        called.append(name)
        return seconds * next(slowness)

    seconds = take_turns(
        {"a": lambda: function("a", 1.0), "b": lambda: function("b", 2.0)}, 3
    )
    assert called == ["a", "b"] * 4
    ours, theirs = compared(seconds, "a", 10, "ms")
    assert (ours["what"], ours["ms"], ours["ratio"]) == ("a", 200.0, 1.0)
    assert (theirs["ratio"], theirs["least"], theirs["most"]) == (2.0, 2.0, 3.0)


def test_rows_have_common_causes():
    """Unless they are to be independent; new ones are of the same kind."""
    rows, new = make_rows(2000, 20), make_rows(2000, 20, 1)
    np.testing.assert_allclose(np.cov(rows.T), np.cov(new.T), atol=8)
    assert np.abs(np.corrcoef(rows.T) - np.eye(20)).max() > 0.7
    independent = make_rows(2000, 20, independent=True)
    assert np.abs(np.corrcoef(independent.T) - np.eye(20)).max() < 0.2


@pytest.mark.parametrize("independent", [False, True])
def test_the_command_measures_training(independent, capsys):
    """The floor first, then ours, then the ways of others."""
    command = "speed --quick --steps 4 --rows 80 --columns 3 --parts training images"
    assert main(command.split() + ["--independent"] * independent) == 0
    lines = capsys.readouterr().out.splitlines()
    firsts = [line.split("  ")[0].split(":")[0] for line in lines]
    table = ["floor", "products alone", "estimator", "bare loop", "stock skorch loop"]
    place = firsts.index("floor")
    assert firsts[place : place + 5] == table and firsts.count("floor") == 2
    assert lines[place + 2].split()[-1] == "1"
    ratio = float(lines[place + 3].split()[-3])
    assert 0.1 < ratio < 10


def test_the_command_measures_scoring(monkeypatch, capsys):
    """Of ours and of others; PyOD's are left out with a word where there is none."""
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyod" else 1 / 0
    )
    command = "speed --quick --steps 4 --rows 80 --columns 3 --most-rows 60"
    assert main(f"{command} --parts scoring growth".split()) == 0
    out = capsys.readouterr().out
    assert 'pip install "skganomaly[pyod]"' in out and "PyOD Auto" not in out
    scoring, growth = out.split("Microseconds a row to score")
    for name in ("GANomaly, latent", "AnoGAN", "IsolationForest"):
        assert f"\n{name} " in scoring
    assert growth.count("nearest neighbours") == 2 and " 60 " in growth


def test_pyod_is_measured():
    """A step of its AnoGAN, and a row, in milliseconds."""
    pytest.importorskip("pyod.models.anogan", reason="pyod is not installed")
    step, row = _speed_scoring.measure_pyod_anogan(make_rows(64, 3))
    assert 0.05 < step < 1000 and 0.01 < row < 1000
    assert "PyOD AutoEncoder" in _speed_scoring._detectors(4)
