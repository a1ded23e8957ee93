"""From one image file, or one picture of Pillow, to an array; Pillow is known here."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

# 8192 x 8192. Below what Pillow warns of.
MAX_PIXELS = 2**26

# What is asked of Pillow, and the endings that such files have. Not all it can read:
# some of its formats start other programs, and most have hardly a user who would notice
# a fault.
FORMATS = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "JPEG2000": (".jp2", ".j2k"),
    "PNG": (".png",),
    "PPM": (".pgm", ".pnm", ".ppm", ".pbm", ".pfm"),
    "TGA": (".tga",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES = tuple(sorted(suffix for group in FORMATS.values() for suffix in group))

_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
# Formats of 16 bits that Pillow hands over as integers of 32.
_WIDE_GREY = ("PNG", "PPM")


def is_picture(value: Any) -> bool:
    """Tell whether something is an image of Pillow, without importing that."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def read_file(path: Path, max_pixels: int) -> NDArray[Any]:
    """Read an image file.

    Parameters
    ----------
    path : Path
    max_pixels : int
        More than these are refused before they are decoded.

    Returns
    -------
    ndarray of shape (channels, height, width)

    Raises
    ------
    OSError
        If the operating system does not hand out the file.
    ValueError
        If it holds no image that can be taken, with its name and what was found.
    """
    with _opened(path, max_pixels) as image:
        return from_picture(image, repr(str(path)), max_pixels)


def channels_in_file(path: Path, max_pixels: int) -> int:
    """How many channels a file will have, from its header."""
    with _opened(path, max_pixels) as image:
        return channels_of(image)


def format_of_file(path: Path, max_pixels: int) -> str | None:
    """Which format a file has, whatever its name says."""
    with _opened(path, max_pixels) as image:
        return image.format


def channels_of(image: Image.Image) -> int:
    """How many channels a picture will have."""
    return 1 if image.mode in _GREY_MODES or image.mode.startswith("I;") else 3


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open a file, and say in one way whatever goes wrong with it."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            'Image files are read by Pillow: pip install "skganomaly[images]".'
        ) from error
    name = repr(str(path))
    # A pipe would be waited for.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{name} is a folder or a device, not an image file.")
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if not size:
            raise ValueError(f"{name} is empty: it has zero bytes.")
        try:
            with _no_warnings, Image.open(stream, formats=list(FORMATS)) as image:
                yield image
        except _Refused as error:
            raise ValueError(str(error)) from None
        except Image.DecompressionBombError as error:
            found = re.search(r"\d+(?= pixels)", str(error))
            claim = f"claims {int(found[0]):,} pixels" if found else "is too large"
            raise ValueError(
                f"{name} {claim}, and at most {max_pixels:,} (max_pixels) are decoded. "
                "Cut it into smaller images. (Pillow has a limit of its own, twice "
                f"PIL.Image.MAX_IMAGE_PIXELS: {error})"
            ) from error
        except UnidentifiedImageError as error:
            start = _first_bytes(path)
            raise ValueError(
                f"{name} ({size:,} bytes, beginning with {start!r}) is no image that "
                "can be read, or its header is damaged. Formats are "
                f"{', '.join(FORMATS)}."
            ) from error
        except Exception as error:  # A stranger's file can be wrong in any way.
            if isinstance(error, OSError) and error.errno:
                raise OSError(error.errno, error.strerror, str(path)) from error
            # A few wrong bytes can ask for any amount of memory, and give no message.
            words = str(error) or type(error).__name__
            raise ValueError(
                f"{name} ({size:,} bytes) is truncated or damaged: {words}. Copy or "
                "write it again, or leave it out."
            ) from error


class _Refused(Exception):
    """What we say of an image, and not Pillow."""


class _Silence:
    """Nothing of what Pillow warns of is heard; what matters of it is an error here.

    The filters of warnings are the process's. Each thread that put back what it found
    could put back another's silence, for good: so only the last one does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._before.__exit__(None, None, None)


_no_warnings = _Silence()


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(8)


def picture_to_array(image: Image.Image, name: str, max_pixels: int) -> NDArray[Any]:
    """Pixels of a picture that a user has opened, which is left open and unchanged.

    Parameters
    ----------
    image : PIL.Image.Image
    name : str
        What errors call it.
    max_pixels : int

    Returns
    -------
    ndarray of shape (channels, height, width)
    """
    try:
        with _no_warnings:
            return from_picture(image, name, max_pixels)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # It may only be decoded now.
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(f"{name} cannot be decoded: {error!r}.") from error


def from_picture(image: Image.Image, name: str, max_pixels: int) -> NDArray[Any]:
    """Pixels of a picture of Pillow; raises what Pillow raises, and `_Refused`."""
    width, height = image.size
    if width * height > max_pixels:
        raise _Refused(
            f"{name} has {height:,} x {width:,} pixels, and at most {max_pixels:,} "
            "(max_pixels) are decoded. Raise max_pixels if you trust the file, or cut "
            "it into smaller images."
        )
    # A telephone's: the others are a preview, or what another lens saw.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise _Refused(
            f"{name} ({image.format}) holds {frames} frames or pages, and one image is "
            "expected. Save each as a file of its own, or pass image.copy() of one."
        )
    _refuse_deep_colour(image, name)
    image.load()
    # Which Pillow has done for TIFF by now, in older versions without deleting the tag.
    turn = 1 if image.format == "TIFF" else _orientation(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = _without_alpha(image, name)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _GREY_MODES and not image.mode.startswith("I;"):
        image = image if image.mode == "RGB" else image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode == "I" and image.format in _WIDE_GREY:
        pixels = pixels.astype(np.uint16)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return _turned(pixels, turn)


def _refuse_deep_colour(image: Image.Image, name: str) -> None:
    """Refuse colours of 16 bits, of which Pillow keeps 8 without a word."""
    tiles = getattr(image, "tile", None) or []
    modes = [str(tile[3] if len(tile) > 3 else "") for tile in tiles]
    if image.mode.startswith(("RGB", "LA")) and any(";16" in mode for mode in modes):
        raise _Refused(
            f"{name} has colours or alpha of 16 bits a channel, of which Pillow keeps "
            "8. Read it with another package, such as imageio or tifffile, and pass "
            "the array; or save it with 8 bits, or as 16-bit grey, which is kept."
        )


def _without_alpha(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        # One grey value is called transparent, and is a value all the same.
        return image
    whole = image.convert("RGBA")
    alpha = np.asarray(whole.getchannel("A"))
    n_clear = int(np.count_nonzero(alpha < 255))
    if n_clear:
        raise _Refused(
            f"{name} has {n_clear:,} transparent pixels of {alpha.size:,}, and what is "
            "behind them is not known. Save it without alpha, on a background of your "
            "choice (Image.alpha_composite). Only alpha that is opaque everywhere is "
            "left out."
        )
    return whole.convert("L" if channels_of(image) == 1 else "RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Broken EXIF says nothing, as it does to viewers.
        return 1


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an image as EXIF says that it is to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(1, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return pixels
