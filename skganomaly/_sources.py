"""What each column behind transformers was made of, and what it is called.

Scikit-learn's transformers say what they return through `get_feature_names_out`. To
read a column's origin from its name would be guesswork, as names may hold anything;
so copies of the transformers are asked for names of inputs that are called by marks
which occur nowhere else.
"""

import copy
import re

import numpy as np
from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

__all__ = ["names_behind", "sources_of"]

# Private use characters of Unicode, around the number of a column.
_MARK = "\ue0f1{}\ue0f2"
_MARKED = re.compile("\ue0f1(\\d+)\ue0f2")


def sources_of(transformer, n_inputs, n_outputs=None):
    """Find the input columns of each output column.

    Parameters
    ----------
    transformer : object
        A fitted transformer, or a list of them, one after the other; "passthrough" or
        None for none.
    n_inputs : int
        Number of columns that it takes.
    n_outputs : int or None, default=None
        Number of columns that it returns, where that is known.

    Returns
    -------
    list of frozenset of int
        One for each output column. A transformer that does not say which inputs it
        uses is taken to use all of them for each.

    Raises
    ------
    ValueError
        If it cannot be known how many columns a transformer returns.
    """
    if transformer is None or isinstance(transformer, str):
        found = _identity(n_inputs)
    elif isinstance(transformer, list):
        found = _of_steps(transformer, n_inputs, n_outputs)
    elif isinstance(transformer, Pipeline):
        found = _of_steps([step for _, step in transformer.steps], n_inputs, n_outputs)
    elif isinstance(transformer, ColumnTransformer):
        found = _of_columns(transformer, n_inputs)
    elif isinstance(transformer, FeatureUnion):
        found = _of_union(transformer, n_inputs, n_outputs)
    elif hasattr(transformer, "output_to_input_"):
        found = _as_documented(transformer)
    else:
        found = _of_one(transformer, n_inputs, n_outputs)
    if n_outputs is not None and len(found) != n_outputs:
        # What it says does not fit what it does.
        found = [frozenset(range(n_inputs))] * n_outputs
    return found


def _identity(n):
    return [frozenset([i]) for i in range(n)]


def _of_steps(steps, n_inputs, n_outputs):
    sources = _identity(n_inputs)
    for i, step in enumerate(steps):
        after = steps[i + 1 :]
        n_next = n_outputs
        if after:
            n_next = getattr(after[0], "n_features_in_", None)
        made_of = sources_of(step, len(sources), n_next)
        sources = [frozenset().union(*(sources[j] for j in one)) for one in made_of]
    return sources


def _of_columns(transformer, n_inputs):
    places = transformer.output_indices_
    found = [frozenset()] * max(place.stop for place in places.values())
    for name, inner, columns in transformer.transformers_:
        place = places.get(name, slice(0, 0))
        n_columns = place.stop - place.start
        if (isinstance(inner, str) and inner == "drop") or not n_columns:
            continue
        positions = _positions(columns, transformer, n_inputs)
        made_of = sources_of(inner, len(positions), n_columns)
        found[place] = [frozenset(positions[j] for j in one) for one in made_of]
    return found


def _positions(columns, transformer, n_inputs):
    """Positions of the columns that one of the transformers was given."""
    if isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
        columns = [columns]
    names = list(getattr(transformer, "feature_names_in_", range(n_inputs)))
    if isinstance(columns, slice):
        ends = [columns.start, columns.stop]
        if any(isinstance(end, str) for end in ends):
            # A slice of names holds both of its ends.
            first, last = (None if end is None else names.index(end) for end in ends)
            columns = slice(first, None if last is None else last + 1, columns.step)
        return list(range(n_inputs))[columns]
    columns = list(columns)
    if columns and all(isinstance(column, bool | np.bool_) for column in columns):
        return [i for i, chosen in enumerate(columns) if chosen]
    return [
        names.index(column) if isinstance(column, str) else range(n_inputs)[column]
        for column in columns
    ]


def _of_union(transformer, n_inputs, n_outputs):
    found = []
    inner = [step for _, step in transformer.transformer_list]
    inner = [step for step in inner if not (isinstance(step, str) and step == "drop")]
    for step in inner:
        n_known = n_outputs if len(inner) == 1 else None
        found += sources_of(step, n_inputs, n_known)
    return found


def _as_documented(transformer):
    """Of transformers that say it themselves, such as skrub's TableVectorizer."""
    names = list(transformer.feature_names_in_)
    made_of = transformer.output_to_input_
    return [
        frozenset([names.index(made_of[name])])
        for name in transformer.get_feature_names_out()
    ]


def _of_one(transformer, n_inputs, n_outputs):
    if isinstance(transformer, OneToOneFeatureMixin):
        return _identity(n_inputs)
    names = _marked_names(transformer, n_inputs)
    n_outputs = n_outputs if names is None else len(names)
    if n_outputs is None:
        raise ValueError(
            f"How many columns {type(transformer).__name__} returns is not known. Give "
            "it a method get_feature_names_out (for a FunctionTransformer the "
            "parameter feature_names_out), or put it into a ColumnTransformer."
        )
    everything = frozenset(range(n_inputs))
    if names is None:
        return [everything] * n_outputs
    marks = [frozenset(map(int, _MARKED.findall(name))) for name in names]
    return [found or everything for found in marks]


def _marked_names(transformer, n_inputs):
    """Names of the outputs if the inputs were called by marks, or None."""
    # Shallow: what was learned is only read.
    twin = copy.copy(transformer)
    vars(twin).pop("feature_names_in_", None)
    if hasattr(twin, "feature_name_combiner"):
        twin.feature_name_combiner = "concat"
    marks = np.array([_MARK.format(i) for i in range(n_inputs)], dtype=object)
    try:
        return [str(name) for name in twin.get_feature_names_out(marks)]
    except (AttributeError, TypeError, ValueError):
        return None


def names_behind(steps, detector, n_columns):
    """Names of the columns that a detector sees behind transformers.

    Where not all transformers can name theirs, they are x0, x1, and so on.

    Parameters
    ----------
    steps : list of object
        The fitted transformers, one after the other.
    detector : object
        The fitted detector.
    n_columns : int
        Number of columns that it sees.

    Returns
    -------
    ndarray of object of shape (n_columns,)
    """
    names = getattr(detector, "feature_names_in_", None)
    for step in steps if names is None else ():
        names = _names_after(step, names)
    if names is None or len(names) != n_columns:
        names = [f"x{i}" for i in range(n_columns)]
    return np.asarray(names, dtype=object)


def _names_after(step, names):
    """Names of the columns that a transformer returns, or None."""
    try:
        return step.get_feature_names_out(names)
    except (AttributeError, ValueError):
        # Not every transformer can name its columns.
        if not isinstance(step, ColumnTransformer):
            return None
    places = step.output_indices_
    found = np.empty(max(place.stop for place in places.values()), dtype=object)
    for name, inner, _ in step.transformers_:
        place = places.get(name, slice(0, 0))
        numbers = list(range(place.stop - place.start))
        inner_names = _names_after(inner, None) if numbers else None
        if inner_names is None or len(inner_names) != len(numbers):
            inner_names = numbers
        found[place] = [f"{name}__{inner_name}" for inner_name in inner_names]
    return found
