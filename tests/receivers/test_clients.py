from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalpost.receivers.clients import ClientReader

PROXY = "10.0.0.1"


def read(
    proxies: int, sent: str | None = None, header: str = "X-Forwarded-For"
) -> str | None:
    environ = {"REMOTE_ADDR": PROXY}
    if sent is not None:
        environ["HTTP_" + header.upper().replace("-", "_")] = sent
    return ClientReader(proxies, header).read(environ)


@pytest.mark.parametrize(
    ("proxies", "sent", "client"),
    [
        (0, "203.0.113.9", PROXY),
        (0, None, PROXY),
        (1, None, PROXY),
        (1, "", PROXY),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9, 198.51.100.2", "203.0.113.9"),
        (2, "6.6.6.6,203.0.113.9,198.51.100.2", "203.0.113.9"),
        (2, "203.0.113.9", PROXY),
        (3, "a, b", PROXY),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "2001:DB8:0:0::1", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6,\t203.0.113.9 ", "203.0.113.9"),
    ],
)
def test_the_client_is_so_many_addresses_from_the_right(
    proxies: int, sent: str | None, client: str
) -> None:
    assert read(proxies, sent) == client


@pytest.mark.parametrize(
    "sent",
    [
        "unknown",
        "6.6.6.6,",
        "6.6.6.6, ",
        "localhost",
        "203.0.113.256",
        "203.0.113.9\n",
        "203.0.113.9:x",
        "203.0.113.9:123456",
        "[2001:db8::1",
        "2001:db8::1]",
        "[203.0.113.9]x",
        "fe80::1%eth0",
        "fe80::1%\x1b[31m",
        "1" * 100_000,
        "x\ny",
        "é",
        "\u0661.0.0.1",
        "6.6.6.6, " * 10_000 + "x",
        '"203.0.113.9"',
    ],
)
def test_what_is_no_address_is_none(sent: str) -> None:
    assert read(1, sent) is None


@pytest.mark.parametrize(
    ("proxies", "sent", "client"),
    [
        (1, "for=203.0.113.9", "203.0.113.9"),
        (1, "For=203.0.113.9;proto=https;by=10.0.0.2", "203.0.113.9"),
        (1, "proto=https; FOR = 203.0.113.9", "203.0.113.9"),
        (1, 'for="203.0.113.9:4711"', "203.0.113.9"),
        (1, 'for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        (1, 'for="[2001:db8:cafe::17]"', "2001:db8:cafe::17"),
        (1, r'for="\2\0\3.0.113.9"', "203.0.113.9"),
        (1, "for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        (2, "for=6.6.6.6, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
        (2, "for=203.0.113.9", PROXY),
        # What a client has put before, or into its Host header.
        (1, 'for="6.6.6.6, for=203.0.113.9', "203.0.113.9"),
        (1, 'for="6.6.6.6\\", for="203.0.113.9"', "203.0.113.9"),
        (1, 'for=203.0.113.9;host="a, for=6.6.6.6"', "203.0.113.9"),
        (1, 'for=203.0.113.9;host="a;for=6.6.6.6"', "203.0.113.9"),
        (1, 'host="a;for=6.6.6.6";for=203.0.113.9', "203.0.113.9"),
        (1, r'for=203.0.113.9;host="a\",for=6.6.6.6;b=\""', "203.0.113.9"),
        (1, r'for=203.0.113.9;host="a\\"', "203.0.113.9"),
        (1, "for=unknown", None),
        (1, "for=_hidden", None),
        (1, 'for="_SEVKISEK"', None),
        (1, "by=203.0.113.9", None),
        (1, "for=", None),
        (1, 'for="', None),
        (1, "for=6.6.6.6,", None),
        (1, "forward=203.0.113.9", None),
        (1, '"' * 50_000, None),
        (1, '\\"' * 50_000, None),
        (1, "\\" * 50_000 + '"', None),
    ],
)
def test_the_standard_header_is_read_from_the_right(
    proxies: int, sent: str, client: str | None
) -> None:
    assert read(proxies, sent, "Forwarded") == client


def test_only_the_header_that_is_named_is_read() -> None:
    environ = {
        "REMOTE_ADDR": PROXY,
        "HTTP_X_FORWARDED_FOR": "6.6.6.6",
        "HTTP_FORWARDED": "for=203.0.113.9",
    }
    assert ClientReader(1, "Forwarded").read(environ) == "203.0.113.9"
    assert ClientReader(1).read(environ) == "6.6.6.6"


@pytest.mark.parametrize("remote", [None, "", "unix:", 7, b"10.0.0.1", "a\nb"])
def test_a_server_without_addresses_has_no_client(remote: t.Any) -> None:
    assert ClientReader().read({"REMOTE_ADDR": remote}) is None
    assert ClientReader().read({}) is None


@given(
    st.text(st.sampled_from('"\\,;=[]: .for1a%\n\x00é')),
    st.integers(0, 4),
    st.booleans(),
)
def test_whatever_is_sent_is_an_address_or_none(
    sent: str, proxies: int, is_standard: bool
) -> None:
    found = read(proxies, sent, "Forwarded" if is_standard else "X-Forwarded-For")
    assert found is None or set(found) <= set("0123456789abcdef.:")


@given(st.text(st.sampled_from('"\\,;=[]: .for1a')))
def test_what_a_client_sends_does_not_hide_it(sent: str) -> None:
    assert read(1, f"{sent}, 203.0.113.9") == "203.0.113.9"
    assert read(1, f"{sent}, for=203.0.113.9", "Forwarded") == "203.0.113.9"


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None])
def test_a_number_of_a_wrong_type_is_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="trusted_proxies must be a whole number"):
        ClientReader(wrong)


def test_a_number_below_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match="trusted_proxies must be a whole number from 0"
    ):
        ClientReader(-1)


@pytest.mark.parametrize("wrong", ["X-Real-IP", "", "forwarded", None])
def test_another_header_is_refused(wrong: t.Any) -> None:
    with pytest.raises(ValueError, match="forwarded_header must be one of"):
        ClientReader(1, wrong)
