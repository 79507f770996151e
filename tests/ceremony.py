"""A bundle whose rules ask for ceremonies, beside those that are shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.adapters.policies import PolicyLibrary, load_library
from app.settings import ROOT

HEAD = """
name = "ceremony"
rules = ["rules.toml"]

[tools]
Bash = "execute"
Read = "read"
"mcp__mail__*" = "message"
"mcp__ops__*" = "execute"
egress = "network"
model = "model"

[health_checks]
tools = ["mcp__ops__health_check"]
"""
RULE = """
[[rules]]
id = "{id}"
tools = ["{tool}"]
{when}
verdict = "{verdict}"
{more}
"""


def rule(id: str, tool: str, verdict: str, more: str = "", when: str = "") -> str:
    """One rule as TOML."""
    return RULE.format(id=id, tool=tool, verdict=verdict, more=more, when=f"when = '''{when}'''" if when else "")


def ceremony_library(folder: Path, *rules: str) -> PolicyLibrary:
    """The shipped policies, with market-brief under a bundle of these rules (in front of one that allows the rest)."""
    where = folder / "policies"
    if not where.exists():
        shutil.copytree(ROOT / "policies", where)
    bundle = where / "ceremony"
    bundle.mkdir(exist_ok=True)
    (bundle / "bundle.toml").write_text(HEAD)
    (bundle / "rules.toml").write_text("\n".join([*rules, rule("rest", "*", "ALLOW")]))
    blueprint = where / "blueprints" / "market-brief.toml"
    blueprint.write_text(blueprint.read_text().replace('policy = "default"', 'policy = "ceremony"'))
    return load_library(where)
