from __future__ import annotations

import re
import subprocess
import sys
import time
import typing as t
import uuid
from functools import partial

import pytest

from signalpost._ids import ID_HEADERS
from signalpost._ids import id_headers_of
from signalpost._ids import IdHeaders
from signalpost._ids import new_id
from signalpost._ids import set_id_headers
from signalpost.exchange import Exchange
from tests._engine.racing import run_together

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
ROOT = "1-67891233-abcdef012345678912345678"


def exchange_of(**environ: t.Any) -> Exchange:
    return Exchange({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}, "shop")


def read(exchange: Exchange, seen: list[str]) -> None:
    seen.append(exchange.id)


def is_new(text: str) -> bool:
    return str(uuid.UUID(text)) == text and uuid.UUID(text).version == 7


@pytest.mark.parametrize(
    "sent",
    [
        "f3-09",
        "A.b_c~d",
        "x" * 128,
        "7",
        "0a000001:c0de_0a000002:0050_5f00@1",  # HAProxy's, Apache's
        "q1w2+/e3==",  # base64
        "b42d9ae0-6e42-4e6f-b6a4-2c6a9b2f5f6d",
    ],
)
def test_a_well_formed_id_of_the_front_is_the_id(sent: str) -> None:
    assert exchange_of(HTTP_X_REQUEST_ID=sent).id == sent


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "x" * 129,
        "x" * 1_000_000,
        "a b",
        " a",
        "a\n",
        "a\r\nSet-Cookie: b=c",
        "a\x00",
        "\x1b[31m",
        '"',
        "é",
        "\uff11",
        "a,b",
        ",".join(["f3-09"] * 10_000),
        "${jndi:ldap://a}",
        "<b>",
        "%s",
        7,
        None,
        b"f3-09",
    ],
)
def test_any_other_id_is_replaced(sent: t.Any) -> None:
    found = exchange_of(HTTP_X_REQUEST_ID=sent).id
    assert is_new(found)


def test_a_new_id_is_a_uuid_of_version_7_that_sorts_by_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= after


def test_new_ids_differ() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
    randoms = [uuid.UUID(new_id()).int & ((1 << 62) - 1) for _ in range(1_000)]
    for bit in range(62):
        ones = sum(one >> bit & 1 for one in randoms)
        assert 300 < ones < 700


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [
        ("HTTP_X_REQUEST_ID", "f3-09", "f3-09"),
        ("HTTP_X_CORRELATION_ID", "f3-09", "f3-09"),
        ("HTTP_X_AMZN_TRACE_ID", f"Root={ROOT}", ROOT),
        ("HTTP_X_AMZN_TRACE_ID", f"Root={ROOT};Parent=53995c3f42cd8ad8", ROOT),
        ("HTTP_X_AMZN_TRACE_ID", f"Self=1-1-2;Root={ROOT};Sampled=1", ROOT),
        ("HTTP_X_AMZN_TRACE_ID", f"Self=1-1-2; Root={ROOT}; CalledFrom=app", ROOT),
        ("HTTP_X_AMZN_TRACE_ID", "f3-09", "f3-09"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID}-{PARENT_ID}-01", TRACE_ID),
        ("HTTP_TRACEPARENT", f"01-{TRACE_ID}-{PARENT_ID}-00-more", TRACE_ID),
        ("HTTP_TRACEPARENT", f"cc-{TRACE_ID}-{PARENT_ID}-00", TRACE_ID),
    ],
)
def test_each_header_is_read_in_its_own_form(
    key: str, sent: str, expected: str
) -> None:
    assert exchange_of(**{key: sent}).id == expected


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("HTTP_X_AMZN_TRACE_ID", f"root={ROOT};"),
        ("HTTP_X_AMZN_TRACE_ID", f"Root={ROOT}0; "),
        ("HTTP_X_AMZN_TRACE_ID", f"NoRoot={ROOT};x"),
        ("HTTP_X_AMZN_TRACE_ID", "Root=;"),
        ("HTTP_X_AMZN_TRACE_ID", "Root=1-6789123g-abcdef012345678912345678;"),
        ("HTTP_X_AMZN_TRACE_ID", f"Root={ROOT};" + "x=" * 1_000),
        ("HTTP_TRACEPARENT", f"00-{'0' * 32}-{PARENT_ID}-01"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID}-{'0' * 16}-01"),
        ("HTTP_TRACEPARENT", f"ff-{TRACE_ID}-{PARENT_ID}-01"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID.upper()}-{PARENT_ID}-01"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID}-{PARENT_ID}-01-more"),
        ("HTTP_TRACEPARENT", f"01-{TRACE_ID}-{PARENT_ID}-01more"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID}-{PARENT_ID}-01\n"),
        ("HTTP_TRACEPARENT", f"00-{TRACE_ID}-{PARENT_ID}"),
        ("HTTP_TRACEPARENT", "f3-09"),
    ],
)
def test_what_a_header_cannot_hold_is_replaced(key: str, sent: str) -> None:
    assert is_new(exchange_of(**{key: sent}).id)


def test_the_first_well_formed_header_counts() -> None:
    sent = {
        "HTTP_X_REQUEST_ID": "not an id",
        "HTTP_X_CORRELATION_ID": "second",
        "HTTP_TRACEPARENT": f"00-{TRACE_ID}-{PARENT_ID}-01",
    }
    assert exchange_of(**sent).id == "second"


def test_only_the_headers_that_are_named_are_read() -> None:
    headers = IdHeaders(["CF-Ray", "X-Request-ID"])
    assert headers.find({"HTTP_CF_RAY": "a", "HTTP_X_REQUEST_ID": "b"}) == "a"
    assert headers.find({"HTTP_X_CORRELATION_ID": "c"}) is None
    assert IdHeaders(()).find({"HTTP_X_REQUEST_ID": "b"}) is None


def test_the_name_of_a_header_is_taken_in_any_case() -> None:
    sent = {"HTTP_TRACEPARENT": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    assert IdHeaders(["TraceParent"]).find(sent) == TRACE_ID


@pytest.mark.parametrize("wrong", ["X-Request-ID", None, 7, ["X-Id", 7], [None]])
def test_headers_of_a_wrong_type_are_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="id_headers must be"):
        IdHeaders(wrong)


@pytest.mark.parametrize("wrong", ["", "X Request", "X_Request_ID", "X-Id:", "é", "-"])
def test_a_name_that_no_header_has_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"id_headers (must|may) be"):
        IdHeaders([wrong])


def test_the_headers_of_a_sender_end_with_it() -> None:
    class Sender:
        pass

    sender = Sender()
    headers = IdHeaders(["CF-Ray"])
    set_id_headers(sender, headers)
    assert id_headers_of(sender) is headers
    assert id_headers_of(Sender()).names == ID_HEADERS
    del sender
    others = [Sender() for _ in range(100)]
    assert {id_headers_of(other).names for other in others} == {ID_HEADERS}


def test_an_id_stays_the_same() -> None:
    exchange = exchange_of()
    first = exchange.id
    exchange._release()
    assert exchange.id == first


def test_an_id_that_is_read_after_the_close_is_that_of_the_front() -> None:
    exchange = exchange_of(HTTP_X_REQUEST_ID="f3-09")
    exchange._release()
    assert exchange.id == "f3-09"


def test_an_id_that_is_read_after_the_close_is_made() -> None:
    exchange = exchange_of(HTTP_X_REQUEST_ID="not an id")
    exchange._release()
    assert is_new(exchange.id)
    assert exchange.id == exchange.id


@pytest.mark.parametrize("reads_inner_first", [True, False])
@pytest.mark.parametrize("sent", [{}, {"HTTP_X_REQUEST_ID": "f3-09"}])
def test_an_exchange_within_another_has_its_id(
    sent: dict[str, str], reads_inner_first: bool
) -> None:
    outer = exchange_of(**sent)
    inner = Exchange(
        {**outer.environ, "HTTP_X_REQUEST_ID": "another"}, "mounted", outer
    )
    inner._release()
    both = (inner, outer) if reads_inner_first else (outer, inner)
    ids = {exchange.id for exchange in both}
    assert len(ids) == 1
    assert ids == {"f3-09"} if sent else is_new(*ids)


def test_threads_that_read_at_once_get_one_id() -> None:
    for _ in range(50):
        exchange = exchange_of()
        seen: list[str] = []
        run_together(*[partial(read, exchange, seen)] * 4)
        assert len(seen) == 4
        assert len(set(seen)) == 1


def test_a_forked_process_makes_other_ids() -> None:
    code = (
        "import os\n"
        "from signalpost._ids import new_id\n"
        "new_id()\n"
        "child = os.fork()\n"
        "os.write(1, f'{new_id()}\\n'.encode())\n"
        "if child: os.wait()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    made = run.stdout.split()
    assert len({re.sub(r".*-", "", one) for one in made}) == 2


def test_an_id_is_not_made_until_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> t.NoReturn:
        raise AssertionError("made")

    monkeypatch.setattr("signalpost.exchange.new_id", refuse)
    exchange = exchange_of()
    exchange._release()
    with pytest.raises(AssertionError, match="made"):
        _ = exchange.id
