"""Tests of the way from an array to mini-batches on a device."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly import _data
from skganomaly._data import (
    FeatureScaler,
    RowDataset,
    RowIndex,
    TensorBatches,
    resolve_device,
    resolve_input_shape,
    row_keys,
)

CPU = torch.device("cpu")
KINDS = ["minmax", "standard", "channel", None]
every_kind = pytest.mark.parametrize("kind", KINDS)


def rows(n_rows=50, n_features=6, seed=0):
    """Columns of very different scales and offsets."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-3, 4, size=n_features)
    return (
        rng.normal(size=(n_rows, n_features)) + rng.normal(size=n_features)
    ) * scales


# Devices.


def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def one_cuda_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch):
    """The best device that there is, with its index where it has one."""
    no_accelerator(monkeypatch)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    one_cuda_device(monkeypatch)
    assert resolve_device("auto") == torch.device("cuda", 0)


@pytest.mark.parametrize("device", ["cpu", CPU, "cpu:0"])
def test_present_device_is_taken_as_it_is(device):
    """Names and objects are both accepted."""
    assert resolve_device(device).type == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "CPU"])
def test_unknown_device_raises(device):
    """What torch cannot parse is named, with what it could."""
    with pytest.raises(ValueError, match=f"device={device!r} is not a torch device"):
        resolve_device(device)
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
        resolve_device(device, fallback=True)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 2), "mps"])
def test_missing_device_raises_or_falls_back(monkeypatch, device):
    """Refused when asked for, replaced with a warning when only remembered."""
    no_accelerator(monkeypatch)
    with pytest.raises(ValueError, match=f"{device}.*Use device='auto'"):
        resolve_device(device)
    with pytest.warns(UserWarning, match=f"{device}.*using the CPU"):
        assert resolve_device(device, fallback=True) == CPU


def test_cuda_index_must_exist(monkeypatch):
    """One device is number 0, and there is no number 1."""
    one_cuda_device(monkeypatch)
    assert resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="cuda:1"):
        resolve_device("cuda:1")


# Shapes of a row.


@pytest.mark.parametrize(
    "input_shape, array_shape, expected",
    [
        (None, (9, 5), (5,)),
        (None, (9, 28, 27), (1, 28, 27)),
        (None, (9, 3, 28, 27), (3, 28, 27)),
        (None, (9, 3, 4, 4), (3, 4, 4)),
        (None, (9, 4, 8, 3), (4, 8, 3)),
        (None, (9, 28, 28, 2), (28, 28, 2)),
        ((6,), (9, 6), (6,)),
        ((2, 3), (9, 6), (2, 3)),
        ((1, 2, 3), (9, 6), (1, 2, 3)),
        ([1, 2, 3], (9, 6), (1, 2, 3)),
        (np.array([1, 2, 3]), (9, 6), (1, 2, 3)),
        ((2, 3), (9, 2, 3), (2, 3)),
        ((1, 2, 3), (9, 2, 3), (1, 2, 3)),
        ((32, 32, 3), (9, 32, 32, 3), (32, 32, 3)),
    ],
)
def test_input_shape_accepted(input_shape, array_shape, expected):
    """Flat rows, windows and images, and whatever is confirmed, as plain integers."""
    resolved = resolve_input_shape(input_shape, array_shape)
    assert resolved == expected
    assert all(type(n) is int for n in resolved)


@pytest.mark.parametrize(
    "input_shape",
    [(), (1, 1, 2, 3), (0, 6), (-2, -3), (2.0, 3), (True, 6), ("2", 3), (None, 6)],
)
def test_input_shape_that_is_no_shape(input_shape):
    """The message says what was passed and what could have been."""
    with pytest.raises(ValueError, match="is not the shape of a row") as caught:
        resolve_input_shape(input_shape, (9, 6))
    assert f"input_shape={input_shape!r}" in str(caught.value)
    assert "(channels, height, width)" in str(caught.value)


@pytest.mark.parametrize("input_shape", [(5,), (7,), (2, 4), (1, 6, 6)])
def test_input_shape_that_does_not_fit(input_shape):
    """The message gives both numbers of values."""
    n_values = int(np.prod(input_shape))
    with pytest.raises(ValueError, match=f"has {n_values} values.* has 6\\."):
        resolve_input_shape(input_shape, (9, 6))


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_channels_last_is_pointed_out(n_channels):
    """Images of the other layout would train without complaint, and badly."""
    shape = (9, 32, 30, n_channels)
    with pytest.raises(ValueError, match="channels last") as caught:
        resolve_input_shape(None, shape)
    assert str(shape) in str(caught.value)
    assert "X.transpose(0, 3, 1, 2)" in str(caught.value)
    assert f"input_shape={shape[1:]}" in str(caught.value)


@pytest.mark.parametrize(
    "input_shape, array_shape",
    [((3, 32, 32), (9, 32, 32, 3)), ((30, 20), (9, 20, 30)), ((1, 8, 4), (9, 4, 8))],
)
def test_input_shape_does_not_scramble_arrays(input_shape, array_shape):
    """Axes of an array keep their meaning; only flat rows are given a shape."""
    with pytest.raises(ValueError):
        resolve_input_shape(input_shape, array_shape)


# Fingerprints.


def test_equal_rows_are_found():
    """Each key leads to the group of the row that equals it."""
    references = rows(200).astype(np.float32)
    order = np.random.default_rng(1).permutation(200)
    groups = np.arange(200) // 3
    found = RowIndex(row_keys(references), groups).find(row_keys(references[order]))
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
    index = RowIndex(np.array([20, 10, 30], dtype=np.uint64), np.arange(3))
    keys = np.array([5, 10, 15, 30, 35, 20], dtype=np.uint64)
    assert_array_equal(index.find(keys), [-1, 1, -1, 2, -1, 0])


def test_duplicates_share_one_group():
    """Of equal rows the first is found, always the same."""
    values = rows(10).astype(np.float32)
    known = np.concatenate([values, values, values[:3]])
    index = RowIndex(row_keys(known), np.arange(23))
    found = index.find(row_keys(values))
    assert_array_equal(found, np.arange(10))
    assert_array_equal(index.find(row_keys(values[::-1])), found[::-1])


# Scaling.


def scaled_all(kind, X, input_shape=None):
    scaler = FeatureScaler(kind, input_shape or X.shape[1:]).fit(X)
    return scaler, scaler.transform(X)


def test_minmax_divides_by_range_and_one_factor():
    """Columns keep the ratios of deviation to range, and have an RMS deviation of 1."""
    X = rows()
    scaler, scaled = scaled_all("minmax", X)
    assert_allclose(np.sqrt(np.mean(scaled.std(axis=0) ** 2)), 1, rtol=1e-6)
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    factors = np.ptp(X, axis=0) / scaler.scale_
    assert_allclose(factors, factors[0])
    assert len(np.unique(scaled.std(axis=0).round(3))) > 1


def test_standard_divides_by_deviation():
    """Every column has mean 0 and deviation 1."""
    X = rows()
    scaler, scaled = scaled_all("standard", X)
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    assert_allclose(scaled.std(axis=0), 1, rtol=1e-6)
    assert_allclose(scaler.center_, X.mean(axis=0))
    assert_allclose(scaler.scale_, X.std(axis=0))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2), (2, 1, 3), (1, 2, 3)])
def test_channel_maps_each_channel_to_the_unit_interval(shape):
    """The range of a channel becomes [-1, 1], by one map for all its values."""
    X = rows()
    scaler, scaled = scaled_all("channel", X, shape)
    assert scaled.shape == (50, *shape)
    for c in range(shape[0]):
        assert_allclose([scaled[:, c].min(), scaled[:, c].max()], [-1, 1], rtol=1e-6)
        for values in (scaler.center_, scaler.scale_):
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
    expected = np.median(np.delete(scaler.scale_, [1, 4]))
    assert_allclose(scaler.scale_[[1, 4]], expected)


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
    assert_allclose(scaler.scale_[1], np.median(scaler.scale_[[0, 2]]))


@every_kind
def test_all_constant(kind):
    """Where nothing varies, the scale is one and all that is new stands out."""
    X = np.full((7, 4), 2.5)
    scaler, scaled = scaled_all(kind, X, (2, 2))
    assert_array_equal(scaler.scale_, np.ones(4))
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
    error = np.abs(restored - X) / (np.abs(X) + np.abs(scaler.center_) + scaler.scale_)
    assert error.max() < 1e-6


@every_kind
def test_float32_and_float64_agree(kind):
    """The precision that the rows come in does not decide the result."""
    single = rows().astype(np.float32)
    first, from_single = scaled_all(kind, single)
    second, from_double = scaled_all(kind, single.astype(np.float64))
    assert_array_equal(first.center_, second.center_)
    assert_array_equal(first.scale_, second.scale_)
    assert_array_equal(from_single, from_double)
    assert from_single.dtype == np.float32
    assert first.center_.dtype == first.scale_.dtype == np.float64


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
    monkeypatch.setattr(_data, "_BLOCK_VALUES", n_values)
    blocks, from_blocks = scaled_all(kind, X)
    assert_allclose(blocks.center_, whole.center_, rtol=1e-12)
    assert_allclose(blocks.scale_, whole.scale_, rtol=1e-12)
    assert_allclose(from_blocks, scaled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
def test_range_beyond_double_precision_raises(kind):
    """The column is named with its bounds, and nothing warns before."""
    X = np.zeros((3, 4))
    X[:, 2] = -1.5e308, 0, 1.5e308
    with pytest.raises(
        ValueError, match=r"Column 2 of X runs from -1.5e\+308 to 1.5e\+308"
    ):
        FeatureScaler(kind, (4,)).fit(X)


@pytest.mark.parametrize("kind", ["minmax", "standard", "channel"])
def test_largest_ranges_that_fit(kind):
    """Squares of deviations do not overflow, and halves of ranges do not either."""
    X = np.random.default_rng(0).uniform(-8e307, 8e307, size=(40, 3))
    scaler, scaled = scaled_all(kind, X)
    assert np.isfinite(scaler.scale_).all()
    assert 0.1 < np.abs(scaled).max() < 10
    _, small = scaled_all(kind, X * 1e-307)
    assert_allclose(scaled, small, rtol=1e-5, atol=1e-6)


@every_kind
def test_values_are_clipped_far_out(kind):
    """What is very many scales away, or infinitely far after scaling, is clipped."""
    X = rows(n_features=3) * 1e-3
    bound = 1e5 if kind is not None else 1e15
    scaler = FeatureScaler(kind, (3,)).fit(X)
    far = np.array([[1e300, -1e300, 0], [1.7e308, -1.7e308, 0]])
    scaled = scaler.transform(far)
    assert_array_equal(scaled[:, 0], np.float32(bound))
    assert_array_equal(scaled[:, 1], np.float32(-bound))
    assert np.abs(scaled[:, 2]).max() < 1e3
    near = scaler.center_ + 9.9e4 * scaler.scale_
    assert_allclose(scaler.transform(near[None])[0], 9.9e4, rtol=1e-6)


def test_new_rows_may_be_out_of_reach():
    """A difference that overflows is clipped like any other, without a warning."""
    X = np.array([[-1.7e308], [-1.6e308], [-1.65e308]])
    scaler = FeatureScaler("standard", (1,)).fit(X)
    assert_array_equal(scaler.transform(np.array([[1.7e308]])), [[np.float32(1e5)]])


# Data sets.


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_resident_or_not_gives_equal_batches(monkeypatch, shape):
    """Where the rows lie makes no difference to what is trained on."""
    X = rows(30)
    scaler = FeatureScaler("minmax", shape).fit(X)
    resident = RowDataset(X, scaler, CPU)
    monkeypatch.setattr(_data, "_fits", lambda n_bytes, device: False)
    streamed = RowDataset(X, scaler, CPU)
    assert resident.resident is not None
    assert streamed.resident is None
    expected = scaler.transform(X)
    for size in [(7,), (2, 5), (3, 2, 4)]:
        indices = np.random.default_rng(0).integers(30, size=size)
        for dataset in (resident, streamed):
            assert len(dataset) == 30
            batch = dataset[torch.from_numpy(indices)]
            assert batch.dtype == torch.float32
            assert_array_equal(batch, expected[indices])


def test_resident_rows_are_scaled_by_blocks(monkeypatch):
    """The rows on the device are all of them, in their order."""
    X = rows(31)
    scaler = FeatureScaler("standard", (6,)).fit(X)
    monkeypatch.setattr(_data, "_BLOCK_VALUES", 24)
    dataset = RowDataset(X, scaler, CPU)
    assert_array_equal(dataset.resident, scaler.transform(X))


def test_resident_rows_are_held_once(monkeypatch, tmp_path):
    """Of a memory map nothing is copied but the scaled rows, and these once."""
    np.save(tmp_path / "X.npy", rows(4000, 100).astype(np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_data, "_BLOCK_VALUES", 2000)
    scaler = FeatureScaler("minmax", (100,)).fit(X)
    tracemalloc.start()
    resident = RowDataset(X, scaler, CPU).resident
    # What NumPy allocates; the one copy is torch's.
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert resident.shape == X.shape
    assert peak < X.nbytes / 4


def test_streamed_rows_are_read_in_ascending_order(monkeypatch):
    """A memory map is read in one sweep, and no row twice in a batch."""
    monkeypatch.setattr(_data, "_fits", lambda n_bytes, device: False)
    read = []

    class Recorded(np.ndarray):
        def __getitem__(self, key):
            read.append(np.array(key))
            return super().__getitem__(key)

    X = rows(30).view(Recorded)
    dataset = RowDataset(X, FeatureScaler(None, (6,)).fit(X), CPU)
    dataset[torch.tensor([[9, 3, 20], [3, 0, 9]])]
    assert_array_equal(read[0], [0, 3, 9, 20])


def test_quarter_of_free_memory_is_enough(monkeypatch):
    """On a GPU the rows stay away where they would take more than a quarter."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 9000))
    cuda = torch.device("cuda")
    assert _data._fits(1000, cuda)
    assert not _data._fits(1001, cuda)


# Batches.


class Indices:
    """A data set whose rows are their own numbers."""

    device = CPU

    def __init__(self, n_rows):
        self.n_rows = n_rows

    def __len__(self):
        return self.n_rows

    def __getitem__(self, indices):
        return indices


def epochs_of(n_rows, batch_size, n_members=3, max_steps=200, seed=0):
    """Mini-batches by epoch until the iterator is exhausted."""
    batches = TensorBatches(
        Indices(n_rows),
        batch_size,
        n_members=n_members,
        max_steps=max_steps,
        generator=torch.Generator().manual_seed(seed),
    )
    epochs = []
    while epoch := [list(chunk) for chunk in batches]:
        epochs.append(epoch)
    return epochs


def steps_of(*args, **kwargs):
    """Mini-batches of all epochs, (n_steps, n_members, batch_size)."""
    chunks = itertools.chain.from_iterable(epochs_of(*args, **kwargs))
    return np.stack(list(itertools.chain.from_iterable(chunks)))


SIZES = [(64, 8), (65, 8), (63, 8), (10, 8), (8, 8), (7, 8), (2, 1), (1000, 9)]
every_size = pytest.mark.parametrize("n_rows, batch_size", SIZES)


@every_size
def test_batches_have_one_shape(n_rows, batch_size):
    """A remainder waits for the next pass; fewer rows than asked are one batch."""
    steps = steps_of(n_rows, batch_size)
    assert steps.shape == (200, 3, min(batch_size, n_rows))
    assert steps.min() >= 0
    assert steps.max() == n_rows - 1


@every_size
def test_pass_visits_rows_once(n_rows, batch_size):
    """Within a pass no row is seen twice by a member, and a full pass sees all."""
    steps = steps_of(n_rows, batch_size)
    per_pass = n_rows // min(batch_size, n_rows)
    for start in range(0, 200 - per_pass + 1, per_pass):
        for member in range(3):
            seen = steps[start : start + per_pass, member].ravel()
            assert len(np.unique(seen)) == len(seen)
            assert len(seen) > n_rows - batch_size


def test_left_out_rows_have_their_turn():
    """The remainder of a pass is another one every time."""
    steps = steps_of(10, 8, max_steps=60)
    assert_array_equal(np.unique(steps[:, 0]), np.arange(10))
    assert np.bincount(steps[:, 0].ravel()).min() > 30


def test_members_and_passes_have_orders_of_their_own():
    """No two members, and no two passes, go through the rows alike."""
    steps = steps_of(64, 8, n_members=4, max_steps=24)
    orders = [
        tuple(steps[start : start + 8, member].ravel())
        for start in (0, 8, 16)
        for member in range(4)
    ]
    assert len(set(orders)) == 12


@pytest.mark.parametrize("max_steps", [1, 24, 25, 26, 110, 111, 250, 333])
@pytest.mark.parametrize("n_rows, batch_size", [(1000, 9), (64, 8), (5, 8)])
def test_exactly_max_steps(n_rows, batch_size, max_steps):
    """All epochs together are as many steps as asked for, in chunks of at most 25."""
    epochs = epochs_of(n_rows, batch_size, max_steps=max_steps)
    lengths = [sum(map(len, epoch)) for epoch in epochs]
    assert lengths == TensorBatches.epoch_lengths(n_rows, batch_size, max_steps)
    assert sum(lengths) == max_steps
    assert min(max_steps, 20) <= len(epochs)
    per_pass = TensorBatches.steps_per_pass(n_rows, batch_size)
    assert max(lengths) <= per_pass
    assert set(range(per_pass, max_steps, per_pass)) <= set(np.cumsum(lengths))
    for epoch in epochs:
        assert {len(chunk) for chunk in epoch[:-1]} <= {25}


@pytest.mark.parametrize(
    "n_rows, batch_size, expected",
    [(1000, 10, 100), (1009, 10, 100), (64, 64, 25), (3, 64, 25), (260, 10, 26)],
)
def test_epoch_of_a_long_training_is_a_pass(n_rows, batch_size, expected):
    """One pass over the rows, or 25 steps where a pass is shorter."""
    assert TensorBatches.steps_per_pass(n_rows, batch_size) == expected
    lengths = TensorBatches.epoch_lengths(n_rows, batch_size, 40 * expected)
    assert lengths == [expected] * 40


def test_division_into_epochs_changes_no_batch():
    """A longer training begins with the batches of a shorter one, in other epochs."""
    short, long = steps_of(64, 8, max_steps=30), steps_of(64, 8, max_steps=700)
    assert_array_equal(long[:30], short)


def test_chunk_knows_its_length():
    """What skorch takes for a batch has as many entries as there are steps in it."""
    batches = TensorBatches(
        Indices(310), 10, n_members=2, max_steps=620, generator=torch.Generator()
    )
    chunks = [*batches, *batches]
    assert [len(chunk) for chunk in chunks] == [25, 6, 25, 6]
    assert [len(list(chunk)) for chunk in chunks] == [25, 6, 25, 6]


def test_generator_decides_the_order():
    """The same seed gives the same batches, another one others."""
    first = steps_of(64, 8)
    assert_array_equal(steps_of(64, 8), first)
    assert (steps_of(64, 8, seed=1) != first).mean() > 0.9


def test_batches_are_rows_of_the_data_set():
    """Each member gets scaled rows, shaped as the networks take them."""
    X = rows(20)
    scaler = FeatureScaler("minmax", (2, 3)).fit(X)
    batches = TensorBatches(
        RowDataset(X, scaler, CPU),
        4,
        n_members=2,
        max_steps=5,
        generator=torch.Generator().manual_seed(0),
    )
    known = {row.tobytes() for row in scaler.transform(X)}
    seen = [batch for _ in range(5) for chunk in batches for batch in chunk]
    assert len(seen) == 5
    for batch in seen:
        assert batch.shape == (2, 4, 2, 3)
        assert {row.tobytes() for row in batch.flatten(0, 1).numpy()} <= known
