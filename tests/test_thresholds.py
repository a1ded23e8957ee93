"""Tests of the rules that turn reference scores into a cut."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone

from skganomaly.thresholds import (
    CallableThreshold,
    ConformalThreshold,
    FixedThreshold,
    MaxThreshold,
    QuantileThreshold,
    TailThreshold,
    p_values,
)

RULES = [
    QuantileThreshold(),
    QuantileThreshold(rate=0.1, method="linear"),
    MaxThreshold(),
    TailThreshold(),
    ConformalThreshold(),
    FixedThreshold(value=1.5),
    CallableThreshold(function=np.median),
]
rule_ids = [repr(rule).partition(" at 0x")[0] for rule in RULES]
every_rule = pytest.mark.parametrize("rule", RULES, ids=rule_ids)


def n_flagged_left_out(rule, scores):
    """Count the scores that are flagged when all the others are the references."""
    return sum(
        score > rule.fit(np.delete(scores, i)).threshold_
        for i, score in enumerate(scores)
    )


def assert_share_is(flags, probability):
    """Assert that a binomial count is one that happens in all but 1e-4 of runs."""
    bounds = stats.binom.ppf([5e-5, 1 - 5e-5], flags.size, probability)
    assert bounds[0] <= flags.sum() <= bounds[1]


@every_rule
def test_fit_sets_float_threshold_and_count(rule):
    """Any array-like of scores gives a plain float, and fit returns the rule."""
    scores = np.random.default_rng(0).exponential(size=200).astype(np.float32)
    fitted = clone(rule).fit(scores)
    assert type(fitted.threshold_) is float
    assert fitted.n_references_ == 200
    again = clone(rule)
    assert again.fit(scores.tolist()) is again
    assert again.threshold_ == fitted.threshold_


@every_rule
def test_rule_is_a_good_estimator(rule):
    """Clone, repr, parameters and pickle survive, and fit changes no parameter."""
    scores = np.random.default_rng(1).exponential(size=200)
    copied = clone(rule)
    params = copied.get_params()
    assert params == rule.get_params()
    assert repr(copied) == repr(rule)
    assert repr(copied).startswith(type(rule).__name__)
    copied.set_params(**params).fit(scores)
    assert copied.get_params() == params
    assert not hasattr(clone(copied), "threshold_")
    assert pickle.loads(pickle.dumps(copied)).threshold_ == copied.threshold_


@every_rule
def test_order_of_scores_is_irrelevant_and_input_untouched(rule):
    """The cut depends on the set of scores alone, which stays as it was."""
    rng = np.random.default_rng(2)
    scores = rng.exponential(size=200)
    before = scores.copy()
    cut = clone(rule).fit(scores).threshold_
    assert_array_equal(scores, before)
    assert clone(rule).fit(rng.permutation(scores)).threshold_ == cut


@every_rule
@pytest.mark.parametrize(
    ("scores", "match"),
    [
        ([], r"at least one number; got an array of shape \(0,\)"),
        (3.0, r"one-dimensional array.*shape \(\)"),
        ([[1.0, 2.0]], r"one-dimensional array.*shape \(1, 2\)"),
        (
            [0.0, np.nan, 1.0, np.inf],
            "finite; got 2 NaN .* among 4, the first at ind.* 1",
        ),
        ([-np.inf], "finite; got 1 NaN or infinite"),
        (["a", "b"], "real numbers; got dtype <U1"),
        ([True, False], "real numbers; got dtype bool"),
        ([1.0 + 1j], "real numbers; got dtype complex128"),
    ],
)
def test_bad_scores_are_refused(rule, scores, match):
    """Every rule says what was wrong with the scores."""
    with pytest.raises(ValueError, match=match):
        clone(rule).fit(scores)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (QuantileThreshold(rate=0), "rate"),
        (QuantileThreshold(rate=1), "rate"),
        (QuantileThreshold(rate=True), "rate"),
        (QuantileThreshold(rate="0.1"), "rate"),
        (QuantileThreshold(rate=math.nan), "rate"),
        (QuantileThreshold(method="hazen"), "method"),
        (TailThreshold(rate=0.0), "rate"),
        (TailThreshold(tail_fraction=0.6), "tail_fraction"),
        (ConformalThreshold(rate=1.5), "rate"),
        (FixedThreshold(value=math.nan), "value"),
        (FixedThreshold(value=math.inf), "value"),
        (FixedThreshold(value=True), "value"),
        (FixedThreshold(value="1"), "value"),
        (CallableThreshold(function=1.0), "function"),
    ],
    ids=repr,
)
def test_bad_parameters_are_refused_in_fit(rule, name):
    """Parameters are validated in fit, not in the constructor."""
    with pytest.raises(ValueError, match=name):
        rule.fit(np.arange(100.0))


@pytest.mark.parametrize("n", [1, 2, 19, 100])
@pytest.mark.parametrize("constant", [0.0, -0.1, 1e300, 1e-310])
def test_constant_scores_flag_nothing_equal_to_them(n, constant):
    """Where all scores tie, the cut is exactly that score."""
    scores = np.full(n, constant)
    rules = [QuantileThreshold(), QuantileThreshold(method="linear"), MaxThreshold()]
    if n >= 19:
        rules.append(ConformalThreshold())
    for rule in rules:
        assert rule.fit(scores).threshold_ == constant


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.29, 0.3, 0.5])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_linear_flags_exactly_the_share_asked(n, rate):
    """`contamination` of the given rows lie above the cut, to the row."""
    scores = np.random.default_rng(3).lognormal(size=n)
    cut = QuantileThreshold(rate=rate, method="linear").fit(scores).threshold_
    assert np.sum(scores > cut) == round(n * rate)


def test_linear_rounds_where_the_share_is_not_whole():
    """The count is the share rounded up or down for every n and rate."""
    rng = np.random.default_rng(4)
    for n in range(1, 60):
        scores = rng.normal(size=n)
        for rate in (0.01, 0.07, 0.1, 1 / 3, 0.5):
            cut = QuantileThreshold(rate=rate, method="linear").fit(scores).threshold_
            assert abs(np.sum(scores > cut) - n * rate) < 1


def test_linear_count_survives_neighbouring_floats():
    """Interpolating between adjacent floats must not unflag the upper one."""
    scores = np.array([1.0, np.nextafter(1.0, 2.0)])
    for rate in (0.01, 0.3, 0.7, 0.99):
        rule = QuantileThreshold(rate=rate, method="linear").fit(scores)
        assert np.sum(scores > rule.threshold_) == 1


@pytest.mark.parametrize("method", ["weibull", "linear"])
def test_quantile_agrees_with_numpy(method):
    """The methods are numpy's of the same name."""
    rng = np.random.default_rng(5)
    for n in (1, 2, 3, 20, 137):
        scores = rng.normal(size=n)
        for rate in (0.001, 0.05, 0.123, 0.5, 0.9, 0.999):
            cut = QuantileThreshold(rate=rate, method=method).fit(scores).threshold_
            assert_allclose(cut, np.quantile(scores, 1 - rate, method=method))


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (19, 0.05), (99, 0.07), (99, 0.29)])
def test_weibull_is_exact_where_the_rank_is_whole(n, rate):
    """Of n + 1 exchangeable rows, each left out in turn, exactly `rate` are flagged.

    (99, 0.29) has 100 * 0.29 = 28.999999999999996 in floating point.
    """
    scores = np.random.default_rng(6).normal(size=n + 1)
    n_flagged = n_flagged_left_out(QuantileThreshold(rate=rate), scores)
    assert n_flagged == round((n + 1) * rate)


def test_weibull_interpolates_between_the_neighbouring_probabilities():
    """Between whole ranks the count lies between the two neighbours."""
    rng = np.random.default_rng(7)
    for n in (25, 33, 58):
        share = (n + 1) * 0.07
        n_flagged = n_flagged_left_out(
            QuantileThreshold(rate=0.07), rng.normal(size=n + 1)
        )
        assert math.floor(share) <= n_flagged <= math.ceil(share)


@pytest.mark.parametrize("n", [19, 39, 199])
def test_weibull_false_alarm_rate_on_new_rows(n):
    """Over fresh references and fresh rows, 5 % of rows exceed the cut."""
    draws = np.random.default_rng(8).lognormal(size=(1000, n + 1))
    rule = QuantileThreshold(rate=0.05)
    cuts = np.array([rule.fit(draw[:-1]).threshold_ for draw in draws])
    assert_share_is(draws[:, -1] > cuts, 0.05)


@pytest.mark.parametrize("n", [1, 2, 18])
def test_weibull_is_the_maximum_below_its_resolution(n):
    """With fewer than 1 / rate - 1 rows the cut is the largest score."""
    scores = np.random.default_rng(9).normal(size=n)
    assert QuantileThreshold(rate=0.05).fit(scores).threshold_ == scores.max()
    assert MaxThreshold().fit(scores).threshold_ == scores.max()


def test_ties_at_the_cut_are_not_flagged():
    """A row equal to the cut is normal, so ties lower the count."""
    scores = np.repeat([0.0, 1.0, 2.0], [80, 19, 1])
    assert QuantileThreshold(rate=0.1, method="linear").fit(scores).threshold_ == 1.0
    assert QuantileThreshold(rate=0.1).fit(scores).threshold_ == 1.0
    assert ConformalThreshold(rate=0.1).fit(scores).threshold_ == 1.0


def test_conformal_coverage_over_200_draws():
    """In 200 draws of references and one new row each, at most the rate is flagged."""
    rng = np.random.default_rng(10)
    for n, rate in [(19, 0.05), (30, 0.1), (250, 0.2)]:
        draws = rng.standard_t(3, size=(200, n + 1))
        rule = ConformalThreshold(rate=rate)
        cuts = np.array([rule.fit(draw[:-1]).threshold_ for draw in draws])
        probability = math.floor(round((n + 1) * rate, 9)) / (n + 1)
        assert probability <= rate
        assert_share_is(draws[:, -1] > cuts, probability)


@pytest.mark.parametrize("rate", ["0.01", "0.05", "0.07", "0.1", "0.29", "0.58", "0.9"])
def test_conformal_rank_is_exact_for_every_n(rate):
    """The cut has rank ceil((n + 1)(1 - rate)), without floating error."""
    exact = Fraction(rate)
    for n in range(1, 300):
        if n + 1 >= 1 / exact:
            rule = ConformalThreshold(rate=float(rate)).fit(np.arange(1.0, n + 1))
            assert rule.threshold_ == math.ceil((n + 1) * (1 - exact))


def test_conformal_guarantee_by_leaving_out():
    """The share flagged is the rate rounded down to rows, and less with ties."""
    rng = np.random.default_rng(11)
    for n in (9, 14, 40):
        rule = ConformalThreshold(rate=0.1)
        allowed = math.floor(round((n + 1) * 0.1, 9))
        assert n_flagged_left_out(rule, rng.normal(size=n + 1)) == allowed
        ties = rng.integers(4, size=n + 1).astype(float)
        assert n_flagged_left_out(rule, ties) <= allowed


def test_conformal_smallest_sample():
    """Nine rows are enough for rate 0.1; eight are told so, and what would be."""
    assert ConformalThreshold(rate=0.1).fit(np.arange(9.0)).threshold_ == 8.0
    with pytest.raises(
        ValueError, match=r"at least 9 held-out.*got 8.*1/9.*validation"
    ):
        ConformalThreshold(rate=0.1).fit(np.arange(8.0))


def test_conformal_advice_is_right_for_every_n():
    """The rate 1/(n + 1) of the message works, the size it names is the smallest."""
    for n in range(1, 300):
        scores = np.arange(float(n))
        assert ConformalThreshold(rate=1 / (n + 1)).fit(scores).threshold_ == n - 1
        with pytest.raises(
            ValueError, match=rf"at least {n + 1} held-out scores; got {n},"
        ):
            ConformalThreshold(rate=1 / (n + 2)).fit(scores)


@pytest.mark.parametrize(
    ("distribution", "tolerance"),
    [
        (stats.expon(), 0.1),
        (stats.pareto(4), 0.17),
        (stats.genpareto(0.5, scale=3), 0.29),
        (stats.uniform(), 0.0015),
    ],
    ids=["exponential", "pareto", "heavy", "bounded"],
)
def test_tail_recovers_quantile_beyond_the_sample(distribution, tolerance):
    """The median cut over 60 samples of 2000 is near the true quantile at 1 / 10000.

    The log of one cut has standard deviations 0.15, 0.27, 0.47 and 0.0005 here (600
    samples of another seed). The median of 60 has 1.25 / sqrt(60) = 0.16 of that;
    the tolerance is 3.5 of these plus the bias, at most 0.02. The largest score,
    whose median is the quantile at 1 / 2886, misses it (except where bounded).
    """
    rate = 1e-4
    draws = distribution.rvs(size=(60, 2000), random_state=np.random.default_rng(12))
    cuts = [TailThreshold(rate=rate).fit(draw).threshold_ for draw in draws]
    truth = distribution.isf(rate)
    assert abs(np.log(np.median(cuts) / truth)) < tolerance
    if np.isinf(distribution.support()[1]):
        assert np.log(np.median(draws.max(axis=1)) / truth) < -tolerance


def test_tail_false_alarm_rate_beyond_the_sample():
    """The mean share flagged stays near a rate of a fifth of 1 / n.

    200 samples give it a standard error of about 10 %; the method itself errs upwards
    (documented: 1.2 to 1.8). The largest score would flag 5 times the rate.
    """
    n, rate = 1000, 1 / 5000
    draws = np.random.default_rng(13).exponential(size=(200, n))
    cuts = np.array([TailThreshold(rate=rate).fit(draw).threshold_ for draw in draws])
    assert 0.8 < np.exp(-cuts).mean() / rate < 2.3


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.8])
def test_tail_parameters_on_exact_generalised_pareto(shape):
    """Shape and scale are within 4 asymptotic standard errors, and near their maximum.

    The tail of a generalised Pareto above u is one again, with the same shape and
    scale 1 + shape * u. The standard error of the maximum likelihood shape is
    (1 + shape) / sqrt(k); a sound estimator gives up little of the likelihood.
    """
    rng = np.random.default_rng(14)
    scores = stats.genpareto(shape).rvs(size=20_000, random_state=rng)
    rule = TailThreshold(rate=1e-5).fit(scores)
    k = np.sum(scores > rule.location_)
    assert k == 2000
    error = 4 / np.sqrt(k)
    assert_allclose(rule.shape_, shape, atol=(1 + shape) * error, rtol=0)
    true_scale = 1 + shape * rule.location_
    assert_allclose(rule.scale_, true_scale, rtol=math.sqrt(2 * (1 + shape)) * error)

    excesses = scores[scores > rule.location_] - rule.location_
    best = stats.genpareto.fit(excesses, floc=0, scale=rule.scale_)
    fitted = stats.genpareto(rule.shape_, scale=rule.scale_).logpdf(excesses).sum()
    assert fitted > stats.genpareto(*best).logpdf(excesses).sum() - 0.5


def test_tail_cut_solves_the_tail_formula():
    """The fitted tail leaves exactly `rate` above the cut."""
    scores = np.random.default_rng(15).gamma(3.0, size=500)
    rule = TailThreshold(rate=0.003, tail_fraction=0.2).fit(scores)
    assert rule.location_ == np.sort(scores)[-101]
    tail = stats.genpareto(rule.shape_, loc=rule.location_, scale=rule.scale_)
    assert_allclose(101 / 501 * tail.sf(rule.threshold_), 0.003)
    assert np.all(tail.pdf(scores[scores > rule.location_]) > 0)


@pytest.mark.parametrize("unit", [1e-200, 1e-6, 1e12, 1e200])
def test_tail_follows_the_units_of_the_scores(unit):
    """Scores in other units give the same cut in those units."""
    scores = np.random.default_rng(16).exponential(size=300)
    one, other = TailThreshold().fit(scores), TailThreshold().fit(scores * unit)
    assert_allclose(other.threshold_, one.threshold_ * unit, rtol=1e-9)
    assert_allclose(other.shape_, one.shape_, rtol=1e-9)
    assert_allclose(other.scale_, one.scale_ * unit, rtol=1e-9)


def test_tail_cut_falls_with_the_rate_and_starts_at_the_tail():
    """A smaller rate never lowers the cut, which never lies below the tail's start."""
    scores = np.random.default_rng(17).lognormal(size=400)
    rules = [TailThreshold(rate=r).fit(scores) for r in (0.099, 0.05, 0.01, 1e-3, 1e-6)]
    cuts = [rule.threshold_ for rule in rules]
    assert cuts == sorted(cuts)
    assert cuts[0] >= rules[0].location_


def test_tail_with_ties_at_its_start():
    """If less than `rate` of the scores lie above the tied start, it is the cut."""
    scores = np.concatenate([np.zeros(980), np.arange(1.0, 21.0)])
    rule = TailThreshold(rate=0.05).fit(scores)
    assert rule.location_ == rule.threshold_ == 0.0
    assert TailThreshold(rate=0.01).fit(scores).threshold_ > 0.0


def test_tail_refusals():
    """Too large a rate, too few scores and constant scores are explained."""
    with pytest.raises(ValueError, match=r"rate < tail_fraction; got rate=0\.1 and"):
        TailThreshold(rate=0.1).fit(np.arange(1000.0))
    with pytest.raises(
        ValueError, match=r"10 distinct.*got 9 above 89 .*at least 100 sc"
    ):
        TailThreshold().fit(np.arange(99.0))
    assert np.isfinite(TailThreshold().fit(np.arange(100.0)).threshold_)
    with pytest.raises(
        ValueError, match=r"got 0 above 1 among 1000.*QuantileThreshold"
    ):
        TailThreshold().fit(np.ones(1000))
    steps = np.repeat([0.0, 1.0, 2.0], [800, 100, 100])
    with pytest.raises(ValueError, match="got 1 above 1 among 1000 scores"):
        TailThreshold().fit(steps)


def test_p_values_by_hand_and_shape():
    """The definition, ties counted, in the shape of the scores."""
    scores = np.array([[0.0, 1.0, 1.5], [2.0, 3.0, 3.5]])
    p = p_values([1.0, 2.0, 2.0, 3.0], scores)
    assert_array_equal(p, np.array([[5, 5, 4], [4, 2, 1]]) / 5)
    assert p_values([1.0], []).shape == (0,)
    assert np.ndim(p_values([1.0], 0.5)) == 0
    assert_array_equal(p_values([1.0], [np.inf, -np.inf]), [0.5, 1.0])


def test_p_values_fall_as_scores_rise_and_stay_in_range():
    """The p-value is monotone, at least 1 / (n + 1) and at most 1."""
    rng = np.random.default_rng(18)
    references = np.sort(rng.normal(size=49))
    p = p_values(references, np.sort(rng.normal(scale=3, size=500)))
    assert np.all(np.diff(p) <= 0)
    assert p[0] == 1.0
    assert p[-1] == p.min() == 1 / 50


def test_p_values_are_uniform_under_exchangeability():
    """Left out in turn, n + 1 rows take each possible p-value once; ties only raise."""
    rng = np.random.default_rng(19)
    grid = np.arange(1, 31) / 30
    for ties in (False, True):
        scores = rng.integers(5, size=30) if ties else rng.normal(size=30)
        p = [p_values(np.sort(np.delete(scores, i)), s) for i, s in enumerate(scores)]
        if ties:
            assert np.all(np.sort(p) >= grid - 1e-12)
        else:
            assert_allclose(np.sort(p), grid)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_conformal_flags_where_the_p_value_is_at_most_the_rate(rate):
    """The two are one test, with ties and without."""
    rng = np.random.default_rng(20)
    for draw in (rng.normal(size=(2, 59)), rng.integers(9, size=(2, 59))):
        references, scores = np.sort(draw[0]), draw[1]
        flagged = scores > ConformalThreshold(rate=rate).fit(references).threshold_
        assert_array_equal(p_values(references, scores) <= rate + 1e-12, flagged)


@pytest.mark.parametrize(
    ("references", "scores", "match"),
    [
        ([2.0, 1.0], [0.0], "increasing order"),
        ([], [0.0], "reference_scores_sorted must be a one-dimensional"),
        ([1.0, np.nan], [0.0], "reference_scores_sorted must be finite"),
        ([1.0], [0.0, np.nan], "got 1 NaN among 2"),
    ],
)
def test_p_values_refusals(references, scores, match):
    """Unsorted, empty and NaN inputs are explained."""
    with pytest.raises(ValueError, match=match):
        p_values(references, scores)
