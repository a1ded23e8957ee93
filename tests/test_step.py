"""Tests of one step of a training: its phase, its sources, and the state of a run."""

import copy
import io

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._models._anogan import EncoderGame
from skganomaly._models._scaling import fit_scaling
from skganomaly._settings import resolve_settings
from skganomaly._training._batches import Orders, RowDataset
from skganomaly._training._step import Run
from skganomaly._training._trainer import Builder
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.searches import EncoderSearch

CPU = torch.device("cpu")
N_STEPS = 12


def source(seed):
    return torch.Generator().manual_seed(seed)


class Training:
    """A run, and the rows it is fed with, all from one seed."""

    def __init__(self, detector, X, seed=0, **options):
        self.detector, self.seed = detector, seed
        shape = X.shape[1:]
        X = X.reshape(len(X), -1)
        settings = resolve_settings(detector, shape)
        self.rows = RowDataset(X, fit_scaling(settings.scaler, shape, X), CPU)
        self.method = detector._method(Builder(settings, source(seed)), settings)
        orders = Orders(len(X), 8, settings.n_members, source(seed + 1))
        self.start(self.method, orders, **options)

    def start(self, game, orders, **options):
        """Begin a training of a game."""
        defaults = {
            "max_steps": N_STEPS,
            "schedule": "cosine",
            "noise": None,
            "average_decay": None,
            "sources": {
                "noise": source(self.seed + 2),
                "losses": source(self.seed + 3) if game.draws else None,
            },
        }
        options = defaults | options
        self.run = Run(
            game,
            {name: adam(player) for name, player in game.players().items()},
            orders=orders,
            **options,
        )
        return self

    def steps(self, n_steps):
        """Take so many steps; return phases, and names and values of the losses."""
        taken = []
        for _ in range(n_steps):
            phase = self.run.game.phase(self.run.n_steps)
            (batch,) = self.run.orders.draw(1)
            taken.append((phase, *self.run.step(self.rows[batch], phase)))
        return taken


def adam(player):
    optimizer = torch.optim.Adam(player.parameters(), 1e-2, betas=(0.5, 0.9))
    optimizer.param_groups[0]["initial_lr"] = 1e-2
    return optimizer


def players_of(run):
    """Copies of all tensors of the players."""
    return {
        name: copy.deepcopy(player.state_dict()) for name, player in run.players.items()
    }


def assert_equal_tensors(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert_array_equal(tensor, second[name])


def differ(first, second):
    """Whether any tensor moved."""
    return any((tensor != second[name]).any() for name, tensor in first.items())


WGAN = Wasserstein(n_critic=3, penalty_interval=2, learning_rate=1e-3)
NOISE = torch.tensor([0.1, 0.5]).view(2, 1, 1)

# Detectors, their data, and what else a run is told.
RUNS = {
    "GANomaly": (GANomalyDetector, False, {}, {"noise": NOISE}),
    "GANomaly, images": (GANomalyDetector, True, {}, {"schedule": "constant"}),
    "AnoGAN": (AnoGANDetector, False, {"adversary": WGAN}, {"average_decay": 0.9}),
    "AnoGAN, images": (
        AnoGANDetector,
        True,
        {"adversary": WGAN},
        {"average_decay": 0.9},
    ),
    "AnoGAN, logistic": (
        AnoGANDetector,
        False,
        {"adversary": Logistic(penalty=1.0, penalty_interval=3)},
        {"average_decay": 0.0},
    ),
    "autoencoder": (AutoencoderDetector, False, {}, {"noise": NOISE}),
}


@pytest.fixture
def training(small, table, images):
    """Return a maker of trainings of RUNS by their names."""

    def make(name, seed=0):
        cls, conv, params, options = RUNS[name]
        detector = small(cls, conv=conv, n_members=2, latent_dim=3, **params)
        return Training(detector, (images if conv else table)[:30], seed, **options)

    return make


every_run = pytest.mark.parametrize("name", RUNS)


# The state of a run.


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_run
@pytest.mark.parametrize("n_before", [0, 4, 5])
def test_run_goes_on_from_a_state(training, name, n_before):
    """In another process it would end at the same weights, to the last bit."""
    whole = training(name)
    whole.steps(n_before)
    state = through_a_file(whole.run.state_dict())
    rest = whole.steps(N_STEPS - n_before)
    other = training(name, seed=50)
    other.steps(3)
    other.run.load_state_dict(state)
    for found, expected in zip(other.steps(N_STEPS - n_before), rest, strict=True):
        assert found[:2] == expected[:2]
        assert_array_equal(found[2], expected[2])
    assert other.run.n_steps == N_STEPS
    for training_ in (whole, other):
        training_.run.finish()
    for name, tensors in players_of(whole.run).items():
        assert_equal_tensors(tensors, players_of(other.run)[name])


def test_encoder_goes_on_from_a_state(training):
    """The second training of AnoGAN, behind a generator that stays."""
    first = training("AnoGAN")
    first.steps(N_STEPS)
    first.run.finish()
    second = copy.deepcopy(first)
    for training_ in (first, second):
        orders = Orders(30, 8, 2, source(7))
        training_.start(EncoderGame(training_.method), orders, noise=NOISE)
    first.steps(5)
    state = first.run.state_dict()
    first.steps(7)
    second.run.load_state_dict(state)
    second.steps(7)
    encoder = first.method.encoder.state_dict()
    assert_equal_tensors(encoder, second.method.encoder.state_dict())
    assert differ(encoder, state["players"]["generator"])


@every_run
def test_state_is_a_copy(training, name):
    """Neither the run it was taken of nor the one it is loaded into changes it."""
    first, second = training(name), training(name, seed=50)
    first.steps(3)
    state = first.run.state_dict()
    kept = copy.deepcopy(state)
    second.run.load_state_dict(state)
    for training_ in (first, second):
        training_.steps(3)
        training_.run.finish()
    for player, tensors in kept["players"].items():
        assert_equal_tensors(tensors, state["players"][player])
    assert_array_equal(
        *(s["optimizers"]["generator"]["state"][0]["exp_avg"] for s in (kept, state))
    )
    assert kept["n_steps"] == state["n_steps"] == 3
    assert_array_equal(kept["sources"]["noise"], state["sources"]["noise"])


def test_finished_copy_leaves_the_run_alone(training):
    """It is what the run would end with now; the run goes on as if nobody asked."""
    asked, other = training("AnoGAN"), training("AnoGAN")
    for training_ in (asked, other):
        training_.steps(6)
    game = asked.run.finished_copy()
    for training_ in (asked, other):
        training_.steps(6)
    for name, tensors in players_of(asked.run).items():
        assert_equal_tensors(tensors, players_of(other.run)[name])
    early = training("AnoGAN")
    early.steps(6)
    early.run.finish()
    assert_equal_tensors(game.state_dict(), early.method.state_dict())
    assert not any(p.requires_grad for p in game.generator.parameters())


# Phases.


def test_phases_of_anogan_are_known_beforehand(training):
    """The generator moves in every third step, the penalty comes in every second."""
    phases = [training("AnoGAN").method.phase(step) for step in range(7)]
    both, critic = ("generator", "discriminator"), ("discriminator",)
    assert [p.players for p in phases] == [critic, critic, both] * 2 + [critic]
    assert [p.penalty for p in phases] == [False, True] * 3 + [False]


@pytest.mark.parametrize("name", ["GANomaly", "autoencoder"])
def test_phases_are_alike_but_for_anogan(training, name):
    """All players move in each step."""
    method = training(name).method
    for step in (0, 1, 17):
        assert method.phase(step) == (tuple(method.players()), False)


def test_no_penalty_has_no_phase(small, table):
    """Without a weight there is nothing to compute."""
    adversary = Wasserstein(penalty=0, penalty_interval=1)
    method = Training(small(AnoGANDetector, adversary=adversary), table).method
    assert not any(method.phase(step).penalty for step in range(4))


@pytest.mark.parametrize("name", ["AnoGAN", "AnoGAN, images"])
def test_only_the_players_of_a_phase_move(training, name):
    """To the last bit, their running statistics and the average included."""
    training_ = training(name)
    names = []
    for step in range(6):
        before, average = players_of(training_.run), training_.run.average
        average = copy.deepcopy(average)
        ((phase, terms, values),) = training_.steps(1)
        after = players_of(training_.run)
        assert differ(after["discriminator"], before["discriminator"])
        moves = "generator" in phase.players
        assert moves == (step % 3 == 2)
        weights = [n for n, _ in training_.run.players["generator"].named_parameters()]
        for key in weights:
            same = (after["generator"][key] == before["generator"][key]).all()
            assert bool(same) != moves
        if not moves and average is not None:
            for mean, now in zip(average, training_.run.average, strict=True):
                assert_array_equal(mean, now)
        assert values.shape == (len(terms), 2)
        names.append(set(terms))
    assert [("generator" in n) for n in names] == [False, False, True] * 2
    assert [("penalty" in n) for n in names] == [False, True] * 3


def test_penalty_that_comes_seldom_weighs_more(training):
    """Its loss is the penalty itself, times weight, times interval."""
    training_ = training("AnoGAN")
    method, x = training_.method, training_.rows[torch.arange(16).view(2, 8)]
    phase = method.phase(1)
    losses = method.losses(x, x, phase, source(0))["discriminator"]
    adversary = method.adversary
    twice = copy.copy(method)
    twice.adversary = copy.copy(adversary).set_params(penalty=5.0, penalty_interval=6)
    again = twice.losses(x, x, phase, source(0))["discriminator"]
    assert adversary.penalty * adversary.penalty_interval == 20
    assert_allclose(
        again["penalty"].detach(), 1.5 * losses["penalty"].detach(), rtol=1e-6
    )
    assert_array_equal(
        again["discriminator"].detach(), losses["discriminator"].detach()
    )


# Random numbers.


@every_run
def test_random_numbers_come_from_the_sources(training, name):
    """Nothing else decides a step, and the global generators stay as they are."""
    before = torch.get_rng_state()
    (*_, values) = training(name).steps(4)[-1]
    assert_array_equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        assert_array_equal(training(name).steps(4)[-1][2], values)


@pytest.mark.parametrize("name", ["AnoGAN", "AnoGAN, images", "AnoGAN, logistic"])
def test_losses_draw_from_the_source_they_are_handed(training, name):
    """Its state decides them, and is moved on."""
    training_ = training(name)
    method, x = training_.method.eval(), training_.rows[torch.arange(16).view(2, 8)]
    assert method.draws

    def losses(random):
        terms = method.losses(x, x, method.phase(5), random)
        return torch.stack([*terms["generator"].values()]).detach()

    random = source(4)
    first, second = losses(random), losses(random)
    assert_array_equal(losses(source(4)), first)
    assert (second != first).all()


@pytest.mark.parametrize("name", ["GANomaly", "autoencoder"])
def test_methods_that_draw_nothing_say_so(training, name):
    """Then no source is made for them, and seeds of others are not spent."""
    training_ = training(name)
    assert not training_.method.draws
    x = training_.rows[torch.arange(16).view(2, 8)]
    phase = training_.method.phase(0)
    values = [
        training_.method.losses(x, x, phase, None)["generator"]["reconstruction"]
        for _ in range(2)
    ]
    assert_array_equal(*(v.detach() for v in values))


# The moving average.


@pytest.mark.parametrize("name", ["AnoGAN", "AnoGAN, images"])
def test_average_counts_steps_of_the_generator(training, name):
    """It begins with the first of them, and takes the weights' place in the end."""
    training_ = training(name)
    run = training_.run
    player, mean = run.players["generator"], None
    for _ in range(N_STEPS):
        ((phase, _, _),) = training_.steps(1)
        now = {
            key: value.clone()
            for key, value in player.state_dict().items()
            if value.is_floating_point()
        }
        if "generator" not in phase.players:
            continue
        mean = (
            now if mean is None else {k: torch.lerp(mean[k], now[k], 0.1) for k in now}
        )
    run.finish()
    for key, value in mean.items():
        assert_allclose(player.state_dict()[key], value, rtol=1e-5, atol=1e-7)
    assert run.average is None
    assert not any(optimizer.state for optimizer in run.optimizers.values())


# Noise.


@pytest.fixture
def seen_by_losses(small, table):
    """Return a function that trains with noise and returns what losses were shown."""

    def train(noise, seed=0, n_steps=3):
        training_ = Training(small(AutoencoderDetector, n_members=2), table)
        training_.run.noise, seen = noise, []
        training_.run.sources = {"noise": source(seed)}
        losses = training_.method.losses

        def kept(x, noisy, phase, random):
            seen.append((x, noisy))
            return losses(x, noisy, phase, random)

        training_.method.losses = kept
        training_.steps(n_steps)
        return [torch.stack(part) for part in zip(*seen, strict=True)]

    return train


def test_noise_has_its_members_scale(seen_by_losses):
    """Gaussian noise on the rows to be encoded, for each member of its own strength."""
    x, noisy = seen_by_losses(torch.tensor([0.0, 0.5]).view(2, 1, 1), n_steps=100)
    assert_array_equal(noisy[:, 0], x[:, 0])
    noise = (noisy - x)[:, 1]
    assert_allclose(float(noise.std()), 0.5, rtol=0.1)
    assert abs(float(noise.mean())) < 0.05
    assert len(torch.unique(noise[:, :, 0])) > 0.99 * noise[:, :, 0].numel()


def test_no_noise(seen_by_losses):
    """Without noise the networks get the rows as they are."""
    assert_array_equal(*seen_by_losses(None))


def test_noise_comes_from_its_source_alone(seen_by_losses):
    """Its seed decides it, and the rows stay the same."""
    x, noisy = seen_by_losses(NOISE)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        assert_array_equal(seen_by_losses(NOISE)[1], noisy)
    other_x, other_noisy = seen_by_losses(NOISE, seed=6)
    assert_array_equal(other_x, x)
    assert (other_noisy != noisy).all()


# The encoder of a search.


def test_encoder_search_is_what_adds_an_encoder(small, table):
    """Other searches build none, and the encoder is no player of the GAN."""
    training_ = Training(small(AnoGANDetector, search=EncoderSearch()), table)
    assert set(training_.run.players) == {"generator", "discriminator"}
    assert hasattr(training_.method, "encoder")
    gradient = Training(small(AnoGANDetector, search="gradient"), table)
    assert not hasattr(gradient.method, "encoder")
