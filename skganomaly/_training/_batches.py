"""Training rows on the device, and mini-batches of them."""

from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import Dataset

from .._models._scaling import row_blocks
from .._ranks import current
from .._weights import drawn_by_weight

__all__ = ["Orders", "RowDataset", "TensorBatches"]

# Mini-batches that skorch sees as one.
_CHUNK_STEPS = 25

# Of fewer epochs a curve says nothing.
_MIN_EPOCHS = 20


class RowDataset(Dataset):
    """Training rows, scaled, on the training device where they fit.

    Rows that would take more than a quarter of a GPU's free memory stay in the
    array they came in and are scaled and copied batch by batch.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    scaling : Scaling
        Fitted.
    device : torch.device
    """

    def __init__(self, X, scaling, device):
        self.X = X
        self.scaling = scaling
        self.device = device
        self.resident = None
        if _fits(4 * X.size, device):
            shape = len(X), *scaling.input_shape
            self.resident = torch.empty(shape, dtype=torch.float32, device=device)
            for block in row_blocks(*X.shape):
                self.resident[block] = torch.from_numpy(scaling.transform(X[block]))

    def __len__(self):
        return len(self.X)

    def __getitem__(self, indices):
        """Rows of any array of indices, shape (*indices.shape, *input_shape)."""
        if self.resident is not None:
            return self.resident[indices]
        flat = np.asarray(indices.cpu()).ravel()
        # Ascending reads keep a memory map from seeking back and forth.
        unique, inverse = np.unique(flat, return_inverse=True)
        rows = torch.from_numpy(self.scaling.transform(self.X[unique])[inverse])
        return rows.to(self.device).unflatten(0, indices.shape)


def _fits(n_bytes, device):
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return n_bytes <= free / 4
    return n_bytes <= 2**29


class Orders:
    """The orders in which members go through the rows.

    Each member has one of its own, reshuffled on every pass; a remainder that would not
    fill a batch is left to the next pass, so that all batches have one shape.

    Parameters
    ----------
    n_rows, batch_size, n_members : int
    generator : torch.Generator
        Source of the orders.
    weights : ndarray of shape (n_rows,) or None, default=None
        How many rows each counts for: a pass has it so often, but for less than one
        time.
    max_batches : int or None, default=None
        How many batches will be drawn in all, if that is known: no more of a pass are
        kept.
    """

    def __init__(
        self,
        n_rows,
        batch_size,
        n_members,
        generator,
        weights=None,
        max_batches=None,
    ):
        self.n_rows = n_rows
        self.batch_size = min(batch_size, n_rows)
        self.n_members = n_members
        self.generator = generator
        self.weights = weights
        self.max_batches = max_batches
        self.pending = None

    def draw(self, n_batches):
        """Indices of the next batches, shape (n_batches, n_members, batch_size)."""
        drawn = []
        while n_batches > 0:
            if self.pending is None or not len(self.pending):
                self.pending = self._new_pass()
            drawn.append(self.pending[:n_batches])
            self.pending = self.pending[n_batches:]
            n_batches -= len(drawn[-1])
        return torch.cat(drawn)

    def _new_pass(self):
        per_pass = self.n_rows // self.batch_size
        if self.max_batches is not None:
            per_pass = min(per_pass, self.max_batches)
        shape = self.n_members, per_pass, self.batch_size
        orders = torch.empty(shape, dtype=torch.int64, device="cpu")
        for order in orders.flatten(1):
            # One at a time, as those of very many rows are large.
            order.copy_(self._one_order()[: len(order)])
        return orders.transpose(0, 1)

    def _one_order(self):
        order = torch.randperm(self.n_rows, generator=self.generator)
        if self.weights is None:
            return order
        start = torch.rand((), generator=self.generator, dtype=torch.float64)
        drawn = order[drawn_by_weight(self.weights[order.numpy()], start.item())]
        # A row that comes more than once would meet itself in a batch.
        return drawn[torch.randperm(self.n_rows, generator=self.generator)]

    def state_dict(self):
        """What decides all orders to come."""
        return {"pending": self.pending, "source": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on from where :meth:`state_dict` was taken."""
        self.pending = state["pending"]
        self.generator.set_state(state["source"])


class _Chunk:
    """Some mini-batches in a row, gathered one by one as they are iterated over."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = indices

    def __len__(self):
        return len(self.indices)

    def __iter__(self):
        return (self.dataset[batch] for batch in self.indices)


class TensorBatches:
    """Iterator over the mini-batches of one epoch after the other, in chunks.

    skorch does a fixed amount of bookkeeping for whatever its iterator yields, which
    for small networks is as much work as the step itself. This one yields chunks of
    many mini-batches.

    An epoch is one pass over the rows, or 25 steps where a pass is shorter, or a part
    of either where there would be few epochs; see :meth:`epoch_lengths`. How the steps
    are divided changes nothing of what is drawn.

    Parameters
    ----------
    dataset : RowDataset
    batch_size : int
        Rows of a mini-batch; all rows if there are fewer.
    max_steps : int
        Mini-batches of all epochs together.
    orders : Orders
        What decides which rows come when.
    position : tuple of (int, bool), default=(0, False)
        See :meth:`epoch_lengths`.
    """

    def __init__(self, dataset, batch_size, *, max_steps, orders, position=(0, False)):
        self.dataset = dataset
        self.orders = orders
        self._epochs = iter(
            self.epoch_lengths(len(dataset), batch_size, max_steps, position)
        )

    @staticmethod
    def steps_per_pass(n_rows, batch_size):
        """Steps of one pass over the rows, but at least 25."""
        return max(n_rows // min(batch_size, n_rows), _CHUNK_STEPS)

    @staticmethod
    def epoch_lengths(n_rows, batch_size, max_steps, position=(0, False)):
        """Optimiser steps of each epoch of a training.

        Parameters
        ----------
        n_rows, batch_size, max_steps : int
        position : tuple of (int, bool), default=(0, False)
            Steps that are done already, and whether the epoch they end in is to be
            gone on with, even if it has no more steps.

        Returns
        -------
        list of int
            They add up to `max_steps`, less what is done. Of a whole training there are
            20 or more, if there are so many steps, and each pass begins with an epoch
            of its own.
        """
        whole = TensorBatches.steps_per_pass(n_rows, batch_size)
        longest = min(max(max_steps // _MIN_EPOCHS, 1), whole)
        n_parts = -(-whole // longest)
        ends = [
            start + whole * part // n_parts
            for start in range(0, max_steps, whole)
            for part in range(1, n_parts + 1)
        ]
        n_done, is_open = position
        ends = [*(end for end in ends if end < max_steps), max_steps]
        ends = [end for end in ends if end > n_done - is_open]
        return [end - start for start, end in pairwise([n_done, *ends])]

    def __iter__(self):
        epoch = next(self._epochs, 0)
        for start in range(0, epoch, _CHUNK_STEPS):
            taken = min(_CHUNK_STEPS, epoch - start)
            indices = current().share(self.orders.draw(taken), 2)
            yield _Chunk(self.dataset, indices.to(self.dataset.device))
