"""Benchmark data from local files, read without pickle."""

from __future__ import annotations

import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._containers import (
    AnomalyDataset,
    LazyDatasets,
    check_table,
    some_values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

_TABLE_ARRAYS = ("X", "y")
_IMAGE_ARRAYS = ("X_train", "y_train", "X_test", "y_test")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# Deflate makes no more than this of a byte: 258 bytes cost two bits.
_DEFLATE = 1032
# Bytes of memory that a compressed file may ask for: a megabyte can hold a gigabyte.
_MOST_INFLATED = 4 * 2**30


def load_adbench(folder: str | PathLike[str]) -> LazyDatasets:
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

    Warns
    -----
    UserWarning
        For each ``.npz`` that is left out, with the reason: no file, no archive, one
        without `X` and `y`, or one that claims what it cannot hold.

    Notes
    -----
    Files are read without pickle, so an untrusted file cannot run code. What a file
    says of its size is held against the size that it has before memory is asked for,
    and a compressed one may take up at most 4 GiB of memory.

    References
    ----------
    .. [1] S. Han, X. Hu, H. Huang, M. Jiang, Y. Zhao, "ADBench: Anomaly Detection
       Benchmark", NeurIPS 2022. :doi:`10.48550/arXiv.2206.09426`
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    tables = [path for path, images in _find_archives(folder) if not images]
    if not tables:
        raise FileNotFoundError(
            f"No .npz file with arrays X and y in folder {str(folder)!r}."
        )
    return LazyDatasets({path.stem: _TableLoader(path) for path in tables})


def load_mnist(
    path: str | PathLike[str], *, classes: Sequence[int] | None = None
) -> AnomalyDataset:
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
        If it cannot be read, or its arrays are not as described.
    """
    X_train, y_train, X_test, y_test = _read_arrays(path, _IMAGE_ARRAYS)
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


def load_benchmark_data(
    path: str | PathLike[str], *, classes: Sequence[int] | None = None
) -> LazyDatasets:
    """Open whatever benchmark data a local path holds.

    These are ``.npz`` archives of arrays; folders of image files are not read.

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
    ValueError
        If it is one file, and that has no such arrays.

    Warns
    -----
    UserWarning
        For each ``.npz`` of a folder that is left out, with the reason; see
        :func:`load_adbench`.
    """
    path = Path(path)
    if path.is_file():
        name, loader = _named_loader(path, _check_archive(path), classes)
        return LazyDatasets({name: loader})
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
    loaders: dict[str, _MnistLoader | _TableLoader] = {}
    for folder in (path, path / "adbench"):
        for file, images in _find_archives(folder):
            name, loader = _named_loader(file, images, classes)
            if name in loaders:
                warnings.warn(
                    f"Left out: {str(file)!r}, as {str(loaders[name].path)!r} is "
                    f"called {name!r} already.",
                    stacklevel=2,
                )
            else:
                loaders[name] = loader
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
    classes: Sequence[int] | None

    def __call__(self) -> AnomalyDataset:
        return load_mnist(self.path, classes=self.classes)


@dataclass(frozen=True)
class _TableLoader:
    path: Path

    def __call__(self) -> AnomalyDataset:
        X, y = _read_arrays(self.path, _TABLE_ARRAYS)
        y = np.ravel(y)
        check_table(X, y, f"file {str(self.path)!r}")
        if set(np.unique(y).tolist()) != {0, 1}:
            raise ValueError(
                f"y in file {str(self.path)!r} must hold both 0 (normal) and 1 "
                f"(anomaly), got {some_values(np.unique(y))}."
            )
        return AnomalyDataset(self.path.stem, X, np.where(y == 1, -1, 1))


def _named_loader(
    path: Path, images: bool, classes: Sequence[int] | None
) -> tuple[str, _MnistLoader | _TableLoader]:
    if images:
        return "mnist-digits", _MnistLoader(path, classes)
    return path.stem, _TableLoader(path)


def _find_archives(folder: Path) -> list[tuple[Path, bool]]:
    """Return the archives in a folder by name, and whether they hold images.

    A file that cannot be one of them is named in a warning and left out, as it says
    nothing about the others.
    """
    found = []
    for path in sorted(folder.glob("*.npz"), key=lambda path: path.stem.lower()):
        try:
            found.append((path, _check_archive(path)))
        except ValueError as error:
            warnings.warn(f"Left out: {error}", stacklevel=3)
    return found


def _check_archive(path: Path, names: Sequence[str] | None = None) -> bool:
    """Tell whether an archive holds images; ValueError if it has no such arrays.

    The directory of the archive and the headers of the arrays are read and nothing
    else, so looking through a folder stays cheap. Both may be made up: what they claim
    is held against the size of the file before memory is asked for.
    """
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is no file.")
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy") for name in archive.namelist()}
            images = "X_train" in found
            if names is None:
                names = _IMAGE_ARRAYS if images else _TABLE_ARRAYS
            missing = set(names) - found
            if missing:
                raise ValueError(
                    f"it has no {', '.join(sorted(missing))}; expected are arrays "
                    f"{', '.join(names)}."
                )
            _check_sizes(archive, names, path.stat().st_size)
    except Exception as error:  # A stranger's file can be wrong in any way.
        raise ValueError(f"File {str(path)!r} cannot be read: {error}") from error
    return images


def _check_sizes(
    archive: zipfile.ZipFile, names: Sequence[str], file_size: int
) -> None:
    inflated = 0
    for name in names:
        entry = archive.getinfo(f"{name}.npy")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by a method that NumPy has not.")
        deflated = entry.compress_type == zipfile.ZIP_DEFLATED
        possible = min(entry.compress_size, file_size) * (_DEFLATE if deflated else 1)
        with archive.open(entry) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"{name} has a header of version {version}.")
            shape, _, dtype = _HEADERS[version](stream)
            claimed = stream.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{name} holds objects, which would need pickle.")
        if claimed != entry.file_size or claimed > possible:
            raise ValueError(
                f"{name} claims shape {shape} of {dtype}, which does not agree with "
                f"{entry.compress_size} bytes in a file of {file_size}."
            )
        inflated += claimed if deflated else 0
    if inflated > _MOST_INFLATED:
        raise ValueError(
            f"{', '.join(names)} take {inflated / 2**30:.1f} GiB in memory, more than "
            f"the {_MOST_INFLATED / 2**30:g} GiB that a compressed file may. If you "
            "trust it, save it again with numpy.savez, which does not compress."
        )


def _read_arrays(path: str | PathLike[str], names: Sequence[str]) -> list[NDArray[Any]]:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    _check_archive(path, names)
    try:
        with np.load(path, allow_pickle=False) as archive:
            # Under the very name that was checked.
            return [archive[f"{name}.npy"] for name in names]
    except Exception as error:  # The rest of it can be wrong in any way, too.
        raise ValueError(f"File {str(path)!r} cannot be read: {error}") from error
