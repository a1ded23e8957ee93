"""Benchmark data from local files, read without pickle."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._containers import (
    AnomalyDataset,
    LazyDatasets,
    check_table,
    some_values,
)


def load_adbench(folder):
    """Open a local folder of ADBench tables.

    Parameters
    ----------
    folder : str or path
        Folder with ``.npz`` files, each with an array `X` of shape
        (n_samples, n_features) and an array `y` with 1 for anomalies, 0 for the rest.

    Returns
    -------
    datasets : LazyDatasets
        Read-only dict from file name (without ``.npz``) to :class:`AnomalyDataset`,
        sorted by name. A table is read each time it is asked for and not kept.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no ``.npz`` file with `X` and `y` in it.
    ValueError
        When a table is asked for whose arrays are not as described.

    Notes
    -----
    Files are read without pickle, so an untrusted file cannot run code.

    References
    ----------
    .. [1] S. Han, X. Hu, H. Huang, M. Jiang, Y. Zhao, "ADBench: Anomaly Detection
       Benchmark", NeurIPS 2022. :doi:`10.48550/arXiv.2206.09426`
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    paths = sorted(folder.glob("*.npz"), key=lambda path: path.stem.lower())
    tables = {path.stem: path for path in paths if not _is_mnist(path)}
    if not tables:
        raise FileNotFoundError(
            f"No .npz file with arrays X and y in folder {str(folder)!r}."
        )
    return LazyDatasets({name: _TableLoader(path) for name, path in tables.items()})


def load_mnist(path, *, classes=None):
    """Load MNIST from a local ``.npz`` file.

    Parameters
    ----------
    path : str or path
        File with arrays `X_train` (n, 28, 28), `y_train`, `X_test`, `y_test`. Other
        grey images with classes in the same layout and of any size will do.
    classes : sequence of int or None, default=None
        Digits that take a turn as the special class; by default all in the file.

    Returns
    -------
    dataset : AnomalyDataset
        All images as flat rows with their classes as target; `test_rows` marks those
        of `X_test`, `input_shape` is ``(1, 28, 28)``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its arrays are not as described.
    """
    names = ("X_train", "y_train", "X_test", "y_test")
    X_train, y_train, X_test, y_test = _read_arrays(path, names)
    if X_train.ndim != 3 or X_train.shape[1:] != X_test.shape[1:]:
        raise ValueError(
            f"X_train and X_test in {str(path)!r} must be grey images of one size, got "
            f"shapes {X_train.shape} and {X_test.shape}."
        )
    X = np.concatenate([X_train, X_test]).reshape(len(X_train) + len(X_test), -1)
    target = np.concatenate([np.ravel(y_train), np.ravel(y_test)])
    return AnomalyDataset(
        "mnist-digits",
        X,
        target,
        classes=tuple(np.unique(target).tolist()) if classes is None else classes,
        input_shape=(1, *X_train.shape[1:]),
        test_rows=np.arange(len(X)) >= len(X_train),
    )


def load_folder(path, *, classes=None):
    """Open whatever benchmark data a local path holds.

    Parameters
    ----------
    path : str or path
        A folder with ADBench tables, with a subfolder ``adbench`` of such tables, with
        a ``mnist.npz`` of images, or with several of these; or one such file.
    classes : sequence of int or None, default=None
        Passed to :func:`load_mnist`.

    Returns
    -------
    datasets : LazyDatasets
        Read-only dict from name to :class:`AnomalyDataset`; images are called
        "mnist-digits", as ADBench has a table called "mnist".

    Raises
    ------
    FileNotFoundError
        If there is no such path, or no benchmark data in it.
    """
    path = Path(path)
    if path.is_file():
        if _is_mnist(path):
            return LazyDatasets({"mnist-digits": _MnistLoader(path, classes)})
        return LazyDatasets({path.stem: _TableLoader(path)})
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
    loaders = {}
    for folder in (path, path / "adbench"):
        for file in sorted(folder.glob("*.npz"), key=lambda file: file.stem.lower()):
            if _is_mnist(file):
                loaders["mnist-digits"] = _MnistLoader(file, classes)
            else:
                loaders[file.stem] = _TableLoader(file)
    if not loaders:
        raise FileNotFoundError(
            f"No benchmark data in {str(path)!r}: expected .npz files with arrays X "
            "and y, in it or in a subfolder adbench, or a mnist.npz."
        )
    return LazyDatasets(loaders)


# Loaders are small objects, not closures, so that a dict of them can be pickled.
@dataclass(frozen=True)
class _MnistLoader:
    path: Path
    classes: tuple | None

    def __call__(self):
        return load_mnist(self.path, classes=self.classes)


@dataclass(frozen=True)
class _TableLoader:
    path: Path

    def __call__(self):
        X, y = _read_arrays(self.path, ("X", "y"))
        y = np.ravel(y)
        check_table(X, y, f"file {str(self.path)!r}")
        if set(np.unique(y).tolist()) != {0, 1}:
            raise ValueError(
                f"y in file {str(self.path)!r} must hold both 0 (normal) and 1 "
                f"(anomaly), got {some_values(np.unique(y))}."
            )
        return AnomalyDataset(self.path.stem, X, np.where(y == 1, -1, 1))


def _array_names(path):
    # Only the archive's directory is read: listing a folder stays cheap.
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except zipfile.BadZipFile:
        # Reading it gives the error that names the file.
        return set()


def _is_mnist(path):
    return "X_train" in _array_names(path)


def _read_arrays(path, names):
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    missing = set(names) - _array_names(path)
    if missing:
        raise ValueError(
            f"File {str(path)!r} is no .npz archive with arrays {', '.join(names)}: "
            f"missing {', '.join(sorted(missing))}."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"File {str(path)!r} cannot be read: {error}") from error
