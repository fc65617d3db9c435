from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import Configuration
from signalpost.errors import ConfigurationError
from tests.config.loading import connections
from tests.config.loading import load
from tests.config.loading import refusal
from tests.config.loading import Write
from tests.config.receivers import new_shop
from tests.config.receivers import Shop
from tests.config.test_published import publish


def refused(write: Write, text: str, name: str = "a.toml") -> ConfigurationError:
    configuration = Configuration.from_file(write(name, text))
    with pytest.raises(ConfigurationError) as raised:
        configuration.load(new_shop())
    assert connections() == 0
    return raised.value


@pytest.mark.parametrize(
    ("section", "advice"),
    [
        ("signalpst", "[signalpost]"),
        ("signalpst.receivers", "[signalpost]"),
        ("Signalpost", "[signalpost]"),
        ("SIGNALPOST.receivers", "[signalpost]"),
        ("signal-post", "[signalpost]"),
        ("signal_post.receivers", "[signalpost]"),
        ("sginalpost.receivers", "[signalpost]"),
        ("isgnalpots", "[signalpost]"),
        ("signalposts", "[signalpost]"),
        ("signalpost-receivers", "[signalpost.receivers]"),
        ("signalpost_reciever", "[signalpost.receivers]"),
        ("signalpost-receivers-latency", "[signalpost.receivers]"),
        ("receivers", "[signalpost.receivers]"),
        ("Receivers", "[signalpost.receivers]"),
        ("receivers.latency", "[signalpost.receivers]"),
        ("tool.signalpost", "[signalpost]"),
        ("tool.signalpost.receivers", "[signalpost]"),
        ("tool.signalpst", "[signalpost]"),
    ],
)
@pytest.mark.parametrize("suffix", ["toml", "ini"])
def test_a_section_near_ours_is_an_error(
    section: str, advice: str, suffix: str, write: Write
) -> None:
    text = f"[shop]\nx = 1\n[{section}]\nslow_seconds = 1\n"
    error = refused(write, text, f"a.{suffix}")
    assert "unknown section" in str(error)
    assert f"did you mean {advice}?" in str(error)
    assert error.line == 3
    assert error.source.endswith(f"a.{suffix}")


def test_a_section_that_is_only_like_receivers_is_ours_if_it_has_some(
    write: Write,
) -> None:
    error = refused(write, "[recievers]\nlatency = true\n")
    assert "recievers: unknown section; did you mean [signalpost.receivers]?" in str(
        error
    )
    path = write("b.toml", "[reciever]\naddress = 'x'\n")
    assert len(Configuration.from_toml(path).load(new_shop())) == 0


def test_sections_of_others_are_no_mistakes(write: Write) -> None:
    path = write(
        "pyproject.toml",
        """\
        title = "shop"
        format = "wheel"
        debug = true
        [project]
        name = "shop"
        [tool.black]
        line-length = 88
        [tool.signals]
        x = 1
        [signals]
        x = 1
        [signal]
        x = 1
        [post]
        x = 1
        [sqlalchemy]
        url = "sqlite://"
        [prometheus]
        port = 9090
        [watch]
        folder = "src"
        command = "make"
        [shop.signalpost-like]
        x = 1
        [signalpost.receivers]
        latency = true
        """,
    )
    assert list(Configuration.from_toml(path).load(new_shop())) == ["latency"]


def test_sections_of_a_paste_stack_are_no_mistakes(write: Write) -> None:
    path = write(
        "stack.ini",
        """\
        [filter:signalpost]
        use = egg:signalpost
        [pipeline:main]
        pipeline = signalpost shop
        [logger_signalpost]
        level = INFO
        [signalpost.receivers]
        latency = yes
        """,
    )
    assert list(Configuration.from_ini(path).load(new_shop())) == ["latency"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency = true", "latency: unknown key; write it in [signalpost.receivers]"),
        ("'here:Audit' = true", "write it in [signalpost.receivers]"),
        ("auto-import = ['here']", "unknown key; write it in [signalpost]"),
        ("auto_import = ['here']", "unknown key; write it in [signalpost]"),
        ("format = 'json'", "format: unknown key; write it in [signalpost]"),
        ("signalpst = true", "signalpst: unknown key; did you mean [signalpost]?"),
        ("receivers = ['latency']", "unknown key; did you mean [signalpost.receivers]"),
        ("SIGNALPOST_FORMAT = 'json'", "unknown key; write it in [signalpost]"),
        ("latency = {slow_seconds = 1}", "unknown section; write it in [signalpost.r"),
        ("latency = {}", "unknown section; write it in [signalpost.receivers]"),
        ("latency = 'yes'", "unknown key; write it in [signalpost.receivers]"),
        ("latency = 0.5", "unknown key; write it in [signalpost.receivers]"),
        ("referrers = ['/']", "unknown key; write it in [signalpost.receivers]"),
        ("sql-repeats = false", "unknown key; write it in [signalpost.receivers]"),
        ("[latency]\nslow_second = 1", "unknown section; write it in [signalpost.rec"),
        ("[watch]", "unknown section; write it in [signalpost.receivers]"),
        ("[sqlalchemy]", "unknown section; write it in [signalpost.receivers]"),
        (
            "'here:Audit' = {signal = 'exchange-closed'}",
            "unknown section; write it in [signalpost.receivers]",
        ),
    ],
)
def test_a_key_above_all_sections_is_an_error(
    text: str, message: str, write: Write
) -> None:
    error = refused(write, f"# shop\n{text}\n")
    assert message in str(error)
    assert error.line == 2


@pytest.mark.parametrize("level", ["", "signalpost."])
@pytest.mark.parametrize("value", ["true", "false", "{days = 7}", "{}", "'yes'", "7"])
def test_a_published_receiver_in_a_wrong_place_is_an_error(
    level: str,
    value: str,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(write, "stocktaking", stock="here:Audit", shelf="here:record")
    monkeypatch.syspath_prepend(tmp_path)
    error = refused(write, f"{level}stock = {value}\n")
    assert "write it in [signalpost.receivers]" in str(error)
    path = write("b.toml", "[stock]\nshelves = 7\n[shelf]\nsinks = 'x'\n")
    assert len(Configuration.from_toml(path).load(new_shop())) == 0


def test_a_section_of_a_receiver_that_cannot_be_imported_is_anothers(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(write, "stocktaking", stock="not_installed:Audit")
    monkeypatch.syspath_prepend(tmp_path)
    path = write("b.toml", "[stock]\ndays = 7\n")
    assert len(Configuration.from_toml(path).load(new_shop())) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[signalpost]\nauto_import = []", "did you mean 'auto-import'?"),
        ("[signalpost]\nFormat = 'json'", "did you mean 'format'?"),
        ("[signalpost]\nlatency = true", "it is a receiver; write it in [signalpost."),
        ("[signalpost]\n'here:Audit' = true", "it is a receiver; write it in [signa"),
        ("[signalpost.receiver]\nlatency = true", "did you mean 'receivers'?"),
        ("[signalpost.Receivers]\nlatency = true", "did you mean 'receivers'?"),
        ("[signalpost.latency]\nslow_seconds = 1", "it is a receiver; write it in"),
        (
            "[signalpost]\nlatncy = true",
            "did you mean 'latency'? write it in [signalpost.receivers]",
        ),
        (
            "[signalpost.receivers]\nlatency = {failures = true}",
            "unknown option 'failures'; it is a receiver; write it in [signalp",
        ),
        ("[[signalpost]]\nformat = 'json'", "signalpost: expected a table, got ["),
        ("[[signalpost.receivers]]\nlatency = true", "expected a table of receivers"),
        ("[signalpost.receivers]\nlatncy = false", "did you mean 'latency'?"),
        ("[signalpost.receivers]\nlatncy = true", "did you mean 'latency'?"),
        ("[signalpost.receivers]\nLatency = false", "did you mean 'latency'?"),
        ("[signalpost.receivers]\nsql_totals = false", "did you mean 'sql-totals'?"),
        ("[signalpost.receivers]\nlatency = 1", "expected true, false or a table"),
        ("[signalpost.receivers]\nlatency = 0", "expected true, false or a table"),
        ("[signalpost.receivers]\nlatency = 'yes'", "expected true, false or a table"),
        ("[signalpost.receivers]\nlatency = []", "expected true, false or a table"),
        ("[signalpost.receivers]\nlatency = 1979-05-27", "expected true, false or a"),
    ],
)
def test_a_name_that_is_not_known_is_an_error(
    text: str, message: str, write: Write
) -> None:
    error = refused(write, f"{text}\n")
    assert message in str(error)
    assert error.line in (1, 2)
    assert len(error.errors) == 1


def test_options_in_a_section_of_their_own_are_known_by_their_line(
    write: Write,
) -> None:
    error = refused(
        write,
        """\
        [signalpost.receivers.latency]
        slow_seconds = 1

        [signalpost.receivers.latency.extra]
        x = 1
        """,
    )
    assert "unknown option 'extra'" in str(error)
    assert error.line == 4


@pytest.mark.parametrize("name", ["here:recrod", "here:", ":record", ":"])
def test_a_path_that_is_left_out_is_known_if_its_module_is_imported(name: str) -> None:
    assert "has no" in str(refusal({name: False})) or "cannot be imported" in str(
        refusal({name: False})
    )
    assert len(load({"here:record": False, "not.imported:at_all": False})) == 0


def test_an_unknown_name_of_an_ini_file_with_no_is_an_error(write: Write) -> None:
    error = refused(write, "[signalpost.receivers]\nlatncy = no\n", "a.ini")
    assert "unknown receiver 'latncy'" in str(error)
    assert error.line == 2


class Leaking:
    """Refuses to be connected, with its options in the message."""

    def __init__(self, **options: t.Any) -> None:
        self.options = options

    def connect(self) -> None:
        raise OSError(f"no connection with {self.options}")

    def disconnect(self) -> None: ...


def test_a_message_of_a_receivers_own_has_no_secrets() -> None:
    options = {
        "api_key": "open-sesame-1",
        "headers": {"Authorization": ["open-sesame-2"]},
        "more": {"x": {"password": "open-sesame-3"}},
        "urls": ["postgresql://shop:open-sesame-4@db"],
        "command": ["mysql", "-p", "open-sesame-5"],
        "variables": [{"name": "DB_PASS", "value": "open-sesame-6"}],
        "pin": 736353,
        "title": "corner",
    }
    message = str(refusal({f"{__name__}:Leaking": options}))
    assert "sesame" not in message
    assert "736353" not in message
    assert "it cannot be connected: no connection with" in message
    assert "corner" in message


def test_every_receiver_may_be_left_out() -> None:
    assert len(load(dict.fromkeys(BUILTIN_RECEIVERS, False))) == 0


def test_all_mistakes_are_reported_at_once_and_nothing_is_enabled(
    write: Write,
) -> None:
    path = write(
        "a.toml",
        """\
        [signalpst]
        format = "json"
        [signalpost]
        level = 3
        format = "jason"
        auto-import = ["no_such_module", "no_other_module"]
        [signalpost.receivers]
        latncy = true
        recorder = true
        "here:Audit" = {days = 0}
        referrers = {path = "/", loger = "x"}
        latency = {slow_seconds = -1, exclude = "/a", sampel = 1}
        "here:Misled" = true
        failures = "yes"
        sql = false
        sqll = false
        """,
    )
    shop = Shop()
    with pytest.raises(ConfigurationError) as raised:
        Configuration.from_toml(path).load(shop)
    error = raised.value
    first, *lines = str(error).split("\n")
    assert first == "15 mistakes in the configuration:"
    assert [one.line for one in error.errors] == [
        *(1, 4, 5, 6, 6, 8, 10, 11, 11, 12, 12, 12, 13, 14, 16)
    ]
    assert lines == [f"  {one}" for one in error.errors]
    assert all(one.source == str(path) for one in error.errors)
    assert [one.key for one in error.errors][-4:] == [
        *("latency", "here:Misled", "failures", "sqll")
    ]
    assert connections() == 0


def test_one_mistake_has_itself_as_its_errors() -> None:
    error = refusal({"latncy": True})
    assert error.errors == (error,)
    assert "\n" not in str(error)


def test_several_have_the_attributes_of_the_first() -> None:
    error = refusal({"latncy": True, "recoder": True})
    assert (error.source, error.key) == ("a test", "latncy")
    assert [one.key for one in error.errors] == ["latncy", "recoder"]
    assert str(error).startswith("2 mistakes in the configuration:\n  a test, ")


def test_many_mistakes_are_kept_and_some_are_listed() -> None:
    error = refusal({f"nothing-{number}": True for number in range(60)})
    assert len(error.errors) == 60
    assert len(str(error).splitlines()) == 52
    assert str(error).endswith("\n  and 10 more")


def test_mistakes_of_one_receiver_are_each_reported() -> None:
    error = refusal({"latency": {"slow": 1, "slow_seconds": "much", "levels": 3}})
    messages = [str(one).partition("latency: ")[2] for one in error.errors]
    assert [message.partition(" ")[0] for message in messages] == [
        *("unknown", "slow_seconds", "levels")
    ]


def test_each_wrong_value_of_one_receiver_is_reported_with_its_line(
    write: Write,
) -> None:
    error = refused(
        write,
        """\
        [signalpost.receivers.latency]
        slow_seconds = -1
        trusted_proxies = 1
        exclude = "/a"
        """,
    )
    assert [one.line for one in error.errors] == [2, 4]


class Numbered:
    """Takes a number that is a secret."""

    def __init__(self, *, pin: int = 0) -> None: ...

    def __call__(self, sender: object) -> None: ...


def test_a_secret_that_cannot_be_converted_is_not_shown(write: Write) -> None:
    name = f"{__name__}:Numbered"
    text = f"[signalpost.receivers]\n{name} =\n  signal = exchange-closed\n"
    error = refused(write, text + "  pin = sesame\n", "a.ini")
    assert str(error).endswith("option pin: its value does not fit")
    assert error.line == 4


def test_a_mistake_of_two_options_together_is_one() -> None:
    options = {"token": "a-token", "token_file": "/dev/null"}
    error = refusal({"prometheus": options})
    assert "token and token_file were both given" in str(error)
    assert len(error.errors) == 1


def test_an_option_that_needs_another_one_is_not_refused_for_it() -> None:
    options = {"path": "/live", "token_env": "NOT_SET_ANYWHERE"}
    error = refusal({"live": options})
    assert "NOT_SET_ANYWHERE" in str(error)
    assert "there is no path" not in str(error)
    assert len(error.errors) == 1
    assert "there is no path" in str(refusal({"live": {"token_env": "NOT_SET"}}))


def test_an_error_keeps_its_cause_among_others() -> None:
    error = refusal({"no_such_module:x": True, "latncy": True})
    assert isinstance(error.errors[0].__cause__, ModuleNotFoundError)


def test_names_of_a_file_are_escaped_in_a_message(write: Write) -> None:
    error = refused(
        write,
        '[signalpost.receivers]\n"lat\\u001b[31m\\nency\\u202e" = true\n',
    )
    assert str(error).isprintable()
    assert error.key == "lat\x1b[31m\nency\u202e"


def test_a_long_name_is_cut_in_a_message() -> None:
    assert len(str(refusal({"x" * 100_000: True}))) < 1000


@pytest.mark.parametrize(
    "receivers",
    [
        {"here:Notifier": "https://hooks.test/services/T0/B0/secret"},
        {"latency": "postgresql://shop:secret@db/shop"},
        {"here:Plain": {"signal": ["Bearer secret"]}},
        {"here:Audit": {"days": {"password": "secret"}}},
        {"latency": {"slow_seconds": "user:secret@host"}},
    ],
)
def test_a_message_has_no_secrets(receivers: dict[str, t.Any]) -> None:
    assert "secret" not in str(refusal(receivers))
