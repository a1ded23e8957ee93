"""Callbacks of skorch that know a whole fit: for ``callbacks`` of any detector."""

from ._training._checkpoint import FitCheckpoint

__all__ = ["FitCheckpoint"]
