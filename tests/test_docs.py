"""Docstrings say what signatures say; what README shows runs."""

import ast
import builtins
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import skganomaly

ROOT = Path(skganomaly.__file__).parents[1]

# What each module without an underscore says is public, but for what the package has.
PUBLIC = {skganomaly: skganomaly.__all__} | {
    module: [name for name in module.__all__ if name not in skganomaly.__all__]
    for module in (
        importlib.import_module(f"skganomaly.{found.name}")
        for found in pkgutil.iter_modules(skganomaly.__path__)
        if not found.name.startswith("_")
    )
}
DETECTORS = [name for name in skganomaly.__all__ if name.endswith("Detector")]
# What a detector of one's own has to have, private as it is no method for its users.
HOOKS = {"_method"}
# Methods that scikit-learn documents.
INHERITED = {"get_params", "set_params", "get_metadata_routing", "fit_predict"}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_public_names_exist(module):
    """Each once; that they come and go on purpose only is for the API page to say."""
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


def _public_functions():
    """Yield (id, function or class whose signature counts, its parsed docstring)."""
    for module, names in PUBLIC.items():
        for name in names:
            value = getattr(module, name)
            label = f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield label, value, ClassDoc(value)
                yield from _public_methods(label, value)
            elif callable(value):
                yield label, value, FunctionDoc(value)


def _public_methods(label, cls):
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        if name.startswith("_") or name in INHERITED:
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        owner = getattr(value, "__module__", "")
        if isinstance(value, types.FunctionType) and owner.startswith("skganomaly"):
            yield f"{label}.{name}", value, FunctionDoc(value)


DOCUMENTED = {label: (value, doc) for label, value, doc in _public_functions()}


# Each needs the package it is about, and has no examples.
ENGINES = {"_arrow", "_dask", "_ray", "_spark"}
EXAMPLES = [
    pytest.param(test, id=test.name)
    for module in sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in Path(skganomaly.__file__).parent.rglob("*.py")
        if path.stem not in {"__main__", *ENGINES}
    )
    for test in doctest.DocTestFinder(exclude_empty=True).find(
        importlib.import_module(module)
    )
    if test.examples
]


def test_there_are_examples():
    """Which the next test reads."""
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("test", EXAMPLES)
def test_examples_can_be_typed_by_a_reader(test):
    """They import what they use by its public name, and bring along what they name."""
    source = "".join(example.source for example in test.examples)
    tree = ast.parse(source)
    known = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative: {ast.unparse(node)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts = [*(getattr(node, "module", None) or "").split(".")]
            parts += [part for alias in node.names for part in alias.name.split(".")]
            private = [part for part in parts if part.startswith("_")]
            assert not private, f"private: {ast.unparse(node)}"
            known |= {(a.asname or a.name).split(".")[0] for a in node.names}
        if isinstance(node, ast.Attribute):
            assert not re.match("_[^_]", node.attr), f"private: .{node.attr}"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        if isinstance(node, ast.arg):
            known.add(node.arg)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert used <= known, f"from nowhere: {sorted(used - known)}"


def _parameters(value):
    """Parameters of a signature by the name that a docstring uses."""
    if inspect.isclass(value) and not {"__init__", "__new__"} & {
        name for cls in value.__mro__[:-1] for name in vars(cls)
    }:
        return {}
    stars = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    parameters = inspect.signature(value).parameters.values()
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    made = {
        field.name: field.default_factory()
        for field in fields
        if field.default_factory is not dataclasses.MISSING
    }
    return {
        stars.get(p.kind, "") + p.name: p.replace(default=made.get(p.name, p.default))
        for p in parameters
        if p.name not in ("self", "cls")
    }


def _documented(doc):
    """(name, type) of each documented parameter; "a, b : t" counts as two."""
    return [
        (name.strip(), parameter.type)
        for parameter in doc["Parameters"]
        for name in parameter.name.split(",")
    ]


@pytest.mark.parametrize("label", DOCUMENTED)
def test_docstring_matches_signature(label):
    """The same parameters in the same order, and the defaults that they have."""
    value, doc = DOCUMENTED[label]
    assert doc["Summary"], "no summary"
    parameters = _parameters(value)
    documented = _documented(doc)
    names = [name for name, _ in documented]
    # Networks' methods are described once for all, in their module's docstring.
    if not names and label.startswith("skganomaly.architectures."):
        text = " ".join(inspect.getdoc(value).split())
        named = all(f"`{p}`" in text or f"``{p}``" in text for p in parameters)
        assert named or "see the module's description" in text
        return
    if label == "skganomaly.base.BaseDetector":
        # Whose readers know its parameters from any detector; it says which.
        assert "Parameters and fitted attributes are those of" in inspect.getdoc(value)
        return
    assert names == list(parameters)
    for name, type_ in documented:
        default = parameters[name].default
        stated = re.search(r"default=(.*)$", type_)
        if default is inspect.Parameter.empty:
            assert stated is None, f"{name} has no default, the docstring {type_}"
            continue
        if name == "y" and type_ in ("None", "Ignored"):
            continue
        assert stated, f"{name}={default!r}, and the docstring has {type_!r}"
        assert _same(stated.group(1), default), (
            f"{name}: {stated.group(1)}, {default!r}"
        )


def _same(stated, default):
    """Whether the text of a docstring is the value, as Python would read it."""
    try:
        return ast.literal_eval(stated) == default
    except (ValueError, SyntaxError):
        return stated == repr(default)


@pytest.mark.parametrize("label", DOCUMENTED)
def test_docstring_is_whole(label):
    """Types are given, sections are known, and what is returned is said."""
    value, doc = DOCUMENTED[label]
    for parameter in doc["Parameters"]:
        starred = parameter.name.startswith("*")
        assert parameter.type or starred, f"{parameter.name} has no type"
    text = inspect.getdoc(value)
    assert "{{" not in text and "}}" not in text, "a placeholder was not filled"
    assert "\t" not in text, "LaTeX in a docstring that is not raw"
    # Private helpers of the same file stand for nothing to the reader.
    assert set(re.findall(r"`(_\w+)", text)) <= HOOKS


@pytest.mark.parametrize("label", DOCUMENTED)
def test_public_signatures_have_annotations(label):
    """Of each parameter and of what is returned; mypy sees whether they are true."""
    value, _ = DOCUMENTED[label]
    for name, parameter in _parameters(value).items():
        assert parameter.annotation is not inspect.Parameter.empty, name
    called = value.__init__ if inspect.isclass(value) else value
    if called is not object.__init__:
        returned = inspect.signature(called).return_annotation
        assert returned is not inspect.Signature.empty


@pytest.mark.parametrize("cls", DETECTORS)
def test_detectors_document_what_they_have(cls):
    """Every fitted attribute is documented, and every documented one is there."""
    import numpy as np
    import pandas as pd
    from sklearn.base import clone

    detector = getattr(skganomaly, cls)(max_steps=2, random_state=0)
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"]
    )
    detector.fit(frame)
    doc = ClassDoc(getattr(skganomaly, cls))
    documented = {
        name.strip() for entry in doc["Attributes"] for name in entry.name.split(",")
    }
    learned = {name for name in dir(detector) if re.fullmatch(r"[^_].*[^_]_", name)}
    assert documented == learned | {"reservoir_"}
    for name in learned:
        assert getattr(detector, name) is not None
    assert not hasattr(detector, "reservoir_")
    assert clone(detector).partial_fit(frame).reservoir_.n_seen == 40


@pytest.mark.parametrize("cls", DETECTORS)
def test_options_are_documented(cls):
    """Each word that a parameter accepts is in its description."""
    cls = getattr(skganomaly, cls)
    described = {
        name.strip(): f"{entry.type} {' '.join(entry.desc)}"
        for entry in ClassDoc(cls)["Parameters"]
        for name in entry.name.split(",")
    }
    # The published networks are reached by from_paper, which describes them.
    spoken_of_elsewhere = {("architecture", "published")}
    for name, constraints in cls._parameter_constraints.items():
        for constraint in constraints:
            for option in getattr(constraint, "options", ()):
                if (
                    isinstance(option, str)
                    and (name, option) not in spoken_of_elsewhere
                ):
                    assert f'"{option}"' in described[name], (name, option)


def _code_blocks(path):
    """Python code of a reStructuredText file, block by block, with line numbers."""
    lines = path.read_text(encoding="utf-8").splitlines()
    blocks, i = [], 0
    while i < len(lines):
        if re.match(r"\.\. code(-block)?:: python\s*$", lines[i]):
            i += 1
            while re.match(r" +:\w+:", lines[i]):  # an option, such as a caption
                i += 1
            block, start = [], i + 1
            while i < len(lines) and (not lines[i].strip() or lines[i][0] == " "):
                block.append(lines[i])
                i += 1
            code = inspect.cleandoc("\n".join(["", *block]))
            blocks.append((start, code))
        else:
            i += 1
    return blocks


README = ROOT / "README.rst"


# Their code runs in seconds; that of the page on accuracy measures time.
PAGES = [
    "docs/callbacks.rst",
    "docs/distributed.rst",
    "docs/embeddings.rst",
    "docs/images.rst",
    "docs/model_selection.rst",
    "docs/onnx.rst",
    "docs/own_detector.rst",
    "docs/plotting.rst",
    "docs/pyod.rst",
    "docs/scaling.rst",
    "docs/tables.rst",
    "docs/timeseries.rst",
    "docs/user_guide.rst",
]


@pytest.mark.parametrize(
    "page",
    ["README.rst", *(pytest.param(page, marks=pytest.mark.pages) for page in PAGES)],
)
def test_code_of_pages_runs(page, tmp_path, monkeypatch, capsys):
    """The code of a page runs from top to bottom in one namespace, on its own."""
    if page == "docs/pyod.rst":
        pytest.importorskip("pyod", reason="pyod is not installed")
    if page == "docs/callbacks.rst":
        pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
        pytest.importorskip("rich", reason="rich is not installed")
    if page == "docs/onnx.rst":
        for package in ("onnx", "onnxruntime", "onnxscript", "skl2onnx"):
            pytest.importorskip(package, reason=f"{package} is not installed")
    if page == "docs/images.rst":
        pytest.importorskip("PIL", reason="Pillow is not installed")
    if page == "docs/distributed.rst":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        pytest.importorskip("dask.dataframe", reason="dask is not installed")
    monkeypatch.chdir(tmp_path)
    path = ROOT / page
    blocks = _code_blocks(path)
    assert blocks, f"{page} shows no Python code"
    # What it defines can be pickled, as it could be from a module.
    page_module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page_module)
    namespace = vars(page_module)
    for line, code in blocks:
        padded = "\n" * (line - 1) + code
        exec(compile(padded, str(path), "exec"), namespace)
    assert {"AutoencoderDetector", "GANomalyDetector"} & set(namespace)


def test_readme_names_what_exists():
    """What README calls by its dotted name can be imported."""
    text = README.read_text(encoding="utf-8")
    for name in set(re.findall(r"``(skganomaly(?:\.\w+)+)(?:\(.*?\))?``", text)):
        value = sys.modules["skganomaly"]
        for part in name.split(".")[1:]:
            value = getattr(value, part)


def test_api_page_lists_public_names():
    """The API reference has every public name, under its module, and no other."""
    listed, module = set(), None
    for line in (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.fullmatch(r"   (\w+)", line):
            listed.add(f"{module}.{match[1]}")
    assert listed == {
        f"{module.__name__}.{name}"
        for module, names in PUBLIC.items()
        for name in names
        if name != "__version__"
    }


INVENTORIES = sorted((ROOT / "docs" / "inventories").glob("*.inv"))


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.stem)
def test_names_of_other_packages_exist(path):
    """What the documentation links to is there, where the package is."""
    kinds = {"class": type, "function": Callable, "mod": types.ModuleType}
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Sphinx inventory version 1"
    for line in lines[3:]:
        name, kind, page = line.split()
        module, _, last = name.rpartition(".")
        try:
            parent = importlib.import_module(module)
            value = importlib.import_module(name) if kind == "mod" else None
        except ImportError:
            continue  # an optional package, or a version that is too old for it
        value = value or getattr(parent, last)
        assert isinstance(value, kinds[kind])
        assert page.endswith(".html")
