from __future__ import annotations

import gc
import importlib.util
import logging
import subprocess
import sys
import textwrap
import typing as t
import weakref
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Generator
from collections.abc import Mapping
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import Enabled
from signalpost.config import enabled_for
from signalpost.config import ENTRY_POINT_GROUP
from signalpost.config import READY
from signalpost.errors import ConfigurationError
from signalpost.errors import ConfigurationWarning
from signalpost.errors import SignalpostError
from signalpost.exchange import Exchange
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import post_config_load
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server

Write = Callable[[str, str], Path]
HERE = __name__


class Shop:
    """An application, as far as a sender must be one."""


shops: list[Shop] = []


def new_shop() -> Shop:
    """Return an application that lives until the test ends."""
    shops.append(Shop())
    return shops[-1]


class Audit:
    """A receiver of somebody's own, with an option of each kind."""

    hears: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-closed": "closed",
    }

    def __init__(
        self,
        *,
        days: int = 30,
        share: float | None = None,
        is_loud: bool = False,
        title: str = "audit",
        name: str | None = None,
        paths: Collection[str] = (),
        sizes: frozenset[int] = frozenset(),
        weights: Mapping[str, float] | None = None,
        form: t.Literal["long", "short"] = "long",
        logger: logging.Logger | None = None,
        sink: logging.Logger | str | None = None,
        untold: t.Any = None,
    ) -> None:
        if days < 1:
            raise ValueError(f"days must be at least 1, got {days}")
        self.given = {key: value for key, value in locals().items() if key != "self"}
        self.heard: list[str] = []

    def opened(self, sender: object, *, exchange: Exchange, **_: t.Any) -> None:
        self.heard.append(f"opened {exchange.path}")

    def closed(self, sender: object, *, exchange: Exchange, **_: t.Any) -> None:
        self.heard.append(f"closed {exchange.path}")


class Plain:
    """A class without hears, and without annotations."""

    def __init__(self, days=30, title="plain", other=None):  # type: ignore[no-untyped-def]
        self.given = (days, title, other)
        self.calls = 0

    def __call__(self, sender: object, **_: t.Any) -> None:
        self.calls += 1


class Unknown:
    """A class whose annotations cannot be read at run time."""

    def __init__(self, days: Nowhere = 30) -> None:  # type: ignore[name-defined]  # noqa: F821
        self.days = days

    def __call__(self, sender: object, **_: t.Any) -> None: ...


class Free:
    """A class that takes any option."""

    hears: t.ClassVar[Mapping[str, str]] = {"exchange-closed": "__call__"}

    def __init__(self, **options: t.Any) -> None:
        self.options = options

    def __call__(self, sender: object, **_: t.Any) -> None: ...


class Optionless(Free):
    """A class that takes no option."""

    def __init__(self) -> None:
        super().__init__()


class ConnectsItself:
    """A class that finds what it hears by itself."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def connect(self, sender: object) -> None:
        self.said.append(f"connect {id(sender)}")

    def disconnect(self) -> None:
        self.said.append("disconnect")


class Stubborn(ConnectsItself):
    """A class that neither connects nor disconnects as it should."""

    def __init__(self, *, connects: bool = True) -> None:
        super().__init__()
        self.connects = connects

    def connect(self) -> None:  # type: ignore[override]  # as it may be written
        if not self.connects:
            raise OSError("no such folder")

    def disconnect(self) -> None:
        raise OSError("the folder is gone")


class Misled:
    """A class that hears one signal, and then asks for what none sends."""

    hears: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-closed": "closed",
    }

    def opened(self, sender: object, **_: t.Any) -> None: ...

    def closed(self, sender: object, *, basket: object) -> None: ...


class Misspelt(Misled):
    """A class that hears a signal that is none."""

    hears: t.ClassVar[Mapping[str, str]] = {
        "exchange-opened": "opened",
        "exchange-close": "opened",
    }


heard_by_record: list[object] = []


def record(sender: object, **_: t.Any) -> None:
    heard_by_record.append(sender)


record_nothing = Free()
three = 3


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_module(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[[str, str], None]]:
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write_module(name: str, text: str) -> None:
        write(f"{name}.py", text)
        written.append(name)

    yield write_module
    for name in written:
        sys.modules.pop(name, None)
    gc.collect()


@pytest.fixture(autouse=True)
def no_shops_left() -> Generator[None]:
    yield
    shops.clear()
    heard_by_record.clear()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a path such as ``here:record`` name something of this module."""
    monkeypatch.setitem(sys.modules, "here", sys.modules[HERE])


def load(receivers: Mapping[str, t.Any], application: object = None) -> Enabled:
    configuration = Configuration.from_mapping(
        {"signalpost": {"receivers": receivers}}, "a test"
    )
    return configuration.load(new_shop() if application is None else application)


def refusal(receivers: Mapping[str, t.Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        load(receivers)
    assert connections() == 0
    return raised.value


def hearing(sender: object) -> list[t.Any]:
    """Return what hears the end of a sender's exchanges, and nobody else's."""
    return [one.receiver for one in exchange_closed.connections if one.sender is sender]


INTEGRATED = {"opentelemetry", "prometheus", "sqlalchemy"}
"""What is ready, and another package's; tested with its integration."""


def everybody() -> int:
    return sum(len(signal.connections) for signal in catalogue.values())


def connections() -> int:
    gc.collect()
    return sum(
        isinstance(connection.sender, Shop)
        for signal in catalogue.values()
        for connection in signal.connections
    )


# Reading


def test_a_section_is_a_configuration_of_its_own() -> None:
    configuration = Configuration.from_mapping({"shop": {"audit": {"days": 3}}}, "x")
    section = configuration["shop"]["audit"]
    assert isinstance(section, Configuration)
    assert dict(section) == {"days": 3}
    assert (section.source, section.section) == ("x", "shop.audit")


@pytest.mark.parametrize(
    "mapping",
    [
        {"shop": {"audit": {"days": 3}, "name": "corner"}},
        {"shop.audit": {"days": 3}, "shop": {"name": "corner"}},
        {"shop": {"name": "corner"}, "shop.audit": {"days": 3}},
    ],
)
def test_dotted_names_are_tables_in_each_other(mapping: dict[str, t.Any]) -> None:
    configuration = Configuration.from_mapping(mapping)
    assert configuration["shop.audit"] == {"days": 3}
    assert configuration["shop"]["audit.days"] == 3
    assert configuration["shop.name"] == "corner"
    assert list(configuration) == ["shop"]
    assert len(configuration) == 1


def test_a_dotted_key_below_the_top_is_found_as_it_stands() -> None:
    configuration = Configuration.from_mapping({"shop": {"a.b": {"c.d": 1}, "a": {}}})
    assert configuration["shop.a.b.c.d"] == 1


def test_what_is_missing_says_what_there_is() -> None:
    configuration = Configuration.from_mapping({"shop": {"days": 3}}, "a test")
    assert configuration.get("shop.audit", 7) == 7
    with pytest.raises(KeyError) as raised:
        configuration["shop"]["audit"]
    assert raised.value.__notes__ == [
        "[shop] of a test has days; use get() for what may be missing"
    ]
    with pytest.raises(KeyError) as raised:
        Configuration.from_mapping({}, "a test")["shop"]
    assert "a test has nothing" in raised.value.__notes__[0]


def test_what_is_no_name_is_missing() -> None:
    number: t.Any = 3
    assert number not in Configuration.from_mapping({"shop": {}})


def test_a_configuration_shows_where_it_is_from() -> None:
    configuration = Configuration.from_mapping({"shop": {}}, "shop.toml")
    assert repr(configuration) == "<Configuration shop.toml>"
    assert repr(configuration["shop"]) == "<Configuration shop.toml [shop]>"


def test_a_mapping_is_copied() -> None:
    mapping = {"shop": {"days": 3}}
    configuration = Configuration.from_mapping(mapping)
    mapping["shop"]["days"] = 4
    assert configuration["shop.days"] == 3


@pytest.mark.parametrize(
    "mapping",
    [
        {"shop": {"audit": {"days": 3}}, "shop.audit": {"days": 4}},
        {"shop": 3, "shop.audit": {"days": 4}},
        {"shop.audit": {"days": 4}, "shop": 3},
    ],
)
def test_what_is_given_twice_is_refused(mapping: dict[str, t.Any]) -> None:
    with pytest.raises(ConfigurationError, match="given twice"):
        Configuration.from_mapping(mapping)


def test_a_name_that_is_no_string_is_refused() -> None:
    mapping: dict[t.Any, t.Any] = {"shop": {3: 4}}
    with pytest.raises(ConfigurationError, match="a name must be a string, got 3"):
        Configuration.from_mapping(mapping)


def test_a_file_is_read_by_its_suffix(write: Write) -> None:
    toml = write("a.toml", "[shop]\ndays = 3\n")
    ini = write("a.INI", "[shop]\ndays = 3\n")
    assert Configuration.from_file(toml)["shop.days"] == 3
    assert Configuration.from_file(str(ini))["shop.days"] == "3"
    with pytest.raises(ConfigurationError, match=r"must end in \.toml or \.ini"):
        Configuration.from_file("shop.yaml")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[shop]\ndays = 3\n")
    assert Configuration.from_file(path)["shop.days"] == 3


@pytest.mark.parametrize("name", ["a.toml", "a.ini"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file") as raised:
        Configuration.from_file(tmp_path / name)
    assert raised.value.source == str(tmp_path / name)
    assert isinstance(raised.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("name", ["a.toml", "a.ini"])
def test_a_file_that_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"[shop]\na = 'caf\xe9'\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 15"):
        Configuration.from_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[shop]\ndays 3\n", r"a\.toml: not TOML: .*line 2"),
        ("a.ini", "[shop]\ndays 3\n", r"a\.ini: no INI file: .*line  ?2"),
        ("a.ini", "days = 3\n", r"a\.ini: no INI file: .*no section headers"),
        ("a.ini", "[shop]\n[shop]\n", r"a\.ini: no INI file: .*line  ?2"),
    ],
)
def test_a_file_of_another_form_is_refused(
    name: str, text: str, message: str, write: Write
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Configuration.from_file(write(name, text))


def test_an_ini_file_has_no_section_of_defaults(write: Write) -> None:
    path = write("a.ini", "[DEFAULT]\nhere = %(x)s\n[signalpost.receivers]\n")
    configuration = Configuration.from_ini(path)
    assert configuration["DEFAULT.here"] == "%(x)s"
    assert type(configuration["DEFAULT.here"]) is str
    assert configuration["signalpost.receivers"] == {}


# Enabling


def test_what_is_named_hears_the_application() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    audit = enabled["here:Audit"].receiver
    app = SignalMiddleware(hello, sender=shop)
    Server().serve(app, path="/a")
    Server().serve(SignalMiddleware(hello), path="/of-another")
    assert audit.heard == ["opened /a", "closed /a"]
    assert audit.given["days"] == 7


def test_a_middleware_stands_for_its_sender() -> None:
    app = SignalMiddleware(hello)
    audit = load({"here:Audit": True}, app)["here:Audit"].receiver
    Server().serve(app, path="/a")
    assert audit.heard == ["opened /a", "closed /a"]
    assert enabled_for(app) is enabled_for(hello)
    enabled_for(app).disable_all()


def test_what_is_enabled_tells_about_itself() -> None:
    enabled = load({"here:Audit": {"days": 7}, "here:record_nothing": True})
    audit = enabled["here:Audit"]
    assert (audit.name, audit.path) == ("here:Audit", "here:Audit")
    assert audit.options == {"days": 7}
    assert audit.source == "a test, [signalpost.receivers] here:Audit"
    assert audit.signals == ("exchange-opened", "exchange-closed")
    assert list(enabled) == ["here:Audit", "here:record_nothing"]
    assert len(enabled) == 2
    assert repr(enabled) == "<Enabled here:Audit, here:record_nothing>"
    assert repr(load({})) == "<Enabled nothing>"


@pytest.mark.parametrize("name", [name for name in READY if name not in INTEGRATED])
def test_a_ready_receiver_is_known_by_its_name(name: str) -> None:
    before = everybody()
    shop = Shop()
    enabled = load({name: True}, shop)
    assert enabled[name].path == READY[name]
    assert everybody() > before
    enabled.disable_all()
    assert everybody() == before


def test_a_receiver_set_to_false_is_not_even_looked_up() -> None:
    assert len(load({"no.such:thing": False, "nonsense": False})) == 0


def test_a_function_hears_the_signal_that_it_is_given() -> None:
    shop = Shop()
    enabled = load({"here:record": {"signal": "exchange-closed"}}, shop)
    Server().serve(SignalMiddleware(hello, sender=shop))
    assert heard_by_record == [shop]
    assert enabled["here:record"].signals == ("exchange-closed",)
    assert hearing(shop) == [record]


def test_a_class_without_hears_is_made_and_given_a_signal() -> None:
    shop = Shop()
    options = {"signal": "exchange-opened", "days": 7}
    plain = load({"here:Plain": options}, shop)["here:Plain"].receiver
    Server().serve(SignalMiddleware(hello, sender=shop))
    assert plain.given == (7, "plain", None)
    assert plain.calls == 1


def test_a_receiver_that_connects_itself_is_let_do_so() -> None:
    shop = Shop()
    enabled = load({"here:ConnectsItself": True}, shop)
    itself = enabled["here:ConnectsItself"].receiver
    assert enabled["here:ConnectsItself"].signals == ()
    assert itself.said == [f"connect {id(shop)}"]
    assert enabled.disable("here:ConnectsItself")
    assert itself.said == [f"connect {id(shop)}", "disconnect"]


def test_disabled_means_disconnected() -> None:
    shop = Shop()
    enabled = load({"here:Audit": True, "here:record_nothing": True}, shop)
    assert enabled.disable("here:Audit")
    assert not enabled.disable("here:Audit")
    assert list(enabled) == ["here:record_nothing"]
    assert hearing(shop) == [record_nothing]
    enabled.disable_all()
    assert len(enabled) == 0
    assert connections() == 0


def test_enabling_twice_is_one() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    audit = enabled["here:Audit"]
    assert load({"here:Audit": {"days": 7}}, shop) is enabled
    assert enabled.enable("here:Audit", days=7) is audit
    assert len(hearing(shop)) == 1


def test_enabling_twice_with_other_options_is_refused() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    with pytest.raises(ConfigurationError, match="enabled already") as raised:
        enabled.enable("here:Audit", days=8)
    assert "by a test, [signalpost.receivers] here:Audit" in str(raised.value)
    assert enabled["here:Audit"].options == {"days": 7}


def test_what_was_disabled_can_be_enabled_again() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    enabled.disable("here:Audit")
    audit = enabled.enable("here:Audit", days=8)
    assert audit.source == "enable(), here:Audit"
    assert hearing(shop) == [audit.receiver.closed]


def test_applications_are_enabled_apart() -> None:
    one, other = Shop(), Shop()
    first = load({"here:Audit": True}, one)
    second = load({"here:Audit": True}, other)
    first.disable_all()
    assert list(second) == ["here:Audit"]
    assert hearing(other)
    assert not hearing(one)


def test_receivers_need_nobody_to_hold_them() -> None:
    shop = Shop()
    load({"here:Audit": True}, shop)
    gc.collect()
    assert hearing(shop)


def test_receivers_go_with_their_application() -> None:
    shop = Shop()
    enabled = load({"here:Audit": True, "here:ConnectsItself": True}, shop)
    audit = weakref.ref(enabled["here:Audit"].receiver)
    itself = enabled["here:ConnectsItself"].receiver
    itself.said.clear()
    gone = weakref.ref(shop)
    del shop, enabled
    gc.collect()
    assert gone() is None
    assert audit() is None
    assert itself.said == ["disconnect"]
    assert connections() == 0


def test_an_application_without_weak_references_is_held() -> None:
    class Slotted:
        __slots__ = ()

    shop = Slotted()
    enabled = load({"here:Audit": True}, shop)
    assert hearing(shop)
    enabled.disable_all()
    assert not hearing(shop)


def test_a_receiver_that_cannot_connect_itself_is_refused() -> None:
    error = refusal({"here:Stubborn": {"connects": False}})
    assert "it cannot be connected: no such folder" in str(error)
    assert isinstance(error.__cause__, OSError)


def test_a_receiver_that_fails_to_disconnect_keeps_no_other_enabled() -> None:
    shop = Shop()
    enabled = load({"here:Audit": True, "here:Stubborn": True}, shop)
    with pytest.raises(OSError, match="the folder is gone"):
        enabled.disable_all()
    assert len(enabled) == 0
    assert not hearing(shop)


# Modules, and their own sections


def test_modules_are_imported_in_order_before_the_receivers(
    write_module: Callable[[str, str], None], write: Write
) -> None:
    write_module("stock_one", "import sys; sys.stock = ['one']")
    write_module("stock_two", "import sys; sys.stock.append('two')")
    path = write(
        "a.ini",
        """\
        [signalpost]
        auto-import = stock_one
            stock_two
        """,
    )
    Configuration.from_ini(path).load(new_shop())
    assert vars(sys).pop("stock") == ["one", "two"]


def test_a_module_reads_its_own_section_and_enables_itself(
    write_module: Callable[[str, str], None], write: Write
) -> None:
    write_module(
        "stock_audit",
        """\
        from signalpost.lifecycle import exchange_closed, post_config_load

        heard = []

        @post_config_load.connect
        def read(configuration, application):
            word = configuration["stock.audit"]["word"]

            def hear(sender):
                heard.append(word)

            exchange_closed.connect(hear, application, weak=False)
        """,
    )
    path = write(
        "a.toml",
        """\
        [signalpost]
        auto-import = ["stock_audit"]

        [stock.audit]
        word = "closed"
        """,
    )
    shop = Shop()
    Configuration.from_toml(path).load(shop)
    Server().serve(SignalMiddleware(hello, sender=shop))
    assert sys.modules["stock_audit"].heard == ["closed"]


def test_post_config_load_is_sent_once_for_each_application() -> None:
    configuration = Configuration.from_mapping({"stock": {"days": 3}})
    sent: list[object] = []

    def hear(configuration: Configuration, application: object) -> None:
        sent.append((configuration["stock.days"], application))

    with post_config_load.connected_to(hear):
        configuration.load(SignalMiddleware(hello))
        configuration.load("shop")
    assert sent == [(3, hello), (3, "shop")]


def test_what_a_receiver_of_post_config_load_raises_undoes_the_loading() -> None:
    def fail(configuration: Configuration, application: object) -> None:
        enabled_for(application).enable("here:record_nothing")
        raise LookupError("no section")

    shop = Shop()
    before = load({"here:ConnectsItself": True}, shop)
    with post_config_load.connected_to(fail), pytest.raises(LookupError):
        load({"here:Audit": True}, shop)
    assert list(before) == ["here:ConnectsItself"]
    assert not hearing(shop)


# Errors


def test_an_error_tells_file_line_section_and_key(write: Write) -> None:
    path = write(
        "a.toml",
        """\
        # latencey = true
        [shop]
        latencey = true

        [signalpost.receivers]  # ours
        failures = false
        "latencey" = {slow_seconds = 0.5}
        """,
    )
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_toml(path).load(new_shop())
    error = raised.value
    assert (error.source, error.section, error.key, error.line) == (
        str(path),
        "signalpost.receivers",
        "latencey",
        7,
    )
    assert str(error) == (
        f"{path}, line 7, [signalpost.receivers] latencey: unknown receiver"
        f" 'latencey'; known are {', '.join(sorted(READY))}; one of your own is written"
        " package.module:object; did you mean 'latency'?"
    )
    assert isinstance(error, (SignalpostError, ValueError))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[signalpost.receivers.latencey]\nslow_seconds = 1\n", 1),
        ("[signalpost]\nreceivers.latencey = true\n", 2),
        ("signalpost.receivers.latencey.slow_seconds = 1\n", 1),
        ("[signalpost]\nreceivers = {latencey = true}\n", None),
    ],
)
def test_a_line_is_found_however_it_is_written(
    text: str, line: int | None, write: Write
) -> None:
    with pytest.raises(ConfigurationError, match="unknown receiver") as raised:
        Configuration.from_toml(write("a.toml", text)).load(new_shop())
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("receivers", "message"),
    [
        ({"shop": True}, "unknown receiver 'shop'; known are failures"),
        ({"latency": 3}, "expected true, false or a table of options, got 3"),
        ({"latency": "yes"}, "expected true, false or a table of options, got 'yes'"),
        (
            {"latency": {"slow_second": 1}},
            "unknown option 'slow_second'; its options are exclude, levels, ",
        ),
        ({"latency": {"slow_seconds": -1}}, "slow_seconds must be a number"),
        (
            {"here:Audit": {"days": 0}},
            "days must be at least 1, got 0; its options are days, form, is_loud",
        ),
        (
            {"here:Optionless": {"days": 1}},
            "unknown option 'days'; it has no options",
        ),
        (
            {"here:record": True},
            'name of what it hears, as {signal = "exchange-closed"}; got None',
        ),
        (
            {"here:record": {"signal": "exchange-close"}},
            "unknown signal 'exchange-close'; known are appcontext-popped, ",
        ),
        (
            {"here:record": {"signal": "exchange-closed", "days": 3}},
            "it takes no option days, as it is no class; give it signal only",
        ),
        (
            {"here:record_nothing": {"days": 3}},
            "it takes no option days, as it is no class; give it none",
        ),
        (
            {"here:three": {"signal": "exchange-closed"}},
            "it cannot be connected: receiver must be callable, got 3",
        ),
        ({"here:Misled": True}, "it cannot be connected: "),
        ({"here:Misspelt": True}, "; did you mean 'exchange-closed'?"),
        (
            {"here:recrod": {"signal": "exchange-closed"}},
            "module 'here' has no 'recrod'; did you mean 'record'?",
        ),
        ({"here:": True}, "module 'here' has no ''"),
        (
            {"no_such_module:record": True},
            "module 'no_such_module' cannot be imported: ModuleNotFoundError: No mod",
        ),
        ({":record": True}, "module '' cannot be imported: ValueError"),
    ],
)
def test_what_does_not_fit_is_refused(
    receivers: dict[str, t.Any], message: str
) -> None:
    error = refusal(receivers)
    assert message in str(error)
    assert error.source == "a test"
    assert error.section == "signalpost.receivers"
    assert [error.key] == [*receivers]


def test_nothing_is_half_enabled_after_an_error() -> None:
    shop = Shop()
    before = load({"here:ConnectsItself": True}, shop)
    with pytest.raises(ConfigurationError):
        load({"here:Audit": True, "latency": True, "nonsense": True}, shop)
    assert list(before) == ["here:ConnectsItself"]
    assert connections() == 0


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"recievers": {}}, "recievers", "did you mean 'receivers'?"),
        (
            {"level": 3},
            "level",
            "unknown key; known are auto-import, format, receivers",
        ),
        ({"receivers": ["latency"]}, "receivers", "expected a table of receivers"),
        ({"auto-import": "shop.audit"}, "auto-import", "expected a list of modules"),
        ({"auto-import": [3]}, "auto-import", "expected a list of modules"),
        ({"format": "jason"}, "format", "got 'jason'; did you mean 'json'?"),
        ({"format": 3}, "format", "expected one of json, logfmt, text, got 3"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(
    table: dict[str, t.Any], key: str, message: str
) -> None:
    configuration = Configuration.from_mapping({"signalpost": table}, "a test")
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(new_shop())
    assert message in str(raised.value)
    assert (raised.value.section, raised.value.key) == ("signalpost", key)


def test_signalpost_must_be_a_section() -> None:
    with pytest.raises(ConfigurationError, match="a test, signalpost: expected a tab"):
        Configuration.from_mapping({"signalpost": 3}, "a test").load(new_shop())


def test_a_module_that_fails_is_named_with_its_line_and_its_error(
    write_module: Callable[[str, str], None], write: Write
) -> None:
    write_module("stock_sound", "")
    write_module("stock_broken", "import no_such_thing")
    path = write(
        "a.toml",
        """\
        [signalpost]
        auto-import = [
            "stock_sound",
            # stock_broken comes last
            "stock_broken",
        ]

        [shop]
        """,
    )
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_toml(path).load(new_shop())
    assert str(raised.value).startswith(
        f"{path}, line 5, [signalpost] auto-import: module 'stock_broken' cannot be"
        " imported: ModuleNotFoundError: No module named 'no_such_thing'"
    )
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_module_whose_line_is_not_found_is_named_with_that_of_the_key(
    write: Write,
) -> None:
    path = write(
        "a.toml", '[signalpost]\nauto-import = ["no_\\u0073uch"]\n[shop]\na = 1\n'
    )
    with pytest.raises(ConfigurationError, match=r"'no_such' cannot be") as raised:
        Configuration.from_toml(path).load(new_shop())
    assert raised.value.line == 2


# Options that are text


def given_by_ini(write: Write, text: str) -> dict[str, t.Any]:
    path = write("a.ini", "[signalpost.receivers.here:Audit]\n" + text)
    enabled = Configuration.from_ini(path).load(new_shop())
    given: dict[str, t.Any] = enabled["here:Audit"].receiver.given
    return given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("days = 7", 7),
        ("share = 0.5", 0.5),
        ("share =", None),
        ("is_loud = Yes", True),
        ("is_loud = off", False),
        ("title = 7", "7"),
        ("title =", ""),
        ("name = corner", "corner"),
        ("name =", None),
        ("paths = /a /b", ("/a", "/b")),
        ("paths =\n  /a b\n  /c", ("/a b", "/c")),
        ("paths =", ()),
        ("sizes = 1 2", frozenset((1, 2))),
        ("weights = /a = 0.5", {"/a": 0.5}),
        ("weights =\n  /a=0.5\n  /b?c=d = 1", {"/a": 0.5, "/b?c=d": 1.0}),
        ("form = short", "short"),
        ("logger = shop.audit", logging.getLogger("shop.audit")),
        ("sink = shop.audit", "shop.audit"),
        ("untold = yes", "yes"),
    ],
)
def test_text_is_converted_as_the_annotation_says(
    text: str, value: object, write: Write
) -> None:
    name = text.partition(" ")[0]
    given = given_by_ini(write, text)[name]
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("days = seven", "option days: expected a whole number, got 'seven'"),
        ("share = much", "option share: expected a number, got 'much'"),
        ("is_loud = perhaps", "option is_loud: expected yes or no, got 'perhaps'"),
        ("form = tall", "option form: expected one of long, short, got 'tall'"),
        ("weights = /a", "option weights: expected lines NAME = VALUE, got '/a'"),
        ("sizes = 1 b", "option sizes: expected a whole number, got 'b'"),
    ],
)
def test_text_that_cannot_be_converted_is_refused(
    text: str, message: str, write: Write
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        given_by_ini(write, text)
    assert str(raised.value).endswith(
        f"line 2, [signalpost.receivers] here:Audit: {message}"
    )


def test_text_is_converted_as_the_default_says_without_an_annotation(
    write: Write,
) -> None:
    path = write(
        "a.ini",
        """\
        [signalpost.receivers]
        here:Plain =
            signal = exchange-closed
            days = 7
            title = 8
            other = 9
        here:Unknown =
            signal = exchange-closed
            days = 7
        here:Free = days = 7
        here:record = signal=exchange-closed
        here:ConnectsItself = yes
        here:Optionless = off
        """,
    )
    enabled = Configuration.from_ini(path).load(new_shop())
    assert type(enabled["here:Plain"].options["days"]) is str
    assert enabled["here:Plain"].receiver.given == (7, "8", "9")
    assert enabled["here:Unknown"].receiver.days == 7
    assert enabled["here:Free"].receiver.options == {"days": "7"}
    assert len(enabled) == 5


def test_text_that_is_no_option_is_refused(write: Write) -> None:
    path = write("a.ini", "[signalpost.receivers]\nhere:Audit = loudly\n")
    with pytest.raises(ConfigurationError, match="expected yes, no, or a line NAME"):
        Configuration.from_ini(path).load(new_shop())


def test_a_logger_is_named_in_any_source() -> None:
    options = {"logger": "shop.audit", "sink": "shop.audit"}
    given = load({"here:Audit": options})["here:Audit"].receiver.given
    assert given["logger"] is logging.getLogger("shop.audit")
    assert given["sink"] == "shop.audit"


def test_a_class_that_tells_no_options_is_given_them() -> None:
    error = refusal({"builtins:dict": {"signal": "exchange-closed", "days": 7}})
    assert "it cannot be connected" in str(error)


# The format


def said(capsys: pytest.CaptureFixture[str]) -> str:
    logging.getLogger("signalpost.audit").info("said")
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "line"), [("text", "said"), ("json", '"said"'), ("logfmt", "said")]
)
def test_a_format_writes_to_standard_error(
    form: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("signalpost.receivers.formats")
    shop = Shop()
    enabled = Configuration.from_mapping({"signalpost": {"format": form}}).load(shop)
    assert enabled.format == form
    text = said(capsys)
    assert line in text
    assert text.count("\n") == 1
    enabled.disable_all()
    assert enabled.format is None
    assert said(capsys) == ""


def test_logging_is_as_it_was_when_the_last_format_is_gone() -> None:
    logger = logging.getLogger("signalpost")
    before = (logger.level, logger.propagate, logger.handlers[:])
    one, other = Shop(), Shop()
    json = Configuration.from_mapping({"signalpost": {"format": "json"}})
    text = Configuration.from_mapping({"signalpost": {"format": "text"}})
    json.load(one)
    text.load(other)
    del other
    gc.collect()
    assert [type(one.formatter).__name__ for one in logger.handlers] == [
        "JsonFormatter"
    ]
    enabled_for(one).disable_all()
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_a_level_that_was_set_stays(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("signalpost")
    shop = Shop()
    logger.setLevel(logging.WARNING)
    try:
        Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
        assert said(capsys) == ""
    finally:
        enabled_for(shop).disable_all()
        logger.setLevel(logging.NOTSET)


def test_an_error_takes_the_format_back() -> None:
    def fail(configuration: Configuration, application: object) -> None:
        raise LookupError("no section")

    shop = Shop()
    Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
    json = Configuration.from_mapping({"signalpost": {"format": "json"}})
    with post_config_load.connected_to(fail), pytest.raises(LookupError):
        json.load(shop)
    assert enabled_for(shop).format == "text"
    enabled_for(shop).disable_all()
    with post_config_load.connected_to(fail), pytest.raises(LookupError):
        json.load(shop)
    assert logging.getLogger("signalpost").handlers == []


def test_a_line_that_cannot_be_written_is_told_as_by_logging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop()
    Configuration.from_mapping({"signalpost": {"format": "text"}}).load(shop)
    logging.getLogger("signalpost.audit").info("%d", "no number")
    enabled_for(shop).disable_all()
    assert "Logging error" in capsys.readouterr().err


# Other distributions


def publish(write: Write, distribution: str, **names: str) -> None:
    """Write what an installed distribution tells about itself."""
    points = "".join(f"{name} = {path}\n" for name, path in names.items())
    folder = f"{distribution}-1.0.dist-info"
    write(f"{folder}/METADATA", f"Name: {distribution}\nVersion: 1.0\n")
    write(f"{folder}/entry_points.txt", f"[{ENTRY_POINT_GROUP}]\n{points}")


def test_a_published_name_is_known(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="here:Audit")
    monkeypatch.syspath_prepend(tmp_path)
    enabled = load({"stock": {"days": 7}})
    assert enabled["stock"].path == "here:Audit"
    assert "did you mean 'stock'?" in str(refusal_beside(enabled, {"stok": True}))


def refusal_beside(
    enabled: Enabled, receivers: Mapping[str, t.Any]
) -> ConfigurationError:
    enabled.disable_all()
    return refusal(receivers)


def test_a_name_that_two_distributions_publish_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="here:Audit")
    publish(write, "stockpiling", stock="here:Plain")
    monkeypatch.syspath_prepend(tmp_path)
    error = refusal({"stock": True})
    assert "publish 'stock': here:Audit, here:Plain; write the path" in str(error)


def test_a_published_name_does_not_replace_a_ready_receiver(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", latency="here:Audit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(ConfigurationWarning, match="here:Audit is published by that"):
        enabled = load({"latency": True})
    assert enabled["latency"].path == READY["latency"]


STOCKTAKING = """\
from signalpost.receivers.lines import one_word


class StockKeeper:
    hears = {"exchange-closed": "__call__"}

    def __init__(self, *, word: str = "closed") -> None:
        self.word = word

    def __call__(self, sender, *, exchange, **_):
        print(self.word, one_word(exchange.path), exchange.status)
"""

PYPROJECT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "stocktaking"
version = "1.0"
description = "Publishes a receiver"

[project.entry-points."signalpost.receivers"]
stock-keeper = "stocktaking:StockKeeper"
"""

SERVE = """\
from wsgiref.util import setup_testing_defaults

from signalpost import SignalMiddleware
from signalpost.config import Configuration


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


wrapped = SignalMiddleware(app)
Configuration.from_file("shop.toml").load(wrapped)
environ = {"PATH_INFO": "/shelf"}
setup_testing_defaults(environ)
body = wrapped(environ, lambda status, headers: None)
b"".join(body)
getattr(body, "close", lambda: None)()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("flit_core") is None, reason="flit_core is not installed"
)
def test_an_installed_distribution_publishes_a_receiver(
    write: Write, tmp_path: Path
) -> None:
    write("stocktaking/stocktaking.py", STOCKTAKING)
    write("stocktaking/pyproject.toml", PYPROJECT)
    write("serve.py", SERVE)
    write("shop.toml", '[signalpost.receivers]\nstock-keeper = {word = "kept"}\n')
    site = tmp_path / "site"
    run(
        tmp_path,
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-build-isolation", "--no-index", "--no-deps", "--target", str(site)),
        str(tmp_path / "stocktaking"),
    )
    start = f"import runpy, sys; sys.path.insert(0, {str(site)!r})"
    code = f"{start}; runpy.run_path('serve.py')"
    assert run(tmp_path, "-c", code) == "kept /shelf 200\n"


def run(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
