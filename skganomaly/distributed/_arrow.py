"""Arrow datasets, such as a folder of Parquet files, read batch by batch."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["add_scores", "columns_of", "draw"]

# Values of a batch. Few batches are read ahead, so that memory does not depend on how
# many rows there are.
_BATCH_VALUES = 2**22


def columns_of(source):
    """Names of the columns."""
    return source.schema.names


def draw(source, columns, plan):
    """A sample, in one pass over the batches."""
    batches = _batches(source, columns)
    return plan.of_stream(batch.to_pandas() for batch in batches)


def add_scores(source, columns, function, name, dtype):
    """A reader of the batches with one more column."""
    schema = source.schema.append(pa.field(name, pa.from_numpy_dtype(dtype)))

    def scored():
        for batch in _batches(source, source.schema.names):
            scores = function(batch.select(columns).to_pandas())
            columns_ = [*batch.columns, pa.array(scores)]
            yield pa.RecordBatch.from_arrays(columns_, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, scored())


def _batches(source, columns):
    batches = source.to_batches(
        columns=columns,
        batch_size=max(1, _BATCH_VALUES // len(columns)),
        batch_readahead=1,
        fragment_readahead=1,
    )
    return (batch for batch in batches if len(batch))
