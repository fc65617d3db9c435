"""How Sphinx builds the documentation: ``make docs``."""

import sys
import tomllib
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for from_code and terms

from terms import first_uses  # noqa: E402  # found on that path

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
html_search_scorer = str(HERE / "scorer.js")
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


# Users import signals and constants from the first, which imports them from the others.
# Sphinx looks for the docstring of a value only in the module that it documents.
VALUES_DEFINED_IN = {
    "signalpost.config": [
        "signalpost.config._disabled",
        "signalpost.config._finding",
        "signalpost.config._keys",
        "signalpost.config._published",
    ],
    "signalpost.exchange": ["signalpost._handling"],
    "signalpost.integrations.gunicorn": ["signalpost.integrations.gunicorn._catalogue"],
    "signalpost.integrations.prometheus": [
        "signalpost.integrations.prometheus._options",
        "signalpost.integrations.prometheus._requests",
        "signalpost.integrations.prometheus._values",
    ],
    "signalpost.integrations.relay": [
        "signalpost._relaying",
        "signalpost.integrations.relay._lines",
    ],
    "signalpost.integrations.sqlalchemy": [
        "signalpost.integrations.sqlalchemy._catalogue",
        "signalpost.integrations.sqlalchemy._model_catalogue",
    ],
}
# Only signalpost's own integrations use these.
WITHOUT_ENTRY = {
    "signalpost.live.snapshot.json_default",
    "signalpost.receivers.context.add_context",
    "signalpost.receivers.context.put_request",
    "signalpost.receivers.context.read_spans_by",
    "signalpost.work.begin_work",
}
# Functions return these; users have no reason to import their classes.
NOT_IMPORTED = ("signalpost._engine.names.SenderName", "signalpost._engine.blocks.Held")


def read_docstrings_of_values(app: Any) -> None:
    """Add the docstrings of values to the modules that users import them from."""
    for package, modules in VALUES_DEFINED_IN.items():
        imported = ModuleAnalyzer.for_module(package)
        imported.analyze()
        for module in modules:
            defined = ModuleAnalyzer.for_module(module)
            defined.analyze()
            names = {name for _, name in defined.attr_docs}
            imported.attr_docs |= defined.attr_docs
            imported.tagorder |= {
                name: len(imported.tagorder) + place
                for name, place in defined.tagorder.items()
                if name in names
            }


def check_entries(app: Any, env: Any) -> None:
    """Warn of public names without an entry, and of entries of private modules."""
    domain = env.domains["py"]
    for name, entry in domain.objects.items():
        if not entry.aliased and "._" in name and not name.startswith(NOT_IMPORTED):
            logger.warning("%s is the path of a private module in the reference", name)
    for module in domain.modules:
        for name in getattr(import_module(module), "__all__", ()):
            path = f"{module}.{name}"
            if path not in domain.objects and path not in WITHOUT_ENTRY:
                logger.warning("%s has no entry in the reference", path)


def link_terms(app: Any, document: Any) -> None:
    """Link the first use of each term of the glossary on a page."""
    page = app.env.docname
    if page in ("glossary", "changelog"):
        return
    for text, parts in first_uses(document):
        for place, part in enumerate(parts):
            if isinstance(part, nodes.inline):
                parts[place] = addnodes.pending_xref(
                    "",
                    part,
                    refdomain="std",
                    reftype="term",
                    reftarget=part.attributes.pop("term"),
                    refexplicit=True,
                    refwarn=True,
                    refdoc=page,
                )
        text.parent.replace(text, parts)


def setup(app: Any) -> None:
    """Connect the above, as Sphinx asks."""
    app.connect("doctree-read", link_terms)
    app.connect("builder-inited", read_docstrings_of_values)
    app.connect("env-check-consistency", check_entries)
    app.connect("autodoc-skip-member", leave_out_values)
