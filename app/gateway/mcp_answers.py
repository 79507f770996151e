"""What of an MCP server's answers reaches the agent: a list of tools without those that are held back, and a result
only in the form that its tool has declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.canonical import Json, strict_loads
from app.domain.content import Content
from app.domain.errors import HelmError, TooLarge
from app.domain.events import Draft
from app.domain.payloads import RunNoted
from app.domain.reasons import Reason
from app.domain.receipt import SYSTEM
from app.domain.run import Action
from app.gateway.sse import MAX_EVENT, SseParser
from app.services.services import Services

_ASIDE: Final = 65_536  # bytes from which on reading a message is left to a thread
_UNASKED: Final = "the server answered something that was not asked here"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the agent asked a server in this exchange. `id` None: nothing that is answered. `call`: the released action
    behind a `tools/call`."""

    run: str
    server: str
    method: str = ""
    id: Json = None
    tool: str = ""
    call: Action | None = None


def rpc_error(id: Json, code: int, words: str, reason: str, receipt: str = "") -> dict[str, Any]:
    """An error of ours in JSON-RPC's form; the agent reads code, words and receipt."""
    error = {"code": code, "message": words, "data": {"reason_code": reason, "receipt_id": receipt}}
    return {"jsonrpc": "2.0", "id": id, "error": error}


async def stream_of(services: Services, asked: Asked, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream of events, each as soon as it is whole."""
    parser = SseParser()
    try:
        async for chunk in chunks:
            for event in parser.feed(chunk):
                told = event.data
                if told:
                    told = await message_of(services, asked, told.encode("utf-8", "replace"))
                    if told is None:
                        continue
                yield event.encode(told)
    except TooLarge as error:
        yield f"data: {json.dumps(rpc_error(asked.id, -32603, error.message, error.code))}\n\n".encode()


async def body_of(chunks: AsyncIterator[bytes]) -> bytes:
    """A whole body. Raises TooLarge past 16 MiB."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > MAX_EVENT:
            raise TooLarge("the server's answer is past 16 MiB")
    return bytes(data)


async def message_of(services: Services, asked: Asked, data: bytes) -> str | None:
    """One message as the agent may read it, as JSON text; None where it is not told at all."""
    try:
        message = await _parsed(data)
        answer = await _checked(services, asked, message)
    except HelmError as error:
        words = f"the answer of {asked.server} was withheld: {error.message}"
        answer = None if asked.id is None else rpc_error(asked.id, -32603, words, error.code)
    else:
        if answer is message:
            return data.decode("utf-8")
    return None if answer is None else json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


async def _parsed(data: bytes) -> Json:
    if len(data) <= _ASIDE:
        return strict_loads(data, max_bytes=MAX_EVENT)
    return await asyncio.to_thread(strict_loads, data, max_bytes=MAX_EVENT)


async def _checked(services: Services, asked: Asked, message: Json) -> Json:
    if not isinstance(message, dict):
        return None if asked.id is None else rpc_error(asked.id, -32603, _UNASKED, "")
    if "method" in message and "result" not in message and "error" not in message:
        return message
    if "result" not in message and message.get("id") is None:
        return message
    if "method" in message or asked.id is None or not _same_id(message.get("id"), asked.id):
        return rpc_error(message.get("id"), -32603, _UNASKED, "")
    result = message.get("result")
    if asked.method == "tools/list" and "result" in message:
        return await _list(services, asked, message, result)
    if asked.method == "tools/call" and "result" in message:
        return await _result(services, asked, message, result)
    return message


def _same_id(one: Json, other: Json) -> bool:
    """Alike for any client: some take "7" or 7.0 for the 7 that they asked with."""
    return str(int(one) if isinstance(one, float) and one.is_integer() else one) == str(other)


async def _list(services: Services, asked: Asked, message: dict[str, Any], result: Json) -> Json:
    tools = result.get("tools") if isinstance(result, Mapping) else None
    if not isinstance(tools, list):
        return rpc_error(message["id"], -32603, f"{asked.server} sent no list of tools", "")
    kept = await services.tools.learn(asked.run, asked.server, tools)
    return message if len(kept) == len(tools) else {**message, "result": {**result, "tools": kept}}


async def _result(services: Services, asked: Asked, message: dict[str, Any], result: Json) -> Json:
    if isinstance(result, Mapping):
        problem = services.tools.check_output(asked.server, asked.tool, result)
    else:
        problem = "it is no result of a tool"
    if problem is None:
        return message
    receipt = await _failed(services, asked, problem)
    words = f"{Reason.OUTPUT_DRIFT.value}: the answer of {asked.tool} was withheld: {problem} (receipt {receipt})"
    return rpc_error(message["id"], -32001, words, Reason.OUTPUT_DRIFT.value, receipt)


async def _failed(services: Services, asked: Asked, problem: str) -> str:
    """Record that the call failed, before the agent's own runtime can say how it ended; the outcome's receipt."""
    call, drift = asked.call, Reason.OUTPUT_DRIFT.value
    if call is None:
        return ""
    told = Content.text(f"{drift}: {problem}")
    await services.gate.outcome(call.run, call.key, "failed", result=told, error_class=drift, by=SYSTEM)
    found = await services.ledger.read.action(id=call.id)
    if found is not None and found.status != "failed":
        # Something in the container spoke before there was an answer; a second outcome does not exist.
        note = RunNoted("error", Content.text(f"{drift}: {asked.tool}: {problem}; it was reported as {found.status}"))
        await services.ledger.record(call.run, Draft(note))
    return found.outcome if found is not None else ""
