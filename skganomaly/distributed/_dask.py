"""Dask arrays and frames."""

from __future__ import annotations

import dask
import numpy as np

from ._draw import TOGETHER

__all__ = ["add_scores", "columns_of", "draw"]


def columns_of(source):
    """Names of the columns of a frame; None of an array."""
    names = getattr(source, "columns", None)
    return None if names is None else list(names)


def draw(source, columns, plan):
    """A sample, merged by a tree of tasks."""
    rows = _whole_rows(source) if columns is None else source[columns]
    parts = [
        dask.delayed(plan.of_block)(block, place)
        for place, block in enumerate(np.ravel(rows.to_delayed()))
    ]
    while len(parts) > 1:
        parts = [
            dask.delayed(plan.merge)(parts[start : start + TOGETHER])
            for start in range(0, len(parts), TOGETHER)
        ]
    return parts[0].compute()


def add_scores(source, columns, function, name, dtype):
    """An array of scores; a frame with one more column."""
    if columns is None:
        return _whole_rows(source).map_blocks(
            function,
            dtype=dtype,
            drop_axis=list(range(1, source.ndim)),
            meta=np.empty(0, dtype),
        )
    meta = source._meta.assign(**{name: np.empty(0, dtype)})
    return source.map_partitions(_with_scores, columns, function, name, meta=meta)


def _with_scores(frame, columns, function, name):
    return frame.assign(**{name: function(frame[columns])})


def _whole_rows(array):
    """The array in blocks that are divided along the first axis alone."""
    return array.rechunk({axis: -1 for axis in range(1, array.ndim)})
