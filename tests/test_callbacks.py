"""The callbacks of scikit-learn, and what they are told of a fit."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.datasets import make_anomalies
from skganomaly.model_selection import anomaly_roc_auc
from skganomaly.searches import EncoderSearch
from skganomaly.timeseries import TimeSeriesDetector

callback = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn before 1.9 has no callbacks"
)

X, Y = make_anomalies(200, 4, kind="dependency", random_state=0)
# Three epochs.
OPTIONS = {"max_steps": 60, "n_members": 1, "random_state": 0}


class Watch:
    """Keep the tasks that begin and end; stop when asked."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.begun, self.ended, self.torn_down = [], [], 0

    def setup(self, estimator, context):
        self.begun, self.ended = [], []

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.begun.append((context.estimator_name, context.task_name, context.task_id))
        self.data = X, y
        self.context = context

    def on_fit_task_end(self, estimator, context):
        self.ended.append((context.estimator_name, context.task_name, context.task_id))
        return context.task_name == "epoch" and context.task_id == self.stop_after


class KeepFitted:
    """Keep the fitted estimator of each epoch."""

    def setup(self, estimator, context):
        self.fitted = []

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.fitted.append(fitted_estimator)


@pytest.fixture(params=[GANomalyDetector, AutoencoderDetector])
def detector(request):
    return request.param(**OPTIONS)


def test_a_fit_tells_of_its_epochs(detector):
    """Epochs are tasks of the fit; each ends before the next begins."""
    watch = Watch()
    detector.set_callbacks(watch).fit(X, Y)
    name = type(detector).__name__
    n_epochs = len(detector.history_)
    assert n_epochs > 1
    assert watch.begun[0] == (name, "fit", 0)
    assert watch.begun[1:] == [(name, "epoch", i) for i in range(n_epochs)]
    assert watch.ended == [*watch.begun[1:], watch.begun[0]]
    assert watch.context.parent.max_subtasks == n_epochs
    assert watch.data[0] is X
    assert watch.data[1] is Y
    assert watch.torn_down == 1


def test_watching_changes_nothing(detector):
    """Scores are those of an unwatched fit, even if each epoch was scored."""
    watched = clone(detector).set_callbacks(Watch(), KeepFitted()).fit(X)
    assert np.array_equal(watched.score_samples(X), detector.fit(X).score_samples(X))
    assert watched.history_[-1]["n_steps"] == detector.history_[-1]["n_steps"]


def test_a_callback_ends_the_training(detector, recwarn):
    """A true value ends it after that epoch; the detector is fitted."""
    watch = Watch(stop_after=1)
    detector.set_callbacks(watch).fit(X)
    assert len(detector.history_) == 2
    assert detector.n_iter_ < detector.max_steps
    assert ("epoch", 1) == watch.ended[-2][1:]
    assert watch.ended[-1][1] == "fit"
    assert np.isfinite(detector.score_samples(X)).all()
    assert not recwarn.list


def test_fitted_estimators_of_epochs(detector):
    """Each is ready to score; the last one scores as the detector does."""
    keep = KeepFitted()
    detector.set_callbacks(keep).fit(X)
    assert len(keep.fitted) == len(detector.history_)
    first, last = keep.fitted[0], keep.fitted[-1]
    assert first.n_iter_ < last.n_iter_ == detector.n_iter_
    assert len(first.history_) == 1
    assert not np.allclose(first.score_samples(X), last.score_samples(X))
    assert np.array_equal(last.score_samples(X), detector.score_samples(X))
    assert last.offset_ == detector.offset_
    copy = pickle.loads(pickle.dumps(first))
    assert np.array_equal(copy.score_samples(X), first.score_samples(X))


def test_scoring_monitor():
    """scikit-learn's monitor rates every epoch with our scorers."""
    pytest.importorskip("pandas", reason="the monitor's frame needs pandas")
    monitor = callback.ScoringMonitor(scoring={"auc": anomaly_roc_auc})
    detector = GANomalyDetector(**OPTIONS).set_callbacks(monitor).fit(X, Y)
    scores = monitor.get_logs().data_as_pandas["auc"]
    assert len(scores) == len(detector.history_)
    assert scores.iloc[-1] == pytest.approx(anomaly_roc_auc(detector, X, Y))


def test_trainings_of_anogan():
    """Each training is a task with epochs of its own; none can be scored halfway."""
    watch, keep = Watch(), KeepFitted()
    search = EncoderSearch(encoder_steps=30)
    AnoGANDetector(max_steps=40, search=search, random_state=0).set_callbacks(
        watch, keep
    ).fit(X)
    trainings = [name for _, name, _ in watch.begun if name not in ("fit", "epoch")]
    assert len(trainings) == 2
    assert trainings[0] != trainings[1]
    assert sorted(watch.begun) == sorted(watch.ended)
    assert watch.ended[-1][1] == "fit"
    assert set(keep.fitted) == {None}


def test_a_failed_fit_tears_callbacks_down():
    """A callback is told that it is over, and the detector can be fitted again."""
    watch = Watch()
    detector = GANomalyDetector(**OPTIONS | {"learning_rate": 1e18})
    detector.set_callbacks(watch)
    with pytest.raises(FloatingPointError):
        detector.fit(X)
    assert watch.torn_down == 1
    assert not any(name.startswith(("_callback", "_parent")) for name in vars(detector))
    detector.set_params(learning_rate=1e-3).fit(X)
    assert watch.ended[-1][1] == "fit"
    assert watch.torn_down == 2


def test_callbacks_reach_into_pipelines_and_searches():
    """A propagated callback is told of the detector's epochs, wherever it is."""
    watch = Watch()
    pipeline = make_pipeline(StandardScaler(), GANomalyDetector(**OPTIONS))
    pipeline.set_callbacks(watch).fit(X)
    n_epochs = len(pipeline[-1].history_)
    epochs = [task for task in watch.begun if task[1] == "epoch"]
    assert epochs == [("GANomalyDetector", "epoch", i) for i in range(n_epochs)]
    watch = Watch()
    GridSearchCV(
        GANomalyDetector(**OPTIONS),
        {"latent_dim": [2, 3]},
        cv=2,
        scoring=lambda estimator, X, y=None: estimator.latent_dim,
    ).set_callbacks(watch).fit(X)
    # Two candidates on two folds, and the best on everything.
    assert len([task for task in watch.begun if task[1] == "epoch"]) == 5 * n_epochs


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_fits_of_a_series(n_jobs):
    """Each fit of the detector of windows is a task, with that one's epochs in it."""
    watch = Watch()
    monitor = TimeSeriesDetector(
        GANomalyDetector(**OPTIONS), window_length=3, n_blocks=2, n_jobs=n_jobs
    )
    with joblib.parallel_config("threading"):
        monitor.set_callbacks(watch).fit(X[:, 0])
    assert watch.begun[0] == watch.ended[-1] == ("TimeSeriesDetector", "fit", 0)
    assert sorted(watch.begun) == sorted(watch.ended)
    fits = [task for task in watch.begun if task[1] == "fit"]
    assert sorted(fits) == [
        *(("GANomalyDetector", "fit", i) for i in range(3)),
        ("TimeSeriesDetector", "fit", 0),
    ]
    assert watch.torn_down == 1
    plain = clone(monitor).set_params(n_jobs=None).set_callbacks().fit(X[:, 0])
    assert np.array_equal(plain.reference_scores_, monitor.reference_scores_)


def test_progress_bar(capsys):
    """scikit-learn's bar counts the epochs; without it a fit is silent."""
    pytest.importorskip("rich", reason="scikit-learn's progress bar needs rich")
    pipeline = make_pipeline(StandardScaler(), GANomalyDetector(**OPTIONS))
    pipeline.fit(X)
    assert capsys.readouterr() == ("", "")
    pipeline.set_callbacks(callback.ProgressBar()).fit(X)
    shown = capsys.readouterr().out
    assert "GANomalyDetector" in shown
    assert "100%" in shown


def test_callbacks_of_both_kinds_are_kept_with_copies():
    """Clones keep scikit-learn's callbacks, and pickles of a watched fit load."""
    detector = GANomalyDetector(**OPTIONS).set_callbacks(Watch()).fit(X)
    assert clone(detector)._skl_callbacks == detector._skl_callbacks
    copy = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(copy.score_samples(X), detector.score_samples(X))
