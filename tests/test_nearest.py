"""The search for nearest references: exact, and the same bits in any company."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from skganomaly._models import _nearest
from skganomaly._models._nearest import NearestVectors

WIDTHS = 1, 2, 30, 91


@pytest.fixture(params=[True, False], ids=["half precision", "single precision"])
def precision(request, monkeypatch):
    """What products are made in, whatever this processor does fast."""
    monkeypatch.setattr(_nearest, "_half_is_fast", lambda: request.param)
    monkeypatch.setattr(_nearest, "_ENOUGH", 0.0)


def draw(kind, width, n=700, seed=0):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(2, n, width))
    if kind == "ties":
        rows = rows.round()
    elif kind == "far out":
        rows[:, ::7] *= 1e4
        rows[:, ::50] += 1e9
    elif kind == "not centred":
        rows = 1e-3 * rows + 100
    elif kind == "line":
        rows = rows[:, :, :1] * random.normal(size=width)
    elif kind == "huge":
        rows = (rows[:, :, :1].round() + 1e-3 * rows) * 3e18
    elif kind == "tiny":
        rows *= 10.0 ** random.integers(-23, -18, size=(2, n, 1))
    return torch.tensor(rows, dtype=torch.float32)


def by_hand(vectors, queries, n_neighbors, hidden=()):
    """Distances of all pairs, summed up in the same way."""
    found = []
    for ours, theirs in zip(vectors.numpy(), queries.numpy(), strict=True):
        with np.errstate(over="ignore"):
            apart = ours[None] - theirs[:, None]
            squared = np.stack([np.einsum("ij,ij->i", each, each) for each in apart])
        for query, vector in hidden:
            squared[query, vector] = np.inf
        order = squared.argsort(axis=1, kind="stable")[:, :n_neighbors]
        found.append((np.take_along_axis(squared, order, 1), order))
    return map(np.stack, zip(*found, strict=True))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "kind", ["plain", "ties", "far out", "not centred", "huge", "tiny"]
)
def test_it_finds_what_a_comparison_with_all_finds(precision, kind, width):
    """With their distances, to the last bit, and the first of those as far."""
    vectors, queries = draw(kind, width), draw(kind, width, n=40, seed=1)
    queries[:, 5:9] = vectors[:, 5:9]
    squared, indices = NearestVectors(vectors).search(queries, 10)
    expected = by_hand(vectors, queries, 10)
    for found, wanted in zip((squared, indices), expected, strict=True):
        assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("product", [torch.mm, "coarse"])
def test_distances_that_differ_little(precision, product, seed, monkeypatch):
    """Bounds are compared without some digits, and products of torch may lack more."""
    vectors, queries = draw("line", 3, 2000, seed), draw("line", 3, 300, seed + 99)
    if product == "coarse":

        def coarse(a, b, out, product=torch.mm):
            out.copy_(product(a.bfloat16(), b.bfloat16()))

        monkeypatch.setattr(torch, "mm", coarse)
    found = NearestVectors(vectors).search(queries, 1)
    expected = by_hand(vectors, queries, 1)
    for these, wanted in zip(found, expected, strict=True):
        assert_array_equal(these.numpy(), wanted)


@pytest.mark.parametrize("n_vectors", [130, 300])
@pytest.mark.parametrize("n_neighbors", [60, 125])
def test_many_neighbors(precision, n_vectors, n_neighbors):
    """More than there are groups of vectors."""
    vectors, queries = draw("plain", 4, n=n_vectors), draw("plain", 4, n=20, seed=1)
    found = NearestVectors(vectors).search(queries, n_neighbors)
    expected = by_hand(vectors, queries, n_neighbors)
    for these, wanted in zip(found, expected, strict=True):
        assert_array_equal(these.numpy(), wanted)


@pytest.mark.parametrize("n_vectors", [3, 128, 129, 500])
def test_any_number_of_vectors(precision, n_vectors):
    vectors, queries = draw("plain", 4, n=n_vectors), draw("plain", 4, n=20, seed=1)
    squared, indices = NearestVectors(vectors).search(queries, min(10, n_vectors))
    expected = by_hand(vectors, queries, min(10, n_vectors))
    for found, wanted in zip((squared, indices), expected, strict=True):
        assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("kind", ["plain", "ties"])
def test_company_changes_nothing(precision, kind):
    """Alone, in blocks, or before rows that are all alike."""
    vectors, queries = draw(kind, 30), draw(kind, 30, n=600, seed=1)
    nearest = NearestVectors(vectors)
    together = nearest.search(queries, 10)
    for some in (slice(1), slice(1, 4), slice(500, 600), slice(None, None, -1)):
        chosen = (
            torch.arange(600)[some] if some.step is None else torch.arange(600).flip(0)
        )
        alone = nearest.search(queries[:, chosen], 10)
        for found, wanted in zip(alone, together, strict=True):
            assert torch.equal(found, wanted[:, chosen])
    filled = torch.cat([queries[:, :3], torch.zeros(2, 61, 30)], dim=1)
    for found, wanted in zip(nearest.search(filled, 10), together, strict=True):
        assert torch.equal(found[:, :3], wanted[:, :3])
        assert torch.equal(found[:, 3:], found[:, 3:4].expand(-1, 61, -1))


def test_hidden_vectors(precision):
    """Each query may have others, and equal ones need not have the same."""
    vectors = draw("plain", 5)
    queries = vectors[:, [3, 8, 8, 8]].clone()
    hidden = np.array([0, 1, 2, 2, 3]), np.array([3, 8, 8, 9, 8])
    found = NearestVectors(vectors).search(queries, 10, hidden)
    expected = by_hand(vectors, queries, 10, np.transpose(hidden))
    for these, wanted in zip(found, expected, strict=True):
        assert_array_equal(these.numpy(), wanted)
    assert (found[1][:, 2] != 9).all()


def test_a_product_that_is_less_precise_than_it_should_be(precision, monkeypatch):
    """As settings of torch may have it: nothing is missed."""
    product = torch.mm

    def coarse(a, b, out):
        out.copy_(product(a.float(), b.float()) * 1.05)

    vectors, queries = draw("plain", 30), draw("plain", 30, n=20, seed=1)
    nearest = NearestVectors(vectors)
    monkeypatch.setattr(torch, "mm", coarse)
    found = nearest.search(queries, 10)
    expected = by_hand(vectors, queries, 10)
    for these, wanted in zip(found, expected, strict=True):
        assert_array_equal(these.numpy(), wanted)


def test_most_queries_need_few_candidates(monkeypatch):
    """Bounds would prove nothing if they were far below the distances."""
    monkeypatch.setattr(_nearest, "_half_is_fast", lambda: True)
    vectors, queries = draw("plain", 30, n=3000), draw("plain", 30, n=200, seed=1)
    nearest = NearestVectors(vectors)
    assert nearest._bounds._dtype == torch.bfloat16
    queries = queries.numpy()
    for member, bounds in enumerate(nearest._bounds(queries, None)):
        proved = nearest._first(member, queries[member], bounds, 10)[2]
        assert proved.mean() > 0.9
    # Far from the origin, they are too coarse to be of use.
    assert NearestVectors(draw("not centred", 30))._bounds._dtype == torch.float32


def test_wide_vectors_need_few_candidates(monkeypatch):
    """Bounds would tell nothing if they were sums of thousands of products."""
    monkeypatch.setattr(_nearest, "_half_is_fast", lambda: False)
    vectors, queries = draw("plain", 6000, n=300), draw("plain", 6000, n=40, seed=1)
    nearest = NearestVectors(vectors)
    for member, bounds in enumerate(nearest._bounds(queries.numpy(), None)):
        proved = nearest._first(member, queries[member].numpy(), bounds, 10)[2]
        assert proved.mean() > 0.8
    expected, order = by_hand(vectors, queries, 10)
    found = nearest.search(queries, 10)
    assert_array_equal(found[0], expected)
    assert_array_equal(found[1], order)


@pytest.mark.parametrize("setting", ["highest", "medium"])
def test_products_in_single_precision(setting, monkeypatch):
    """They are NumPy's only where torch's settings make less of torch's."""
    before = torch.get_float32_matmul_precision()
    product, asked = np.matmul, []

    def counted(*args, **kwargs):
        asked.append(args)
        return product(*args, **kwargs)

    monkeypatch.setattr(np, "matmul", counted)
    monkeypatch.setattr(_nearest, "_half_is_fast", lambda: False)
    vectors, queries = draw("plain", 600), draw("plain", 600, n=40, seed=1)
    expected = by_hand(vectors, queries, 10)
    try:
        torch.set_float32_matmul_precision(setting)
        found = NearestVectors(vectors).search(queries, 10)
        error = (
            torch.mm(vectors[0], queries[0].mT)
            - vectors[0].double() @ queries[0].mT.double()
        )
        coarse = error.abs().max() > 0.01
    finally:
        torch.set_float32_matmul_precision(before)
    assert bool(asked) == bool(coarse)
    for these, wanted in zip(found, expected, strict=True):
        assert_array_equal(these, wanted)


def test_many_candidates_are_measured_in_pieces(precision, monkeypatch):
    """With the same bits: wide vectors, many of them as near, would fill the memory."""
    vectors, queries = draw("ties", 5), draw("ties", 5, n=20, seed=1)
    together = NearestVectors(vectors).search(queries, 10)
    monkeypatch.setattr(_nearest, "_MOST_VALUES", 64)
    sizes, take = [], NearestVectors._measured

    def measured(self, member, rows, indices):
        sizes.append(indices.shape[1])
        return take(self, member, rows, indices)

    monkeypatch.setattr(NearestVectors, "_measured", measured)
    pieces = NearestVectors(vectors).search(queries, 10)
    assert max(sizes) <= 16
    for found, wanted in zip(pieces, together, strict=True):
        assert torch.equal(found, wanted)
