"""Tests of what every score promises: at the edges, of its state, of gradients."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
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
from skganomaly._models._scoring import JointScoring, PartScoring, WeightedScoring


def make_scores():
    """Unfitted scores of every kind."""
    return {
        "part": PartScoring("a"),
        "weighted": WeightedScoring({"a": 0.9, "b": 0.1}, "l1"),
        "joint": JointScoring(["a", "b"]),
        "local of rows": LocalScoring(["a", "b"], **ROWS),
        "local of maps": LocalScoring(["a", "b"], **MAPS),
    }


every_score = pytest.mark.parametrize("name", make_scores())


@every_score
def test_scores_rise_with_the_distance(name):
    """The further out a row is in some direction, the higher its score."""
    references = make_parts()
    score = make_scores()[name].fit(references)
    centre = torch.from_numpy(join(references)).mean(1, keepdim=True)
    steps = torch.tensor([5.0, 10, 20, 50, 1000])[None, :, None]
    rows = split(centre + steps * torch.tensor([1.0, -1, 1, 1]))
    assert (np.diff(score_rows(score, rows)) > 0).all()


def honest_scores(score, references):
    """Reference scores where each row is a group of its own."""
    rows = torch.arange(n_rows_of(references))
    return score.reference_scores(references, rows, rows)


# Degenerate data.


def all_scores(score, references):
    """Every way in which reference rows are scored."""
    n_rows = n_rows_of(references)
    scores = [
        score_rows(score, references),
        score_rows(score, references, torch.arange(n_rows)),
        score_rows(score, make_parts(5, seed=7)),
    ]
    honest = honest_scores(score, references)
    return scores if honest is None else [*scores, honest[0].double().numpy()]


@every_score
@pytest.mark.parametrize("n_rows", [2, 3, 6, 11])
def test_few_references(name, n_rows):
    """Two rows are enough for every score to be a number."""
    references = make_parts(n_rows)
    score = make_scores()[name].fit(references)
    for scores in all_scores(score, references):
        assert np.isfinite(scores).all()


@every_score
@pytest.mark.parametrize("copies", [2, 7])
def test_repeated_rows(name, copies):
    """Rows that occur several times have finite scores, and equal ones."""
    once = make_parts(20)
    references = take(once, np.repeat(np.arange(20), copies))
    score = make_scores()[name].fit(references)
    for scores in all_scores(score, references):
        assert np.isfinite(scores).all()
    own = score_rows(score, references, torch.arange(20 * copies)).reshape(20, copies)
    assert_array_equal(own, np.broadcast_to(own[:, :1], own.shape))
    far = {name: part + 50 for name, part in once.items()}
    assert score_rows(score, far).min() > own.max()


@every_score
@pytest.mark.parametrize("value", [0.0, 2.0, 1e-8])
@pytest.mark.parametrize("n_rows", [2, 15, 60])
def test_equal_rows(name, value, n_rows):
    """Where all references are equal every score is a number, and others are higher."""
    references = {
        "a": torch.full((2, n_rows, 3), value),
        "b": torch.full((2, n_rows, 1), value),
        "row": torch.full((1, n_rows, 2), value),
    }
    score = make_scores()[name].fit(references)
    for scores in all_scores(score, references):
        assert np.isfinite(scores).all()
    other = {name: part[:, :1] + 5 for name, part in references.items()}
    assert score_rows(score, other).min() > score_rows(score, references).max()


@every_score
def test_constant_columns(name):
    """A column that never varied is harmless, and a change in it counts."""
    references = make_parts()
    references["a"][:, :, 1] = 3.0
    score = make_scores()[name].fit(references)
    for scores in all_scores(score, references):
        assert np.isfinite(scores).all()
    changed = take(references, [0])
    changed["a"] = changed["a"].clone()
    changed["a"][:, :, 1] += 20
    assert score_rows(score, changed) > score_rows(score, references).max()


@every_score
def test_huge_values(name):
    """The largest residuals that scaling leaves over have finite scores."""
    references = make_parts()
    score = make_scores()[name].fit(references)
    rows = {key: torch.full_like(part[:, :2], 1e5) for key, part in references.items()}
    assert np.isfinite(score_rows(score, rows)).all()
    references["b"][:, 5] = 1e5
    score = make_scores()[name].fit(references)
    for scores in all_scores(score, references):
        assert np.isfinite(scores).all()


# State.


@every_score
def test_state_round_trip(name):
    """Arrays of NumPy hold all that was learned, to the last bit."""
    references, rows = make_parts(), make_parts(9, seed=1)
    score = make_scores()[name].fit(references)
    state = {key: value.numpy() for key, value in score.state_dict().items()}
    for key, array in state.items():
        assert array.dtype == (np.int64 if "groups" in key else np.float32)
    restored = make_scores()[name]
    restored.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    assert_array_equal(score_rows(restored, rows), score_rows(score, rows))
    own = torch.arange(60)
    assert_array_equal(
        score_rows(restored, references, own), score_rows(score, references, own)
    )
    assert restored.state_dict().keys() == state.keys()
    for key, tensor in restored.state_dict().items():
        assert_array_equal(tensor, state[key])
    # The one that was restored shares nothing with the other.
    expected = score_rows(score, rows)
    restored.fit(make_parts(seed=5))
    assert_array_equal(score_rows(score, rows), expected)


@every_score
def test_state_replaces_another(name):
    """What was fitted before leaves nothing, whatever its shape was."""
    score = make_scores()[name].fit(make_parts())
    other = make_scores()[name].fit(make_parts(80, seed=3))
    other.load_state_dict(score.state_dict())
    rows = make_parts(9, seed=1)
    assert_array_equal(score_rows(other, rows), score_rows(score, rows))


@every_score
def test_fitting_again_forgets(name):
    """A second fit is like a first one."""
    first = make_scores()[name].fit(make_parts(80, seed=3)).fit(make_parts())
    second = make_scores()[name].fit(make_parts())
    rows = make_parts(9, seed=1)
    assert_array_equal(score_rows(first, rows), score_rows(second, rows))


@every_score
def test_scores_do_not_depend_on_position(name):
    """In batches of one size a row's score has the same bits in every place."""
    score = make_scores()[name].fit(make_parts())
    rows = make_parts(64, seed=1)
    order = np.random.default_rng(0).permutation(64)
    straight = score_rows(score, rows)
    assert_array_equal(score_rows(score, take(rows, order)), straight[order])
    one = {key: part[:, 5:6].expand(-1, 64, -1) for key, part in rows.items()}
    assert_array_equal(score_rows(score, one), np.full(64, straight[5]))


@every_score
def test_scores_can_be_differentiated(name):
    """Explanations need finite gradients that point away from the references."""
    score = make_scores()[name].fit(make_parts())
    rows = {key: part.requires_grad_() for key, part in make_parts(9, seed=1).items()}
    score(rows, unseen(9)).sum().backward()
    assert torch.isfinite(rows["a"].grad).all()
    assert (rows["a"].grad != 0).any()


@every_score
def test_gradients_at_a_reference_are_finite(name):
    """A distance of zero has no slope, and must not have an undefined one."""
    references = make_parts()
    score = make_scores()[name].fit(references)
    rows = {
        key: part[:, :3].clone().requires_grad_() for key, part in references.items()
    }
    score(rows, unseen(3)).sum().backward()
    for part in rows.values():
        assert part.grad is None or torch.isfinite(part.grad).all()
