"""Every tool call asks the server before it runs. Nothing here decides: what is not a clear answer is a denial.

Two hooks ask about each call: the managed HTTP hook, which asks `Keeper` on the loopback, and after its allow the SDK's
callback (`Gate.release`). Both reach the same gate with the same `tool_use_id` and are one intent there; either one
alone holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny

from link import Json, Link, LinkLost, encode

KEEPER_PORT: Final = 3129
_LARGEST: Final = 7 << 20
"""Bytes of a hook's JSON that the door still forwards (8 MiB) with room to spare."""
_HEAD_LIMIT: Final = 32 << 10
_QUESTIONS: Final = 64
"""Calls that may wait at once; a flood from inside the container ends here."""


class Unclear(Exception):
    """The gate's answer is not a verdict; the hook raises it, and the CLI blocks the call."""


class Gate:
    """Asks the server, remembers what it released, and reports what came of it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._released: dict[str, Any] = {}
        self._reports: set[asyncio.Task[None]] = set()
        self._spawns: dict[str, tuple[str, str]] = {}

    async def release(self, hook: Json, tool_use_id: str | None, _context: Any) -> Json:
        """PreToolUse: the verdict in the CLI's own form. Waits as long as it takes; raises on anything unclear."""
        body = encode(hook)
        if len(body) > _LARGEST:
            raise Unclear("the call is too large to be judged")
        try:
            answer = await self._link.insist("/gate", body)
        except asyncio.CancelledError:
            self.abandon(hook)
            raise
        if answer.status != 200:
            raise Unclear(f"the gate answered {answer.status}")
        output = _verdict(answer.object())
        if output["permissionDecision"] == "allow" and tool_use_id:
            self._released[tool_use_id] = given = output.get("updatedInput", hook["tool_input"])
            if hook["tool_name"] == "Agent" and isinstance(given, dict):
                self._spawns[tool_use_id] = (str(hook.get("agent_id", "")), str(given.get("subagent_type", "")))
        return {"hookSpecificOutput": output}

    async def backstop(self, tool: str, tool_input: Json, context: Any) -> PermissionResultAllow | PermissionResultDeny:
        """Permission prompt: yes to exactly what the gate released, no to everything else."""
        if context.tool_use_id and self._released.get(context.tool_use_id) == tool_input:
            return PermissionResultAllow(updated_input=tool_input)
        return PermissionResultDeny(message=f"Helm has not released this call of {tool}.")

    async def report(self, hook: Json, tool_use_id: str | None, _context: Any) -> Json:
        """PostToolUse and PostToolUseFailure: returns once the outcome is durable; the agent cannot run ahead of it."""
        self._released.pop(tool_use_id or "", None)
        await self._deliver(hook)
        return {}

    def claim_spawn(self, call: str, agent_type: str) -> tuple[str, str]:
        """The released call that started a sub-agent, and who made it. `call` is empty where the CLI did not say."""
        if not call:
            call = next((each for each, (_, kind) in self._spawns.items() if kind == agent_type), "")
        return call, self._spawns.pop(call, ("", ""))[0]

    async def settled(self) -> None:
        """Wait for reports that were sent on the side."""
        while self._reports:
            await asyncio.wait(self._reports)

    async def _deliver(self, hook: Json) -> None:
        body = encode(hook)
        if len(body) > _LARGEST:
            body = encode(hook | {"tool_input": {}, "tool_response": {"truncated_bytes": len(body)}})
        answer = await self._link.insist("/gate/outcome", body)
        while answer.status >= 500:
            await asyncio.sleep(1)
            answer = await self._link.insist("/gate/outcome", body)

    def abandon(self, hook: Json) -> None:
        """Tell the server, on the side, that nobody waits for this call's verdict any more: it did not run."""
        task = asyncio.create_task(self._deliver(_abandoned(hook)))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)


class Keeper:
    """The managed HTTP hook's address: passes its question on, word for word, and again when the line breaks.

    Without it a restart of the server would cut the hook's connection and turn every waiting approval into a denial.
    """

    def __init__(self, link: Link, gate: Gate) -> None:
        self._link = link
        self._gate = gate
        self._open = 0

    async def serve(self, port: int = KEEPER_PORT) -> asyncio.Server:
        """Listen on the loopback until the returned server is closed."""
        return await asyncio.start_server(self._accept, "127.0.0.1", port, limit=_HEAD_LIMIT)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _QUESTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            await self._answer(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A reader that broke off gets no answer, and the hook takes that for a block.
        with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError, LinkLost, Unclear):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if not head.startswith("post /gate http/1.1\r\n"):
                raise ValueError("only the hook asks here")
            length = int(head.partition("\r\ncontent-length:")[2].split("\r\n")[0])
            if length > _LARGEST:
                raise ValueError("the call is too large to be judged")
            body = await reader.readexactly(length)
            answer = await self._ask(body, reader)
            if answer is not None:
                writer.write(_response(*answer))
                await writer.drain()

    async def _ask(self, body: bytes, reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
        """The gate's answer, or None when the hook hung up first: then nobody waits for it any more."""
        question = asyncio.create_task(self._link.insist("/gate", body))
        hangup = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({question, hangup}, return_when=asyncio.FIRST_COMPLETED)
            if not question.done():
                self._gate.abandon(json.loads(body))
                return None
            answer = question.result()
            if answer.status == 200:
                _verdict(
                    answer.object()
                )  # to the CLI `{}` is "no opinion", and a tool that needs no permission would run
            return answer.status, answer.body
        finally:
            question.cancel()
            hangup.cancel()


def _verdict(answer: Json) -> Json:
    """The part of the gate's answer that the CLI may see. Raises Unclear on anything but allow and deny."""
    said = answer.get("hookSpecificOutput")
    if not isinstance(said, dict) or said.get("hookEventName") != "PreToolUse":
        raise Unclear("the gate's answer is not a verdict")
    decision, reason, updated, context = (
        said.get(k) for k in ("permissionDecision", "permissionDecisionReason", "updatedInput", "additionalContext")
    )
    if decision not in ("allow", "deny"):
        raise Unclear("the gate's answer is neither allow nor deny")
    if updated is not None and not isinstance(updated, dict):
        raise Unclear("the gate's new input is not an object")
    output: Json = {"hookEventName": "PreToolUse", "permissionDecision": decision}
    output["permissionDecisionReason"] = reason if isinstance(reason, str) else ""
    if decision == "allow" and updated is not None:
        output["updatedInput"] = updated
        if isinstance(context, str):
            output["additionalContext"] = context  # the agent must know that it was not its own input that ran
    return output


def _abandoned(hook: Json) -> Json:
    """The outcome of a call that was interrupted while it waited: it did not run, and nobody asks for it any more."""
    return hook | {
        "hook_event_name": "PostToolUseFailure",
        "error": "interrupted before it was released",
        "is_interrupt": True,
        "released": False,
    }


def _response(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Gate\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
