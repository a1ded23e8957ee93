"""A fit that goes on with the training of the fit before."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._training._step import Run
from skganomaly.callbacks import FitCheckpoint
from skganomaly.searches import EncoderSearch

every_class = pytest.mark.parametrize(
    "cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
)
WARM = {"warm_start": True, "learning_rate_schedule": "constant", "n_members": 2}


@pytest.fixture
def n_steps(monkeypatch):
    """Return a list that grows by an entry with each step of any training."""
    step, taken = Run.step, []

    def counted(run, *args):
        taken.append(run.n_steps)
        return step(run, *args)

    monkeypatch.setattr(Run, "step", counted)
    return taken


@every_class
def test_more_steps(cls, small, table, n_steps):
    """Two fits end where one of all steps does; AnoGAN's encoder is trained anew."""
    detector = small(cls, max_steps=20, **WARM).fit(table)
    first = detector.anomaly_score(table)
    detector.set_params(max_steps=45).fit(table)
    encoder = 10 if cls is AnoGANDetector else 0
    assert len(n_steps) == 45 + 2 * encoder
    whole = small(cls, max_steps=45, **WARM).fit(table)
    assert_array_equal(detector.anomaly_score(table), whole.anomaly_score(table))
    assert detector.offset_ == whole.offset_
    assert detector.n_iter_ == whole.n_iter_ == 45 + encoder
    assert detector.history_[-1]["n_steps"] == detector.n_iter_
    assert (first != whole.anomaly_score(table)).any()


def test_more_steps_of_the_encoder(small, table, n_steps):
    """Generator and critic stay as they are."""
    params = {"search": EncoderSearch(encoder_steps=10), **WARM}
    detector = small(AnoGANDetector, **params).fit(table)
    samples = detector.sample(5, random_state=0)
    detector.set_params(search__encoder_steps=25).fit(table)
    assert len(n_steps) == 10 + 25
    params["search"] = EncoderSearch(encoder_steps=25)
    whole = small(AnoGANDetector, **params).fit(table)
    assert_array_equal(detector.anomaly_score(table), whole.anomaly_score(table))
    assert_array_equal(detector.sample(5, random_state=0), samples)


def test_without_a_seed(small, table, n_steps):
    """The first fit's is kept."""
    detector = small(random_state=None, **WARM).fit(table)
    first = detector.anomaly_score(table)
    assert_array_equal(detector.fit(table).anomaly_score(table), first)
    assert len(n_steps) == 10


def test_a_new_score_needs_no_training(small, table, n_steps):
    """Nor does a new cut."""
    detector = small(**WARM).fit(table)
    detector.set_params(score_type="joint", false_alarm_rate=0.2).fit(table)
    assert len(n_steps) == 10
    whole = small(score_type="joint", false_alarm_rate=0.2, **WARM).fit(table)
    assert_array_equal(detector.anomaly_score(table), whole.anomaly_score(table))
    assert detector.offset_ == whole.offset_


def test_what_a_callback_ended_goes_on(small, table):
    """With callbacks that begin anew."""
    stop = EarlyStopping("latent", patience=2, threshold=0.9)
    detector = small(max_steps=500, callbacks=[stop], **WARM).fit(table)
    ended = detector.n_iter_
    assert ended < 500
    assert detector.fit(table).n_iter_ > ended


def test_it_survives_a_pickle_but_not_a_clone(small, table, n_steps):
    detector = small(max_steps=20, **WARM).fit(table)
    loaded = pickle.loads(pickle.dumps(detector)).set_params(max_steps=30).fit(table)
    assert len(n_steps) == 30
    clone(detector).set_params(max_steps=30).fit(table)
    assert len(n_steps) == 60
    assert loaded.n_iter_ == 30


def test_off_keeps_nothing(small, table):
    """Neither memory nor a file is spent on what nobody asked for."""
    assert not hasattr(small().fit(table), "_trainings")


def test_turned_on_too_late(small, table):
    """Says that it begins anew."""
    detector = small().fit(table).set_params(**WARM)
    with pytest.warns(UserWarning, match="nothing to go on from.*starts anew"):
        detector.fit(table)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"latent_dim": 2}, "latent_dim was 4 and is 2"),
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is 0.5"),
        ({"validation_fraction": 0.3}, "other rows are held out"),
        ({"random_state": 7}, "random_state was 0 and is 7"),
        ({"max_steps": 9}, "9 steps of the training are asked for, and 10 are done"),
        ({"X": 1}, "X has other rows"),
    ],
)
def test_what_must_not_change(change, words, small, table, n_steps):
    """Is refused in words; the detector is as it was, and can go on."""
    detector = small(**WARM).fit(table)
    scores = detector.anomaly_score(table)
    shift = change.get("X", 0)
    params = {name: value for name, value in change.items() if name != "X"}
    before = {name: getattr(detector, name) for name in params}
    with pytest.raises(ValueError, match=words):
        detector.set_params(**params).fit(table + shift)
    assert_array_equal(detector.anomaly_score(table), scores)
    detector.set_params(**before | {"max_steps": 12}).fit(table)
    assert len(n_steps) == 12


def test_a_failed_fit_keeps_the_one_before(small, table, monkeypatch):
    """As hours of training may be in it; without warm_start nothing is left."""

    def fails(*args):
        raise FloatingPointError

    detectors = small(**WARM).fit(table), small().fit(table)
    scores = detectors[0].anomaly_score(table)
    monkeypatch.setattr(Run, "step", fails)
    for detector in detectors:
        with pytest.raises(FloatingPointError):
            detector.set_params(max_steps=20).fit(table)
    assert_array_equal(detectors[0].anomaly_score(table), scores)
    with pytest.raises(NotFittedError):
        check_is_fitted(detectors[1])


def test_with_checkpoints(small, table, tmp_path, n_steps, monkeypatch):
    """A fit that goes on is resumed as any other, and only as that."""
    path = tmp_path / "run.ckpt"
    warm = {"callbacks": [FitCheckpoint(path, every_n_steps=5)], **WARM}
    detector = small(**warm).fit(table)
    stored = pickle.dumps(detector)
    whole = detector.set_params(max_steps=100).fit(table).anomaly_score(table)
    assert len(n_steps) == 100
    counted = Run.step

    def killed(run, *args):
        if run.n_steps == 80:
            raise KeyboardInterrupt
        return counted(run, *args)

    monkeypatch.setattr(Run, "step", killed)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        pickle.loads(stored).set_params(max_steps=100).fit(table)
    monkeypatch.setattr(Run, "step", counted)
    with pytest.raises(ValueError, match="the fit that warm_start goes on from"):
        small(**warm | {"max_steps": 100}).fit(table)
    n_steps.clear()
    resumed = pickle.loads(stored).set_params(max_steps=100).fit(table)
    assert_array_equal(resumed.anomaly_score(table), whole)
    assert 0 < len(n_steps) <= 30


def test_other_weights_are_another_training(small, table):
    weights = np.linspace(0.5, 2, len(table))
    detector = small(AutoencoderDetector, max_steps=20, **WARM)
    detector.fit(table, sample_weight=weights)
    detector.set_params(max_steps=45).fit(table, sample_weight=weights)
    whole = small(AutoencoderDetector, max_steps=45, **WARM)
    whole.fit(table, sample_weight=weights)
    assert_array_equal(detector.anomaly_score(table), whole.anomaly_score(table))
    with pytest.raises(ValueError, match="sample_weight is another"):
        detector.set_params(max_steps=60).fit(table, sample_weight=2.0**-weights)


def test_rows_that_are_left_out_are_not_gone_on_with(small, table):
    with pytest.raises(ValueError, match=r"trim=0\.1 with warm_start=True"):
        small(AutoencoderDetector, trim=0.1, **WARM).fit(table)


def test_a_fit_of_part_is_resumed(small, table, tmp_path):
    """By the same seed the same rows are left out, also if it was drawn."""
    checkpoint = FitCheckpoint(tmp_path / "run.ckpt", every_n_steps=5)
    params = {"trim": 0.1, "max_steps": 20, "callbacks": [checkpoint]}
    first = small(AutoencoderDetector, **params).fit(table)
    again = small(AutoencoderDetector, **params).fit(table)
    assert_array_equal(first.trimmed_, again.trimmed_)
    assert_array_equal(first.anomaly_score(table), again.anomaly_score(table))
