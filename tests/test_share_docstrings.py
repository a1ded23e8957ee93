"""docs/share_docstrings.py keeps what docstrings have in common the same."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "share_docstrings.py"
SHARED = """\
.. A comment.

**Scores.** They are
shared.

Parameters
----------
width : int, default=3
    The shared width.

    - a list in it
depth : int
    The shared depth.
gone : int
    Of other detectors.

Attributes
----------
cut_ : float
    The shared cut.
"""
MODULE = '''\
class Other:
    """Not touched."""


class Detector(BaseDetector):
    r"""Summary.

    About :math:`\\\\alpha`.

    **Scores.** Stale.

    Parameters
    ----------
    rate : float
        Its own.
    depth : int
        Its own too.
    gone : int
        No longer a parameter of this one.

    Attributes
    ----------
    network_ : object
        Its own.

    Examples
    --------
    >>> 1
    1
    """

    def __init__(self, *, width=3, rate, depth=1):
        """Not a docstring of the class."""
'''
PARAMETERS = '''\
if True:

    class Common(TypedDict, total=False):
        """Their types."""

        width: str
        gone: int


class CommonParameters:
    """Not touched."""

    def __init__(
        self, *, width: int = 3, depth: int | Literal["auto"] = "auto"
    ) -> None:
        self.width = width
'''
EXPECTED = '''\
    r"""Summary.

    About :math:`\\\\alpha`.

    **Scores.** They are
    shared.

    Parameters
    ----------
    width : int, default=3
        The shared width.

        - a list in it
    rate : float
        Its own.
    depth : int
        Its own too.

    Attributes
    ----------
    cut_ : float
        The shared cut.
    network_ : object
        Its own.

    Examples
    --------
    >>> 1
    1
    """

    def __init__'''


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("share_docstrings", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(script, tmp_path, monkeypatch):
    """A package of one detector, which the script is to work on."""
    (tmp_path / "shared.txt").write_text(SHARED)
    (tmp_path / "_method.py").write_text(MODULE)
    (tmp_path / "_parameters.py").write_text(PARAMETERS)
    monkeypatch.setattr(script, "PACKAGE", tmp_path)
    monkeypatch.setattr(script, "SHARED", tmp_path / "shared.txt")
    monkeypatch.setattr(script, "OWN", {"Detector": ("depth",)})
    return tmp_path


def test_source_is_up_to_date(script, capsys):
    assert script.main(["--check"]) == 0, capsys.readouterr().out


def test_writes_shared_entries_in_the_constructors_order(script, package):
    assert script.main([]) == 0
    text = (package / "_method.py").read_text()
    assert EXPECTED in text
    # Nothing else is touched.
    start, end = MODULE.index('    r"""'), MODULE.index("    def __init__")
    assert text.startswith(MODULE[:start])
    assert text.endswith(MODULE[end:])


def test_a_constructor_that_passes_parameters_on_describes_them_all(script, package):
    path = package / "_method.py"
    path.write_text(MODULE.replace("width=3, rate, depth=1", "rate, **common"))
    assert script.main([]) == 0
    text = path.read_text()
    # Its own come first, then the common ones in the order of theirs.
    places = [text.index(f"    {name} : ") for name in ("rate", "width", "depth")]
    assert places == sorted(places)


def test_types_of_common_parameters_are_those_of_their_constructor(script, package):
    assert script.main([]) == 0
    text = (package / "_parameters.py").read_text()
    types = '        width: int\n        depth: int | Literal["auto"]\n'
    assert text == PARAMETERS.replace("        width: str\n        gone: int\n", types)


def test_check_names_types_that_differ_and_writes_nothing(script, package, capsys):
    script.main([])
    path = package / "_parameters.py"
    path.write_text(PARAMETERS)
    capsys.readouterr()
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().out == "Common differs from its constructor\n"
    assert path.read_text() == PARAMETERS


def test_is_idempotent(script, package, capsys):
    script.main([])
    once = [path.read_text() for path in package.iterdir()]
    capsys.readouterr()
    assert script.main([]) == 0
    assert [path.read_text() for path in package.iterdir()] == once
    assert script.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "old, new, name",
    [
        ("The shared width", "A width of its own", "width"),
        ("The shared cut", "A cut of its own", "cut_"),
        ("They are\n    shared", "They are not", "**Scores.**"),
        ("        - a list in it\n", "", "width"),
        ("width=3, rate", "rate, width=3", "the order of Parameters"),
    ],
)
def test_check_names_what_was_edited_and_writes_nothing(
    script, package, capsys, old, new, name
):
    script.main([])
    path = package / "_method.py"
    edited = path.read_text().replace(old, new)
    path.write_text(edited)
    capsys.readouterr()
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().out == f"Detector differs from shared.txt: {name}\n"
    assert path.read_text() == edited


def test_entries_of_the_class_may_be_edited(script, package):
    script.main([])
    path = package / "_method.py"
    path.write_text(path.read_text().replace("Its own", "Altogether its own"))
    assert script.main(["--check"]) == 0


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("rate : float\n        Its own.\n    ", "", "does not describe rate"),
        ("rate, depth", "depth", "describes no parameter: rate"),
        ("**Scores.** Stale.\n\n    ", "", "needs one paragraph"),
        ("Attributes\n    ----------\n", "", "needs a section Attributes"),
    ],
)
def test_what_it_cannot_write_is_an_error(script, package, old, new, message):
    path = package / "_method.py"
    assert old in MODULE
    path.write_text(MODULE.replace(old, new))
    with pytest.raises(SystemExit, match=f"Detector {message}"):
        script.main([])
