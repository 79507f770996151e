"""Where people reach Helm. Nothing of it is on a run's listener: who asks for it inside a run tries to see or to answer
the questions that are asked about it. The attempt is refused here and told to the server, which records it."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import unquote

from app.door.answers import Refusal
from app.door.gateway_client import GatewayError, text_in
from app.door.house import House
from app.door.limits import GATEWAY_SECONDS
from app.door.log import log
from app.door.parse import RequestHead
from app.door.run_door import RunDoor

# The first words of every path that the face for people serves, and of the door's own questions to the server.
# A test derives them from the routes.
ROOMS: Final = frozenset(
    {
        *("api", "approvals", "blueprints", "devices", "door", "evidence", "freeze", "grants", "inbox", "keys", "live"),
        *("login", "logout", "notices", "policies", "runs", "schedules", "settings", "tools", "unfreeze"),
    }
)
_MOST: Final = 300


def is_room(target: str) -> bool:
    """Whether an origin-form target is one of people's, in whatever spelling a server could take for it."""
    path = unquote(target.partition("?")[0].partition("#")[0])
    words = [word for word in path.lower().split("/") if word not in ("", ".", "..")]
    return bool(words) and words[0] in ROOMS


def is_own(authority: str, own: frozenset[str], default_port: int = 80) -> bool:
    """Whether `host:port` leads to Helm itself: one of its names, or any spelling of this machine at its port."""
    host, _, port = authority.rpartition("@")[2].rpartition(":")
    if not host or port.endswith("]"):
        host, port = authority.rpartition("@")[2], str(default_port)
    name = host.strip("[]").lower().rstrip(".")
    return f"{name}:{port}" in own or (f"localhost:{port}" in own and _is_here(name))


def _is_here(host: str) -> bool:
    """Whether a literal address, in any of its spellings, is loopback or unspecified."""
    try:
        return socket.inet_pton(socket.AF_INET6, host) in (bytes(15) + b"\1", bytes(16)) or _mapped(host)
    except OSError:
        pass
    try:
        packed = socket.inet_aton(host)  # takes 127.1, 0x7f.1 and 2130706433 as a resolver would
    except (OSError, UnicodeError):
        return False
    return packed[0] == 127 or packed == bytes(4)


def _mapped(host: str) -> bool:
    packed = socket.inet_pton(socket.AF_INET6, host)
    return packed[:12] == bytes(10) + b"\xff\xff" and packed[12] in (0, 127)


async def refuse_attempt(house: House, run: RunDoor, head: RequestHead) -> Refusal:
    """The refusal of an attempt, once the server has recorded it; where it does not answer it is told until it does."""
    log("operator.attempt", run=run.run, method=head.method)
    facts = {"method": head.method[:16], "target": head.target[:_MOST]}
    words = "An agent can neither see nor answer what people are asked."
    receipt = ""
    try:
        answer = await house.gateway.ask(run.run, "/door/attempt", facts, GATEWAY_SECONDS)
        receipt = text_in(answer, "receipt_id")
    except GatewayError as error:
        if not error.final:
            house.gateway.tell(run.run, "/door/attempt", facts)
    return Refusal(403, words, "SELF_APPROVAL", receipt)
