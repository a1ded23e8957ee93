"""Tables that are larger than the memory for them."""

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skganomaly import _groups
from skganomaly._groups import group_rows
from skganomaly._models import _scaling
from skganomaly._training import _batches
from skganomaly._training._batches import Orders


@pytest.fixture
def small_memory(monkeypatch):
    """Little is copied at a time, and no table is so small that it is copied whole."""
    monkeypatch.setattr(_scaling, "_BLOCK_VALUES", 2**14)
    monkeypatch.setattr(_groups, "_N_SCALE_ROWS", 500)
    monkeypatch.setattr(_batches, "_fits", lambda n_bytes, device: False)


def _mapped(path, n_rows, n_columns):
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, n_columns))
    rows[:] = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    return np.load(path, mmap_mode="r")


def _peak(call):
    """Most bytes that NumPy had allocated for a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_a_few_numbers_a_row(small_memory, small, tmp_path):
    """Of fit and of predict, however many columns the rows have."""
    n_rows = 300_000
    X = _mapped(tmp_path / "X.npy", n_rows, 30)
    # A first fit imports modules.
    detector = small(score_type="latent", max_references=200).fit(X[:300])
    # 120 bytes of values each; the order of rows along a line is the most of it.
    assert _peak(lambda: detector.fit(X)) < 40 * n_rows
    assert _peak(lambda: detector.predict(X[:200_000])) < 40 * 200_000
    # Copies take a little more.
    twice = np.concatenate([X[:150_000], X[:150_000]])
    assert _peak(lambda: group_rows(twice)) < 64 * n_rows


def test_memory_changes_nothing(small_memory, small, tmp_path):
    X = _mapped(tmp_path / "X.npy", 3000, 4)
    mapped = small().fit(X)
    with pytest.MonkeyPatch.context() as undone:
        undone.setattr(_batches, "_fits", lambda n_bytes, device: True)
        undone.setattr(_scaling, "_BLOCK_VALUES", 2**22)
        held = small().fit(np.array(X))
    assert_array_equal(mapped.anomaly_score(X), held.anomaly_score(X))


def test_no_more_of_an_order_is_kept_than_drawn():
    """The same orders, and the same is drawn from the generator after them."""
    drawn, after = [], []
    for max_batches in (None, 12, 5):
        generator = torch.Generator().manual_seed(0)
        orders = Orders(1000, 8, 3, generator, max_batches=max_batches)
        drawn.append(torch.cat([orders.draw(2), orders.draw(3)]))
        after.append(torch.rand(1, generator=generator))
        kept = orders.pending.untyped_storage().nbytes()
        assert kept == (max_batches or 125) * 3 * 8 * 8
    for other in drawn[1:]:
        assert_array_equal(other, drawn[0])
    assert after[0] == after[1] == after[2]
    # A second pass comes as it would have.
    whole, short = (
        Orders(30, 8, 2, torch.Generator().manual_seed(1), max_batches=most).draw(7)
        for most in (None, 7)
    )
    assert_array_equal(whole, short)
