"""How Sphinx makes pages of this folder: ``make docs``, or ``sphinx-build -W -n docs docs/_build/html``."""

from twistpi import __version__

project = "twistpi"
copyright = "the authors of twistpi"
release = version = __version__

exclude_patterns = ["_build"]
highlight_language = "text"
smartquotes = False  # options begin with two hyphens

html_theme = "alabaster"
html_theme_options = {
    "description": "A Python package index server: a caching mirror and private indexes on a durable changelog",
    "fixed_sidebar": True,
    "page_width": "72rem",
    "body_max_width": "54rem",
    "show_powered_by": False,
}
html_show_sourcelink = False
html_copy_source = False
html_static_path: list[str] = []
