"""Tests of scaling: what is learned of rows, and both ways through it."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly._models import _scaling
from skganomaly._models._scaling import Scaling, fit_scaling

KINDS = ["minmax", "standard", "channel", None]
every_kind = pytest.mark.parametrize("kind", KINDS)


def rows(n_rows=50, n_features=6, seed=0):
    """Columns of very different scales and offsets."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-3, 4, size=n_features)
    return (
        rng.normal(size=(n_rows, n_features)) + rng.normal(size=n_features)
    ) * scales


def scaled_all(kind, X, input_shape=None):
    scaler = fit_scaling(kind, input_shape or X.shape[1:], X)
    return scaler, scaler.transform(X)


def test_minmax_divides_by_range_and_one_factor():
    """Columns keep the ratios of deviation to range, and have an RMS deviation of 1."""
    X = rows()
    scaler, scaled = scaled_all("minmax", X)
    assert_allclose(np.sqrt(np.mean(scaled.std(axis=0) ** 2)), 1, rtol=1e-6)
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    factors = np.ptp(X, axis=0) / scaler.scale.numpy()
    assert_allclose(factors, factors[0])
    assert len(np.unique(scaled.std(axis=0).round(3))) > 1


def test_standard_divides_by_deviation():
    """Every column has mean 0 and deviation 1."""
    X = rows()
    scaler, scaled = scaled_all("standard", X)
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)
    assert_allclose(scaler.center.numpy(), X.mean(axis=0))
    assert_allclose(scaler.scale.numpy(), X.std(axis=0))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2), (2, 1, 3), (1, 2, 3)])
def test_channel_maps_each_channel_to_the_unit_interval(shape):
    """The range of a channel becomes [-1, 1], by one map for all its values."""
    X = rows()
    scaler, scaled = scaled_all("channel", X, shape)
    assert scaled.shape == (50, *shape)
    for c in range(shape[0]):
        assert_allclose([scaled[:, c].min(), scaled[:, c].max()], [-1, 1], rtol=1e-6)
        for values in (scaler.center.numpy(), scaler.scale.numpy()):
            assert len(np.unique(values.reshape(shape)[c])) == 1


def test_none_changes_nothing():
    """Without a scaler the rows are cast and shaped, and that is all."""
    X = rows()
    scaler, scaled = scaled_all(None, X, (2, 3))
    assert_array_equal(scaled, X.astype(np.float32).reshape(-1, 2, 3))
    assert_array_equal(scaler.inverse_transform(scaled), X.astype(np.float32))


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
@pytest.mark.parametrize("constant", [0.0, 4.0, -(2.0**20)])
def test_constant_columns_get_the_median_scale(kind, constant):
    """They become 0, and a change in them counts as one in a typical column."""
    X = rows(64)
    X[:, [1, 4]] = constant
    scaler, scaled = scaled_all(kind, X)
    assert_allclose(scaled[:, [1, 4]], 0, atol=1e-6)
    expected = np.median(np.delete(scaler.scale.numpy(), [1, 4]))
    assert_allclose(scaler.scale.numpy()[[1, 4]], expected)


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e9 + 0.1, -7.7e-5])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("minmax", id="minmax"),
        pytest.param("standard"),
        pytest.param("channel", id="channel"),
    ],
)
def test_constants_that_binary_numbers_round(kind, constant):
    """A sum of equal values rounds; the column is constant nevertheless."""
    X = np.random.default_rng(0).normal(size=(1000, 3))
    X[:, 1] = constant
    scaler, scaled = scaled_all(kind, X)
    # A rounding error of the mean is nothing next to the typical scale.
    assert_allclose(scaled[:, 1], 0, atol=1e-12 * max(1, constant))
    assert_allclose(scaler.scale.numpy()[1], np.median(scaler.scale.numpy()[[0, 2]]))


@every_kind
def test_all_constant(kind):
    """Where nothing varies, the scale is one and all that is new stands out."""
    X = np.full((7, 4), 2.5)
    scaler, scaled = scaled_all(kind, X, (2, 2))
    assert_array_equal(scaler.scale.numpy(), np.ones(4))
    assert_array_equal(scaled, np.full((7, 2, 2), 2.5 if kind is None else 0))
    assert_array_equal(scaler.transform(X + 1), scaled + 1)


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
def test_large_offset_costs_no_precision(kind):
    """Rows are centred before they are cast to single precision."""
    X = np.random.default_rng(0).normal(size=(500, 3))
    _, small = scaled_all(kind, X)
    _, large = scaled_all(kind, X + 1e9)
    # Adding the offset has itself rounded the values, to multiples of 1.2e-7.
    assert_allclose(large, small, atol=2e-6)


@every_kind
@pytest.mark.parametrize("shape", [(6,), (3, 2), (1, 2, 3)])
def test_inverse_transform_restores_the_rows(kind, shape):
    """To single precision, in the user's shape and in double precision."""
    X = rows()
    scaler, scaled = scaled_all(kind, X, shape)
    restored = scaler.inverse_transform(scaled)
    assert restored.shape == X.shape
    assert restored.dtype == np.float64
    error = np.abs(restored - X) / (
        np.abs(X) + np.abs(scaler.center.numpy()) + scaler.scale.numpy()
    )
    assert error.max() < 1e-6


@every_kind
def test_float32_and_float64_agree(kind):
    """The precision that the rows come in does not decide the result."""
    single = rows().astype(np.float32)
    first, from_single = scaled_all(kind, single)
    second, from_double = scaled_all(kind, single.astype(np.float64))
    assert_array_equal(first.center.numpy(), second.center.numpy())
    assert_array_equal(first.scale.numpy(), second.scale.numpy())
    assert_array_equal(from_single, from_double)
    assert from_single.dtype == np.float32
    assert first.center.numpy().dtype == first.scale.numpy().dtype == np.float64


@every_kind
def test_read_only_and_memory_map(kind, tmp_path):
    """Rows are never written to, wherever they lie."""
    X = rows()
    X.flags.writeable = False
    before = X.copy()
    _, expected = scaled_all(kind, X)
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, shape=X.shape, mode="w+")
    mapped[:] = X
    mapped.flush()
    mapped = np.memmap(tmp_path / "X", dtype=X.dtype, shape=X.shape, mode="r")
    assert_array_equal(scaled_all(kind, mapped)[1], expected)
    assert_array_equal(X, before)


@every_kind
@pytest.mark.parametrize("n_values", [1, 13, 60])
def test_blocks_equal_the_whole(monkeypatch, kind, n_values):
    """Statistics over blocks of any size are those over all rows."""
    X = rows()
    whole, scaled = scaled_all(kind, X)
    monkeypatch.setattr(_scaling, "_BLOCK_VALUES", n_values)
    blocks, from_blocks = scaled_all(kind, X)
    assert_allclose(blocks.center.numpy(), whole.center.numpy(), rtol=1e-12)
    assert_allclose(blocks.scale.numpy(), whole.scale.numpy(), rtol=1e-12)
    assert_allclose(from_blocks, scaled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
def test_range_beyond_double_precision_raises(kind):
    """The column is named with its bounds, and nothing warns before."""
    X = np.zeros((3, 4))
    X[:, 2] = -1.5e308, 0, 1.5e308
    with pytest.raises(
        ValueError, match=r"Column 2 of X runs from -1.5e\+308 to 1.5e\+308"
    ):
        fit_scaling(kind, (4,), X)


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
def test_largest_ranges_that_fit(kind):
    """Squares of deviations do not overflow, and halves of ranges do not either."""
    X = np.random.default_rng(0).uniform(-8e307, 8e307, size=(40, 3))
    scaler, scaled = scaled_all(kind, X)
    assert np.isfinite(scaler.scale.numpy()).all()
    assert 0.1 < np.abs(scaled).max() < 10
    _, small = scaled_all(kind, X * 1e-307)
    assert_allclose(scaled, small, rtol=1e-5, atol=1e-6)


@every_kind
def test_values_are_clipped_far_out(kind):
    """What is very many scales away, or infinitely far after scaling, is clipped."""
    X = rows(n_features=3) * 1e-3
    bound = 1e5 if kind is not None else 1e15
    scaler = fit_scaling(kind, (3,), X)
    far = np.array([[1e300, -1e300, 0], [1.7e308, -1.7e308, 0]])
    scaled = scaler.transform(far)
    assert_array_equal(scaled[:, 0], np.float32(bound))
    assert_array_equal(scaled[:, 1], np.float32(-bound))
    assert np.abs(scaled[:, 2]).max() < 1e3
    near = scaler.center.numpy() + 9.9e4 * scaler.scale.numpy()
    assert_allclose(scaler.transform(near[None])[0], 9.9e4, rtol=1e-6)


def test_new_rows_may_be_out_of_reach():
    """A difference that overflows is clipped like any other, without a warning."""
    X = np.array([[-1.7e308], [-1.6e308], [-1.65e308]])
    scaler = fit_scaling("standard", (1,), X)
    assert_array_equal(scaler.transform(np.array([[1.7e308]])), [[np.float32(1e5)]])


# As a part of a module.


@every_kind
@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
@pytest.mark.parametrize("fitted_on", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_are_scaled_like_arrays(kind, shape, fitted_on, dtype):
    """To the last bit: ordinary rows, those far out, and huge ones."""
    scaling = fit_scaling(kind, shape, rows().astype(fitted_on))
    far = rows(20, seed=1) * np.geomspace(1, 1e20, 20)[:, np.newaxis]
    huge = np.array([[1e300, -1e300, 1.7e308, -1.7e308, 1e39, -1e39]])
    X = np.vstack([rows(seed=1), far, huge, 0 * huge])
    if dtype == np.float32:
        X = np.clip(X, -3e38, 3e38)
    X = X.astype(dtype)
    scaled = scaling(torch.from_numpy(X))
    assert scaled.dtype == torch.float32
    assert scaled.shape == (len(X), *shape)
    expected = scaling.transform(X)
    assert_array_equal(scaled, expected)
    assert (np.abs(expected) == np.float32(1e15 if kind is None else 1e5)).any()


@every_kind
def test_state_is_all_that_was_learned(kind):
    """Another of the same kind and shape scales alike once it has the state."""
    X = rows().astype(np.float32)
    scaling, other = fit_scaling(kind, (2, 3), X), Scaling(kind, (2, 3))
    other.load_state_dict(scaling.state_dict())
    new = rows(seed=1)
    assert_array_equal(other.transform(new), scaling.transform(new))
    assert_array_equal(other(torch.from_numpy(new)), scaling(torch.from_numpy(new)))


def test_double_precision_stays_where_it_is():
    """Not every accelerator has it, so neither device nor precision changes."""
    scaling = fit_scaling("standard", (6,), rows())
    before = scaling.center.clone()
    scaling.to(torch.float16).to("meta")
    assert scaling.center.device.type == "cpu"
    assert_array_equal(scaling.center, before)
