"""What importing the package costs, and which module may know which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skganomaly

PACKAGE = Path(skganomaly.__file__).parent


def _run(code):
    return subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        timeout=120,
        check=False,
    )


def test_import_is_lean_and_silent():
    """``import skganomaly`` prints, seeds, sets and pulls in nothing of its own."""
    optional = ("matplotlib", "pandas", "pyod", "numpydoc", "pytest", "rich", "IPython")
    result = _run(
        # What these bring along themselves is not our doing.
        "import sys, joblib, numpy as np, scipy, sklearn.base, sklearn.datasets\n"
        "import random, skorch, torch, tqdm\n"
        "def state():\n"
        "    return (random.getstate(), np.random.get_state()[1].tobytes(),\n"
        "            torch.get_rng_state().numpy().tobytes(),\n"
        "            torch.get_num_threads(), torch.get_default_dtype(),\n"
        "            torch.are_deterministic_algorithms_enabled(),\n"
        "            torch.backends.cudnn.benchmark, torch.is_grad_enabled())\n"
        "before, modules = state(), set(sys.modules)\n"
        "import skganomaly, skganomaly.architectures, skganomaly.thresholds\n"
        "import skganomaly.datasets, skganomaly.model_selection\n"
        "import skganomaly.pipelines, skganomaly.plotting, skganomaly.timeseries\n"
        "assert state() == before\n"
        f"found = sorted(set({optional!r}) & (set(sys.modules) - modules))\n"
        "sys.exit(' '.join(found) or 0)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def _imports(path):
    """Top-level packages that a file imports, and modules of ours, as dotted names.

    Other packages that only annotations name are never imported, and not among them.
    """
    others, ours = set(), set()
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    package = parts if path.name == "__init__.py" else parts[:-1]
    package = tuple(part for part in package if part != "__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_annotations = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
            if node.module == "skganomaly":
                names = [f"skganomaly.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            tails = [node.module] if node.module else [a.name for a in node.names]
            names = [".".join(("skganomaly", *base, tail)) for tail in tails]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "skganomaly":
                ours.add(rest)
            elif node not in for_annotations:
                others.add(top)
    return others, ours


# The modules of ours that each may import; what is not listed may import anything.
ARROWS = {
    "_all_or_nothing": {"_compat"},
    "_compat": set(),
    "_cut": {"thresholds"},
    "_directions": {"_cut"},
    "_fit_tasks": set(),
    "_health": {"_memorisation", "reports"},
    "_memorisation": {"reports"},
    "_value_range": set(),
    "reports": set(),
    "_losses": set(),
    "_networks": set(),
    "_process": set(),
    "_validation": set(),
    "_version": set(),
    "_latent_search": {"_networks"},
    "_interruption": set(),
    "_callbacks": set(),
    "_net_params": set(),
    "_training": {"_interruption"},
    "_running": {
        "_callbacks",
        "_data",
        "_health",
        "_interruption",
        "_net_params",
        "_networks",
        "_training",
        "architectures",
    },
    "_sample_quality": set(),
    "_scoring": {"_whitening"},
    "_whitening": {"_networks"},
    "_sources": set(),
    "pipelines": {"_cut", "_directions", "_sources"},
    "_data": set(),
    "thresholds": {"_compat"},
    "model_selection": {"_directions"},
    "_decisions": {"_cut", "thresholds"},
    "architectures": {"_compat", "_networks"},
    "_groups": {"_data"},
    "_local_score": {"_networks", "_scoring", "_whitening"},
    "_near_copies": {"reports"},
    "_inference": {
        "_cut",
        "_data",
        "_decisions",
        "_local_score",
        "_process",
        "_value_range",
        "thresholds",
    },
    "_calibration": {
        "_data",
        "_groups",
        "_health",
        "_local_score",
        "_memorisation",
        "_scoring",
        "_whitening",
    },
    "_base": {
        "_calibration",
        "_callbacks",
        "_compat",
        "_cut",
        "_data",
        "_decisions",
        "_fit_tasks",
        "_groups",
        "_health",
        "_inference",
        "_near_copies",
        "_process",
        "_running",
        "_training",
        "_validation",
        "_value_range",
        "_version",
        "architectures",
        "reports",
        "thresholds",
    },
    "_ganomaly": {
        "_base",
        "_compat",
        "_data",
        "_health",
        "_losses",
        "_training",
    },
    "_anogan": {
        "_base",
        "_callbacks",
        "_compat",
        "_health",
        "_latent_search",
        "_local_score",
        "_losses",
        "_networks",
        "_sample_quality",
        "_scoring",
        "architectures",
    },
    "_autoencoder": {"_base", "_compat", "_losses"},
    "interop": {
        "_all_or_nothing",
        "_compat",
        "_cut",
        "_decisions",
        "_directions",
        "_validation",
    },
    "__init__": {"_anogan", "_autoencoder", "_ganomaly", "_version", "interop"},
}
# What a module may know outside the standard library and NumPy.
KNOWLEDGE = {
    "_all_or_nothing": set(),
    "_groups": {"scipy", "sklearn"},
    "_health": {"torch"},
    "_local_score": {"torch"},
    "_near_copies": {"sklearn"},
    "_memorisation": set(),
    "_value_range": set(),
    "reports": set(),
    "_latent_search": {"torch"},
    "_losses": {"torch"},
    "_networks": {"torch"},
    "_process": {"torch"},
    "_sample_quality": set(),
    "_scoring": {"torch"},
    "_whitening": {"torch"},
    "_training": {"torch", "skorch", "tqdm"},
    "_fit_tasks": {"skorch"},
    "_callbacks": {"skorch"},
    "_interruption": set(),
    "_net_params": set(),
    "_running": {"sklearn", "skorch", "torch"},
    "_compat": {"sklearn"},
    "_data": {"sklearn", "torch"},
    "_directions": {"sklearn"},
    "_validation": {"sklearn"},
    "_sources": {"sklearn"},
    "pipelines": {"pandas", "sklearn"},
    "model_selection": {"sklearn"},
    "thresholds": {"scipy", "sklearn"},
    "_cut": {"sklearn"},
    "_decisions": {"sklearn"},
    "architectures": {"sklearn", "torch"},
    "_anogan": {"torch"},
    "_ganomaly": {"torch"},
    "_autoencoder": {"torch"},
    "interop": {"pyod", "sklearn"},
}


# The same inside the package for series; names of its own begin with it.
TIME_ARROWS = {
    "__init__": None,
    "_adaptive": {"_all_or_nothing", "_compat", "_cut"},
    "_alarms": set(),
    "_calendar": set(),
    "_detector": {
        "_all_or_nothing",
        "_compat",
        "_cut",
        "_decisions",
        "_directions",
        "_near_copies",
        "thresholds",
        "timeseries._alarms",
        "timeseries._drift",
        "timeseries._inner",
        "timeseries._series",
        "timeseries._windows",
    },
    "_drift": set(),
    "_event_scores": {"_directions"},
    "_inner": set(),
    "_series": {"_compat", "_validation"},
    "_windows": {"_all_or_nothing", "_compat", "timeseries._series"},
}


def test_series_have_their_arrows():
    """Reading, windows, detector: one way; alarms and thresholds know no detector."""
    paths = {path.stem: path for path in (PACKAGE / "timeseries").glob("*.py")}
    assert set(paths) == set(TIME_ARROWS)
    for module, allowed in TIME_ARROWS.items():
        others, ours = _imports(paths[module])
        assert others - set(sys.stdlib_module_names) <= {"numpy", "sklearn"}
        assert allowed is None or ours <= allowed, module


def test_every_module_has_its_arrows():
    """A new module has to be given its place."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == set(ARROWS)


@pytest.mark.parametrize("module", ARROWS)
def test_arrows_point_one_way(module):
    """No module imports one that is built on it."""
    _, ours = _imports(PACKAGE / f"{module}.py")
    assert {name.partition(".")[0] for name in ours} <= ARROWS[module]


@pytest.mark.parametrize("module", KNOWLEDGE)
def test_modules_know_one_world(module):
    """Networks know torch, thresholds know scikit-learn, and neither the other."""
    others, _ = _imports(PACKAGE / f"{module}.py")
    foreign = others - set(sys.stdlib_module_names) - {"numpy"}
    assert foreign <= KNOWLEDGE[module]


@pytest.mark.parametrize("package", ["datasets", "benchmark", "plotting"])
def test_the_library_does_not_know_its_tools(package):
    """Data sets know no estimator, and only the benchmark knows the estimators."""
    for path in PACKAGE.glob("*.py"):
        assert not any(name.startswith(package) for name in _imports(path)[1])
    if package == "plotting":
        for path in (PACKAGE / package).rglob("*.py"):
            others, ours = _imports(path)
            tools = ("plotting", "_directions", "_sources", "pipelines")
            assert all(name.startswith(tools) for name in ours)
            foreign = others - set(sys.stdlib_module_names)
            assert foreign <= {"matplotlib", "numpy", "sklearn"}
    if package == "datasets":
        for path in (PACKAGE / package).rglob("*.py"):
            others, ours = _imports(path)
            assert all(name.startswith("datasets") for name in ours)
            assert not others & {"torch", "skorch", "pandas", "matplotlib", "pyod"}


def test_private_names_of_scikit_learn_have_one_place():
    """Only _compat imports what scikit-learn keeps private."""
    for path in PACKAGE.rglob("*.py"):
        if path.stem == "_compat":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "sklearn"
            ):
                parts = [*node.module.split("."), *(a.name for a in node.names)]
                assert not any(part.startswith("_") for part in parts), path


def test_nothing_prints():
    """Library modules do not print; the benchmark's command may."""
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path.name}:{node.lineno}"
