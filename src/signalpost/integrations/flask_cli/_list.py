"""``flask signalpost list``."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import click
import flask
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from ... import lifecycle
from ..._engine.identity import ANY
from ..._engine.introspection import ConnectionInfo
from ..._engine.names import SenderName
from ..._engine.signal import Signal
from ...config import Enabled
from ...config import EnabledReceiver
from ...config._available import summary_of
from ...console.layout import bold
from ...console.layout import location
from ...console.layout import Row
from ...console.layout import table
from ...console.layout import wrapped
from ...console.texts import document
from ...console.texts import mistakes_data
from ._loading import loaded
from ._loading import show_mistakes
from ._loading import state_of
from ._printing import as_json
from ._printing import print_lines
from ._printing import width
from ._unreached import died
from ._unreached import location_of
from ._unreached import never_called

__all__ = ["list_signals"]

_DIED = (
    "Receivers that were freed before they were called, because nothing refers to them;"
    " keep them in a variable, connect them to the application, or connect them with"
    " weak=False:"
)
_WITHOUT_SIGNALS = "Receivers that are enabled and need no signal now:"
_HEADER = Row("RECEIVER", "HOW", "WHERE")


@click.command("list", short_help="List the signals and their receivers.")
@as_json("Print one JSON document, the mistakes of the configuration included.")
@pass_script_info
def list_signals(info: ScriptInfo, *, is_json: bool) -> None:
    """List every signal, when it is sent, and its receivers.

    With the file and line where each receiver was connected or enabled, whether it is
    held strongly or weakly, and how often it was called, if it was observed. At the
    end are enabled receivers that need no signal now, and receivers that will never be
    called. The mistakes of the configuration are printed first.
    """
    app, mistakes = loaded(info)
    state = state_of(app)
    signals = lifecycle.catalogue | state.enabled.own_signals()
    groups = [
        _Group(name, signal, [*_received(signal, app, state.enabled)])
        for name, signal in signals.items()
    ]
    if is_json:
        data = {
            "application": app.name,
            "mistakes": mistakes_data(mistakes),
            "signals": [_data(one) for one in groups],
            "without_signals": [
                {"name": one.name, "file": one.origin, "line": one.line}
                for one in _without_signals(state.enabled, groups)
            ],
            "never_called": [one._asdict() for one in never_called(state.enabled)],
            "died": [one._asdict() for one in died()],
        }
        print_lines([document(data)])
        return
    show_mistakes(mistakes)
    print_lines(_table_lines(groups, width()))
    print_lines(_enabled_lines(_without_signals(state.enabled, groups), width()))
    print_lines(_unreached_lines(state.enabled, width()))


class _Received(t.NamedTuple):
    """A connection that signals of the application may call."""

    connection: ConnectionInfo
    enabled: EnabledReceiver | None
    """The enabled receiver that it belongs to."""
    signal: Signal
    """The signal that it is connected to."""

    @property
    def name(self) -> str:
        return self.connection.name if self.enabled is None else self.enabled.name

    @property
    def where(self) -> str:
        if self.enabled is None:
            return location_of(self.connection)
        return location(self.enabled.origin, self.enabled.line)

    @property
    def sender(self) -> str:
        """The sender, where it is not this very application."""
        sender = self.connection.sender
        if sender is ANY:
            return "any engine" if self._is_of_engines else "any sender"
        if isinstance(sender, SenderName):
            return repr(sender)
        return (
            f"one {type(sender).__name__}"
            if self.signal in lifecycle.SENT_BY_OTHERS
            else ""
        )

    @property
    def how(self) -> str:
        one = self.connection
        facts = ["weak" if one.weak else "strong", self.sender]
        facts.append("once" if one.once else "")
        facts.append(f"priority {one.priority}" if one.priority else "")
        if one.calls:
            facts.append(f"called {one.calls} time{'s' if one.calls > 1 else ''}")
        return ", ".join(filter(None, facts))

    @property
    def _is_of_engines(self) -> bool:
        return self.signal in lifecycle.SIGNALS_WITHIN

    @property
    def row(self) -> Row:
        return Row(self.name, self.how, self.where)


class _Group(t.NamedTuple):
    """A signal and its receivers."""

    name: str
    """Its name; of a signal that is not in the catalogue, its path."""
    signal: Signal
    """The signal."""
    received: list[_Received]
    """The connections, in the order in which they are called."""

    @property
    def moment(self) -> str:
        # Its own docstring: one that has none shows its class's.
        is_own = self.signal.__doc__ != type(self.signal).__doc__
        return summary_of(self.signal) if is_own else ""


def _received(
    signal: Signal, app: flask.Flask, enabled: Enabled
) -> Iterator[_Received]:
    for one in signal.connections:
        if _is_sent_by_others(signal) or _is_for(one, app):
            yield _Received(one, enabled.owner_of(one.receiver), signal)


def _is_for(one: ConnectionInfo, app: flask.Flask) -> bool:
    """Return whether a connection is to this application, or to any sender."""
    if one.sender is ANY or one.sender is app:
        return True
    return isinstance(one.sender, SenderName) and app in one.sender.senders


def _is_sent_by_others(signal: Signal) -> bool:
    """Return whether the sender is not the application, or not known."""
    return signal in lifecycle.SENT_BY_OTHERS or not any(
        one is signal for one in lifecycle.catalogue.values()
    )


def _table_lines(groups: Sequence[_Group], columns: int | None) -> Iterator[str]:
    all_rows = [one.row for group in groups for one in group.received]
    if columns is not None and all_rows:
        all_rows.append(_HEADER)
        yield from table([_HEADER], all_rows, columns)
    for group in groups:
        text = f"  {group.moment}" if group.moment else ""
        yield from wrapped(group.name, text, columns, indent=4)
        yield from table([one.row for one in group.received], all_rows, columns)


def _without_signals(
    enabled: Enabled, groups: Iterable[_Group]
) -> list[EnabledReceiver]:
    """Return the enabled receivers that are connected to no signal of these."""
    shown = {
        one.enabled.name for group in groups for one in group.received if one.enabled
    }
    return [one for one in enabled.values() if one.name not in shown]


def _enabled_lines(
    receivers: Sequence[EnabledReceiver], columns: int | None
) -> Iterator[str]:
    if receivers:
        yield from wrapped("", _WITHOUT_SIGNALS, columns)
    for one in receivers:
        where = location(one.origin, one.line)
        yield from wrapped(f"  {one.name}", f"  {where}", columns, indent=4)


def _unreached_lines(enabled: Enabled, columns: int | None) -> Iterator[str]:
    unreached = never_called(enabled)
    if unreached:
        yield bold("Receivers that will never be called:")
    for one in unreached:
        text = f"  {one.receiver}: {one.reason} ({one.where})"
        yield from wrapped(f"  {one.signal}", text, columns, indent=4)
    dead = [*died()]
    if dead:
        yield from wrapped("", _DIED, columns)
    for gone in dead:
        text = f"  connected at {gone.where} in {gone.function}"
        yield from wrapped(f"  {gone.signal}", text, columns, indent=4)


def _data(group: _Group) -> dict[str, t.Any]:
    return {
        "name": group.name,
        "moment": group.moment,
        "receivers": [_receiver_data(one) for one in group.received],
    }


def _receiver_data(one: _Received) -> dict[str, t.Any]:
    connection, enabled = one.connection, one.enabled
    file, _, line = (connection.connected_at or "").rpartition(":")
    return {
        "name": one.name,
        "receiver": connection.name,
        "is_enabled_by_name": enabled is not None,
        "sender": one.sender or None,
        "is_weak": connection.weak,
        "is_once": connection.once,
        "priority": connection.priority,
        "calls": connection.calls,
        "file": (file or None) if enabled is None else enabled.origin,
        "line": (int(line) if line else None) if enabled is None else enabled.line,
    }
