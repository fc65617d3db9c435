"""``flask signalpost``: what receives an application's signals, and what could.

Flask finds these commands by itself where signalpost is installed.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import fnmatch
import importlib
import inspect
import os
import re
import shutil
import signal as system_signals
import sys
import textwrap
import threading
import typing as t
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import entry_points

import click
import flask
from flask.cli import pass_script_info
from flask.cli import ScriptInfo

from .. import lifecycle
from .._engine.identity import ANY
from .._engine.introspection import ConnectionInfo
from .._engine.names import SenderName
from ..config import EnabledReceiver
from ..config import ENTRY_POINT_GROUP
from ..config import READY
from ..config import unseen_lines
from ..config._shown import shown
from ..receivers.lines import one_line
from ..receivers.lines import one_word
from ..receivers.watch import Message
from ..receivers.watch import Watcher
from ..wsgi.finding import layers_in
from .flask_cli_loading import application_of
from .flask_cli_loading import application_with_mistakes
from .flask_cli_loading import names_in
from .flask_cli_loading import state_of

__all__ = ["signalpost"]

_NAME = "signalpost"
_ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has all
_STYLES = {"complete": "green", "aborted": "yellow", "error": "red", "lost": "magenta"}


@click.group(_NAME)
@click.pass_context
def signalpost(context: click.Context) -> None:
    """Look at the application's signals and their receivers."""
    if os.environ.get("NO_COLOR"):  # no-color.org: present, and not empty
        context.color = False


@signalpost.command("list", short_help="List the signals, and who hears them.")
@pass_script_info
def list_signals(info: ScriptInfo) -> None:
    """List every signal, when it is sent, and who hears it.

    With the file and line where each receiver was connected, whether it is held
    strongly or weakly, and how often it was called, if it was observed. The mistakes
    of its configuration are printed first.
    """
    app = application_with_mistakes(info)
    enabled = {id(one.receiver): one for one in state_of(app).enabled.values()}
    for signal in lifecycle.catalogue.values():
        # Its own docstring: one that has none shows its class's.
        has_moment = signal.__doc__ != type(signal).__doc__
        moment = f"  {_summary_of(signal)}" if has_moment else ""
        _tell(signal.name, moment, indent=4)
        for one in signal.connections:
            if _can_hear(one, app):
                _tell("", f"  {_described(one, enabled)}", indent=6)


@signalpost.command("receivers", short_help="List what can be enabled, and what is.")
@pass_script_info
def list_receivers(info: ScriptInfo) -> None:
    """List what can be enabled by name, with options, and what is enabled.

    The mistakes of the configuration are printed first. An option that may be a secret
    is shown as …
    """
    enabled = state_of(application_with_mistakes(info)).enabled
    published = {one.name: one for one in entry_points(group=ENTRY_POINT_GROUP)}
    for name in sorted({*READY, *published, *enabled}):
        one = enabled.get(name)
        path = READY.get(name) if one is None else one.path
        target = _object_at(name, path, published)
        mark = "off " if one is None else click.style("on", fg="green") + "  "
        _tell(name, _signature_of(target), indent=8, mark=mark)
        summary = "" if target is None else _summary_of(target)
        if summary:
            _tell("", f"    {summary}", indent=4)
        if one is not None:
            given = [f"{key}={value!r}" for key, value in one.shown_options.items()]
            options = f", with {' '.join(given)}" if given else ""
            _tell("", f"    enabled by {one.source}{options}", indent=6)


@signalpost.command("check", short_help="Check the configuration, or a file.")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@pass_script_info
def check(info: ScriptInfo, file: str | None) -> None:
    """Check the configuration without serving: the application's, or a FILE.

    Modules are imported and receivers made, as when the application starts. A FILE is
    checked without the application. All mistakes are printed; the exit code is 1 then.
    """
    if file is None:
        app = application_of(info)
        _check_layer(app)
        enabled = state_of(app).enabled
        names, unseen = ", ".join(enabled), unseen_lines(enabled)
    else:
        names, unseen = names_in(file)
    _tell("", f"The configuration is right; it enables {names or 'no receiver'}.")
    for reason in unseen:
        _tell("", f"Warning, unless a server sets up logging: {reason}", is_error=True)


def _check_layer(app: flask.Flask) -> None:
    """Fail if another object was put into the place of the application's layer."""
    layer = state_of(app).middleware
    if not any(one is layer for one in layers_in(app, app.wsgi_app)):
        raise click.ClickException(
            f"the requests of {app.name!r} are not recorded: the layer that Signalpost"
            " has put into app.wsgi_app is not found in it any more; app.wsgi_app is"
            f" {one_word(repr(app.wsgi_app))}. Put middlewares around app.wsgi_app,"
            " and call Signalpost(app) after what replaces it"
        )


@signalpost.command("watch", short_help="Follow the signals of a running server.")
@click.option("--signal", "signals", multiple=True, help="Only this; * matches any.")
@click.option("--path", "paths", multiple=True, help="Only this path; * matches any.")
@click.option("--status", "statuses", multiple=True, help="Only this, as 404 or 5xx.")
@click.option(
    "--folder",
    type=click.Path(),
    help='Where to meet the server; as a rule, what its receiver "watch" is given.',
)
@pass_script_info
def watch(
    info: ScriptInfo,
    signals: tuple[str, ...],
    paths: tuple[str, ...],
    statuses: tuple[str, ...],
    folder: str | None,
) -> None:
    """Follow the signals of a running server as they are sent, until Ctrl-C.

    The server's configuration must enable the receiver "watch", and both must run as
    the same user. An option that is given several times lets each through.
    """
    for status in statuses:
        if not re.fullmatch("[1-9xX?][0-9xX?]{2}", status):
            raise click.BadParameter(
                f"expected a status as 404 or 5xx, got {status!r}",
                param_hint="--status",
            )
    application = application_of(info) if folder is None else None
    chosen = folder if application is None else _folder_of(application)
    wanted = _Wanted(signals, paths, statuses)
    for hint in _hints(application, signals):
        _tell("", f"Note: {hint}", is_error=True)
    with _ending_in_peace(), _in_plain_words():
        watcher = Watcher(chosen, application=application)
        with watcher:
            _tell("", f"Watching {watcher.folder} (Ctrl-C ends it)", is_error=True)
            _follow(watcher, wanted)


def _follow(watcher: Watcher, wanted: _Wanted) -> None:
    """Show what comes, as long as it does."""
    dropped: dict[str, int] = {}
    for message in watcher:
        process, lost = _text_of(message.get("process")), message.get("dropped")
        if isinstance(lost, int):
            more = lost - dropped.setdefault(process, lost)
            dropped[process] = lost
            if more > 0:
                _tell("", f"{more} more dropped by process {process}", is_error=True)
        if wanted.takes(message):
            click.echo(_encodable(_line_of(message), sys.stdout))


def _folder_of(app: flask.Flask) -> str | os.PathLike[str] | None:
    """Return the folder that the application's own receiver was given, if any."""
    one = state_of(app).enabled.get("watch")
    return None if one is None else one.options.get("folder")


def _hints(app: flask.Flask | None, signals: Iterable[str]) -> Generator[str]:
    """Say why nothing may come, although nothing is wrong."""
    if app is not None and "watch" not in state_of(app).enabled:
        yield (
            f'the receiver "watch" is not enabled for {app.name!r}, so its server may'
            " tell nothing; add it to its configuration: watch = true"
        )
    for name in signals:
        if not fnmatch.filter(lifecycle.catalogue, name):
            near = difflib.get_close_matches(name, lifecycle.catalogue, 1)
            question = f"; did you mean {near[0]!r}?" if near else ""
            yield f"no signal is known here as {name!r}{question}"


@contextlib.contextmanager
def _ending_in_peace() -> Generator[None]:
    """Let Ctrl-C end the block, and what stops the process or closes its terminal.

    The block cleans up in each case, and the signals of the system do what they did
    before. If one of them has ended it, they are ignored once Python exits: a second
    Ctrl-C then changes no exit code.
    """
    before: dict[int, t.Any] = {}
    has_ended = False

    def end(number: int, _: object) -> t.NoReturn:
        nonlocal has_ended
        has_ended = True
        # A second Ctrl-C would interrupt what cleans up.
        for one in before:
            system_signals.signal(one, system_signals.SIG_IGN)
        if number == system_signals.SIGINT:
            raise KeyboardInterrupt
        # As a shell reports what was ended by a signal of the system.
        raise SystemExit(128 + number)

    # Only there may one say what follows; a test may run a command elsewhere.
    if threading.current_thread() is threading.main_thread():
        for one in system_signals.Signals:
            action = system_signals.getsignal(one)
            # What nohup has made ignored stays so, and what is not Python's.
            if one.name in _ENDINGS and action not in (None, system_signals.SIG_IGN):
                before[one] = action
                system_signals.signal(one, end)
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)  # the terminal shows ^C on the line that stands
    finally:
        for number, action in before.items():
            system_signals.signal(number, action)
            if has_ended:
                atexit.register(system_signals.signal, number, system_signals.SIG_IGN)


@contextlib.contextmanager
def _in_plain_words() -> Generator[None]:
    """Tell why a folder cannot be watched, without a traceback."""
    try:
        yield
    except BrokenPipeError:
        raise  # who reads has left, as head does; Click ends without a word
    except OSError as error:
        reason = str(error)
        if error.strerror is not None:
            reason = (
                f"{error.filename or 'the folder'} cannot be used: {error.strerror};"
                ' choose another by --folder, and by the option folder of "watch"'
            )
        raise click.ClickException(reason) from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


class _Wanted:
    """Which messages are shown."""

    def __init__(
        self, signals: Iterable[str], paths: Iterable[str], statuses: Iterable[str]
    ) -> None:
        self._by_key = {
            "signal": [*signals],
            # A bracket stands for itself, as in paths it does.
            "path": [one.replace("[", "[[]") for one in paths],
            "status": [one.lower().replace("x", "?") for one in statuses],
        }

    def takes(self, message: Message) -> bool:
        """Tell whether a message passes each kind of filter that was given."""
        return all(
            any(fnmatch.fnmatchcase(str(_known(message, key)), one) for one in patterns)
            for key, patterns in self._by_key.items()
            if patterns
        )


def _can_hear(one: ConnectionInfo, app: flask.Flask) -> bool:
    """Tell whether a connection is to this application, or to any sender."""
    if one.sender is ANY or one.sender is app:
        return True
    return isinstance(one.sender, SenderName) and app in one.sender.senders


def _described(one: ConnectionInfo, enabled: Mapping[int, EnabledReceiver]) -> str:
    """Return a connection as one line: who, how, and where it was made."""
    facts = ["weak" if one.weak else "strong"]
    if one.sender is ANY:
        facts.append("any sender")
    elif isinstance(one.sender, SenderName):
        facts.append(repr(one.sender))
    if one.once:
        facts.append("once")
    if one.priority:
        facts.append(f"priority {one.priority}")
    if one.calls:
        facts.append(f"called {one.calls} time{'s' if one.calls > 1 else ''}")
    by_name = enabled.get(id(getattr(one.receiver, "__self__", one.receiver)))
    name, place = one.name, one.connected_at or "in a with block"
    if by_name is not None:
        name, place = by_name.name, by_name.source
    return f"{name}  {', '.join(facts)}  {place}"


def _summary_of(found: object) -> str:
    """Return the first line of a docstring, without its markup."""
    summary = (inspect.getdoc(found) or "").partition("\n")[0]
    return re.sub(r"(?::[\w:]+:)?`+~?([^`]*)`+", r"\1", summary)


def _object_at(name: str, path: str | None, published: Mapping[str, t.Any]) -> t.Any:
    """Return what a name stands for; ``None`` if it cannot be imported."""
    try:
        if path is None:
            return published[name].load()
        module, _, attribute = path.partition(":")
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception:  # noqa: BLE001  # another distribution's; it is listed even so
        return None
    return found


def _signature_of(target: t.Any) -> str:
    """Return the options of a class, as ``(slow_seconds=None, …)``."""
    if not isinstance(target, type):
        return ""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return ""
    shown = [
        one.name if one.default is one.empty else f"{one.name}={_default_of(one)}"
        for one in parameters
        if one.kind is not one.VAR_KEYWORD
    ]
    return f"({', '.join(shown)})"


def _default_of(parameter: inspect.Parameter) -> str:
    name = getattr(parameter.default, "__name__", None)
    return str(name or repr(shown(parameter.name, parameter.default)))


def _known(message: Message, key: str) -> str | int | float | None:
    """Return a value of a message; ``None`` for what no sender of ours would tell."""
    value = message.get(key)
    return value if isinstance(value, (str, int, float)) else None


def _text_of(value: object) -> str:
    return one_word(str(value)) if isinstance(value, (str, int, float)) else "-"


def _line_of(message: Message) -> str:
    """Return a message as one line, whatever a client has put into it."""
    fields = [_time_of(message), _text_of(message["signal"])]
    if _known(message, "path") is not None:
        fields += [_text_of(message.get(key)) for key in ("method", "path")]
    if _known(message, "status") is not None:
        fields.append(_text_of(message["status"]))
    outcome = _known(message, "outcome")
    if outcome is not None:
        fields.append(click.style(_text_of(outcome), fg=_STYLES.get(str(outcome))))
    duration_seconds = message.get("duration_seconds")
    if isinstance(duration_seconds, float):
        fields.append(f"{duration_seconds * 1000:.1f} ms")
    exception = _known(message, "exception")
    if exception is not None:
        fields.append(click.style(_text_of(exception), fg="red"))
    return " ".join(fields)


def _time_of(message: Message) -> str:
    """Return when a message was sent, in local time to the millisecond."""
    seconds = message.get("time")
    if not isinstance(seconds, (int, float)):
        return "-"
    try:
        at = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, OSError, ValueError):
        return "-"
    return at.strftime("%H:%M:%S.%f")[:-3]


def _tell(
    name: str, text: str, *, indent: int = 0, mark: str = "", is_error: bool = False
) -> None:
    """Print a line that begins with a name, which is shown bold.

    What is not printable in them is escaped, as they are from files and modules.

    On a terminal it is broken between words, at its width. Elsewhere it stays one
    line, for grep.

    :param indent: By how many spaces further lines are indented.
    :param mark: What stands before the name; may be coloured.
    """
    stream = sys.stderr if is_error else sys.stdout
    name, text = one_line(name), one_line(text)
    plain = click.unstyle(mark) + name
    lines = [plain + text]
    if stream.isatty():
        lines = textwrap.wrap(
            plain + text,
            shutil.get_terminal_size().columns,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    first = lines[0]
    if name:
        first = mark + click.style(name, bold=True) + first[len(plain) :]
    for line in [first, *lines[1:]]:
        click.echo(_encodable(line, stream), err=is_error)


def _encodable(text: str, stream: t.TextIO) -> str:
    """Return text with escapes for what the stream's encoding lacks."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
