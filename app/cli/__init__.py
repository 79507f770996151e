"""The terminal. Each group of commands is a program of its own, so that `helm status` never waits for what only the
server needs."""

from __future__ import annotations

import gc
import runpy
import sys
from typing import Final

CLIENT: Final = "app.cli.client"
PROGRAMS: Final[dict[str, str]] = {
    "serve": "app.cli.serve",
    "key": "app.cli.keys",
    "login-link": "app.cli.local",
    "token": "app.cli.local",
    "verify-log": "app.cli.log",
    "rebuild": "app.cli.log",
    "policy": "app.cli.policy",
    "approver": "app.cli.approver",
}


def main() -> None:
    """Run the program that the first word asks for; it ends the process with one of the codes in `app.cli.exits`."""
    # Loading makes a great many objects and no rubbish; `run_program` lets the collector look again.
    gc.disable()
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    # As a program, not as an import: one start loads exactly one of them.
    runpy.run_module(PROGRAMS.get(word, CLIENT), run_name="__main__", alter_sys=True)
