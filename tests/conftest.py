"""Fixtures of all tests: small detectors and data, and a watch on global state."""

import importlib.util
import random
import sys

import numpy as np
import pytest
import torch

from skganomaly import AnoGANDetector, GANomalyDetector
from skganomaly.architectures import MLP, ConvNet
from skganomaly.datasets import AnomalyDataset, make_anomalies
from skganomaly.searches import EncoderSearch


def pytest_collection_modifyitems(items):
    """Skip the examples in docstrings that need a package that is not there."""
    if sys.platform == "win32":
        for item in items:
            if item.nodeid.startswith("skganomaly/_ranks.py"):
                item.add_marker(pytest.mark.skip(reason="torch has no HashStore here"))
    needed = {
        "skganomaly/interop.py": "pyod",
        "skganomaly/export.py": "skl2onnx",
        "skganomaly/distributed/": "dask",
    }
    for path, package in needed.items():
        if importlib.util.find_spec(package) is None:
            for item in items:
                if item.nodeid.startswith(path):
                    reason = f"{package} is not installed"
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Keep tests from fighting over cores, and rounding the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _global_state():
    """Everything process-wide that the library must not touch, by name."""
    cudnn = torch.backends.cudnn
    generator, position = np.random.get_state()[1:3]  # noqa: NPY002
    state = {
        "the generator of random": random.getstate(),
        "the generator of NumPy": (generator.tobytes(), position),
        "the generator of torch": torch.get_rng_state().numpy().tobytes(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's anomaly detection": torch.is_anomaly_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "cudnn's flags": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "cudnn's TF32": cudnn.allow_tf32,
        "NumPy's error handling": tuple(sorted(np.geterr().items())),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["the generator of CUDA"] = torch.cuda.get_rng_state().numpy().tobytes()
    return state


# These checks of scikit-learn draw from NumPy's global generator themselves.
_DRAWING_CHECKS = {
    "check_dtype_object",
    "check_f_contiguous_array_estimator",
    "check_methods_sample_order_invariance",
}


@pytest.fixture(autouse=True)
def global_state_untouched(request, one_thread):
    """Fail any test that changes global generators or torch's flags."""
    before = _global_state()
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    check = params.get("check")
    if getattr(getattr(check, "func", check), "__name__", None) in _DRAWING_CHECKS:
        del before["the generator of NumPy"]
    yield
    after = _global_state()
    # What only came into being, as CUDA's generator does, cannot be compared.
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        pytest.fail("The test changed " + ", ".join(changed))


@pytest.fixture(scope="module")
def pictures():
    """60 grey images of 40 x 52 with a texture."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(52) / 3) * 20 + 120
    return (waves + rng.normal(0, 6, size=(60, 40, 52))).astype(np.uint8)


@pytest.fixture(scope="module")
def spotted(pictures):
    """Ten of these with a bright spot of 6 x 6."""
    spotted = pictures[:10].copy()
    spotted[:, 10:16, 20:26] = 255
    return spotted


@pytest.fixture
def small():
    """Return a maker of detectors whose networks are tiny and soon trained."""

    def make(cls=GANomalyDetector, *, conv=False, **params):
        tiny = (
            ConvNet(base_channels=2)
            if conv
            else MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))
        )
        defaults = {"architecture": tiny, "max_steps": 10, "random_state": 0}
        if issubclass(cls, AnoGANDetector):
            defaults["search"] = EncoderSearch(encoder_steps=10)
            if conv:
                tiny.set_params(discriminator_normalization=None)
        return cls(**defaults | params)

    return make


@pytest.fixture(scope="session")
def off_screen():
    """Draw into memory, whatever the machine has."""
    mpl = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    before = mpl.get_backend()
    mpl.use("Agg")
    yield
    mpl.use(before)


@pytest.fixture
def plt(off_screen):
    """Pyplot; closes what a test has drawn, after drawing it for good."""
    import matplotlib.pyplot as plt

    with plt.rc_context({"figure.dpi": 50}):
        yield plt
    # Some errors show only when the canvas is drawn.
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def _read_only(array):
    array.flags.writeable = False
    return array


@pytest.fixture(scope="session")
def table():
    """300 correlated Gaussian rows of 4 columns; read-only, so nothing writes to it."""
    rng = np.random.default_rng(0)
    return _read_only(rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 5)


@pytest.fixture(scope="session")
def new_rows(table):
    """200 more rows, the first half like ``table`` and the second further out."""
    rng = np.random.default_rng(1)
    rows = np.vstack([table[:100], table[100:200] * rng.uniform(1, 3, size=(100, 1))])
    return _read_only(rows + rng.normal(scale=0.3, size=rows.shape))


@pytest.fixture(scope="session")
def images():
    """60 images of 2 channels and 6 x 9 pixels around a bright bar; read-only."""
    rng = np.random.default_rng(2)
    images = rng.uniform(0, 20, size=(60, 2, 6, 9))
    images[:, :, 2:4] += 200
    return _read_only(images)


@pytest.fixture(scope="session")
def labelled():
    """Rows, and which of them are anomalies, far out; a few values are missing."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(180, 1)) + 0.3 * rng.normal(size=(180, 4))
    X = np.vstack([normal, rng.uniform(-9, 9, size=(20, 4))])
    X[rng.uniform(size=X.shape) < 0.02] = np.nan
    order = rng.permutation(200)
    return _read_only(X[order]), _read_only(order >= 180)


@pytest.fixture
def dataset():
    """Return a data set called "small": 200 rows of 4 columns with 20 anomalies."""
    return AnomalyDataset(
        "small", *make_anomalies(200, 4, kind="local", random_state=0)
    )


@pytest.fixture
def classes():
    """Return a data set of three classes of 40, 30 and 20 rows."""
    target = np.repeat([0, 1, 2], [40, 30, 20])
    X = np.random.default_rng(0).standard_normal((90, 4)) + target[:, np.newaxis]
    return AnomalyDataset("classes", X, target, classes=(0, 1, 2))
