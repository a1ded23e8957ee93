"""Tests of how reference rows are found again: by fingerprints."""

import numpy as np
from numpy.testing import assert_array_equal

from skganomaly._models._references import References, row_keys


def rows(n_rows, n_features=6):
    """Values of ordinary size, all different."""
    return np.random.default_rng(0).normal(size=(n_rows, n_features))


def test_equal_rows_are_found():
    """Each key leads to the group of the row that equals it."""
    references = rows(200).astype(np.float32)
    order = np.random.default_rng(1).permutation(200)
    groups = np.arange(200) // 3
    found = (
        References().fit(row_keys(references), groups).find(row_keys(references[order]))
    )
    assert_array_equal(found, groups[order])


def test_keys_do_not_depend_on_company_or_layout():
    """A row has one key: alone, in a batch, strided or shaped as an image."""
    values = rows(20, 6).astype(np.float32)
    keys = row_keys(values)
    assert keys.shape == (20,)
    assert keys.dtype == np.uint64
    assert_array_equal(np.concatenate([row_keys(row[None]) for row in values]), keys)
    assert_array_equal(row_keys(np.asfortranarray(values)), keys)
    assert_array_equal(row_keys(np.repeat(values, 2, axis=1)[:, ::2]), keys)
    assert_array_equal(row_keys(values.reshape(20, 1, 2, 3)), keys)


def test_zero_has_no_sign():
    """Negative zero equals zero, so their rows have one key."""
    zeros = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    first, second = row_keys(zeros)
    assert first == second
    assert np.signbit(zeros[1, 0])


def test_close_rows_are_different_rows():
    """The smallest difference in one value makes another key."""
    values = np.ones((3, 4), dtype=np.float32)
    values[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    values[2, 1] = values[1, 2]
    assert len(np.unique(row_keys(values))) == 3


def test_unknown_rows_are_minus_one():
    """Keys before, between and after those of the references are not found."""
    known = np.array([20, 10, 30], dtype=np.uint64)
    index = References().fit(known, np.arange(3))
    keys = np.array([5, 10, 15, 30, 35, 20], dtype=np.uint64)
    assert_array_equal(index.find(keys), [-1, 1, -1, 2, -1, 0])


def test_duplicates_share_one_group():
    """Of equal rows the first is found, always the same."""
    values = rows(10).astype(np.float32)
    known = np.concatenate([values, values, values[:3]])
    index = References().fit(row_keys(known), np.arange(23))
    found = index.find(row_keys(values))
    assert_array_equal(found, np.arange(10))
    assert_array_equal(index.find(row_keys(values[::-1])), found[::-1])
