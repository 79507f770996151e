"""Small bundles and requests for the policy tests."""

from __future__ import annotations

from app.domain.canonical import Json
from app.domain.expressions import ENGINE, Engine
from app.domain.policy import Bundle
from app.domain.policy_text import parse_bundle
from app.domain.verdict import AgentFacts, BudgetFacts, Request, RunFacts

HEAD = """
name = "test"
[tools]
Bash = "execute"
Read = "read"
"mcp__*" = "write"
egress = "network"
"""


def bundle(rules: str, head: str = HEAD, engine: Engine = ENGINE) -> Bundle:
    return parse_bundle({"bundle.toml": head, "rules.toml": rules}, "test", engine)


def rule(id: str, verdict: str, when: str = "", tools: str = "Read", more: str = "") -> str:
    condition = f"when = '''{when}'''\n" if when else ""
    return f'[[rules]]\nid = "{id}"\ntools = ["{tools}"]\nverdict = "{verdict}"\n{condition}{more}\n'


def ask(args: Json = None, tool: str = "Read", cwd: str = "/workspace", egress_listed: bool = False) -> Request:
    return Request(
        tool=tool,
        args={} if args is None else args,
        run=RunFacts("r1", 7, "a run"),
        now="2026-11-21T12:00:00Z",
        agent=AgentFacts("a1", "researcher", 1, ("lead", "researcher")),
        blueprint={"name": "test"},
        budget=BudgetFacts(1, 2, 3),
        cwd=cwd,
        egress_listed=egress_listed,
    )
