"""Tests of the scores against NumPy, and of what their reference scores promise."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from score_parts import (
    MAPS,
    ROWS,
    join,
    make_parts,
    n_rows_of,
    score_rows,
    split,
    take,
    unseen,
)

from skganomaly._models._local_score import LocalScoring
from skganomaly._models._scoring import (
    JointScoring,
    PartScoring,
    WeightedScoring,
    part_magnitudes,
)
from skganomaly._models._whitening import shrinkage_for

every_local = pytest.mark.parametrize("options", [ROWS, MAPS], ids=["rows", "maps"])


# References, written from the documentation.


def lower_median(values):
    """Torch's median: of an even number of values the lower one in the middle."""
    values = np.sort(values)
    return values[(len(values) - 1) // 2]


def unit_of(values):
    """Median of what is not almost zero, and 1 where everything is."""
    positive = values[values > 1e-5]
    return lower_median(positive) if len(positive) else 1.0


def part_score(references, rows):
    """Mean square of part "a" in units of its median, averaged over members."""
    ratios = [
        np.mean(x**2, axis=1) / unit_of(np.mean(r**2, axis=1))
        for r, x in zip(
            references["a"].double().numpy(), rows["a"].double().numpy(), strict=True
        )
    ]
    return np.mean(ratios, axis=0)


def share_of(n_rows, width):
    return max(0.03, 4 * width / (4 * width + n_rows))


def covariance(rows):
    """Mean and covariance, shrunk to its diagonal by 4p / (4p + n).

    In that diagonal no variance is below a thousandth of the mean one.
    """
    n_rows, width = rows.shape
    mean = rows.mean(axis=0)
    empirical = (rows - mean).T @ (rows - mean) / n_rows
    share = share_of(n_rows, width)
    variances = np.diag(empirical)
    variances = np.maximum(variances, 1e-3 * variances.mean())
    return mean, (1 - share) * empirical + share * np.diag(variances)


def mahalanobis(rows, mean, matrix):
    centred = rows - mean
    return np.sum(centred * np.linalg.solve(matrix, centred.T).T, axis=1)


def joint_score(references, rows):
    """Squared Mahalanobis distances in units of their median."""
    scores = []
    for r, x in zip(join(references), join(rows), strict=True):
        fitted = covariance(r)
        unit = unit_of(mahalanobis(r, *fitted))
        scores.append(mahalanobis(x, *fitted) / unit)
    return np.mean(scores, axis=0)


def squash_and_whiten(references, rows):
    """Squashed and then whitened vectors of one member."""
    median = np.apply_along_axis(lower_median, 0, references)
    deviation = np.apply_along_axis(lower_median, 0, np.abs(references - median))
    spread = np.maximum(1.4826 * deviation, 0.1 * references.std(axis=0))
    squashed = []
    for values in (references, rows):
        scaled = (values - median) / spread
        size = np.abs(scaled)
        far = np.sign(scaled) * 3 * (1 + np.log(np.maximum(size, 3) / 3))
        squashed.append(np.where(size > 3, far, scaled))
    mean, matrix = covariance(squashed[0])
    inverse = np.linalg.inv(np.linalg.cholesky(matrix))
    return tuple((values - mean) @ inverse.T for values in squashed)


def views_of(references, rows, options):
    """Vectors that are compared, with the power of the scale and the weight."""
    members = list(zip(join(references), join(rows), strict=True))
    for r, x in members:
        compared = squash_and_whiten(r, x) if options["whiten"] else (r, x)
        yield *compared, options["exponent"], 1 / len(members)
    if options["row_weight"]:
        r, x = (parts["row"][0].double().numpy() for parts in (references, rows))
        yield r / r.std(axis=0), x / r.std(axis=0), 0, options["row_weight"]


def neighbors_of(row, references, leave_out, n_neighbors):
    """Ascending distances to the nearest references, and which they are."""
    distances = np.maximum(np.linalg.norm(references - row, axis=1), 1e-6)
    if leave_out >= 0:
        distances[leave_out] = np.inf
    order = np.argsort(distances, kind="stable")
    order = order[: min(n_neighbors, len(references) - 1)]
    return distances[order], order


def local_score(references, rows, own, options):
    """Distance to the nearest references for what is usual there."""
    logs, weights = [], []
    for r, x, exponent, weight in views_of(references, rows, options):
        weights.append(weight)
        of_references = [
            neighbors_of(row, r, i, options["n_scale_neighbors"])
            for i, row in enumerate(r)
        ]
        usual = np.array([np.mean(d[:5]) for d, _ in of_references])
        floor = 0.05 * unit_of(usual)

        def ratios(found, usual=usual, floor=floor, exponent=exponent):
            values = []
            for distances, order in found:
                distance = np.mean(distances[:5])
                if options["use_nearest"]:
                    distance = np.sqrt(distances[0] * distance)
                scale = np.mean(usual[order]) + floor
                values.append(distance / scale**exponent)
            return np.array(values)

        unit = unit_of(ratios(of_references))
        found = [
            neighbors_of(row, r, i, options["n_scale_neighbors"])
            for row, i in zip(x, own, strict=True)
        ]
        logs.append(np.log(ratios(found) / unit + 1e-3))
    return np.average(logs, axis=0, weights=weights)


@pytest.mark.parametrize("n_references", [60, 61])
def test_part_score(n_references):
    """Mean squares in units of their median, averaged over members."""
    references, rows = make_parts(n_references), make_parts(9, seed=1)
    score = PartScoring("a").fit(references)
    assert_allclose(score_rows(score, rows), part_score(references, rows), rtol=1e-5)
    assert_allclose(
        part_magnitudes(rows["a"]),
        rows["a"].numpy().var(2) + rows["a"].numpy().mean(2) ** 2,
        rtol=1e-4,
    )


def test_unit_is_that_of_residuals_that_are_not_zero():
    """Rows without a residual, however many, do not make a unit of zero."""
    references, rows = make_parts(60), make_parts(9, seed=1)
    references["a"][:, :45] = 0
    score = PartScoring("a").fit(references)
    assert_allclose(score_rows(score, rows), part_score(references, rows), rtol=1e-5)
    assert score.unit.min() > 0.1


@pytest.mark.parametrize("scale", [1e3, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize(
    "make",
    [
        lambda: PartScoring("a"),
        lambda: WeightedScoring({"a": 0.9, "b": 0.1}, "l2"),
        lambda: WeightedScoring({"a": 0.9, "b": 0.1}, "l1"),
        lambda: JointScoring(["a", "b"]),
    ],
    ids=["part", "l2", "l1", "joint"],
)
def test_typical_row_has_score_one_whatever_the_scale(make, scale):
    """However small residuals are, the unit is the median one."""
    references = {k: scale * v for k, v in make_parts(61, n_members=1).items()}
    score = make().fit(references)
    assert_allclose(np.median(score_rows(score, references)), 1, rtol=1e-5)
    # Half of them without a residual change nothing for the others.
    nothing = {k: torch.cat([v, 0 * v], 1) for k, v in references.items()}
    if not isinstance(score, JointScoring):
        assert_array_equal(make().fit(nothing).unit, score.unit)


def test_part_score_from_magnitudes():
    """Magnitudes are all that is needed to fit it."""
    references = make_parts()
    fitted = PartScoring("b").fit(references)
    other = PartScoring("b").fit_magnitudes(part_magnitudes(references["b"]))
    assert_array_equal(fitted.unit, other.unit)


@pytest.mark.parametrize("small", [1.0, 1e-3])
@pytest.mark.parametrize("n_references", [12, 60, 400])
def test_joint_score(n_references, small):
    """Squared Mahalanobis distances with the shrunk covariance, in median units."""
    references, rows = make_parts(n_references), make_parts(9, seed=1)
    for parts in (references, rows):
        parts["a"][:, :, 0] *= small
    score = JointScoring(["a", "b"]).fit(references)
    assert_allclose(score_rows(score, rows), joint_score(references, rows), rtol=1e-4)


@every_local
@pytest.mark.parametrize("n_references", [3, 7, 60, 200])
def test_local_score(options, n_references):
    """Of new rows and of reference rows, which leave themselves out."""
    references, rows = make_parts(n_references), make_parts(9, seed=1)
    rows["a"][:, 0] *= 30
    score = LocalScoring(["a", "b"], **options).fit(references)
    own = np.arange(n_references)
    for x, which in [(rows, np.full(9, -1)), (references, own)]:
        expected = local_score(references, x, which, options)
        found = score_rows(score, x, torch.from_numpy(which))
        assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_local_score_is_zero_for_the_median_row():
    """One member's scores have a median of about zero, and e times as far is one."""
    references = make_parts(101, n_members=1)
    score = LocalScoring(["a", "b"], **MAPS).fit(references)
    own = score_rows(score, references, torch.arange(101))
    assert abs(np.median(own)) < 2e-3
    far = torch.zeros(1, 2, 4)
    far[0, :, 0] = torch.tensor([1e4, np.e * 1e4])
    one, further = score_rows(score, split(far))
    assert_allclose(further - one, 1, atol=1e-2)


def test_joint_score_does_not_depend_on_units():
    """Rescaled columns give the same distances, as long as none is negligible."""
    scales = torch.tensor([0.5, 1.0, 2.0, 5.0])
    references, rows = make_parts(), make_parts(9, seed=1)
    plain = JointScoring(["a", "b"]).fit(references)
    scaled = JointScoring(["a", "b"]).fit(
        split(torch.from_numpy(join(references)) * scales)
    )
    assert_allclose(
        score_rows(scaled, split(torch.from_numpy(join(rows)) * scales)),
        score_rows(plain, rows),
        rtol=2e-3,
    )


def test_shrinkage():
    """The share 4p / (4p + n), and never less than 3 %."""
    assert shrinkage_for(10, 10) == 0.8
    assert shrinkage_for(40, 10) == 0.5
    assert shrinkage_for(10**6, 10) == 0.03


# Reference scores.


def left_out_distances(rows, diagonal_factor):
    """Squared distance of each row to the others, refitted without it.

    The share and the diagonal that the covariance is shrunk to are those of all
    rows, the diagonal times a factor.
    """
    n_rows, width = rows.shape
    share = share_of(n_rows, width)
    diagonal = np.diag(rows.var(axis=0)) * diagonal_factor
    distances = []
    for i in range(n_rows):
        others = np.delete(rows, i, axis=0)
        mean = others.mean(axis=0)
        empirical = (others - mean).T @ (others - mean) / (n_rows - 1)
        matrix = (1 - share) * empirical + share * diagonal
        distances.append(mahalanobis(rows[i : i + 1], mean, matrix)[0])
    return np.array(distances)


@pytest.mark.parametrize("n_rows", [6, 20, 100])
def test_joint_reference_scores_are_leave_one_out(n_rows):
    """The closed form equals refits without the row.

    Removing a row divides the sums of squares by n - 1 in place of n, and the closed
    form does the same to the diagonal target. With that it is exact, up to single
    precision. With the target held as it is, the covariance of the closed form is
    larger by at most n / (n - 1), so its distances are smaller by at most that.
    """
    references = make_parts(n_rows, n_members=1)
    score = JointScoring(["a", "b"]).fit(references)
    (joined,) = join(references)
    found = honest_scores(score, references)[0].numpy() * 4 * float(score.unit)
    exact = left_out_distances(joined, n_rows / (n_rows - 1))
    assert_allclose(found, exact, rtol=1e-3)
    held = left_out_distances(joined, 1)
    assert (found <= held * 1.001).all()
    assert (found >= held * (n_rows - 1) / n_rows * 0.999).all()
    own = score_rows(score, references)
    assert (found / 4 / float(score.unit) > own).all()


def test_joint_reference_scores_average_members():
    """The mean over members of their own leave-one-out scores."""
    references = make_parts(30)
    together, _ = honest_scores(JointScoring(["a", "b"]).fit(references), references)
    alone = []
    for k in range(2):
        member = {name: part[k : k + 1] for name, part in references.items()}
        score = JointScoring(["a", "b"]).fit(member)
        alone.append(honest_scores(score, member)[0])
    assert_allclose(together, torch.stack(alone).mean(0), rtol=1e-5)


@every_local
def test_reference_row_is_as_if_removed(options):
    """With its own index a reference is searched for among the others only."""
    references = make_parts(40)
    score = LocalScoring(["a", "b"], **options).fit(references)
    own = score_rows(score, references, torch.arange(40))
    new = score_rows(score, references)
    assert (own > new).all()
    views = [("joined", join_parts(references))]
    if options["row_weight"]:
        views.append(("rows", references["row"]))
    for name, vectors in views:
        view = getattr(score, name)
        vectors = view.transforms(vectors)
        for i in [0, 17, 39]:
            keep = np.delete(np.arange(40), i)
            without = copy.deepcopy(view)
            without.references = view.references[:, keep]
            without.squared_norms = view.squared_norms[:, :, keep]
            found = without._search(vectors[:, [i]], unseen(1))
            wanted = view._search(vectors[:, [i]], torch.tensor([i]))
            # The places of the neighbours, told by the numbering of all rows.
            n_common = found[2].shape[2]
            places = wanted[2].numpy()[:, :, :n_common]
            assert_array_equal(keep[found[2].numpy()], places)
            assert_array_equal(found[0], wanted[0])
            assert_array_equal(found[1], wanted[1])


def join_parts(parts):
    return torch.cat([parts["a"], parts["b"]], dim=2)


@every_local
def test_own_index_matters_for_its_row_only(options):
    """Known and unknown rows may be mixed in one batch."""
    references = make_parts(40)
    score = LocalScoring(["a", "b"], **options).fit(references)
    own = torch.arange(40)
    own[::2] = -1
    mixed = score_rows(score, references, own)
    assert_array_equal(mixed[::2], score_rows(score, references)[::2])
    assert_array_equal(
        mixed[1::2], score_rows(score, references, torch.arange(40))[1::2]
    )


def gaussian(n_rows, width, seed):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(98).normal(size=(width, width))
    return split(rng.normal(size=(1, n_rows, width)) @ mixing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: JointScoring(["a", "b"]),
        lambda: LocalScoring(["a", "b"], **ROWS | {"row_weight": 0.0}),
    ],
    ids=["joint", "local"],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reference_scores_are_those_of_new_rows(make, seed):
    """Their 95 % quantile flags about 5 % of new rows, where rows are few.

    The scores that the rows they were fitted on would get flag more.
    """
    references, rows = gaussian(120, 40, seed), gaussian(2000, 40, 1000 + seed)
    score = make().fit(references)
    new = score_rows(score, rows)
    honest, rows_scored = honest_scores(score, references)
    assert_array_equal(np.sort(rows_scored), np.arange(120))
    flagged = np.mean(new > np.quantile(honest, 0.95))
    assert 0.01 < flagged < 0.12
    in_sample = score_rows(score, references, torch.arange(120))
    flagged_in_sample = np.mean(new > np.quantile(in_sample, 0.95))
    assert flagged_in_sample > 1.5 * flagged


def honest_scores(score, references):
    """Reference scores where each row is a group of its own."""
    rows = torch.arange(n_rows_of(references))
    return score.reference_scores(references, rows, rows)


def test_ordinary_scores_do_where_rows_are_many():
    """Only whitening sees the rows, and it forgets them with ten to a column."""
    few, many = make_parts(39), make_parts(40)
    assert honest_scores(LocalScoring(["a", "b"], **ROWS).fit(few), few) is not None
    assert honest_scores(LocalScoring(["a", "b"], **ROWS).fit(many), many) is None
    assert honest_scores(LocalScoring(["a", "b"], **MAPS).fit(few), few) is None
    assert honest_scores(PartScoring("a").fit(few), few) is None


def test_what_counts_are_groups():
    """Many rows of few groups are few rows."""
    many = make_parts(80)
    score = LocalScoring(["a", "b"], **ROWS).fit(many)
    rows = torch.arange(80)
    assert score.reference_scores(many, rows // 2, rows) is None
    assert score.reference_scores(many, rows // 4, rows) is not None


@pytest.mark.parametrize(
    "new",
    [lambda: LocalScoring(["a", "b"], **ROWS), lambda: JointScoring(["a", "b"])],
    ids=["local", "joint"],
)
def test_cross_fit_is_by_folds_of_groups(new):
    """A tenth of the groups is scored by a fit on the rest, in the units of all."""
    references, groups = make_parts(36), torch.arange(36) // 3
    score = new().fit(references, groups)
    found, rows = score.reference_scores(references, groups, torch.arange(36))
    assert_array_equal(np.sort(rows), np.arange(36))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).numpy()
    folds = (order % 10)[groups]
    for fold in range(10):
        kept = np.unique(groups.numpy()[folds != fold], return_inverse=True)[1]
        other = new().fit(take(references, folds != fold), torch.from_numpy(kept))
        for name, buffer in other.named_buffers():
            if name.endswith("unit"):
                buffer.copy_(score.get_buffer(name))
        expected = score_rows(other, take(references, folds == fold))
        of_fold = np.isin(rows, np.flatnonzero(folds == fold))
        assert_array_equal(found[of_fold], expected)


@every_local
def test_a_group_is_left_out_of_the_search_of_its_members(options):
    """A row scores as it would if no row of its group were a reference."""
    references, groups = make_parts(40), torch.arange(40) // 4
    score = LocalScoring(["a", "b"], **options | {"whiten": False}).fit(
        references, groups
    )
    vectors = score.joined.transforms(join_parts(references))
    found = score.joined.neighbors(vectors, groups)[1].numpy()
    assert (groups.numpy()[found] != groups.numpy()[None, :, None]).all()
    distances = torch.cdist(vectors, vectors)
    distances[:, groups[:, None] == groups] = torch.inf
    expected = distances.topk(found.shape[2], largest=False).indices
    assert_array_equal(found, expected)
