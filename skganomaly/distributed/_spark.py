"""Data frames of Spark, classic and Connect."""

from __future__ import annotations

import numpy as np
from pyspark.sql import Observation
from pyspark.sql import functions as sf
from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    LongType,
    NumericType,
    StructField,
    StructType,
)

from .._models._scaling import ColumnStatistics
from ._draw import Drawn

__all__ = ["add_scores", "columns_of", "draw"]

_AGGREGATES = {
    "low": sf.min,
    "high": sf.max,
    "mean": sf.avg,
    "std": sf.stddev_pop,
    "count": sf.count,
}


def columns_of(source):
    """Names of the columns."""
    return source.columns


def draw(source, columns, plan):
    """The rows of the smallest random numbers; Spark observes the rest as it goes."""
    rows = _select(source, columns)
    numbers = all(
        isinstance(field.dataType, NumericType | BooleanType) for field in rows.schema
    )
    observation = Observation()
    asked = [sf.count(sf.lit(1)).alias("n_rows")]
    if plan.describe and numbers:
        asked += [
            aggregate(_column(column).cast("double")).alias(f"{name} {place}")
            for place, column in enumerate(columns)
            for name, aggregate in _AGGREGATES.items()
        ]
    rows = rows.observe(observation, *asked)
    drawn = rows.orderBy(sf.rand(plan.seed)).limit(plan.n_rows).toPandas()
    found = observation.get
    n_rows = found["n_rows"]
    described = plan.describe and numbers and n_rows
    return Drawn(
        drawn, None, n_rows, _statistics(found, len(columns)) if described else None
    )


def add_scores(source, columns, function, name, dtype):
    """The frame with one more column."""
    names = source.columns

    def of_frames(frames):
        for frame in frames:
            frame.columns = names
            yield frame.assign(**{name: function(frame[columns])})

    kind = DoubleType() if dtype == np.float64 else LongType()
    schema = StructType([*source.schema.fields, StructField(name, kind)])
    # Spark takes a dot in a name for one of a field.
    numbered = source.toDF(*(f"column{place}" for place in range(len(names))))
    return numbered.mapInPandas(of_frames, schema)


def _select(source, columns):
    return source.select(*map(_column, columns))


def _column(name):
    """A column by a name that may have any character."""
    return sf.col("`" + name.replace("`", "``") + "`")


def _statistics(found, n_columns):
    low, high, mean, std, count = (
        np.array([found[f"{name} {place}"] for place in range(n_columns)], dtype=float)
        for name in _AGGREGATES
    )
    # Aggregates pass over what is missing.
    mean[count < found["n_rows"]] = np.nan
    constant = low == high
    return ColumnStatistics(
        found["n_rows"],
        low,
        high,
        np.where(constant, low, mean),
        np.where(constant, 0.0, std),
    )
