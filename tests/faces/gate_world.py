"""Both faces over one house: the gateway as the door speaks to it, the REST API as people's programs do. What agents
ask and people answer here goes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from app.adapters.policies import load_library
from app.gateway.app import create_gateway_app
from app.ports import Library, Providers
from app.services.services import Services

from tests.faces.web_world import WebWorld, served, web_world
from tests.house import House

LIBRARY: Final = load_library(Path(__file__).parent / "gate_policies")
WAIT_S: Final = 10.0


@dataclass(frozen=True)
class Told:
    """What a hook was answered."""

    allowed: bool
    code: str  # the reason code of a refusal, "" with an allowance
    words: str
    edited: Any = None


@dataclass
class GateWorld:
    """A dashboard, and the door's side of the gateway."""

    web: WebWorld
    gateway: httpx.AsyncClient

    @property
    def house(self) -> House:
        return self.web.house

    async def start(self, blueprint: str = "ceremony", by: str = "ana") -> str:
        """The id of a run that `by` started and whose container is up."""
        run = await self.house.services.runs.start(blueprint, by=by)
        await self.house.until(run.id, "run.started")
        return run.id

    async def post(self, run: str, path: str, body: Any) -> Any:
        """Say something as the door says it for a run."""
        answer = await self.gateway.post(path, json=body, headers={"x-helm-run": run})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def hook(self, run: str, tool: str, args: Any, key: str = "toolu_1", **more: Any) -> Told:
        """Ask as the agent's hook asks; returns when there is a verdict."""
        said = (await self.post(run, "/gate", self.house.hook(tool, args, key, **more)))["hookSpecificOutput"]
        words, allowed = said["permissionDecisionReason"], said["permissionDecision"] == "allow"
        code = "" if allowed else words.partition(":")[0].partition(" ")[0]
        return Told(allowed, code, words, said.get("updatedInput"))

    async def asked(
        self, run: str, tool: str, args: Any, key: str = "toolu_1", **more: Any
    ) -> tuple[asyncio.Task[Told], str]:
        """A call that waits for people, and its question."""
        task = asyncio.create_task(self.hook(run, tool, args, key, **more))
        approval = await self.question(run, key, task)
        return task, approval

    async def question(self, run: str, key: str, task: asyncio.Task[Told] | None = None) -> str:
        """The question that a call waits for."""
        async with asyncio.timeout(WAIT_S):
            async for _ in self.house.ledger.follow(-1, run):
                for action in (await self.house.services.runs.get(run)).waiting():
                    if action.key == key:
                        return action.approval
                assert task is None or not task.done(), task.result()
        raise AssertionError("nobody was asked")

    async def done(self, run: str, tool: str, key: str, result: str = "done") -> None:
        """Report that a released call was executed."""
        told = {"tool_use_id": key, "tool_name": tool, "tool_response": result, "hook_event_name": "PostToolUse"}
        await self.post(run, "/gate/outcome", told)

    async def verdicts(self, run: str) -> list[str]:
        """The reason codes of all verdicts of a run, as the API tells them."""
        return [event["body"]["reason_code"] for event in await self.events(run, "verdict.given")]

    async def events(self, run: str, name: str = "") -> list[dict[str, Any]]:
        """Events of a run, as the API tells them."""
        program = await self.web.program("reader")
        answer = await program.get(f"/api/v1/runs/{run}/events", params={"limit": 500})
        assert answer.status_code == 200, answer.text
        return [event for event in answer.json()["events"] if name in ("", event["name"])]


async def finished(task: asyncio.Task[Told]) -> Told:
    """What a call that waited was told, in time."""
    return await asyncio.wait_for(task, WAIT_S)


@asynccontextmanager
async def gate_world(
    home: Path, *, library: Library = LIBRARY, providers: Providers | None = None, **given: Any
) -> AsyncIterator[GateWorld]:
    """Both faces over a house in `home`; `providers` say where the gateway finds MCP servers."""

    def services(web: WebWorld) -> Services:
        return replace(web.house.services, providers=providers or web.house.services.providers)

    limits = httpx.Limits(max_connections=600)
    async with (
        web_world(home, library=library, **given) as web,
        served(create_gateway_app(services(web))) as base,
        httpx.AsyncClient(base_url=base, timeout=30, limits=limits) as gateway,
    ):
        yield GateWorld(web, gateway)
