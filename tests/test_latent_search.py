"""Tests of the search for codes: each row's own descent, and nothing but that."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skganomaly._models._networks import build_members, stack_members
from skganomaly._models._search import CandidateCodes, LatentSearch
from skganomaly.architectures import MLP, ConvNet

LATENT_DIM, WIDTH = 3, 6
OPTIONS = {
    "n_steps": 30,
    "learning_rate": 0.1,
    "residual_loss": "l1",
    "feature_weight": 0.1,
    "prior_weight": 0.0,
}


def make_search(**options):
    return LatentSearch(SimpleNamespace(**OPTIONS | options))


def orthogonal(n_in, n_out, generator):
    """A linear layer that keeps lengths."""
    layer = nn.Linear(n_in, n_out)
    nn.init.orthogonal_(layer.weight, generator=generator)
    nn.init.normal_(layer.bias, generator=generator)
    return layer


def make_networks(n_members=2, dtype=torch.float64):
    """An invertible generator and features, frozen.

    Lengths change by at most one half, so every code can be told from its row.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        makers = [
            nn.Sequential(
                orthogonal(LATENT_DIM, WIDTH, generator),
                nn.LeakyReLU(0.5),
                orthogonal(WIDTH, WIDTH, generator),
            )
            for _ in range(n_members)
        ]
        features = [
            nn.Sequential(orthogonal(WIDTH, 5, generator), nn.Tanh())
            for _ in range(n_members)
        ]
    return [
        stack_members(networks).to(dtype).eval().requires_grad_(False)
        for networks in (makers, features)
    ]


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def objective_by_hand(x, z, networks, *, residual_loss, feature_weight, prior_weight):
    """The documented objective, in NumPy but for the networks."""
    generator, features = networks
    made = generator(z)
    size = np.abs if residual_loss == "l1" else np.square
    value = (1 - feature_weight) * size((x - made).numpy()).mean(2)
    value += feature_weight * size((features(x) - features(made)).numpy()).mean(2)
    return value + prior_weight * np.square(z.numpy()).mean(2)


# What is descended.


@pytest.mark.parametrize("residual_loss", ["l1", "l2"])
@pytest.mark.parametrize("feature_weight", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("prior_weight", [0.0, 0.7])
def test_objective(residual_loss, feature_weight, prior_weight):
    """Means over entries of residual and features, and of the squared code."""
    networks = make_networks()
    x, z = draw(2, 5, WIDTH), draw(2, 5, LATENT_DIM, seed=1)
    options = {
        "residual_loss": residual_loss,
        "feature_weight": feature_weight,
        "prior_weight": prior_weight,
    }
    found = make_search(**options).objective(*networks, x, z)
    assert_allclose(found, objective_by_hand(x, z, networks, **options), rtol=1e-12)


def test_objective_of_images_is_a_mean_over_pixels():
    """Rows with axes of their own are flattened."""
    x, z = draw(1, 4, 2, 3, 5), draw(1, 4, LATENT_DIM)
    search = make_search(feature_weight=0.0, residual_loss="l2")
    found = search.objective(lambda z: torch.zeros_like(x), None, x, z)
    assert_allclose(found, x.square().mean((2, 3, 4)), rtol=1e-12)


def test_features_without_weight_are_not_computed():
    """A search by residuals alone does without the critic."""
    generator, _ = make_networks()

    def features(x):
        raise AssertionError("nobody asked for features")

    search = make_search(feature_weight=0.0)
    search(generator, features, draw(2, 3, WIDTH), draw(2, 3, 1, LATENT_DIM))
    search.objective(generator, features, draw(2, 3, WIDTH), draw(2, 3, LATENT_DIM))


# What is found.


@pytest.mark.parametrize("residual_loss", ["l1", "l2"])
@pytest.mark.parametrize("feature_weight", [0.0, 0.1])
def test_codes_of_generated_rows_are_recovered(residual_loss, feature_weight):
    """For a row that the generator made, the code that it was made from."""
    networks = make_networks()
    codes = draw(2, 50, LATENT_DIM, seed=3)
    x = networks[0](codes)
    search = make_search(
        n_steps=400,
        learning_rate=0.03,
        residual_loss=residual_loss,
        feature_weight=feature_weight,
    )
    start = torch.zeros(2, 50, 1, LATENT_DIM, dtype=torch.float64)
    found = search(*networks, x, start)
    assert found.shape == codes.shape
    assert_allclose(found, codes, atol=0.05)
    assert (found - codes).abs().mean() < 0.01


@pytest.mark.parametrize("residual_loss", ["l1", "l2"])
@pytest.mark.parametrize("prior_weight", [0.0, 0.5])
@pytest.mark.parametrize("learning_rate", [0.01, 0.1, 10.0])
def test_search_does_not_raise_the_objective(
    residual_loss, prior_weight, learning_rate
):
    """Of no row; and with steps that are not far too long it lowers that of all."""
    networks = make_networks()
    x, starts = draw(2, 40, WIDTH), draw(2, 40, 1, LATENT_DIM, seed=1)
    search = make_search(
        residual_loss=residual_loss,
        prior_weight=prior_weight,
        learning_rate=learning_rate,
    )
    found = search.objective(*networks, x, search(*networks, x, starts))
    before = search.objective(*networks, x, starts[:, :, 0])
    assert (found <= before).all()
    if learning_rate < 1:
        assert (found < before).all()


def test_more_steps_are_never_worse():
    """The best code on the way counts, and a longer way passes the same codes."""
    networks = make_networks()
    x, starts = draw(2, 30, WIDTH), draw(2, 30, 1, LATENT_DIM, seed=1)
    values = []
    for n_steps in (0, 1, 5, 20, 60):
        search = make_search(n_steps=n_steps, learning_rate=0.3)
        found = search(*networks, x, starts)
        values.append(search.objective(*networks, x, found).numpy())
    assert (np.diff(values, axis=0) <= 1e-12).all()
    assert (values[-1] < values[0]).all()


def test_no_steps_return_the_start():
    """With one start there is nothing to choose."""
    networks = make_networks()
    starts = draw(2, 7, 1, LATENT_DIM, seed=1)
    found = make_search(n_steps=0)(*networks, draw(2, 7, WIDTH), starts)
    assert_array_equal(found, starts[:, :, 0])


@pytest.mark.parametrize("n_steps", [0, 15])
def test_restarts_choose_the_lowest(n_steps):
    """Of the codes that each start leads to, the one with the lowest objective."""
    networks = make_networks()
    x, starts = draw(2, 20, WIDTH), draw(2, 20, 4, LATENT_DIM, seed=1)
    search = make_search(n_steps=n_steps)
    ends = [search(*networks, x, starts[:, :, [s]]) for s in range(4)]
    values = torch.stack([search.objective(*networks, x, end) for end in ends])
    chosen = values.argmin(0)
    assert len(torch.unique(chosen)) == 4
    expected = torch.stack(ends).gather(
        0, chosen[None, :, :, None].expand(1, -1, -1, 3)
    )
    found = search(*networks, x, starts)
    assert found.shape == (2, 20, LATENT_DIM)
    assert_allclose(found, expected[0], rtol=1e-9, atol=1e-12)


def test_more_starts_are_never_worse():
    """Further starts can only add a better end."""
    networks = make_networks()
    x, starts = draw(2, 30, WIDTH), draw(2, 30, 6, LATENT_DIM, seed=1)
    search = make_search(n_steps=5)
    values = []
    for n_starts in range(1, 7):
        found = search(*networks, x, starts[:, :, :n_starts])
        values.append(search.objective(*networks, x, found).numpy())
    assert (np.diff(values, axis=0) <= 1e-12).all()
    assert (values[-1] < values[0]).mean() > 0.5


def test_prior_keeps_codes_short():
    """A heavy prior draws every code towards zero."""
    networks = make_networks()
    x, starts = draw(2, 20, WIDTH), draw(2, 20, 1, LATENT_DIM, seed=1)
    lengths = [
        make_search(n_steps=200, prior_weight=weight)(*networks, x, starts).norm(dim=2)
        for weight in (0.0, 1.0, 100.0)
    ]
    assert lengths[0].mean() > lengths[1].mean() > lengths[2].mean()
    assert lengths[2].max() < 0.1


@pytest.mark.parametrize("residual_loss", ["l1", "l2"])
@pytest.mark.parametrize("prior_weight", [0.0, 0.3])
def test_path_of_a_row_is_that_of_adam_on_the_row_alone(residual_loss, prior_weight):
    """The batch shares nothing: no moment of Adam, no mean over rows."""
    networks = make_networks()
    x, starts = draw(2, 6, WIDTH), draw(2, 6, 1, LATENT_DIM, seed=1)
    options = {"residual_loss": residual_loss, "prior_weight": prior_weight}
    search = make_search(n_steps=12, **options)
    found = search(*networks, x, starts)
    size = torch.abs if residual_loss == "l1" else torch.square
    for k in range(2):
        alone = [
            stack_members([_member(network, k)]).eval().requires_grad_(False)
            for network in networks
        ]
        for i in range(6):
            z = starts[k, i].clone()[None].requires_grad_()
            row = x[k : k + 1, i : i + 1]
            adam = torch.optim.Adam([z], 0.1)
            passed = []
            for _ in range(13):
                made = alone[0](z)
                value = 0.9 * size(row - made).mean() + prior_weight * z.square().mean()
                value = value + 0.1 * size(alone[1](row) - alone[1](made)).mean()
                passed.append((value.item(), z.detach().clone()))
                adam.zero_grad()
                value.backward()
                adam.step()
            _, best = min(passed, key=lambda pair: pair[0])
            assert_allclose(found[k, i], best[0, 0], rtol=1e-7, atol=1e-9)


def _member(stacked, k):
    """The ordinary network of one member of a stack of linear layers."""
    layers = []
    for layer in stacked:
        if hasattr(layer, "weight"):
            n_in, n_out = layer.weight.shape[1:]
            linear = nn.Linear(n_in, n_out, device="meta").to_empty(device="cpu")
            linear.double()
            linear.weight.data.copy_(layer.weight[k].T)
            linear.bias.data.copy_(layer.bias[k, 0])
            layer = linear
        layers.append(layer)
    return nn.Sequential(*layers)


# What a row does not notice.


def detector_networks(kind):
    """Generator and features as detectors have them, in single precision."""
    generator = torch.Generator().manual_seed(0)
    if kind == "rows":
        architecture, shape = MLP(hidden_layer_sizes=(20,)), (5,)
    else:
        architecture = ConvNet(base_channels=3, discriminator_normalization=None)
        shape = (2, 9, 7) if kind == "images" else (3, 13)

    def build(factory):
        network = build_members(factory, 2, generator, architecture.initialize)
        return network.eval().requires_grad_(False)

    maker = build(lambda: architecture.decoder(LATENT_DIM, shape))
    critic = build(lambda: architecture.discriminator(shape))
    # Batch normalisation that normalises.
    for layer in maker.modules():
        if hasattr(layer, "running_mean"):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return maker, critic, shape


@pytest.mark.parametrize("kind", ["rows", "images", "windows"])
@pytest.mark.parametrize("n_starts", [1, 3])
def test_rows_do_not_notice_each_other(kind, n_starts):
    """Order and company change no bit of a row's code, in batches of one shape."""
    maker, critic, shape = detector_networks(kind)

    def features(x):
        return critic(x)[1]

    n_rows = 64
    x = draw(2, n_rows, *shape, dtype=torch.float32)
    starts = draw(2, n_rows, n_starts, LATENT_DIM, seed=1, dtype=torch.float32)
    search = make_search(n_steps=25)

    def codes(x, starts):
        return search(maker, features, x, starts)

    together = codes(x, starts)
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(2))
    assert_array_equal(codes(x[:, order], starts[:, order]), together[:, order])
    # Alone but for the zeros that fill the batch; at another place; with strangers.
    for others in (0.0, 100.0):
        company = torch.full_like(x, others)
        company[:, 17] = x[:, 40]
        company_starts = torch.zeros_like(starts)
        company_starts[:, 17] = starts[:, 40]
        assert_array_equal(codes(company, company_starts)[:, 17], together[:, 40])


def test_members_do_not_notice_each_other():
    """A member finds with its own generator, whatever the other's rows are."""
    networks = make_networks()
    x, starts = draw(2, 9, WIDTH), draw(2, 9, 1, LATENT_DIM, seed=1)
    together = make_search()(*networks, x, starts)
    changed = x.clone()
    changed[1] += 5
    found = make_search()(*networks, changed, starts)
    assert_array_equal(found[0], together[0])
    assert (found[1] != together[1]).any()


def test_not_a_number_does_not_win():
    """A code whose row is not a number is passed over, in its own row alone."""
    maker, features = make_networks()

    def torn(z):
        rows = maker(z)
        # As a network that overflows: no number, and no slope to follow.
        beyond = (z[:, :, :1] > 1) & (torch.arange(z.shape[1]) < 5)[None, :, None]
        return torch.where(beyond, torch.nan, rows)

    target = draw(2, 10, LATENT_DIM, seed=1).abs() + 2
    x = maker(target)
    starts = torch.zeros(2, 10, 1, LATENT_DIM, dtype=torch.float64)
    search = make_search()
    found = search(torn, features, x, starts)
    undisturbed = search(maker, features, x, starts)
    assert torch.isfinite(found).all()
    # The way to the target leads over the edge, and the last code before it counts.
    assert (undisturbed[:, :, 0] > 1).all()
    assert (found[:, :5, 0] <= 1).all() and (found[:, :5, 0] > 0).all()
    assert_array_equal(found[:, 5:], undisturbed[:, 5:])
    values = search.objective(torn, features, x, found)
    assert (values < search.objective(torn, features, x, starts[:, :, 0])).all()


def test_a_start_that_is_not_a_number_loses_to_another():
    """Of two starts, the one that leads somewhere."""
    networks = make_networks()
    x, starts = draw(2, 5, WIDTH), draw(2, 5, 2, LATENT_DIM, seed=1)
    expected = make_search()(*networks, x, starts[:, :, 1:])
    starts[:, :, 0] = torch.nan
    assert_allclose(make_search()(*networks, x, starts), expected, rtol=1e-9)


# What a search leaves alone.


@pytest.mark.parametrize("kind", ["rows", "images"])
def test_networks_are_left_alone(kind):
    """Weights, running statistics, gradients and modes are as they were."""
    maker, critic, shape = detector_networks(kind)
    before = [
        {name: value.clone() for name, value in network.state_dict().items()}
        for network in (maker, critic)
    ]
    x = draw(2, 8, *shape, dtype=torch.float32)
    starts = draw(2, 8, 2, LATENT_DIM, dtype=torch.float32)
    originals = x.clone(), starts.clone()
    make_search(n_steps=5)(maker, lambda x: critic(x)[1], x, starts)
    assert torch.equal(x, originals[0]) and torch.equal(starts, originals[1])
    for network, state in zip((maker, critic), before, strict=True):
        for name, value in network.state_dict().items():
            assert_array_equal(value, state[name], err_msg=name)
        assert not any(module.training for module in network.modules())
        for parameter in network.parameters():
            assert not parameter.requires_grad and parameter.grad is None


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_search_in_modes_without_gradients(mode):
    """It makes its own gradients, and puts the mode back."""
    networks = make_networks()
    x, starts = draw(2, 8, WIDTH), draw(2, 8, 2, LATENT_DIM, seed=1)
    expected = make_search()(*networks, x, starts)
    assert not expected.requires_grad
    with mode():
        # Rows and starts made in this mode, as scoring makes them.
        found = make_search()(*networks, x + 0, starts + 0)
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
    assert_array_equal(found, expected)
    assert not found.requires_grad
    assert torch.is_grad_enabled()


# Where searches start.


def make_candidates(n_candidates=600):
    networks = make_networks(dtype=torch.float32)
    codes = draw(2, n_candidates, LATENT_DIM, seed=7, dtype=torch.float32)
    return CandidateCodes(codes), networks[0], codes


@pytest.mark.parametrize("n_nearest", [1, 4])
def test_nearest_are_those_of_all_distances(n_nearest):
    """The candidates with the lowest squared error, nearest first."""
    candidates, maker, codes = make_candidates()
    x = draw(2, 20, WIDTH, seed=8, dtype=torch.float32)
    found = candidates.nearest(maker, x, n_nearest)
    assert found.shape == (2, 20, n_nearest, LATENT_DIM)
    rows = maker(codes).double().numpy()
    distances = ((x.double().numpy()[:, :, None] - rows[:, None]) ** 2).sum(3)
    order = distances.argsort(axis=2)[:, :, :n_nearest]
    for k in range(2):
        assert_array_equal(found[k], codes[k].numpy()[order[k]])


def test_nearest_of_a_generated_row_is_its_code():
    """A row made from a candidate starts from it."""
    candidates, maker, codes = make_candidates()
    assert_array_equal(candidates.nearest(maker, maker(codes), 1)[:, :, 0], codes)


def test_nearest_of_images():
    """Rows with axes of their own are compared entry by entry."""
    candidates, maker, codes = make_candidates(30)

    def images(z):
        return maker(z).unflatten(2, (1, 2, 3))

    assert_array_equal(candidates.nearest(images, images(codes), 1)[:, :, 0], codes)


def test_nearest_generates_once_and_in_blocks():
    """What is generated is kept, and few rows are generated at a time."""
    candidates, maker, _ = make_candidates(600)
    sizes = []

    def counting(z):
        sizes.append(z.shape[1])
        return maker(z)

    x = draw(2, 4, WIDTH, dtype=torch.float32)
    with torch.inference_mode():
        first = candidates.nearest(counting, x, 1)
    second = candidates.nearest(counting, x, 1)
    assert_array_equal(first, second)
    assert sizes == [256, 256, 88]
    # It is no part of the state, as it follows from the codes.
    assert list(candidates.state_dict()) == ["codes"]


def test_same_codes_for_all():
    """Every row starts from all codes, which are not copied for that."""
    candidates, _, codes = make_candidates(5)
    starts = candidates.same_for_all(300)
    assert starts.shape == (2, 300, 5, LATENT_DIM)
    assert_array_equal(starts[:, 0], codes)
    assert_array_equal(starts[:, 299], codes)
    assert starts.data_ptr() == candidates.codes.data_ptr()
