"""What waits for a person, and answering it in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import bulk, inbox_terminal
from app.cli.answers import GONE, answer_item, await_fate, edited_of, grant_of, key_named, say_left, say_state
from app.cli.api import Api, rows_of
from app.cli.cards import card, input_lines, list_items, list_notices
from app.cli.exits import HELP, NEGATIVE, OK
from app.cli.output import interactive, out, print_json, safe
from app.cli.sshsign import signed_answer

app = typer.Typer(epilog=HELP, help="What waits for you; answer it in place.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The item's id as the list shows it, or its beginning.")]
Sign = Annotated[
    Path | None, typer.Option(metavar="KEYFILE", help="Sign it with this SSH key, enrolled by helm approver enroll.")
]
Reason = Annotated[str, typer.Option(help="Why; the agent is told, and it stays in the log.")]


@app.callback(invoke_without_command=True)
def inbox(
    context: typer.Context,
    as_json: Json = False,
    listed: Annotated[bool, typer.Option("--list", help="Only list, ask nothing.")] = False,
) -> None:
    """What waits for you. On a terminal you can answer in place, with one key for each thing that you may do."""
    if context.invoked_subcommand is not None:
        return
    with Api.connect() as api:
        answer = api.get("/api/v1/inbox")
        if as_json:
            print_json(answer)
            return
        rows, notices = rows_of(answer, "items"), rows_of(answer, "notices")
        if notices:
            list_notices(notices)
            print("Clear one with: helm notices clear ID\n")
        if not rows:
            print("Nothing waits for you.")
            return
        if listed or not interactive():
            list_items(rows)
            print('Answer with: helm inbox allow ID, helm inbox deny ID --reason "..."')
            return
        inbox_terminal.answer_each(api, rows)


@app.command("show")
def show_item(id: Id, as_json: Json = False) -> None:
    """One item with its whole input, what an answer needs, and what you may do; also after it was answered."""
    with Api.connect() as api:
        item = api.get(f"/api/v1/inbox/{key_named(api, id)}")
        url = api.place.url
    if as_json:
        print_json(item)
        return
    out().print(card(item, url))
    out().print(input_lines(str(item["input"])))
    if item["edited_input"]:
        out().print(f"  allowed as edited by {safe(item['answered_by'], 80)}:")
        out().print(input_lines(str(item["edited_input"])))
    if item["state"] != "open":
        by = f" by {safe(item['answered_by'], 80)}" if item["answered_by"] else ""
        out().print(f"  {safe(item['answer'] or 'not answered')}{by}: {safe(item['state'])}")


@app.command()
def allow(
    id: Id,
    reason: Reason = "",
    edit: Annotated[str, typer.Option(metavar="JSON|FILE|-", help="Allow it with these arguments instead.")] = "",
    for_run: Annotated[bool, typer.Option("--for-run", help="And later calls like it in this run.")] = False,
    pattern: Annotated[str, typer.Option(metavar="CEL", help="And later calls for which this is true.")] = "",
    uses: Annotated[int, typer.Option(min=0, max=1000, help="How many later calls at most.", show_default=False)] = 0,
    lasts: Annotated[str, typer.Option(help="For how long: 30min, 2h, 1d.")] = "",
    scope: Annotated[str, typer.Option(help="Where the pattern holds: run, or blueprint (and its workspace).")] = "",
    sign: Sign = None,
    as_json: Json = False,
) -> int:
    """Allow a call: once, with other arguments, or with a grant for later ones. Exit 0 when it was executed or waits
    for more people, 4 when somebody had answered or a file has changed, 1 when it was not executed or you may not."""
    more: dict[str, Any] = {"grant": grant_of(for_run, pattern, uses, lasts, scope)}
    if edit:
        more["edited"] = edited_of(edit)
    return _answer_one(id, "allow", reason, as_json, sign, **more)


@app.command()
def deny(id: Id, reason: Reason = "", sign: Sign = None, as_json: Json = False) -> int:
    """Deny a call. Exit 0 when the denial is recorded, 4 when somebody had answered."""
    return _answer_one(id, "deny", reason, as_json, sign)


@app.command()
def again(id: Id, as_json: Json = False) -> None:
    """Ask the agent to make a call again that nobody answered in time. It gets a message; it decides."""
    with Api.connect() as api:
        message = api.post(f"/api/v1/inbox/{id}/again")
    if as_json:
        print_json(message)
        return
    print(f"The agent is asked to make the call again; the message is {safe(message['state'])}.")


def _answer_one(id: str, answer: str, reason: str, as_json: bool, sign: Path | None, **more: Any) -> int:
    with Api.connect() as api:
        key = key_named(api, id)
        if sign is not None:
            more = signed_answer(api, key, {"answer": answer, "reason": reason, **more}, sign)
            more = {name: value for name, value in more.items() if name not in ("answer", "reason")}
        item = answer_item(api, key, answer, reason, **more)
        final = await_fate(item, None if as_json else say_state)
    if as_json:
        print_json(final)
    elif final["state"] == "open":
        say_left(final)
    return NEGATIVE if answer == "allow" and final["state"] in GONE else OK


app.command("bulk")(bulk.bulk)
