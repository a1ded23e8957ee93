"""Rows and networks that cannot be used: the error names the culprit and a way out."""

import datetime
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, from_pyod
from skganomaly._cut import fit_threshold
from skganomaly._settings import resolve_settings
from skganomaly._training._trainer import Builder
from skganomaly._validation import validate_table
from skganomaly.thresholds import MaxThreshold, TailThreshold
from skganomaly.timeseries import TimeSeriesDetector

N_ROWS = 12
ROWS = np.random.default_rng(0).normal(size=(N_ROWS, 3))
FRAME = pd.DataFrame(ROWS, columns=["width", "height", "depth"])


def _objects(column):
    X = ROWS.astype(object)
    X[:, 1] = column
    return X


SECONDS = np.arange(N_ROWS).astype("timedelta64[s]")
SECONDS_WITH_NAT = np.r_[np.timedelta64("NaT"), SECONDS[1:]]
NULLABLE = pd.array([True, None, False] * 4, dtype="boolean")
# What is given, and what the message must say.
CULPRITS = {
    "durations": (np.c_[SECONDS, SECONDS], "columns 0 (timedelta64[s]), 1 (timedelta"),
    "durations with NaT": (SECONDS_WITH_NAT[:, None], "column 0 (timedelta64[s])"),
    "dates": (
        np.full((N_ROWS, 1), np.datetime64("2020-01-01")),
        "column 0 (datetime64[D])",
    ),
    "durations as objects": (_objects(SECONDS_WITH_NAT), "column 1 (object"),
    "durations in lists": ([[1.0, t] for t in SECONDS_WITH_NAT], "column 1 (object)"),
    "dates of Python": (_objects(datetime.datetime(2020, 1, 1)), "column 1 (object"),
    "NaT as object": (_objects(pd.NaT), "column 1 (object, such as NaT)"),
    "frame of durations": (pd.DataFrame({"a": SECONDS}), "column 'a' (timedelta64[s])"),
    "date column": (FRAME.assign(day=pd.Timestamp("2020")), "column 'day' (datetime64"),
    "date with time zone": (
        FRAME.assign(day=pd.Timestamp("2020", tz="UTC")),
        "column 'day' (datetime64",
    ),
    "period column": (
        FRAME.assign(month=pd.period_range("2020", periods=N_ROWS, freq="M")),
        "column 'month' (period[M])",
    ),
    "text column": (FRAME.assign(site="north"), "such as 'north'"),
    "category column": (
        FRAME.assign(site=pd.Categorical(["north", "south"] * 6)),
        "column 'site' (category, such as 'north')",
    ),
    "object column": (
        FRAME.assign(site=np.array([1, "x"] * 6, dtype=object)),
        "column 'site' (object, such as 'x')",
    ),
    "text array": (_objects("north"), "column 1 (object, such as 'north')"),
    "booleans with NA": (
        FRAME.assign(open=NULLABLE),
        "NaN in column 'open' (boolean, 4 of 12 rows)",
    ),
    "NA as objects": (
        FRAME.assign(open=NULLABLE.astype(object)),
        "column 'open' (object, such as <NA>)",
    ),
    "two columns of one name": (
        pd.DataFrame([[1.0, "x"]] * N_ROWS, columns=["a", "a"]),
        "column 'a' (",
    ),
    "NaN": (
        FRAME.where(FRAME["height"] > 0, np.nan),
        f"NaN in columns 'width' (float64, {(FRAME['height'] <= 0).sum()} of 12 rows)",
    ),
    "infinite": (
        FRAME.assign(depth=-np.inf),
        "infinity in column 'depth' (float64, 12",
    ),
    "both": (
        FRAME.assign(width=np.inf, depth=np.nan),
        "NaN in column 'depth' (float64, 12 of 12 rows) and infinity in column 'width'",
    ),
    "NaN in an array": (
        np.where(ROWS == ROWS[2, 1], np.nan, ROWS),
        "column 1 (1 of 12",
    ),
    "masked": (
        np.ma.array(ROWS, mask=ROWS == ROWS[2, 1]),
        "1 of its 36 values are mask",
    ),
    "masked rows in a list": (
        [np.ma.array(row, mask=[0, 1, 0]) for row in ROWS],
        "12 of its 36 values are mask",
    ),
    "masked images in lists of channels": (
        [[np.ma.array(row[None], mask=[[0, 1, 0]])] for row in ROWS],
        "12 of its 36 values are mask",
    ),
    "more than five columns": (
        pd.DataFrame(np.full((N_ROWS, 8), "x")),
        re.compile(r"columns 0 \(.*, 4 \([^()]*\) and 3 more"),
    ),
    "rows of unequal length": ([[1.0, 2.0], [1.0]], "(2,) in row 0 and (1,) in row 1"),
    "images of unequal size": (
        [np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 5))],
        "(4, 4) in row 0 and (4, 5) in row 2",
    ),
    "names of files": (["a.png", "b.png"], "names of files such as 'a.png'"),
    "paths": ([Path("a.png")] * 3, "names of files such as 'a.png'"),
    "array of names": (np.array(["a.png", "b.png"]), "names of files such as 'a.png'"),
    "a folder": ("images/train", "names of files such as 'images/train'"),
}
REMEDIES = "OneHotEncoder|SimpleImputer|timedelta64|crop, pad or resize|load the files"


@pytest.mark.parametrize("culprit", CULPRITS)
def test_the_culprit_is_named(small, culprit):
    """Columns by name or number, dtype and count, and what to do; at fit and after."""
    X, words = CULPRITS[culprit]
    detector = small(AutoencoderDetector, max_steps=1)
    with pytest.raises((ValueError, TypeError), match=REMEDIES) as caught:
        detector.fit(X)
    words = words if isinstance(words, re.Pattern) else re.compile(re.escape(words))
    assert words.search(str(caught.value)), str(caught.value)
    assert "sifier" not in str(caught.value)
    assert not hasattr(detector, "n_features_in_")


def test_the_culprit_is_named_in_scoring(small):
    """Rows to score are looked at like those of training."""
    detector = small(AutoencoderDetector, max_steps=1).fit(FRAME)
    with pytest.raises(ValueError, match=r"column 'depth' \(.*such as 'deep'\)"):
        detector.predict(FRAME.assign(depth="deep"))
    with pytest.raises(ValueError, match=r"NaN in column 'depth' \(float64, 12 of 12"):
        detector.explain(FRAME.assign(depth=np.nan))


BEYOND = {
    "a long integer": (_objects(10**400), "integers beyond 1.8e308.*Rescale or clip"),
    "long integers in lists": ([[10**400, 1]] * 3, "integers beyond 1.8e308"),
    "text and a long integer": (_objects(["x", *[10**400] * 11]), "such as 'x'"),
    "a set": ({1, 2}, "X is of type set, which has no rows. Pass an array"),
    "columns by name": ({"a": [1, 2]}, "X is of type dict, which has no rows"),
    "a generator": ((row for row in ROWS), "X is of type generator"),
    "nothing": (None, "X is of type NoneType"),
}
if np.finfo("longdouble").max > np.finfo("float64").max:
    LONG = np.full((3, 2), np.finfo("longdouble").max)
    BEYOND["long doubles"] = (LONG, r"infinity in columns 0 \(3 of 3 rows\)")


@pytest.mark.parametrize("culprit", BEYOND)
def test_what_is_no_table_of_double_precision(small, culprit):
    """The message is the library's own, and no warning comes before it."""
    X, words = BEYOND[culprit]
    detector = small(AutoencoderDetector, max_steps=1)
    with pytest.raises((ValueError, TypeError), match=words):
        detector.fit(X)
    assert not hasattr(detector, "n_features_in_")


NUMBERS = {
    "category of numbers": FRAME.assign(depth=pd.Categorical([1, 2, 3] * 4)),
    "booleans": FRAME.assign(depth=[True, False] * 6),
    "nullable integers": FRAME.assign(depth=pd.array([1, 2, 3] * 4, dtype="Int64")),
    "numbers as objects": FRAME.astype(object),
    "nothing masked": np.ma.array(ROWS),
    "a tensor": torch.from_numpy(ROWS),
    "lists": ROWS.tolist(),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_in_any_dress_are_taken(small, kind):
    """What holds finite numbers passes, and is what it would be as plain floats."""
    X = NUMBERS[kind]
    plain = np.asarray(X).astype(float)
    detector = small(AutoencoderDetector, max_steps=1).fit(plain)
    expected = detector.score_samples(plain)
    assert_array_equal(detector.fit(X).score_samples(X), expected)


TENSOR = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 2)))
UNREADABLE = {
    "bfloat16": (TENSOR.bfloat16(), r"torch.bfloat16, on cpu.* Pass X.float\(\)\."),
    "graph": (TENSOR.clone().requires_grad_(), r"cannot read. Pass X.detach\(\)\."),
    "list": (list(TENSOR.bfloat16()), r"Pass torch.stack\(X\).float\(\)\."),
    "sparse": (TENSOR.to_sparse(), r"Pass X.to_dense\(\)\."),
    "frame": (
        pd.DataFrame(TENSOR.numpy()).astype(pd.SparseDtype(float, 0.0)),
        r"all columns are sparse. Pass X.sparse.to_dense\(\)",
    ),
    "several": (
        TENSOR.bfloat16().requires_grad_(),
        r"Pass X.detach\(\).float\(\)\.",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_makes_no_array(small, kind):
    """Tables, series and images: what it takes is said, and does."""
    rows, words = UNREADABLE[kind]
    detector = small(AutoencoderDetector, max_steps=2).fit(TENSOR)
    series = TimeSeriesDetector(small(AutoencoderDetector), window_length=3)
    for call in (detector.predict, detector.fit, series.fit):
        with pytest.raises(TypeError, match=words):
            call(rows)
    if kind in ("bfloat16", "several"):
        with pytest.raises(TypeError, match=words):
            detector.fit(rows.reshape(-1, 3, 5))
        detector.fit(rows.detach().float())


def test_huge_numbers_are_not_infinite():
    """A sum beyond double precision is no missing value."""
    X = np.full((4, 2), np.finfo(float).max)
    with np.errstate(all="raise"):
        assert_array_equal(validate_table(AutoencoderDetector(), X, reset=True), X)


def test_pixels_are_counted(small, images):
    """Pixels have no names: how many are missing, in how many images, and in which."""
    X = images.copy()
    X[4, 0, :2] = np.nan
    X[7, 1, 0, 0] = np.nan
    message = "NaN: 19 values in 2 of 60 rows, the first in row 4"
    with pytest.raises(ValueError, match=message):
        small(AutoencoderDetector, conv=True).fit(X)


@pytest.mark.parametrize("shape", [(2, 6, 9), (1, 6, 9)])
def test_one_image_without_its_batch_axis(small, shape):
    """One image is not taken for as many rows as it has channels."""
    images = np.random.default_rng(0).uniform(size=(10, *shape))
    detector = small(AutoencoderDetector, conv=True, max_steps=1).fit(images)
    assert detector.predict(images[:1]).shape == (1,)
    one = images[0] if shape[0] > 1 else images[0, 0]
    with pytest.raises(ValueError, match=r"shape of one row.*pass X\[None\], of shape"):
        detector.predict(one)
    assert detector.predict(one[None]).shape == (1,)
    if shape[0] > 1:
        with pytest.raises(ValueError, match=r"shape of one row.*pass \(n, 2, 6, 9\)"):
            detector.set_params(input_shape=shape).fit(one)


def test_detectors_of_pyod_name_the_culprit_too():
    """What is wrapped for scikit-learn is checked as our own detectors are."""
    knn = pytest.importorskip("pyod.models.knn")
    detector = from_pyod(knn.KNN(n_neighbors=2))
    with pytest.raises(ValueError, match=r"column 'site' \(.*such as 'north'\)"):
        detector.fit(FRAME.assign(site="north"))
    detector.fit(FRAME)
    with pytest.raises(ValueError, match=r"SklearnDetector takes finite numbers only"):
        detector.predict(FRAME.assign(width=np.nan))


class Critic(nn.Module):
    """A discriminator with so many logits a row."""

    def __init__(self, n_logits=None):
        super().__init__()
        self.features = nn.Linear(3, 4)
        self.n_logits = n_logits

    def forward(self, x):
        features = self.features(x)
        logits = features[:, 0] if self.n_logits is None else features[:, :1]
        return logits, features


class Wrong:
    """Networks for three columns and two codes, but for those that are given."""

    def __init__(self, **networks):
        self.networks = {
            "encoder": lambda: nn.Linear(3, 2),
            "decoder": lambda: nn.Linear(2, 3),
            "discriminator": Critic,
            **networks,
        }

    def encoder(self, input_shape, latent_dim):
        return self.networks["encoder"]()

    def decoder(self, latent_dim, input_shape):
        return self.networks["decoder"]()

    def discriminator(self, input_shape):
        return self.networks["discriminator"]()


def _with_two_outputs():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, given, made: (made, made))
    return layer


WRONG_NETWORKS = {
    "other columns": ("encoder", lambda: nn.Linear(4, 2), "raised RuntimeError: mat1"),
    "other codes": (
        "encoder",
        lambda: nn.Linear(3, 5),
        "returned a tensor of shape (2, 5",
    ),
    "two outputs": (
        "encoder",
        _with_two_outputs,
        "returned a tuple of a tensor of shape",
    ),
    "other rows": (
        "decoder",
        lambda: nn.Linear(2, 4),
        "returned a tensor of shape (2, 4",
    ),
    "no features": (
        "discriminator",
        lambda: nn.Linear(3, 1),
        "must return (logits, features) of shapes (2,) and (2, n_features)",
    ),
    "an axis too many": (
        "discriminator",
        lambda: Critic(1),
        "shape (2, 1) and a tensor",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_NETWORKS)
@pytest.mark.parametrize("cls", [GANomalyDetector, AnoGANDetector])
def test_networks_of_the_wrong_shape(wrong, cls):
    """Which network it is, what it was given, returned and should have returned."""
    method, make, words = WRONG_NETWORKS[wrong]
    detector = cls(architecture=Wrong(**{method: make}), latent_dim=2, max_steps=1)
    with pytest.raises(ValueError, match=f"The {method} of the arch") as caught:
        detector.fit(ROWS)
    assert words in str(caught.value)
    given = (2, 2) if method == "decoder" else (2, 3)
    assert f"given two rows, a tensor of shape {given}" in str(caught.value)
    assert not hasattr(detector, "n_features_in_")


def test_architectures_that_return_no_network():
    """Neither a function for a network nor a missing method ends in a raw error."""
    wrong = Wrong(decoder=lambda: abs)
    detector = GANomalyDetector(architecture=wrong, latent_dim=2, max_steps=1)
    with pytest.raises(
        TypeError, match=r"must return a torch\.nn\.Module; one returned"
    ):
        detector.fit(ROWS)

    class NoCritic(Wrong):
        discriminator = None

    with pytest.raises(ValueError, match="no method discriminator, which this det"):
        detector.set_params(architecture=NoCritic()).fit(ROWS)


def test_the_check_of_a_network_leaves_no_trace():
    """The mode of each layer, its statistics and the global generator stay."""
    made = []

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
            self.layers[0].eval()
            made.append(self)

        def forward(self, x):
            made.append(torch.rand(()))
            return self.layers(x)

    detector = AutoencoderDetector(
        architecture=Wrong(encoder=Noisy), latent_dim=2, n_members=1
    )
    # As far as the check goes, without the training, which draws as well.
    build = Builder(resolve_settings(detector, (3,)), torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    build("encoder")
    assert torch.equal(torch.get_rng_state(), before)
    network, draw = made
    assert draw.ndim == 0
    assert (network.training, network.layers[0].training) == (True, False)
    assert network.layers[0].num_batches_tracked == 0


class Normalising:
    """A rule that, like many, divides by the range of the scores."""

    def fit(self, scores):
        self.threshold_ = scores.min() + 0.9 / int(np.ptp(scores)) * np.ptp(scores)


def test_rules_of_others_on_constant_scores():
    """A rule that cannot cut equal scores is named, with the scores and what can."""
    words = r"Normalising finds no threshold, as all 20 scores are 1\.5.*'auto' and"
    with pytest.raises(ValueError, match=words):
        fit_threshold(Normalising(), np.full(20, 1.5), rate=0.05)
    # Our own have words of their own, or a cut.
    with pytest.raises(ValueError, match="TailThreshold needs at least 10 distinct"):
        fit_threshold(TailThreshold(), np.full(200, 1.5), rate=0.05)
    assert fit_threshold(MaxThreshold(), [1.5] * 20, rate=0.05).threshold_ == 1.5


def test_one_image_that_is_no_array(small):
    """Pillow's images have an interface for arrays and no shape."""

    class Image:
        __array_interface__ = property(lambda self: pixels.__array_interface__)

    images = np.random.default_rng(0).uniform(size=(10, 6, 9))
    pixels = images[0]
    detector = small(AutoencoderDetector, conv=True, max_steps=1).fit(images)
    with pytest.raises(ValueError, match=r"shape of one row.*pass X\[None\], of shape"):
        detector.predict(Image())


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_warnings_point_at_the_line_of_the_user(small, cls, table):
    """Not into the library, where nobody can do anything about them."""
    detector = small(cls, max_steps=3)
    with pytest.warns(UserWarning, match="All training rows are equal") as caught:
        detector.fit(np.ones((30, 3)))
    assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(UserWarning, match="Column 0") as caught:
        detector.fit(table).anomaly_score(table * 1e5)
    assert {warning.filename for warning in caught} == {__file__}
