"""Data for experiments: seeded generators, bundled sets and loaders of local files.

Nothing here is ever downloaded. Labels follow scikit-learn's convention for outlier
detectors everywhere: 1 is normal, -1 is an anomaly; files that use 0 and 1 are
translated when they are read.
"""

from ._bundled import load_bundled, load_digits_anomaly
from ._containers import AnomalyDataset, LazyDatasets
from ._files import load_adbench, load_benchmark_data, load_mnist
from ._generated import make_anomalies, make_image_anomalies
from ._series import make_metric_anomalies
from ._textures import make_texture_defects

__all__ = [
    "AnomalyDataset",
    "LazyDatasets",
    "load_adbench",
    "load_benchmark_data",
    "load_bundled",
    "load_digits_anomaly",
    "load_mnist",
    "make_anomalies",
    "make_image_anomalies",
    "make_metric_anomalies",
    "make_texture_defects",
]
