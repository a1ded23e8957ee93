"""Checkpoints of a fit: what is resumed ends as if it had never been killed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    Freezer,
    LRScheduler,
    PassthroughScoring,
)
from torch.optim.lr_scheduler import StepLR

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._files import write_atomically
from skganomaly._training._step import Run
from skganomaly.adversaries import Wasserstein
from skganomaly.architectures import MLP
from skganomaly.callbacks import FitCheckpoint
from skganomaly.reports import Finding
from skganomaly.searches import EncoderSearch
from skganomaly.timeseries import TimeSeriesDetector

HERE = Path(skganomaly.__file__).parents[1]
X = np.random.default_rng(0).normal(size=(120, 3))
TINY = MLP(hidden_layer_sizes=(6,), discriminator_layer_sizes=(6,))
BAD = Finding("bad", "It is bad.", "Mend it.")
WIDER = MLP(hidden_layer_sizes=(7,), discriminator_layer_sizes=(6,))
OPTIONS = {"architecture": TINY, "n_members": 2, "random_state": 0, "max_steps": 60}
WGAN = Wasserstein(n_critic=3, penalty_interval=2)
GAN = {"adversary": WGAN, "search": EncoderSearch(encoder_steps=40)}


class Killed(BaseException):
    """Ends a fit as a kill would, but for the process."""


@pytest.fixture
def kill(monkeypatch):
    """Return a function that has fits end in a step, and counts the steps taken."""
    step = Run.step

    def after(n_steps):
        taken = []

        def killed(run, *args):
            if len(taken) == n_steps:
                raise Killed
            taken.append(run.n_steps)
            return step(run, *args)

        monkeypatch.setattr(Run, "step", killed)
        return taken

    return after


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


def make(cls=GANomalyDetector, *callbacks, path=None, **params):
    callbacks = list(callbacks)
    if path is not None:
        callbacks.append(FitCheckpoint(path, every_n_steps=5, every_minutes=None))
    return cls(**OPTIONS | params, callbacks=callbacks)


def interrupted(detector, kill, n_steps, rows=X):
    """Fit until it is killed, then return what counts the steps that follow."""
    kill(n_steps)
    with pytest.raises(Killed):
        detector.fit(rows)
    return kill(None)


def assert_same(first, second):
    """All that a fit learned, to the last bit."""
    assert_array_equal(first.anomaly_score(X + 0.1), second.anomaly_score(X + 0.1))
    assert_array_equal(first.reference_scores_, second.reference_scores_)
    assert first.offset_ == second.offset_
    assert first.n_iter_ == second.n_iter_
    histories = [
        [{k: v for k, v in row.items() if k != "dur"} for row in detector.history_]
        for detector in (first, second)
    ]
    assert histories[0] == histories[1]
    reports = [vars(d.training_report_) for d in (first, second)]
    assert str(reports[0]) == str(reports[1])


FITS = {
    "GANomaly": (GANomalyDetector, {}),
    "GANomaly, held out": (GANomalyDetector, {"validation_fraction": 0.2}),
    "autoencoder": (AutoencoderDetector, {"learning_rate_schedule": "constant"}),
    "AnoGAN": (AnoGANDetector, GAN),
}


@pytest.mark.parametrize(
    "name, n_steps",
    [*((name, n) for name in FITS for n in (33, 59)), ("AnoGAN", 60), ("AnoGAN", 83)],
)
def test_resumed_is_uninterrupted(name, n_steps, path, kill):
    """In the middle of an epoch, in the last step, in the encoder's training."""
    cls, params = FITS[name]
    whole = make(cls, **params).fit(X)
    taken = interrupted(make(cls, path=path, **params), kill, n_steps)
    detector = make(cls, path=path, **params).fit(X)
    assert_same(detector, whole)
    assert 0 < len(taken) < whole.n_iter_ - n_steps + 10
    assert not [c for _, c in detector.net_.callbacks_ if hasattr(c, "progress")]


def test_killed_again_and_again(path, kill):
    """Each time a few steps further."""
    while True:
        kill(12)
        try:
            detector = make(AnoGANDetector, path=path, **GAN).fit(X)
        except Killed:
            continue
        break
    kill(None)
    assert_same(detector, make(AnoGANDetector, **GAN).fit(X))


@pytest.mark.filterwarnings("ignore:It is bad")
def test_given_up_trainings_are_not_repeated(path, kill, monkeypatch):
    """Of a GAN that collapsed, and of a discriminator that was replaced."""
    monkeypatch.setattr("skganomaly._anogan._MIN_STEPS", 1)
    monkeypatch.setattr("skganomaly._anogan.generator_failure", lambda **_: BAD)
    whole = make(AnoGANDetector, max_restarts=1, **GAN).fit(X)
    assert len(whole.training_report_.restarts) == 1
    interrupted(make(AnoGANDetector, max_restarts=1, path=path, **GAN), kill, 75)
    assert_same(make(AnoGANDetector, max_restarts=1, path=path, **GAN).fit(X), whole)


@pytest.mark.filterwarnings("ignore:It is bad")
def test_restarted_discriminators(path, kill, monkeypatch):
    """The next one is drawn from where the source of the first ones was."""
    monkeypatch.setattr("skganomaly._ganomaly.never_wrong", lambda losses: BAD)
    params = {"max_steps": 150, "max_restarts": 4}
    whole = make(**params).fit(X)
    assert len(whole.training_report_.restarts) == 4
    interrupted(make(path=path, **params), kill, 70)
    assert_same(make(path=path, **params).fit(X), whole)


class Own(Callback):
    """Counts, and has a state of its own kind."""

    def __init__(self):
        self.n_batches = 0
        self.seen = set()

    def on_batch_end(self, net, **kwargs):
        self.n_batches += 1
        self.seen.add(net.n_steps_)
        net.history.record("n_seen", np.int64(len(self.seen)))

    def state_dict(self):
        return {"n_batches": self.n_batches, "seen": sorted(self.seen)}

    def load_state_dict(self, state):
        self.n_batches, self.seen = state["n_batches"], set(state["seen"])


def test_callbacks_go_on_where_they_were(path, kill):
    """skorch's, and one of a user's: counters, best values, schedules, frozen parts."""

    def callbacks():
        best = PassthroughScoring("reconstruction", on_train=True)
        stop = EarlyStopping("latent", patience=4, threshold=0.2, load_best=True)
        steps = LRScheduler(StepLR, step_size=3, gamma=0.5)
        return [best, stop, steps, Freezer("encoder.*", at=4), Own()]

    params = {"max_steps": 200, "learning_rate_schedule": "constant"}
    whole = make(GANomalyDetector, *callbacks(), **params).fit(X)
    n_steps = whole.n_iter_ - 7
    assert 40 < n_steps < 190
    interrupted(
        make(GANomalyDetector, *callbacks(), path=path, **params), kill, n_steps
    )
    detector = make(GANomalyDetector, *callbacks(), path=path, **params).fit(X)
    assert_same(detector, whole)
    counts = [
        [c.n_batches for _, c in d.net_.callbacks_ if isinstance(c, Own)]
        for d in (detector, whole)
    ]
    assert counts[0] == counts[1]


def test_what_no_checkpoint_can_hold(path):
    """Is refused in words when it is recorded in the history."""

    class Records(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("thing", object())

    with pytest.raises(TypeError, match="no checkpoint can hold: a object"):
        make(GANomalyDetector, Records(), path=path).fit(X)


def test_without_a_seed(path, kill):
    """The file has the seed, but only until the fit has ended."""
    interrupted(make(path=path, random_state=None), kill, 30)
    first = make(path=path, random_state=None)
    taken = kill(None)
    first.fit(X)
    assert len(taken) < 40
    second = make(path=path, random_state=None).fit(X)
    assert len(taken) > 90
    assert (first.anomaly_score(X) != second.anomaly_score(X)).any()


def test_the_file_of_a_fit_that_ended(path, kill):
    """Gives the same without training again, and makes way for another fit."""
    taken = kill(None)
    first = make(AnoGANDetector, path=path, **GAN).fit(X)
    assert len(taken) == 100
    assert_same(make(AnoGANDetector, path=path, **GAN).fit(X), first)
    assert len(taken) == 100
    make(AnoGANDetector, path=path, **GAN).fit(X + 1)
    assert len(taken) == 200


def test_steps_and_minutes(path, monkeypatch):
    """Files are written as often as was asked for, and twice in the end."""
    written = []
    monkeypatch.setattr(
        FitCheckpoint, "_write", lambda self, content: written.append(len(content))
    )
    for options, n_files in [
        ({"every_n_steps": 20}, 5 + 2),
        ({"every_n_steps": 1000}, 2),
        ({"every_minutes": 1e-9}, 20 + 2),
        ({"every_minutes": 60.0}, 2),
    ]:
        written.clear()
        checkpoint = FitCheckpoint(path, **options)
        callbacks = [("kept", checkpoint)]
        AutoencoderDetector(**OPTIONS | {"max_steps": 100}, callbacks=callbacks).fit(X)
        assert len(written) == n_files


# Refusals.


@pytest.mark.parametrize(
    "change, words",
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is 0.5"),
        ({"max_steps": 61}, "max_steps was 60 and is 61"),
        ({"random_state": 1}, "random_state was 0 and is 1"),
        (
            {"architecture": MLP(hidden_layer_sizes=(7,))},
            "architecture__hidden_layer_sizes was",
        ),
        ({"net_params": {"optimizer__eps": 1e-4}}, "net_params was None and is"),
        ({"callbacks": [EarlyStopping("latent")]}, "callbacks was"),
        ({"X": X[::-1]}, "X has other rows"),
        ({"X": X[:-1]}, "X has other rows"),
        ({"groups": np.arange(120) // 2}, "rows belong to other groups"),
        ({"cls": AutoencoderDetector}, "detector was 'GANomalyDetector' and is"),
    ],
)
def test_another_fit_is_refused(change, words, path, kill):
    """With what differs, before anything is trained; the file stays as it is."""
    interrupted(make(path=path), kill, 30)
    before = path.read_bytes()
    change = change.copy()
    rows, groups = change.pop("X", X), change.pop("groups", None)
    detector = make(change.pop("cls", GANomalyDetector), path=path)
    if "callbacks" in change:
        change["callbacks"] += detector.callbacks
    taken = kill(None)
    with pytest.raises(ValueError, match=f"checkpoint of another fit.*{words}"):
        detector.set_params(**change).fit(rows, groups=groups)
    assert not taken
    assert path.read_bytes() == before


class Watch:
    """A callback as scikit-learn has them, which might end the training."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, **kwargs):
        return False


@pytest.mark.skipif(
    not hasattr(AutoencoderDetector, "set_callbacks"), reason="scikit-learn before 1.9"
)
def test_other_callbacks_of_scikit_learn_are_refused(path, kill):
    """But those of its own, which only watch, may come and go."""
    from sklearn.callback import ScoringMonitor

    whole = make().fit(X)
    watched = make(path=path).set_callbacks(Watch())
    interrupted(watched, kill, 30)
    words = r"callbacks of scikit-learn was \['Watch'\] and is None. Set it back"
    with pytest.raises(ValueError, match=words):
        make(path=path).fit(X)
    monitor = ScoringMonitor(scoring=lambda *_: 0.0)
    assert_same(make(path=path).set_callbacks(Watch(), monitor).fit(X), whole)


def test_what_training_does_not_depend_on_may_change(path, kill):
    """What a score or a cut is made of, where the file is looked for, what is shown."""
    params = {"score_type": "joint", "false_alarm_rate": 0.2}
    whole = make(validation_fraction=0.2, **params).fit(X)
    interrupted(make(path=path, validation_fraction=0.2), kill, 30)
    moved = path.with_name("moved.ckpt")
    path.rename(moved)
    detector = make(validation_fraction=0.2, **params)
    detector.set_params(callbacks=[FitCheckpoint(str(moved))])
    assert_same(detector.fit(X), whole)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:100], "is damaged"),
        (lambda content: content[:500] + b"\0" + content[501:], "is damaged"),
        (lambda content: content + b" ", "is damaged"),
        (lambda content: b"", "no checkpoint of skganomaly"),
        (lambda content: b"my diary", "no checkpoint of skganomaly"),
        (lambda content: content.replace(b"t 1\n", b"t 2\n", 1), "newer version"),
    ],
)
def test_files_that_are_not_whole(damage, words, path, kill):
    """Are refused in words, and not overwritten."""
    interrupted(make(path=path), kill, 30)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        make(path=path).fit(X)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "options, words",
    [
        ({"every_n_steps": 0}, "every_n_steps=0 must be a positive int"),
        ({"every_n_steps": 2.5}, "every_n_steps=2.5 must be"),
        ({"every_minutes": -1}, "every_minutes=-1 must be"),
        ({"every_minutes": None}, "it would never write"),
        ({"path": "nowhere/run.ckpt"}, "no folder .*nowhere"),
    ],
)
def test_options_are_checked(options, words, path):
    with pytest.raises(ValueError, match=words):
        AutoencoderDetector(callbacks=[FitCheckpoint(**{"path": path} | options)]).fit(
            X
        )


def test_one_file_a_fit(path):
    callbacks = [FitCheckpoint(path), FitCheckpoint(path)]
    with pytest.raises(ValueError, match="callbacks has 2 FitCheckpoints"):
        AutoencoderDetector(callbacks=callbacks).fit(X)


def test_many_fits_of_a_series(path):
    """Would share the file, and that of one would be in the way of the next."""
    inner = AutoencoderDetector(callbacks=[("keep", FitCheckpoint(path))])
    series = TimeSeriesDetector(
        make_pipeline(StandardScaler(), inner), window_length=3, n_blocks=2
    )
    with pytest.raises(
        ValueError, match=r"callbacks has a FitCheckpoint.*Leave it out"
    ):
        series.fit(X)
    assert not os.path.exists(path)


def test_many_fits_of_a_search(path):
    """One that is killed would be in the way of the others when it is run again."""
    pipeline = make_pipeline(StandardScaler(), make(path=path))
    grid = {"ganomalydetector__latent_dim": [1, 2]}
    words = "FitCheckpoint, whose file is of one fit.*a search or cross-validation"
    search = GridSearchCV(pipeline, grid, cv=2, scoring=lambda *_: 0.0)
    with pytest.raises(ValueError, match=f"(?s)All the 4 fits failed.*{words}"):
        search.fit(X)
    with pytest.raises(ValueError, match=words):
        cross_val_predict(pipeline, X, cv=2)
    assert not os.path.exists(path)
    clone(pipeline).fit(X)
    assert os.path.exists(path)


def test_a_full_disk_ends_no_training(path, kill, monkeypatch):
    """The file before is left as it was; what was half written is gone."""
    interrupted(make(path=path), kill, 30)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="could not be written: .*No space left"):
        detector = make(path=path).fit(X)
    monkeypatch.undo()
    assert [*path.parent.iterdir()] == [path]
    assert path.read_bytes() == before
    assert_same(detector, make().fit(X))


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_links_and_permissions(path):
    """What a link points to is replaced, and others may read what they could before."""
    path.touch()
    link = path.with_name("link")
    link.symlink_to(path)
    mode = path.stat().st_mode
    write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode == mode


# Real kills.

# Imports once and forks, as the import takes longer than a fit.
SCRIPT = """\
import os, random, signal, sys, time
import numpy as np
import torch
torch.set_num_threads(1)
import skganomaly
from skganomaly.adversaries import Wasserstein
from skganomaly.architectures import MLP
from skganomaly.callbacks import FitCheckpoint
from skganomaly.reports import Finding
from skganomaly.searches import EncoderSearch

cls, folder, n_kills, seed = sys.argv[1:]
os.chdir(folder)
params = {"architecture": MLP(hidden_layer_sizes=(6,), discriminator_layer_sizes=(6,))}
if cls == "AnoGANDetector":
    params["adversary"] = Wasserstein(n_critic=3)
    params["search"] = EncoderSearch(encoder_steps=150)
X = np.random.default_rng(0).normal(size=(150, 3))

def fit(out, *callbacks):
    detector = getattr(skganomaly, cls)(
        **params, callbacks=list(callbacks), max_steps=300, n_members=2,
        validation_fraction=0.2, random_state=0).fit(X)
    losses = [row["train_loss"] for row in detector.history_]
    scores, cut = detector.anomaly_score(X), detector.offset_
    np.savez("part.npz", scores=scores, cut=cut, losses=losses)
    os.replace("part.npz", out)

def stored(path):
    with np.load(path) as file:
        return {name: value.tobytes() for name, value in file.items()}

begun = time.monotonic()
if (pid := os.fork()) == 0:
    fit("whole.npz")
    os._exit(0)
os.waitpid(pid, 0)
took = time.monotonic() - begun

chance, n_killed = random.Random(int(seed)), 0
while n_killed < int(n_kills):
    while not os.path.exists("resumed.npz"):
        if (pid := os.fork()) == 0:
            fit("resumed.npz", FitCheckpoint("run.ckpt", every_n_steps=5))
            os._exit(0)
        if n_killed < int(n_kills):
            time.sleep(chance.uniform(0.1, 0.6) * took)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        n_killed += os.WIFSIGNALED(status)
        assert not os.WEXITSTATUS(status)
    assert stored("resumed.npz") == stored("whole.npz")
    os.remove("resumed.npz")
    os.remove("run.ckpt")
print("equal after", n_killed)
"""


def _assert_kills_change_nothing(cls, folder, n_kills, seed):
    arguments = cls, str(folder), str(n_kills), str(seed)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=600,
        check=False,
    )
    assert result.stdout == f"equal after {n_kills}\n", result.stderr


linux = pytest.mark.skipif(sys.platform != "linux", reason="forks with torch loaded")


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    "cls", ["AnoGANDetector", "AutoencoderDetector", "GANomalyDetector"]
)
def test_sigkill(cls, tmp_path):
    """At random moments, writing included; the fit ends as one that was let be."""
    _assert_kills_change_nothing(cls, tmp_path, 10, 0)
