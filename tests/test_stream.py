"""Rows that come in pieces."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import kstest
from sklearn.base import clone

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._stream import Reservoir
from skganomaly.callbacks import FitCheckpoint

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(5, 5))
ROWS = RNG.normal(size=(1200, 5)) @ MIXING
NEW = RNG.normal(size=(1000, 5)) @ MIXING
PIECES = np.array_split(ROWS, 4)


def share_flagged(detector, rows):
    return np.mean(detector.predict(rows) == -1)


def state_of(detector):
    return {k: v.copy() for k, v in detector.__getstate__()["_model_state"].items()}


@pytest.mark.parametrize("fraction", [0, 0.25])
def test_a_reservoir_is_a_uniform_sample(fraction):
    """Of all rows, whatever the pieces, and of bounded size."""
    numbers, places, counts = np.arange(4000.0)[:, None], [], []
    for seed in range(20):
        reservoir = Reservoir(seed, 100, fraction)
        for piece in np.array_split(numbers, 7):
            reservoir = reservoir.with_rows(piece)
        once = Reservoir(seed, 100, fraction).with_rows(numbers)
        assert_array_equal(reservoir.rows, once.rows)
        assert_array_equal(reservoir.held_out, once.held_out)
        assert reservoir.n_seen == 4000
        counts.append(np.bincount(reservoir.held_out))
        places.append(reservoir.rows.ravel())
    assert np.all(counts == np.full((20, 2 if fraction else 1), 100))
    assert kstest(np.concatenate(places) / 4000, "uniform").pvalue > 0.01
    assert len(np.unique(np.concatenate(places))) > 1000


def test_a_held_out_row_stays_so():
    """It is never trained on, in whichever piece it came."""
    once = Reservoir(0, 1000, 0.3).with_rows(np.arange(50.0)[:, None])
    twice = once.with_rows(np.arange(50, 90.0)[:, None])
    assert_array_equal(twice.held_out[:50], once.held_out)
    assert 5 < twice.held_out.sum() < 50


@every_detector
def test_pieces_make_a_detector_of_all_rows(cls, small):
    """It goes on training, and keeps its promise and its parameters."""
    detector = small(cls, max_references=400, validation_fraction=0.3)
    before = detector.get_params()
    for n_pieces, piece in enumerate(PIECES, 1):
        assert detector.partial_fit(piece) is detector
        assert detector.reservoir_.n_seen == 300 * n_pieces
    assert detector.n_held_out_ == len(detector.reference_scores_) > 250
    assert detector.n_iter_ == 4 * small(cls).fit(ROWS[:300]).n_iter_
    assert 0.01 < share_flagged(detector, NEW) < 0.1
    assert share_flagged(detector, 5 * NEW) > 0.5
    assert detector.get_params() == before
    assert not any(hasattr(clone(detector), name) for name in ("offset_", "reservoir_"))


def test_the_scaling_is_that_of_the_first_piece(small):
    """The networks go on from what they have learned, and do learn."""
    detector = small().partial_fit(PIECES[0])
    first, ranges = state_of(detector), detector.value_range_
    detector.partial_fit(PIECES[1])
    second = state_of(detector)
    assert_array_equal(first["scaling.center"], second["scaling.center"])
    assert_array_equal(first["scaling.scale"], second["scaling.scale"])
    assert_array_equal(detector.value_range_, ranges)
    weights = [name for name in first if name.startswith("method.")]
    moved = [np.abs(first[name] - second[name]).mean() for name in weights]
    size = [np.abs(first[name]).mean() for name in weights]
    assert 0 < np.sum(moved) < 0.3 * np.sum(size)


def test_pieces_are_repeated_to_the_bit(small):
    """By the seed, with a pickle between them, whatever else was done."""
    detector, other = small(), small()
    for piece in PIECES[:3]:
        detector.partial_fit(piece)
        other.anomaly_score(piece) if hasattr(other, "offset_") else None
        other = pickle.loads(pickle.dumps(other.partial_fit(piece)))
    assert_array_equal(detector.anomaly_score(NEW), other.anomaly_score(NEW))
    assert detector.threshold_ == other.threshold_


def test_a_new_normal_is_learned(small):
    """Within the range that the scaling was learned from."""
    gap = np.where(np.arange(600) % 2, 3, -3)[:, None]
    first = RNG.normal(size=(600, 5)) + gap
    between = RNG.normal(size=(600, 5))
    detector = small(AutoencoderDetector, max_steps=100).partial_fit(first)
    assert share_flagged(detector, between) > 0.8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.partial_fit(between[:400])
    assert share_flagged(detector, between[400:]) < 0.15


def test_drift_beyond_the_scaling_is_reported(small):
    """With the column, the share, the range, and what to do."""
    frame = pd.DataFrame(ROWS, columns=[*"abcde"])
    detector = small().partial_fit(frame[:300])
    assert not detector.training_report_.problems
    moved = frame[300:600].assign(c=lambda rows: rows["c"] + 20)
    words = r"100% of these rows lie outside of .* in column 'c'.*fit again on recent"
    with pytest.warns(UserWarning, match=words):
        detector.partial_fit(moved)
    assert [p.name for p in detector.training_report_.problems] == ["drifted"]
    assert list(detector.feature_names_in_) == [*"abcde"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.partial_fit(frame[600:900])


def test_images_in_pieces(images, small):
    """Rows keep their shape."""
    detector = small(AutoencoderDetector, conv=True)
    detector.partial_fit(images[:40]).partial_fit(images[40:])
    assert detector.input_shape_ == (2, 6, 9)
    assert len(detector.reference_scores_) == 60
    assert detector.anomaly_score(images).shape == (60,)


def test_dirty_rows_in_pieces(small):
    """Positions of what was left out are those in the sample that is kept."""
    wild = np.arange(300) % 20 == 3
    dirty = np.where(wild[:, None], 6 * PIECES[0], PIECES[0])
    detector = small(trim=0.1).partial_fit(dirty).partial_fit(PIECES[1])
    worst = detector.reservoir_.rows[detector.trimmed_]
    assert len(worst) == 60
    assert len(np.unique(np.vstack([worst, dirty[wild]]), axis=0)) < 65


def test_many_small_pieces_are_learned_by_heart(small):
    """Which is said, as nothing is held out."""
    detector = small(max_steps=60).partial_fit(ROWS[:60])
    with pytest.warns(
        UserWarning, match=r"seen each row about \d+ times .* Begin anew"
    ):
        for start in range(60, 120, 10):
            detector.partial_fit(ROWS[start : start + 10])


def test_a_piece_that_is_refused_changes_nothing(small):
    """Nor does one whose training fails."""
    detector = small().partial_fit(PIECES[0])
    before = vars(detector).copy()
    with pytest.raises(ValueError, match="X has 4 features, but GANomalyDetector is"):
        detector.partial_fit(PIECES[1][:, :4])
    with pytest.raises(ValueError, match="contains NaN"):
        detector.partial_fit(np.full((5, 5), np.nan))
    detector.threshold = lambda scores: 1 / 0
    with pytest.raises(ZeroDivisionError):
        detector.partial_fit(PIECES[1])
    detector.threshold = "auto"
    assert vars(detector) == before
    unfitted = small()
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        unfitted.partial_fit(ROWS[:1])
    with pytest.raises(ValueError, match=r"validation_fraction=0.9 leave fewer than 2"):
        small(validation_fraction=0.9).partial_fit(ROWS[:3])
    assert not hasattr(unfitted, "n_features_in_")


def test_fit_and_pieces_are_two_beginnings(small):
    """A fit keeps no rows, and forgets those that were kept."""
    detector = small().fit(ROWS)
    with pytest.raises(
        ValueError, match=r"comes from fit, which keeps no rows .* clone"
    ):
        detector.partial_fit(PIECES[0])
    detector = small().partial_fit(PIECES[0]).fit(ROWS)
    assert_array_equal(
        detector.anomaly_score(NEW), small().fit(ROWS).anomaly_score(NEW)
    )
    assert not hasattr(detector, "reservoir_")


def test_retraining_on_all_that_arrived_does_not_shrink(small):
    """With `trim`; on what the last detector let through, it does."""
    shares = {}
    for trim in (0, 0.05):
        rows = ROWS[:400]
        for start in (400, 600, 800, 1000):
            detector = small(AutoencoderDetector, trim=trim, max_steps=40).fit(rows)
            arrived = np.vstack([rows, ROWS[start : start + 200]])
            let_through = detector.predict(arrived) == 1
            rows = (arrived if trim else arrived[let_through])[-400:]
        shares[trim] = share_flagged(detector, NEW)
    assert shares[0] > 0.1
    assert shares[0.05] < 0.085


def test_no_checkpoint_of_pieces(small, tmp_path):
    """There is no fit to go on with, so a file of one is refused, and not ignored."""
    checkpoint = FitCheckpoint(tmp_path / "run.ckpt")
    detector = small(AutoencoderDetector, callbacks=[checkpoint])
    with pytest.raises(ValueError, match="callbacks has a FitCheckpoint"):
        detector.partial_fit(PIECES[0])
    assert not hasattr(detector, "offset_")


def test_a_file_goes_on(small, tmp_path):
    """The rows that were kept are in it."""
    detector = small(AutoencoderDetector).partial_fit(PIECES[0])
    detector.save(tmp_path / "model.skganomaly")
    loaded = skganomaly.load(tmp_path / "model.skganomaly")
    scores = detector.partial_fit(PIECES[1]).anomaly_score(NEW)
    assert_array_equal(loaded.partial_fit(PIECES[1]).anomaly_score(NEW), scores)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_members": 1}, "n_members was 2 and is 1"),
        ({"latent_dim": 2}, "latent_dim was 5 and is 2"),
        ({"scaler": "minmax"}, "scaler was 'standard' and is 'minmax'"),
        ({"max_references": 50}, "max_references was 6000 and is 50"),
        ({"validation_fraction": 0.2}, "validation_fraction was 0.0 and is 0.2"),
        ({"reconstruction_loss": "l1"}, "reconstruction_loss was 'l2' and is 'l1'"),
        ({"architecture__hidden_layer_sizes": (4,)}, "architecture__hidden_layer_"),
    ],
)
def test_what_must_not_change_from_piece_to_piece(change, words, small):
    """Networks, scaling and rows are there already; the rest is of the next piece."""
    detector = small(AutoencoderDetector, n_members=2, scaler="standard", latent_dim=5)
    scores = detector.partial_fit(PIECES[0]).anomaly_score(NEW)
    before = {name: detector.get_params()[name] for name in change}
    detector.set_params(**change)
    with pytest.raises(ValueError, match=f"{words}.* begin anew"):
        detector.partial_fit(PIECES[1])
    assert_array_equal(detector.set_params(**before).anomaly_score(NEW), scores)
    detector.set_params(
        max_steps=5, batch_size=20, learning_rate=0.01, score_type="joint", trim=0.1
    )
    assert detector.partial_fit(PIECES[1]).settings_.trim == 0.1


def test_the_learning_rate_may_change(small):
    """Also where that of an adversary follows from it."""
    detector = small(AnoGANDetector).partial_fit(PIECES[0])
    detector.set_params(learning_rate=0.01).partial_fit(PIECES[1])
    assert detector.settings_.learning_rate == 0.01


def test_a_fit_after_pieces(small):
    """With ``warm_start``, too, there is no training of a fit to go on with."""
    detector = small(AutoencoderDetector, warm_start=True).partial_fit(PIECES[0])
    assert not hasattr(detector, "_trainings")
    with pytest.warns(UserWarning, match="nothing to go on from"):
        detector.fit(ROWS)
    assert_array_equal(
        detector.anomaly_score(NEW),
        small(AutoencoderDetector).fit(ROWS).anomaly_score(NEW),
    )
