"""Values to rows and back. A document column is exactly the value's JSON; nothing is rebuilt from the other columns."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson
from msgspec import structs

from app.domain.content import Content
from app.domain.events import Event
from app.domain.receipt import Actor, receipt_id
from app.domain.run import Action, Run, Steering
from app.domain.schema import contents_of, decode
from app.domain.standing import Standing

_ENCODER: Final = msgspec.json.Encoder()
_RUN: Final = msgspec.json.Decoder(Run)
_ACTION: Final = msgspec.json.Decoder(Action)
_STEERING: Final = msgspec.json.Decoder(Steering)
_STANDING: Final = msgspec.json.Decoder(Standing)


def run_of(state: bytes, open_actions: Iterable[bytes]) -> Run:
    """The fold behind a run's row and the rows of its actions that have not ended, oldest first."""
    actions = [action_of(doc) for doc in open_actions]
    return structs.replace(_RUN.decode(state), actions={action.id: action for action in actions})


def action_of(doc: bytes) -> Action:
    """The action behind a row."""
    return _ACTION.decode(doc)


def steering_of(doc: bytes) -> Steering:
    """The message behind a row."""
    return _STEERING.decode(doc)


def standing_of(doc: bytes) -> Standing:
    """What stands, behind its one row."""
    return _STANDING.decode(doc)


def standing_doc(standing: Standing) -> bytes:
    """The document of the one row."""
    return _ENCODER.encode(standing)


def run_row(run: Run) -> tuple[Any, ...]:
    """Values in the order of the `run` table."""
    return (
        run.id,
        run.no,
        run.title,
        run.blueprint,
        run.status,
        int(run.live),
        len(run.waiting()),
        run.unknown,
        run.spent_micro,
        run.opened_ts,
        run.last_ts,
        run.last_seq,
        # Open actions have rows of their own: a run with many of them must not be written whole for each event.
        _ENCODER.encode(structs.replace(run, actions={})),
    )


def action_row(action: Action) -> tuple[Any, ...]:
    """Values in the order of the `action` table."""
    return (
        action.id,
        action.run,
        action.key,
        action.approval,
        action.door,
        action.tool,
        action.state,
        action.status,
        action.effect_class,
        action.expires,
        action.opened_seq,
        action.ended_ts,
        action.cost_micro,
        _ENCODER.encode(action),
    )


def steering_row(run: str, message: Steering) -> tuple[Any, ...]:
    """Values in the order of the `steering` table. People may use one id in two runs, so the row's id names both."""
    return (f"{run}/{message.id}", run, _ENCODER.encode(message))


def event_of(line: bytes, blobs: Mapping[str, tuple[bytes, bytes]]) -> Event:
    """The event in a stored line. The line was checked when it was written; `verify-log` checks it again."""
    fields = orjson.loads(base64.b64decode(orjson.loads(line)["payload"]))
    payload = decode(fields["kind"], fields["body"])
    return Event(
        seq=fields["seq"],
        run=fields["run"],
        run_seq=fields["run_seq"],
        id=receipt_id(line),
        kind=fields["kind"],
        ts=fields["ts"],
        actor=Actor(**fields["actor"]),
        refs=fields["refs"],
        payload=payload,
        contents={name: _filled(content, blobs) for name, content in contents_of(payload).items()},
    )


def digests_of(lines: Iterable[bytes]) -> list[str]:
    """The commitments that stand in some lines, in order, once each."""
    found: dict[str, None] = {}
    for line in lines:
        fields = orjson.loads(base64.b64decode(orjson.loads(line)["payload"]))
        for value in fields["body"].values():
            if type(value) is dict and "alg" in value and "digest" in value:
                found[value["digest"]] = None
    return list(found)


def weight_of(line: bytes) -> int:
    """How many bytes of content stand behind a line."""
    body = orjson.loads(base64.b64decode(orjson.loads(line)["payload"]))["body"]
    return sum(value["size"] for value in body.values() if type(value) is dict and "alg" in value)


def _filled(content: Content, blobs: Mapping[str, tuple[bytes, bytes]]) -> Content:
    held = blobs.get(content.digest)
    return content if held is None else dataclasses.replace(content, salt=held[0], data=held[1])
