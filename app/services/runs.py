"""A run's life: created in the log first, then started, watched and closed. A client's connection never decides it;
what has no ending in the log when the container is gone gets one here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Literal

import structlog

from app.domain.blueprint import Blueprint
from app.domain.content import Content
from app.domain.errors import (
    AlreadyClaimed,
    Conflict,
    EngineUnavailable,
    Frozen,
    HelmError,
    InvalidInput,
    NotFound,
    RunEnded,
    SequenceMismatch,
)
from app.domain.events import Draft
from app.domain.ids import run_id, short_id
from app.domain.payloads import Controlled, RunCreated, RunInterrupted, RunNoted, RunStarted
from app.domain.policy import EVALUATOR
from app.domain.reasons import Reason
from app.domain.receipt import SYSTEM, Actor
from app.domain.run import Action, Run
from app.ports import Clock, Door, Exit, Library, Providers, RunFilter, Sandbox, Start, Workspaces
from app.services.approvals import Approvals
from app.services.endings import closing
from app.services.gate import Gate
from app.services.ledger import Ledger
from app.services.slots import Slots
from app.services.stillness import Stillness

MAX_TASK: Final = 200_000
MAX_TITLE: Final = 200
_SETTLE_S: Final = 3.0
_TRIES: Final = 50

log = structlog.get_logger("helm.runs")


class Runs:
    """Starts, watches, stops and closes runs."""

    def __init__(
        self,
        ledger: Ledger,
        gate: Gate,
        approvals: Approvals,
        library: Library,
        sandbox: Sandbox,
        door: Door,
        workspaces: Workspaces,
        providers: Providers,
        clock: Clock,
        slots: int,
    ) -> None:
        self._ledger, self._gate, self._approvals, self._library = ledger, gate, approvals, library
        self._sandbox, self._door, self._workspaces, self._providers = sandbox, door, workspaces, providers
        self._clock = clock
        self.slots, self.stillness = Slots(slots), Stillness(ledger, sandbox)
        self._blueprints: dict[str, Blueprint] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._killed: dict[str, tuple[str, ...]] = {}
        self._starting = asyncio.Lock()
        self._aside: set[asyncio.Task[None]] = set()

    # --- what people ask for -----------------------------------------------------------------------------------------

    async def start(self, blueprint: str, *, by: str, task: str = "", title: str = "", budget_micro: int = 0) -> Run:
        """Create a run, durably; its container starts in the background.

        Raises NotFound, InvalidInput, Conflict (no free slot), Frozen, EngineUnavailable and BadConfig (each with the
        remedy), LedgerUnavailable.
        """
        plan = self._library.blueprint(blueprint)
        self._check_thaw(plan.name)
        task, title = task.strip() or plan.task, title.strip() or plan.title
        _check_order(task, title, budget_micro)
        await self._require_engine()
        upstreams = await self._providers.upstreams(plan)
        async with self._starting:
            run = run_id(self._clock.now_ms(), self._clock.entropy(10))
            self.slots.take(run)
            try:
                await self._create(run, plan, task, title, budget_micro or plan.budget_micro, by)
            except BaseException:
                self.slots.leave(run)
                raise
            self._blueprints[run] = plan
            self._spawn(run, self._launch(run, plan, upstreams))
        return await self.get(run)

    async def stop(self, run: str, *, by: str) -> tuple[str, ...]:
        """Kill the run's whole tree; returns what was killed, only when it is gone and the run is closed.

        Raises NotFound, RunEnded, EngineUnavailable (then it may still be running, and says so), LedgerUnavailable.
        """
        found = await self.get(run)
        if not found.live:
            raise RunEnded(f"the run has ended already ({found.status})")
        order = Controlled("kill", short_id("ctl", self._clock.entropy(10)), "now")
        await self._ledger.record(run, Draft(order, Actor("human", by, "client")))
        await self.end_container(run)
        watcher = self._tasks.get(run)
        if watcher is not None:
            await asyncio.wait([watcher], timeout=30)
        else:
            await self._close(run, Exit(-1, False, "stopped"))
        return self._killed.get(run, ())

    async def cut(self, run: str, reason: Reason, message: str) -> None:
        """End a run that broke the rules: noted, killed, closed as failed. Never waits for a person."""
        note = RunNoted("error", Content.text(f"{reason.value}: {message}"))
        try:
            await self._ledger.record(run, Draft(note), Draft(RunInterrupted(reason.value, message[:2_000])))
        except RunEnded:
            return
        self._spawn_aside(self.end_container(run))

    async def get(self, run: str) -> Run:
        """The run as the log tells it. Raises NotFound."""
        found = await self._ledger.run(run)
        if found is None:
            raise NotFound("there is no such run")
        return found

    @property
    def slots_total(self) -> int:
        """How many runs may have a container that goes on."""
        return self.slots.total

    def slots_used(self) -> int:
        """Runs that have a container, or are getting one; parked ones have given their slot back."""
        return self.slots.used

    def held(self) -> tuple[str, ...]:
        """Runs that have a container, or are getting one; parked ones, too."""
        return tuple(self._tasks)

    def is_frozen(self, run: str) -> bool:
        """Whether a held run is under a freeze."""
        plan = self._blueprints.get(run)
        return self._ledger.standing.frozen(run, plan.name if plan is not None else "") is not None

    def is_held(self, run: str) -> bool:
        """Whether the run has a container, or is getting one."""
        return run in self._tasks

    def blueprint_of(self, run: str) -> Blueprint | None:
        """The blueprint that a live run was started with."""
        return self._blueprints.get(run)

    async def task_of(self, run: str) -> str:
        """The run's task in full."""
        first = await self._ledger.read.events(run=run, limit=1)
        return first[0].text("task") if first else ""

    # --- after a restart of the server -------------------------------------------------------------------------------

    async def adopt(self, run: Run) -> bool:
        """Take up a run whose container has outlived the server. False when its blueprint is gone or was changed."""
        plan = next((b for b in self._library.blueprints() if b.digest == run.blueprint_digest), None)
        if plan is None:
            return False
        self._blueprints[run.id] = plan
        await self._door.open(run.id, await self._providers.upstreams(plan), frozen=self.is_frozen(run.id))
        await self.stillness.settle(run.id)
        if not run.parked:
            self.slots.keep(run.id)
        self._spawn(run.id, self._watch(run.id))
        return True

    async def reopen_doors(self) -> None:
        """Open the door again for every run that has a container: the door process remembers nothing."""
        for run in list(self._tasks):
            plan = self._blueprints.get(run)
            if plan is not None:
                await self._door.open(run, await self._providers.upstreams(plan), frozen=self.is_frozen(run))

    async def interrupt(self, run: Run, reason: str, message: str) -> None:
        """Say that a run lost its container: questions are withdrawn, open effects become unknown; it stays open."""
        await self.settle(run.id, recovered=True, keep=())
        await self._ledger.record(run.id, Draft(RunInterrupted(reason, message)))

    @staticmethod
    def is_condemned(run: Run) -> bool:
        """Whether the log says that an open run's container must end: a person stopped it, or it broke the rules."""
        return run.stopping or run.interrupted not in ("", Reason.RUN_INTERRUPTED.value)

    async def conclude(self, run: str, ended: Exit) -> None:
        """Close a run whose end was decided before the server restarted. Its container is gone."""
        await self.settle(run, recovered=True, keep=())
        await self._close(run, ended)

    async def settle(self, run: str, *, recovered: bool, keep: tuple[str, ...]) -> list[Action]:
        """Give every open action an ending, except those whose executor is in `keep`, and a release for an MCP server
        that was not used yet: it can be used later. Returns those that became unknown."""
        unknown = []
        found = await self.get(run)
        for action in list(found.actions.values()):
            if action.state == "waiting":
                if not keep:
                    await self._approvals.withdraw(action, Reason.RUN_ENDED, "The run ended before anybody answered.")
            elif action.state == "dispatched" and action.executor not in keep:
                if keep and _is_unused(action):
                    continue
                await self._unknown(action, recovered)
                unknown.append(action)
        return unknown

    async def _unknown(self, action: Action, recovered: bool) -> None:
        usage = self._gate.held(action)
        # After a restart nothing is on its way: what was not forwarded then can never have happened.
        status: Literal["cancelled", "unknown"] = "cancelled" if recovered and _is_unused(action) else "unknown"
        await self._gate.outcome(
            action.run, action.key, status, error_class="lost", usage=usage, recovered=recovered, by=SYSTEM
        )

    # --- the life of one container -----------------------------------------------------------------------------------

    async def _create(self, run: str, plan: Blueprint, task: str, title: str, budget_micro: int, by: str) -> None:
        bundle = self._library.bundle(plan.policy)
        for _ in range(_TRIES):
            last = await self._ledger.read.runs(RunFilter(limit=1))
            payload = RunCreated(
                run_no=last[0].no + 1 if last else 1,
                title=title,
                task=Content.text(task, MAX_TASK * 4),
                agent=plan.runtime,
                model=plan.model,
                blueprint=plan.name,
                blueprint_digest=plan.digest,
                policy=plan.policy,
                policy_digest=bundle.digest,
                evaluator=EVALUATOR,
                budget_micro=budget_micro,
            )
            try:
                await self._ledger.record(run, Draft(payload, Actor("human", by, "client")))
            except AlreadyClaimed:
                continue  # another start took this number
            return
        raise Conflict("too many runs are being started at once; try again")

    async def _launch(self, run: str, plan: Blueprint, upstreams: Any) -> None:
        try:
            workspace = await self._workspaces.create(run, plan.seed)
            folder = await self._door.open(run, upstreams, frozen=self.is_frozen(run))
            spec = Start(
                run=run,
                lease=1,
                workspace=workspace,
                door_dir=folder,
                memory=plan.resources.memory,
                cpus=plan.resources.cpus,
                pids=plan.resources.pids,
            )
            container, image = await self._sandbox.start(spec)
            await self._ledger.record(run, Draft(RunStarted(container, image, spec.lease)))
            if (await self.get(run)).stopping:
                await self.end_container(run)  # a person said stop while the container was being made
            elif self.is_frozen(run):
                await self.stillness.settle(run)  # or froze it
        except HelmError as error:
            log.warning("run.not_started", run=run, code=error.code, reason=error.message)
            await self._close(run, Exit(-1, False, error.message))
            return
        await self._watch(run)

    async def _watch(self, run: str) -> None:
        ended = await self._sandbox.wait(run)
        await self._close(run, ended)

    async def end_container(self, run: str) -> None:
        """Kill the run's whole tree. Raises EngineUnavailable where nobody confirms that it is gone."""
        killed = await self._sandbox.kill(run)
        self._killed[run] = killed

    async def _close(self, run: str, ended: Exit) -> None:
        """The one ending of a run: nothing can leave any more, everything open gets an ending, the log is closed."""
        await self._door.close(run)
        self._let_go_of(run)  # the container is gone: its slot is free
        await self._let_settle(run)
        await self.settle(run, recovered=False, keep=())
        for _ in range(_TRIES):
            found = await self.get(run)
            if not found.live:
                break
            try:
                last = closing(found, ended, self._killed.get(run, ()))
                await self._ledger.record(run, Draft(last), expect=found.run_seq)
            except SequenceMismatch:
                await self.settle(run, recovered=False, keep=())
                continue
            except RunEnded:
                break
        self._blueprints.pop(run, None)
        self.stillness.forget(run)

    def _let_go_of(self, run: str) -> None:
        self._tasks.pop(run, None)
        self.slots.leave(run)

    def _check_thaw(self, blueprint: str) -> None:
        freeze = self._ledger.standing.frozen("", blueprint)
        if freeze is not None:
            what = f"the blueprint {freeze.target}" if freeze.target else "everything"
            raise Frozen(f"{freeze.by} froze {what} at {freeze.ts}; no run starts until that is lifted: helm unfreeze")

    async def _let_settle(self, run: str) -> None:
        """Give the door a moment to report how the connections ended that were just cut."""
        try:
            async with asyncio.timeout(_SETTLE_S):
                async for page in self._ledger.follow(self._ledger.head, run):
                    found = await self.get(run)
                    open_ones = [a for a in found.actions.values() if a.executor == "door" and a.state == "dispatched"]
                    if not open_ones or (not found.live and page == []):
                        return
        except TimeoutError:
            return

    async def _require_engine(self) -> None:
        status = await self._sandbox.probe()
        if not status.ok:
            raise EngineUnavailable(f"{status.reason} {status.remedy}".strip())

    def _spawn(self, run: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._supervised(run, work), name=f"run-{run}")
        self._tasks[run] = task

    async def _supervised(self, run: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except HelmError as error:
            log.exception("run.supervisor", run=run, code=error.code)
        except Exception:  # supervisor: one run's fault must not end the others, and is shown in the log
            log.exception("run.supervisor", run=run)
        finally:
            self._let_go_of(run)

    def _spawn_aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def let_go(self) -> None:
        """Stop watching, without ending anything: containers outlive the server and are adopted by the next one."""
        tasks = [*self._tasks.values(), *self._aside]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_order(task: str, title: str, budget_micro: int) -> None:
    if not task or len(task) > MAX_TASK:
        raise InvalidInput(f"a task has 1 to {MAX_TASK} characters")
    if not title or len(title) > MAX_TITLE:
        raise InvalidInput(f"a title has 1 to {MAX_TITLE} characters")
    if not 0 <= budget_micro <= 10**12:
        raise InvalidInput("a budget is between $0 and $1,000,000")


def _is_unused(action: Action) -> bool:
    """A release of an MCP call that nobody has forwarded: the gateway takes it, durably, before it forwards."""
    return action.door == "mcp" and action.executor == "gateway" and not action.forwarded
