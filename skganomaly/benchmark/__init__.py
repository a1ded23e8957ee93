"""Compare anomaly detectors: ours, scikit-learn's, PyOD's and your own.

``python -m skganomaly.benchmark --help`` describes the commands; :func:`compare` is
``compare`` from Python. Both need the extra ``benchmark`` (pandas and matplotlib).
"""

from ._baselines import KNNDistance, get_detectors
from ._compare import compare
from ._detector import Detector
from ._report import format_datasets, format_summary, plot_results, summarize

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
