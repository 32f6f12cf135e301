# SPDX-License-Identifier: Apache-2.0
"""Sphinx settings: Markdown pages, and a reference made from the docstrings of the package.

``sphinx-build -W --keep-going docs build/site`` builds the site; a warning is an error.
"""

from __future__ import annotations

import importlib.util

from octavo import __version__

project = "octavo"
author = "octavo contributors"
project_copyright = "octavo contributors"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

# The site is built without these too; their part of the reference then shows what it can.
_OPTIONAL = ("torch", "transformers", "safetensors", "tokenizers", "typer")
autodoc_mock_imports = [name for name in _OPTIONAL if importlib.util.find_spec(name) is None]
autodoc_member_order = "bysource"
# The docstrings name types and shapes; the signature stays readable without repeating them.
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

nitpicky = False
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = f"octavo {release}"
html_copy_source = False
html_show_sourcelink = False
