"""Three scripted runs under a server that is killed again and again, and the books of what it had acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any, Final

import httpx

from tests.e2e.installation import LOST, Client, Installation, Json, Tail, Watcher, until

WORKERS: Final = 2
STEPS: Final = 48
MAIL_EVERY: Final = 6
PACE_S: Final = 0.05
ENDED: Final = ("finished", "failed", "stopped")


def worker_task(name: str) -> str:
    """Many small commands, each leaving a line that no other leaves, and letters that ask first."""
    steps = [_letter(f"{name}-{n:03d}") if n % MAIL_EVERY == 0 else _line(f"{name}-{n:03d}") for n in range(1, STEPS)]
    return _script(steps)


def holder_task(name: str) -> str:
    """A sub-agent whose letter nobody answers before the end, some commands before it, and a letter after it."""
    part = _script([_line(f"{name}-101"), _letter(f"{name}-102"), _line(f"{name}-103")])
    spawn = {"description": "ask", "prompt": part, "subagent_type": "general-purpose"}
    return _script([_line(f"{name}-001"), {"tool": "Agent", "input": spawn}, _letter(f"{name}-002")])


def _script(steps: list[Json]) -> str:
    return f"[scenario:script]\n{json.dumps(steps)}"


def _line(label: str) -> Json:
    """The clock's reading in each line tells when it was written."""
    return {"tool": "Bash", "input": {"command": f'date +"{label} %s%N" >> /workspace/effects.txt'}}


def _letter(label: str) -> Json:
    letter = {"to": "crew@example.com", "subject": label, "body": "as agreed"}
    return {"tool": "mcp__mail__send_email", "input": letter}


@dataclass
class Books:
    """What the server has said to a client, over all its lives."""

    runs: dict[str, str] = field(default_factory=dict)  # id -> name
    names: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)  # approval -> the answer that was acknowledged
    sent: dict[str, str] = field(default_factory=dict)  # approval -> the answer that was sent
    steered: dict[str, str] = field(default_factory=dict)  # message id -> run
    open: dict[str, str] = field(default_factory=dict)  # approval -> run, as a client saw it last
    held: set[str] = field(default_factory=set)  # approvals that stay unanswered until the end


@dataclass
class Kills:
    """One campaign: an installation, its seeded chance, the books, and what was counted."""

    place: Installation
    chance: random.Random
    books: Books = field(default_factory=Books)
    watcher: Watcher = field(default_factory=Watcher)
    counts: Counter[str] = field(default_factory=Counter)
    finishing: bool = False

    def __post_init__(self) -> None:
        self.tail = Tail(self.place)

    async def begin(self) -> None:
        """The first life: three runs, one of them waiting for a person until the end."""
        client = await self.place.start()
        await self._start(client, "h0", holder_task("h0"))
        for _ in range(WORKERS):
            await self._next_worker(client)
        await until(lambda: self._held(client), "the sub-agent's question")
        await client.close()

    async def _held(self, client: Client) -> bool:
        await self._look(client)
        return bool(self.books.held)

    async def live_until_killed(self, seconds: float) -> None:
        """Watch and act for a while; then the server dies in the middle of it."""
        client = self.place.client()
        tasks = [asyncio.create_task(self._watch(client)), asyncio.create_task(self._act(client))]
        ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        await self.place.kill()
        for task in tasks:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), 10)
        await client.close()
        self.counts["broke early"] += bool(ended)

    async def _watch(self, client: Client) -> None:
        with suppress(*LOST):
            await self.watcher.watch(client)

    async def _act(self, client: Client) -> None:
        with suppress(*LOST):
            while True:
                await self._once(client)
                # A pace, not a wait: two clients of a small machine leave the agents some of it.
                await asyncio.sleep(PACE_S)

    async def _once(self, client: Client) -> None:
        items = await self._look(client)
        live = [run for run in (await client.get("/runs", status="live"))["runs"] if run["status"] != "interrupted"]
        if sum(not self.books.runs.get(run["id"], "").startswith("h") for run in live) < WORKERS:
            await self._next_worker(client)
        waiting = [item for item in items if item["approval"] not in self.books.held]
        for item in waiting:
            if self.chance.random() < 0.4:
                await self._answer(client, item["approval"], "allow" if self.chance.random() < 0.8 else "deny")
        if live and self.chance.random() < 0.05:
            await self._steer(client, self.chance.choice(live)["id"])

    async def _look(self, client: Client) -> list[Json]:
        items = [item for item in (await client.get("/inbox"))["items"] if "allow" in item["available"]]
        again = [item for item in items if item["approval"] in self.books.answers]
        assert not again, f"an answered question is asked again: {again}"
        self.books.open = {item["approval"]: item["run"] for item in items}
        holders = [item for item in items if self.books.runs.get(item["run"], "").startswith("h")]
        if not self.finishing:
            self.books.held |= {item["approval"] for item in holders}
        return items

    async def _start(self, client: Client, name: str, task: str) -> None:
        order = {"blueprint": "market-brief", "task": task, "title": name, "budget_micro": 10**10}
        self.books.names.add(name)
        answer = await client.post("/runs", order)
        if answer.status_code == httpx.codes.CONFLICT:
            return  # runs that were started without our knowing hold the slots
        assert answer.status_code == httpx.codes.CREATED, answer.text
        self.books.runs[answer.json()["id"]] = name
        self.counts["runs started"] += 1

    async def _next_worker(self, client: Client) -> None:
        name = f"w{len(self.books.names)}"
        await self._start(client, name, worker_task(name))

    async def _answer(self, client: Client, approval: str, answer: str) -> None:
        answer = self.books.sent.setdefault(approval, answer)
        told = await client.post(f"/inbox/{approval}/answer", {"answer": answer})
        assert told.status_code in (200, 409), told.text
        if told.status_code == httpx.codes.OK:
            self.books.answers[approval] = answer
            self.counts["answers"] += 1
        else:
            self.counts["answers refused"] += 1

    async def _steer(self, client: Client, run: str) -> None:
        name = f"msg-{len(self.books.steered)}-{self.chance.randrange(10**9)}"
        told = await client.post(f"/runs/{run}/steer", {"text": f"note {name}", "mode": "queue", "client_id": name})
        if told.status_code == httpx.codes.ACCEPTED:
            self.books.steered[name] = run
            self.counts["messages"] += 1

    # --- after a restart ---------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Everything that was acknowledged is there, with the same id; the same questions are open."""
        self.tail.advance()
        assert len(self.tail.ids) > self.watcher.last, "receipts that a client had seen are gone"
        client = self.place.client()
        for seq, receipt in self.watcher.seen[self.counts["compared"] :]:
            assert self.tail.ids[seq] == receipt, f"#{seq} is another receipt than the client was told"
        self.counts["compared"] = len(self.watcher.seen)
        if self.watcher.seen:
            seq, receipt = self.watcher.seen[-1]
            assert (await client.get(f"/receipts/{receipt}"))["seq"] == seq
        known = {run["id"]: run for run in (await client.get("/runs", limit=500))["runs"]}
        assert set(self.books.runs) <= set(known), "a run that was started is gone"
        await self._compare_questions(client, known)
        await client.close()

    async def _compare_questions(self, client: Client, known: Mapping[str, Json]) -> None:
        still = {item["approval"] for item in (await client.get("/inbox"))["items"] if item["available"]}
        for approval, run in self.books.open.items():
            item = await client.get(f"/inbox/{approval}")
            if approval in self.books.answers:
                assert item["answer"] == f"{self.books.answers[approval]}" or item["answered_by"], item
            elif approval not in self.books.sent and approval not in still:
                assert known[run]["status"] in (*ENDED, "interrupted"), f"an open question was lost: {item}"
                self.counts["questions of runs that ended"] += 1
        self.counts["questions compared"] += len(self.books.open)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def finish(self, client: Client) -> list[Json]:
        """Answer everything and let the runs come to their ends; all runs."""
        self.finishing = True
        watching = asyncio.create_task(self._watch(client))

        async def over() -> list[Json]:
            for item in await self._look(client):
                await self._answer(client, item["approval"], "allow")
            runs: list[Json] = (await client.get("/runs", limit=500))["runs"]
            return runs if all(run["status"] in (*ENDED, "interrupted") for run in runs) else []

        runs = await until(over, "the end of every run", 240)
        head = (await client.get("/log"))["head"]
        await until(lambda: self._reached(head), "the watcher at the head")
        watching.cancel()
        await asyncio.wait([watching])
        return runs

    async def _reached(self, head: int) -> bool:
        return self.watcher.last >= head


@dataclass
class Deed:
    """One call of a tool with an effect, as the log tells it."""

    run: str
    tool: str
    label: str
    dispatched: str = ""  # time
    forwarded: bool = False
    outcome: str = ""


def deeds_of(events: list[Json], args: Mapping[str, Any]) -> list[Deed]:
    """The effects that a run's events speak of. `args`: an action's own arguments by the id of its intent."""
    found: dict[str, Deed] = {}
    for event in events:
        body = event["body"]
        action = body.get("action_id", "")
        if event["name"] == "intent.recorded" and body["door"] in ("tool", "mcp"):
            label = _label_of(args[event["id"]])
            found[action] = Deed(event["run"], body["tool"], label)
        elif action not in found:
            continue
        elif event["name"] == "action.dispatched":
            found[action].dispatched = event["ts"]
        elif event["name"] == "mcp.forwarded":
            found[action].forwarded = True
        elif event["name"] == "outcome.recorded":
            found[action].outcome = body["status"]
    return list(found.values())


def _label_of(args: Mapping[str, Any]) -> str:
    command = str(args.get("command", ""))
    return command.partition('"')[2].partition(" ")[0] if command else str(args.get("subject", ""))


def effects_of(place: Installation, run: str) -> list[tuple[str, int]]:
    """Label and time (ns) of each line that a run has left."""
    path = place.home / "workspaces" / run / "effects.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def letters_of(place: Installation) -> list[tuple[str, int]]:
    """Subject and time (ns) of each letter that was delivered."""
    folder = place.home / "demo" / "mailbox" / "new"
    files = list(folder.iterdir()) if folder.is_dir() else []
    return [(str(message_from_bytes(file.read_bytes())["Subject"]), file.stat().st_mtime_ns) for file in files]
