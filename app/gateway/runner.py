"""What a run's runner says and is told (docs/protocols.md). All that it says is a claim of the container; what it
says twice is recorded once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from litestar import Router, get, post
from litestar.response import Stream

from app.domain.blueprint import Blueprint
from app.domain.content import Content
from app.domain.errors import AlreadyClaimed, Conflict, InvalidInput, RunEnded
from app.domain.events import Draft
from app.domain.payload import Payload
from app.domain.payloads import (
    AgentEnded,
    AgentSpawned,
    ApiRetried,
    ModelOutput,
    ModelThinking,
    RunnerConnected,
    RunNoted,
    RunResulted,
    SteeringDelivered,
    SteeringSeen,
    TurnEnded,
    TurnStarted,
)
from app.domain.receipt import Actor
from app.domain.run import Run
from app.gateway.wire import Given, Http, count, json_body, run_of, text
from app.services.previews import Preview
from app.services.services import Services

_PING_S: Final = 10.0
_MOST_EVENTS: Final = 1_000
_RELAY: Final = "http://127.0.0.1:3128"
_SESSIONS: Final = uuid.UUID("8d5e1b0a-6b0f-4a86-9d52-9a3f5f1c7e10")


async def _live(services: Services, run: str, lease: int | None = None) -> tuple[Run, Blueprint]:
    found = await services.runs.get(run)
    blueprint = services.runs.blueprint_of(run)
    if not found.live or blueprint is None:
        raise RunEnded("the run has ended")
    if lease is not None and found.lease not in (0, lease):
        raise Conflict("another container holds the lease of this run")
    return found, blueprint


@post("/hello", status_code=200)
async def hello(request: Http, services: Given) -> dict[str, Any]:
    """What to do. Repeating it is harmless until another container holds the lease."""
    run, body = run_of(request), await json_body(request)
    found, blueprint = await _live(services, run)
    session = str(uuid.uuid5(_SESSIONS, run))
    lease = found.lease or 1
    if not found.connected:
        connected = RunnerConnected(
            runner=text(body, "runner", 100),
            sdk=text(body, "sdk", 100, ""),
            cli=text(body, "cli", 100, ""),
            session=session,
            lease=lease,
        )
        await services.ledger.record(run, Draft(connected, _AGENT))
    return {
        "run": run,
        "lease": lease,
        "session_id": session,
        "task": await services.runs.task_of(run),
        "model": blueprint.model,
        "system_prompt": None,
        "tools": list(blueprint.tools),
        "mcp": {name: {"type": "http", "url": f"{_RELAY}/mcp/{name}"} for name, _ in blueprint.mcp},
        "agents": {agent.name: _agent(agent) for agent in blueprint.agents},
        "max_turns": blueprint.max_turns,
        "env": {},
        "resume": False,
    }


def _agent(agent: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"description": agent.description, "prompt": agent.prompt}
    if agent.tools is not None:
        told["tools"] = list(agent.tools)
    if agent.model is not None:
        told["model"] = agent.model
    return told


_AGENT: Final = Actor("agent", "runner", "agent")


@get("/stream")
async def stream(request: Http, services: Given) -> Stream:
    """Steering messages for as long as the run lives, and a ping so that a dead link is noticed."""
    run = run_of(request)
    lease = request.query_params.get("lease", "")
    await _live(services, run, int(lease) if lease.isascii() and lease.isdigit() else -1)
    return Stream(_lines(services, run), media_type="application/x-ndjson")


async def _lines(services: Services, run: str) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(1_000)

    async def feed() -> None:
        async for message in services.steering.deliver(run):
            await queue.put({"op": "steer", "id": message.id, "text": message.text, "mode": message.mode})
        await queue.put(None)

    feeder = asyncio.create_task(feed())
    try:
        yield b'{"op":"ping"}\n'
        while True:
            try:
                line = await asyncio.wait_for(queue.get(), _PING_S)
            except TimeoutError:
                line = {"op": "ping"}
            if line is None:
                return
            yield json.dumps(line).encode() + b"\n"
    finally:
        feeder.cancel()
        with suppress(asyncio.CancelledError):
            await feeder


@post("/events", status_code=200)
async def events(request: Http, services: Given) -> dict[str, Any]:
    """Record what the runner saw; answered with the highest of its numbers that is durable."""
    run, body = run_of(request), await json_body(request)
    found, _ = await _live(services, run, count(body, "lease"))
    items = body.get("events")
    if not isinstance(items, list) or len(items) > _MOST_EVENTS:
        raise InvalidInput(f"events is a list of at most {_MOST_EVENTS}")
    told = [(count(item, "n"), item) for item in items if isinstance(item, dict)]
    fresh = [Draft(_payload(item, n), _AGENT) for n, item in told if n > found.source_seq]
    if fresh:
        try:
            await services.ledger.record(run, *fresh)
        except AlreadyClaimed:
            return {"upto": (await services.runs.get(run)).source_seq}  # the same batch came twice at once
    return {"upto": max([found.source_seq, *(n for n, _ in told)])}


@post("/preview", status_code=200)
async def preview(request: Http, services: Given) -> dict[str, Any]:
    """Text on its way to eyes; nothing of it is kept."""
    run, body = run_of(request), await json_body(request)
    items = body.get("items")
    for item in items[:256] if isinstance(items, list) else ():
        if isinstance(item, dict):
            services.previews.publish(
                Preview(
                    run, text(item, "agent", 200, ""), text(item, "message_id", 200, ""), text(item, "text", 65_536)
                )
            )
    return {}


def _payload(item: Mapping[str, Any], n: int) -> Payload:
    maker = _MAKERS.get(text(item, "type", 64))
    if maker is None:
        raise InvalidInput("no such type of event")
    return maker(item, n)


def _content(item: Mapping[str, Any], name: str = "text") -> Content:
    value = item.get(name, "")
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is a text")
    return Content.text(value)


def _level(item: Mapping[str, Any]) -> Any:
    level = text(item, "level", 16, "info")
    return level if level in ("info", "warning", "error") else "info"


def _status(item: Mapping[str, Any]) -> Any:
    return "complete" if text(item, "status", 16) == "complete" else "failed"


_MAKERS: Final[dict[str, Callable[[Mapping[str, Any], int], Payload]]] = {
    "model.output": lambda i, n: ModelOutput(_content(i), text(i, "message_id", 200, ""), text(i, "agent", 200, ""), n),
    "model.thinking": lambda i, n: ModelThinking(
        _content(i), text(i, "message_id", 200, ""), text(i, "agent", 200, ""), n
    ),
    "agent.spawned": lambda i, n: AgentSpawned(
        text(i, "agent", 200),
        text(i, "agent_type", 200, ""),
        text(i, "parent", 200, ""),
        text(i, "tool_use_id", 200, ""),
        n,
    ),
    "agent.ended": lambda i, n: AgentEnded(
        text(i, "agent", 200), text(i, "agent_type", 200, ""), _content(i, "summary") if i.get("summary") else None, n
    ),
    "turn.started": lambda i, n: TurnStarted(count(i, "turn"), n),
    "turn.ended": lambda i, n: TurnEnded(count(i, "turn"), n),
    "steering.delivered": lambda i, n: SteeringDelivered(text(i, "id", 64), n),
    "steering.seen": lambda i, n: SteeringSeen(text(i, "id", 64), n),
    "api.retry": lambda i, n: ApiRetried(
        count(i, "attempt", 0), text(i, "error", 1_000, ""), count(i, "delay_ms", 0), n
    ),
    "run.note": lambda i, n: RunNoted(_level(i), _content(i), n),
    "run.result": lambda i, n: RunResulted(
        _status(i), _content(i), text(i, "reason", 1_000, ""), count(i, "num_turns", 0), n
    ),
}

routes = Router("/runner", route_handlers=[hello, stream, events, preview])
