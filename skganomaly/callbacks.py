"""Callbacks of skorch that know a whole fit: for ``callbacks`` of any detector."""

from ._training._checkpoint import FitCheckpoint
from ._training._stopping import HeldOutStopping

__all__ = ["FitCheckpoint", "HeldOutStopping"]
