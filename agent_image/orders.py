"""What the server told this run to do, and the SDK options that follow from it.

The switches that keep the gate closed are fixed here and win over anything that came with the orders or the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions, HookMatcher

from gate import Gate
from link import Json

RELAY: Final = "http://127.0.0.1:3128"
WEEK_S: Final = 604_800
_STDOUT_LINE: Final = 64 << 20
"""Bytes of one message of the CLI; the SDK's own 1 MiB would end the run at the first large file."""

SWITCHES: Final = {
    # An empty address would mean the provider itself, and 19 s of waiting for it.
    "ANTHROPIC_BASE_URL": f"{RELAY}/anthropic",
    "OPENAI_BASE_URL": f"{RELAY}/openai/v1",
    "HTTP_PROXY": RELAY,
    "HTTPS_PROXY": RELAY,
    "http_proxy": RELAY,
    "https_proxy": RELAY,
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "NODE_USE_ENV_PROXY": "1",
    "HOME": "/tmp/home",  # noqa: S108  the container's own tmpfs
    "CLAUDE_CONFIG_DIR": "/tmp/home/.claude",  # noqa: S108
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    # A deferred call is executed at the next start in a race with the hooks: never.
    "CLAUDE_CODE_DISABLE_DEFERRED_TOOL_RESUME": "1",
    "ENABLE_TOOL_SEARCH": "false",
    # Approvals and parked runs hold a call or an answer for days.
    "CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT": "0",
    "MCP_TOOL_TIMEOUT": "604800000",
    "API_TIMEOUT_MS": "86400000",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "86400000",
    "CLAUDE_STREAM_FIRST_BYTE_TIMEOUT_MS": "86400000",
    # `idle` is how the run learns that no turn is owed any more.
    "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
    # What would act later or remember across runs.
    "CLAUDE_CODE_DISABLE_CRON": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
}


@dataclass(frozen=True, slots=True)
class Orders:
    """The answer to hello, checked. Raises ValueError or KeyError from `read` when something is missing or strange."""

    run: str
    lease: int
    session_id: str
    task: str
    model: str
    system_prompt: str | None
    tools: tuple[str, ...]
    mcp: Json
    agents: Json
    max_turns: int | None
    env: dict[str, str]
    resume: bool = False

    @staticmethod
    def read(answer: Json) -> Orders:
        """The orders in an answer to hello."""
        mcp = dict(answer.get("mcp") or {})
        for name, server in mcp.items():
            if server.get("type") != "http" or not str(server.get("url")).startswith(f"{RELAY}/mcp/"):
                raise ValueError(f"MCP server {name} does not go through the door")
        return Orders(
            run=str(answer["run"]),
            lease=int(answer["lease"]),
            session_id=str(answer["session_id"]),
            task=str(answer["task"]),
            model=str(answer["model"]),
            system_prompt=answer.get("system_prompt"),
            tools=tuple(answer["tools"]),
            mcp=mcp,
            agents=dict(answer.get("agents") or {}),
            max_turns=answer.get("max_turns"),
            env={str(name): str(value) for name, value in (answer.get("env") or {}).items()},
            resume=bool(answer.get("resume")),
        )

    def environment(self) -> dict[str, str]:
        """The CLI's environment on top of the container's."""
        key = f"sk-ant-placeholder-{self.run}"
        return self.env | SWITCHES | {"ANTHROPIC_API_KEY": key, "OPENAI_API_KEY": key}


@dataclass(frozen=True, slots=True)
class Watchers:
    """Hook callbacks beside the gate's, and the ear for what the CLI writes to stderr."""

    spawned: Callable[..., object]
    ended: Callable[..., object]
    stderr: Callable[[str], None] = field(default=lambda _line: None)


def options(orders: Orders, gate: Gate, watchers: Watchers, cwd: str) -> ClaudeAgentOptions:
    """The SDK's options. Nothing of the workspace configures the agent; nothing runs that the hook did not release."""
    agents = {name: AgentDefinition(**definition) for name, definition in orders.agents.items()}
    return ClaudeAgentOptions(
        tools=list(orders.tools),
        model=orders.model,
        system_prompt=orders.system_prompt or {"type": "preset", "preset": "claude_code"},
        max_turns=orders.max_turns,
        mcp_servers=orders.mcp,
        strict_mcp_config=True,
        setting_sources=[],
        agents=agents or None,
        permission_mode="default",
        can_use_tool=gate.backstop,
        hooks={
            "PreToolUse": [HookMatcher(hooks=[gate.release], timeout=WEEK_S, on_failure="block")],
            "PostToolUse": [HookMatcher(hooks=[gate.report], timeout=WEEK_S)],
            "PostToolUseFailure": [HookMatcher(hooks=[gate.report], timeout=WEEK_S)],
            "SubagentStart": [HookMatcher(hooks=[watchers.spawned], timeout=WEEK_S)],
            "SubagentStop": [HookMatcher(hooks=[watchers.ended], timeout=WEEK_S)],
        },
        # Without it `@path` in a task or message would read files past the gate, and `/name` run commands of the CLI.
        verbatim_prompts=True,
        include_partial_messages=True,
        forward_subagent_text=True,
        max_buffer_size=_STDOUT_LINE,
        stderr=watchers.stderr,
        cwd=cwd,
        env=orders.environment(),
        **({"resume": orders.session_id} if orders.resume else {"session_id": orders.session_id}),
    )
