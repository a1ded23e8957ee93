"""How Sphinx builds the documentation; contributing.rst has the command."""

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx_gallery.sorting import ExplicitOrder

import skganomaly

project = "skganomaly"
author = "The skganomaly developers"
copyright = author
version = release = skganomaly.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "changes.d"]
default_role = "literal"

# Every reference has to resolve, also to the names of other packages that
# ``inventories`` has, one in a line with its page: nothing is downloaded.
nitpicky = True
intersphinx_mapping = {
    name: (url, f"inventories/{name}.inv")
    for name, url in {
        "matplotlib": "https://matplotlib.org/stable",
        "numpy": "https://numpy.org/doc/stable",
        "pandas": "https://pandas.pydata.org/docs",
        "pyod": "https://pyod.readthedocs.io/en/latest",
        "skorch": "https://skorch.readthedocs.io/en/stable",
        "sklearn": "https://scikit-learn.org/stable",
        "torch": "https://docs.pytorch.org/docs/stable",
    }.items()
}

extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}

autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": ExplicitOrder(["plot_quickstart.py", "*"]),
    # The examples that use an object are shown on its page of the API reference.
    "doc_module": "skganomaly",
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skganomaly": None},
    # What a script does not print, its page does not show.
    "capture_repr": (),
    "show_signature": False,
    "write_computation_times": False,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
# The others have pages to list beside them.
html_sidebars = {
    page: []
    for page in (
        "index",
        "install",
        "api",
        "accuracy",
        "contributing",
        "releases",
        "changes",
    )
}
html_theme_options = {
    "logo": {"text": project},
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
}


def write_mathml(translator, node):
    """Write a formula as MathML, which browsers draw without a script or a network."""
    as_block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=as_block)
    translator.body.append(f"<p>{formula}</p>" if as_block else formula)
    raise nodes.SkipNode


def setup(app):
    """Register how formulas are written."""
    renderers = (write_mathml, None)
    app.add_html_math_renderer("mathml", renderers, renderers)
