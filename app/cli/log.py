"""`helm verify-log` and `helm rebuild`: they work on the log itself, the first whether a server runs or not."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.adapters.sqlite.check import check_log
from app.adapters.sqlite.connection import lock_file
from app.adapters.sqlite.store import rebuild as rebuild_file
from app.cli.exits import HELP, NEGATIVE, OK, USAGE, Failure, run_program
from app.cli.output import out, print_json, safe
from app.domain.canonical import unb64
from app.domain.errors import InvalidInput
from app.domain.logreport import LogReport
from app.settings import read_settings

_KEY_BYTES: Final = 32
_SHOWN: Final = 10

app = typer.Typer(add_completion=False, no_args_is_help=True, epilog=HELP)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("verify-log")
def verify_log(
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="BASE64", help="A public key to trust, instead of those of this installation."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check every line of the log again: signatures, chain, contents, lists. Exit 1 when anything is wrong."""
    settings = read_settings(os.environ)
    progress = _Progress()
    began = time.monotonic()
    report = check_log(settings.home, progress, keys=[_key(text) for text in key] if key else None)
    progress.end()
    if as_json:
        print_json({**report.as_json(), "seconds": round(time.monotonic() - began, 3)})
    else:
        out().print(_words(report, time.monotonic() - began))
    return OK if report.ok else NEGATIVE


@app.command()
def rebuild(as_json: Json = False) -> int:
    """Make the lists that Helm derives from the log again. The receipts stay as they are; no server may be running."""
    settings = read_settings(os.environ)
    if not settings.database.is_file():
        raise Failure(f"there is no log at {settings.database}; set HELM_HOME to the right folder", USAGE)
    lock = lock_file(settings.home / "helm.lock")
    try:
        count = rebuild_file(settings.database)
    except sqlite3.Error as error:
        raise Failure(f"{settings.database} cannot be rebuilt: {error}; restore it from your backup") from None
    finally:
        os.close(lock)
    if as_json:
        print_json({"receipts": count, "rebuilt": True})
    else:
        print(f"Rebuilt from {count:,} receipts.")
    return OK


def _key(text: str) -> bytes:
    try:
        found = unb64(text)
    except InvalidInput:
        found = b""
    if len(found) != _KEY_BYTES:
        raise Failure("--key is the base64 of a raw Ed25519 public key (32 bytes)", USAGE)
    return found


class _Progress:
    """How far the check is, on a terminal's stderr, at most a few times a second."""

    def __init__(self) -> None:
        self._on, self._last = sys.stderr.isatty(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if self._on and time.monotonic() - self._last > 0.2:
            self._last = time.monotonic()
            sys.stderr.write(f"\r  {done:,} of {total:,} receipts")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave nothing of it on the line."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _words(report: LogReport, seconds: float) -> Text:
    text = Text()
    verdict = "The log verifies" if report.ok else "The log does NOT verify"
    text.append(f"{verdict}: ", style="bold green" if report.ok else "bold red")
    text.append(f"{report.receipts:,} receipts, {report.runs:,} runs ({report.open_runs} open), {seconds:.1f} s\n")
    facts: list[tuple[str, Any]] = [("log", report.log), ("head", report.head), ("root", report.root)]
    for name, value in facts:
        text.append(f"  {name}  ", style="dim")
        text.append(f"{safe(value)}\n")
    for finding, style in (*((f, "red") for f in report.errors), *((f, "yellow") for f in report.warnings[:_SHOWN])):
        place = f" at #{finding.seq}" if finding.seq >= 0 else ""
        text.append(f"  {safe(finding.code)}{place}: {safe(finding.message, 300)}\n", style=style)
    text.append("What no check of this kind proves:\n", style="dim")
    for line in report.not_proved:
        text.append(f"  - {safe(line)}\n", style="dim")
    text.right_crop(1)
    return text


if __name__ == "__main__":
    run_program(app)
