"""Generators keep their promises, loaders read local files and nothing else."""

import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import ks_2samp, spearmanr

from skganomaly.datasets import (
    AnomalyDataset,
    LazyDatasets,
    _files,
    load_adbench,
    load_benchmark_data,
    load_bundled,
    load_digits_anomaly,
    load_mnist,
    make_anomalies,
    make_image_anomalies,
    make_metric_anomalies,
)

KINDS = ["global", "local", "cluster", "dependency"]
DEFECTS = ["patch", "erasure", "stroke"]


@pytest.fixture
def table():
    """Return X and ADBench's y (1 = anomaly)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((20, 3)), np.repeat([0, 1], [15, 5])


@pytest.fixture
def data_folder(tmp_path, table):
    """Write a folder with ADBench tables and images, as the command takes it."""
    X, y = table
    (tmp_path / "adbench").mkdir()
    for name in ("wine", "Alpha"):
        np.savez(tmp_path / "adbench" / f"{name}.npz", X=X, y=y)
    images = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4)
    labels = np.arange(12) % 3
    np.savez(
        tmp_path / "mnist.npz",
        X_train=images[:9],
        y_train=labels[:9],
        X_test=images[9:],
        y_test=labels[9:],
    )
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_tables_follow_their_seed(kind):
    """The same seed gives the same table, another seed another one."""
    first = make_anomalies(50, 4, kind=kind, random_state=3)
    again = make_anomalies(50, 4, kind=kind, random_state=np.random.RandomState(3))
    other = make_anomalies(50, 4, kind=kind, random_state=4)
    assert_array_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("contamination, expected", [(0.001, 1), (0.1, 20), (0.5, 100)])
def test_tables_hold_the_share_of_anomalies_asked_for(kind, contamination, expected):
    """Labels are 1 and -1, with at least one anomaly."""
    X, y = make_anomalies(
        200, 3, kind=kind, contamination=contamination, random_state=0
    )
    assert X.shape == (200, 3) and np.isfinite(X).all()
    assert set(y) == {1, -1} and (y == -1).sum() == expected


def test_generators_leave_the_global_random_state_alone():
    """With a seed nothing is drawn from NumPy's global generator."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_anomalies(random_state=0)
    make_image_anomalies(20, random_state=0)
    make_metric_anomalies(random_state=0)
    assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_global_anomalies_fill_an_enlarged_range():
    """They are uniform, and reach at most 10 % beyond the normal rows."""
    X, y = make_anomalies(20_000, 3, contamination=0.5, random_state=0)
    normal, anomalous = X[y == 1], X[y == -1]
    centre = (normal.max(axis=0) + normal.min(axis=0)) / 2
    half = (normal.max(axis=0) - normal.min(axis=0)) / 2
    scaled = (anomalous - centre) / (1.1 * half)
    assert np.abs(scaled).max() <= 1
    assert_allclose(scaled.std(axis=0), 1 / np.sqrt(3), rtol=0.02)


def test_local_anomalies_have_the_same_means_and_larger_covariances():
    """Total mean equal; the covariance grows by 4 times that within the clusters."""
    X, y = make_anomalies(60_000, 3, kind="local", contamination=0.5, random_state=0)
    normal, anomalous = X[y == 1], X[y == -1]
    assert_allclose(normal.mean(axis=0), anomalous.mean(axis=0), atol=0.1)
    growth = np.cov(anomalous.T) - np.cov(normal.T)
    assert np.linalg.eigvalsh(growth).min() > 0


def test_cluster_anomalies_are_shifted():
    """Their mean differs, and they are no wider than the normal rows by much."""
    X, y = make_anomalies(20_000, 4, kind="cluster", contamination=0.5, random_state=0)
    normal, anomalous = X[y == 1], X[y == -1]
    shift = anomalous.mean(axis=0) - normal.mean(axis=0)
    assert np.linalg.norm(shift) > 0.5


@pytest.mark.parametrize("n_features", [2, 6])
def test_dependency_anomalies_keep_marginals_and_lose_dependence(n_features):
    """Each column passes a Kolmogorov-Smirnov test; rank correlation vanishes."""
    X, y = make_anomalies(
        8000, n_features, kind="dependency", contamination=0.5, random_state=1
    )
    normal, anomalous = X[y == 1], X[y == -1]
    for j in range(n_features):
        assert ks_2samp(normal[:, j], anomalous[:, j]).pvalue > 1e-3
    off_diagonal = ~np.eye(n_features, dtype=bool)

    def dependence(rows):
        correlation = np.atleast_1d(spearmanr(rows).statistic)
        if correlation.ndim == 2:
            correlation = correlation[off_diagonal]
        return np.abs(correlation).max()

    assert dependence(normal) > 0.4
    assert dependence(anomalous) < 0.1


@pytest.mark.parametrize(
    "options, match",
    [
        ({"kind": "odd"}, "kind must be one of"),
        ({"contamination": 0.0}, "contamination"),
        ({"contamination": 0.6}, "contamination"),
        ({"n_samples": 1}, "n_samples"),
        ({"n_features": 1, "kind": "dependency"}, "n_features"),
    ],
)
def test_make_anomalies_refuses(options, match):
    """Options out of range are named."""
    with pytest.raises(ValueError, match=match):
        make_anomalies(**options)


@pytest.mark.parametrize("kind", [*DEFECTS, "mixed"])
def test_masks_mark_exactly_the_changed_pixels(kind):
    """A mask is where image and original differ, empty for intact images only."""
    bunch = make_image_anomalies(300, kind=kind, contamination=0.3, random_state=0)
    assert_array_equal(bunch.masks, bunch.images != bunch.originals)
    assert_array_equal(bunch.masks.any(axis=(1, 2)), bunch.target == -1)
    assert (bunch.target == -1).sum() == 90
    assert_array_equal(bunch.kinds == "none", bunch.target == 1)
    assert set(bunch.kinds) == {"none", *(DEFECTS if kind == "mixed" else [kind])}
    assert bunch.images.min() >= 0 and bunch.images.max() <= 1
    assert_array_equal(bunch.data, bunch.images.reshape(300, 64))
    again = make_image_anomalies(300, kind=kind, contamination=0.3, random_state=0)
    assert_array_equal(bunch.images, again.images)


@pytest.mark.parametrize("shape", [(4, 4), (5, 12), (12, 5)])
@pytest.mark.parametrize("kind", DEFECTS)
def test_defects_on_images_of_any_shape(shape, kind):
    """Own images are copied, not damaged, and every defect shows."""
    images = np.random.default_rng(0).uniform(size=(30, *shape))
    kept = images.copy()
    bunch = make_image_anomalies(
        20, kind=kind, contamination=0.5, images=images, random_state=0
    )
    assert_array_equal(images, kept)
    assert bunch.masks.any(axis=(1, 2)).sum() == 10
    assert bunch.masks.mean() < 0.4


def test_make_image_anomalies_refuses():
    """Too many images asked for, flat rows and blank images are errors."""
    with pytest.raises(ValueError, match="only 1797"):
        make_image_anomalies(2000, random_state=0)
    with pytest.raises(ValueError, match="shape"):
        make_image_anomalies(2, random_state=0, images=np.ones((5, 64)))
    with pytest.raises(ValueError, match="constant"):
        make_image_anomalies(2, random_state=0, images=np.ones((5, 8, 8)))
    with pytest.raises(ValueError, match="kind"):
        make_image_anomalies(kind="dent")


METRIC_KINDS = ["spike", "level_shift", "seasonality"]


@pytest.mark.parametrize("kind", [*METRIC_KINDS, "mixed"])
def test_spans_are_what_differs_from_the_originals(kind):
    """Within each span one metric differs, elsewhere none does."""
    bunch = make_metric_anomalies(
        3000, 3, kind=kind, n_anomalies=6, first_anomaly=500, random_state=0
    )
    assert bunch.data.shape == (3000, 3) and np.isfinite(bunch.data).all()
    inside = np.zeros(3000, dtype=bool)
    for (start, stop), name in zip(bunch.spans, bunch.kinds, strict=True):
        inside[start:stop] = True
        changed = (bunch.data != bunch.originals)[start:stop]
        assert changed.any(axis=0).sum() == 1
        # Twice the speed crosses the usual season now and then.
        assert changed.any(axis=1).mean() > 0.9
        longest = {"spike": 3, "level_shift": 100, "seasonality": 200}[name]
        assert 0 < stop - start <= longest
    assert_array_equal(bunch.target, np.where(inside, -1, 1))
    assert_array_equal(bunch.data[~inside], bunch.originals[~inside])
    assert bunch.spans[0, 0] >= 500
    assert (bunch.spans[1:, 0] - bunch.spans[:-1, 1] >= 100).all()
    assert set(bunch.kinds) == (set(METRIC_KINDS) if kind == "mixed" else {kind})


def test_metrics_have_a_season_and_common_noise():
    """A period explains most of a metric; what is left is correlated as promised."""
    bunch = make_metric_anomalies(
        20_000, 2, n_anomalies=0, period=50, random_state=np.random.RandomState(0)
    )
    again = make_metric_anomalies(20_000, 2, n_anomalies=0, period=50, random_state=0)
    assert_array_equal(bunch.data, again.data)
    assert (bunch.target == 1).all() and bunch.spans.shape == (0, 2)
    assert_array_equal(bunch.data, bunch.originals)
    cycles = bunch.data.reshape(400, 50, 2)
    season = cycles.mean(axis=0)
    assert_allclose(season.std(axis=0), 1, atol=0.05)
    rest = (cycles - season).reshape(-1, 2)
    assert (rest.std(axis=0) < 0.25).all()
    # The varying height of the season is in there, too.
    assert 0.25 < np.corrcoef(rest.T)[0, 1] < 0.6
    assert np.corrcoef(rest[1:, 0], rest[:-1, 0])[0, 1] > 0.45


@pytest.mark.parametrize(
    "options, match",
    [
        ({"kind": "trend"}, "kind must be one of"),
        ({"n_metrics": 0}, "n_metrics"),
        ({"period": 4}, "period"),
        ({"n_steps": 1000}, "may take 1809 steps, and there are 1000"),
        ({"n_anomalies": 0, "first_anomaly": 4000}, "there are -1000"),
    ],
)
def test_make_metric_anomalies_refuses(options, match):
    """Options out of range are named, and so is the room that is missing."""
    with pytest.raises(ValueError, match=match):
        make_metric_anomalies(**options)


def test_digits_as_an_anomaly_task():
    """Both ways of naming the normal digits agree, flat or as images."""
    X, y = load_digits_anomaly(anomaly_class=0)
    images, same = load_digits_anomaly(normal_classes=range(1, 10), as_images=True)
    assert X.shape == (1797, 64) and images.shape == (1797, 1, 8, 8)
    assert_array_equal(y, same)
    assert_array_equal(images.reshape(len(X), -1), X)
    assert (load_digits_anomaly(normal_classes=3)[1] == 1).sum() == 183


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"anomaly_class": 1, "normal_classes": 2},
        {"anomaly_class": 10},
        {"normal_classes": range(10)},
        {"normal_classes": []},
    ],
)
def test_digits_task_refuses(options):
    """Exactly one option, one to nine of the ten digits."""
    with pytest.raises(ValueError):
        load_digits_anomaly(**options)


def test_bundled_sets_are_sound():
    """All load, carry their own name, and stay unloaded until asked for."""
    sets = load_bundled()
    for name, data in sets.items():
        assert data.name == name
        if data.classes is None:
            assert 0 < data.n_anomalies < len(data.target) / 2
        else:
            assert data.n_anomalies is None and len(data.classes) >= 3
    assert list(pickle.loads(pickle.dumps(sets))) == list(sets)
    assert "wine" in repr(sets) and len(sets.select(["wine", "iris"])) == 2
    assert_array_equal(sets["global"].X, sets["global"].X)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"target": [0, 1, 1]}, "numpy.where"),
        ({"target": [1, 1, 1]}, "both 1"),
        ({"target": [1, -1]}, "shape"),
        ({"X": [1.0, 2.0, 3.0]}, "shape"),
        ({"X": [[1.0], [np.nan], [2.0]]}, "finite"),
        ({"X": [["a"], ["b"], ["c"]]}, "real"),
        ({"classes": (5,)}, "classes"),
        ({"classes": ()}, "classes"),
        ({"input_shape": (1, 2, 2)}, "features"),
        ({"test_rows": [0, 1, 2]}, "test_rows"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(changes, match):
    """Wrong labels above all: 0 and 1 are not taken for classes or signs."""
    options = {"name": "d", "X": [[1.0], [2.0], [3.0]], "target": [1, 1, -1]}
    with pytest.raises(ValueError, match=match):
        AnomalyDataset(**(options | changes))


def test_adbench_labels_become_signs(data_folder, table):
    """1 in the file is -1 here; names are sorted whatever their case."""
    sets = load_adbench(data_folder / "adbench")
    assert isinstance(sets, LazyDatasets) and list(sets) == ["Alpha", "wine"]
    data = sets["wine"]
    assert_array_equal(data.X, table[0])
    assert_array_equal(data.target, np.where(table[1] == 1, -1, 1))
    assert data.input_shape is None and data.n_anomalies == 5


def test_tables_are_read_when_asked_for(data_folder):
    """A file that goes away after opening is missed only when it is read."""
    sets = load_adbench(data_folder / "adbench")
    (data_folder / "adbench" / "wine.npz").unlink()
    assert len(sets["Alpha"].X) == 20
    with pytest.raises(FileNotFoundError, match="wine"):
        sets["wine"]


def test_mnist_comes_as_flat_rows_with_its_test_rows(data_folder):
    """Pixels keep their dtype; classes may be chosen."""
    data = load_mnist(data_folder / "mnist.npz")
    assert data.X.shape == (12, 16) and data.X.dtype == np.uint8
    assert data.input_shape == (1, 4, 4) and data.classes == (0, 1, 2)
    assert_array_equal(data.test_rows, np.arange(12) >= 9)
    assert load_mnist(data_folder / "mnist.npz", classes=[2]).classes == (2,)


def test_benchmark_data_are_tables_and_images(data_folder):
    """A parent folder, the folder of tables and a single file all work."""
    everything = ["mnist-digits", "Alpha", "wine"]
    assert list(load_benchmark_data(data_folder)) == everything
    assert list(load_benchmark_data(data_folder / "adbench")) == everything[1:]
    images = load_benchmark_data(data_folder / "mnist.npz", classes=[1])
    assert images["mnist-digits"].classes == (1,)
    table = load_benchmark_data(data_folder / "adbench" / "wine.npz")
    assert table["wine"].n_anomalies == 5


def test_missing_and_empty_folders_are_named(tmp_path):
    """The error says which path was looked at."""
    for load in (load_adbench, load_benchmark_data, load_mnist):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    for load in (load_adbench, load_benchmark_data):
        with pytest.raises(FileNotFoundError, match="empty"):
            load(tmp_path / "empty")


@pytest.mark.parametrize(
    "arrays, match",
    [
        ({"X": np.ones((3, 2))}, "has no y"),
        ({"X": np.ones(3), "y": [0, 1, 1]}, "shape"),
        ({"X": np.ones((3, 2)), "y": [0, 1]}, "shape"),
        ({"X": np.ones((3, 2)), "y": [0, 1, 2]}, "both 0"),
        ({"X": np.ones((3, 2)), "y": [1, -1, 1]}, "both 0"),
        ({"X": np.full((3, 2), np.inf), "y": [0, 1, 1]}, "finite"),
        ({"X": np.ones((3, 2), dtype=complex), "y": [0, 1, 1]}, "real"),
        ({"X": np.array([[print], [1], [2]], dtype=object), "y": [0, 1, 1]}, "pickle"),
    ],
)
def test_tables_with_wrong_arrays_are_refused(tmp_path, arrays, match):
    """The error names the file; pickled objects are never loaded."""
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=match) as caught:
        load_benchmark_data(tmp_path / "odd.npz")["odd"]
    assert "odd" in str(caught.value)


def _archive(path, method=zipfile.ZIP_STORED, **content):
    """Write an archive whose arrays are whatever bytes they are said to be."""
    with zipfile.ZipFile(path, "w", compression=method) as archive:
        for name, data in content.items():
            archive.writestr(f"{name}.npy", data)


def _array(shape, dtype="<f8", data=b"", version=b"\x01\x00"):
    """Return an array in NumPy's format that claims a shape it may not have."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


# Why a file can be seen to be none of ours without reading it whole.
BROKEN = {
    "text": lambda path: path.write_text("X,y"),
    "empty": lambda path: path.touch(),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"X": 1, "y": 2})),
    "folder": lambda path: path.mkdir(),
    "dangling": lambda path: path.symlink_to("nowhere.npz"),
    "half": lambda path: np.savez(path, X=np.ones((3, 2))),
    "objects": lambda path: np.savez(path, X=np.array([[print]]), y=np.array([0])),
    "raw": lambda path: _archive(path, X=b"1,2", y=b"0"),
    "future": lambda path: _archive(path, X=_array((1, 1), version=b"\x09\x00"), y=b""),
    "73 TiB": lambda path: _archive(path, X=_array((10**10, 1000)), y=_array((2,))),
    "negative": lambda path: _archive(path, X=_array((-1, 1)), y=_array((2,))),
    "no integer": lambda path: _archive(path, X=_array("(1.5, None)"), y=b""),
    "other method": lambda path: _archive(
        path, zipfile.ZIP_BZIP2, X=_array((1, 1), data=bytes(8)), y=b""
    ),
}


@pytest.fixture
def data_folder_with_broken_files(data_folder):
    """Write the tables and images, and beside them all that is none of them."""
    for name, write in BROKEN.items():
        write(data_folder / "adbench" / f"{name}.npz")
    return data_folder


@pytest.mark.parametrize(
    "load", [load_benchmark_data, lambda path: load_adbench(path / "adbench")]
)
def test_broken_files_do_not_block_the_others(load, data_folder_with_broken_files):
    """Each is named in a warning, with the reason, and left out."""
    with pytest.warns(UserWarning, match="Left out") as caught:
        sets = load(data_folder_with_broken_files)
    assert set(sets) - {"mnist-digits"} == {"Alpha", "wine"}
    assert all(len(data.X) for data in sets.values())
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == len(BROKEN)
    for name in BROKEN:
        (message,) = [m for m in messages if f"{name}.npz" in m]
        assert len(message.split(f"{name}.npz")[1]) > 10
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "folder"])
def test_a_broken_file_that_is_asked_for_is_an_error(name, tmp_path):
    """It names the file; no memory is asked for on the word of a header."""
    path = tmp_path / f"{name}.npz"
    BROKEN[name](path)
    missing = FileNotFoundError if name == "dangling" else ValueError
    for load in (load_benchmark_data, load_mnist):
        tracemalloc.start()
        with pytest.raises(missing, match=f"{name}.npz"):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_a_folder_in_the_place_of_images_is_an_error(tmp_path):
    (tmp_path / "mnist.npz").mkdir()
    with pytest.raises(ValueError, match=r"mnist\.npz.*is no file"):
        load_mnist(tmp_path / "mnist.npz")


def test_claims_beyond_what_compression_can_do(tmp_path):
    """The archive's directory and the header agree on it, and the bytes cannot."""
    X, y = np.zeros((50, 9)), np.repeat([0, 1], 25)
    np.savez_compressed(tmp_path / "honest.npz", X=X, y=y)
    assert load_benchmark_data(tmp_path / "honest.npz")["honest"].n_anomalies == 25
    claim = _array((2**25, 1))
    _archive(tmp_path / "liar.npz", zipfile.ZIP_DEFLATED, X=claim, y=claim)
    true, false = len(claim), len(claim) + 8 * 2**25
    sizes = [size.to_bytes(4, "little") for size in (true, false)]
    content = (tmp_path / "liar.npz").read_bytes().replace(*sizes)
    (tmp_path / "liar.npz").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "liar.npz") as archive:
        assert archive.getinfo("X.npy").file_size == false
    with pytest.raises(ValueError, match="does not agree"):
        load_benchmark_data(tmp_path / "liar.npz")


def test_compressed_files_have_a_limit(tmp_path, monkeypatch):
    """A small file may not fill the memory; uncompressed, its size is plain to see."""
    X, y = np.zeros((1000, 9)), np.repeat([0, 1], 500)
    np.savez_compressed(tmp_path / "dense.npz", X=X, y=y)
    np.savez(tmp_path / "plain.npz", X=X, y=y)
    monkeypatch.setattr(_files, "_MOST_INFLATED", 2**16)
    with pytest.warns(UserWarning, match=r"dense\.npz.*compressed file may"):
        sets = load_adbench(tmp_path)
    assert list(sets) == ["plain"] and sets["plain"].X.shape == X.shape


def test_files_of_one_name_do_not_replace_each_other(data_folder, table):
    """The second is named in a warning."""
    np.savez(data_folder / "wine.npz", X=table[0][:, :2], y=table[1])
    with pytest.warns(UserWarning, match="called 'wine' already") as caught:
        sets = load_benchmark_data(data_folder)
    assert sets["wine"].X.shape == (20, 2) and len(caught) == 1


def test_damage_inside_an_archive_is_an_error_when_it_is_read(tmp_path):
    """It cannot be seen from the outside; the error names the file."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(5000, 9))
    np.savez_compressed(tmp_path / "torn.npz", X=noise, y=[0, 1] * 2500)
    content = bytearray((tmp_path / "torn.npz").read_bytes())
    content[200_000:200_100] = bytes(100)
    (tmp_path / "torn.npz").write_bytes(content)
    sets = load_adbench(tmp_path)
    with pytest.raises(ValueError, match="torn"):
        sets["torn"]


def test_mnist_with_wrong_arrays_is_refused(tmp_path):
    """Flat rows in place of images are an error."""
    rows = {"X_train": np.ones((3, 9)), "y_train": [0, 1, 1]}
    rows |= {"X_test": np.ones((1, 9)), "y_test": [0]}
    np.savez(tmp_path / "mnist.npz", **rows)
    with pytest.raises(ValueError, match="grey images"):
        load_mnist(tmp_path / "mnist.npz")
