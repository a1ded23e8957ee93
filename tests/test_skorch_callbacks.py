"""Each callback of skorch works in a detector, or is refused by name."""

import copy
import io
import json
import pickle
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import skorch.callbacks
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.plotting import LossCurveDisplay
from skganomaly.searches import EncoderSearch

X = np.random.default_rng(0).normal(size=(100, 3))
OPTIONS = {
    "max_steps": 40,
    "n_members": 1,
    "random_state": 0,
    "learning_rate_schedule": "constant",
}
REFUSED = {
    BatchScoring: lambda: BatchScoring(lambda *args: 0.0),
    EpochScoring: lambda: EpochScoring(lambda *args: 0.0, on_train=True),
    InputShapeSetter: InputShapeSetter,
    LoadInitState: lambda: LoadInitState(Checkpoint()),
    ProgressBar: ProgressBar,
}


def fit(*callbacks, cls=GANomalyDetector, **params):
    return cls(**OPTIONS | params, callbacks=list(callbacks)).fit(X)


def used(detector, cls):
    (found,) = [c for _, c in detector.net_.callbacks_ if type(c) is cls]
    return found


class Log:
    """Takes what a logger writes, in whatever way; holds a lock, as they all do."""

    def __init__(self):
        self.lock, self.written = threading.Lock(), []

    def __getitem__(self, key):
        return self

    def __setitem__(self, key, value):
        self.written.append((key, value))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.written.append((name, args, kwargs))


def logged(log, detector):
    """Whether every epoch's loss has been written."""
    text = repr(log.written)
    return all(repr(row["reconstruction"]) in text for row in detector.history_)


def works_checkpoint(tmp_path, cls):
    saves = Checkpoint(monitor=None, dirname=str(tmp_path), f_discriminator="d.pt")
    detector = fit(saves)
    assert {file.name for file in tmp_path.iterdir()} == {
        "params.pt",
        "optimizer.pt",
        "criterion.pt",
        "history.json",
        "d.pt",
    }
    assert all(row["event_cp"] for row in detector.history_)
    for name, module in (("params", "module_"), ("d", "discriminator_")):
        saved = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for key, value in getattr(detector.net_, module).state_dict().items():
            assert_array_equal(saved[key], value)


def works_train_end_checkpoint(tmp_path, cls):
    buffer = io.BytesIO()
    detector = fit(
        TrainEndCheckpoint(
            f_params=buffer, f_optimizer=None, f_criterion=None, f_history=None
        )
    )
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    for key, value in detector.net_.module_.state_dict().items():
        assert_array_equal(saved[key], value)


def works_load_best(tmp_path, cls):
    best = PassthroughScoring("discriminator", lower_is_better=False, on_train=True)
    saves = Checkpoint(
        monitor="discriminator_best", dirname=str(tmp_path), load_best=True
    )
    detector = fit(best, saves)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for key, value in detector.net_.module_.state_dict().items():
        assert_array_equal(saved[key], value)
    assert np.isfinite(detector.score_samples(X)).all()


def works_early_stopping(tmp_path, cls):
    never = EarlyStopping("reconstruction", patience=3, threshold=0.99)
    detector = fit(never)
    assert detector.n_iter_ < 40
    assert len(detector.history_) == 4


def works_passthrough(tmp_path, cls):
    detector = fit(PassthroughScoring("latent", on_train=True))
    assert detector.history_[0]["latent_best"]
    json.dumps(detector.history_)


def works_clipping(tmp_path, cls):
    free, clipped = fit(beta_1=0.0), fit(GradientNormClipping(1e-3), beta_1=0.0)
    assert not np.array_equal(free.score_samples(X), clipped.score_samples(X))


def works_freezing(tmp_path, cls):
    first = fit(max_steps=1).net_.module_.state_dict()
    detector = fit(Freezer("*", at=2), max_steps=20)
    for key, value in detector.net_.module_.state_dict().items():
        assert_array_equal(value, first[key])
    thawed = fit(Freezer("*", at=2), Unfreezer("*", at=3), max_steps=20)
    moved = thawed.net_.module_.state_dict()
    assert any(not torch.equal(value, first[key]) for key, value in moved.items())


def works_mapping(tmp_path, cls):
    def zero(parameter):
        with torch.no_grad():
            parameter.zero_()

    mapper = cls("*", fn=zero, at=20)
    detector = fit(mapper, Freezer("*", at=20), max_steps=20)
    assert not any(p.any() for p in detector.net_.module_.parameters())


def works_schedule(tmp_path, cls):
    detector = fit(LRScheduler(StepLR, step_size=1, gamma=0.5), max_steps=20)
    rates = [row["event_lr"] for row in detector.history_]
    np.testing.assert_allclose(rates, 1e-3 * 0.5 ** np.arange(20))
    assert "event_lr" not in detector.training_report_.losses
    assert "event_lr" not in LossCurveDisplay.from_estimator(detector).losses
    plateau = LRScheduler(ReduceLROnPlateau, monitor="latent", patience=0)
    assert fit(plateau).history_[-1]["latent"] > 0
    assert fit(LRScheduler(), max_steps=3).n_iter_ == 3


def works_timer(tmp_path, cls):
    assert fit(EpochTimer()).history_[0]["dur"] > 0
    # A class will do, as in skorch.
    assert fit(EpochTimer).history_[0]["dur"] > 0


def works_print(tmp_path, cls, capsys):
    lines = []
    fit(PrintLog(sink=lines.append))
    assert len(lines) > 20
    fit(("log", PrintLog()))
    assert "reconstruction" in capsys.readouterr().out


def works_tensorboard(tmp_path, cls):
    log = Log()
    assert logged(log, fit(TensorBoard(log)))


def works_wandb(tmp_path, cls):
    log = Log()
    assert logged(log, fit(WandbLogger(log, save_model=False)))


def works_neptune(tmp_path, cls, monkeypatch):
    package = types.ModuleType("neptune")
    handler = types.ModuleType("neptune.handler")
    handler.Handler = type("Handler", (), {})
    types_module = types.ModuleType("neptune.types")
    types_module.File = types.SimpleNamespace(from_content=lambda text, extension: text)
    for module in (package, handler, types_module):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    log = Log()
    assert logged(log, fit(NeptuneLogger(log)))


def works_sacred(tmp_path, cls):
    log = Log()
    assert logged(log, fit(SacredLogger(log)))


def works_mlflow(tmp_path, cls):
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="1"))
    log = Log()
    assert logged(log, fit(MlflowLogger(run, log, create_artifact=True)))
    assert "log_artifact" in repr(log.written)


WORKS = {
    Checkpoint: [works_checkpoint, works_load_best],
    TrainEndCheckpoint: [works_train_end_checkpoint],
    EarlyStopping: [works_early_stopping],
    PassthroughScoring: [works_passthrough],
    GradientNormClipping: [works_clipping],
    Freezer: [works_freezing],
    Unfreezer: [works_freezing],
    Initializer: [works_mapping],
    ParamMapper: [works_mapping],
    LRScheduler: [works_schedule],
    # The default policy of the scheduler, no callback.
    skorch.callbacks.WarmRestartLR: [works_schedule],
    EpochTimer: [works_timer],
    PrintLog: [works_print],
    TensorBoard: [works_tensorboard],
    WandbLogger: [works_wandb],
    NeptuneLogger: [works_neptune],
    SacredLogger: [works_sacred],
    MlflowLogger: [works_mlflow],
}


def test_none_is_forgotten():
    """What a new version of skorch brings has to be looked at."""
    known = {Callback, *WORKS, *REFUSED}
    assert {getattr(skorch.callbacks, name) for name in skorch.callbacks.__all__} == (
        known
    )


@pytest.mark.parametrize(
    "cls, works",
    [
        pytest.param(cls, works, id=f"{cls.__name__}-{works.__name__}")
        for cls, all_works in WORKS.items()
        for works in all_works
    ],
)
def test_works(cls, works, tmp_path, capsys, monkeypatch):
    """It has its effect, and the detector is fitted."""
    wanted = works.__code__.co_varnames[: works.__code__.co_argcount]
    given = {"tmp_path": tmp_path, "cls": cls, "capsys": capsys}
    given["monkeypatch"] = monkeypatch
    works(**{name: given[name] for name in wanted})


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.__name__)
def test_refused_by_name(cls):
    """Before anything is trained, with what to use instead."""
    detector = AutoencoderDetector(callbacks=[("mine", REFUSED[cls]())])
    with pytest.raises(ValueError, match=rf"{cls.__name__} cannot .*\. [A-Z]"):
        detector.fit(X)
    assert not detector.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    "callback, cls, words",
    [
        (EarlyStopping(), GANomalyDetector, "no validation rows"),
        (Checkpoint(), GANomalyDetector, "no validation rows"),
        (Checkpoint(monitor=None, f_pickle="a"), GANomalyDetector, "its method save"),
        (PassthroughScoring("latent"), GANomalyDetector, "on_train=True"),
        (EarlyStopping("generator", load_best=True), AnoGANDetector, "moving average"),
        (EarlyStopping("laten"), GANomalyDetector, "'laten' was not found.*'latent'"),
        (
            Checkpoint(monitor="latent_best"),
            GANomalyDetector,
            "'latent_best' was not found.*'latent'",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(callback, cls, words):
    """With the reason, and what would work."""
    with pytest.raises(ValueError, match=words):
        cls(**OPTIONS, callbacks=[callback]).fit(X)


def test_two_schedules_are_refused():
    """The detector's would undo the callback's in every step."""
    detector = GANomalyDetector(callbacks=[LRScheduler(StepLR, step_size=1)])
    with pytest.raises(ValueError, match="learning_rate_schedule='constant'"):
        detector.fit(X)


@pytest.mark.parametrize("wrong", [1, "EarlyStopping", object()])
def test_what_is_no_callback_is_refused(wrong):
    """With where the callbacks of scikit-learn go."""
    with pytest.raises(TypeError, match=r"no callback of skorch.*set_callbacks"):
        fit(wrong)


class Phases(Callback):
    """Count the steps of each phase."""

    def __init__(self):
        self.n_steps = {}

    def on_train_end(self, net, **kwargs):
        self.n_steps[net.phase] = net.n_steps_


def test_encoder_reaches_callbacks(tmp_path):
    """One copy is called in both phases, and knows which it is."""
    detector = fit(
        Phases(),
        EarlyStopping("discriminator", patience=100),
        EarlyStopping("encoder_prior", patience=3, threshold=0.99),
        Checkpoint(monitor=None, dirname=str(tmp_path)),
        cls=AnoGANDetector,
        search=EncoderSearch(encoder_steps=60),
    )
    (steps,) = [c.n_steps for _, c in detector.net_.callbacks_ if type(c) is Phases]
    assert steps["training"] == 40
    # Stopped by the callback that watches a loss of the encoder.
    assert 0 < steps["encoder"] < 60
    assert detector.n_iter_ == sum(steps.values())
    # What was saved is the generator, and not the encoder.
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    assert set(saved) == set(detector.net_.module_.state_dict())


class Unsafe(TensorBoard):
    """A callback that cannot be copied deeply, and counts."""

    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        self.n_epochs += 1


def test_locks_do_not_break_copies():
    """Clones and searches write to the same log; a pickle says what it leaves out."""
    log = Log()
    detector = GANomalyDetector(**OPTIONS, callbacks=[Unsafe(log), EpochTimer()])
    twin = clone(detector)
    assert twin.callbacks[0].writer is log
    assert twin.callbacks[0] is not detector.callbacks[0]
    assert_array_equal(
        twin.fit(X).score_samples(X), fit().score_samples(X), strict=True
    )
    search = GridSearchCV(
        detector, {"latent_dim": [2, 3]}, cv=2, scoring=lambda *args: 0.0
    ).fit(X)
    n_written = len(log.written)
    assert search.best_estimator_.callbacks[0].writer is log
    search.best_estimator_.fit(X)
    assert len(log.written) > n_written
    for copied in (
        lambda: pickle.loads(pickle.dumps(twin)),
        lambda: copy.deepcopy(twin),
        lambda: pickle.loads(pickle.dumps(detector)),
    ):
        with pytest.warns(UserWarning, match="Unsafe.*cannot be copied"):
            loaded = copied()
        assert [type(c) for c in loaded.callbacks] == [EpochTimer]
    assert_array_equal(fit().score_samples(X), twin.score_samples(X))
    assert detector.callbacks[0].n_epochs == 0


def test_files_are_shared():
    """A callback writes to the file that it was given, not to a copy."""
    for file in (io.StringIO(), io.BytesIO()):
        saves = Checkpoint(monitor=None, f_params=file, f_history=None)
        twin = clone(GANomalyDetector(callbacks=[saves]))
        assert twin.callbacks[0].f_params is file


def test_clones_keep_what_callbacks_were_given():
    """A callback whose attributes are no arguments is copied as it is."""
    detector = GANomalyDetector(callbacks=[("phases", Phases())])
    detector.callbacks[0][1].n_steps["before"] = 1
    twin = clone(detector)
    ((name, callback),) = twin.callbacks
    assert (name, callback.n_steps) == ("phases", {"before": 1})
    callback.n_steps.clear()
    assert detector.callbacks[0][1].n_steps == {"before": 1}


def test_history_is_often_enough():
    """A curve has twenty points or more, where there are so many steps."""
    for max_steps in (7, 20, 75, 130):
        detector = AutoencoderDetector(max_steps=max_steps, n_members=1).fit(X)
        ends = [row["n_steps"] for row in detector.history_]
        assert min(20, max_steps) <= len(ends) <= 60
        assert ends[-1] == max_steps


def test_report_has_losses_only():
    """Not what callbacks record, though it is in the history."""

    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("temperature", 20.5)
            net.history.record_batch("humidity", 0.5)

    detector = fit(Record())
    assert detector.history_[-1]["temperature"] == 20.5
    assert list(detector.training_report_.losses) == [
        "reconstruction",
        "latent",
        "adversarial",
        "discriminator",
    ]


def test_the_page_lists_them_all():
    """Whoever looks one up finds what it does here."""
    page = Path(__file__).parents[1] / "docs" / "callbacks.rst"
    text = page.read_text(encoding="utf-8")
    table = text[text.index(".. list-table::") :]
    names = {cls.__name__ for cls in {*WORKS, *REFUSED}}
    assert not [name for name in names if f"`{name}`" not in table]
