"""Tool calls of the agent in the container: the hook asks, the runner reports what came of it. An MCP call passes the
gateway only with a release in hand that nobody has used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.blueprint import Blueprint
from app.domain.errors import AlreadyClaimed, Frozen, InvalidInput, RunEnded
from app.domain.events import Draft
from app.domain.payloads import McpForwarded
from app.domain.reasons import Reason
from app.domain.run import Action, Run
from app.domain.verdict import AgentFacts, Grade
from app.services.approvals import Approvals
from app.services.asks import Answer, Ask, args_content, result_content, web_place
from app.services.gate import Gate
from app.services.ledger import Ledger

MAX_KEY = 200
MAX_DEPTH = 16


class ToolCalls:
    """The gate as the agent's runtime sees it."""

    def __init__(
        self, ledger: Ledger, gate: Gate, approvals: Approvals, blueprint_of: Callable[[str], Blueprint | None]
    ) -> None:
        self._ledger, self._gate, self._approvals, self._blueprint_of = ledger, gate, approvals, blueprint_of

    async def ask(self, run: str, hook: Mapping[str, Any]) -> Answer:
        """The verdict on a PreToolUse hook, once there is one. Raises InvalidInput for a hook that is none."""
        tool, args, key = hook.get("tool_name"), hook.get("tool_input"), hook.get("tool_use_id")
        if not isinstance(tool, str) or not tool or not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
            raise InvalidInput("a hook names its tool and its call")
        mcp = tool.startswith("mcp__")
        host, port = web_place(tool, args)
        blueprint = self._blueprint_of(run)
        found = await self._ledger.run(run)
        return await self._gate.perform(
            Ask(
                run=run,
                door="mcp" if mcp else "tool",
                tool=tool,
                args=args,
                key=key,
                executor="gateway" if mcp else "runner",
                grade=Grade.STRUCTURAL if mcp else Grade.COOPERATIVE,
                agent=_agent(hook, found),
                host=host,
                port=port,
                egress_listed=blueprint is not None and bool(host) and blueprint.egress_match(host, port) is not None,
                cwd=hook["cwd"] if isinstance(hook.get("cwd"), str) else "/workspace",
            )
        )

    async def report(self, run: str, hook: Mapping[str, Any]) -> None:
        """Record the outcome that a PostToolUse (or ...Failure) hook tells. Raises InvalidInput, NotFound."""
        key = hook.get("tool_use_id")
        if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
            raise InvalidInput("a hook names its call")
        if hook.get("is_interrupt") is True and await self._withdrawn(run, key):
            return
        error = hook.get("error")
        failed = error is not None or hook.get("hook_event_name") == "PostToolUseFailure"
        value = error if failed else hook.get("tool_response")
        await self._gate.outcome(
            run, key, "failed" if failed else "executed", result=result_content(value if value is not None else "")
        )

    async def _withdrawn(self, run: str, key: str) -> bool:
        """Close the question of a call that was interrupted while it waited: nobody needs its answer any more."""
        found = await self._ledger.run(run)
        for action in found.actions.values() if found is not None else ():
            if action.key == key and action.state == "waiting":
                await self._approvals.withdraw(
                    action, Reason.INTERRUPTED, "The agent was interrupted; it no longer asks."
                )
                return True
        return False

    async def release(self, run: str, server: str, tool: str, args: Any) -> Action | None:
        """Take the one unused release of this MCP call; None when there is none, and then it must not be forwarded.

        The taking is durable before this returns: after a crash the same release cannot be used again.
        """
        name = f"mcp__{server}__{tool}"
        wanted = args_content(args).data or b""
        found = await self._ledger.run(run)
        for action in found.actions.values() if found is not None else ():
            if action.tool != name or action.state != "dispatched" or action.forwarded:
                continue
            if not _same(await self._gate.released_args(action), wanted):
                continue
            refs = {"intent": action.intent, "dispatch": action.dispatch}
            try:
                await self._ledger.record(run, Draft(McpForwarded(action.id, server, tool), refs=refs))
            except (AlreadyClaimed, Frozen, RunEnded):
                continue
            return action
        return None


def _same(judged: bytes, sent: bytes) -> bool:
    return judged == sent or (sent in (b"", b"null") and judged == b"{}")


def _agent(hook: Mapping[str, Any], run: Run | None) -> AgentFacts:
    """Who asks, and by way of whom: the runner tells of each sub-agent, and of the one that started it, before it
    works."""
    agent_id, told = hook.get("agent_id"), hook.get("agent_type")
    if not isinstance(agent_id, str) or not agent_id:
        return AgentFacts("lead", "lead", 0, ("lead",))
    agents, parents = (run.agents, run.parents) if run is not None else ({}, {})
    kind = told if isinstance(told, str) and told else agents.get(agent_id, "agent")
    path, above = [_word(kind)], parents.get(agent_id, "")
    while above and len(path) < MAX_DEPTH:  # a chain that an agent made up may go round
        path.append(_word(agents.get(above, "agent")))
        above = parents.get(above, "")
    return AgentFacts(agent_id[:100], kind[:100], len(path), ("lead", *reversed(path)))


def _word(kind: str) -> str:
    return kind[:60].replace("/", "-")
