"""Where a test plays a run: the real container from the real adapter, and a scripted door in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.adapters.container_spec import ContainerSpec
from app.adapters.docker import ExitStatus, Sandbox
from app.adapters.tool_schemas import load_tools
from app.adapters.workspace import Workspaces
from app.domain.ids import run_id
from app.domain.tool_schema import Contract

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("HELM_AGENT_IMAGE", "helm-agent:latest")
TOOLS = load_tools(ROOT / "policies" / "tools")
BOUND_S = 40.0
GRACE_S = 3.0


class Door:
    """The fake door's process: what it saw, and orders to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.journal: list[Json] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @staticmethod
    async def start(socket: Path, script: Json, folder: Path) -> Door:
        path = folder / "script.json"
        path.write_text(json.dumps(script))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("fake_door.py")),
            str(socket),
            str(path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=16 << 20,
        )
        door = Door(process)
        await door.until("listening")
        return door

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            async with self._news:
                self.journal.append(json.loads(line))
                self._news.notify_all()
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self._wake()))

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    def seen(self, at: str, **match: Any) -> list[Json]:
        return [each for each in self.journal if each["at"] == at and _matches(each, match)]

    async def until(self, at: str, count: int = 1, **match: Any) -> Json:
        """Wait (bounded) until the door saw `count` things of this kind; the last of them."""
        async with asyncio.timeout(BOUND_S), self._news:
            await self._news.wait_for(lambda: len(self.seen(at, **match)) >= count or self._reading.done())
        assert len(self.seen(at, **match)) >= count, f"the door ended before it saw {at} {match}"
        return self.seen(at, **match)[count - 1]

    def order(self, op: str, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")

    def send(self, **line: Any) -> None:
        self.order("send", line=line)

    def answer(self, call: str, verdict: str, reason: str = "a person said so") -> None:
        output = {"hookEventName": "PreToolUse", "permissionDecision": verdict, "permissionDecisionReason": reason}
        self.order("answer", id=call, answer={"hookSpecificOutput": output})

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    def events(self, kind: str = "") -> list[Json]:
        return [each["event"] for each in self.seen("event") if kind in ("", each["event"]["type"])]

    def results_to_model(self) -> str:
        """Everything the last model request of the main agent carried, as text."""
        return json.dumps(self.seen("model", agent="")[-1]["body"]["messages"])


def _matches(thing: Json, match: Json) -> bool:
    return all(thing.get(key, thing.get("event", {}).get(key)) == value for key, value in match.items())


@dataclass
class Stage:
    """One run in its container."""

    home: Path
    sandbox: Sandbox
    run: str
    image: str = IMAGE
    grace_s: float = GRACE_S
    strict: bool = True
    door: Door = field(init=False)

    @property
    def door_dir(self) -> Path:
        return self.home / "door" / "runs" / self.run

    @property
    def workspace(self) -> Path:
        return self.home / "workspaces" / self.run

    async def open_door(self, script: Json) -> Door:
        self.door_dir.mkdir(parents=True, exist_ok=True)
        self.door_dir.chmod(0o711)
        self.door = await Door.start(self.door_dir / "door.sock", script, self.home)
        return self.door

    def spec(self, **changes: Any) -> ContainerSpec:
        env = {"HELM_LINK_GRACE_S": str(self.grace_s)}
        spec = ContainerSpec(
            run=self.run, lease=7, image=self.image, door_dir=self.door_dir, workspace_dir=self.workspace, env=env
        )
        return replace(spec, **changes)

    async def begin(self, script: Json, seed: Path | None = None, **changes: Any) -> Door:
        """Open the door and start the container."""
        await Workspaces(self.home / "workspaces").create(self.run, seed)
        door = await self.open_door(script)
        await self.sandbox.start(self.spec(**changes))
        return door

    async def end(self) -> ExitStatus:
        """Wait (bounded) for the container's own end."""
        async with asyncio.timeout(BOUND_S):
            return await self.sandbox.wait(self.run)

    async def play(self, script: Json, seed: Path | None = None) -> Door:
        """A whole run that nobody disturbs."""
        door = await self.begin(script, seed)
        ended = await self.end()
        assert ended.code == 0, await self.sandbox.logs(self.run)
        await door.until("event", type="run.result")
        return door

    def wrote(self, name: str = "marker") -> bool:
        return os.path.lexists(self.workspace / name)

    @staticmethod
    def misfit(asked: Json) -> str | None:
        """What the shipped schema of its tool says against a call that the CLI asked for."""
        document = TOOLS.get(asked["tool"])
        return None if document is None else Contract.of(document).check_input(asked["body"]["tool_input"])

    def misfits(self) -> list[str]:
        """What the shipped schemas would have refused of all calls of the run; nothing where the test means it."""
        if not self.strict or not hasattr(self, "door"):
            return []
        return [f"{each['tool']}: {said}" for each in self.door.seen("gate") if (said := self.misfit(each))]

    async def clean(self) -> None:
        with contextlib.suppress(AttributeError):
            self.door.thaw()
            await self.door.kill()
        await self.sandbox.kill(self.run)
        await self.sandbox.remove(self.run)


def new_run() -> str:
    return run_id(time.time_ns() // 1_000_000, secrets.token_bytes(10))


def hello(**changes: Any) -> Json:
    return {
        "run": "r-test",
        "lease": 7,
        "session_id": "11111111-2222-4333-8444-555555555555",
        "task": "do the thing",
        "model": "claude-sonnet-5",
        "system_prompt": None,
        "tools": ["Bash", "Read", "Write", "Agent"],
        "mcp": {},
        "agents": {},
        "max_turns": None,
        "env": {},
        "resume": False,
    } | changes


def script(*main: Json, **changes: Any) -> Json:
    """A script whose model says `main`, step by step, and at last `all done`."""
    greeting = hello(**changes.pop("hello", {}))
    return {"hello": greeting, "main": [*main, {"text": "all done"}], **changes}


def bash(command: str, call: str = "toolu_1", **more: Any) -> Json:
    return {"id": call, "name": "Bash", "input": {"command": command, "description": "test", **more}}


def mark(name: str = "marker") -> str:
    return f"touch /workspace/{name}"


def variant(name: str, files: dict[str, str], folder: Path) -> str:
    """An image like the real one with some files under / replaced: a runner that was tampered with. Its tag."""
    tag = f"helm-agent-test:{name}"
    folder.mkdir()
    lines = [f"FROM {IMAGE}", "USER root", "RUN rm -rf /opt/helm/__pycache__"]
    for number, (path, text) in enumerate(files.items()):
        (folder / str(number)).write_text(text)
        (folder / str(number)).chmod(0o644)
        lines.append(f"COPY {number} {path}")
    (folder / "Dockerfile").write_text("\n".join([*lines, "USER 10001:10001"]))
    subprocess.run(
        ["docker", "build", "-q", "--network", "none", "-t", tag, str(folder)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    shutil.rmtree(folder)
    return tag
