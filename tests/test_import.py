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
    optional = (
        "matplotlib",
        "pandas",
        "pyod",
        "numba",
        "skops",
        "onnx",
        "numpydoc",
        "pytest",
        "rich",
        "IPython",
        "PIL",
        "dask",
        "pyarrow",
        "pyspark",
        "ray",
    )
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
        "import skganomaly.distributed, skganomaly.images\n"
        "import skganomaly.pipelines, skganomaly.plotting, skganomaly.timeseries\n"
        # The wrappers of PyOD need it; no other name does.
        "for name in {*skganomaly.__all__} - {'as_pyod', 'from_pyod'}:\n"
        "    getattr(skganomaly, name)\n"
        "assert state() == before\n"
        f"found = sorted(set({optional!r}) & (set(sys.modules) - modules))\n"
        "sys.exit(' '.join(found) or 0)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_names_alone_cost_nothing():
    """Before one of them is used, nothing outside of Python is imported."""
    result = _run(
        "import sys, skganomaly\n"
        "sys.exit(str([m for m in ('numpy', 'sklearn', 'torch') if m in sys.modules]))"
    )
    assert result.stderr == "[]\n"


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
            if top == "skganomaly" and rest:
                ours.add(rest)
            elif node not in for_annotations:
                others.add(top)
    return others, ours


def _tree():
    """The table of contributing.rst: place, and what it may know, of each module."""
    page = (PACKAGE.parent / "docs" / "contributing.rst").read_text(encoding="utf-8")
    table = page.partition("   layer       modules")[2].partition("\n\n")[0]
    heading, *lines = table.splitlines()
    knowledge = len("   layer       modules") + heading.index("may know")
    tree = {}
    for height, line in enumerate(lines):
        known = {*line[knowledge:].split()}
        for place, module in enumerate(line[:knowledge].split()[1:]):
            assert module not in tree, f"{module} has two places"
            # What is lower, or further left, comes first.
            tree[module] = (-height, place), known
    return tree


TREE = _tree()


def _files(module):
    folder = PACKAGE / module
    return (
        sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    )


def _arrows(module):
    """Modules of ours and packages that a module, or a package of ours, imports."""
    foreign, ours = set(), set()
    for path in _files(module):
        others, found = _imports(path)
        foreign |= others - set(sys.stdlib_module_names) - {"numpy"}
        ours |= {name.partition(".")[0] for name in found} - {module}
    # Detectors come from the package itself.
    ours = {name if name in TREE else "__init__" for name in ours}
    foreign.discard("skganomaly")
    return foreign, ours


def test_every_module_has_its_place():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert modules | packages == set(TREE)


@pytest.mark.parametrize("module", TREE)
def test_arrows_point_down(module):
    """No module imports one that is built on it, or knows more than its world."""
    foreign, ours = _arrows(module)
    upward = {other for other in ours if TREE[other][0] >= TREE[module][0]}
    assert not upward, _drawn()
    assert foreign <= TREE[module][1]


@pytest.mark.parametrize("package", [m for m in TREE if (PACKAGE / m).is_dir()])
def test_no_circle_in_a_package(package):
    files = _files(package)
    names = {".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in files}
    left = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): {
            name
            for name in _imports(path)[1]
            if name in names and not name.endswith("__init__")
        }
        for path in files
    }
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"a circle: {left}"
        left = {name: needs for name, needs in left.items() if name not in free}


def _drawn():
    """The tree, top to bottom, with the arrows as they are."""
    lines = []
    for module in TREE:
        foreign, ours = _arrows(module)
        lines.append(
            f"{module:16} -> {' '.join(sorted(ours))}  ({', '.join(sorted(foreign))})"
        )
    return "\n".join(lines)


@pytest.mark.parametrize("limit", [600])
def test_modules_are_short(limit):
    """One concept a file leaves no file of more lines than one can read."""
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for folder in (PACKAGE, PACKAGE.parent / "tests")
        for path in folder.rglob("*.py")
    }
    assert not {str(p.name): n for p, n in lengths.items() if n > limit}
    assert lengths[PACKAGE / "base.py"] <= 350


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


if __name__ == "__main__":
    print(_drawn())
