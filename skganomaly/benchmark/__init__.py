"""Compare anomaly detectors: ours, scikit-learn's, PyOD's and your own.

``python -m skganomaly.benchmark --help`` describes the command; :func:`compare` is the
same from Python. Both need the extra ``benchmark`` (pandas and matplotlib).
"""

from ._compare import compare
from ._detectors import Detector, KNNDistance, get_detectors
from ._report import (
    format_datasets,
    format_summary,
    plot_results,
    summarize,
)

__all__ = [
    "Detector",
    "KNNDistance",
    "compare",
    "format_datasets",
    "format_summary",
    "get_detectors",
    "plot_results",
    "summarize",
]
