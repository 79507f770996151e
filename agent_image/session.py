"""One conversation with the agent: hands over the task and what people say meanwhile, and reports what happens.

The session ends when the CLI owes no turn and nobody has anything more to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeSDKClient,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TaskStartedMessage,
    TextBlock,
    ThinkingBlock,
    UserMessage,
)

from gate import Gate
from link import Json
from orders import Orders, Watchers, options
from outbox import Outbox, Preview

_SETTLE_S: Final = 5.0
"""Once the CLI is idle: how long a message that was handed over may take to start its turn."""
_STEERING: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
_STDERR_LINES: Final = 20


class Session:
    """The agent's one conversation, and the bookkeeping of who said what in it."""

    def __init__(self, orders: Orders, gate: Gate, outbox: Outbox, preview: Preview, cwd: str) -> None:
        self._orders = orders
        self._gate = gate
        self._outbox = outbox
        self._preview = preview
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        watchers = Watchers(self._spawned, self._ended, self._stderr.append)
        self._client = ClaudeSDKClient(options(orders, gate, watchers, cwd))
        self._ready = asyncio.Event()
        self._state = ""
        self._turn = 0
        self._model_turns = 0
        self._finishing = False
        self._known: set[str] = set()
        self._later: deque[Json] = deque()
        self._unseen: dict[str, str] = {}
        self._agents: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        self._streaming: dict[str, str] = {}
        self._result: ResultMessage | None = None

    async def run(self) -> Json:
        """Play the whole conversation; the fields of its `run.result`."""
        await self._client.connect()
        await self._hand_over(self._orders.task, "task")
        self._ready.set()
        messages: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        reading = asyncio.create_task(_pour(self._client.receive_messages(), messages))
        try:
            while (message := await self._next(messages)) is not None:
                await self._tell(message)
                if _is_idle(message) and self._result is not None and await self._is_over():
                    break
        finally:
            reading.cancel()
        if self._result is None:
            with contextlib.suppress(asyncio.CancelledError):
                await reading  # raises what the CLI died of
        return self._outcome()

    async def obey(self, order: Json) -> None:
        """Carry out one line of the server's stream. What cannot be done is told and ends nothing."""
        await self._ready.wait()
        try:
            await self._obey(order)
        except Exception as error:  # noqa: BLE001  supervisor: a dying CLI may raise anything here; its end is told elsewhere
            text = f"could not carry out {order.get('op')}: {type(error).__name__}: {error}"
            await self._outbox.put("run.note", level="error", text=text[:500])

    async def _obey(self, order: Json) -> None:
        match order.get("op"):
            case "steer" if order["id"] not in self._known:
                self._known.add(order["id"])
                await self._steer(order)
            case "interrupt":
                await self._client.interrupt()
            case "finish":
                self._finishing = True
                self._later.clear()
                await self._client.interrupt()

    async def _steer(self, order: Json) -> None:
        if order.get("mode", "queue") == "queue" and self._result is None:
            self._later.append(order)
            return
        if order.get("mode") == "interrupt":
            await self._client.interrupt()
        await self._hand_over(order["text"], order["id"])

    async def _hand_over(self, text: str, name: str) -> None:
        """Write a message to the CLI. Its uuid comes from its name, so the CLI itself skips a second copy."""
        message_uuid = str(uuid.uuid5(_STEERING, f"{self._orders.session_id}/{name}"))
        message = {"type": "user", "message": {"role": "user", "content": text}, "parent_tool_use_id": None}
        self._unseen[message_uuid] = name
        self._result = None

        async def one() -> AsyncIterator[Json]:
            yield message | {"uuid": message_uuid}

        await self._client.query(one(), session_id=self._orders.session_id)
        if name != "task":
            await self._outbox.put("steering.delivered", id=name)

    async def _seen(self, uuids: list[str]) -> None:
        for message_uuid in uuids:
            name = self._unseen.pop(message_uuid, "task")
            if name != "task":
                await self._outbox.put("steering.seen", id=name)

    async def _next(self, messages: asyncio.Queue[Any]) -> Any:
        """The next message, or None when the CLI has ended or owes nothing and stays silent."""
        settling = self._result is not None and self._state == "idle"
        try:
            async with asyncio.timeout(_SETTLE_S if settling else None):
                return await messages.get()
        except TimeoutError:
            return None

    async def _is_over(self) -> bool:
        if self._finishing:
            return True
        while self._later:
            order = self._later.popleft()
            await self._hand_over(order["text"], order["id"])
        return not self._unseen

    async def _tell(self, message: Any) -> None:
        match message:
            case StreamEvent():
                self._tell_preview(message)
            case AssistantMessage():
                await self._tell_output(message)
            case ResultMessage():
                await self._tell_result(message)
            case TaskStartedMessage() if message.tool_use_id:
                self._agents[message.tool_use_id] = message.task_id
            case SystemMessage():
                await self._tell_system(message)
            case UserMessage():
                pass

    def _agent_of(self, parent: str | None) -> str:
        """The sub-agent behind a message, known by the call that started it (or that call, where it is all we have)."""
        return self._agents.get(parent, parent) if parent else ""

    def _tell_preview(self, message: StreamEvent) -> None:
        agent = self._agent_of(message.parent_tool_use_id)
        event = message.event
        if event.get("type") == "message_start":
            self._streaming[agent] = event["message"].get("id", "")
        delta = event.get("delta") or {}
        if event.get("type") == "content_block_delta" and delta.get("type") == "text_delta":
            self._preview.add(agent, self._streaming.get(agent, ""), delta.get("text", ""))

    async def _tell_output(self, message: AssistantMessage) -> None:
        origin = {"message_id": message.message_id or "", "agent": self._agent_of(message.parent_tool_use_id)}
        for block in message.content:
            if isinstance(block, TextBlock) and block.text:
                await self._outbox.put("model.output", text=block.text, **origin)
            elif isinstance(block, ThinkingBlock) and block.thinking:
                await self._outbox.put("model.thinking", text=block.thinking, **origin)

    async def _tell_result(self, message: ResultMessage) -> None:
        await self._seen(message.user_message_uuids or [])
        self._result = message
        self._model_turns += message.num_turns
        await self._outbox.put(
            "turn.ended",
            turn=self._turn,
            subtype=message.subtype,
            reason=message.terminal_reason or "",
            num_turns=message.num_turns,
            duration_ms=message.duration_ms,
        )

    async def _tell_system(self, message: SystemMessage) -> None:
        data = message.data
        match message.subtype:
            case "session_state_changed":
                self._state = str(data.get("state"))
            case "status" if data.get("status") == "requesting":
                # The request to the model that carries these messages is being made: the earliest honest sign.
                await self._seen(data.get("user_message_uuids") or [])
            case "init":
                self._turn += 1
                self._result = None
                await self._outbox.put("turn.started", turn=self._turn, model=str(data.get("model", "")))
                for server in data.get("mcp_servers") or []:
                    if server.get("status") not in ("connected", "pending"):
                        text = f"MCP server {server.get('name')} is {server.get('status')}"
                        await self._outbox.put("run.note", level="warning", text=text)
            case "api_retry":
                delay = int(data.get("retry_delay_ms") or data.get("delay_ms") or 0)
                error = str(data.get("error_status") or data.get("error") or "")
                await self._outbox.put("api.retry", attempt=int(data.get("attempt") or 0), error=error, delay_ms=delay)

    async def _spawned(self, hook: Json, _tool_use_id: str | None, _context: Any) -> Json:
        agent, kind = str(hook.get("agent_id", "")), str(hook.get("agent_type", ""))
        call, parent = self._gate.claim_spawn(self._call_of(agent), kind)
        self._agents.setdefault(call or agent, agent)
        self._parents[agent] = parent
        await self._outbox.put("agent.spawned", agent=agent, agent_type=kind, parent=parent, tool_use_id=call)
        # The agent begins when this returns: by its first call the server knows who it is, and who started it.
        await self._outbox.told()
        return {}

    async def _ended(self, hook: Json, _tool_use_id: str | None, _context: Any) -> Json:
        agent = str(hook.get("agent_id", ""))
        await self._outbox.put(
            "agent.ended",
            agent=agent,
            agent_type=str(hook.get("agent_type", "")),
            parent=self._parents.get(agent, ""),
            tool_use_id=self._call_of(agent),
            summary=str(hook.get("last_assistant_message") or "")[:4000],
        )
        return {}

    def _call_of(self, agent: str) -> str:
        return next((call for call, each in self._agents.items() if each == agent and call != agent), "")

    def _outcome(self) -> Json:
        last = self._result
        if last is None:
            text = "\n".join(self._stderr)
            return {
                "status": "failed",
                "text": text,
                "reason": "the agent ended without a result",
                "num_turns": self._model_turns,
            }
        complete = last.subtype == "success" and not last.is_error
        reason = last.terminal_reason or last.subtype
        if not complete and last.errors:
            reason = f"{reason}: {'; '.join(last.errors)}"
        status = "complete" if complete else "failed"
        return {"status": status, "text": last.result or "", "reason": reason[:2000], "num_turns": self._model_turns}


def _is_idle(message: Any) -> bool:
    state = message.data.get("state") if isinstance(message, SystemMessage) else None
    return state == "idle" and message.subtype == "session_state_changed"


async def _pour(source: AsyncIterator[Any], messages: asyncio.Queue[Any]) -> None:
    """Messages, and None after the last one, however it came to be the last."""
    try:
        async for message in source:
            await messages.put(message)
    except Exception:
        await messages.put(None)
        raise
    await messages.put(None)
