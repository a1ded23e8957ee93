"""Images of any source as a sequence that is read one at a time."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from sklearn.utils import check_scalar

from .._validation import first_few
from ._arrays import (
    channels_first,
    checked,
    layout_of,
    layout_of_all,
    recolored,
    to_array,
    upper,
    without_mask,
)
from ._pixels import (
    MAX_PIXELS,
    channels_in_file,
    channels_of,
    is_picture,
    picture_to_array,
    read_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    Channels: TypeAlias = Literal["auto", "first", "last", "none"]
    Color: TypeAlias = Literal["keep", "grey", "rgb"]

_CHANNELS = ("auto", "first", "last", "none")
_COLORS = ("keep", "grey", "rgb")


class ImageSequence:
    """Images that are read when they are asked for, one at a time.

    ``len(images)`` is their number and ``images[i]`` one of them, an array of shape
    (channels, height, width). A slice, an array of positions or one of bools gives
    another sequence and reads nothing. No image is kept. :func:`as_images` makes one of
    arrays, of pictures or of file names, :class:`ImageFolder` one of a folder.

    Attributes
    ----------
    shape : tuple of int
        (number of images,): so scikit-learn's splitters cut it without reading it.
    n_channels : int
        Channels of the first image, which all others must have.
    skipped : tuple of (str, str)
        Name and fault of each image that :meth:`check` has left out.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.images import as_images
    >>> images = as_images([np.zeros((20, 30)), np.zeros((16, 16))])
    >>> len(images), images[0].shape, images[1:]
    (2, (1, 20, 30), ImageSequence(1 image))
    """

    skipped: tuple[tuple[str, str], ...] = ()
    # What the first image has, once somebody asked; 0 if it cannot be read.
    _first_channels: int | None = None
    _color: Color = "keep"

    def _size(self) -> int:
        raise NotImplementedError

    def _raw(self, i: int) -> NDArray[Any]:
        """Image i with the channels that it has."""
        raise NotImplementedError

    def _raw_channels(self, i: int) -> int:
        """How many channels image i has; cheaper than reading it, where possible."""
        raise NotImplementedError

    def _part(self, places: NDArray[np.intp]) -> Self:
        """Images at these positions."""
        raise NotImplementedError

    def name(self, i: int) -> str:
        """What errors call an image.

        Parameters
        ----------
        i : int
            Its position.

        Returns
        -------
        str
            With its position in what it came from, or its path.
        """
        return f"image {i}"

    def __len__(self) -> int:
        return self._size()

    @property
    def shape(self) -> tuple[int]:
        """(Number of images,)."""
        return (len(self),)

    @property
    def n_channels(self) -> int:
        """Channels of the first image, which all others must have.

        Of a file, the header is read.
        """
        return self._channels_after(0)

    def _channels_after(self, i: int) -> int:
        if self._color != "keep":
            return 1 if self._color == "grey" else 3
        return self._raw_channels(i)

    def __repr__(self) -> str:
        return f"ImageSequence({len(self)} image{'s' * (len(self) != 1)})"

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        raise TypeError(
            f"{self!r} is read image by image and never stacked. If all images are of "
            "one size and fit into memory, numpy.stack(list(images)) does it."
        )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Self: ...
    def __getitem__(self, index: Any) -> NDArray[Any] | Self:
        # Scikit-learn takes rows of what has a shape by [rows, ...].
        if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis:
            index = index[0]
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f"There is no image {index} of {len(self)}.")
            return self._read(int(index) % len(self))
        return self._taken(self._places(index))

    def _places(self, index: Any) -> NDArray[np.intp]:
        n = len(self)
        if isinstance(index, slice):
            return np.arange(n)[index]
        wanted = np.asarray(index)
        if wanted.dtype == bool and wanted.shape != (n,):
            raise IndexError(
                f"One bool for each of {n} images is needed; got shape {wanted.shape}."
            )
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iub" and wanted.size):
            raise IndexError(
                "Images are chosen by a position, a slice, or a one-dimensional array "
                f"of positions or of bools; got {index!r}."
            )
        return np.arange(n)[wanted if wanted.size else wanted.astype(np.intp)]

    def _taken(self, places: NDArray[np.intp]) -> Self:
        part = self._part(places)
        part.skipped, part._color = self.skipped, self._color
        return part

    def _recolored(self, color: Color) -> Self:
        part = self._taken(np.arange(len(self)))
        part._color = color
        return part

    def _read(self, i: int) -> NDArray[Any]:
        image = self._converted(i)
        expected = self._expected_channels()
        if expected and len(image) != expected:
            raise ValueError(
                _mixed({expected: [self.name(0)], len(image): [self.name(i)]})
            )
        return image

    def _converted(self, i: int) -> NDArray[Any]:
        name = self.name(i)
        return recolored(checked(self._raw(i), name), self._color, name)

    def _expected_channels(self) -> int:
        if self._first_channels is None:
            try:
                self._first_channels = self.n_channels
            except (OSError, ValueError):
                # Which is said when that image itself is read.
                self._first_channels = 0
        return self._first_channels

    def check(self, *, on_bad: Literal["raise", "skip"] = "raise") -> Self:
        """Read each image once, and find all that cannot be used.

        A single bad file among thousands otherwise ends a fit when it is met.

        Parameters
        ----------
        on_bad : {"raise", "skip"}, default="raise"
            "raise" is an error that names the first five and gives the number of all.
            "skip" returns a sequence without them, with a warning; its attribute
            ``skipped`` lists all of them.

        Returns
        -------
        images : ImageSequence
            Itself, if there is nothing to leave out.

        Raises
        ------
        ValueError
            If images are bad, or if the good ones differ in their number of channels,
            which no image is to blame for and so is never skipped.
        OSError
            If all that is bad is that files are gone or cannot be opened.

        Warns
        -----
        UserWarning
            Where images are skipped.
        """
        if on_bad not in ("raise", "skip"):
            raise ValueError(f'on_bad must be "raise" or "skip", got {on_bad!r}.')
        faults: dict[int, OSError | ValueError] = {}
        found: dict[int, list[str]] = {}
        for i in range(len(self)):
            try:
                n_channels = len(self._converted(i))
            except (OSError, ValueError) as error:
                faults[i] = error
            else:
                found.setdefault(n_channels, []).append(self.name(i))
        words = f"{len(faults):,} of {len(self):,} images cannot be used:"
        words = "\n- ".join([words, *map(str, list(faults.values())[:5])])
        if len(faults) > 5:
            words += f"\n- and {len(faults) - 5:,} more"
        if faults and (on_bad == "raise" or not found):
            gone = all(isinstance(error, OSError) for error in faults.values())
            advice = '\ncheck(on_bad="skip") returns the images without them.'
            raise (OSError if gone else ValueError)(words + advice * bool(found))
        if len(found) > 1:
            raise ValueError(_mixed(found))
        if not faults:
            return self
        kept = self._taken(np.setdiff1d(np.arange(len(self)), list(faults)))
        kept.skipped += tuple((self.name(i), str(error)) for i, error in faults.items())
        warnings.warn(f"Left out (.skipped lists all): {words}", stacklevel=2)
        return kept


class _ArrayImages(ImageSequence):
    """Images of one array, or of what is indexed like one."""

    def __init__(self, array, channels, places=None):
        self._array, self._layout = array, channels
        self._chosen = np.arange(array.shape[0]) if places is None else places

    def _size(self):
        return len(self._chosen)

    def name(self, i):
        return f"image {self._chosen[i]}"

    def _raw(self, i):
        image = to_array(self._array[int(self._chosen[i])], self.name(i))
        return channels_first(image, self._layout)

    def _raw_channels(self, i):
        shape = self._array.shape[1:]
        return 1 if len(shape) == 2 else shape[0 if self._layout == "first" else 2]

    def _part(self, places):
        return _ArrayImages(self._array, self._layout, self._chosen[places])


class _ListImages(ImageSequence):
    """Images of a sequence of arrays, pictures of Pillow and paths."""

    def __init__(self, items, channels, max_pixels, places=None):
        self._items, self._layout, self._max_pixels = items, channels, max_pixels
        self._chosen = np.arange(len(items)) if places is None else places

    def _size(self):
        return len(self._chosen)

    def name(self, i):
        place = int(self._chosen[i])
        item = self._items[place] if isinstance(self._items, list) else None
        is_path = isinstance(item, str | os.PathLike)
        return f"image {place} ({str(item)!r})" if is_path else f"image {place}"

    def _raw(self, i):
        item = self._items[int(self._chosen[i])]
        if isinstance(item, str | os.PathLike):
            return read_file(Path(item), self._max_pixels)
        if is_picture(item):
            return picture_to_array(item, self.name(i), self._max_pixels)
        array = to_array(item, self.name(i))
        return channels_first(array, layout_of(array.shape, self._layout, self.name(i)))

    def _raw_channels(self, i):
        item = self._items[int(self._chosen[i])]
        if isinstance(item, str | os.PathLike):
            return channels_in_file(Path(item), self._max_pixels)
        if is_picture(item):
            return channels_of(item)
        shape = tuple(getattr(item, "shape", ()) or to_array(item, self.name(i)).shape)
        layout = layout_of(shape, self._layout, self.name(i))
        return 1 if layout == "none" else shape[0 if layout == "first" else 2]

    def _part(self, places):
        return _ListImages(
            self._items, self._layout, self._max_pixels, self._chosen[places]
        )


def as_images(
    images: ArrayLike | Sequence[Any] | ImageSequence,
    *,
    channels: Channels = "auto",
    color: Color = "keep",
    max_pixels: int = MAX_PIXELS,
) -> ImageSequence:
    """Images of any source, to be read one at a time.

    Parameters
    ----------
    images : array, sequence of arrays, pictures of Pillow or paths, or ImageSequence
        An array has shape (n, height, width), (n, channels, height, width) or
        (n, height, width, channels), and may be one that lies in a file, such as a
        memory map. In a sequence, each image has a size, a dtype and a kind of its own.
        A sequence is whatever has a length and is indexed by position, such as a data
        set of your own.
    channels : {"auto", "first", "last", "none"}, default="auto"
        Which axis of an image in an array has its channels. "auto" finds out: an image
        of two axes has none, and of three axes the first or last is taken if it alone
        has no more than 4 entries. Otherwise it has to be said. Files and pictures of
        Pillow say themselves.
    color : {"keep", "grey", "rgb"}, default="keep"
        "grey" makes one channel of three by the usual weights (.299, .587, .114), and
        "rgb" three equal ones of one, for sources that have both.
    max_pixels : int, default=67108864
        Files whose header claims more pixels are refused before they are decoded.

    Returns
    -------
    images : ImageSequence
        Nothing has been read from files. Each ``images[i]`` is a new array of shape
        (channels, height, width), of dtype uint8, uint16 or float32.

    Raises
    ------
    TypeError
        If that is no sequence of images, or an image is none of the kinds above.
    ValueError
        If the channels cannot be found, arrays differ in their number, or it is a
        single image. When an image is read: if it holds NaN or infinite values, has no
        pixels or another number of channels than the first, or if its file is bad.
    OSError
        When an image is read whose file is gone or cannot be opened.

    See Also
    --------
    ImageFolder : The image files of a folder, with labels and masks.
    ImageSequence.check : Finds all bad images at once.

    Notes
    -----
    *Arrays* keep their values. The dtypes uint8, uint16 and float32 stay. Bool becomes
    uint8, with 0 and 255, as a file of one bit does. All others become float32, which
    keeps seven digits: take a large common offset from such values before. An array
    of four channels is taken as it is.

    *Files* are read by Pillow (the extra "images") in the formats BMP, GIF, JPEG,
    JPEG 2000, PNG, PPM, TGA, TIFF and WebP. Their content decides and not their name.

    - Grey of 16 bits stays (uint16), and so do TIFF files of float32.
    - Palettes, CMYK and other colours become RGB, without colour profiles.
    - The rotation in EXIF is applied; one that cannot be read counts as none.
    - An alpha channel that is opaque is left out; one that is not is an error.
    - Several frames or pages are an error, and so are 16 bits a channel in colour, of
      which Pillow would keep 8. Of the pictures that a telephone puts into one JPEG
      (MPO), the first is taken.
    - Files that are truncated, damaged, empty or no images are an error with their
      name. No setting of Pillow's is changed; if you have set
      ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``, it reads what there is and leaves the
      rest blank.

    Pictures of Pillow are treated like files. One that was opened and not yet read will
    keep its pixels from then on; pass paths if they are many.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.images import as_images
    >>> images = as_images(np.zeros((5, 32, 48, 3), dtype=np.uint8))
    >>> len(images), images[0].shape, images[0].dtype
    (5, (3, 32, 48), dtype('uint8'))
    """
    _one_of("channels", channels, _CHANNELS)
    _one_of("color", color, _COLORS)
    check_scalar(max_pixels, "max_pixels", Integral, min_val=1)
    found = _sequence_of(images, channels, max_pixels)
    if not len(found):
        raise ValueError(f"There are no images in this {type(images).__name__}.")
    if color != "keep":
        return found._recolored(color)
    if isinstance(found, _ListImages):
        _compare_channels(found)
    return found


def _sequence_of(images: Any, channels: Channels, max_pixels: int) -> ImageSequence:
    if isinstance(images, ImageSequence):
        return images
    if isinstance(images, str | bytes | os.PathLike) or is_picture(images):
        raise _single(images)
    n_axes = len(getattr(images, "shape", ()))
    if n_axes > 1:
        if isinstance(images, np.ma.MaskedArray):
            images = without_mask(images, "The array of images")
        if hasattr(images, "iloc"):
            raise TypeError(f"A {type(images).__name__} is no array of images.")
        return _ArrayImages(images, layout_of_all(images.shape, channels))
    if n_axes or isinstance(images, list | tuple):
        # Of arrays of objects and columns of a table as well; and a copy of a list, as
        # what is looked up later must still be there.
        images = list(images)
    can_be_read = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    if not can_be_read or hasattr(images, "keys"):
        raise TypeError(
            f"A {type(images).__name__} is no sequence of images: pass an array, or a "
            "list of arrays, of pictures of Pillow or of paths."
        )
    return _ListImages(images, channels, max_pixels)


@contextmanager
def naming(images: Any, i: int) -> Iterator[None]:
    """Begin what a block says of a bad value with the name of the image."""
    try:
        yield
    except ValueError as error:
        name = images.name(i) if hasattr(images, "name") else f"image {i}"
        raise ValueError(f"{upper(name)}: {error}") from error


def _one_of(name, value, options):
    if value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}."
        )


def _single(images):
    if is_picture(images):
        return TypeError("This is a single picture of Pillow: pass [picture].")
    path = str(images)
    if os.path.isdir(images):
        return TypeError(f"{path!r} is a folder: pass ImageFolder({path!r}).")
    return TypeError(f"{path!r} is a single path: pass [{path!r}].")


def _compare_channels(images):
    """Refuse arrays and pictures that differ, before anything long has begun."""
    if not isinstance(images._items, list):
        return
    found = {}
    for i, place in enumerate(images._chosen):
        if not isinstance(images._items[int(place)], str | os.PathLike):
            found.setdefault(images._raw_channels(i), []).append(images.name(i))
    if len(found) > 1:
        raise ValueError(_mixed(found))


def _mixed(found):
    described = [
        f"{n_channels} in {first_few(names)}" for n_channels, names in found.items()
    ]
    return (
        f"Images differ in their number of channels: {'; '.join(described)}. Pass "
        'color="grey" or color="rgb" to bring 1 and 3 together, or leave some out.'
    )
