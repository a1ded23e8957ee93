"""Which rows a detector is trained on, and which it is tested on."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import AnomalyDataset


@pytest.mark.parametrize("seed", range(3))
def test_one_class_split(dataset, seed):
    """Train on half of the normal rows; test on all others, each once."""
    (split,) = iterate_splits(dataset, "one-class", seed)
    assert len(split.train) == 90 and (dataset.target[split.train] == 1).all()
    assert_array_equal(
        np.sort(np.concatenate([split.train, split.test])), np.arange(200)
    )
    assert_array_equal(split.anomalous, dataset.target[split.test] == -1)
    assert split.anomalous.sum() == 20 and split.special is None


@pytest.mark.parametrize("protocol", ["one-class", "contaminated"])
def test_fewer_training_rows_leave_the_test_as_it_is(dataset, protocol):
    """What is too much to train on is not tested on: the share of anomalies stays."""
    (whole,) = iterate_splits(dataset, protocol, 0)
    (few,) = iterate_splits(dataset, protocol, 0, max_train=30)
    assert len(few.train) == 30 and set(few.train) < set(whole.train)
    assert_array_equal(few.test, whole.test)


def test_splits_follow_their_seed(dataset):
    """The same seed draws the same rows, another seed others."""
    (first,), (again,), (other,) = (
        iterate_splits(dataset, "one-class", seed) for seed in (0, 0, 1)
    )
    assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_one_class_split_of_classes(classes):
    """Each class in turn is the only normal one."""
    for split, size in zip(
        iterate_splits(classes, "one-class", 0), (40, 30, 20), strict=True
    ):
        assert len(split.train) == size / 2
        assert set(classes.target[split.train]) == {split.special}
        assert len(split.test) == 90 - size / 2
        assert_array_equal(split.anomalous, classes.target[split.test] != split.special)


def test_leave_one_class_out_split(classes):
    """Train on 80 % of the other classes; test on the rest and the whole class."""
    for split, size in zip(
        iterate_splits(classes, "leave-one-class-out", 0), (40, 30, 20), strict=True
    ):
        assert len(split.train) == round(0.8 * (90 - size))
        assert split.special not in classes.target[split.train]
        assert split.anomalous.sum() == size
        assert not set(split.train) & set(split.test)
        assert len(split.train) + len(split.test) == 90


def test_contaminated_split(dataset, classes):
    """Train on half of all rows, anomalies among them."""
    (split,) = iterate_splits(dataset, "contaminated", 0)
    assert len(split.train) == 100 and (dataset.target[split.train] == -1).any()
    assert not set(split.train) & set(split.test) and len(split.test) == 100
    splits = list(iterate_splits(classes, "contaminated", 0))
    assert [split.special for split in splits] == [0, 1, 2]
    assert_array_equal(splits[2].anomalous, classes.target[splits[2].test] == 2)


def test_rows_set_aside_for_testing_stay_there(classes):
    """The one-class protocol trains on the others' rows of the class only."""
    test_rows = np.arange(90) % 3 == 0
    data = AnomalyDataset(
        "d", classes.X, classes.target, classes=(1,), test_rows=test_rows
    )
    (split,) = iterate_splits(data, "one-class", 0)
    assert_array_equal(split.test, np.flatnonzero(test_rows))
    assert_array_equal(split.train, np.flatnonzero(~test_rows & (data.target == 1)))


@pytest.mark.parametrize("seed", range(5))
def test_caps_keep_one_row_of_either_kind(seed):
    """At most so many rows, and still something to tell apart."""
    X = np.zeros((1000, 1))
    for n_anomalies in (1, 999):
        target = np.repeat([1, -1], [1000 - n_anomalies, n_anomalies])
        data = AnomalyDataset("d", X, target)
        (split,) = iterate_splits(data, "contaminated", seed, max_train=7, max_test=10)
        assert len(split.train) == 7 and len(split.test) == len(set(split.test)) == 10
        there = (target[np.setdiff1d(np.arange(1000), split.train)] == -1).sum()
        assert not set(split.train) & set(split.test)
        if n_anomalies == 1:
            assert split.anomalous.sum() <= there
    target = np.repeat([1, -1], [999, 1])
    data = AnomalyDataset("d", X, target)
    (split,) = iterate_splits(data, "one-class", seed, max_test=10)
    assert split.anomalous.sum() == 1 and len(split.test) == 10
