"""The commands ``signalpost relay …``."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import urlsplit

from ..._engine.signal import NamedSignal
from ..._relaying import relay_received
from ._cli_broker import add_command
from ._cli_broker import add_live
from ._cli_broker import address_of
from ._cli_broker import opened_for
from ._cli_broker import Parser
from ._cli_broker import print_lines
from ._cli_broker import recorded
from ._cli_dead import add_dead
from ._cli_groups import add_forget
from ._cli_groups import lines_of_groups
from ._event import Writer
from ._finding import found
from ._lines import log_event
from ._listener import Listener
from ._values import Codec
from ._values import Codecs

__all__ = ["add_commands"]

_RIGHT = 0
_LINES: t.Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_IN_THE_CLEAR: t.Final = ("redis", "amqp")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below ``signalpost relay``."""
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", parser_class=Parser
    )
    _add_listen(commands)
    if find_spec("._cli_dispatch", __package__) is not None:
        import_module("._cli_dispatch", __package__).add_dispatch(commands)
    add_dead(commands)
    _add_send(commands)
    add_forget(commands)
    text = "check a broker, its settings and the waiting events"
    check = add_command(commands, "check", _check, text)
    check.add_argument(
        "--group",
        action="append",
        default=[],
        help="show its waiting events; may be given several times (default: all)",
    )


def _add_listen(commands: t.Any) -> None:
    text = "receive events, and send their signals again in this process"
    listen = add_command(commands, "listen", _listen, text, "SIGNAL …")
    listen.epilog = "It runs until SIGTERM or Ctrl-C, and finishes the running events."
    listen.add_argument("--group", required=True, help="the workers that share events")
    listen.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="a module that connects receivers; may be given several times",
    )
    listen.add_argument(
        "--max-tries",
        type=int,
        default=5,
        metavar="N",
        help="how often an event is tried (%(default)s)",
    )
    listen.add_argument(
        "--dedupe",
        type=int,
        default=10_000,
        metavar="N",
        help="how many events are remembered, to recognise repeats (%(default)s)",
    )
    listen.add_argument(
        "--around",
        metavar="PATH",
        help="a context manager for each event, as shop:app.app_context",
    )
    listen.add_argument("--log", action="store_true", help="log a line for each event")
    add_live(listen)
    listen.add_argument(
        "--codecs", metavar="PATH", help="a dict of codecs, as shop.events:codecs"
    )


def _listen(chosen: argparse.Namespace) -> int:
    address = address_of(chosen)
    if not chosen.words:
        raise ValueError("no signal is given: write its path, as shop.events:paid")
    # Before the signals: a module may be the one that declares them.
    for module in chosen.modules:
        import_module(module)
    listener = Listener(
        address.url,
        group=chosen.group,
        signals=[found(word, NamedSignal) for word in chosen.words],
        max_tries=chosen.max_tries,
        dedupe=chosen.dedupe,
        codecs=_codecs_at(chosen.codecs),
        prefix=chosen.prefix,
        around=_callable_at(chosen.around) if chosen.around else nullcontext,
        async_wrapper=_in_a_loop,
    )
    if chosen.log:
        relay_received.connect(log_event)
    # Unless a module of the user's has set logging up.
    logging.basicConfig(level=logging.INFO, format=_LINES)
    logging.getLogger("signalpost.relay").info(
        "relay: listens at %s as %r for %s",
        address.shown,
        chosen.group,
        ", ".join(chosen.words),
    )
    with recorded(chosen):
        listener.run()
    return _RIGHT


def _callable_at(path: str) -> Callable[[], t.Any]:
    around = found(path, object)
    if not callable(around):
        raise TypeError(f"{path} must be callable, as shop:app.app_context")
    return around


def _codecs_at(path: str | None) -> Mapping[type[t.Any], Codec] | None:
    return None if path is None else found(path, dict)


def _in_a_loop(function: Callable[..., t.Any]) -> Callable[..., t.Any]:
    """Return a function that runs an async receiver in a new event loop."""

    def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return asyncio.run(function(*args, **kwargs))

    return call


def _add_send(commands: t.Any) -> None:
    send = add_command(commands, "send", _send, "send one event by hand", "SIGNAL JSON")
    send.epilog = (
        "SIGNAL is a path, as shop.events:order_placed, whose payload is checked; or a"
        ' name. JSON is the payload, as {"order": 5, "total": {"$decimal": "9.99"}}.'
    )
    send.add_argument(
        "--source", default="command-line", help="the source of the event (%(default)s)"
    )
    send.add_argument("--sender", help="the name of the signal's sender")


def _send(chosen: argparse.Namespace) -> int:
    address = address_of(chosen)
    if len(chosen.words) != 2:
        raise ValueError("give a signal and its payload: SIGNAL JSON")
    name, text = chosen.words
    payload = _payload_of(text)
    if ":" in name:
        signal = found(name, NamedSignal)
        if signal.payload is not None and payload.keys() != signal.payload:
            raise ValueError(
                f"{name} sends {', '.join(sorted(signal.payload)) or 'nothing'}, got"
                f" {', '.join(sorted(payload)) or 'nothing'}; give exactly those"
            )
        name = signal.name
    event = Writer(chosen.source, Codecs()).write(name, payload, chosen.sender)
    with opened_for(address) as transport:
        transport.send([event])
    print_lines([f"Sent {name!r} to {address.shown}, with the id {event.id}."])
    return _RIGHT


def _payload_of(text: str) -> dict[str, t.Any]:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the payload must be JSON: {error}") from error
    if type(payload) is not dict:
        raise ValueError('the payload must be an object, as {"order": 5}')
    codecs = Codecs()
    return {
        name: codecs.value(value, f"payload.{name}") for name, value in payload.items()
    }


def _check(chosen: argparse.Namespace) -> int:
    address = address_of(chosen)
    with opened_for(address) as transport:
        problems = [*transport.check()]
        groups = [*lines_of_groups(transport, chosen.group)]
    print_lines([f"The broker at {address.shown} can be used.", *groups])
    if urlsplit(address.url).password and address.scheme in _IN_THE_CLEAR:
        problems.append(
            f"the password is sent in the clear; use {address.scheme}s:// if others can"
            " read the traffic"
        )
    print_lines(f"Warning: {one}." for one in problems)
    return _RIGHT
