"""A folder of images: which files, what folders say of them, masks, parts, pickles."""

import copy
import os
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, cross_val_score

from skganomaly.images import ImageFolder, as_images

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def _write(root, *names, size=(12, 8), value=0, mode="L"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, value).save(root / name)


@pytest.fixture
def bottle(tmp_path):
    """Images in the layout of MVTec AD."""
    root = tmp_path / "bottle"
    _write(root, *(f"train/good/{i:03}.png" for i in range(4)))
    _write(root, "test/good/000.png", "test/crack/000.png", "test/crack/001.png")
    _write(root, "test/large/hole/000.png", value=9)
    _write(root, "ground_truth/crack/000_mask.png", value=255)
    _write(root, "ground_truth/large/hole/000.png", mode="1")
    with Image.open(root / "ground_truth/large/hole/000.png") as mask:
        mask.putpixel((5, 2), 1)
        mask.save(root / "ground_truth/large/hole/000.png")
    (root / "license.txt").write_text("Take them.")
    return root


def _names(folder):
    return [path.relative_to(folder.folder).as_posix() for path in folder.paths]


def test_layout_of_mvtec(bottle):
    train = ImageFolder(bottle, "train/**")
    assert _names(train) == [f"train/good/{i:03}.png" for i in range(4)]
    assert set(train.labels) == {1} and set(train.kinds) == {"good"}
    assert list(train.masks) == [None] * 4
    test = ImageFolder(bottle, "test/**")
    assert _names(test) == [
        "test/crack/000.png",
        "test/crack/001.png",
        "test/good/000.png",
        "test/large/hole/000.png",
    ]
    assert test.kinds.tolist() == ["crack", "crack", "good", "large/hole"]
    np.testing.assert_array_equal(test.labels, [-1, -1, 1, -1])
    masks = list(test.masks)
    assert masks[0].dtype == bool and masks[0].shape == (8, 12) and masks[0].all()
    assert masks[1] is None and masks[2] is None
    np.testing.assert_array_equal(np.argwhere(masks[3]), [[2, 5]])
    assert repr(test).endswith("bottle', 4 images: 2 crack, 1 good, 1 large/hole)")
    assert repr(test.masks) == "MaskSequence(2 masks of 4 images)"
    assert ImageFolder(bottle, "train/*/*", masks=None).masks is None


def test_wherever_the_folder_is_entered(bottle):
    """Kinds, labels and masks are the same."""
    whole = ImageFolder(bottle, "test/**")
    everything = ImageFolder(bottle.parent)
    assert len(everything) == 8 and len(everything.others) == 1
    chosen = ["test" in path.parts for path in everything.paths]
    for other in (
        ImageFolder(bottle / "test"),
        everything[chosen],
        ImageFolder(bottle)[:4],
    ):
        assert other.paths == whole.paths
        assert other.kinds.tolist() == whole.kinds.tolist()
        assert other.labels.tolist() == whole.labels.tolist()
        assert other.masks.paths == whole.masks.paths
    assert ImageFolder(bottle, "test/crack/*").labels.tolist() == [-1, -1]


def test_folders_of_kinds_alone(tmp_path):
    _write(tmp_path, "ok/0.png", "ko/0.png")
    folder = ImageFolder(tmp_path, good=["ok", "fine"])
    assert folder.labels.tolist() == [-1, 1]
    # Which no folder is called here.
    assert ImageFolder(tmp_path).labels is None
    _write(tmp_path, "preview.png")
    folder = ImageFolder(tmp_path, good="ok")
    assert folder.kinds.tolist() == ["ko", "ok", ""] and folder.labels is None


def test_days_are_no_kinds(tmp_path):
    _write(tmp_path / "test", "monday/0.png", "friday/0.png")
    assert ImageFolder(tmp_path / "test").labels is None
    assert ImageFolder(tmp_path).labels is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", {"a.png", "b.tif", "x/a.png", "x/c.PNG", "x/y/b.png"}),
        ("**/*", {"a.png", "b.tif", "x/a.png", "x/c.PNG", "x/y/b.png"}),
        ("*", {"a.png", "b.tif"}),
        ("*.png", {"a.png"}),
        ("**/*.png", {"a.png", "x/a.png", "x/y/b.png"}),
        ("x/*", {"x/a.png", "x/c.PNG"}),
        ("x/**", {"x/a.png", "x/c.PNG", "x/y/b.png"}),
        ("**/y/*", {"x/y/b.png"}),
        ("**/b.*", {"b.tif", "x/y/b.png"}),
        ("?/[ac].*", {"x/a.png", "x/c.PNG"}),
    ],
)
def test_patterns(tmp_path, pattern, expected):
    _write(tmp_path, "a.png", "b.tif", "x/a.png", "x/c.PNG", "x/y/b.png")
    folder = ImageFolder(tmp_path, pattern)
    assert set(_names(folder)) == expected
    assert _names(folder) == sorted(_names(folder))


@pytest.mark.parametrize("pattern", ["", "/a/*", "../*", "x/../*"])
def test_patterns_outside(tmp_path, pattern):
    with pytest.raises(ValueError, match="pattern must be within"):
        ImageFolder(tmp_path, pattern)


def test_what_is_left_out_is_listed(tmp_path):
    _write(tmp_path, "a.png", "b.jpg", ".hidden.png", ".trash/c.png", "x.png/d.png")
    for name in ("Thumbs.db", "._a.png", "notes.txt", "e.dat"):
        (tmp_path / name).write_text("no image")
    folder = ImageFolder(tmp_path)
    assert _names(folder) == ["a.png", "b.jpg", "x.png/d.png"]
    others = {path.name for path in folder.others}
    assert others == {
        *(".hidden.png", ".trash", "x.png"),
        *("Thumbs.db", "._a.png", "notes.txt", "e.dat"),
    }
    assert "7 other files" in repr(folder)
    # Or all are asked for, and those that are no images are errors.
    every = ImageFolder(tmp_path, suffixes=None)
    assert len(every) == 6
    with pytest.raises(ValueError, match=r"3 of 6 images.*\n.*Thumbs.db"):
        every.check()
    with pytest.warns(UserWarning, match="3 of 6"):
        kept = every.check(on_bad="skip")
    assert kept.paths == folder.paths and "3 skipped" in repr(kept)
    assert "Thumbs.db" in kept.skipped[0][0]
    for suffixes in ("jpg", [".JPG"]):
        assert _names(ImageFolder(tmp_path, suffixes=suffixes)) == ["b.jpg"]


def test_nothing_found(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*gone'"):
        ImageFolder(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"notes.txt' is no folder"):
        ImageFolder(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"No image file .* but notes.txt"):
        ImageFolder(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"matches '\*\.png'\. .* are all files"
    ):
        ImageFolder(tmp_path, "*.png")


def test_no_file_is_opened_until_it_is_asked_for(tmp_path):
    _write(tmp_path, "good/a.png")
    (tmp_path / "good" / "b.png").write_bytes(b"")
    folder = ImageFolder(tmp_path)
    assert len(folder[1:]) == 1 and "2 good" in repr(folder)
    assert as_images(folder) is folder
    folder[0]
    with pytest.raises(ValueError, match=r"b\.png' is empty"):
        folder[1]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_links(tmp_path):
    _write(tmp_path / "far", "a.png", "b.png")
    root = tmp_path / "near"
    root.mkdir()
    try:
        (root / "data").symlink_to(tmp_path / "far")
    except OSError:
        pytest.skip("no links allowed")
    (root / "again").symlink_to(root)
    (root / "lost.png").symlink_to(tmp_path / "gone.png")
    (root / "own.png").symlink_to("own.png")
    folder = ImageFolder(root)
    assert _names(folder) == ["data/a.png", "data/b.png", "lost.png", "own.png"]
    with pytest.raises(OSError, match=r"2 of 4 images.*\n.*lost\.png.*\n.*own\.png"):
        folder.check()


def test_folders_that_cannot_be_opened_are_an_error(tmp_path, monkeypatch):
    """Where pathlib would find nothing in them."""
    _write(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        ImageFolder(tmp_path)


def test_parts_keep_everything_aligned(bottle):
    folder = ImageFolder(bottle, groups=r"\d+")
    for index in (
        slice(None, None, 3),
        [5, 0],
        np.array([-1, 2]),
        folder.labels == -1,
        list(folder.kinds == "crack"),
    ):
        part = folder[index]
        places = np.arange(len(folder))[index]
        assert isinstance(part, ImageFolder) and len(part) == len(places)
        for i, place in enumerate(places):
            assert part.paths[i] == folder.paths[place]
            assert part.masks.paths[i] == folder.masks.paths[place]
            assert part.name(i) == folder.name(place)
        np.testing.assert_array_equal(part.kinds, folder.kinds[places])
        np.testing.assert_array_equal(part.labels, folder.labels[places])
        np.testing.assert_array_equal(part.groups, folder.groups[places])
        assert part.masks[:2].paths == folder.masks[places[:2]].paths
    assert len(folder[folder.kinds == "nothing"]) == 0
    with pytest.raises(IndexError, match="no mask 8 of 8"):
        folder.masks[8]


def test_groups(tmp_path):
    _write(tmp_path, "p1/x_1.png", "p1/x_2.png", "p2/y_1.png")
    for groups, expected in [
        (r"^(.)_", ["x", "x", "y"]),
        (r"^._", ["x_", "x_", "y_"]),
        (r"(.)_(.)", ["x/1", "x/2", "y/1"]),
        (lambda path: path.parent.name, ["p1", "p1", "p2"]),
        (lambda path: int(path.parent.name[1]), [1, 1, 2]),
    ]:
        folder = ImageFolder(tmp_path, groups=groups)
        assert folder.groups.tolist() == expected
        assert pickle.loads(pickle.dumps(folder)).groups.tolist() == expected
    assert ImageFolder(tmp_path).groups is None
    with pytest.raises(ValueError, match=r"in the names of 2 files and not.*y_1\.png"):
        ImageFolder(tmp_path, groups="x")


@pytest.mark.parametrize("name", ["000.bmp", "000_mask.png", "000_gt.tif"])
def test_names_of_masks(bottle, name):
    folder = bottle / "ground_truth" / "crack"
    (folder / "000_mask.png").unlink()
    _write(folder, name, value=1)
    assert ImageFolder(bottle, "test/crack/*").masks[0].all()


def test_masks_that_fit_nothing(bottle):
    folder = bottle / "ground_truth" / "crack"
    _write(folder, "002_mask.png", "001-mask.png")
    with pytest.warns(UserWarning, match=r"2 masks .*001-mask.png.*002_mask") as caught:
        ImageFolder(bottle)
    assert caught[0].filename == __file__
    # The pattern alone leaves no mask without an image.
    ImageFolder(bottle, "train/**")
    for path in folder.glob("00[12]*"):
        path.unlink()
    ImageFolder(bottle, "test/crack/001.png")
    _write(folder, "000.png")
    with pytest.raises(ValueError, match=r"crack.*000.png' has more than one mask"):
        ImageFolder(bottle)


def test_masks_that_are_refused(bottle):
    folder = ImageFolder(bottle, "test/**")
    path = folder.masks.paths[0]
    Image.new("L", (8, 12)).save(path)
    with pytest.raises(ValueError, match=r"mask.*12 x 8 pixels.*image.*has 8 x 12"):
        folder.masks[0]
    Image.new("L", (12, 8)).save(path, format="JPEG")
    with pytest.raises(ValueError, match="is a JPEG"):
        folder.masks[0]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"000_mask\.png' is empty"):
        folder.masks[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="000_mask"):
        folder.masks[0]


def test_masks_of_another_layout(tmp_path):
    _write(tmp_path, "images/0.png", "images/1.png")
    _write(tmp_path, "labels/1.png", value=1)

    def mask_of(path):
        mask = path.parents[1] / "labels" / path.name
        return mask if mask.exists() else None

    folder = ImageFolder(tmp_path, "images/*", masks=mask_of)
    assert folder.masks[0] is None and folder.masks[1].all()
    _write(tmp_path, "test/bad/0.png")
    _write(tmp_path, "outlines/bad/0.png", value=7)
    folder = ImageFolder(tmp_path, "test/**", masks="outlines")
    assert len(folder) == 1 and folder.masks[0].all()


def test_color_and_limit(tmp_path):
    _write(tmp_path, "a.png")
    _write(tmp_path, "b.png", mode="RGB")
    with pytest.raises(ValueError, match=r"1 in '.*a\.png'; 3 in '.*b\.png'"):
        ImageFolder(tmp_path).check()
    folder = ImageFolder(tmp_path, color="rgb").check()
    assert {image.shape for image in folder} == {(3, 8, 12)}
    assert {image.shape for image in folder[::-1]} == {(3, 8, 12)}
    grey = as_images(ImageFolder(tmp_path), color="grey")
    assert isinstance(grey, ImageFolder) and len(grey[1]) == 1
    with pytest.raises(ValueError, match=r"a\.png' has 8 x 12 pixels, and at most 95"):
        ImageFolder(tmp_path, max_pixels=95)[0]


def test_copies_and_pickles(bottle, monkeypatch):
    monkeypatch.chdir(bottle.parent)
    folder = ImageFolder("bottle", groups=lambda path: path.stem)
    monkeypatch.chdir("/")
    for twin in (
        pickle.loads(pickle.dumps(folder)),
        copy.deepcopy(folder),
        clone(folder, safe=False),
    ):
        assert twin.paths == folder.paths and repr(twin) == repr(folder)
        np.testing.assert_array_equal(twin[0], folder[0])
        np.testing.assert_array_equal(twin.masks[0], folder.masks[0])
    assert repr(folder).startswith("ImageFolder('bottle', 8 images: 2 crack")
    assert len(pickle.dumps(folder)) < 5_000


class _Counts(BaseEstimator):
    def fit(self, X, y=None):
        assert isinstance(X, ImageFolder)
        return self

    def score(self, X, y):
        np.testing.assert_array_equal(X.labels, y)
        return len(X)


def test_cross_validation_leaves_files_alone(bottle):
    folder = ImageFolder(bottle, groups=lambda path: path.stem)
    for path in folder.paths:
        path.write_bytes(b"")
    sizes = cross_val_score(
        _Counts(),
        folder,
        folder.labels,
        groups=folder.groups,
        cv=GroupKFold(2),
        error_score="raise",
    )
    assert sizes.sum() == 8


def test_threads_leave_the_filters_of_warnings_alone(tmp_path, monkeypatch):
    """Also where the first to begin is the first to end."""
    names = ["first", "second"]
    begun, ended = ({name: threading.Event() for name in names} for _ in range(2))
    opened, before = Image.open, list(warnings.filters)

    def wait_in_between(stream, **options):
        name = Path(stream.name).stem
        begun[name].set()
        awaited = begun["second"] if name == "first" else ended["first"]
        assert awaited.wait(10)
        return opened(stream, **options)

    def read(name):
        as_images([tmp_path / f"{name}.png"])[0]
        ended[name].set()

    for name in names:
        Image.new("L", (4, 5)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(Image, "open", wait_in_between)
    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    threads[0].start()
    assert begun["first"].wait(10)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert all(event.is_set() for event in ended.values())
    assert warnings.filters == before
