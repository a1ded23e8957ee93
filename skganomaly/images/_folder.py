"""The image files of a folder, and what its subfolders say of them."""

from __future__ import annotations

import copy
import errno
import os
import re
import warnings
from collections import Counter
from fnmatch import fnmatchcase
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_scalar

from .._validation import first_few
from ._pixels import (
    MAX_PIXELS,
    SUFFIXES,
    channels_in_file,
    format_of_file,
    read_file,
)
from ._reading import _COLORS, ImageSequence, _one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from os import PathLike
    from typing import TypeAlias

    from numpy.typing import NDArray
    from typing_extensions import Self

    from ._reading import Color

    MaskOf: TypeAlias = Callable[[Path], str | PathLike[str] | None]

# Folders below which each kind of image has one of its own.
_SPLITS = ("train", "test", "val", "valid", "validation")
_MASKS = "ground_truth"
# What may follow the name of an image in that of its mask.
_MASK_ENDS = ("", "_mask", "_gt")


class ImageFolder(ImageSequence):
    r"""The image files of a folder, sorted, and read when they are asked for.

    ``folder[i]`` is an image, ``folder[:10]``, ``folder[folder.labels == 1]`` and
    ``folder[[3, 5]]`` are other ImageFolders. Making one looks for names and opens no
    file; :meth:`check` opens all.

    Parameters
    ----------
    folder : str or path
        Folder to look into, as deep as `pattern` says. Links to folders are followed.
    pattern : str, default="**"
        Which files to take, by their path within the folder: ``*`` and ``?`` stand for
        parts of a name and ``**`` for any number of folders, at the end with all that
        is in them. ``"train/good/*"`` are the files of one folder, ``"train/**"`` all
        in and below one, ``"**/*.png"`` all with that ending.
    suffixes : collection of str or None, default="auto"
        Endings of file names, such as ``[".png", ".tif"]``, in whatever case. "auto"
        are those of all formats that can be read. What has another goes to ``others``.
        None takes each file that the pattern matches, and those that are no images are
        then errors when they are read.
    good : str or collection of str, default="good"
        Name of the kind, or kinds, that are normal.
    masks : str, callable or None, default="ground_truth"
        Name of the folder beside ``test`` with the masks. A callable is given the path
        of each image and returns that of its mask, or None. None is without masks.
    groups : str, callable or None, default=None
        How to tell which images belong together, as six shots of one part do. A regular
        expression is searched for in the file's name, and what its brackets hold (or
        all of it, if it has none) is the group. A callable is given the path and
        returns the group.
    color : {"keep", "grey", "rgb"}, default="keep"
        As for :func:`as_images`.
    max_pixels : int, default=67108864
        As for :func:`as_images`.

    Attributes
    ----------
    paths : tuple of Path
        The files, absolute, in the order of their paths within the folder, letter by
        letter ("10.png" comes before "9.png").
    kinds : ndarray of str of shape (n_images,)
        The folders between that of the split (train, test or val), or else `folder`
        itself, and the file, such as "crack"; "" where there is none.
    labels : ndarray of int of shape (n_images,) or None
        1 where the kind is good and -1 elsewhere. None if `folder` has no good kind at
        all, or if there are images of no kind.
    groups : ndarray of shape (n_images,) or None
        The group of each image, for ``fit(images, groups=images.groups)``.
    masks : MaskSequence or None
        The masks, read when they are asked for.
    others : tuple of Path
        What matches the pattern and is left out: names with another ending, and hidden
        files and folders, whose names begin with a dot.
    shape : tuple of int
        (number of images,).
    n_channels : int
        Channels of the first image, which all others must have.
    skipped : tuple of (str, str)
        Name and fault of each image that :meth:`check` has left out.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it.
    OSError
        If a folder in it cannot be opened; or, on reading, if a file is gone or cannot
        be.
    ValueError
        If an image has two masks or no group; or, on reading, if a file is bad. See
        :func:`as_images` for what is read, and how.

    Warns
    -----
    UserWarning
        If there are masks of no image.

    See Also
    --------
    as_images : Reads files by a list of paths, arrays and pictures of Pillow.

    Notes
    -----
    The layout that MVTec AD has, and that anomalib and others have taken over::

        bottle/train/good/000.png
        bottle/test/good/000.png
        bottle/test/crack/000.png
        bottle/ground_truth/crack/000_mask.png

    ``ImageFolder("bottle", "train/**")`` are the images to train on, and
    ``ImageFolder("bottle", "test/**")`` those to test with; `folder` may also be
    ``bottle/test``, or a folder of many such as ``bottle``. A mask has the place of its
    image below ``ground_truth`` and the same name, or the name with "_mask" or
    "_gt" behind it, with any ending. All that is not 0 in it is defect. Whatever lies
    below a folder of that name (``ground_truth``, if `masks` is no name) is not among
    the images.

    A pickle has the paths, and not the pixels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skganomaly.images import ImageFolder
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ["good/a_1.png", "good/a_2.png", "crack/b_1.png"]:
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", (30, 20)).save(root / name)
    >>> folder = ImageFolder(root, groups=r"(.+)_\d")
    >>> folder.kinds.tolist(), folder.labels.tolist(), folder.groups.tolist()
    (['crack', 'good', 'good'], [-1, 1, 1], ['b', 'a', 'a'])
    >>> len(folder[folder.labels == 1]), folder[0].shape
    (2, (3, 20, 30))
    """

    folder: Path
    paths: tuple[Path, ...]
    kinds: NDArray[np.str_]
    labels: NDArray[np.int64] | None
    groups: NDArray[Any] | None
    others: tuple[Path, ...]

    def __init__(
        self,
        folder: str | PathLike[str],
        pattern: str = "**",
        *,
        suffixes: Collection[str] | str | None = "auto",
        good: str | Collection[str] = "good",
        masks: str | MaskOf | None = _MASKS,
        groups: str | Callable[[Path], Any] | None = None,
        color: Color = "keep",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        _one_of("color", color, _COLORS)
        check_scalar(max_pixels, "max_pixels", Integral, min_val=1)
        self.folder = Path(folder)
        self._color, self._max_pixels = color, max_pixels
        root = Path(os.path.abspath(self.folder))
        if not root.is_dir():
            raise FileNotFoundError(
                f"{str(folder)!r} is no folder."
                if root.exists()
                else f"There is no folder {str(folder)!r}."
            )
        wanted = _split_pattern(pattern)
        suffixes = _read_suffixes(suffixes)
        no_images = masks if isinstance(masks, str) else _MASKS
        inside: list[PurePosixPath] = []
        others: list[PurePosixPath] = []
        kinds: set[str] = set()
        for found, is_file in _walk(root, PurePosixPath()):
            if no_images in found.parts[:-1]:
                continue
            kinds.add(_kind(found, root))
            if not _matches(found.parts, wanted):
                continue
            known = suffixes is None or found.suffix.lower() in suffixes
            taken = is_file and known and not found.name.startswith(".")
            (inside if taken else others).append(found)
        if not inside:
            raise FileNotFoundError(
                f"No image file in {str(folder)!r} matches {pattern!r}"
                + (
                    f", but {first_few([str(path) for path in others])}. Images are "
                    "known by the endings of their names, unless suffixes=None."
                    if others
                    else ". '**' are all files, however deep."
                )
            )
        inside.sort(key=str)
        self.paths = tuple(root / path for path in inside)
        self.others = tuple(root / path for path in sorted(others, key=str))
        self.kinds = np.array([_kind(path, root) for path in inside], dtype=np.str_)
        good = {good} if isinstance(good, str) else set(good)
        self.labels = None
        # Folders may be days or parts, and no kinds, if none of them is good.
        if kinds & good and "" not in self.kinds:
            self.labels = np.where(np.isin(self.kinds, list(good)), 1, -1)
        self.groups = _read_groups(groups, self.paths)
        self._masks = _find_masks(masks, inside, root)

    @property
    def masks(self) -> MaskSequence | None:
        """The masks, read when they are asked for.

        ``masks[i]`` is bool, of shape (height, width), True where image i is defective,
        or None if it has no mask. None for all, if the folder was made without `masks`.
        """
        return None if self._masks is None else MaskSequence(self)

    def name(self, i: int) -> str:
        """What errors call an image.

        Parameters
        ----------
        i : int
            Its position.

        Returns
        -------
        str
        """
        return repr(str(self.paths[i]))

    def __repr__(self) -> str:
        n = len(self)
        counts = Counter(self.kinds.tolist())
        named = [f"{count} {kind}" for kind, count in sorted(counts.items()) if kind]
        words = f"{n} image{'s' * (n != 1)}" + (
            ": " + first_few(named) if named else ""
        )
        if self.others:
            words += f"; {len(self.others)} other files"
        if self.skipped:
            words += f"; {len(self.skipped)} skipped"
        return f"ImageFolder({str(self.folder)!r}, {words})"

    def _size(self) -> int:
        return len(self.paths)

    def _raw(self, i: int) -> NDArray[Any]:
        return read_file(self.paths[i], self._max_pixels)

    def _raw_channels(self, i: int) -> int:
        return channels_in_file(self.paths[i], self._max_pixels)

    def _part(self, places: NDArray[np.intp]) -> Self:
        part = copy.copy(self)
        part._first_channels = None
        part.paths = tuple(self.paths[i] for i in places)
        part.kinds = self.kinds[places]
        for name in ("labels", "groups", "_masks"):
            value = getattr(self, name)
            setattr(part, name, None if value is None else value[places])
        return part


class MaskSequence:
    """The masks of an :class:`ImageFolder`, read when they are asked for.

    Parameters
    ----------
    images : ImageFolder
        Whose they are.

    Attributes
    ----------
    paths : tuple of Path or None
        The file of each image's mask; None where it has none.
    """

    def __init__(self, images: ImageFolder) -> None:
        self._images = images
        self.paths: tuple[Path | None, ...] = tuple(images._masks)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[NDArray[np.bool_] | None]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        n = sum(path is not None for path in self.paths)
        return f"MaskSequence({n} masks of {len(self)} images)"

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int | np.integer) or isinstance(index, bool):
            part: Any = self._images[index]
            return MaskSequence(part)
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no mask {index} of {len(self)}.")
        index = int(index) % len(self)
        path = self.paths[index]
        if path is None:
            return None
        limit = self._images._max_pixels
        if format_of_file(path, limit) in ("JPEG", "MPO"):
            raise ValueError(
                f"The mask {str(path)!r} is a JPEG, in which what was 0 need not be 0 "
                "any more. Save it as PNG."
            )
        mask = read_file(path, limit).any(axis=0)
        size = self._images[index].shape[1:]
        if mask.shape != size:
            raise ValueError(
                f"The mask {str(path)!r} has {mask.shape[0]} x {mask.shape[1]} pixels, "
                f"and its image {self._images.name(index)} has {size[0]} x {size[1]}."
            )
        return mask


def _walk(root, inside, above=()):
    """Yield what is below a folder, and whether that is a file.

    Of folders, those that are hidden, and not looked into, or called like images.
    Errors are not swallowed, as pathlib does: what cannot be looked into would be lost.
    """
    here = os.stat(root / inside)
    if (here.st_dev, here.st_ino) in above:
        # A link that leads back.
        return
    above = (*above, (here.st_dev, here.st_ino))
    with os.scandir(root / inside) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        path = inside / entry.name
        if not _is_folder(entry):
            # A link to nowhere as well: its file is gone, which is said on reading.
            yield path, True
            continue
        hidden = entry.name.startswith(".")
        if hidden or path.suffix.lower() in SUFFIXES:
            yield path, False
        if not hidden:
            yield from _walk(root, path, above)


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError as error:
        # A link to itself is one to nowhere.
        if error.errno == errno.ELOOP:
            return False
        raise


def _split_pattern(pattern):
    parts = PurePosixPath(str(pattern).replace(os.sep, "/")).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError(
            f"pattern must be within the folder, such as '**/*.png'; got {pattern!r}."
        )
    return parts


def _matches(parts, pattern):
    if not pattern:
        return not parts
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(parts)
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts)))
    return (
        bool(parts)
        and fnmatchcase(parts[0], pattern[0])
        and _matches(parts[1:], pattern[1:])
    )


def _read_suffixes(suffixes):
    if suffixes is None:
        return None
    if isinstance(suffixes, str):
        suffixes = SUFFIXES if suffixes == "auto" else [suffixes]
    return {"." + suffix.lower().lstrip(".") for suffix in suffixes}


def _split_at(inside, root):
    """Place of the folder of a split in a path; -1 if it is the root, or None."""
    folders = inside.parts[:-1]
    for place in range(len(folders) - 1, -1, -1):
        if folders[place].lower() in _SPLITS:
            return place
    return -1 if root.name.lower() in _SPLITS else None


def _kind(inside, root):
    split = _split_at(inside, root)
    return "/".join(inside.parts[0 if split is None else split + 1 : -1])


def _read_groups(groups, paths):
    if groups is None:
        return None
    if callable(groups):
        return np.array([groups(path) for path in paths])
    found, without = [], []
    for path in paths:
        match = re.search(groups, path.name)
        if match is None:
            without.append(repr(str(path)))
        else:
            found.append("/".join(part or "" for part in match.groups() or [match[0]]))
    if without:
        raise ValueError(
            f"groups={groups!r} is found in the names of {len(found)} files and not in "
            f"that of {first_few(without)}."
        )
    return np.array(found)


def _find_masks(masks, inside, root):
    """Paths of masks, None for images without, as an array of objects."""
    if masks is None:
        return None
    found = np.full(len(inside), None, dtype=object)
    if callable(masks):
        for i, path in enumerate(inside):
            mask = masks(root / path)
            found[i] = None if mask is None else Path(os.path.abspath(mask))
        return found
    listed, unused = {}, []
    for i, path in enumerate(inside):
        place = _split_at(path, root)
        if place is None:
            continue
        # What lies beside the folder of the split.
        folders = path.parts[:-1]
        above = root.parent if place < 0 else root.joinpath(*folders[:place])
        folder = above.joinpath(masks, *folders[place + 1 :])
        if folder not in listed:
            listed[folder] = {}
            if folder.is_dir():
                listed[folder] = _by_stem(folder)
                # Of all images there, as the pattern may leave some out.
                images = _by_stem((root / path).parent)
                ours = {stem + end for stem in images for end in _MASK_ENDS}
                for stem in listed[folder].keys() - ours:
                    unused += listed[folder][stem]
        of_this = [
            mask
            for end in _MASK_ENDS
            for mask in listed[folder].get(path.stem + end, ())
        ]
        if len(of_this) > 1:
            names = first_few([repr(str(mask)) for mask in of_this])
            raise ValueError(f"{str(root / path)!r} has more than one mask: {names}.")
        if of_this:
            found[i] = of_this[0]
    if unused:
        # An image whose mask has another name would pass for one without.
        warnings.warn(
            f"{len(unused)} masks belong to no image: "
            f"{first_few(sorted(repr(str(path)) for path in unused))}. A mask has the "
            "name of its image, or that with _mask or _gt behind it.",
            stacklevel=3,
        )
    return found


def _by_stem(folder):
    """Image files of a folder by their names without ending."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            files.setdefault(path.stem, []).append(path)
    return files
