"""Images of any source become the same arrays, one at a time; the rest is refused."""

import pickle
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold

from skganomaly.images import as_images

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
ImageFile = pytest.importorskip("PIL.ImageFile")


@pytest.fixture(autouse=True)
def pillow_untouched():
    """Fail any test in which Pillow's own settings change."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    yield
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.fixture
def pixels():
    """20 x 31 pixels of three colours, channels last."""
    return np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)


def _first(array):
    return array.transpose(2, 0, 1)


def _png(width, height, depth=8, color=0, body=b""):
    """A PNG file as bytes, whether its parts agree or not."""

    def chunk(kind, data):
        ends = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return ends[0] + kind + data + ends[1]

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def test_all_sources_give_the_same(pixels, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    np.save(tmp_path / "a.npy", pixels[None])
    sources = [
        pixels[None],
        _first(pixels)[None],
        [pixels],
        (_first(pixels),),
        [Image.fromarray(pixels)],
        [path],
        [str(path)],
        np.array([str(path)]),
        np.array([path], dtype=object),
        np.load(tmp_path / "a.npy", mmap_mode="r"),
        torch.from_numpy(pixels)[None],
        [torch.from_numpy(pixels)],
        as_images([path]),
    ]
    for source in sources:
        images = as_images(source)
        assert len(images) == 1 and images.shape == (1,) and images.n_channels == 3
        assert type(images[0]) is np.ndarray and images[0].dtype == np.uint8
        np.testing.assert_array_equal(images[0], _first(pixels))
        np.testing.assert_array_equal(next(iter(images)), images[-1])


def test_columns_of_tables_hold_paths(pixels, tmp_path):
    pd = pytest.importorskip("pandas")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    column = pd.Series([tmp_path / "a.png"], index=[7])
    np.testing.assert_array_equal(as_images(column)[0], _first(pixels))


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((5, 20, 30), "auto", (1, 20, 30)),
        ((5, 20, 30), "none", (1, 20, 30)),
        ((3, 20, 30), "auto", (1, 20, 30)),
        ((5, 20, 3), "none", (1, 20, 3)),
        ((5, 3, 20, 30), "auto", (3, 20, 30)),
        ((5, 20, 30, 4), "auto", (4, 20, 30)),
        ((5, 3, 4, 2), "first", (3, 4, 2)),
        ((5, 3, 4, 2), "last", (2, 3, 4)),
        ((5, 8, 20, 30), "first", (8, 20, 30)),
        ((5, 20, 30, 8), "last", (8, 20, 30)),
    ],
)
def test_axes_of_arrays(shape, channels, expected):
    array = np.arange(np.prod(shape)).reshape(shape)
    whole = as_images(array, channels=channels)
    for images in (whole, as_images(list(array), channels=channels)):
        assert len(images) == 5 or shape[0] == 3
        assert images[1].shape == expected
        assert images.n_channels == expected[0]
        np.testing.assert_array_equal(whole[1], images[1])
    # What an array means does not depend on how many images it has.
    assert as_images(array[:1], channels=channels)[0].shape == expected


@pytest.mark.parametrize(
    ("images", "channels", "words"),
    [
        (np.zeros((20, 30)), "auto", r"one grey image, pass image\[None\].*reshape"),
        (np.zeros((20, 30, 3)), "auto", r"single image.*image\[None\]"),
        (np.zeros((20, 30, 3)), "last", r"single image.*image\[None\]"),
        (np.zeros((3, 20, 30)), "first", r"single image.*image\[None\]"),
        (list(np.zeros((20, 30, 3))), "auto", r"one image: pass \[image\]"),
        (list(np.zeros((20, 30))), "auto", r"Image 0 has shape \(30,\)"),
        (np.zeros((5, 8, 20, 30)), "auto", 'none of the ends.*channels="first"'),
        (np.zeros((5, 3, 4, 2)), "auto", 'two of the ends.*channels="last"'),
        (np.zeros((5, 3, 20, 30)), "none", 'channels="none" has two'),
        ([np.zeros((1, 3, 20, 30))], "auto", r"Image 0 has shape \(1, 3, 20, 30\)"),
        (np.zeros((1, 1, 3, 20, 30)), "auto", "up to 4 axes"),
        (np.zeros(5), "auto", r"Image 0 has shape \(\)"),
        ([], "auto", "no images in this list"),
        (np.zeros((0, 20, 30)), "auto", "no images"),
        (np.zeros((5, 20, 30)), "begin", "channels must be one of 'auto'"),
    ],
)
def test_what_is_no_list_of_images_is_refused(images, channels, words):
    with pytest.raises(ValueError, match=words):
        as_images(images, channels=channels)


def test_kinds_of_sources_that_are_refused(pixels, tmp_path):
    picture = Image.fromarray(pixels)
    for images, words in [
        (picture, r"\[picture\]"),
        (str(tmp_path), "ImageFolder"),
        (tmp_path / "a.png", r"single path: pass \['.*a.png'\]"),
        ((image for image in pixels), "generator is no sequence"),
        ({"a": pixels}, "dict is no sequence"),
        ({"a.png"}, "set is no sequence"),
        (None, "NoneType is no sequence"),
        ([(pixels, 1)], "Image 0 is a tuple.*pass the images alone"),
        ([pixels.tolist()], "Image 0 is a list.*numpy.asarray"),
        ([pixels, None], "Image 1 is a NoneType"),
    ]:
        with pytest.raises(TypeError, match=words):
            as_images(images)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        (">u2", "uint16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float16", "float32"),
        ("float64", "float32"),
        ("int8", "float32"),
        ("int64", "float32"),
        ("uint32", "float32"),
    ],
)
def test_dtypes_keep_their_values(dtype, expected):
    array = np.arange(6).reshape(1, 2, 3).astype(dtype)
    image = as_images(array)[0]
    assert image.dtype == np.dtype(expected) and image.dtype.isnative
    np.testing.assert_array_equal(image, array)


def test_bool_is_black_and_white(tmp_path):
    array = np.random.default_rng(0).random((9, 12)) > 0.5
    Image.fromarray(array).save(tmp_path / "bit.png")
    from_array, from_file = as_images([array, tmp_path / "bit.png"])
    np.testing.assert_array_equal(from_array[0], np.where(array, 255, 0))
    np.testing.assert_array_equal(from_array, from_file)
    assert from_array.dtype == from_file.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[0, np.nan, np.inf]], r"Image 1 has 1 missing \(NaN\) and 1 infinite"),
        ([[0, 1e39, 0]], "and 1 infinite"),
        ([[0j, 0, 0]], "Image 1 has dtype complex128"),
        (np.array([["a", "b", "c"]]), "Image 1 has dtype <U1"),
        (np.array([[None, 1, 2]]), "Image 1 has dtype object"),
        (np.zeros((0, 3)), r"Image 1 has no pixels: its shape is \(1, 0, 3\)"),
        (np.ma.array([[1, 2, 3]], mask=[[0, 1, 0]]), "Image 1 is a masked array"),
        (torch.zeros(1, 3, requires_grad=True), "Image 1 cannot be made an array"),
    ],
)
def test_values_that_are_refused_by_name(image, words):
    image = image if hasattr(image, "shape") else np.array(image)
    images = as_images([np.zeros((4, 5)), image], channels="none")
    assert images[0].shape == (1, 4, 5)
    # Whatever a user has told NumPy.
    with np.errstate(all="raise"), pytest.raises(ValueError, match=words):
        images[1]


def test_arrays_are_new_and_the_source_is_left_alone(pixels):
    for source in (pixels[None], [pixels], [Image.fromarray(pixels)]):
        images = as_images(source)
        image = images[0]
        assert image.flags.c_contiguous and image.flags.writeable
        image[:] = 0
        np.testing.assert_array_equal(images[0], _first(pixels))


def test_nothing_is_kept(tmp_path):
    for i in range(8):
        Image.new("RGB", (400, 300), i).save(tmp_path / f"{i}.png")
    np.save(tmp_path / "all.npy", np.zeros((40, 3, 300, 400), dtype=np.uint8))
    for source in (
        sorted(tmp_path.glob("*.png")),
        np.load(tmp_path / "all.npy", mmap_mode="r"),
    ):
        images = as_images(source)
        images[0]
        tracemalloc.start()
        for _ in images:
            pass
        images.check()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # The one before, the one that Pillow has, and the one to come.
        assert peak < 4 * 3 * 300 * 400


def test_parts_are_sequences_of_the_same_images():
    images = as_images([np.full((4, 5 + i), i) for i in range(6)])
    chosen = np.array([True, False] * 3)
    for index in (slice(1, None, 2), [0, 5, 5], np.array([3, -1]), chosen):
        values = [image[0, 0, 0] for image in images[index]]
        np.testing.assert_array_equal(values, np.arange(6)[index])
    assert len(images[[]]) == len(images[9:]) == 0
    np.testing.assert_array_equal(images[2:][[1, 0]][0], images[3])
    assert repr(images[:1]) == "ImageSequence(1 image)"
    for wrong in (6, -7):
        with pytest.raises(IndexError, match=f"no image {wrong} of 6"):
            images[wrong]
    for wrong in ([True, False], [[0]], [0.5], "a", None):
        with pytest.raises(IndexError, match=r"One bool|are chosen by"):
            images[wrong]
    with pytest.raises(TypeError, match="never stacked"):
        np.asarray(images)


class _Mean(BaseEstimator):
    """Something to be searched, that says whether it was given lists of pixels."""

    def __init__(self, shift=0):
        self.shift = shift

    def fit(self, X, y=None):
        assert type(X).__name__.endswith("Images")
        self.mean_ = np.mean([image.mean() for image in X])
        return self

    def score(self, X, y=None):
        return -abs(self.mean_ + self.shift - np.mean([image.mean() for image in X]))


def test_searches_cut_it_without_reading_it():
    images = as_images([np.full((4, 5 + i), 7) for i in range(6)])
    search = GridSearchCV(_Mean(), {"shift": [3, 0]}, cv=KFold(3)).fit(images)
    assert search.best_params_ == {"shift": 0} and search.best_score_ == 0


def test_pickles_are_equal(pixels):
    images = pickle.loads(pickle.dumps(as_images([pixels, pixels[::2]])[1:]))
    np.testing.assert_array_equal(images[0], _first(pixels[::2]))


def test_mixed_channels_are_named(pixels, tmp_path):
    grey = pixels[..., 0]
    words = r"1 in image 0, image 2; 3 in image 1\. Pass color"
    for items in ([grey, pixels, grey], [*map(Image.fromarray, [grey, pixels, grey])]):
        with pytest.raises(ValueError, match=words):
            as_images(items)
        assert {len(image) for image in as_images(items, color="rgb")} == {3}
    for name, array in (("a", grey), ("b", pixels)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    images = as_images(sorted(tmp_path.iterdir()))
    assert images[0].shape == (1, 20, 31)
    for read in (lambda: images[1], images.check, lambda: images.check(on_bad="skip")):
        with pytest.raises(ValueError, match=r"1 in image 0 \(.*a.png.*; 3 in .*b.png"):
            read()
    # A part stands for itself.
    assert images[1:][0].shape == (3, 20, 31)


def test_color(pixels):
    picture = Image.fromarray(pixels)
    grey = as_images(pixels[None], color="grey")
    assert grey.n_channels == 1 and grey[:].n_channels == 1
    off = grey[0][0].astype(int) - np.asarray(picture.convert("L"))
    assert abs(off).max() <= 1
    rgb = as_images(pixels[None, ..., 0], color="rgb")[0]
    np.testing.assert_array_equal(rgb, np.stack([pixels[..., 0]] * 3))
    again = as_images(as_images(pixels[None]), color="grey")
    np.testing.assert_array_equal(again[0], grey[0])
    deep = np.full((1, 3, 5, 5), 60000, dtype=np.uint16)
    np.testing.assert_array_equal(as_images(deep, color="grey")[0], deep[0, :1])
    with pytest.raises(ValueError, match='Image 0 has 2 channels, and color="grey"'):
        as_images(np.zeros((1, 2, 5, 5)), color="grey")[0]
    with pytest.raises(ValueError, match="color must be"):
        as_images(pixels[None], color="gray")


@pytest.mark.parametrize(
    ("mode", "name", "expected"),
    [
        ("RGB", "a.png", "RGB"),
        ("RGB", "a.bmp", "RGB"),
        ("RGB", "a.tif", "RGB"),
        ("RGB", "a.tga", "RGB"),
        ("RGB", "a.ppm", "RGB"),
        ("L", "a.png", "L"),
        ("L", "a.jpg", "L"),
        ("P", "a.png", "RGB"),
        ("P", "a.gif", "RGB"),
        ("LA", "a.png", "L"),
        ("RGBA", "a.png", "RGB"),
        ("CMYK", "a.jpg", "RGB"),
        ("CMYK", "a.tif", "RGB"),
        ("YCbCr", "a.jpg", "RGB"),
        ("HSV", None, "RGB"),
    ],
)
def test_modes_of_pillow(pixels, tmp_path, mode, name, expected):
    picture = Image.fromarray(pixels).convert(mode)
    images = [picture]
    if name is not None:
        picture.save(tmp_path / name)
        images.append(tmp_path / name)
    for item in images:
        read = as_images([item])
        seen = item if item is picture else Image.open(item)
        array = np.asarray(seen.convert(expected))
        array = array[None] if array.ndim == 2 else _first(array)
        np.testing.assert_array_equal(read[0], array)
        assert read.n_channels == len(array)
        seen.close()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jp2", "a.pgm"])
def test_sixteen_bits_stay(tmp_path, name):
    if name.endswith("jp2"):
        pytest.importorskip("PIL.features").check("jpg_2000") or pytest.skip("no codec")
    array = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    if name.endswith("pgm"):
        body = b"P5 30 20 65535\n" + array.astype(">u2").tobytes()
        (tmp_path / name).write_bytes(body)
    else:
        Image.fromarray(array).save(tmp_path / name)
    image = as_images([tmp_path / name])[0]
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[0], array)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_wide_values_stay(tmp_path, dtype):
    array = (np.random.default_rng(0).normal(size=(20, 30)) * 1000).astype(dtype)
    Image.fromarray(array).save(tmp_path / "a.tif")
    image = as_images([tmp_path / "a.tif"])[0]
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0], array)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_in_exif_is_applied(pixels, tmp_path, suffix, orientation):
    """So that an image lies as it is seen."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as picture:
        stored = np.asarray(Image.open(path)) if suffix == "jpg" else pixels
        image = as_images([path])[0]
        np.testing.assert_array_equal(as_images([picture])[0], image)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(stored),
    }[orientation]
    np.testing.assert_array_equal(image, _first(turned))


def _bad_files(folder, pixels):
    """Write files that cannot be used; return the words for each."""
    picture = Image.fromarray(pixels)
    clear = picture.convert("RGBA")
    clear.putpixel((3, 4), (0, 0, 0, 200))
    clear.save(folder / "clear.png")
    picture.convert("L").point(lambda _: 5).save(folder / "key.png", transparency=5)
    more = {"save_all": True, "append_images": [picture.rotate(180)]}
    for name in ("moving.gif", "moving.png", "pages.tif"):
        picture.save(folder / name, **more)
    for name in ("cut.png", "cut.jpg", "cut.bmp", "cut.tif"):
        picture.save(folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("no image at all")
    (folder / "script.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"
    )
    (folder / "folder.png").mkdir()
    (folder / "huge.png").write_bytes(_png(30_000, 30_000))
    (folder / "large.png").write_bytes(_png(11_000, 11_000))
    (folder / "deep.png").write_bytes(_png(4, 2, 16, 2, bytes(50)))
    (folder / "deep_alpha.png").write_bytes(_png(4, 2, 16, 4, bytes(34)))
    return {
        "clear.png": "has 1 transparent pixels of 620.*alpha_composite",
        "key.png": "has 620 transparent pixels",
        "moving.gif": r"\(GIF\) holds 2 frames",
        "moving.png": r"\(PNG\) holds 2 frames",
        "pages.tif": r"\(TIFF\) holds 2 frames or pages",
        "cut.png": "bytes\\) is truncated or damaged",
        "cut.jpg": "bytes\\) is truncated or damaged",
        "cut.bmp": "bytes\\) is truncated or damaged",
        "cut.tif": "damaged",
        "zero.png": "is empty: it has zero bytes",
        "text.png": r"15 bytes, beginning with b'no image'\) is no image.*PNG",
        "script.png": "is no image",
        "folder.png": "is a folder or a device",
        "huge.png": "claims 900,000,000 pixels, and at most 67,108,864",
        "large.png": "has 11,000 x 11,000 pixels, and at most 67,108,864",
        "deep.png": "16 bits a channel",
        "deep_alpha.png": "16 bits a channel",
    }


def test_bad_files_are_refused_by_name(pixels, tmp_path):
    for name, words in _bad_files(tmp_path, pixels).items():
        with pytest.raises(ValueError, match=f"(?s){name}'.*{words}"):
            as_images([tmp_path / name])[0]
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        as_images([tmp_path / "gone.png"])[0]


def test_warnings_of_pillow_do_not_leak(pixels, tmp_path):
    """Neither as warnings nor, where these are errors, in the place of our words."""
    _bad_files(tmp_path, pixels)
    for action in ("always", "error"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            with pytest.raises(ValueError, match="11,000 x 11,000"):
                as_images([tmp_path / "large.png"])[0]
        assert not caught


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_files_are_closed(pixels, tmp_path):
    _bad_files(tmp_path, pixels)
    Image.fromarray(pixels).save(tmp_path / "good.png")
    images = as_images(sorted(tmp_path.glob("*.*")))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.warns(UserWarning, match="Left out"):
        assert len(images.check(on_bad="skip")) == 1
    assert before == len(list(Path("/proc/self/fd").iterdir()))


def test_limit_of_pixels(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    assert as_images([tmp_path / "a.png"], max_pixels=600)[0].shape == (1, 20, 30)
    with pytest.raises(ValueError, match=r"20 x 30 pixels, and at most 599"):
        as_images([tmp_path / "a.png"], max_pixels=599)[0]
    with pytest.raises(ValueError, match="max_pixels"):
        as_images([tmp_path / "a.png"], max_pixels=0)


def test_check_lists_all_that_is_bad(pixels, tmp_path):
    words = _bad_files(tmp_path, pixels)
    Image.fromarray(pixels).save(tmp_path / "good.png")
    images = as_images([tmp_path / name for name in [*words, "good.png", "gone.png"]])
    with pytest.raises(ValueError, match="18 of 19 images cannot be used") as caught:
        images.check()
    assert str(caught.value).count("\n- ") == 6 and "and 13 more" in str(caught.value)
    with pytest.warns(UserWarning, match=r"Left out.*18 of 19"):
        kept = images.check(on_bad="skip")
    np.testing.assert_array_equal(kept[0], _first(pixels))
    assert len(kept) == 1 and len(kept.skipped) == 18 and not images.skipped
    name, fault = kept.skipped[-1]
    assert "gone.png" in name and "No such file" in fault
    assert kept.check() is kept and kept[:].skipped == kept.skipped
    with pytest.raises(OSError, match="1 of 1 images") as caught:
        images[-1:].check(on_bad="skip")
    assert "skip" not in str(caught.value)
    with pytest.raises(ValueError, match="on_bad must be"):
        images.check(on_bad="ignore")


def test_a_bad_first_file_is_to_blame_for_itself_only(pixels, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    Image.fromarray(pixels).save(tmp_path / "b.png")
    images = as_images([tmp_path / "a.png", tmp_path / "b.png"])
    np.testing.assert_array_equal(images[1], _first(pixels))
    with pytest.raises(ValueError, match=r"a\.png' is empty"):
        images[0]


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (OSError(5, "Input/output error"), OSError, r"Input/output error: .*a\.png"),
        (MemoryError(), ValueError, r"a\.png.* damaged: MemoryError"),
        (SyntaxError("no PNG"), ValueError, r"a\.png.* damaged: no PNG"),
    ],
)
def test_whatever_goes_wrong_has_a_name(
    pixels, tmp_path, monkeypatch, error, expected, words
):
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def fail(self):
        raise error

    images = as_images([tmp_path / "a.png"])
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(expected, match=words):
        images[0]


def test_data_sets_of_users(pixels):
    class Own:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if not isinstance(i, int) or not 0 <= i < 3:
                raise IndexError(i)
            return pixels[i:]

    images = as_images(Own())
    assert [image.shape[1] for image in images[::-1]] == [18, 19, 20]
    assert images.check() is images and images.n_channels == 3


def test_first_picture_of_a_telephone(pixels, tmp_path):
    picture = Image.fromarray(pixels)
    path = tmp_path / "a.jpg"
    picture.save(path, format="MPO", save_all=True, append_images=[picture.rotate(180)])
    with Image.open(path) as opened:
        assert opened.n_frames == 2
        np.testing.assert_array_equal(as_images([path])[0], _first(np.asarray(opened)))


def test_broken_exif_is_none(pixels, tmp_path):
    Image.fromarray(pixels).save(
        tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff"
    )
    np.testing.assert_array_equal(as_images([tmp_path / "a.png"])[0], _first(pixels))


def test_without_pillow(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert as_images(np.zeros((2, 5, 6)))[0].shape == (1, 5, 6)
    with pytest.raises(ImportError, match=r"skganomaly\[images\]"):
        as_images([tmp_path / "a.png"])[0]
