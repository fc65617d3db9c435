from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from signalpost import SignalMiddleware
from signalpost.config import BUILTIN_RECEIVERS
from signalpost.config import Enabled
from signalpost.config import enabled_for
from signalpost.errors import ConfigurationError
from tests._engine.racing import run_together
from tests.config.loading import connections
from tests.config.loading import everybody
from tests.config.loading import INTEGRATED
from tests.config.loading import load
from tests.config.loading import receivers_of
from tests.config.loading import refusal
from tests.config.receivers import received_by_record
from tests.config.receivers import record
from tests.config.receivers import record_nothing
from tests.config.receivers import Shop
from tests.wsgi.serving import hello
from tests.wsgi.serving import Server


def test_a_named_receiver_receives_from_the_application() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    audit = enabled["here:Audit"].receiver
    app = SignalMiddleware(hello, sender=shop)
    Server().serve(app, path="/a")
    Server().serve(SignalMiddleware(hello), path="/of-another")
    assert audit.received == ["opened /a", "closed /a"]
    assert audit.given["days"] == 7


def test_a_middleware_represents_its_sender() -> None:
    app = SignalMiddleware(hello)
    audit = load({"here:Audit": True}, app)["here:Audit"].receiver
    Server().serve(app, path="/a")
    assert audit.received == ["opened /a", "closed /a"]
    assert enabled_for(app) is enabled_for(hello)
    enabled_for(app).disable_all()


def test_an_enabled_receiver_describes_itself() -> None:
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


@pytest.mark.parametrize(
    "name", [name for name in BUILTIN_RECEIVERS if name not in INTEGRATED]
)
def test_a_ready_receiver_is_known_by_its_name(name: str) -> None:
    before = everybody()
    shop = Shop()
    enabled = load({name: True}, shop)
    assert enabled[name].path == BUILTIN_RECEIVERS[name]
    assert everybody() > before
    enabled.disable_all()
    assert everybody() == before


def test_a_receiver_set_to_false_is_not_even_imported() -> None:
    assert len(load({"no.such:thing": False, "prometheus": False})) == 0


def test_a_function_receives_the_signal_that_it_is_given() -> None:
    shop = Shop()
    enabled = load({"here:record": {"signal": "exchange-closed"}}, shop)
    Server().serve(SignalMiddleware(hello, sender=shop))
    assert received_by_record == [shop]
    assert enabled["here:record"].signals == ("exchange-closed",)
    assert receivers_of(shop) == [record]


def test_a_class_without_signals_is_made_and_given_a_signal() -> None:
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
    assert receivers_of(shop) == [record_nothing]
    enabled.disable_all()
    assert len(enabled) == 0
    assert connections() == 0


def test_enabling_twice_is_one() -> None:
    shop = Shop()
    enabled = load({"here:Audit": {"days": 7}}, shop)
    audit = enabled["here:Audit"]
    assert load({"here:Audit": {"days": 7}}, shop) is enabled
    assert enabled.enable("here:Audit", days=7) is audit
    assert len(receivers_of(shop)) == 1


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
    assert audit.source == f"{__file__}, line {audit.line}, here:Audit"
    assert audit.origin == __file__
    line = Path(__file__).read_text("utf-8").splitlines()[(audit.line or 0) - 1]
    assert line.strip() == 'audit = enabled.enable("here:Audit", days=8)'
    assert receivers_of(shop) == [audit.receiver.closed]


def test_applications_are_enabled_apart() -> None:
    one, other = Shop(), Shop()
    first = load({"here:Audit": True}, one)
    second = load({"here:Audit": True}, other)
    first.disable_all()
    assert list(second) == ["here:Audit"]
    assert receivers_of(other)
    assert not receivers_of(one)


def test_receivers_stay_without_another_reference() -> None:
    shop = Shop()
    load({"here:Audit": True}, shop)
    gc.collect()
    assert receivers_of(shop)


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
    assert receivers_of(shop)
    enabled.disable_all()
    assert not receivers_of(shop)


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
    assert not receivers_of(shop)


def test_many_threads_enable_one_receiver_once() -> None:
    shop = Shop()
    enabled = enabled_for(shop)
    found = together([lambda: enabled.enable("here:Audit", days=7)] * 16)
    assert len({id(one) for one in found}) == 1
    assert len(receivers_of(shop)) == 1


def test_many_threads_load_for_one_application() -> None:
    shop = Shop()
    names = [f"here:{name}" for name in ("Audit", "Free", "record_nothing")]
    found = together([lambda: load(dict.fromkeys(names, True), shop)] * 16)
    assert len({id(one) for one in found}) == 1
    assert list(enabled_for(shop)) == names
    assert len(receivers_of(shop)) == 3


def test_a_mistake_in_one_thread_disables_nothing_of_another() -> None:
    shop = Shop()

    def load_wrong() -> None:
        with pytest.raises(ConfigurationError):
            load({"here:Free": True, "latncy": True}, shop)

    def load_right() -> Enabled:
        return load({"here:Audit": True}, shop)

    together([load_wrong, load_right] * 8)
    assert list(enabled_for(shop)) == ["here:Audit"]
    assert len(receivers_of(shop)) == 1


def together(actions: Sequence[Callable[[], object]]) -> list[object]:
    """Return what each action returns in a separate thread, all at once."""
    found: list[object] = []
    run_together(*(partial(_kept, action, found) for action in actions))
    assert len(found) == len(actions)
    return found


def _kept(action: Callable[[], object], found: list[object]) -> None:
    found.append(action())
