from __future__ import annotations

import subprocess
import sys

import pytest

# What importlib does where a package is not installed.
ENABLE = """\
import sys
import warnings

package, name = sys.argv[1:]
warnings.simplefilter("ignore")


class NotInstalled:
    def find_spec(self, wanted, path=None, target=None):
        if wanted.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {wanted!r}", name=package)


sys.meta_path.insert(0, NotInstalled())

from signalpost.config import Configuration


class Shop:
    pass


shop = Shop()
mapping = {"signalpost": {"receivers": {name: True, "latncy": True}}}
warnings.simplefilter("always")
try:
    Configuration.from_mapping(mapping, "shop.toml").load(shop)
except ValueError as error:
    print(error)
"""


def run(code: str, package: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, package, name],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def printed_without(package: str, name: str) -> subprocess.CompletedProcess[str]:
    return run(ENABLE, package, name)


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("prometheus_client", "prometheus", "prometheus"),
        ("opentelemetry", "opentelemetry", "opentelemetry"),
        ("sqlalchemy", "sqlalchemy", "sqlalchemy"),
        ("flask_login", "flask-login", "flask-login"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, name: str, extra: str
) -> None:
    lines = printed_without(package, name).stdout.splitlines()
    assert lines[0] == "2 mistakes in the configuration:"
    assert lines[1] == (
        f"  shop.toml, [signalpost.receivers] {name}: it needs the package {package},"
        f" which is not installed; run pip install 'signalpost[{extra}]'"
    )
    assert "latncy" in lines[2]


@pytest.mark.parametrize("name", ["sql", "sql-totals", "sql-repeats"])
def test_statements_without_sqlalchemy_are_warned_of(name: str) -> None:
    printed = printed_without("sqlalchemy", name)
    assert "ConfigurationWarning: shop.toml, [signalpost.receivers]" in printed.stderr
    assert "run pip install 'signalpost[sqlalchemy]' and enable" in printed.stderr
    assert "latncy" in printed.stdout
    assert "mistakes" not in printed.stdout


def test_a_package_that_is_installed_is_not_warned_of() -> None:
    assert "Warning" not in printed_without("no_such_package", "sql").stderr
    assert "install" not in printed_without("no_such_package", "sqlalchemy").stdout


def test_another_release_that_is_needed_is_named_with_the_extra() -> None:
    code = ENABLE.replace(
        "sys.meta_path.insert(0, NotInstalled())",
        "import types; sys.modules[package] = types.ModuleType(package)",
    )
    output = run(code, "prometheus_client", "prometheus").stdout
    assert "it needs another release of prometheus_client (" in output
    assert "run pip install 'signalpost[prometheus]' --upgrade" in output


def test_a_package_of_a_receiver_of_ones_own_names_no_extra() -> None:
    code = "import sys, types; m = types.ModuleType('mine'); sys.modules['mine'] = m\n"
    code += "m.__getattr__ = lambda name: __import__('sqlalchemy')\n" + ENABLE
    output = run(code, "sqlalchemy", "mine:x").stdout
    assert "pip install" not in output
    assert "'x' of module 'mine' cannot be read: ModuleNotFoundError" in output
