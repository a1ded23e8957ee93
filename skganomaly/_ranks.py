"""Processes that train one detector together, each on its share of every batch."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from torch import Tensor, nn
    from torch.distributed import ProcessGroup

__all__ = ["Ranks", "current", "data_parallel"]

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Ranks:
    """Processes that do the same, and which of them this one is.

    One process by itself is the default; then nothing here does anything.

    Parameters
    ----------
    group : ProcessGroup or None, default=None
        None is that of all processes.
    rank : int, default=0
        Which process this is.
    size : int, default=1
        How many there are.
    """

    group: ProcessGroup | None = None
    rank: int = 0
    size: int = 1

    # What is done by shares.

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared equally, or leaves no statistics."""
        if self.size > 1 and (batch_size % self.size or batch_size < 2 * self.size):
            raise ValueError(
                f"A batch of {batch_size} cannot be shared by {self.size} processes, "
                "each of which takes as many rows as any other, and at least two. Set "
                f"batch_size to a multiple of {self.size} that is {2 * self.size} or "
                "more, and no more than there are training rows."
            )

    def share(self, batch: Tensor, axis: int) -> Tensor:
        """The part of this process in what was drawn for the whole of a batch."""
        return batch if self.size == 1 else batch.chunk(self.size, axis)[self.rank]

    def own_source(
        self, source: torch.Generator | None, step: int
    ) -> torch.Generator | None:
        """A source of what no two processes, and no two steps, are to draw alike.

        The common source stays as it is, so that the state of all processes is one.
        """
        if self.size == 1 or source is None:
            return source
        seed = source.initial_seed() + self.size * step + self.rank
        return torch.Generator(source.device).manual_seed(seed)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Put means over the processes in the place of tensors, in one exchange."""
        if self.size == 1:
            return
        found = [tensor for tensor in tensors if tensor is not None]
        if not found:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in found])
        dist.all_reduce(flat, group=self.group)
        means = (flat / self.size).split([tensor.numel() for tensor in found])
        for tensor, mean in zip(found, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    # What has to be the same.

    @torch.no_grad()
    def equalise(self, modules: Iterable[nn.Module]) -> None:
        """Give all processes the parameters and buffers of the first."""
        if self.size == 1:
            return
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                dense = tensor.contiguous()
                dist.broadcast(dense, self._first, group=self.group)
                tensor.copy_(dense)

    def agreed(self, value: _Value) -> _Value:
        """What the first process says."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, self._first, group=self.group)
        return values[0]

    def compare(self, given: dict[str, Any]) -> None:
        """Refuse, in each process, what was not given to all of them alike."""
        if self.size == 1:
            return
        everywhere: list[Any] = [None] * self.size
        dist.all_gather_object(everywhere, given, group=self.group)
        first = everywhere[0]
        words = [
            f"{name} is {first.get(name)!r} in process 0 and {other.get(name)!r} in "
            f"process {rank}"
            for rank, other in enumerate(everywhere)
            for name in first | other
            if first.get(name) != other.get(name)
        ]
        if words:
            raise ValueError(
                f"Processes in data_parallel() were given different things: "
                f"{'; '.join(words)}. Give all of them the same detector and the same "
                "rows or images; each takes its share of every batch by itself."
            )

    @property
    def _first(self) -> int:
        return 0 if self.group is None else dist.get_global_rank(self.group, 0)

    @property
    def gpu(self) -> int:
        """Which of the GPUs that it sees is this process's own."""
        place = int(os.environ.get("LOCAL_RANK", self.rank))
        return place % torch.cuda.device_count()


_ALONE = Ranks()
_CURRENT: ContextVar[Ranks] = ContextVar("skganomaly_ranks", default=_ALONE)


def current() -> Ranks:
    """The processes that a fit of this thread is shared by."""
    return _CURRENT.get()


@contextmanager
def data_parallel(group: ProcessGroup | None = None) -> Iterator[None]:
    """Have each ``fit`` in the block be one fit of all processes together.

    For large sets of images and several GPUs or machines. All processes run the same
    script, as PyTorch's launcher ``torchrun`` starts it, and fit the same detector on
    the same images. Each takes its share of every mini-batch, and the mean of their
    gradients moves the networks of all, so ``batch_size`` and everything else mean what
    they mean in one process. All end with the same weights, to the last bit; see
    :ref:`data-parallel`.

    Fits in the block are shared if they are called in its thread: of the detectors of
    this package, also inside of a Pipeline or a search, and of
    :class:`~skganomaly.images.ImageDetector`. Scoring is not.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None, default=None
        The processes. None are all.

    Raises
    ------
    RuntimeError
        If there is no process group yet.
    ValueError
        If this process is not in `group`. Each ``fit`` raises one, in all processes, if
        they were given different rows or parameters, or if a batch cannot be shared
        equally.

    Examples
    --------
    A script that ``torchrun --nproc-per-node=4 train.py`` would run on four GPUs, here
    with one process:

    >>> import numpy as np
    >>> import torch.distributed as dist
    >>> from skganomaly import GANomalyDetector
    >>> from skganomaly.distributed import data_parallel
    >>> dist.init_process_group(  # torchrun: dist.init_process_group()
    ...     "gloo", store=dist.HashStore(), rank=0, world_size=1
    ... )
    >>> images = np.random.default_rng(0).random((100, 8, 8))
    >>> detector = GANomalyDetector(max_steps=2, random_state=0)
    >>> with data_parallel():
    ...     detector = detector.fit(images)
    >>> if dist.get_rank() == 0:  # all have the same
    ...     print(detector.n_iter_)
    2
    >>> dist.destroy_process_group()
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "data_parallel() finds no process group. Call "
            "torch.distributed.init_process_group() first, in a script that torchrun "
            "starts, as in: torchrun --nproc-per-node=2 train.py"
        )
    rank = dist.get_rank(group)
    if rank < 0:
        raise ValueError(
            f"Process {dist.get_rank()} is not in the group that data_parallel() was "
            "given. Enter the block only in processes that are."
        )
    token = _CURRENT.set(Ranks(group, rank, dist.get_world_size(group)))
    try:
        yield
    finally:
        _CURRENT.reset(token)
