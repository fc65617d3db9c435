"""Every way in which receivers come and go changes what is bridged, at once."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import typing as t
from collections.abc import Generator
from contextlib import AbstractContextManager
from contextlib import ExitStack

import flask
import pytest
from flask import signals as flasks

from signalpost import ANY
from signalpost import named
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import appcontext_pushed
from signalpost.lifecycle import catalogue
from signalpost.lifecycle import exchange_closed
from signalpost.lifecycle import message_flashed
from signalpost.lifecycle import request_finished
from signalpost.lifecycle import request_started
from signalpost.lifecycle import sql_executed
from signalpost.lifecycle import template_rendered
from signalpost.testing import capture
from signalpost.testing import restored
from tests._engine.racing import run_together
from tests.integrations.shop import new_shop
from tests.integrations.test_flask_bridges import bridged

RENDERED = {"template_rendered"}

without_sender_warnings = pytest.mark.filterwarnings(
    "ignore::signalpost.errors.SenderWarning"
)


class Receiver:
    """Counts its calls."""

    def __init__(self) -> None:
        self.senders: list[object] = []

    def __call__(self, sender: object, **payload: object) -> None:
        self.senders.append(sender)


@pytest.fixture
def app() -> flask.Flask:
    return new_shop(Signalpost)


@pytest.fixture
def other() -> flask.Flask:
    return new_shop(Signalpost)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(autouse=True)
def connections_are_left_as_they_were() -> Generator[None]:
    with restored():
        yield


def render(app: flask.Flask) -> None:
    assert app.test_client().get("/template").text == "2"


def render_often(app: flask.Flask) -> None:
    for _ in range(100):
        render(app)


# Names.


def test_a_name_bridges_the_apps_that_it_is_bound_to(
    app: flask.Flask, receiver: Receiver
) -> None:
    other = flask.Flask("another")
    Signalpost(other)
    template_rendered.connect(receiver, named(app.name))
    assert (bridged(app), bridged(other)) == (RENDERED, set())
    render(app)
    assert receiver.senders == [app]
    template_rendered.disconnect(receiver, named(app.name))
    assert bridged(app) == set()


def test_a_name_that_an_app_is_bound_to_later_bridges_it(
    app: flask.Flask, other: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, named("bound later"))
    assert bridged(app) == set()
    named("bound later").bind(app)
    assert (bridged(app), bridged(other)) == (RENDERED, set())
    named("bound later").bind(other)
    assert bridged(other) == RENDERED
    template_rendered.disconnect(receiver)
    assert bridged(app) == bridged(other) == set()


def test_an_app_is_bridged_as_long_as_it_or_a_name_has_receivers(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, named(app.name))
    template_rendered.connect(receiver, app)
    template_rendered.disconnect(receiver, named(app.name))
    assert bridged(app) == RENDERED
    template_rendered.connect(print, named(app.name))
    template_rendered.disconnect(receiver, app)
    assert bridged(app) == RENDERED
    template_rendered.disconnect(print)
    assert bridged(app) == set()


# Other ways to connect and disconnect.


@without_sender_warnings
def test_a_class_does_not_bridge_its_instances(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, flask.Flask, subclasses=True)
    template_rendered.connect(receiver, type(app))
    assert bridged(app) == set()


@without_sender_warnings
@pytest.mark.parametrize("sender", ["shop", 7, None, object()])
def test_a_sender_that_is_no_app_bridges_none(
    app: flask.Flask, receiver: Receiver, sender: object
) -> None:
    template_rendered.connect(receiver, sender)
    assert bridged(app) == set()


def test_what_is_connected_to_the_catalogue_bridges_all(
    app: flask.Flask, other: flask.Flask
) -> None:
    def receive(sender: object, signal: object, **payload: object) -> None: ...

    catalogue.connect(receive, app)
    # Its own signals, and one that is sent within its exchanges by other senders.
    assert (len(bridged(app)), bridged(other)) == (10, {"got_request_exception"})
    catalogue.connect(receive)
    assert len(bridged(other)) == 10
    catalogue.disconnect(receive, app)
    catalogue.disconnect(receive)
    assert bridged(app) == bridged(other) == set()


def test_a_predicate_does_not_change_what_is_bridged(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, app, when=lambda sender, **_: False)
    assert bridged(app) == RENDERED
    render(app)
    assert (receiver.senders, bridged(app)) == ([], RENDERED)


@pytest.mark.parametrize("is_for_any", [True, False])
def test_a_receiver_for_one_send_bridges_until_then(
    app: flask.Flask, receiver: Receiver, *, is_for_any: bool
) -> None:
    template_rendered.connect(receiver, ANY if is_for_any else app, once=True)
    assert bridged(app) == RENDERED
    render(app)
    render(app)
    assert (receiver.senders, bridged(app)) == ([app], set())


def test_an_app_is_bridged_beside_a_block_without_its_receiver(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, app)
    with template_rendered.disconnected_from(receiver, app):
        assert bridged(app) == set()
    assert bridged(app) == RENDERED


def test_held_sends_are_bridged(app: flask.Flask, receiver: Receiver) -> None:
    template_rendered.connect(receiver, app)
    with template_rendered.held():
        render(app)
        assert (receiver.senders, bridged(app)) == ([], RENDERED)
    assert receiver.senders == [app]


def test_a_uid_bridges_as_long_as_it_is_connected(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, app, dispatch_uid="one")
    template_rendered.connect(print, app, dispatch_uid="one", replace=True)
    assert bridged(app) == RENDERED
    template_rendered.disconnect(dispatch_uid="one")
    assert bridged(app) == set()


@pytest.mark.parametrize("is_for_any", [True, False])
def test_disconnecting_all_unbridges(
    app: flask.Flask, receiver: Receiver, *, is_for_any: bool
) -> None:
    message_flashed.connect(receiver, ANY if is_for_any else app)
    message_flashed.disconnect_all()
    assert bridged(app) == set()


def test_a_connection_that_is_undone_is_not_bridged(
    app: flask.Flask, receiver: Receiver
) -> None:
    def refuse(signal: object, **about: object) -> None:
        raise LookupError

    with template_rendered.receiver_connected.connected_to(refuse):
        with pytest.raises(LookupError):
            template_rendered.connect(receiver, app)
        with pytest.raises(LookupError):
            template_rendered.connect(receiver)
    assert bridged(app) == set()


def test_receivers_of_signals_within_bridge_what_their_exchange_needs(
    app: flask.Flask, receiver: Receiver
) -> None:
    engine = Receiver()
    with sql_executed.connected_to(receiver, engine):
        assert bridged(app) == {"got_request_exception"}
    assert bridged(app) == set()


# Receivers and senders that die.


@without_sender_warnings
def test_a_dead_receiver_is_unbridged_by_the_next_change(app: flask.Flask) -> None:
    receiver = Receiver()
    template_rendered.connect(receiver)
    assert bridged(app) == RENDERED
    del receiver
    with request_started.connected_to(print, "shop"):
        assert bridged(app) == set()


def test_apps_that_die_leave_nothing_to_be_done(app: flask.Flask) -> None:
    for _ in range(50):
        dying = new_shop(Signalpost)
        template_rendered.connect(render, dying)
        del dying
    gc.collect()
    with capture(template_rendered) as sent:
        assert bridged(app) == RENDERED
        render(app)
    assert [one.sender for one in sent] == [app]
    assert bridged(app) == set()


# Blocks that restore.


def test_what_is_restored_is_bridged_again(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, app)
    appcontext_pushed.connect(receiver)
    with restored():
        template_rendered.disconnect(receiver)
        appcontext_pushed.disconnect_all()
        message_flashed.connect(receiver, app)
        assert bridged(app) == {"message_flashed"}
    assert bridged(app) == {"template_rendered", "appcontext_pushed"}
    render(app)
    assert receiver.senders.count(app) == 2


def test_an_app_set_up_in_a_restored_block_is_bridged_after_it(
    receiver: Receiver,
) -> None:
    with restored():
        app = new_shop(Signalpost)
    template_rendered.connect(receiver, app)
    render(app)
    assert receiver.senders == [app]
    template_rendered.disconnect(receiver, app)
    assert bridged(app) == set()


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """Return the extension, imported once more."""
    names = [name for name in sys.modules if name.startswith(Signalpost.__module__)]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    again = importlib.import_module(Signalpost.__module__)
    assert again.Signalpost is not Signalpost
    return again


def test_an_app_is_bridged_after_the_extension_was_imported_once_more(
    app: flask.Flask, receiver: Receiver, again: t.Any
) -> None:
    later = new_shop(again.Signalpost)
    template_rendered.connect(receiver, app)
    template_rendered.connect(receiver, later)
    render(app)
    render(later)
    assert receiver.senders == [app, later]


def test_nothing_is_bridged_after_a_send_of_a_copy_of_the_extension(
    app: flask.Flask, receiver: Receiver, again: t.Any
) -> None:
    later = new_shop(again.Signalpost)
    template_rendered.connect(receiver, once=True)
    assert bridged(app) == bridged(later) == RENDERED
    render(later)
    render(later)
    assert receiver.senders == [later]
    assert bridged(app) == bridged(later) == set()


def test_an_error_in_connecting_to_flask_is_made_good_by_the_next_change(
    app: flask.Flask, other: flask.Flask, receiver: Receiver
) -> None:
    def refuse(signal: object, **about: object) -> None:
        raise LookupError

    refusing = flasks.request_started.receiver_connected.connected_to(refuse)
    with refusing, pytest.raises(LookupError):
        request_started.connect(receiver, app)
    message_flashed.connect(receiver, other)
    assert bridged(app) == {"request_started", "got_request_exception"}


WITHOUT_APPLICATIONS = """\
import flask
from signalpost.integrations.flask import Signalpost
from signalpost.lifecycle import template_rendered

def receive(sender): ...

template_rendered.connect(receive)
assert not flask.template_rendered.receivers
app = flask.Flask(__name__)
Signalpost(app)
assert flask.template_rendered.receivers
template_rendered.disconnect(receive)
assert not flask.template_rendered.receivers
"""


def test_nothing_is_bridged_without_an_application() -> None:
    command = [sys.executable, "-c", WITHOUT_APPLICATIONS]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


# Receivers of one app and of every app.


@pytest.mark.parametrize("is_own_first", [True, False])
def test_a_receiver_is_called_once_for_any_sender(
    app: flask.Flask, other: flask.Flask, receiver: Receiver, *, is_own_first: bool
) -> None:
    senders = [app, ANY] if is_own_first else [ANY, app]
    for sender in senders:
        for signal in (template_rendered, request_started, request_finished):
            signal.connect(receiver, sender)
    render(app)
    assert receiver.senders == [app] * 3
    render(other)
    assert receiver.senders[3:] == [other] * 3


@pytest.mark.parametrize("is_own_first", [True, False])
@pytest.mark.parametrize("ends_with_own", [True, False])
def test_each_of_two_receivers_is_bridged_until_it_goes(
    app: flask.Flask, other: flask.Flask, *, is_own_first: bool, ends_with_own: bool
) -> None:
    own, every = Receiver(), Receiver()
    pairs = [(own, app), (every, ANY)]
    for one, sender in pairs if is_own_first else pairs[::-1]:
        template_rendered.connect(one, sender)
    render(app)
    assert (own.senders, every.senders) == ([app], [app])
    if ends_with_own:
        template_rendered.disconnect(every)
        assert (bridged(app), bridged(other)) == (RENDERED, set())
        render(app)
        assert (len(own.senders), len(every.senders)) == (2, 1)
        template_rendered.disconnect(own, app)
    else:
        template_rendered.disconnect(own, app)
        assert bridged(app) == bridged(other) == RENDERED
        render(app)
        assert (len(own.senders), len(every.senders)) == (1, 2)
        template_rendered.disconnect(every)
    assert bridged(app) == bridged(other) == set()


def test_an_app_set_up_meanwhile_is_bridged_for_receivers_of_every_app(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver)
    later = new_shop(Signalpost)
    render(later)
    assert receiver.senders == [later]
    template_rendered.disconnect(receiver)
    assert bridged(later) == set()


def test_receivers_run_in_the_order_in_which_they_were_connected(
    app: flask.Flask,
) -> None:
    order: list[int] = []

    def numbered(number: int) -> t.Any:
        return lambda sender, **_: order.append(number)

    receivers = [numbered(number) for number in range(6)]
    senders = (ANY, app, named(app.name)) * 2
    for receiver, sender in zip(receivers, senders, strict=True):
        template_rendered.connect(receiver, sender)
    render(app)
    assert order == [0, 1, 2, 3, 4, 5]


# What changes within a send of Flask's. Blinker's order is its own, so that of many
# receivers most are called before the bridge.


def within_a_send(change: t.Callable[[], object]) -> AbstractContextManager[object]:
    """Make a change at the start of the next ``template_rendered`` of Flask."""
    changes = [change]

    def new_receiver() -> t.Callable[..., None]:
        def change_once(sender: object, **sent: object) -> None:
            if changes:
                changes.pop()()

        return change_once

    block = ExitStack()
    for _ in range(40):
        block.enter_context(flasks.template_rendered.connected_to(new_receiver()))
    return block


def test_a_send_within_which_an_app_gets_its_own_is_for_every_app(
    app: flask.Flask, receiver: Receiver
) -> None:
    own = Receiver()
    template_rendered.connect(receiver)
    with within_a_send(lambda: template_rendered.connect(own, app)):
        render(app)
    assert receiver.senders == [app]


@pytest.mark.parametrize("is_own_first", [True, False])
def test_a_send_within_which_receivers_of_every_app_go_is_for_its_own(
    app: flask.Flask, receiver: Receiver, *, is_own_first: bool
) -> None:
    own = Receiver()
    pairs = [(own, app), (receiver, ANY)]
    for one, sender in pairs if is_own_first else pairs[::-1]:
        template_rendered.connect(one, sender)
    with within_a_send(lambda: template_rendered.disconnect(receiver)):
        render(app)
    assert own.senders == [app]
    assert bridged(app) == RENDERED
    render(app)
    assert own.senders == [app, app]
    template_rendered.connect(receiver)
    render(app)
    assert (len(own.senders), len(receiver.senders)) == (3, 1)


@pytest.mark.parametrize("is_own_first", [True, False])
def test_a_receiver_that_disconnects_itself_leaves_the_others(
    app: flask.Flask, *, is_own_first: bool
) -> None:
    own, passing = Receiver(), Receiver()
    pairs: list[tuple[Receiver, t.Any]] = [(own, app), (passing, ANY)]
    for one, sender in pairs if is_own_first else pairs[::-1]:
        template_rendered.connect(one, sender, once=one is passing)
    render(app)
    render(app)
    assert (own.senders, passing.senders) == ([app, app], [app])


# Threads and processes.


def test_no_send_is_lost_or_doubled_while_other_receivers_come_and_go(
    app: flask.Flask, other: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver, app)
    passing = [Receiver() for _ in range(3)]

    def come_and_go(one: Receiver, sender: object) -> None:
        for _ in range(200):
            template_rendered.connect(one, sender)
            template_rendered.disconnect(one, sender)

    run_together(
        lambda: come_and_go(passing[0], ANY),
        lambda: come_and_go(passing[1], app),
        lambda: come_and_go(passing[2], other),
        lambda: render_often(app),
    )
    assert len(receiver.senders) == 100
    assert (bridged(app), bridged(other)) == (RENDERED, set())


def test_no_send_for_every_app_is_lost_while_an_app_gets_its_own(
    app: flask.Flask, receiver: Receiver
) -> None:
    template_rendered.connect(receiver)
    own = Receiver()

    def come_and_go() -> None:
        for _ in range(300):
            template_rendered.connect(own, app)
            template_rendered.disconnect(own, app)

    run_together(come_and_go, lambda: render_often(app))
    assert len(receiver.senders) == 100


def test_what_threads_connect_is_bridged_when_they_are_done(
    app: flask.Flask, other: flask.Flask
) -> None:
    receivers = [Receiver() for _ in range(8)]

    def connect_to(one: Receiver, sender: flask.Flask) -> None:
        template_rendered.connect(one, sender)
        assert bridged(sender) == RENDERED

    for _ in range(20):
        run_together(
            *(
                lambda one=one, sender=(app, other)[index % 2]: connect_to(one, sender)
                for index, one in enumerate(receivers)
            )
        )
        run_together(
            *(lambda one=one: template_rendered.disconnect(one) for one in receivers)
        )
        assert bridged(app) == bridged(other) == set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork() is not there")
def test_a_forked_child_bridges_its_own(app: flask.Flask, receiver: Receiver) -> None:
    template_rendered.connect(receiver, app)
    child = os.fork()
    if not child:
        status = 1
        try:
            template_rendered.disconnect(receiver)
            message_flashed.connect(receiver)
            status = 0 if bridged(app) == {"message_flashed"} else 2
        finally:
            sys.stdout.flush()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert bridged(app) == RENDERED
    exchange_closed.disconnect(receiver)
