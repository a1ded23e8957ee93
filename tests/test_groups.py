"""Rows that repeat or belong together, and what is promised about new ones."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._groups import group_rows, one_score_a_group, twins
from skganomaly._near_copies import find_near_copies
from skganomaly.model_selection import InlierGroupKFold

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)

X = np.random.default_rng(0).normal(size=(1000, 8))
ONCE, NEW = X[:300], X[500:]


def _noise(size):
    return np.random.default_rng(1).normal(size=size)


def _counts(n_rows, seed):
    return np.random.default_rng(seed).poisson(2, size=(n_rows, 4)).astype(float)


def _one_hot(n_rows, seed, *, n_numbers=0):
    rng = np.random.default_rng(seed)
    dummies = np.eye(4)[rng.integers(0, 4, size=(n_rows, 3))].reshape(n_rows, -1)
    return np.hstack([dummies, rng.normal(size=(n_rows, n_numbers))])


REPEATED = {
    "twice": np.concatenate([ONCE, ONCE]),
    "joined": np.repeat(ONCE, 2 + np.arange(300) % 5, axis=0),
    "rounding": np.concatenate([ONCE, ONCE + 1e-9 * _noise(ONCE.shape)]),
    "bootstrap": ONCE[np.random.default_rng(2).integers(0, 300, size=300)],
    "half of them twice": np.concatenate([ONCE, ONCE[:150]]),
    "single precision, twice": np.concatenate([ONCE, ONCE]).astype(np.float32),
}


def share_flagged(detector, rows):
    return np.mean(detector.predict(rows) == -1)


@every_detector
@pytest.mark.parametrize("kind", REPEATED)
def test_copies_do_not_flag_new_rows(cls, kind, small):
    """Rows that are there more than once are no reason to alarm at new ones."""
    detector = small(cls).fit(REPEATED[kind])
    assert 0 < share_flagged(detector, NEW) <= 0.10


@pytest.mark.parametrize(
    "score_type", ["joint", "latent", "reconstruction", "features"]
)
def test_copies_do_not_flag_new_rows_whatever_the_score(score_type, small):
    """Every score holds its promise about as well as on each row once."""
    detector = small(score_type=score_type).fit(REPEATED["twice"])
    once = small(score_type=score_type).fit(ONCE)
    assert 0 < share_flagged(detector, NEW) <= 0.10
    assert abs(share_flagged(detector, NEW) - share_flagged(once, NEW)) <= 0.03


@every_detector
@pytest.mark.parametrize("repeat", ["twice", "rounding"])
def test_copies_of_images_do_not_flag_new_ones(cls, repeat, small):
    """The same for images, whose networks normalise over batches."""
    images = np.random.default_rng(4).permutation(load_digits().images[:600]) / 16
    once, new = images[:150], images[150:]
    copies = once if repeat == "twice" else once + 1e-9 * _noise(once.shape)
    detector = small(cls, conv=True, max_steps=30).fit(np.concatenate([once, copies]))
    assert len(detector.reference_scores_) == 150
    assert 0 < share_flagged(detector, new) <= 0.12


@every_detector
def test_copies_of_extreme_rows_are_caught(cls, small):
    """An anomaly that is there twice does not vouch for itself."""
    rng = np.random.default_rng(3)
    extreme = 6 * rng.normal(size=(20, 8))
    rows = np.vstack([rng.normal(size=(400, 8)), extreme, extreme])
    detector = small(cls, contamination=40 / 440).fit(rows)
    assert share_flagged(detector, extreme) >= 0.9
    assert share_flagged(detector, rows) == pytest.approx(40 / 440, abs=0.005)


@pytest.mark.parametrize("make", [_counts, _one_hot], ids=["counts", "one-hot"])
def test_equal_rows_of_discrete_tables_are_no_copies(make, small):
    """New rows equal old ones there, and a frequent row is a normal one."""
    rows, new = make(400, 4), make(2000, 5)
    groups = group_rows(rows)
    assert len(np.unique(rows, axis=0)) < 0.8 * len(rows)
    assert groups.n_groups == len(rows)
    assert share_flagged(small().fit(rows), new) <= 0.10


@pytest.mark.parametrize(
    "make",
    [_counts, _one_hot, lambda n, seed: _one_hot(n, seed, n_numbers=3)],
    ids=["counts", "one-hot", "mixed"],
)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_promise_holds_for_discrete_and_mixed_tables(make, times, small):
    """Whether or not they are repeated as a whole."""
    rows, new = np.tile(make(400, 6), (times, 1)), make(2000, 7)
    assert share_flagged(small().fit(rows), new) <= 0.12


@pytest.mark.parametrize("times", [2, 3, 6, "2 to 6"])
def test_discrete_tables_that_a_join_repeats(times):
    """Chance does not make rows occur three times, and none of them twice or once."""
    rows = _counts(400, 6)
    many = 2 + np.arange(400) % 5 if times == "2 to 6" else times
    groups = group_rows(np.repeat(rows, many, axis=0))
    assert groups.n_groups == len(np.unique(rows, axis=0))


@pytest.mark.parametrize("n_values", [3, 5, 10, 30, 100])
def test_chance_may_make_most_rows_occur_more_than_once(n_values):
    """However often rows occur on average."""
    rng = np.random.default_rng(n_values)
    rows = rng.integers(0, n_values, size=(5000, 2)).astype(float)
    assert group_rows(rows).n_groups == 5000


def test_copies_in_mixed_tables_are_told_by_their_numbers():
    """A single column that takes many values tells copies from chance."""
    rows = _one_hot(300, 8, n_numbers=1)
    assert group_rows(np.concatenate([rows, rows])).n_groups == 300
    rounded = np.hstack([rows[:, :4], np.round(rows[:, -1:], 1)])
    assert len(np.unique(rounded, axis=0)) < 300
    assert group_rows(rounded).n_groups == 300


def test_a_value_that_is_frequent_is_no_copy(small):
    """Rows of a machine that is switched off are all alike, and normal."""
    rows = ONCE.copy()
    rows[:60] = 0
    detector = small().fit(rows)
    assert group_rows(rows).n_groups == 300
    assert detector.predict(np.zeros((1, 8)))[0] == 1


@pytest.mark.parametrize(
    "rows",
    [np.zeros((6, 3)), np.repeat([[1.0, 2], [3, 4]], 3, axis=0), np.ones((2, 1))],
    ids=["constant", "two rows", "a pair"],
)
def test_tables_of_nothing_but_copies_can_be_fitted(rows, small):
    """They have scores, however little these can mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = small().fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()


def test_rows_far_from_zero_are_not_taken_for_copies():
    """What counts is the spread of a column, in either precision."""
    rows = 1e6 + ONCE
    assert group_rows(rows).n_groups == 300
    assert group_rows(rows[:, :1]).n_groups == 300
    assert group_rows((1e3 + ONCE).astype(np.float32)).n_groups == 300
    assert group_rows(np.concatenate([rows, rows + 1e-9])).n_groups == 300


def test_copies_of_rows_whose_squares_overflow():
    """Where a column lies is found without them."""
    rows = 1e300 * ONCE
    assert group_rows(rows).n_groups == 300
    assert group_rows(np.concatenate([rows, rows])).n_groups == 300


def test_columns_of_many_units():
    """Each column has a scale of its own; the pixels of an image share one."""
    rows = ONCE * 10.0 ** np.arange(-12, 4, 2)
    assert group_rows(rows).n_groups == 300
    assert group_rows(np.concatenate([rows, rows])).n_groups == 300


# Groups that are named.


def _shots(n_parts, n_shots, seed, width=8):
    rng = np.random.default_rng(seed)
    part = np.repeat(np.arange(n_parts), n_shots)
    return (
        rng.normal(size=(n_parts, width))[part]
        + 0.3 * rng.normal(size=(len(part), width)),
        part,
    )


SHOTS, PART = _shots(300, 6, seed=0)
NEW_PARTS = _shots(600, 1, seed=1)[0]


@every_detector
def test_named_groups_keep_the_promise(cls, small):
    """Rows are scored without the others of their group."""
    detector = small(cls).fit(SHOTS, groups=PART)
    assert 0 < share_flagged(detector, NEW_PARTS) <= 0.08
    assert len(detector.reference_scores_) == 300


@every_detector
def test_groups_that_nobody_named_are_warned_of(cls, small):
    """With their size, the share, and what to do; the report says it, too."""
    with pytest.warns(UserWarning, match=r"groups of about 6 .* \d+% .*groups="):
        detector = small(cls).fit(SHOTS)
    assert any(
        "groups of about 6" in str(p) for p in detector.training_report_.problems
    )


def test_rows_with_a_little_noise_added_are_warned_of(small):
    """Augmentation as well."""
    rows = np.concatenate([ONCE, ONCE + 0.01 * _noise(ONCE.shape)])
    with pytest.warns(UserWarning, match="groups of about 2"):
        small().fit(rows)


@pytest.mark.parametrize("score_type", ["local", "joint", "reconstruction"])
def test_group_members_score_alike_at_fit_and_predict(score_type, small):
    """Also those that are no references, and copies of references."""
    rows = np.concatenate([SHOTS[:300], SHOTS[:60]])
    groups = np.concatenate([PART[:300], PART[:60]])
    detector = small(score_type=score_type, contamination=0.1, max_references=40)
    detector.fit(rows, groups=groups)
    assert share_flagged(detector, rows) == pytest.approx(0.1, abs=0.02)
    once = detector.anomaly_score(rows)
    assert_array_equal(once[:60], once[300:])
    assert_array_equal(detector.anomaly_score(rows[::-1])[::-1], once)


def test_groups_are_held_out_whole(small):
    """A held-out row has no member of its group among the references."""
    detector = small(validation_fraction=0.2).fit(SHOTS, groups=PART)
    assert detector.n_held_out_ == 60 * 6
    assert len(detector.reference_scores_) == 60
    conformal = small(
        validation_fraction=0.05, threshold="conformal", false_alarm_rate=0.05
    )
    # 90 rows would be enough for 5 %, 15 groups are not.
    with pytest.raises(ValueError, match="needs at least 19 held-out scores; got 15"):
        conformal.fit(SHOTS, groups=PART)


@pytest.mark.parametrize("groups", [None, np.arange(300) // 20])
def test_a_rate_that_so_few_cannot_promise_is_withdrawn(small, groups):
    """With the share that is flagged instead, and what to do."""
    rows = ONCE[:15] if groups is None else ONCE
    kind = "rows" if groups is None else "groups of rows"
    words = f"15 reference {kind} .* one in 16 .* Pass 19 {kind} or more"
    with pytest.warns(UserWarning, match=words):
        detector = small().fit(rows, groups=groups)
    assert [p.name for p in detector.training_report_.problems] == ["too_few"]
    for params in (
        {"false_alarm_rate": 0.0625},
        {"threshold": "max"},
        {"contamination": 0.05},
    ):
        report = small(**params).fit(rows, groups=groups).training_report_
        assert not report.problems


def test_groups_may_have_any_names(small):
    """What counts is which are equal; order and type don't matter."""
    names = pd.Series(PART).map("part {}".format)
    by_number = small().fit(SHOTS, groups=PART)
    for groups in (names, names.to_list(), 400 - PART, pd.Categorical(names)):
        other = small().fit(SHOTS, groups=groups)
        assert_array_equal(other.reference_scores_, by_number.reference_scores_)


def test_a_group_for_each_row_is_no_group(small):
    """Naming every row changes nothing, to the last bit."""
    plain = small().fit(ONCE)
    named = small().fit(ONCE, groups=np.arange(300)[::-1])
    assert_array_equal(plain.reference_scores_, named.reference_scores_)
    assert_array_equal(plain.anomaly_score(NEW), named.anomaly_score(NEW))


def test_groups_that_share_a_copy_are_one():
    """A row in two groups makes them dependent."""
    rows = np.concatenate([ONCE[:8], ONCE[:1]])
    groups = group_rows(rows, [0, 0, 1, 1, 2, 2, 3, 3, 3])
    assert_array_equal(groups.labels, [0, 0, 1, 1, 2, 2, 0, 0, 0])
    assert_array_equal(groups.originals, [0, 1, 2, 3, 4, 5, 6, 7, 0])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(300), "all 300 rows into one group"),
        (np.arange(299), "inconsistent numbers of samples"),
        (np.where(np.arange(300) < 5, np.nan, 1), "without missing values"),
        ([None] + ["a", "b", "c"] * 99 + ["a", "b"], "without missing values"),
        (np.zeros((300, 2)), "must name, for each row, the group"),
        ("part", r"groups=table\['part'\]"),
    ],
)
def test_groups_that_cannot_be_used(groups, message, small):
    """The error says what was received; the detector stays unfitted."""
    detector = small()
    with pytest.raises(ValueError, match=message):
        detector.fit(ONCE, groups=groups)
    assert not hasattr(detector, "offset_")


def test_one_group_with_nearly_all_rows(small):
    """The references have a row outside of every group, even if few are drawn."""
    groups = np.zeros(300)
    groups[-1] = 1
    detector = small(max_references=10).fit(ONCE, groups=groups)
    assert np.isfinite(detector.anomaly_score(ONCE)).all()


def test_groups_too_few_to_hold_out_are_counted(small):
    """The warning counts groups, as these are what is held out."""
    rows = PART < 36
    detector = small(score_type="latent", max_steps=100)
    words = "see each group of rows 100 times .* 36 groups of rows are too few"
    with pytest.warns(ConvergenceWarning, match=words):
        detector.fit(SHOTS[rows], groups=PART[rows])


def test_groups_through_pipelines_and_metadata_routing(small):
    """As scikit-learn's own estimators take them."""
    alone = small().fit(StandardScaler().fit_transform(SHOTS), groups=PART)
    pipeline = make_pipeline(StandardScaler(), small())
    pipeline.fit(SHOTS, ganomalydetector__groups=PART)
    assert_array_equal(pipeline[-1].reference_scores_, alone.reference_scores_)
    with config_context(enable_metadata_routing=True):
        asking = small().set_fit_request(groups=True)
        routed = make_pipeline(StandardScaler(), asking).fit(SHOTS, groups=PART)
        assert_array_equal(routed[-1].reference_scores_, alone.reference_scores_)
        scores = cross_val_score(
            asking,
            SHOTS,
            scoring=lambda estimator, rows, y=None: len(estimator.reference_scores_),
            cv=InlierGroupKFold(3, random_state=0),
            params={"groups": PART},
        )
    assert_array_equal(scores, [200, 200, 200])


def test_inlier_group_k_fold():
    """Training sets are normal, and no group is in both."""
    y = np.where(np.arange(1800) % 45 < 6, -1, 1)
    for train, test in InlierGroupKFold(4, random_state=0).split(SHOTS, y, PART):
        assert (y[train] == 1).all()
        assert (y[test] == -1).any()
        assert not set(PART[train]) & set(PART[test])
    for train, test in InlierGroupKFold(4, random_state=0).split(SHOTS, groups=PART):
        assert len(train) + len(test) == 1800
        assert not set(PART[train]) & set(PART[test])
    with pytest.raises(ValueError, match="needs the groups"):
        next(InlierGroupKFold().split(SHOTS, y))


# One score a group.


def test_one_score_a_group_keeps_what_is_independent():
    """All rows alone: their scores, sorted."""
    scores = _noise(101)
    assert_array_equal(
        one_score_a_group(scores, np.ones(101, dtype=int), 101), np.sort(scores)
    )


@pytest.mark.parametrize("n_groups", [1, 7, 50])
def test_one_score_a_group_is_distributed_like_rows(n_groups):
    """Quantiles of the groups' scores are those of the rows'."""
    scores, n_rows = _noise(50), 1 + np.arange(50) % 4
    found = one_score_a_group(scores, n_rows, n_groups)
    levels = (np.arange(n_groups) + 0.5) / n_groups
    expected = np.quantile(
        np.repeat(scores, n_rows), levels, method="closest_observation"
    )
    assert len(found) == n_groups
    # A rank more or less, where a level falls between two rows.
    ranks = np.searchsorted(np.sort(scores), [found, expected])
    assert np.abs(ranks[0] - ranks[1]).max() <= 1


def test_twins():
    """The group of another equal row, the first of them, if there is one."""
    values = np.array([5, 7, 5, 9, 7, 5, 1, 1])
    assert_array_equal(twins(values, np.arange(8)), [2, 4, 0, -1, 1, 0, 7, 6])
    groups = np.array([0, 0, 1, 1, 0, 0, 2, 2])
    assert_array_equal(twins(values, groups), [1, -1, 0, -1, -1, 1, -1, -1])


# Near copies.


@pytest.mark.parametrize("size", [2, 4, 10, 20])
def test_size_of_groups_is_found(size):
    """Also where groups are many, and rows far from equal."""
    rows, part = _shots(600 // size, size, seed=9, width=12)
    found = find_near_copies(rows, np.arange(len(rows)))
    assert found.size == size
    assert find_near_copies(rows, part) is None


def test_groups_that_were_named_are_not_warned_of():
    """However near their rows are: those of other groups are near each other, too."""
    part = np.repeat(np.arange(150), 3)
    rows = X[part] + 0.01 * _noise((450, 8))
    assert find_near_copies(rows, np.arange(450)).size == 3
    assert find_near_copies(rows, part) is None


@pytest.mark.parametrize(
    "rows",
    [
        X,
        X[:, :1],
        X[:120],
        np.exp(2 * X),
        np.random.default_rng(0).standard_t(2, size=(600, 5)),
        X @ np.random.default_rng(0).normal(size=(8, 30)),
        5 * X[:12][np.arange(900) % 12] + X[:900],
        np.random.default_rng(0).normal(size=(800, 3)).cumsum(axis=0),
        _counts(500, 0),
        _one_hot(500, 0, n_numbers=2),
        np.where(
            np.random.default_rng(0).uniform(size=(300, 30)) < 0.9, 0, X[:300, :1]
        ),
        load_digits().data,
    ],
    ids=[
        "normal",
        "one column",
        "few rows",
        "skewed",
        "heavy tails",
        "dependent columns",
        "clusters",
        "random walk",
        "counts",
        "mixed",
        "mostly zero",
        "digits",
    ],
)
def test_independent_rows_are_no_near_copies(rows):
    """Whatever their density."""
    assert find_near_copies(rows, np.arange(len(rows))) is None
