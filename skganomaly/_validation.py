"""What rows a detector takes, and words for those that it does not."""

import math
import os
import reprlib
from functools import partial
from numbers import Real

import numpy as np
from sklearn import config_context
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import column_or_1d, validate_data

__all__ = [
    "first_few",
    "read_groups",
    "refuse_unreadable",
    "validate_rows",
    "validate_table",
]

# Columns that an error names; of more it gives the number.
_MAX_NAMED = 5

_DATES = ("date", "time", "duration", "period")


def validate_rows(estimator, X, *, reset, input_shape=None):
    """Check the rows of a table, or images or windows, for a detector of this library.

    Parameters
    ----------
    estimator : estimator
        The detector; gets ``n_features_in_`` and, if there are, ``feature_names_in_``.
    X : array-like of shape (n, n_features), (n, ...), up to four dimensions
    reset : bool
        Whether the detector is fitted to ``X``, or ``X`` compared with what it was
        fitted to.
    input_shape : tuple of int or None, default=None
        Shape of one row at fit; only without `reset`.

    Returns
    -------
    X : ndarray of shape (n, n_features), float64 or float32
    shape : tuple of int
        As the rows came.

    Raises
    ------
    ValueError, TypeError
        With the columns that are to blame, and what to do about them.
    """
    refuse_unreadable(X)
    X = _without_mask(X)
    if not hasattr(X, "shape") and hasattr(X, "__array_interface__"):
        # As one image of Pillow.
        X = np.asarray(X)
    shape = _shape(X)
    if len(shape) > 4:
        raise ValueError(
            f"X has {len(shape)} dimensions, of shape {shape}. Pass rows "
            "(n, n_features), windows (n, channels, length), or images (n, height, "
            "width) or (n, channels, height, width)."
        )
    if not reset:
        _check_row_shape(estimator, shape, input_shape)
    dtype = getattr(X, "dtype", None)
    # The bytes of images, for one, are eight times as large in double precision.
    single = isinstance(dtype, np.dtype) and np.can_cast(dtype, np.float32)
    options = {
        "reset": reset,
        "min_samples": 2 if reset else 1,
        "dtype": np.float32 if single else [np.float64, np.float32],
    }
    if len(shape) > 2:
        X = np.asarray(X).reshape(shape[0], math.prod(shape[1:]))
        return validate_table(estimator, X, named=False, **options), shape
    X = validate_table(estimator, X, **options)
    return X, X.shape


def refuse_unreadable(X):
    """Refuse tensors and frames that make no array, with what to do.

    Parameters
    ----------
    X : object
        Rows as they came.

    Raises
    ------
    TypeError
        If X is a tensor, or a list of tensors, that NumPy cannot read, or a frame of
        which all columns are sparse.
    """
    first = X[0] if isinstance(X, list | tuple) and X else X
    if hasattr(first, "detach") and hasattr(first, "requires_grad"):
        try:
            np.asarray(first)
        except (RuntimeError, TypeError) as error:
            name = "X" if first is X else "torch.stack(X)"
            raise TypeError(
                f"X has a tensor of {first.dtype}, on {first.device}, which NumPy "
                f"cannot read. Pass {name}{_readable(first)}. ({error})"
            ) from error
    dtypes = list(X.dtypes) if _is_frame(X) and hasattr(X, "sparse") else []
    if dtypes and all(str(dtype).startswith("Sparse") for dtype in dtypes):
        raise TypeError(
            "Sparse data was passed for X: a frame of which all columns are sparse. "
            "Pass X.sparse.to_dense(), or fewer columns if that is too large."
        )


def _readable(tensor):
    """Calls that make a tensor one that NumPy can read."""
    dtype = str(tensor.dtype)
    calls = {
        "detach": tensor.requires_grad,
        "cpu": tensor.device.type != "cpu",
        "dequantize": tensor.is_quantized,
        "to_dense": "sparse" in str(tensor.layout),
        "resolve_conj": tensor.is_conj(),
        "resolve_neg": tensor.is_neg(),
        "float": "bfloat" in dtype or "float8" in dtype,
    }
    return "".join(f".{name}()" for name, needed in calls.items() if needed)


def read_groups(X, groups, words):
    """One group for each row, as an array.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
    groups : array-like of shape (n_rows,)
        Numbers or names.
    words : str
        What groups have to be, for the error.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    check_consistent_length(X, groups)
    try:
        groups = check_array(column_or_1d(groups), ensure_2d=False, dtype=None)
        if any(group is None for group in groups.tolist()):
            raise ValueError("Input contains None.")
    # AttributeError is what scikit-learn 1.6 makes of pandas.NA.
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{words} {error}") from error
    return groups


def _check_row_shape(estimator, shape, input_shape):
    """Compare images or windows with those at fit."""
    # Images of one channel may come without the axis of channels.
    known = (input_shape, input_shape[1:]) if input_shape[0] == 1 else (input_shape,)
    n_features = math.prod(input_shape)
    if len(shape) > 1 and shape in known and math.prod(shape[1:]) != n_features:
        raise ValueError(
            f"X has shape {shape}, which is the shape of one row. The first axis "
            f"counts the rows, so pass X[None], of shape {(1, *shape)}."
        )
    if len(shape) > 2 and shape[1:] not in known:
        raise ValueError(
            f"X has shape {shape}, but {type(estimator).__name__} was fitted on rows "
            f"of shape {input_shape}. Pass (n, {', '.join(map(str, input_shape))}) or "
            f"flat rows of {n_features} values."
        )


def validate_table(
    estimator, X, *, reset, min_samples=1, dtype=(np.float64, np.float32), named=True
):
    """Check a table as :func:`sklearn.utils.validation.validate_data` does.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and, if there are, ``feature_names_in_``.
    X : array-like of shape (n_samples, n_features)
    reset : bool
        Whether the estimator is fitted to ``X``.
    min_samples : int, default=1
        Rows that are needed.
    dtype : dtype or list of dtype, default=(float64, float32)
        As of :func:`sklearn.utils.check_array`.
    named : bool, default=True
        Whether the columns mean something to whoever reads an error, as pixels do not.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float64 or float32
        Finite, whatever scikit-learn has been told to assume.

    Raises
    ------
    ValueError, TypeError
        If there are masked, missing or infinite values, text, categories or dates: with
        up to five columns by name and dtype, and what to do about them. And all that
        scikit-learn checks.
    """
    refuse_unreadable(X)
    X = _without_mask(X)
    _refuse_dates(X)
    try:
        # What overflows becomes infinite, and is refused below.
        with config_context(array_api_dispatch=False), np.errstate(over="ignore"):
            values = validate_data(
                estimator,
                X,
                reset=reset,
                dtype=dtype,
                ensure_min_samples=min_samples,
                ensure_all_finite=False,
            )
    except OverflowError as error:
        raise ValueError(
            "X has integers beyond 1.8e308, which double precision cannot hold. "
            f"Rescale or clip them first. ({error})"
        ) from error
    except (TypeError, ValueError) as error:
        words = _columns_without_numbers(X)
        if words is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{words} ({error})") from error
    _refuse_infinite(estimator, X, values, named)
    return values


def _shape(X):
    """Shape of an array, frame or list; say what is wrong if there is none."""
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(_words_for_text(X))
    if not isinstance(X, list | tuple):
        shape = tuple(getattr(X, "shape", ()))
        if not (hasattr(X, "shape") or isinstance(X, Real) or np.asarray(X).ndim):
            raise TypeError(
                f"X is of type {type(X).__name__}, which has no rows. Pass an array, a "
                "data frame or a list of rows."
            )
    else:
        try:
            shape = np.shape(X)
        except ValueError as error:
            raise ValueError(f"{_words_for_ragged(X)} ({error})") from error
    if len(shape) == 1 and shape[0]:
        first = next(iter(X))
        if isinstance(first, str | bytes | os.PathLike):
            raise ValueError(_words_for_text(first))
        if np.ndim(first):
            raise ValueError(_words_for_ragged(X))
    return shape


def _words_for_text(text):
    return (
        f"X must hold numbers, and not text or names of files such as {str(text)!r}. "
        "Could not convert it: load the files first, and pass one array of shape "
        "(n, n_features), (n, height, width) or (n, channels, height, width)."
    )


def _words_for_ragged(X):
    first = np.shape(X[0])
    for i, row in enumerate(X):
        try:
            shape = np.shape(row)
        except ValueError:
            return f"Row {i} of X has parts of unequal lengths. Pass one array."
        if shape != first:
            return (
                f"The rows of X have unequal shapes: {first} in row 0 and {shape} in "
                f"row {i}. Bring them to one shape first: crop, pad or resize images, "
                "cut a series into windows of one length."
            )
    return f"X is an array of arrays of shape {first}. Pass numpy.stack(X)."


def _without_mask(X):
    """Refuse masked values, whose mask would be lost."""
    masked = X
    if isinstance(X, list | tuple) and _holds_mask(X):
        masked = _stacked(X)
    if not np.ma.isMaskedArray(masked):
        return X
    n_masked = int(np.ma.count_masked(masked))
    if n_masked:
        raise ValueError(
            f"X is a masked array, and {n_masked} of its {masked.size} values are "
            "masked. Fill them, for example by passing X.astype(float)"
            ".filled(numpy.nan) to a Pipeline of sklearn.impute.SimpleImputer and the "
            "detector, or leave out their rows."
        )
    return np.ma.getdata(masked)


def _holds_mask(X):
    """Whether there are masked arrays in a list, however deep."""
    if not isinstance(X, list | tuple):
        return np.ma.isMaskedArray(X)
    # A row of numbers needs no look at each.
    return bool(X) and not isinstance(X[0], int | float) and any(map(_holds_mask, X))


def _stacked(X):
    """A masked array of lists of masked arrays."""
    return np.ma.stack(list(map(_stacked, X))) if isinstance(X, list | tuple) else X


def _columns(X):
    """Name, dtype and, as a function without arguments, values of each column."""
    if _is_frame(X):
        take = X.iloc.__getitem__ if hasattr(X, "iloc") else X.__getitem__
        for i, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
            yield repr(name), dtype, partial(take, (slice(None), i))
        return
    try:
        X = np.asarray(X)
    except (TypeError, ValueError):
        return
    for i in range(X.shape[1] if X.ndim == 2 else 0):
        yield str(i), X.dtype, partial(X.__getitem__, (slice(None), i))


def _is_frame(X):
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def first_few(names):
    """Join the first five names, and say how many more there are."""
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _listed(described):
    """Join descriptions of columns."""
    return f"column{'s' * (len(described) > 1)} {first_few(described)}"


def _refuse_dates(X):
    """Refuse dates and durations, which would pass for counts of nanoseconds."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind not in "OmM":
        return
    found = [
        f"{name} ({dtype})"
        for name, dtype, values in _columns(X)
        if _dated(dtype, values)
    ]
    if found:
        raise ValueError(
            f"X has dates or durations in {_listed(found)}. They would be read as "
            "counts of an arbitrary unit, and NaT as a number. Fill or drop NaT, and "
            "pass durations as X / numpy.timedelta64(1, 's') and of dates their hour, "
            "weekday or month; skrub.TableVectorizer does that for a whole frame."
        )


def _dated(dtype, values):
    if str(dtype).lower().startswith(_DATES) or getattr(dtype, "kind", "") in "mM":
        return True
    # NumPy's own dates turn into floats in silence, even in an array of objects.
    return getattr(dtype, "kind", "") == "O" and any(
        isinstance(value, np.datetime64 | np.timedelta64) for value in values()
    )


def _columns_without_numbers(X):
    """Words for the columns that are not numbers, or None if there are none."""
    found = []
    for name, dtype, values in _columns(X):
        for example in _not_numbers(values()):
            found.append(f"{name} ({dtype}, such as {reprlib.repr(example)})")
            break
    if not found:
        return None
    return (
        f"X has values that are not numbers in {_listed(found)}. Encode them in a "
        "Pipeline before the detector: categories with "
        "sklearn.preprocessing.OneHotEncoder in a ColumnTransformer, or a whole frame "
        "with skrub.TableVectorizer; missing values are for "
        "sklearn.impute.SimpleImputer."
    )


def _not_numbers(values):
    """Yield the values of a column that float does not take."""
    if np.asarray(values).dtype.kind in "biufc":
        return
    for value in values:
        try:
            if value is not None:
                float(value)
        except (OverflowError, TypeError, ValueError):
            yield value.item() if isinstance(value, np.generic) else value


def _refuse_infinite(estimator, X, values, named):
    """Refuse NaN and infinite values."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values, dtype=np.float64)):
            return
    words = [
        _words_for_bad(X, bad, kind, named)
        for kind, is_bad in (("NaN", np.isnan), ("infinity", np.isinf))
        if (bad := is_bad(values)).any()
    ]
    if words:
        raise ValueError(
            f"Input X contains {' and '.join(words)}. {type(estimator).__name__} takes "
            "finite numbers only: leave out these rows, or fill them in a Pipeline "
            "before the detector, for example with sklearn.impute.SimpleImputer "
            "(infinite values set to NaN first)."
        )


def _words_for_bad(X, bad, kind, named):
    """Words for where there are bad values of one kind."""
    rows = np.flatnonzero(bad.any(axis=1))
    if not named:
        return (
            f"{kind}: {bad.sum()} values in {len(rows)} of {len(bad)} rows, the first "
            f"in row {rows[0]}"
        )
    counts = [f"{n} of {len(bad)} rows" for n in bad.sum(axis=0)]
    if _is_frame(X):
        counts = [f"{dtype}, {n}" for dtype, n in zip(X.dtypes, counts, strict=True)]
        names = [repr(name) for name in X.columns]
    else:
        names = range(bad.shape[1])
    found = [f"{names[i]} ({counts[i]})" for i in np.flatnonzero(bad.any(axis=0))]
    return f"{kind} in {_listed(found)}"
