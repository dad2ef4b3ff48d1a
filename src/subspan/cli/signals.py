"""Ctrl-C, SIGTERM and SIGHUP: each ends a command as Ctrl-C does, and none is lost.

Python raises `KeyboardInterrupt` wherever it is. In a finalizer or a callback of C code that goes
no further, so it is raised again at the next turn of what waits for trials, when the command next
says how far it is, or comes to its end; Python would print its traceback there, as "ignored".
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_caught: list[int] = []


@contextlib.contextmanager
def caught(last: bool = False) -> Iterator[None]:
    """Turn these signals into `KeyboardInterrupt` within; those that are ignored stay so.

    Args:
        last: the process ends after this. From then on a signal ends it at once, without a
            traceback out of what Python still tidies: nothing is left that could handle one.
    """
    if signal.getsignal(signal.SIGINT) is not _catch:  # no command within a command
        _caught.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in _NUMBERS}
    ours = [n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, _catch)
    told = sys.unraisablehook
    sys.unraisablehook = lambda what: None if _is_of_signal(what.exc_value) else told(what)
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number in ours:
            signal.signal(number, signal.SIG_DFL if last else before[number])


def check() -> None:
    """Raise `KeyboardInterrupt` if a signal came, though its exception went nowhere."""
    if _caught:
        raise KeyboardInterrupt


@contextlib.contextmanager
def foremost(*passed: type[Exception]) -> Iterator[None]:
    """Raise `KeyboardInterrupt` for whatever is raised within once a signal came.

    C code may turn a signal's exception into another: an import that it cuts short ends in an
    `ImportError`.

    Args:
        passed: exceptions that tell of the signal already.
    """
    try:
        yield
    except passed:
        raise
    except Exception as error:
        if _caught:
            raise KeyboardInterrupt from error
        raise


def exit_code() -> int:
    """Return the shell's code of a process that was ended by the first signal; Ctrl-C's if none."""
    return 128 + (_caught[0] if _caught else signal.SIGINT)


def word() -> str:
    """Say what ended a command: `Interrupted`, or `Ended by SIGTERM`."""
    number = _caught[0] if _caught else signal.SIGINT
    return "Interrupted" if number == signal.SIGINT else f"Ended by {signal.Signals(number).name}"


def _is_of_signal(error: BaseException | None) -> bool:
    return isinstance(error, KeyboardInterrupt) and bool(_caught)


def _catch(number: int, frame: FrameType | None) -> None:
    _caught.append(number)
    raise KeyboardInterrupt
