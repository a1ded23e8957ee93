"""Which rows are among the references: recognised by fingerprints."""

import hashlib
import math

import numpy as np
import torch

from ._whitening import Fitted

__all__ = ["References", "row_keys"]


def row_keys(rows):
    """A 64-bit fingerprint of each row, equal exactly when the rows are.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, ...), float32
        Scaled rows.

    Returns
    -------
    ndarray of shape (n_rows,), uint64
        Two different rows share a fingerprint with probability 2**-64.
    """
    # Adding zero turns -0.0, whose bytes differ, into 0.0.
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:])) + np.float32(0)
    flat = np.ascontiguousarray(flat)
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in flat]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


class References(Fitted):
    """Finds the groups of rows by their fingerprints.

    Its buffers stay on the CPU, where fingerprints are taken.
    """

    def fit(self, keys, groups):
        """Take in rows and their groups.

        Parameters
        ----------
        keys : ndarray of shape (n_keys,), uint64
            See :func:`row_keys`. A row may have several; of equal ones the first
            counts.
        groups : ndarray of shape (n_keys,), int
            The group of the row that each belongs to.

        Returns
        -------
        self : References
        """
        # Stable, so that the first of equal keys is found.
        order = np.argsort(keys, kind="stable")
        # torch has few operations for unsigned numbers, and none are needed.
        self.store(
            keys=torch.from_numpy(keys[order].view(np.int64)),
            groups=torch.from_numpy(groups[order]),
        )
        return self

    def _apply(self, fn, recurse=True):
        return self

    def find(self, keys):
        """Group of the row with each key, or -1.

        Parameters
        ----------
        keys : ndarray of shape (n_rows,), uint64

        Returns
        -------
        ndarray of shape (n_rows,), int64
        """
        known, groups = self.keys.numpy().view(np.uint64), self.groups.numpy()
        place = np.searchsorted(known, keys)
        place = np.minimum(place, len(known) - 1)
        found = known[place] == keys
        return np.where(found, groups[place], -1)
