"""A door, a gateway and a model in one small process: it plays the contract of docs/protocols.md from a script.

Run as `python fake_door.py SOCKET SCRIPT.json`; what it sees goes to stdout, one JSON object per line, and commands
come in on stdin. A process of its own, so that a test can freeze it, kill it and start it again on the same socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_TOOL = {
    "name": "add",
    "description": "adds",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "number"}}},
}


def tell(at: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"at": at, **fields}) + "\n")
    sys.stdout.flush()


class Door:
    """One run's listener: the script says what the gate and the model answer, stdin changes its mind."""

    def __init__(self, script: Json) -> None:
        self.script = script
        self.held: dict[str, asyncio.Future[Json]] = {}
        self.streams: set[asyncio.StreamWriter] = set()
        self.steps: dict[str, int] = {}
        self.release = asyncio.Event()
        self.greeted = False
        self.upto = int(script.get("upto", 0))
        self.refusals = dict(script.get("refuse", {}))

    async def serve(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = await asyncio.start_unix_server(self.accept, path, limit=1 << 20)
        os.chmod(path, 0o666)  # noqa: S103  the run's uid must reach it; the folder above keeps everyone else out
        tell("listening", pid=os.getpid())
        async with server:
            await asyncio.gather(self.commands(), self.pings())

    async def commands(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            match command["op"]:
                case "answer":
                    self.verdict_of(command["id"]).set_result(command["answer"])
                case "send":
                    self.broadcast(command["line"])
                case "release":
                    self.release.set()
                case "cut":
                    for writer in self.streams:
                        writer.close()
        os._exit(0)  # the test is gone

    async def pings(self) -> None:
        while True:
            self.broadcast({"op": "ping"})
            tell("ping")
            await asyncio.sleep(1)

    def broadcast(self, line: Json) -> None:
        data = json.dumps(line).encode() + b"\n"
        self.streams = {each for each in self.streams if not each.transport.is_closing()}
        for writer in self.streams:
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def verdict_of(self, call: str) -> asyncio.Future[Json]:
        return self.held.setdefault(call, asyncio.get_running_loop().create_future())

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, target, _ = first.split(" ", 2)
                headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self.route(method, target, headers, body, writer)
                await writer.drain()
        writer.close()

    async def route(self, method: str, target: str, headers: Json, body: bytes, writer: asyncio.StreamWriter) -> None:
        path = target.partition("?")[0]
        if (status := self.refuse(path)) is not None:
            return answer(writer, status, {"error": {"code": "TEST"}})
        if path == "/runner/stream":
            return self.open_stream(target, writer)
        sent = json.loads(body) if body.startswith(b"{") else {}
        if path == "/gate":
            return await self.gate(sent, headers, writer)
        if path == "/anthropic/v1/messages":
            return await self.model(sent, headers, writer)
        if path.startswith("/mcp/"):
            return mcp(method, sent, writer)
        return answer(writer, *self.plain(method, target, headers, sent))

    def refuse(self, path: str) -> int | None:
        """`refuse: {path: [status, times]}` in the script: a server in trouble."""
        status, times = self.refusals.get(path, (0, 0))
        if times <= 0:
            return None
        self.refusals[path] = (status, times - 1)
        tell("refused", path=path, status=status)
        return int(status)

    def plain(self, method: str, target: str, headers: Json, sent: Json) -> tuple[int, Json]:
        path = target.partition("?")[0]
        if path == "/runner/hello":
            tell("hello", body=sent, again=self.greeted)
            if self.greeted:
                return 409, {"error": {"code": "CONFLICT"}}
            self.greeted = True
            return 200, self.script["hello"]
        if path == "/runner/events":
            for event in sent["events"]:
                if event["n"] == self.upto + 1:
                    self.upto = event["n"]
                    tell("event", event=event)
            return 200, {"upto": self.upto}
        if path == "/runner/preview":
            tell("preview", items=sent["items"])
            return 200, {}
        if path == "/gate/outcome":
            tell("outcome", body=sent)
            return 200, {}
        tell("other", method=method, path=target)
        return 404, {"error": {"type": "not_found_error", "message": path}}

    def open_stream(self, target: str, writer: asyncio.StreamWriter) -> None:
        tell("stream", target=target)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        self.streams.add(writer)

    async def gate(self, sent: Json, headers: Json, writer: asyncio.StreamWriter) -> None:
        asker = "sdk" if headers.get("user-agent", "").startswith("helm-runner") else "http"
        call = sent["tool_use_id"]
        rule = self.rule(sent["tool_name"], asker)
        tell("gate", by=asker, id=call, tool=sent["tool_name"], agent=sent.get("agent_id", ""), body=sent)
        match rule["do"]:
            case "allow" | "deny" as verdict:
                answer(
                    writer, 200, decision(verdict, rule.get("reason", "rule"), rule.get("input"), rule.get("context"))
                )
            case "hold":
                held = await asyncio.shield(self.verdict_of(call))
                tell("answered", by=asker, id=call)
                answer(writer, 200, held)
            case "garbage":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot json!")
            case "empty":
                answer(writer, 200, {})
            case "drop":
                writer.close()
            case status:
                answer(writer, int(status), {"error": {"code": "INTERNAL", "message": "test"}})

    def rule(self, tool: str, asker: str) -> Json:
        for rule in self.script.get("gate", []):
            if rule.get("tool", tool) == tool and rule.get("by", asker) == asker:
                return dict(rule)
        return {"do": "allow"}

    async def model(self, sent: Json, headers: Json, writer: asyncio.StreamWriter) -> None:
        agent = headers.get("x-claude-code-agent-id", "")
        key = next((k for k in self.script.get("agents", {}) if agent and k in json.dumps(sent["messages"])), "main")
        at = self.steps[agent] = self.steps.get(agent, -1) + 1
        steps = self.script["main"] if key == "main" else self.script["agents"][key]
        step = steps[min(at, len(steps) - 1)]
        tell("model", agent=agent, step=at, headers=headers, body=sent)
        if "status" in step:
            return answer(writer, step["status"], {"type": "error", "error": {"type": "x", "message": step["text"]}})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in stream_of(step, f"msg_{agent}_{at}", sent["model"]):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            if event["type"] == "content_block_delta" and step.get("hold"):
                await writer.drain()
                tell("holding", agent=agent, step=at)
                await self.release.wait()
                self.release.clear()
        writer.write(b"0\r\n\r\n")
        return None


def decision(verdict: str, reason: str, updated: Json | None = None, context: str | None = None) -> Json:
    output: Json = {
        "hookEventName": "PreToolUse",
        "permissionDecision": verdict,
        "permissionDecisionReason": reason,
    }
    output |= {"updatedInput": updated} if updated else {}
    return {"hookSpecificOutput": output | ({"additionalContext": context} if context else {})}


def answer(writer: asyncio.StreamWriter, status: int, body: Json) -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)


def mcp(method: str, sent: Json, writer: asyncio.StreamWriter) -> None:
    tell("mcp", method=sent.get("method", method), body=sent)
    if method != "POST":
        return answer(writer, 405, {})
    if "id" not in sent:
        return answer(writer, 202, {})
    capabilities: Json = {"tools": {}}
    results: Json = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": capabilities,
            "serverInfo": {"name": "ops", "version": "1"},
        },
        "tools/list": {"tools": [_TOOL]},
        "tools/call": {"content": [{"type": "text", "text": "sum is 5"}]},
    }
    name = sent["method"]
    if name not in results:
        error = {"code": -32601, "message": "Method not found"}
        return answer(writer, 200, {"jsonrpc": "2.0", "id": sent["id"], "error": error})
    return answer(writer, 200, {"jsonrpc": "2.0", "id": sent["id"], "result": results[name]})


def stream_of(step: Json, message_id: str, model: str) -> list[Json]:
    usage = {"input_tokens": 100, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    message: Json = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": usage,
    }
    events: list[Json] = [{"type": "message_start", "message": message}]
    blocks = [("text", text) for text in step.get("text", "").split("|") if text]
    for index, (_, text) in enumerate(blocks):
        start: Json = {"type": "text", "text": ""}
        events += block(index, start, {"type": "text_delta", "text": text})
    for offset, tool in enumerate(step.get("tools", [])):
        start = {"type": "tool_use", "id": tool["id"], "name": tool["name"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(tool["input"])}
        events += block(len(blocks) + offset, start, delta)
    reason = "tool_use" if step.get("tools") else "end_turn"
    stop = {"stop_reason": reason, "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 20}}, {"type": "message_stop"}]


def block(index: int, start: Json, delta: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Door(json.loads(Path(sys.argv[2]).read_text())).serve(sys.argv[1]))
