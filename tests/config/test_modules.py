from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from signalpost import SignalMiddleware
from signalpost.config import Configuration
from signalpost.config import enabled_for
from signalpost.lifecycle import post_config_load
from tests.config.loading import load
from tests.config.loading import receivers_of
from tests.config.loading import Write
from tests.config.receivers import new_shop
from tests.config.receivers import Shop
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


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

        received = []

        @post_config_load.connect
        def read(configuration, application):
            word = configuration["stock.audit"]["word"]

            def receive(sender):
                received.append(word)

            exchange_closed.connect(receive, application, weak=False)
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
    assert sys.modules["stock_audit"].received == ["closed"]


def test_post_config_load_is_sent_once_for_each_application() -> None:
    configuration = Configuration.from_mapping({"stock": {"days": 3}})
    sent: list[object] = []

    def receive(configuration: Configuration, application: object) -> None:
        sent.append((configuration["stock.days"], application))

    with post_config_load.connected_to(receive):
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
    assert not receivers_of(shop)
