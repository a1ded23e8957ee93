"""What a type checker knows of the library; never run, only read by mypy.

A comment ``type: ignore`` that is not needed is an error too, so each of them says that
the mistake in its line is found.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from typing_extensions import assert_type

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, from_pyod
from skganomaly.adversaries import Wasserstein
from skganomaly.architectures import MLP, ConvNet
from skganomaly.benchmark import Detector, KNNDistance, compare, format_summary
from skganomaly.datasets import AnomalyDataset, load_bundled, make_anomalies
from skganomaly.interop import SklearnDetector
from skganomaly.losses import absolute_error
from skganomaly.model_selection import (
    InlierKFold,
    anomaly_roc_auc,
    recall_at_false_alarm_rate,
)
from skganomaly.pipelines import ThroughPipeline, through
from skganomaly.plotting import ScoreDistributionDisplay
from skganomaly.scores import LocalScore
from skganomaly.searches import GradientSearch
from skganomaly.thresholds import QuantileThreshold, TailThreshold
from skganomaly.timeseries import (
    AdaptiveThreshold,
    TimeSeriesDetector,
    event_scores,
)

Floats = NDArray[np.float64]


def right() -> None:
    X, y = make_anomalies(100, random_state=0)
    detector = GANomalyDetector(architecture=MLP(), input_noise=[0.1, 0.3]).fit(X)
    assert_type(detector, GANomalyDetector)
    assert_type(detector.anomaly_score(X, part="latent"), Floats)
    assert_type(detector.predict([[0.0, 1.0]]), NDArray[np.int64])
    assert_type(detector.threshold_, float)
    assert_type(detector.set_threshold(lambda scores: scores.max()), GANomalyDetector)
    assert_type(detector.set_threshold(QuantileThreshold()), GANomalyDetector)
    assert_type(AnoGANDetector.from_paper("anogan", latent_dim=8), AnoGANDetector)
    AnoGANDetector(search=GradientSearch(n_steps=9), adversary=Wasserstein(penalty=1.0))
    AutoencoderDetector(score_type=LocalScore(), reconstruction_loss=absolute_error)
    assert_type(detector.settings_.latent_dim, int)
    assert_type(detector.training_report_.problems[0].remedy, str)
    assert_type(TailThreshold(rate=1e-3).fit([0.0, 1.0]).scale_, float)
    assert_type(load_bundled()["wine"].n_anomalies, int | None)
    assert_type(AnomalyDataset("two", [[0.0], [1.0]], [1, -1]).target, NDArray[Any])
    assert_type(from_pyod(object()).fit(X), SklearnDetector)
    assert_type(KNNDistance(3).fit(X).score_samples(X), Floats)
    results = compare({"ours": detector}, load_bundled(), protocol="contaminated")
    assert_type(format_summary(results), str)
    assert_type(anomaly_roc_auc(detector, X, y), float)
    assert_type(recall_at_false_alarm_rate(0.05)(detector, X, y), float)
    monitor = TimeSeriesDetector(detector, window_length=10).fit(X)
    assert_type(monitor, TimeSeriesDetector)
    assert_type(event_scores(y, monitor.predict(X))["delay"], float)
    assert_type(through(detector), ThroughPipeline)
    assert_type(through(detector).set_threshold("max").p_values(X), Floats)
    cut = AdaptiveThreshold().fit(monitor.reference_scores_)
    assert_type(cut.update(0.5), float)
    assert_type(cut.update(monitor.anomaly_score(X)), Floats)
    assert_type(monitor.alarms(X, cooldown=3)[0].score, float)
    display = ScoreDistributionDisplay.from_estimator(detector, X, y)
    assert_type(display, ScoreDistributionDisplay)
    assert_type(display.plot(bins=9).figure_, Figure)


def wrong() -> None:
    AutoencoderDetector(max_steps="10")  # type: ignore[arg-type]
    GANomalyDetector(architecture="cnn")  # type: ignore[arg-type]
    GANomalyDetector(latent_dims=3)  # type: ignore[call-arg]
    GANomalyDetector(reconstruction_loss="l3")  # type: ignore[arg-type]
    AnoGANDetector(search=GradientSearch(n_step=9))  # type: ignore[call-arg]
    GANomalyDetector(threshold="conform")  # type: ignore[arg-type]
    Detector(KNNDistance(), higher_is="up")  # type: ignore[arg-type]
    ConvNet(normalization="layer")  # type: ignore[arg-type]
    TimeSeriesDetector(GANomalyDetector())  # type: ignore[call-arg]
    TimeSeriesDetector(None, window_length=3).set_threshold("most")  # type: ignore[arg-type]
    ScoreDistributionDisplay.from_estimator(None, [[0.0]], yscale="log")  # type: ignore[call-arg]
    make_anomalies(kind="globl")  # type: ignore[arg-type]
    QuantileThreshold(method="median")  # type: ignore[arg-type]
    InlierKFold(5, False)  # type: ignore[call-arg]
