"""One image of an array: where its channels are, and what its values may be."""

import numpy as np

# An axis of no more entries may be one of channels.
_FEW = 4
# ITU-R BT.601, as in Pillow.
_LUMA = np.array([0.299, 0.587, 0.114])
_AS_THEY_ARE = (np.uint8, np.uint16, np.float32)


def layout_of_all(shape, channels):
    """Which axis of the images of an array of this shape has their channels."""
    shape = tuple(shape)
    if len(shape) == 2:
        raise ValueError(
            f"An array of shape {shape} is no array of images. If it is one grey "
            "image, pass image[None]; if its rows are flat images, "
            "rows.reshape(len(rows), height, width)."
        )
    if len(shape) > 4:
        raise ValueError(
            "Images have up to 4 axes, (n, channels, height, width); got shape "
            f"{shape}."
        )
    if len(shape) == 3 and channels in ("first", "last"):
        raise ValueError(
            f'An array of shape {shape} with channels="{channels}" is a single image: '
            'pass image[None]. If it holds grey images, channels="none" says so.'
        )
    if len(shape) == 3 and channels == "auto" and _looks_like_pixels(shape[1:]):
        raise ValueError(
            f"An array of shape {shape} looks like a single image with its channels "
            f"last: pass image[None]. If it holds {shape[0]} images of {shape[1]} x "
            f'{shape[2]} pixels, channels="none" says so.'
        )
    return layout_of(shape[1:], channels, f"An array of shape {shape}")


def _looks_like_pixels(shape):
    return shape[1] <= _FEW < shape[0]


def layout_of(shape, channels, name):
    """Where an image of this shape has its channels: "first", "last" or "none"."""
    shape = tuple(shape)
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{upper(name)} has shape {shape}. An image is (height, width), "
            "(channels, height, width) or (height, width, channels)."
        )
    if len(shape) == 2:
        if channels == "auto" and _looks_like_pixels(shape):
            raise ValueError(
                f"{upper(name)} has shape {shape}, which looks like a row of pixels "
                "of one image: pass [image]. If it is an image of that size, "
                'channels="none" says so.'
            )
        return "none"
    if channels == "none":
        raise ValueError(
            f"{upper(name)} has three axes for an image, {shape}, which with "
            'channels="none" has two. Say channels="first" or "last".'
        )
    if channels != "auto":
        return channels
    first, last = shape[0] <= _FEW, shape[2] <= _FEW
    if first == last:
        raise ValueError(
            f"{upper(name)} has three axes for an image, {shape}, and "
            f"{'two' if first else 'none'} of the ends may be its channels (up to "
            f'{_FEW}). Say channels="first" or channels="last".'
        )
    return "first" if first else "last"


def upper(name):
    """Begin a sentence with what an image is called."""
    return name[0].upper() + name[1:]


def channels_first(image, layout):
    """An image as (channels, height, width)."""
    if image.ndim == 2:
        return image[None]
    return image.transpose(2, 0, 1) if layout == "last" else image


def to_array(item, name):
    """Whatever an array-like image is as an array; nothing else passes for one."""
    if isinstance(item, np.ma.MaskedArray):
        item = without_mask(item, name)
    if isinstance(item, np.ndarray):
        return item
    if not hasattr(item, "__array__") and not hasattr(item, "__array_interface__"):
        hint = ""
        if isinstance(item, tuple):
            hint = " If it is a pair of image and label, pass the images alone."
        elif isinstance(item, list):
            hint = " Make it an array with numpy.asarray."
        raise TypeError(
            f"{upper(name)} is a {type(item).__name__}, and should be an array, a "
            f"picture of Pillow or a path.{hint}"
        )
    try:
        return np.asarray(item)
    except Exception as error:  # Other packages' arrays may be anywhere.
        raise ValueError(f"{upper(name)} cannot be made an array: {error}") from error


def without_mask(array, name):
    """Refuse masked values, whose mask would be lost."""
    n_masked = int(np.ma.count_masked(array))
    if n_masked:
        raise ValueError(
            f"{upper(name)} is a masked array, and {n_masked} of its values are "
            "masked. Fill them, as with image.filled(value)."
        )
    return np.ma.getdata(array)


def checked(image, name):
    """A new array of one of our dtypes, with finite values."""
    if not image.size:
        raise ValueError(f"{upper(name)} has no pixels: its shape is {image.shape}.")
    if image.dtype.kind not in "buif":
        raise ValueError(
            f"{upper(name)} has dtype {image.dtype}; the values of an image are real "
            "numbers."
        )
    if image.dtype == bool:
        return np.where(image, np.uint8(255), np.uint8(0))
    native = image.dtype.newbyteorder("=")
    with np.errstate(all="ignore"):
        dtype = native if native in _AS_THEY_ARE else np.float32
        taken = np.array(image, dtype=dtype, order="C")
    if taken.dtype.kind == "f" and not (finite := np.isfinite(taken)).all():
        nans = int(np.isnan(taken).sum())
        beyond = taken.size - int(finite.sum()) - nans
        raise ValueError(
            f"{upper(name)} has {nans} missing (NaN) and {beyond} infinite values (or "
            f"beyond float32) of {taken.size}. Fill them, or leave the image out."
        )
    return taken


def recolored(image, color, name):
    """An image with the channels that were asked for."""
    n_channels = len(image)
    if color == "keep" or n_channels == (1 if color == "grey" else 3):
        return image
    if n_channels not in (1, 3):
        raise ValueError(
            f'{upper(name)} has {n_channels} channels, and color="{color}" is for '
            "images of 1 or 3."
        )
    if color == "rgb":
        return np.repeat(image, 3, axis=0)
    grey = np.tensordot(_LUMA, image, axes=1)[None]
    return (np.rint(grey) if image.dtype.kind == "u" else grey).astype(image.dtype)
