"""Write what the detectors' docstrings have in common into the source.

Usage: python docs/share_docstrings.py [--check]

``shared_docstrings.txt`` beside this file has one entry for each parameter and
attribute, and the paragraphs that begin with a word in bold. Detectors get these in
place of theirs, with parameters in the order of the constructor. The types of the
parameters that all detectors have are copied from their constructor into the class that
type checkers read. With ``--check`` nothing is written: what would be is named, and the
exit status is 1.
"""

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path

# Where parameters that detectors take as ``**common`` are written, and their types.
COMMON = "_parameters"

PACKAGE = Path(__file__).resolve().parents[1] / "skganomaly"
SHARED = Path(__file__).with_name("shared_docstrings.txt")

# How the class of a detector begins, and the shared entries that some replace by their
# own.
DETECTOR = re.compile(r"^class (\w+)\(BaseDetector\):", re.MULTILINE)
OWN = {"AnoGANDetector": ("max_steps", "learning_rate")}


def split(docstring):
    """Return paragraphs before the sections by first word, and sections by title."""
    head, *rest = re.split(r"^(\S.*)\n---+\n", docstring, flags=re.MULTILINE)
    paragraphs = head.strip("\n").split("\n\n")
    return paragraphs, dict(zip(rest[::2], rest[1::2], strict=True))


def entries(section):
    """Return the entries of a section by name."""
    texts = re.split(r"^(?=\S)", section.strip("\n"), flags=re.MULTILINE)
    return {text.split(" : ")[0].strip(): text.rstrip("\n") for text in texts if text}


def share(docstring, parameters, own, shared):
    """Return a docstring with the shared entries in it, and the names of those changed.

    Parameters
    ----------
    docstring : str
        Without indentation.
    parameters : list of str
        Of the constructor, in order.
    own : collection of str
        Shared entries that the docstring replaces by its own.
    shared : str
        A docstring of what is shared.
    """
    paragraphs, sections = split(docstring)
    shared_paragraphs, shared_sections = split(shared)
    changed = []

    for text in shared_paragraphs:
        if not text.startswith("**"):
            continue  # a comment
        title = text.split()[0]
        places = [i for i, old in enumerate(paragraphs) if old.startswith(title)]
        if len(places) != 1:
            raise ValueError(f"needs one paragraph {title}, has {len(places)}")
        if paragraphs[places[0]] != text:
            changed.append(title)
            paragraphs[places[0]] = text

    for title, section in shared_sections.items():
        if title not in sections:
            raise ValueError(f"needs a section {title}")
        old, common = entries(sections[title]), entries(section)
        new = old | {name: text for name, text in common.items() if name not in own}
        if title == "Parameters":
            if strangers := set(old) - set(common) - set(parameters):
                raise ValueError(f"describes no parameter: {', '.join(strangers)}")
            order = parameters
        else:
            order = [*common, *(name for name in old if name not in common)]
        if missing := [name for name in order if name not in new]:
            raise ValueError(f"does not describe {', '.join(missing)}")
        new = {name: new[name] for name in order}
        names = [n for n in old | new if old.get(n) != new.get(n)]
        body = "\n".join(new.values()) + "\n\n"
        if body.rstrip() != sections[title].rstrip():
            changed += names or [f"the order of {title}"]
        sections[title] = body

    text = "\n\n".join(paragraphs) + "\n\n"
    for title, body in sections.items():
        text += f"{title}\n{'-' * len(title)}\n{body}"
    return text.rstrip("\n") + "\n", changed


def _class(source, name):
    nodes = ast.walk(ast.parse(source))
    return next(n for n in nodes if isinstance(n, ast.ClassDef) and n.name == name)


def _constructor(node):
    found = (f for f in node.body if getattr(f, "name", None) == "__init__")
    return next(found, None)


def _common_constructor():
    source = (PACKAGE / f"{COMMON}.py").read_text(encoding="utf-8")
    return _constructor(_class(source, "CommonParameters"))


def types(source):
    """Return the source of the common parameters with the types of all of them.

    Type checkers read what ``**common`` may be from a class of their own.
    """
    node = _class(source, "Common")
    arguments = _constructor(_class(source, "CommonParameters")).args.kwonlyargs
    lines = source.splitlines(keepends=True)
    # Below the docstring, which is one line.
    inner = slice(node.body[0].end_lineno, node.end_lineno)
    written = (
        f"{a.arg}: {ast.get_source_segment(source, a.annotation)}\n" for a in arguments
    )
    lines[inner] = ["\n", *(textwrap.indent(line, " " * 8) for line in written)]
    return "".join(lines)


def rewrite(source, name, own, shared):
    """Return the source of a module with one class rewritten, and what was changed."""
    node = _class(source, name)
    init = _constructor(node)
    parameters = []
    if init is not None:
        parameters = [arg.arg for arg in (*init.args.args[1:], *init.args.kwonlyargs)]
    if init is None or init.args.kwarg is not None:
        common = _common_constructor().args.kwonlyargs
        parameters += [arg.arg for arg in common if arg.arg not in parameters]
    # From below the summary to the closing quotes, each in a line of its own.
    lines = source.splitlines(keepends=True)
    inner = slice(node.body[0].lineno, node.body[0].end_lineno - 1)
    docstring = textwrap.dedent("".join(lines[inner]))
    text, changed = share(docstring, parameters, own, shared)
    lines[inner] = ["\n", textwrap.indent(text, "    ")]
    return "".join(lines), changed


def detectors():
    """Return the file and the name of each detector."""
    paths = sorted(PACKAGE.glob("_*.py"))
    named = ((p, DETECTOR.findall(p.read_text(encoding="utf-8"))) for p in paths)
    return [(path, name) for path, names in named for name in names]


def main(arguments=None):
    """Write or check all detectors; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    shared = SHARED.read_text(encoding="utf-8")
    found = False
    for path, name in detectors():
        source = path.read_text(encoding="utf-8")
        try:
            text, changed = rewrite(source, name, OWN.get(name, ()), shared)
        except ValueError as error:
            sys.exit(f"{name} {error}")
        if text == source:
            continue
        found = True
        state = "differs from" if check else "was brought to"
        print(f"{name} {state} {SHARED.name}: {', '.join(changed) or 'blank lines'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    path = PACKAGE / f"{COMMON}.py"
    source = path.read_text(encoding="utf-8")
    if (text := types(source)) != source:
        found = True
        print(f"Common {'differs from' if check else 'was brought to'} its constructor")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and found)


if __name__ == "__main__":
    sys.exit(main())
