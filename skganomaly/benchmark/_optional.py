"""Packages that only the benchmark needs."""

import importlib


def import_optional(name):
    """Import a package of the extra ``benchmark``, or say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The benchmark needs {name.partition('.')[0]}: "
            'pip install "skganomaly[benchmark]".'
        ) from error
