"""Datasets of Ray."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pandas as pd

__all__ = ["add_scores", "columns_of", "draw"]


def columns_of(source):
    """Names of the columns."""
    return source.columns()


def draw(source, columns, plan):
    """A sample: one of each block, merged here as they come."""

    def of_batch(batch):
        rows = _rows(batch, columns)
        # Blocks are not numbered; what is in them tells them apart.
        digest = hashlib.blake2b(pickle.dumps(rows), digest_size=8).digest()
        drawn = plan.of_block(rows, int.from_bytes(digest, "little"))
        return {"drawn": np.array([pickle.dumps(drawn)], dtype=object)}

    parts = _mapped(source, of_batch).iter_rows()
    merged = None
    for part in parts:
        part = pickle.loads(part["drawn"])
        merged = part if merged is None else plan.merge([merged, part])
    return merged


def add_scores(source, columns, function, name, dtype):
    """The dataset with one more column."""

    def of_batch(batch):
        return {**batch, name: function(_rows(batch, columns))}

    return _mapped(source, of_batch)


def _mapped(source, function):
    return source.map_batches(function, batch_format="numpy", batch_size=None)


def _rows(batch, columns):
    """A frame of columns; an array, if there is one column and it holds arrays."""
    if len(columns) == 1 and batch[columns[0]].ndim > 1:
        return batch[columns[0]]
    return pd.DataFrame({name: batch[name] for name in columns})
