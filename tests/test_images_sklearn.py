"""An image detector among scikit-learn's tools: clones, searches, groups, pickles."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from torch import nn

from skganomaly.images import (
    DefectDiscriminator,
    FrozenFeatures,
    ImageDetector,
    ImageFolder,
    as_images,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* are held out:UserWarning")


def differences(x):
    """A network that is no module: differences to the right and below."""
    right = x[..., :-4, 1:-3] - x[..., :-4, :-4]
    below = x[..., 1:-3, :-4] - x[..., :-4, :-4]
    return nn.functional.avg_pool2d(right.square() + below.square(), 4)


def spots(crop, generator):
    """A synthesiser: bright squares."""
    changed = np.zeros(crop.shape[1:], dtype=bool)
    top, left = generator.integers(0, 80, size=2)
    changed[top : top + 8, left : left + 8] = True
    return np.where(changed, crop + 3, crop), changed


METHODS = {
    "features": FrozenFeatures(differences, scales=(1.0,), max_references=50),
    "module": FrozenFeatures(nn.AvgPool2d(4), scales=(1.0,), max_references=50),
    "defects": DefectDiscriminator(draw=spots, n_steps=2, batch_size=2),
}


@pytest.fixture(scope="module")
def pictures():
    """24 grey images in four groups, of which six have a bright square."""
    pictures = np.random.default_rng(0).integers(90, 140, (24, 36, 44), dtype=np.uint8)
    pictures[::4, 10:18, 20:28] = 255
    return pictures


@pytest.fixture(scope="module")
def y():
    return np.where(np.arange(24) % 4 == 0, -1, 1)


@pytest.fixture(scope="module")
def groups():
    return np.repeat(["a", "b", "c", "d"], 6)


@pytest.fixture
def folder(pictures, tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for i, picture in enumerate(pictures):
        path = tmp_path / ("crack" if i % 4 == 0 else "good") / f"{i // 6}_{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    return ImageFolder(tmp_path, groups=r"^\d")


def sources(pictures):
    return [pictures, list(pictures), as_images(pictures), as_images(list(pictures))]


def detector(method="features", **params):
    return ImageDetector(method=METHODS[method], random_state=0, **params)


def by_kind(estimator, images, y):
    """How far apart the scores of good and bad images are."""
    scores = -estimator.score_samples(images)
    return float(scores[y == -1].mean() - scores[y == 1].mean())


@pytest.mark.parametrize("method", [*METHODS, "all"])
def test_clones_and_pickles(method, pictures, tmp_path):
    chosen = [*METHODS.values()] if method == "all" else METHODS[method]
    fitted = ImageDetector(method=chosen, random_state=0).fit(pictures)
    scores = fitted.anomaly_score(pictures)
    joblib.dump(fitted, tmp_path / "detector.joblib")
    for copied in (
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "detector.joblib"),
        clone(fitted).fit(pictures),
        clone(pickle.loads(pickle.dumps(fitted))).fit(pictures),
    ):
        assert_array_equal(copied.anomaly_score(pictures), scores)
        assert copied.threshold_ == fitted.threshold_
    assert not hasattr(clone(fitted), "offset_")


def test_searches_over_every_source(pictures, y):
    """The splitter cuts arrays, lists and sequences, to the same results."""
    found = []
    for images in sources(pictures):
        search = GridSearchCV(
            detector(),
            {"method__max_references": [5, 50], "method__neighbourhood": [1, 3]},
            scoring=by_kind,
            cv=3,
        ).fit(images, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert_array_equal(
            search.predict(images), search.best_estimator_.predict(images)
        )
        found.append(search.cv_results_["mean_test_score"])
    for other in found[1:]:
        assert_array_equal(other, found[0])


@pytest.mark.filterwarnings("ignore:.*not of a good kind:UserWarning")
def test_searches_over_a_folder(folder):
    search = GridSearchCV(
        detector(), {"method__neighbourhood": [1, 3]}, scoring=by_kind, cv=GroupKFold(2)
    ).fit(folder, folder.labels, groups=folder.groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    labels = cross_val_predict(detector(), folder, folder.labels, cv=3)
    assert labels.shape == (24,) and set(labels) <= {-1, 1}


@pytest.mark.slow
def test_in_other_processes(pictures, y):
    """Methods and networks go to workers of joblib and back."""
    results = [
        cross_validate(
            detector("module"), list(pictures), y, scoring=by_kind, cv=2, n_jobs=n_jobs
        )["test_score"]
        for n_jobs in (1, 2)
    ]
    assert_array_equal(*results)


class Recording(ImageDetector):
    """Keeps the groups that it is fitted with."""

    def fit(self, images, y=None, *, groups=None):
        super().fit(images, groups=groups)
        self.groups_ = groups
        return self


def test_groups_are_routed(pictures, y, groups):
    """To the splitter and to the fit, also of the last step of a Pipeline."""
    with sklearn.config_context(enable_metadata_routing=True):
        alone = Recording(
            method=METHODS["features"], false_alarm_rate=0.5, random_state=0
        )
        alone.set_fit_request(groups=True)
        for estimator in (alone, make_pipeline(FunctionTransformer(), alone)):
            found = cross_validate(
                estimator,
                pictures,
                y,
                params={"groups": groups},
                cv=GroupKFold(2),
                scoring=by_kind,
                return_estimator=True,
                return_indices=True,
            )
            rows = zip(found["estimator"], found["indices"]["train"], strict=True)
            for fitted, train in rows:
                last = fitted if estimator is alone else fitted[-1]
                assert_array_equal(last.groups_, groups[train])
                assert len(last.reference_scores_) == 1
        with pytest.raises(ValueError, match="groups"):
            cross_validate(
                detector(), pictures, y, params={"groups": groups}, scoring=by_kind
            )


@pytest.mark.filterwarnings("ignore:.*not of a good kind:UserWarning")
def test_groups_of_a_folder_are_cut_with_it(folder):
    fitted = detector(validation_fraction=0.5, false_alarm_rate=0.4).fit(folder)
    assert len(fitted.reference_scores_) == 2
    part = folder[folder.groups != "3"]
    assert set(part.groups) == {"0", "1", "2"} and len(part) == 18
    pipeline = make_pipeline(detector()).fit(folder)
    assert_array_equal(pipeline.predict(folder), pipeline[-1].predict(folder))


def test_tags_say_that_images_are_no_table():
    """What takes tags at their word does not check images as rows."""
    tags = get_tags(detector())
    assert tags.estimator_type == "outlier_detector"
    assert not tags.input_tags.two_d_array and tags.input_tags.three_d_array
    assert not tags.target_tags.required


def test_representations(pictures):
    estimator = detector("module")
    assert "ImageDetector" in repr(estimator) and "FrozenFeatures" in repr(estimator)
    html = estimator._repr_html_()
    assert "FrozenFeatures" in html and "AvgPool2d" in html
    assert "fitted" in estimator.fit(pictures)._repr_html_()


def test_labels_of_a_fit(pictures, y):
    """fit_predict is of OutlierMixin; y is ignored."""
    labels = detector().fit_predict(pictures, y)
    assert_array_equal(labels, detector().fit(pictures).predict(pictures))
