"""Are rows in the units of the training rows? Their ranges, compared."""

import numpy as np

__all__ = ["group_range", "units_differ"]

# A column is in other units where it lies so many half-ranges from the middle of the
# training values, in so large a share of the rows.
_FAR = 10
_MOST = 0.9
# Fewer rows of a table may all be anomalies.
_MIN_ROWS = 10
# A look at so many rows, evenly spaced, is enough.
_MAX_ROWS = 1000


def group_range(columns, input_shape):
    """Smallest and largest value of what has one unit: a column, or a channel.

    Parameters
    ----------
    columns : ndarray of shape (2, n_columns)
        Smallest and largest value of each.
    input_shape : tuple of int
        Shape of one row, channels first.

    Returns
    -------
    ndarray of shape (2, n_features) or (2, n_channels)
    """
    low, high = columns.reshape(2, input_shape[0], -1)
    return np.stack([low.min(axis=1), high.max(axis=1)])


def units_differ(X, trained, names=None):
    """Words for rows that are in other units than the training rows, or None.

    Anomalies are far out as well, but not nearly all rows of a batch, or nearly all
    pixels of an image, by ten times what the training rows span.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Rows to score.
    trained : ndarray of shape (2, n_groups)
        See :func:`group_range`.
    names : sequence of str or None, default=None
        Names of the columns of a table.

    Returns
    -------
    str or None
    """
    low, high = trained
    n_groups = len(low)
    is_table = n_groups == X.shape[1]
    if is_table and len(X) < _MIN_ROWS:
        return None
    X = X[:: -(-len(X) // _MAX_ROWS)]
    values = np.asarray(X, dtype=np.float64).reshape(len(X), n_groups, -1)
    # Halves first, as sums and differences of huge values overflow.
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # The median would miss an image that is mostly dark; the largest, or the mean
        # square, is far out in an image with one defective pixel.
        away = np.abs(values - middle[:, None]) / half[:, None]
        far = away.mean(axis=2) > _FAR
    # Any other value is infinitely far from those of a column that was constant.
    strange = (far.mean(axis=0) >= _MOST) & (half > 0)
    if strange.any():
        group = int(np.flatnonzero(strange)[0])
        return _in_words(values, group, trained, is_table, names, int(strange.sum()))
    if not is_table and _bytes_became_shares(values, low, high):
        return _in_words(values, 0, trained, is_table, names, n_groups)
    return None


def _bytes_became_shares(values, low, high):
    """Whether images were bytes in training and are in [0, 1] now, and not just black.

    Nothing lies outside of the range then.
    """
    were_bytes = low.min() >= 0 and 1 < high.max() <= 255 and high.max() > 100
    # Zeros and ones may be very dark bytes.
    between = (values > 0) & (values < 1)
    return were_bytes and values.min() >= 0 and values.max() <= 1 and between.any()


def _in_words(values, group, trained, is_table, names, n_strange):
    low, high = trained[:, group]
    found = values[:, group]
    if not is_table:
        what = f"Channel {group}"
    elif names is None:
        what = f"Column {group}"
    else:
        what = f"Column {names[group]!r}"
    others = f" (and {n_strange - 1} more)" if n_strange > 1 else ""
    return (
        f"{what}{others} runs from {found.min():.4g} to {found.max():.4g} here, and "
        f"ran from {low:.4g} to {high:.4g} in the rows that the detector was fitted "
        "on. Scale new rows as the training rows were, in the same units."
    )
