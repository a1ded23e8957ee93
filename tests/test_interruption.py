"""Ctrl-C: real signals, in processes of their own, and what tells them apart."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import skganomaly
from skganomaly._interruption import pressed_by_user

HERE = Path(skganomaly.__file__).parents[1]

# What the scenarios have in common. `Press` presses Ctrl-C, with a real signal, in the
# hook of a callback or in the middle of a step.
PRELUDE = """
import json, os, signal, sys, warnings
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._training._step import Run
from skganomaly.interop import as_pyod
from skganomaly.model_selection import InlierKFold
from skganomaly.searches import EncoderSearch
from skganomaly.timeseries import TimeSeriesDetector

warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(120, 3))
STEPS = 40
pressed = []

def press():
    pressed.append(1)
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(100))  # The signal arrives at the latest here.

class Press(Callback):
    def __init__(self, hook="on_grad_computed", after=15, phase="training"):
        self.hook, self.after, self.phase = hook, after, phase

    def _called(self, hook, net):
        if hook == self.hook and net.phase == self.phase:
            if net.n_steps_ >= self.after and not pressed:
                press()

    def on_grad_computed(self, net, **kwargs):
        self._called("on_grad_computed", net)

    def on_epoch_end(self, net, **kwargs):
        self._called("on_epoch_end", net)

    def on_train_end(self, net, **kwargs):
        self._called("on_train_end", net)

step = Run.step

def interrupted_step(run, rows, phase):
    if run.n_steps == 15 and not pressed:
        press()
    return step(run, rows, phase)

def detector(cls=GANomalyDetector, **params):
    return cls(max_steps=STEPS, n_members=1, random_state=0, **params)
"""

SCENARIOS = """
def trial(run, *watched, in_step=False):
    pressed.clear()
    Run.step = interrupted_step if in_step else step
    try:
        run()
        ended = "went on"
    except KeyboardInterrupt:
        ended = "ended"
    fitted = [d.__sklearn_is_fitted__() for d in watched]
    return [ended, len(pressed), any(fitted)]

found = {}
d = detector()
found["lone fit of a script"] = trial(lambda: d.fit(X), d, in_step=True)
for hook in ("on_grad_computed", "on_epoch_end", "on_train_end"):
    d = detector(callbacks=[Press(hook)])
    found[hook] = trial(lambda: d.fit(X), d)
d = detector(callbacks=[Press("on_epoch_end", after=STEPS)])
found["after the last step"] = trial(lambda: d.fit(X), d)
grid = GridSearchCV(detector(), {"latent_dim": [2, 3]}, cv=2,
                    scoring=lambda e, X, y=None: 0.0)
found["search"] = trial(lambda: grid.fit(X), in_step=True)
found["search"].append(hasattr(grid, "best_score_"))
found["scores"] = trial(
    lambda: cross_val_score(detector(), X, cv=2, scoring=lambda e, X, y=None: 0.0),
    in_step=True)
pipe = make_pipeline(StandardScaler(), detector())
found["pipeline"] = trial(lambda: pipe.fit(X), pipe[-1], in_step=True)
series = TimeSeriesDetector(detector(), window_length=3, n_blocks=2)
found["series"] = trial(lambda: series.fit(X[:, 0]), in_step=True)
d = detector(AnoGANDetector, search=EncoderSearch(encoder_steps=20))
found["AnoGAN's GAN"] = trial(lambda: d.fit(X), d, in_step=True)
d = detector(AnoGANDetector, search=EncoderSearch(encoder_steps=20),
             callbacks=[Press("on_epoch_end", 5, "encoder")])
found["AnoGAN's encoder"] = trial(lambda: d.fit(X), d)
d = detector(verbose=1)
found["bar"] = trial(lambda: d.fit(X), d, in_step=True)
found["bars left"] = len(__import__("tqdm").tqdm._instances)

# A handler of somebody else's, in Python.
def handler(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, handler)
d = detector(callbacks=[Press("on_epoch_end")])
found["other handler"] = trial(lambda: d.fit(X), d)
assert signal.getsignal(signal.SIGINT) is handler
print(json.dumps(found))
"""

# Fed to an interactive interpreter, line by line.
SESSION = """
d = detector()
Run.step = interrupted_step
out = d.fit(X)

found = {"alone": [d.__sklearn_is_fitted__(), d.n_iter_, len(d.history_) > 2]}
found["told"] = "interrupted" in [p.name for p in d.training_report_.problems]
pressed.clear(); many = [detector() for _ in range(2)]
for d in many: d.fit(X)

found["loop"] = [d.__sklearn_is_fitted__() for d in many]
pressed.clear(); d = detector(); e = detector()
d.fit(X); e.fit(X)

found["two in a line"] = [d.__sklearn_is_fitted__(), e.__sklearn_is_fitted__()]
pressed.clear(); pipe = make_pipeline(StandardScaler(), detector())
pipe.fit(X)

found["pipeline"] = pipe[-1].__sklearn_is_fitted__()
pressed.clear(); d = detector(AnoGANDetector)
d.fit(X)

found["GAN"] = d.__sklearn_is_fitted__()
pressed.clear(); d = detector(AnoGANDetector, search="nearest")
d.fit(X)

found["GAN alone"] = d.__sklearn_is_fitted__()
print(json.dumps(found))
"""


def child(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
        **options,
    )


def last_line(result):
    assert result.stdout, result.stderr
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_ctrl_c_ends_what_the_user_started():
    """Whatever surrounds the fit, nothing goes on and nothing is left fitted."""
    found = last_line(child("-c", PRELUDE + SCENARIOS))
    assert found.pop("bars left") == 0
    assert found.pop("search") == ["ended", 1, False, False]
    assert len(found) == 12
    assert found == {name: ["ended", 1, False] for name in found}


@pytest.mark.slow
def test_ctrl_c_at_the_prompt(tmp_path):
    """A fit that is a statement of its own keeps what was done; nothing else does."""
    script = tmp_path / "prelude.py"
    script.write_text(PRELUDE, encoding="utf-8")
    found = last_line(child("-i", "-q", script, input=SESSION))
    assert found["alone"] == [True, 15, True]
    assert found["told"]
    assert found["GAN alone"]
    assert found["loop"] == [False, False]
    assert not (found["two in a line"][0] or found["two in a line"][1])
    assert not found["pipeline"]
    assert not found["GAN"]


def caught(function):
    try:
        function()
    except KeyboardInterrupt as error:
        return error
    raise AssertionError("nothing was raised")


def stop():
    raise KeyboardInterrupt


def stop_with_an_instance():
    raise KeyboardInterrupt("patience is at its end")


def cleaned_up(function):
    try:
        function()
    except KeyboardInterrupt:
        sum([1, 2])
        raise


def pressed():
    signal.raise_signal(signal.SIGINT)
    for _ in range(100):
        pass


@pytest.mark.parametrize("wrap", [lambda f: f(), cleaned_up])
def test_signals_are_told_from_raise_statements(wrap):
    """Also where somebody catches the exception on its way and passes it on."""
    assert not pressed_by_user(caught(lambda: wrap(stop)))
    assert not pressed_by_user(caught(lambda: wrap(stop_with_an_instance)))
    assert pressed_by_user(caught(lambda: wrap(pressed)))
