"""How Sphinx builds the documentation: ``make docs``."""

from importlib.metadata import version as installed_version
from typing import Any

project = "signalpost"
copyright = "2026 signalpost contributors"
author = "signalpost contributors"
release = installed_version("signalpost")
version = ".".join(release.split(".")[:2])

# No intersphinx: a build must not depend on other projects' sites.
extensions = ["sphinx.ext.autodoc", "pallets_sphinx_themes"]
exclude_patterns = ["_build"]

default_role = "code"
add_module_names = False
# One class is documented, which needs none of it.
autodoc_mock_imports = ["flask_login"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"

html_theme = "flask"
html_title = f"signalpost {release}"
html_copy_source = False
html_show_copyright = False
html_sidebars = {"**": ["localtoc.html", "relations.html", "searchbox.html"]}


# The option has no form for a whole module, and a signal's value is only its repr.
def leave_out_values(*args: Any) -> None:
    """Keep ``= <NamedSignal object …>`` from the pages."""
    options = args[-1]
    options.no_value = True


def setup(app: Any) -> None:
    """Connect the above, as Sphinx asks."""
    app.connect("autodoc-skip-member", leave_out_values)
