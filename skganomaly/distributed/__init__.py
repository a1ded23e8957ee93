"""Rows that lie with Dask, Spark, Ray or Arrow: fit on a sample, score where they are.

A training reads no more rows than its steps and its references take, so :func:`fit`
draws these uniformly, and takes from all rows what scaling needs: the range, mean and
standard deviation of each column. :func:`score` runs a fitted detector on each block.
Of images, :func:`data_parallel` has several processes train one detector.
"""

from .._ranks import data_parallel
from ._face import fit, sample, score

__all__ = ["data_parallel", "fit", "sample", "score"]
