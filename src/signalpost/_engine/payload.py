"""What a receiver reads of a declared payload, settled when it is connected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterable
from functools import lru_cache
from inspect import Parameter
from reprlib import repr as short_repr
from typing import Any

from ..errors import PayloadError
from .identity import describe

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def declared_names(payload: Iterable[str] | None) -> frozenset[str] | None:
    """Return a declaration as a set of names, or ``None`` for no declaration.

    :raises PayloadError: If it is a string, or holds something that cannot be a
        parameter's name.
    """
    if payload is None:
        return None
    if isinstance(payload, str):
        raise PayloadError(
            f"payload must be the names that the signal sends, got the string"
            f" {payload!r}; write payload=({payload!r},)"
        )
    try:
        names = frozenset(payload)
    except TypeError:
        raise PayloadError(
            "payload must be the names that the signal sends, got"
            f' {short_repr(payload)}; write payload=("order",)'
        ) from None
    for name in names:
        if not str(name).isidentifier():
            raise PayloadError(
                f"payload must be names that a parameter can have, got {name!r}"
            )
    return names


def names_read(
    receiver: Callable[..., Any], declared: frozenset[str], signal: object
) -> tuple[str, ...] | None:
    """Return the payload names that ``receiver`` takes.

    :returns: The names in the order of its parameters, or ``None`` for all of them
        (``**extra``, or a callable that has no signature to read).
    :raises PayloadError: If it cannot take the sender, or asks for a name that the
        signal does not send.
    """
    try:
        parameters = list(inspect.signature(receiver).parameters.values())
    except (TypeError, ValueError):
        return None
    rest = _without_sender(parameters, receiver, declared, signal)
    names: list[str] = []
    for parameter in rest:
        if parameter.kind is Parameter.VAR_KEYWORD:
            continue
        if parameter.kind in _BY_KEYWORD and parameter.name in declared:
            names.append(parameter.name)
        elif (
            parameter.kind is not Parameter.VAR_POSITIONAL
            and parameter.default is Parameter.empty
        ):
            if parameter.name in declared:
                raise PayloadError(
                    f"receiver {describe(receiver)} takes {parameter.name!r} by"
                    f" position only, and {signal} sends it by name; leave out the"
                    " slash after it",
                    signal,
                    receiver,
                )
            raise PayloadError(
                f"receiver {describe(receiver)} asks for {parameter.name!r}, which"
                f" {signal} does not send; it sends {_listed(declared)}",
                signal,
                receiver,
            )
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in rest):
        return None
    return tuple(names)


# A signal has few receivers, and most of them read the same.
@lru_cache(maxsize=256)
def passing(
    names: tuple[str, ...] | None,
) -> Callable[[Callable[..., Any], Any, dict[str, Any]], Any]:
    """Return what calls a receiver with a sender and those parts of a payload.

    Written as code, as :func:`~collections.namedtuple` does: to make a dictionary for
    each call would take twice as long.

    :param names: What :func:`names_read` returned.
    """
    if names is None:
        return _pass_all
    # Each is the name of a parameter, and can be nothing else.
    named = ", ".join(f"{name}=payload[{name!r}]" for name in names)
    code = f"lambda receiver, sender, payload: receiver(sender, {named})"
    function: Callable[[Callable[..., Any], Any, dict[str, Any]], Any]
    function = eval(code, {})  # noqa: S307  # see above
    return function


def _pass_all(
    receiver: Callable[..., Any], sender: Any, payload: dict[str, Any]
) -> Any:
    return receiver(sender, **payload)


def check_takes_signal(receiver: Callable[..., Any]) -> None:
    """Check that a receiver can be told which signal it hears.

    :raises PayloadError: If it takes neither ``signal`` nor ``**extra``.
    """
    try:
        parameters = inspect.signature(receiver).parameters
    except (TypeError, ValueError):
        return
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    by_name = parameters.get("signal")
    is_sender = next(iter(parameters), None) == "signal"
    is_taken = by_name is not None and by_name.kind in _BY_KEYWORD
    if is_sender or not (takes_any or is_taken):
        raise PayloadError(
            f"receiver {describe(receiver)} of a namespace must take the name of the"
            " signal; write def receiver(sender, signal, **payload)",
            None,
            receiver,
        )


def check_sent(
    payload: dict[str, Any], declared: frozenset[str], signal: object
) -> None:
    """Check a payload on its way against the signal's declaration.

    :raises PayloadError: If a declared name is missing or another one was given.
    """
    if payload.keys() == declared:
        return
    problems = [f"{name!r} is missing" for name in sorted(declared - payload.keys())]
    problems += [
        f"{name!r} is not declared" for name in sorted(payload.keys() - declared)
    ]
    raise PayloadError(
        f"{signal} sends {_listed(declared)}, but {' and '.join(problems)};"
        " send exactly the declared names or change the declaration",
        signal,
    )


def _without_sender(
    parameters: list[Parameter],
    receiver: Callable[..., Any],
    declared: frozenset[str],
    signal: object,
) -> list[Parameter]:
    """Return the parameters after the one that takes the sender."""
    first = parameters[0] if parameters else None
    if first is not None and first.kind is Parameter.VAR_POSITIONAL:
        return parameters
    if first is None or first.kind not in _POSITIONAL:
        raise PayloadError(
            f"receiver {describe(receiver)} cannot take the sender of {signal};"
            " give it a first parameter, as in def receiver(sender, **extra)",
            signal,
            receiver,
        )
    if first.name in declared:
        raise PayloadError(
            f"receiver {describe(receiver)} would get the sender of {signal} as"
            f" {first.name!r}, which is a name of its payload; put the sender first,"
            f" as in def receiver(sender, {first.name})",
            signal,
            receiver,
        )
    return parameters[1:]


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "no names"
