"""What writes down how a training went: skorch's callbacks, TensorBoard, MLflow."""

import random
import threading

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, MlflowLogger, TensorBoard

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_anomalies

X, _ = make_anomalies(200, 4, kind="dependency", random_state=0)
# Three epochs.
OPTIONS = {"max_steps": 60, "n_members": 1, "random_state": 0}


class Writer:
    """A writer of logs that cannot be copied or pickled, as those of TensorBoard."""

    def __init__(self):
        self.lock = threading.Lock()
        self.scalars, self.closed = [], False

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.append((tag, scalar_value, global_step))

    def close(self):
        self.closed = True


@pytest.mark.parametrize("named", [False, True])
def test_writers_of_logs_are_shared(named):
    """A skorch callback that cannot be copied deeply still works, and keeps its writer.

    The callback in the parameters stays as it was all the same.
    """
    writer = Writer()
    board = TensorBoard(writer)
    before = set(vars(board))
    callbacks = [("board", board)] if named else [board]
    detector = GANomalyDetector(**OPTIONS, callbacks=callbacks).fit(X)
    assert writer.closed
    assert set(vars(board)) == before
    logged = [value for tag, value, _ in writer.scalars if tag == "discriminator"]
    assert logged == [record["discriminator"] for record in detector.history_]


def test_skorch_callbacks_are_copied():
    """What a callback learns of one training is in the copy of that training."""

    class Count(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1

    count = Count()
    detector = GANomalyDetector(**OPTIONS, callbacks=[count]).fit(X).fit(X)
    (used,) = [c for _, c in detector.net_.callbacks_ if isinstance(c, Count)]
    assert (count.n_epochs, used.n_epochs) == (0, len(detector.history_))


def test_tensorboard(tmp_path):
    """The event files hold every loss of every epoch."""
    tensorboard = pytest.importorskip(
        "torch.utils.tensorboard", reason="tensorboard is not installed"
    )
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    board = TensorBoard(tensorboard.SummaryWriter(tmp_path))
    detector = GANomalyDetector(**OPTIONS, callbacks=[board]).fit(X)
    events = reader.EventAccumulator(str(tmp_path)).Reload()
    for name in ("reconstruction", "latent", "adversarial", "discriminator"):
        values = [event.value for event in events.Scalars(name)]
        recorded = [record[name] for record in detector.history_]
        np.testing.assert_allclose(values, recorded, rtol=1e-6)


@pytest.mark.filterwarnings("default")  # MLflow's own are not ours to mend.
def test_mlflow(tmp_path, monkeypatch):
    """Losses are logged, and a logged pipeline comes back as it was, without pickle."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    mlflow_sklearn = pytest.importorskip("mlflow.sklearn")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    # MLflow draws the names of runs from Python's global generator.
    state, previous = random.getstate(), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tmp_path.as_uri())
    try:
        experiment = mlflow.create_experiment("detectors")
        with mlflow.start_run(experiment_id=experiment) as run:
            logger = MlflowLogger(create_artifact=False)
            pipeline = make_pipeline(
                StandardScaler(), GANomalyDetector(**OPTIONS, callbacks=[logger])
            ).fit(X)
            detector = pipeline[-1]
            detector.set_params(callbacks=None)
            types = skops.get_untrusted_types(data=skops.dumps(pipeline))
            info = mlflow_sklearn.log_model(
                pipeline,
                name="detector",
                skops_trusted_types=types,
                # Otherwise it loads the model in another process to find out.
                pip_requirements=["skganomaly"],
            )
        metrics = mlflow.get_run(run.info.run_id).data.metrics
        assert metrics["latent"] == pytest.approx(detector.history_[-1]["latent"])
        assert all(name.startswith("skganomaly.") for name in types)
        loaded = mlflow_sklearn.load_model(info.model_uri)
        assert np.array_equal(loaded.score_samples(X), pipeline.score_samples(X))
        served = mlflow.pyfunc.load_model(info.model_uri)
        assert np.array_equal(served.predict(X), pipeline.predict(X))
    finally:
        mlflow.set_tracking_uri(previous)
        random.setstate(state)
