"""One answer to many items, each once: held by the server for some seconds, and taken back by Ctrl-C until then."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.cli.answers import key_named
from app.cli.api import Api
from app.cli.exits import CONFLICT, INTERRUPTED, NEGATIVE, OK, USAGE, Failure
from app.cli.output import aside, print_json, safe, show, table

_PAUSE_S: Final = 0.2
_BOUND_S: Final = 60.0
_CONFLICTS: Final = frozenset({"ALREADY_ANSWERED", "INPUT_CHANGED", "FROZEN", "RUN_ENDED", "CONFLICT"})


def bulk(
    answer: Annotated[str, typer.Argument(metavar="allow|deny", help="What is answered.")],
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The items, each by its id or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why; the agents are told, and it stays in the log.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Answer exactly these items alike, each once. Nothing happens for 5 s: Ctrl-C takes it back (exit 130). Exit 0
    when every answer was recorded, 4 when one had been answered or has changed, 1 when one was refused."""
    if answer not in ("allow", "deny"):
        raise Failure(f"a bulk answer is allow or deny, not {answer[:40]!r}", USAGE)
    with Api.connect() as api:
        keys = list(dict.fromkeys(key_named(api, word) for word in ids))
        body = {"ids": keys, "answer": answer} | ({"reason": reason} if reason else {})
        with _held_back():
            held = api.post("/api/v1/inbox/bulk", body)
        final = _settled(api, held, as_json)
    if as_json:
        print_json(final)
    else:
        show(table(("id", "result"), [(safe(key), safe(result)) for key, result in final["results"].items()]))
    return code_of(final["results"])


def code_of(results: dict[str, str]) -> int:
    """The exit code that tells how a bulk answer went."""
    told = {result for result in results.values() if result != "recorded"}
    if told & _CONFLICTS:
        return CONFLICT
    return NEGATIVE if told else OK


@contextmanager
def _held_back() -> Iterator[None]:
    """A Ctrl-C while the server is being told comes after its answer: only then is it known what to take back."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    except BaseException:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        raise


def _settled(api: Api, held: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """The bulk answer once it was applied. Ctrl-C takes it back and ends the command."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if not as_json:
            word = {"allow": "allowed", "deny": "denied"}[str(held["answer"])]
            count = len(held["ids"])
            text = f"{count} item{'s' if count > 1 else ''} will be {word} in a moment; Ctrl-C takes it back."
            aside().print(Text(text, style="bold yellow"))
        end = time.monotonic() + _BOUND_S
        while held["state"] == "held" or (held["state"] == "applied" and len(held["results"]) < len(held["ids"])):
            if time.monotonic() > end:
                raise Failure(f"the server did not apply it in time; see: helm inbox (bulk {safe(held['id'])})")
            time.sleep(_PAUSE_S)
            held = api.get(f"/api/v1/inbox/bulk/{held['id']}")
        return held
    except KeyboardInterrupt:
        api.post(f"/api/v1/inbox/bulk/{held['id']}/undo")
        aside().print(Text("Taken back; nothing was answered.", style="green"))
        raise typer.Exit(INTERRUPTED) from None
