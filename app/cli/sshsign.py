"""Signing with ssh-keygen: it finds the key in a file or in the agent, and asks for a passphrase or a touch itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from app.cli.api import Api
from app.cli.exits import USAGE, Failure
from app.cli.output import aside, safe
from app.domain.content import SIGNED_ANSWER

_LIMIT_S: Final = 120.0  # a person types a passphrase, or touches a security key
_MOST: Final = 8_192


def public_line(path: Path) -> str:
    """The public half of a key, from its .pub file. Raises Failure."""
    public = path.expanduser()
    if public.suffix != ".pub":
        public = public.with_name(public.name + ".pub")
    try:
        with public.open("rb") as file:
            return file.read(_MOST).decode("utf-8", "replace")
    except OSError as error:
        raise Failure(
            f"{safe(public, 200)} cannot be read ({error.strerror}); make a key with: ssh-keygen -t ed25519", USAGE
        ) from None


def ssh_signature(path: Path, message: bytes, namespace: str) -> str:
    """The signature of ssh-keygen over a message. Raises Failure."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(path.expanduser()), "-n", namespace]
    try:
        # Its own words (a passphrase, "confirm user presence") go to the terminal.
        run = subprocess.run(command, input=message, stdout=subprocess.PIPE, timeout=_LIMIT_S, check=False)
    except FileNotFoundError:
        raise Failure("ssh-keygen is not installed; it is in the package openssh-client", USAGE) from None
    except subprocess.TimeoutExpired:
        raise Failure(f"ssh-keygen did not sign within {_LIMIT_S:.0f} s", USAGE) from None
    if run.returncode != 0:
        raise Failure("ssh-keygen did not sign; nothing was sent", USAGE)
    return run.stdout.decode("ascii", "replace")


def signed_answer(api: Api, key: str, answer: dict[str, Any], path: Path) -> dict[str, Any]:
    """An answer to an item with its signature: fetches what is to be signed, shows it, signs it. Raises Failure."""
    asked = {name: value for name, value in answer.items() if value}
    found = api.post(f"/api/v1/inbox/{key}/statement", asked)
    statement = str(found["statement"])
    aside().print(_words(statement, asked))
    proof = {"type": "sshsig", "data": ssh_signature(path, statement.encode(), SIGNED_ANSWER)}
    return {**answer, "proof": proof, "at": found["at"]}


def _words(statement: str, asked: dict[str, Any]) -> Text:
    """What is signed, in words. The server wrote it: what it says must be what was asked for."""
    try:
        said = json.loads(statement)
        decision = said["decision"]
    except (ValueError, KeyError, TypeError):
        raise Failure("what the server wants to have signed cannot be read; nothing was signed") from None
    if decision != {"allow": "approve", "deny": "deny"}.get(str(asked.get("answer"))):
        raise Failure("the server wants something else to be signed than you answered; nothing was signed")
    text = Text("You sign, with your own key:\n", style="bold")
    for name, words in said.items():
        if words:
            text.append(f"  {safe(name, 40):10}", style="dim")
            text.append(f"{safe(words, 300)}\n")
    text.right_crop(1)
    return text
