"""CUDA graphs: what a GPU does alike in every step is recorded once, then replayed.

Of small networks, a GPU is done with each operation before it is asked for the next.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["graphs"]

# Calls that are made as usual, as optimisers and CUDA's libraries set themselves up.
_WARM_UP = 3

# In a block of graphs(), what its user has been told.
_TOLD: ContextVar[set[str] | None] = ContextVar("skganomaly_graphs", default=None)


class _Cuda:
    """All that is asked of CUDA itself."""

    device_type = "cuda"

    def __init__(self, device):
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def aside(self, work):
        """Do work where it will be recorded."""
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        with torch.cuda.stream(self.stream):
            made = work()
        main.wait_stream(self.stream)
        return made

    def record(self, work, sources):
        """Record work without doing it: what will do it, and where the results are."""
        graph = torch.cuda.CUDAGraph()
        for source in sources:
            graph.register_generator_state(source)
        options = {"stream": self.stream, "capture_error_mode": "thread_local"}
        # The second does not leave the stream if a recording fails.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, **options):
            made = work()
        return graph.replay, made


class Recorded:
    """Work that is done a few times, recorded, and from then on replayed.

    The work takes tensors of the same shapes in all calls, looks at none of their
    values, and depends on nothing in Python that changes, but for the learning rates of
    `optimizers`, which it steps and which are fused. The next call overwrites what it
    returns. `sources` by name are what it draws from; they are replaced where a
    recording fails. `made_of` returns what :meth:`check` compares.
    """

    def __init__(self, work, optimizers, device, sources, made_of, tell):
        self.work, self.optimizers, self.device = work, optimizers, device
        self.sources, self.made_of, self.tell = sources, made_of, tell
        self.cuda, self.failed = _Cuda(device), False
        self._begin()

    def _begin(self):
        self.n_calls, self.shapes, self.replay = 0, None, None

    def check(self):
        """Begin anew where something else has taken the place of what is recorded."""
        if self.n_calls and self.made_of() != self.basis:
            self._begin()

    def __call__(self, *given):
        """Do the work."""
        shapes = [tensor.shape for tensor in given]
        self.shapes = self.shapes or shapes
        if self.shapes != shapes:
            self._fail("batches have several sizes")
        self.n_calls += 1
        if self.n_calls <= _WARM_UP and not self.failed:
            made = self.cuda.aside(partial(self.work, *given))
            self.basis = self.made_of()
            return made
        if self.replay is None and not self.failed:
            self._record(given)
        if self.failed:
            return self.work(*given)
        for kept, tensor in zip(self.given, given, strict=True):
            kept.copy_(tensor)
        for group, rate in zip(self._groups(), self.rates, strict=True):
            rate.fill_(group["lr"])
        self.replay()
        return self.made

    def _fail(self, reason):
        self.failed, self.replay = True, None
        self.tell(reason)

    def _groups(self):
        return [group for made in self.optimizers for group in made.param_groups]

    def _record(self, given):
        self.given = [tensor.clone() for tensor in given]
        sources = {name: s for name, s in self.sources.items() if s is not None}
        states = {name: source.get_state() for name, source in sources.items()}
        groups = self._groups()
        before = [group.copy() for group in groups]
        zeros = partial(torch.zeros, (), dtype=torch.float32, device=self.device)
        self.rates = [zeros() for _ in groups]
        # Numbers of Python would be recorded as they are now.
        for group, rate in zip(groups, self.rates, strict=True):
            group.update(lr=rate, capturable=True)
        try:
            self.replay, self.made = self.cuda.record(
                partial(self.work, *self.given), sources.values()
            )
        # Whatever CUDA, or a network of a user's, has against it.
        except Exception as error:
            self._fail(f"a step cannot be recorded ({error})")
            for name, state in states.items():
                self.sources[name] = torch.Generator(self.device).set_state(state)
        finally:
            for group, was in zip(groups, before, strict=True):
                group.clear()
                group.update(was)
        self.basis = self.made_of()


def recorded(work, optimizers, device, *, sources=None, made_of=tuple, obstacle=None):
    """Work as it is or, in :func:`graphs` and without an obstacle, as recorded."""
    told = _TOLD.get()
    if told is None:
        return work

    def tell(reason):
        if reason not in told:
            told.add(reason)
            words = f"graphs() has no effect on some of the work, as {reason}."
            warnings.warn(words, UserWarning, stacklevel=3)

    groups = [group for made in optimizers for group in made.param_groups]
    if device.type != _Cuda.device_type:
        obstacle = f"the device is {str(device)!r}, and only CUDA has graphs"
    elif obstacle is None and not all(group.get("fused") for group in groups):
        obstacle = "net_params has an optimizer without optimizer__fused=True"
    if obstacle is None:
        return Recorded(work, optimizers, device, sources or {}, made_of, tell)
    tell(obstacle)
    return work


@contextmanager
def graphs() -> Iterator[None]:
    """Record the steps of trainings and searches in the block as CUDA graphs.

    For small networks on a GPU: what the processor would ask for in 100 calls a step or
    more, it then asks for in one. Each kind of step is done as usual three times,
    recorded, and then replayed: in ``fit``, and in AnoGAN's search by gradients there
    and in all methods that look at rows, if called in the thread of the block.

    Done as without the block is what cannot be recorded: on another device than CUDA;
    with a callback that asks for gradients (``on_grad_computed``); by several processes
    in :func:`~skganomaly.distributed.data_parallel`; with ``compile`` or an optimizer
    that is not ``fused`` in ``net_params``; and where a network or loss of yours looks
    at values of tensors.

    What is replayed runs no Python. Where a network, loss or callback of yours changes
    what is computed by anything but tensors, a learning rate or ``requires_grad``, such
    as by the weight of a loss that grows, leave the block out.

    .. warning::
        Experimental, and off by default for this reason: no machine that has tested it
        had a GPU. All but CUDA's own part is tested with a stand-in for that; see
        :ref:`scaling-gpu`.

    Warns
    -----
    UserWarning
        That something is not recorded, once for each reason.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import GANomalyDetector
    >>> from skganomaly.cuda import graphs
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> with graphs():  # doctest: +SKIP
    ...     detector = GANomalyDetector(device="cuda").fit(X)
    """
    token = _TOLD.set(set())
    try:
        yield
    finally:
        _TOLD.reset(token)
