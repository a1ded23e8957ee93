"""The nearest of many vectors: exactly, and fast on a CPU."""

import functools
import math
import threading
import time

import numpy as np
import torch

__all__ = ["N_SPARE", "NearestVectors"]

# Of so few vectors all are measured.
_FEW = 128

# Candidates that are measured first, beyond the neighbours that are wanted.
N_SPARE = 6

# The number of groups whose smallest bounds are compared first is a multiple of this.
_GROUPS = 64

# Numbers that are held at once while candidates are measured.
_MOST_VALUES = 2**20

# What rounding takes away from a number, as a share of it.
_HALF = 2.0**-8
_SINGLE = 2.0**-24

# What makes up for the rounding of a length to half precision.
_LONGER = 1 + 2.0**-7

# Longer vectors have no bounds, which might overflow.
_LONGEST = 2.0**60

# More than what sums of products lose by underflow.
_UNDERFLOW = 2.0**-100

# Half precision is kept if its bounds are sharp enough for this share of some vectors.
_N_TRIED = 48
_ENOUGH = 0.9

# Products with fewer queries may be left to other code, of another precision. Bounds of
# more would not stay in a cache.
_FEWEST_QUERIES = 4
_QUERIES = 512

# Numbers that a product in single precision sums up at once, as each may lose a digit.
_SUMMED = 512

# Bounds that are held at once, if these are of more queries than the fewest.
_MOST_BOUNDS = 2**24


class NearestVectors:
    r"""Finds the nearest of many vectors, for each member of an ensemble, on the CPU.

    One product gives a lower bound of each squared distance,

    .. math:: |x|^2 + |r|^2 - 2 x^T r - \epsilon(x, r) \le |x - r|^2,

    where :math:`\epsilon` is what its precision may be off by. The vectors with the
    smallest bounds are measured, each alone and in one order of summation. If the
    farthest that is wanted is nearer than all other bounds, no other vector is as near;
    if not, all whose bounds allow it are measured, too. So what is found depends
    neither on the precision nor on the queries that come together, to the last bit: a
    distance is summed up in one way, and of equal distances the vector that comes first
    wins.

    Parameters
    ----------
    vectors : Tensor of shape (n_members, n_vectors, width), float32
        Not to be changed afterwards.
    """

    def __init__(self, vectors):
        _, self._n_vectors, width = vectors.shape
        self._vectors = vectors.numpy()
        # Of a sum in any order.
        self._rounding = np.float32(1 + 2 * (width + 8) * _SINGLE)
        self._bounds = None
        if self._n_vectors <= _FEW:
            return
        if _half_is_fast():
            self._bounds = _Bounds(vectors, torch.bfloat16)
            places = np.linspace(0, self._n_vectors - 1, _N_TRIED).astype(np.int64)
            hidden = np.arange(_N_TRIED), places
            queries = vectors[:, places].numpy()
            with np.errstate(all="ignore"):
                proved = [
                    self._first(member, queries[member], bounds, 10)[2]
                    for member, bounds in enumerate(self._bounds(queries, hidden))
                ]
            if np.mean(proved) >= _ENOUGH:
                return
        self._bounds = _Bounds(vectors, torch.float32)

    def search(self, queries, n_neighbors, hidden=None):
        """Find the nearest vectors.

        Parameters
        ----------
        queries : Tensor of shape (n_members, n_queries, width), float32
        n_neighbors : int
        hidden : tuple of two ndarrays of int, or None, default=None
            Pairs of a query and a vector that it cannot have, in the order of queries,
            unless too few are left.

        Returns
        -------
        squared : Tensor of shape (n_members, n_queries, n_neighbors)
            Squared distances, the smallest first.
        indices : Tensor of shape (n_members, n_queries, n_neighbors), int64
        """
        queries = queries.numpy()
        n_queries, n_others = queries.shape[1], _n_others(queries)
        if hidden is not None and len(hidden[0]):
            n_others = max(n_others, hidden[0][-1] + 1)
        queries = queries[:, : n_others + 1]
        shape = *queries.shape[:2], n_neighbors
        squared = np.empty(shape, dtype=np.float32)
        indices = np.empty(shape, dtype=np.int64)
        step = min(_QUERIES, max(_FEWEST_QUERIES, _MOST_BOUNDS // self._n_vectors))
        for start in range(0, shape[1], step):
            block = slice(start, start + step)
            pairs = None
            if hidden is not None:
                of, what = hidden
                mine = slice(*of.searchsorted((start, start + step)))
                pairs = of[mine] - start, what[mine]
            found = self._of_block(queries[:, block], n_neighbors, pairs)
            # Squares of huge numbers are infinite, and nothing is wrong with that.
            with np.errstate(all="ignore"):
                for member, theirs in enumerate(found):
                    squared[member, block], indices[member, block] = theirs
        if n_others < n_queries:
            again = np.minimum(np.arange(n_queries), n_others)
            squared, indices = squared[:, again], indices[:, again]
        return torch.from_numpy(squared), torch.from_numpy(indices)

    def _of_block(self, queries, n_neighbors, hidden):
        """The nearest, member by member."""
        if self._bounds is None:
            allowed = np.ones((queries.shape[1], self._n_vectors), dtype=bool)
            if hidden is not None:
                allowed[hidden] = False
            for member, rows in enumerate(queries):
                yield self._among(member, rows, allowed, n_neighbors)
            return
        for member, bounds in enumerate(self._bounds(queries, hidden)):
            rows = queries[member]
            squared, indices, proved = self._first(member, rows, bounds, n_neighbors)
            left = np.flatnonzero(~proved)
            if len(left):
                # What is not a number tells nothing, and may be near.
                most = squared[left, -1:] * self._rounding
                allowed = ~(self._bounds.lower(bounds[left, : self._n_vectors]) > most)
                if hidden is not None:
                    place = left.searchsorted(hidden[0])
                    known = place < len(left)
                    known[known] = left[place[known]] == hidden[0][known]
                    allowed[place[known], hidden[1][known]] = False
                found = self._among(member, rows[left], allowed, n_neighbors)
                squared[left], indices[left] = found
            yield squared, indices

    def _first(self, member, queries, bounds, n_neighbors):
        """The nearest of those with the smallest bounds, and whether this is proved."""
        n_first = min(n_neighbors + N_SPARE, bounds.shape[1])
        indices, lower, left = self._bounds.smallest(bounds, n_first)
        np.minimum(indices, self._n_vectors - 1, out=indices)
        squared = self._measured(member, queries, indices)
        squared[np.isinf(lower)] = np.inf
        # A bound above its distance is that of a product that was less precise than
        # it was asked to be, as settings of torch may have it.
        valid = (lower <= squared * self._rounding).all(1)
        keys = squared.view(np.int32).astype(np.int64) << 32 | indices
        keys.sort(axis=1)
        keys = keys[:, :n_neighbors]
        squared = (keys >> 32).astype(np.int32).view(np.float32)
        squared[~valid] = np.inf
        proved = squared[:, -1] * self._rounding < left
        return squared, keys & 0xFFFFFFFF, proved

    def _among(self, member, queries, allowed, n_neighbors):
        """The nearest of those that are allowed to each query."""
        squared = np.empty((len(queries), n_neighbors), dtype=np.float32)
        indices = np.empty((len(queries), n_neighbors), dtype=np.int64)
        step = max(1, _MOST_VALUES // queries.shape[1])
        for place, row in enumerate(allowed):
            candidates = np.flatnonzero(row)
            if len(candidates) < n_neighbors:
                # There is nothing else to compare it with.
                candidates = np.arange(self._n_vectors)
            near = [
                self._measured(member, queries[place, None], some[None])[0]
                for some in np.split(candidates, range(step, len(candidates), step))
            ]
            near = np.concatenate(near)
            nearest = near.argsort(kind="stable")[:n_neighbors]
            squared[place], indices[place] = near[nearest], candidates[nearest]
        return squared, indices

    def _measured(self, member, queries, indices):
        """Squared distances of some vectors, of the shape of their indices."""
        (n_queries, n_places), width = indices.shape, queries.shape[1]
        squared = np.empty(indices.shape, dtype=np.float32)
        step = max(1, _MOST_VALUES // max(1, n_places * width))
        for start in range(0, n_queries, step):
            block = slice(start, start + step)
            apart = self._vectors[member].take(indices[block].ravel(), axis=0)
            apart = apart.reshape(-1, n_places, width)
            apart -= queries[block, None]
            apart = apart.reshape(-1, width)
            total = np.einsum("ij,ij->i", apart, apart)
            squared[block] = total.reshape(-1, n_places)
        # Clears the sign that what is not a number may have.
        return np.abs(squared, out=squared)


class _Bounds:
    r"""Lower bounds of squared distances.

    With what is lost by rounding the factors, :math:`e`, and with :math:`\hat x + e_x =
    x`, a product is off by :math:`|x^T r - \hat x^T \hat r| \le |e_x| |r| + |\hat x|
    |e_r|`. Norms and these lengths are further columns of the factors. Bounds are
    compared as integers, which for nonnegative floats have the order of the floats.

    Parameters
    ----------
    vectors : Tensor of shape (n_members, n_vectors, width), float32
    dtype : {torch.bfloat16, torch.float32}
        Of the product.
    """

    def __init__(self, vectors, dtype):
        n_vectors, width = vectors.shape[1:]
        self._half = dtype == torch.bfloat16
        self._dtype = dtype
        self._integers = torch.int16 if self._half else torch.int32
        self._infinite = 0x7F80 if self._half else 0x7F800000
        # So many that looking at groups takes as long as looking at members of some.
        self._n_groups = _GROUPS * max(1, round((16 * n_vectors) ** 0.5 / _GROUPS))
        n_columns = -(-n_vectors // self._n_groups) * self._n_groups
        n_pieces = 2 if self._half else 1
        self._width = -(-(width + 2 * n_pieces + 2) // 16) * 16
        # Of the sum, whatever its order, and of what two pieces leave of a norm.
        n_summed = self._width
        if not self._half:
            n_summed = min(n_summed, _SUMMED) + n_summed // _SUMMED
        self._summed = 4 * (n_summed + 8) * _SINGLE
        self._kept = 1 - self._summed - (4 * _HALF**2 if self._half else 0.0)
        rows, pieces, length, lost = self._factor(vectors, n_columns)
        rows[:, n_vectors:, width] = torch.inf
        rows[:, :n_vectors, :width] *= -2
        end = width + 2 * n_pieces
        rows[:, :n_vectors, width : width + n_pieces] = pieces
        rows[:, :, width + n_pieces : end] = 1
        rows[:, :n_vectors, end] = -2 * length
        rows[:, :n_vectors, end + 1] = -2 * lost
        self._columns = rows.mT.contiguous()

    def _query_rows(self, queries):
        """Factors of products with columns, that make the bounds."""
        queries = torch.from_numpy(queries)
        n_queries, width = queries.shape[1:]
        n_padded = max(n_queries, _FEWEST_QUERIES)
        rows, pieces, length, lost = self._factor(queries, n_padded)
        end = width + 2 * pieces.shape[2]
        rows[:, :n_queries, width : end - pieces.shape[2]] = 1
        rows[:, :n_queries, end - pieces.shape[2] : end] = pieces
        rows[:, :n_queries, end] = lost + self._summed * length
        rows[:, :n_queries, end + 1] = length
        return rows

    def _factor(self, vectors, n_rows):
        """Rounded vectors in larger rows, and what bounds need of them.

        These are pieces of their squared norms, a little less, and lengths of the
        vectors and of what they lost, a little more.
        """
        n_members, n_vectors, width = vectors.shape
        rows = torch.zeros(n_members, n_rows, self._width, dtype=self._dtype)
        rounded = rows[:, :n_vectors, :width].copy_(vectors)
        length = torch.linalg.vector_norm(vectors, dim=2)
        left = self._kept * length.double().square() - _UNDERFLOW
        # Their bound is below zero, which tells nothing.
        wild = ~(length <= _LONGEST)
        any_wild = bool(wild.any())
        if any_wild:
            rounded[wild], length[wild], left[wild] = 0, 0, -4 * _LONGEST**2
        pieces = [left.to(self._dtype)]
        lost = torch.zeros_like(length)
        if self._half:
            lost = torch.linalg.vector_norm(vectors - rounded, dim=2)
            if any_wild:
                lost[wild] = 0
            pieces.append((left - pieces[0]).to(self._dtype))
        return rows, torch.stack(pieces, 2), length * _LONGER, lost * _LONGER

    def __call__(self, queries, hidden):
        """For each member, bounds as integers, (n_queries, n_columns), until the next.

        The last columns are infinite.
        """
        n_queries = queries.shape[1]
        rows = self._query_rows(queries)
        shape = rows.shape[1], self._columns.shape[2]
        values = _scratch(math.prod(shape), self._integers).view(shape)
        product = values.view(self._dtype)
        for theirs, ours in zip(rows, self._columns, strict=True):
            if self._half:
                torch.mm(theirs, ours, out=product)
            else:
                self._multiply(theirs, ours, product)
            if hidden is not None:
                values[hidden] = self._infinite
            yield values[:n_queries]

    def _multiply(self, rows, columns, product):
        """A product in single precision, whatever torch's settings make of that.

        NumPy's would take its own number of threads, which is of the whole process.
        """
        multiply = torch.mm
        if not _single_is_exact():
            rows, columns, product = rows.numpy(), columns.numpy(), product.numpy()
            multiply = np.matmul
        multiply(rows[:, :_SUMMED], columns[:_SUMMED], out=product)
        for start in range(_SUMMED, self._width, _SUMMED):
            some = slice(start, start + _SUMMED)
            product += multiply(rows[:, some], columns[some])

    def smallest(self, values, n_smallest):
        """Vectors with the smallest bounds, their bounds, and one for all others.

        Returns
        -------
        indices : ndarray of shape (n_queries, n_smallest)
        lower : ndarray of shape (n_queries, n_smallest)
        left : ndarray of shape (n_queries,)
        """
        grouped = values.view(len(values), -1, self._n_groups)
        # Of each group, the smallest; of groups, those with the smallest.
        n_chosen = min(n_smallest, self._n_groups)
        groups, least = self._least(grouped.amin(1), n_chosen)
        place = torch.from_numpy(groups)[:, None].expand(-1, grouped.shape[1], -1)
        places, lower = self._least(grouped.gather(2, place).flatten(1), n_smallest)
        within = places // n_chosen
        places -= within * n_chosen
        indices = groups[np.arange(len(groups))[:, None], places]
        indices += within * self._n_groups
        left = lower[:, -1]
        # In other groups, none has a smaller bound than the largest of these.
        if n_chosen < self._n_groups:
            left = np.minimum(left, least[:, -1])
        return indices, lower, left

    def _least(self, values, n_smallest):
        """Places of the smallest values of each row, and their bounds."""
        n_places = values.shape[1]
        # The bits of a key that tell the place, and not the value.
        mask = 2 ** n_places.bit_length() - 1
        places = torch.arange(n_places, dtype=torch.int32)
        if self._half:
            mask |= 0xFFFF
            keys = values.int().bitwise_left_shift_(16)
            # Half precision leaves zeros.
            keys = keys.bitwise_and_(~mask) if mask > 0xFFFF else keys
        else:
            keys = values & ~mask
        keys = keys.bitwise_or_(places).numpy()
        keys.partition(n_smallest - 1, axis=1)
        keys = keys[:, :n_smallest]
        lower = (keys & ~mask).view(np.float32)
        return (keys & mask).astype(np.int64), self._less(lower)

    def lower(self, values):
        """Bounds as floats."""
        return self._less(values.contiguous().view(self._dtype).float().numpy())

    def _less(self, floats):
        """Bounds that make up for the rounding of bounds."""
        return floats * (1 - 2 * _HALF * np.sign(floats)) if self._half else floats


def _n_others(queries):
    """How many queries there are before those that only fill up, which are equal."""
    last = queries[:, -1:]
    if queries.shape[1] < 2 or not np.array_equal(queries[:, -2:-1], last):
        return queries.shape[1]
    differs = np.flatnonzero((queries != last).any(axis=(0, 2)))
    return differs[-1] + 1 if len(differs) else 0


_memory = threading.local()


def _scratch(n_values, dtype):
    """Memory of this thread, as what is new has to be cleared by the system first."""
    n_bytes = n_values * dtype.itemsize
    held = getattr(_memory, "held", None)
    if held is None or len(held) < n_bytes:
        held = _memory.held = np.empty(n_bytes, dtype=np.uint8)
    return torch.from_numpy(held[:n_bytes]).view(dtype)


def _single_is_exact():
    """Whether torch's products in single precision are that, by its settings now."""
    rows, columns, exact = _sample()
    product = torch.empty_like(exact)
    torch.mm(rows, columns, out=product)
    return bool((product - exact).abs().max() < 1e-4)


@functools.cache
def _sample():
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(16, 32, generator=generator)
    columns = torch.rand(32, 256, generator=generator)
    return rows, columns, (rows.double() @ columns.double()).float()


@functools.cache
def _half_is_fast():
    """Whether this processor multiplies in half precision, and rounds as it should."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(64, 96, generator=generator)
    columns = torch.rand(96, 2048, generator=generator)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = rows.to(dtype), columns.to(dtype)
        for _ in range(4):
            start = time.perf_counter()
            product = a @ b
            taken = time.perf_counter() - start
            seconds[dtype] = min(seconds.get(dtype, taken), taken)
    # Few rows are often left to other code.
    products = torch.cat([product, a[:_FEWEST_QUERIES] @ b]).double()
    exact = torch.cat([a, a[:_FEWEST_QUERIES]]).double() @ b.double()
    rounded = ((products - exact).abs() <= 1.1 * _HALF * exact).all()
    return bool(rounded) and seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]
