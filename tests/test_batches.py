"""Tests of the way from training rows to mini-batches on a device."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skganomaly._models import _scaling
from skganomaly._models._scaling import fit_scaling
from skganomaly._training import _batches
from skganomaly._training._batches import Orders, RowDataset, TensorBatches

CPU = torch.device("cpu")


def rows(n_rows=50, n_features=6, seed=0):
    """Columns of very different scales and offsets."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-3, 4, size=n_features)
    return (
        rng.normal(size=(n_rows, n_features)) + rng.normal(size=n_features)
    ) * scales


# Data sets.


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_resident_or_not_gives_equal_batches(monkeypatch, shape):
    """Where the rows lie makes no difference to what is trained on."""
    X = rows(30)
    scaler = fit_scaling("minmax", shape, X)
    resident = RowDataset(X, scaler, CPU)
    monkeypatch.setattr(_batches, "_fits", lambda n_bytes, device: False)
    streamed = RowDataset(X, scaler, CPU)
    assert resident.resident is not None
    assert streamed.resident is None
    expected = scaler.transform(X)
    for size in [(7,), (2, 5), (3, 2, 4)]:
        indices = np.random.default_rng(0).integers(30, size=size)
        for dataset in (resident, streamed):
            assert len(dataset) == 30
            batch = dataset[torch.from_numpy(indices)]
            assert batch.dtype == torch.float32
            assert_array_equal(batch, expected[indices])


def test_resident_rows_are_scaled_by_blocks(monkeypatch):
    """The rows on the device are all of them, in their order."""
    X = rows(31)
    scaler = fit_scaling("standard", (6,), X)
    monkeypatch.setattr(_scaling, "_BLOCK_VALUES", 24)
    dataset = RowDataset(X, scaler, CPU)
    assert_array_equal(dataset.resident, scaler.transform(X))


def test_resident_rows_are_held_once(monkeypatch, tmp_path):
    """Of a memory map nothing is copied but the scaled rows, and these once."""
    np.save(tmp_path / "X.npy", rows(4000, 100).astype(np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_scaling, "_BLOCK_VALUES", 2000)
    scaler = fit_scaling("minmax", (100,), X)
    tracemalloc.start()
    resident = RowDataset(X, scaler, CPU).resident
    # What NumPy allocates; the one copy is torch's.
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert resident.shape == X.shape
    assert peak < X.nbytes / 4


def test_streamed_rows_are_read_in_ascending_order(monkeypatch):
    """A memory map is read in one sweep, and no row twice in a batch."""
    monkeypatch.setattr(_batches, "_fits", lambda n_bytes, device: False)
    read = []

    class Recorded(np.ndarray):
        def __getitem__(self, key):
            read.append(np.array(key))
            return super().__getitem__(key)

    X = rows(30).view(Recorded)
    dataset = RowDataset(X, fit_scaling(None, (6,), X), CPU)
    dataset[torch.tensor([[9, 3, 20], [3, 0, 9]])]
    assert_array_equal(read[0], [0, 3, 9, 20])


def test_quarter_of_free_memory_is_enough(monkeypatch):
    """On a GPU the rows stay away where they would take more than a quarter."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 9000))
    cuda = torch.device("cuda")
    assert _batches._fits(1000, cuda)
    assert not _batches._fits(1001, cuda)


# Batches.


class Indices:
    """A data set whose rows are their own numbers."""

    device = CPU

    def __init__(self, n_rows):
        self.n_rows = n_rows

    def __len__(self):
        return self.n_rows

    def __getitem__(self, indices):
        return indices


def batches_of(dataset, batch_size, n_members, max_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    orders = Orders(len(dataset), batch_size, n_members, generator)
    return TensorBatches(dataset, batch_size, max_steps=max_steps, orders=orders)


def epochs_of(n_rows, batch_size, n_members=3, max_steps=200, seed=0):
    """Mini-batches by epoch until the iterator is exhausted."""
    batches = batches_of(Indices(n_rows), batch_size, n_members, max_steps, seed)
    epochs = []
    while epoch := [list(chunk) for chunk in batches]:
        epochs.append(epoch)
    return epochs


def steps_of(*args, **kwargs):
    """Mini-batches of all epochs, (n_steps, n_members, batch_size)."""
    chunks = itertools.chain.from_iterable(epochs_of(*args, **kwargs))
    return np.stack(list(itertools.chain.from_iterable(chunks)))


SIZES = [(64, 8), (65, 8), (63, 8), (10, 8), (8, 8), (7, 8), (2, 1), (1000, 9)]
every_size = pytest.mark.parametrize("n_rows, batch_size", SIZES)


@every_size
def test_batches_have_one_shape(n_rows, batch_size):
    """A remainder waits for the next pass; fewer rows than asked are one batch."""
    steps = steps_of(n_rows, batch_size)
    assert steps.shape == (200, 3, min(batch_size, n_rows))
    assert steps.min() >= 0
    assert steps.max() == n_rows - 1


@every_size
def test_pass_visits_rows_once(n_rows, batch_size):
    """Within a pass no row is seen twice by a member, and a full pass sees all."""
    steps = steps_of(n_rows, batch_size)
    per_pass = n_rows // min(batch_size, n_rows)
    for start in range(0, 200 - per_pass + 1, per_pass):
        for member in range(3):
            seen = steps[start : start + per_pass, member].ravel()
            assert len(np.unique(seen)) == len(seen)
            assert len(seen) > n_rows - batch_size


def test_left_out_rows_have_their_turn():
    """The remainder of a pass is another one every time."""
    steps = steps_of(10, 8, max_steps=60)
    assert_array_equal(np.unique(steps[:, 0]), np.arange(10))
    assert np.bincount(steps[:, 0].ravel()).min() > 30


def test_members_and_passes_have_orders_of_their_own():
    """No two members, and no two passes, go through the rows alike."""
    steps = steps_of(64, 8, n_members=4, max_steps=24)
    orders = [
        tuple(steps[start : start + 8, member].ravel())
        for start in (0, 8, 16)
        for member in range(4)
    ]
    assert len(set(orders)) == 12


@pytest.mark.parametrize("max_steps", [1, 24, 25, 26, 110, 111, 250, 333])
@pytest.mark.parametrize("n_rows, batch_size", [(1000, 9), (64, 8), (5, 8)])
def test_exactly_max_steps(n_rows, batch_size, max_steps):
    """All epochs together are as many steps as asked for, in chunks of at most 25."""
    epochs = epochs_of(n_rows, batch_size, max_steps=max_steps)
    lengths = [sum(map(len, epoch)) for epoch in epochs]
    assert lengths == TensorBatches.epoch_lengths(n_rows, batch_size, max_steps)
    assert sum(lengths) == max_steps
    assert min(max_steps, 20) <= len(epochs)
    per_pass = TensorBatches.steps_per_pass(n_rows, batch_size)
    assert max(lengths) <= per_pass
    assert set(range(per_pass, max_steps, per_pass)) <= set(np.cumsum(lengths))
    for epoch in epochs:
        assert {len(chunk) for chunk in epoch[:-1]} <= {25}


@pytest.mark.parametrize(
    "n_rows, batch_size, expected",
    [(1000, 10, 100), (1009, 10, 100), (64, 64, 25), (3, 64, 25), (260, 10, 26)],
)
def test_epoch_of_a_long_training_is_a_pass(n_rows, batch_size, expected):
    """One pass over the rows, or 25 steps where a pass is shorter."""
    assert TensorBatches.steps_per_pass(n_rows, batch_size) == expected
    lengths = TensorBatches.epoch_lengths(n_rows, batch_size, 40 * expected)
    assert lengths == [expected] * 40


def test_division_into_epochs_changes_no_batch():
    """A longer training begins with the batches of a shorter one, in other epochs."""
    short, long = steps_of(64, 8, max_steps=30), steps_of(64, 8, max_steps=700)
    assert_array_equal(long[:30], short)


def test_chunk_knows_its_length():
    """What skorch takes for a batch has as many entries as there are steps in it."""
    batches = batches_of(Indices(310), 10, n_members=2, max_steps=620)
    chunks = [*batches, *batches]
    assert [len(chunk) for chunk in chunks] == [25, 6, 25, 6]
    assert [len(list(chunk)) for chunk in chunks] == [25, 6, 25, 6]


def test_generator_decides_the_order():
    """The same seed gives the same batches, another one others."""
    first = steps_of(64, 8)
    assert_array_equal(steps_of(64, 8), first)
    assert (steps_of(64, 8, seed=1) != first).mean() > 0.9


def test_batches_are_rows_of_the_data_set():
    """Each member gets scaled rows, shaped as the networks take them."""
    X = rows(20)
    scaler = fit_scaling("minmax", (2, 3), X)
    batches = batches_of(RowDataset(X, scaler, CPU), 4, n_members=2, max_steps=5)
    known = {row.tobytes() for row in scaler.transform(X)}
    seen = [batch for _ in range(5) for chunk in batches for batch in chunk]
    assert len(seen) == 5
    for batch in seen:
        assert batch.shape == (2, 4, 2, 3)
        assert {row.tobytes() for row in batch.flatten(0, 1).numpy()} <= known


@pytest.mark.parametrize("n_drawn", [0, 3, 8, 13])
def test_orders_go_on_from_a_state(n_drawn):
    """In the middle of a pass, at its end, and before the first."""

    def orders(seed):
        return Orders(70, 8, 3, torch.Generator().manual_seed(seed))

    first, second = orders(0), orders(1)
    if n_drawn:
        first.draw(n_drawn)
    second.draw(5)
    second.load_state_dict(first.state_dict())
    assert_array_equal(second.draw(20), first.draw(20))


def test_orders_do_not_depend_on_how_many_are_drawn_at_once():
    """Batches one by one are those of a chunk."""
    together = Orders(30, 8, 2, torch.Generator().manual_seed(0)).draw(10)
    alone = Orders(30, 8, 2, torch.Generator().manual_seed(0))
    assert_array_equal(torch.cat([alone.draw(1) for _ in range(10)]), together)
