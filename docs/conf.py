"""How Sphinx builds the documentation: ``make docs``."""

import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for from_code

project = "signalpost"
copyright = "2026 signalpost contributors"
author = "signalpost contributors"
release = installed_version("signalpost")
version = ".".join(release.split(".")[:2])

# No intersphinx: a build must not depend on other projects' sites.
extensions = [
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "notfound.extension",
    "from_code",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

default_role = "code"
add_module_names = False
# One class is documented, which needs none of it.
autodoc_mock_imports = ["flask_login"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/project.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
PROJECT = tomllib.loads(HERE.with_name("pyproject.toml").read_text("utf-8"))["project"]
html_context = {"project_urls": PROJECT["urls"]}
notfound_urls_prefix = "/"
pygments_style = "friendly"
pygments_dark_style = "monokai"

# The button copies what one types: no prompts and no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


# The option has no form for a whole module, and a signal's value is only its repr.
def leave_out_values(*args: Any) -> None:
    """Keep ``= <NamedSignal object …>`` from the pages."""
    options = args[-1]
    options.no_value = True


def setup(app: Any) -> None:
    """Connect the above, as Sphinx asks."""
    app.connect("autodoc-skip-member", leave_out_values)
