"""One score, one verdict and one map for each image."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skganomaly.images import DefectDiscriminator, ImageDetector, as_images
from skganomaly.images._maps import find_regions, image_score

SHORT = DefectDiscriminator(n_steps=8, batch_size=4)


def short(method, **params):
    """A detector with a promise that twelve held-out images can keep."""
    defaults = {"random_state": 0, "false_alarm_rate": 0.1}
    return ImageDetector(method=method, **defaults | params)


class Brightness:
    """A method of a user: how bright a pixel is, beyond the mean of normal images."""

    def __init__(self, gain=1.0):
        self.gain = gain

    def fit_maps(self, images, groups, *, seed, device, progress=None):
        self.mean = float(np.mean([image.mean() for image in images]))
        self.seen = sorted(groups.tolist())
        return self

    def map(self, image):
        return self.gain * (image.mean(0) - self.mean).astype(np.float32)

    def to(self, device):
        return self

    def get_params(self, deep=True):
        return {"gain": self.gain}

    def set_params(self, gain):
        self.gain = gain
        return self


class Greedy(Brightness):
    def fit_maps(self, images, groups, **options):
        raise MemoryError("Unable to allocate 330. PiB")


@pytest.fixture(scope="module")
def detector(pictures):
    return short(Brightness()).fit(pictures)


def test_one_score_one_label_and_one_map_an_image(detector, pictures, spotted):
    scores = detector.anomaly_score(spotted)
    assert scores.shape == (10,)
    assert_array_equal(detector.predict(spotted), -1)
    assert (detector.predict(pictures) == -1).mean() <= 0.2
    assert_array_equal(detector.score_samples(spotted), -scores)
    p_values = detector.p_values(spotted)
    assert_allclose(p_values, 1 / (len(detector.reference_scores_) + 1))
    assert [found.shape for found in detector.anomaly_map(spotted)] == [(40, 52)] * 10


def test_a_pixel_is_red_exactly_where_the_image_is_an_alarm(
    detector, pictures, spotted
):
    both = np.concatenate([pictures, spotted])
    peaks = [found.max() for found in detector.anomaly_map(both)]
    assert_array_equal(peaks, detector.anomaly_score(both))
    regions = detector.regions(both)
    flagged = detector.predict(both) == -1
    assert_array_equal([bool(found) for found in regions], flagged)
    left, top, right, bottom = regions[-1][0]["box"]
    assert left >= 19 and right <= 27 and top >= 9 and bottom <= 17
    assert regions[-1][0]["area"] >= 30


def test_regions_are_boxes_of_what_is_above_the_cut():
    found = np.zeros((6, 8), dtype=np.float32)
    found[1:3, 2:5], found[5, 7] = 2.0, 3.0
    small = {"box": (7, 5, 8, 6), "area": 1, "peak": 3.0}
    large = {"box": (2, 1, 5, 3), "area": 6, "peak": 2.0}
    assert find_regions(found, 1.0, 1) == [small, large]
    assert find_regions(found, 1.0, 2) == [large]
    assert find_regions(found, 1.0) == [small]
    assert find_regions(np.minimum(found, 2), 1.0, 1)[0] == large
    assert find_regions(found, 3.0) == []


def test_a_weaker_defect_is_a_region_too(detector, pictures):
    """Above the cut beyond the median, it is so beside a stronger one as well."""
    alone, both = pictures[0].copy(), pictures[0].copy()
    alone[10:16, 20:36] = both[10:16, 20:36] = 200
    both[25:35, 5:20] = 255
    (weak,) = detector.regions([alone])[0]
    strong = detector.regions([both])[0]
    assert len(strong) == 2 and strong[0]["box"][1] >= 24
    assert strong[1]["box"] == weak["box"]
    with pytest.raises(ValueError, match="min_area == 0"):
        detector.regions([alone], min_area=0)


def test_score_is_of_the_largest_pixels_beyond_the_median():
    found = np.zeros((30, 30), dtype=np.float32)
    found[:5, :20] = 4.0
    assert image_score(found) == 4.0
    assert image_score(found + 7) == 4.0
    assert image_score(found[:5, :5]) == 0.0


def test_sizes_may_be_mixed_and_company_does_not_matter(detector, pictures, spotted):
    mixed = [pictures[0], spotted[1][:30, :30], spotted[2]]
    scores = detector.anomaly_score(mixed)
    alone = [detector.anomaly_score([image])[0] for image in mixed]
    assert_array_equal(scores, alone)
    assert [m.shape for m in detector.anomaly_map(mixed)] == [
        (40, 52),
        (30, 30),
        (40, 52),
    ]


def test_defects_are_learned_and_reproduced(pictures, spotted):
    """The method without weights, for a few steps: the same to the last bit."""
    fits = [short(SHORT).fit(pictures) for _ in range(2)]
    first, second = (fit.anomaly_score(spotted) for fit in fits)
    assert_array_equal(first, second)
    copied = pickle.loads(pickle.dumps(fits[0]))
    assert_array_equal(copied.anomaly_score(spotted), first)
    assert_array_equal(clone(fits[0]).fit(pictures).anomaly_score(spotted), first)
    other = short(SHORT, random_state=1).fit(pictures)
    assert (other.anomaly_score(spotted) != first).any()


def test_methods_together_are_weighted_by_drawn_defects(pictures, spotted):
    """What sees no defect counts for little or nothing."""

    class Deviation(Brightness):
        def fit_maps(self, images, groups, **options):
            self.normal = np.mean([*images], axis=0)
            return self

        def map(self, image):
            return np.abs(image - self.normal)[0].astype(np.float32)

    class Blind(Brightness):
        def map(self, image):
            return np.zeros(image.shape[1:], dtype=np.float32)

    detector = short([Deviation(), Blind()])
    detector.fit(pictures)
    assert_array_equal(detector.weights_, [1.0, 0.0])
    assert_array_equal(detector.predict(spotted), -1)


def test_scales_of_a_discriminator_are_weighted(pictures, spotted):
    """A map for each, in the size of the image; one bar for all of their steps."""
    method = DefectDiscriminator(n_steps=3, batch_size=4, scales=(1.0, 0.5, 2.0))
    told = []

    def progress(steps):
        for step in steps:
            told.append(step)
            yield step

    fitted = method.fit_maps(
        as_images(pictures[:8]), None, seed=0, device="cpu", progress=progress
    )
    assert told == list(range(9))
    assert [each.scale for each in fitted] == [1.0, 0.5, 2.0]
    odd = pictures[0][None, :37, :51]
    assert all(each.map(odd).shape == (37, 51) for each in fitted)
    detector = short(method).fit(pictures)
    assert detector.weights_.shape == detector.units_.shape == (3,)
    assert detector.weights_.sum() == pytest.approx(1)
    for scales in [(), (0.0,), (-1.0, 1.0), ("large",), (np.inf,)]:
        with pytest.raises(ValueError, match="scales has to be"):
            short(DefectDiscriminator(scales=scales)).fit(pictures)


def test_what_is_drawn_for_the_weights_is_the_methods(pictures):
    """A drawing of the user's says what is to be found."""

    class Glare(Brightness):
        def map(self, image):
            return (image[0] > 190).astype(np.float32)

    class Shadow(Brightness):
        def map(self, image):
            return (image[0] < 40).astype(np.float32)

    class Dark(Shadow):
        def draw(self, crop, generator):
            changed = np.zeros(crop.shape[1:], dtype=bool)
            changed[40:60, 40:60] = True
            return np.where(changed, crop - 9, crop), changed

    assert short([Shadow(), Glare()]).fit(pictures).weights_.min() > 0.1
    assert_array_equal(short([Dark(), Glare()]).fit(pictures).weights_, [1, 0])


def test_groups_are_held_out_whole(pictures):
    groups = np.arange(60) // 6
    detector = ImageDetector(method=Brightness(), random_state=0)
    with pytest.warns(UserWarning, match="With 12 reference images.*Pass 95 groups"):
        detector.fit(pictures, groups=groups)
    seen = detector.methods_[0].seen
    assert len(set(seen)) == 8 and all(seen.count(group) == 6 for group in set(seen))
    assert detector.n_held_out_ == 12


def test_references_are_groups_if_these_suffice(pictures):
    """One score for each group; of too few the images count, and fit says so."""
    groups = np.arange(60) // 3
    options = {"method": Brightness(), "random_state": 0, "validation_fraction": 0.5}
    detector = ImageDetector(false_alarm_rate=0.2, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.fit(pictures, groups=groups)
    assert len(detector.reference_scores_) == 10 and detector.n_held_out_ == 30
    few = ImageDetector(false_alarm_rate=0.05, **options)
    with pytest.warns(UserWarning, match="Pass 38 groups of images or more"):
        few.fit(pictures, groups=groups)
    assert len(few.reference_scores_) == few.n_held_out_ == 30
    assert set(detector.reference_scores_) < set(few.reference_scores_)
    # Another rate asks anew, and what was found first comes back.
    first, groups_only = few.threshold_, detector.reference_scores_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few.set_threshold(false_alarm_rate=0.2)
    assert_array_equal(few.reference_scores_, groups_only)
    assert few.threshold_ == detector.threshold_
    with pytest.warns(UserWarning, match="10 groups of images are held out"):
        assert few.set_threshold().threshold_ == first
    loaded = pickle.loads(pickle.dumps(detector))
    with pytest.raises(ValueError, match="needs at least 99 held-out scores; got 30"):
        loaded.set_threshold("conformal", false_alarm_rate=0.01)
    assert_array_equal(loaded.reference_scores_, groups_only)


def test_a_promise_that_cannot_be_kept_is_withdrawn(pictures):
    with pytest.warns(UserWarning, match="Pass 95 images or more"):
        ImageDetector(method=Brightness(), random_state=0).fit(pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageDetector(method=Brightness(), random_state=0, false_alarm_rate=0.1).fit(
            pictures
        )


def test_threshold_can_be_set_again(detector, spotted):
    cut = detector.threshold_
    try:
        assert detector.set_threshold("max").threshold_ >= cut
        assert detector.set_threshold(1e9).predict(spotted).min() == 1
        assert detector.set_threshold().threshold_ == cut
        with pytest.raises(ValueError, match="false_alarm_rate"):
            detector.set_threshold(false_alarm_rate=2)
    finally:
        detector.set_threshold()


def test_in_searches_and_pipelines(pictures, spotted):
    """Last in a Pipeline; searched by a scorer on images; groups by routing."""

    def scorer(detector, images, y=None):
        return float(detector.anomaly_score(spotted).min())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(
            ImageDetector(method=Brightness(), random_state=0),
            {"method__gain": [1.0, 3.0]},
            scoring=scorer,
            cv=2,
        ).fit(pictures)
        pipeline = make_pipeline(ImageDetector(method=Brightness(), random_state=0))
        labels = pipeline.fit(pictures).predict(spotted)
    assert search.best_params_ == {"method__gain": 3.0}
    assert_array_equal(labels, -1)


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"method": []}, ValueError, "no method"),
        ({"method": "feature"}, ValueError, "method"),
        (
            {"method": ["defects", DefectDiscriminator]},
            TypeError,
            "DefectDiscriminator",
        ),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
    ],
)
def test_bad_parameters_are_refused_in_words(pictures, change, error, words):
    detector = ImageDetector(**change)
    with pytest.raises(error, match=words):
        detector.fit(pictures)
    with pytest.raises(NotFittedError):
        detector.predict(pictures)


def test_bad_images_are_refused_in_words(detector, pictures):
    with pytest.raises(ValueError, match="1 channels, and this one has 3"):
        detector.predict(np.zeros((2, 3, 40, 52), dtype=np.uint8))
    with pytest.raises(ValueError, match="too few"):
        ImageDetector().fit(pictures, groups=[1] * 60)
    bad = pictures.astype(np.float32)
    bad[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="3"):
        ImageDetector(method=Brightness()).fit(bad)


def test_units_of_another_dtype_are_refused(pictures):
    """Shares of 1 would all be flat, and normal, for a detector of 0 to 255."""
    detector = short(SHORT).fit(pictures)
    assert_array_equal(
        detector.anomaly_score(pictures[:2].astype(float)),
        detector.anomaly_score(pictures[:2]),
    )
    detector.predict(np.zeros((2, 40, 52)))
    with pytest.raises(ValueError, match=r"of dtype float32, and .* of dtype uint8"):
        detector.predict(pictures[:2] / 255)


def test_images_that_are_not_good_are_pointed_out(pictures):
    images = as_images(pictures)
    images.labels = np.where(np.arange(60) < 3, -1, 1)
    with pytest.warns(UserWarning, match="3 of 60 images are not of a good kind") as w:
        short(Brightness()).fit(images)
    assert w[0].filename == __file__


def test_held_out_images_that_do_not_differ_have_no_unit(pictures):
    detector = short([Brightness(), Brightness(2.0)]).fit(pictures[[0] * 60])
    assert_array_equal(detector.units_, 1)


def test_memory_that_ran_out(pictures):
    detector = short(Greedy())
    words = r"Memory ran out. Training needs less with lower scales.* \(Unable to"
    with pytest.raises(MemoryError, match=words):
        detector.fit(pictures)
    assert not hasattr(detector, "offset_")


def test_a_lower_rate_than_can_be_kept_is_said(detector):
    copied = pickle.loads(pickle.dumps(detector))
    with pytest.warns(UserWarning, match=r"one in 13 .* share of 0\.01") as caught:
        copied.set_threshold(false_alarm_rate=0.01)
    assert caught[0].filename == __file__
    assert copied.threshold_ == copied.reference_scores_[-1]


@pytest.mark.parametrize(
    "groups, words",
    [
        ("board", "names no images"),
        ([1, 2], "2 groups, and there are 60 images"),
        ([[1]] * 59 + [[1, 2]], "groups must name, for each image"),
    ],
)
def test_groups_are_refused_in_words(pictures, groups, words):
    with pytest.raises(ValueError, match=words):
        ImageDetector().fit(pictures, groups=groups)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_that_was_interrupted_leaves_nothing(pictures, error):

    class Images:
        def __len__(self):
            return 60

        def __getitem__(self, place):
            if place == 57:
                raise error
            return pictures[place]

    detector = short(Brightness()).fit(pictures)
    before = detector.reference_scores_
    with pytest.raises(error):
        detector.fit(Images())
    assert not [name for name in vars(detector) if name.endswith("_")]
    assert_array_equal(detector.fit(pictures).reference_scores_, before)


def test_divergence_is_said(pictures):
    method = DefectDiscriminator(n_steps=2, batch_size=2, learning_rate=1e12)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        short(method).fit(pictures)
