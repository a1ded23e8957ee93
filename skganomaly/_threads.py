"""How many threads torch takes in our calls, by the size of the work.

Threads that share the operations of a small step wait for each other hundreds of times
in it. On idle cores this gains little. Where another process holds a core, each wait
may last until the system lets it go, and a step of milliseconds takes a second.
"""

from __future__ import annotations

import ctypes
import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["threads_for"]

# Multiplications of one pass that are worth threads: if much else comes with it, such
# as gradients, or if it is a score.
_WORTH_IF_HEAVY = 2**26
_WORTH_IN_SCORING = 2**30

# Multiplications that a value takes at least, where kernels move over an image.
_PER_VALUE = 2**10


@contextmanager
def threads_for(
    n_rows: int, n_values: int, n_parameters: int, *, heavy: bool = False
) -> Iterator[None]:
    """Leave torch one thread in a block, unless its work is large.

    What counts is a pass of the rows that networks see at once. Large work keeps the
    user's number of threads. It goes by sizes alone, as bits may depend on it.

    Parameters
    ----------
    n_rows : int
        Rows that each network sees.
    n_values : int
        Values of the rows of all networks.
    n_parameters : int
        Of all networks.
    heavy : bool, default=False
        Whether the pass is one of a training step, of a search by gradients, or of the
        fit of a score.
    """
    enough = _WORTH_IF_HEAVY if heavy else _WORTH_IN_SCORING
    # Each parameter meets each row once, and in convolutions more often.
    if max(n_rows * n_parameters, n_values * _PER_VALUE) >= enough:
        yield
        return
    # The first question of a thread has torch set its numbers, which would undo ours.
    torch.get_num_threads()
    before = []
    # An interrupt, at any place, undoes what has been done.
    try:
        for swap in _swaps():
            before.append((swap, swap(1)))
        yield
    finally:
        for swap, number in before:
            swap(number)


@functools.cache
def _swaps() -> list[Callable[[int], int]]:
    """Functions that set a number of the calling thread and return the one before.

    torch.set_num_threads sets one of the process as well, which threads that begin in
    the meantime would keep. OpenMP's number, which torch goes by, is of the thread. So
    is a number that torch's own MKL has for itself once the user has set any; limited
    without it, products would ask for threads that all else has sent away.
    """
    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    swaps = [functools.partial(_swap, library) for library in libraries]
    # Not on every system can it be reached, and not every torch has it.
    of_mkl = getattr(ctypes.CDLL(torch._C.__file__), "MKL_Set_Num_Threads_Local", None)
    return swaps if of_mkl is None else [*swaps, of_mkl]


def _swap(library, number):
    before = library.get_num_threads()
    library.set_num_threads(number)
    return before
