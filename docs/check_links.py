"""Check that links between the pages of a folder of HTML resolve, anchors included.

Usage: python docs/check_links.py FOLDER
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.targets = {"", "top"}, set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collect the names that an element gives and the targets that it has."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value is not None:
                self.targets.add(value)


def main(folder):
    """Return one line for each broken link."""
    root = Path(folder).resolve()
    # What themes keep in _static are templates, not pages.
    paths = [path for path in root.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in paths}
    broken, checked = [], 0
    for path, page in pages.items():
        for target in sorted(page.targets):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            checked += 1
            aim = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not aim.is_file() or not aim.is_relative_to(root):
                problem = "no such file"
            elif aim in pages and unquote(url.fragment) not in pages[aim].anchors:
                problem = "no such anchor"
            else:
                continue
            broken.append(f"{path.relative_to(root)}: {target}: {problem}")
    if not checked:
        broken.append(f"{folder}: no links found")
    print(f"{checked} links between {len(pages)} pages, {len(broken)} broken")
    return broken


if __name__ == "__main__":
    sys.exit("\n".join(main(sys.argv[1])) or 0)
