"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["write_atomically"]


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], object]
) -> None:
    """Write a file in such a way that whatever happens leaves the old one or the new.

    Parameters
    ----------
    path : str or path-like
        Of a symbolic link, the file it points to is replaced.
    write : callable
        Takes a file that is open for binary writing, and fills it.
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    # In the same folder, as only within a file system a file takes another's place.
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        # The new name has to reach the disk as well.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
