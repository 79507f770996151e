"""One key pressed at a terminal: never what was typed before the question was shown, never a paste, never an arrow."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager


def ask_key(prompt: str, allowed: str) -> str:
    """One of the allowed keys, without enter. Ctrl-C raises KeyboardInterrupt, the end of the input answers `q`."""
    with _cbreak():
        # What was typed before the question was shown must never answer it.
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        while True:
            # With an end: a Ctrl-C that comes just before the call would otherwise wait in there for the next key.
            if not select.select([sys.stdin], [], [], 0.25)[0]:
                continue
            typed = os.read(sys.stdin.fileno(), 64).decode("utf-8", "replace")
            if "\x1b" in typed:
                # The rest of an arrow key that came in pieces ends in a letter, and `A` must not allow anything.
                time.sleep(0.05)
                termios.tcflush(sys.stdin, termios.TCIFLUSH)
            found = key_of(typed, allowed)
            if found:
                sys.stderr.write("\n")
                return found


def key_of(typed: str, allowed: str) -> str:
    """The one key that was pressed, if it is allowed; several at once (a paste, an arrow key) are none."""
    if typed in ("", "\x04"):
        return "q"
    key = typed.lower()
    return key if len(key) == 1 and key in allowed else ""


@contextmanager
def _cbreak() -> Iterator[None]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
