"""`helm approver`: the keys with which you sign answers. The private half never leaves ssh-keygen, or the agent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.api import Api, rows_of
from app.cli.exits import HELP, run_program
from app.cli.output import ago, print_json, safe, show, table
from app.cli.sshsign import public_line, ssh_signature
from app.domain.approverkey import enrol_statement
from app.domain.canonical import unb64
from app.domain.content import SIGNED_ENROLMENT
from app.domain.sshsig import SshKey

app = typer.Typer(no_args_is_help=True, epilog=HELP, help="Keys with which you sign answers.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def enroll(
    ssh: Annotated[Path, typer.Option("--ssh", metavar="FILE", help="An Ed25519 key; its .pub where an agent signs.")],
    name: Annotated[str, typer.Option(help="What you call it; its comment where none is given.")] = "",
    as_json: Json = False,
) -> None:
    """Enrol an SSH key of yours: signs a challenge with ssh-keygen and sends the signature. Passkeys are added in the
    dashboard, under Settings."""
    line = public_line(ssh)
    key = SshKey.parse(line)
    with Api.connect() as api:
        held = api.post("/api/v1/approver-keys/challenge")
        # Made here, not by the server: what is signed is exactly what this command is about.
        challenge = unb64(str(held["challenge"]))
        statement = enrol_statement(str(held["log"]), str(held["account"]), key.fingerprint, challenge)
        body = {
            "public": line.strip(),
            "challenge": held["challenge"],
            "signature": ssh_signature(ssh, statement, SIGNED_ENROLMENT),
            "name": name or key.comment[:200],
        }
        made = api.post("/api/v1/approver-keys", body)
    if as_json:
        print_json(made)
        return
    print(f"{safe(made['id'])} signs for {safe(made['account'])} from now on (receipt #{int(made['added_seq'])}).")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Everybody's keys, revoked ones too."""
    with Api.connect() as api:
        answer = api.get("/api/v1/approver-keys")
    if as_json:
        print_json(answer)
        return
    now = time.time_ns() // 1_000_000
    rows = rows_of(answer, "keys")
    if not rows:
        print("No keys yet; enrol one with: helm approver enroll --ssh ~/.ssh/id_ed25519")
        return
    show(table(("key", "whose", "kind", "name", "state", "added"), [_row(row, now) for row in rows]))


def _row(row: dict[str, Any], now: int) -> tuple[str, str, str, str, str, str]:
    whose = safe(row["account"]) + (" (you)" if row["yours"] else "")
    return (
        safe(row["id"], 80),
        whose,
        safe(row["type"]),
        safe(row["name"], 40),
        safe(row["state"]),
        ago(row["added"], now),
    )


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id as the list shows it.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the log.")] = "",
    as_json: Json = False,
) -> None:
    """Revoke a key, for ever. What it signed before stays good."""
    with Api.connect() as api:
        answer = api.post("/api/v1/approver-keys/revoke", {"id": id, "reason": reason})
    if as_json:
        print_json(answer)
    else:
        print(f"{safe(id)} is revoked.")


if __name__ == "__main__":
    run_program(app, "approver")
