from __future__ import annotations

import dataclasses
import sys
import threading
import tracemalloc
import typing as t
from collections import Counter
from collections.abc import Generator

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from signalpost import SignalMiddleware
from signalpost.exchange import Exchange
from signalpost.lifecycle import request_started
from signalpost.receivers.referrer_counter import ReferrerCount
from signalpost.receivers.referrer_counter import ReferrerCounter
from signalpost.receivers.referrer_counter import ReferrerTotals
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def exchange_from(referrer: str | None = None, **environ: t.Any) -> Exchange:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "https",
        **environ,
    }
    if referrer is not None:
        environ["HTTP_REFERER"] = referrer
    return Exchange(environ, "shop")


def visit(
    counter: ReferrerCounter, referrer: str | None = None, **environ: t.Any
) -> None:
    counter("shop", exchange=exchange_from(referrer, **environ))


def referrers_of(counter: ReferrerCounter) -> list[str]:
    return [row.referrer for row in counter.top(100_000)]


def test_a_request_through_the_middleware_is_counted() -> None:
    counter = ReferrerCounter()
    with request_started.connected_to(counter):
        app = SignalMiddleware(hello)
        Server().serve(app, HTTP_REFERER="https://search.example/results?q=mug")
    assert counter.top() == [ReferrerCount("https://search.example/results", 1, 0)]


def test_it_can_be_connected_by_its_signals() -> None:
    assert ReferrerCounter.signals == {request_started.name: "__call__"}


def test_the_top_has_the_highest_counts_first() -> None:
    counter = ReferrerCounter()
    for host in "abcacc":
        visit(counter, f"https://{host}.example/")
    assert counter.top(2) == [
        ReferrerCount("https://c.example/", 3, 0),
        ReferrerCount("https://a.example/", 2, 0),
    ]


def test_equal_counts_go_by_the_alphabet() -> None:
    counter = ReferrerCounter()
    for host in "cab":
        visit(counter, f"https://{host}.example/")
    assert [one[8] for one in referrers_of(counter)] == ["a", "b", "c"]


def test_before_the_first_request_the_top_is_empty() -> None:
    assert ReferrerCounter().top() == []
    assert ReferrerCounter().totals() == ReferrerTotals(0, 0, 0, 0, 0)


@pytest.mark.parametrize("n", [0, -1])
def test_a_top_of_no_rows_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="n must be a whole number from 1 up"):
        ReferrerCounter().top(n)


@pytest.mark.parametrize("nothing", [None, "", "?q=1", "#top"])
def test_a_request_without_a_referrer_is_counted_apart(nothing: str | None) -> None:
    counter = ReferrerCounter()
    visit(counter, nothing)
    assert counter.top() == []
    assert counter.totals() == ReferrerTotals(1, none=1, own=0, listed=0, other=0)


@pytest.mark.parametrize(
    ("referrer", "environ"),
    [
        ("https://shop.example/cart", {}),
        ("https://shop.example", {}),
        ("HTTPS://Shop.Example/", {}),
        ("https://shop.example:443/", {}),
        ("https://shop.example/", {"HTTP_HOST": "SHOP.example:443"}),
        (
            "http://shop.example:8000/",
            {"HTTP_HOST": "shop.example:8000", "wsgi.url_scheme": "http"},
        ),
        (
            "http://shop.example/",
            {
                "HTTP_HOST": "",
                "SERVER_NAME": "shop.example",
                "SERVER_PORT": "80",
                "wsgi.url_scheme": "http",
            },
        ),
        ("https://user:secret@shop.example/", {}),
        ("https://[::1]:8000/", {"HTTP_HOST": "[::1]:8000"}),
    ],
)
def test_the_own_origin_is_counted_apart(
    referrer: str, environ: dict[str, str]
) -> None:
    counter = ReferrerCounter()
    visit(counter, referrer, **environ)
    assert counter.top() == []
    assert counter.totals() == ReferrerTotals(1, none=0, own=1, listed=0, other=0)


@pytest.mark.parametrize(
    "referrer",
    [
        "http://shop.example/",
        "https://shop.example:8000/",
        "https://shop.example.evil.example/",
        "https://evil.example/https://shop.example/",
        "https://shop.example@evil.example/",
        "shop.example",
        "ftp://shop.example/",
    ],
)
def test_what_only_looks_like_the_own_origin_is_listed(referrer: str) -> None:
    counter = ReferrerCounter()
    visit(counter, referrer)
    assert counter.totals() == ReferrerTotals(1, none=0, own=0, listed=1, other=0)


@pytest.mark.parametrize(
    "own", ["https://www.shop.example", "HTTPS://Www.Shop.Example:443/"]
)
def test_further_own_origins_can_be_named(own: str) -> None:
    counter = ReferrerCounter(own_origins=(own,))
    visit(counter, "https://www.shop.example/cart")
    visit(counter, "https://shop.example/cart")
    assert counter.totals().own == 2


@pytest.mark.parametrize(
    ("sent", "listed"),
    [
        ("https://a.example", "https://a.example/"),
        ("HTTPS://A.Example/Path", "https://a.example/Path"),
        ("http://a.example:80/", "http://a.example/"),
        ("http://a.example:443/", "http://a.example:443/"),
        ("https://ada:secret@a.example/?token=secret#secret", "https://a.example/"),
        ("android-app://com.example.mail/", "android-app://com.example.mail/"),
        ("about:blank", "about:blank"),
        ("/cart", "/cart"),
        ("://", "…"),
        ("a b\x00\r\nc", "…"),
        ("https:/ada:secret@a.example", "https:…"),
        ("https://a.example/cart;jsessionid=secret", "https://a.example/cart"),
        ("https://a.example/caf\xc3\xa9", "https://a.example/café"),
    ],
)
def test_a_referrer_is_origin_and_path_in_one_way_to_write_them(
    sent: str, listed: str
) -> None:
    counter = ReferrerCounter()
    visit(counter, sent)
    assert referrers_of(counter) == [listed]


def test_a_long_referrer_is_cut() -> None:
    counter = ReferrerCounter()
    visit(counter, "https://a.example/" + "x" * 70_000)
    assert [len(one) for one in referrers_of(counter)] == [512]


def test_only_the_chosen_paths_are_counted() -> None:
    counter = ReferrerCounter(paths=("/",))
    visit(counter, "https://a.example/", PATH_INFO="/cart")
    visit(counter, "https://b.example/", PATH_INFO="/", SCRIPT_NAME="/shop")
    assert referrers_of(counter) == ["https://b.example/"]
    assert counter.totals().requests == 1


def test_a_newcomer_takes_the_place_of_the_lowest_count() -> None:
    counter = ReferrerCounter(max_referrers=2)
    for host in "aaab":
        visit(counter, f"https://{host}.example/")
    visit(counter, "https://c.example/")
    assert counter.top() == [
        ReferrerCount("https://a.example/", 3, 0),
        ReferrerCount("https://c.example/", 2, 1),
    ]
    assert counter.totals() == ReferrerTotals(5, none=0, own=0, listed=4, other=1)


@settings(deadline=None, max_examples=3 * settings().max_examples)
@given(st.lists(st.integers(0, 30), max_size=300), st.integers(1, 12))
@example([0, 1, 2, 0, 1, 2], 1)
@example([*range(30), *[7] * 10, *range(30)], 3)
def test_the_list_holds_what_it_promises(stream: list[int], most: int) -> None:
    counter = ReferrerCounter(max_referrers=most)
    for number in stream:
        visit(counter, f"https://{number}.example/")
    exact = Counter(f"https://{number}.example/" for number in stream)
    rows = {row.referrer: row for row in counter.top(1000)}
    bound = len(stream) / most

    assert len(rows) == min(most, len(exact))
    assert {one for one, count in exact.items() if count > bound} <= set(rows)
    for referrer, row in rows.items():
        assert row.count - row.at_most_too_high <= exact[referrer] <= row.count
        assert row.at_most_too_high <= bound
    if len(exact) <= most:
        assert {one: row.count for one, row in rows.items()} == exact


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([None, "https://shop.example/", *map(str, range(9))])),
    st.integers(1, 5),
)
def test_the_totals_add_up(stream: list[str | None], most: int) -> None:
    counter = ReferrerCounter(max_referrers=most)
    for referrer in stream:
        visit(counter, referrer)
    totals = counter.totals()
    assert totals.requests == len(stream)
    assert totals.requests == totals.none + totals.own + totals.listed + totals.other
    assert totals.none == stream.count(None)
    assert totals.own == stream.count("https://shop.example/")
    assert totals.listed == sum(
        row.count - row.at_most_too_high for row in counter.top(1000)
    )


def test_10_000_hostile_referrers_take_the_rows_and_the_memory_promised() -> None:
    counter = ReferrerCounter(max_referrers=100)

    def attack(first: int) -> None:
        for number in range(first, first + 10_000):
            # Four bytes a character, once decoded.
            visit(counter, f"https://{number}.example/" + "\xf0\x9f\x98\x80" * 700)
            if number % 20 == 0:
                visit(counter, "https://friend.example/")

    tracemalloc.start()
    try:
        attack(0)
        before_bytes, _ = tracemalloc.get_traced_memory()
        attack(10_000)
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rows = counter.top(100_000)
    assert len(rows) == 100
    assert max(len(row.referrer) for row in rows) == 512
    assert after_bytes < 100 * 2_500
    assert after_bytes - before_bytes < 10_000
    assert rows[0].referrer == "https://friend.example/"
    assert counter.totals().requests == 21_000


@pytest.fixture
def threads_in_quick_turns() -> Generator[None]:
    interval_seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_seconds)


@pytest.mark.usefixtures("threads_in_quick_turns")
def test_no_request_is_lost_between_threads() -> None:
    counter = ReferrerCounter(max_referrers=10)
    done = threading.Event()
    all_ready = threading.Barrier(3)
    failures: list[ReferrerTotals] = []

    def read() -> None:
        while not done.wait(0.001):
            totals = counter.totals()
            if totals.other > totals.requests or len(counter.top(100)) > 10:
                failures.append(totals)

    def write(first: int) -> None:
        exchanges = [
            exchange_from(f"https://{first + number % 25}.example/")
            for number in range(2000)
        ]
        all_ready.wait(10)
        for exchange in exchanges:
            counter("shop", exchange=exchange)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(each,)) for each in range(3)]
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(30)
    done.set()
    reader.join(10)
    assert counter.totals().requests == 6000
    assert sum(row.count for row in counter.top(10)) == 6000
    assert failures == []


def test_a_row_cannot_be_changed() -> None:
    counter = ReferrerCounter()
    visit(counter, "https://a.example/")
    with pytest.raises(dataclasses.FrozenInstanceError):
        counter.top()[0].count = 7  # type: ignore[misc]


def test_the_table_has_a_line_for_each_referrer_and_the_totals() -> None:
    counter = ReferrerCounter()
    for referrer in ("https://a.example/", "https://a.example/", None):
        visit(counter, referrer)
    visit(counter, "https://shop.example/")
    assert [line.split() for line in str(counter).splitlines()] == [
        ["requests", "too", "high", "referrer"],
        ["2", "0", "https://a.example/"],
        ["1", "<own>"],
        ["1", "<none>"],
        ["4", "<all>"],
    ]


def test_a_hostile_referrer_is_one_line_of_the_table() -> None:
    counter = ReferrerCounter()
    visit(counter, "https://a.example/\r\n\x1b[2J\x85 9 <own>" + "x" * 1000)
    lines = str(counter).splitlines()
    assert len(lines) == 5
    assert all(line.isprintable() and len(line) < 200 for line in lines)


def test_a_path_without_a_slash_is_refused() -> None:
    with pytest.raises(ValueError, match="a path must begin with a slash, got 'cart'"):
        ReferrerCounter(paths=["cart"])


@pytest.mark.parametrize("wrong", ["a.example", "https://a.example/cart"])
def test_what_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="own_origins must be origins"):
        ReferrerCounter(own_origins=(wrong,))


@pytest.mark.parametrize("wrong", ["100", 1.5, None, True])
def test_a_number_of_rows_that_is_none_is_refused(wrong: t.Any) -> None:
    with pytest.raises(TypeError, match="max_referrers must be a whole number"):
        ReferrerCounter(max_referrers=wrong)


@pytest.mark.parametrize("wrong", [0, -1])
def test_no_row_at_all_is_refused(wrong: int) -> None:
    with pytest.raises(
        ValueError, match="max_referrers must be a whole number from 1 up"
    ):
        ReferrerCounter(max_referrers=wrong)
