"""The tools of the pinned CLI, taken from a request of the real one: their schemas without a word of description, and
as loose as the CLI itself is. `python -m tests.docker.cli_tools` writes them to policies/tools."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from app.adapters.docker import Sandbox

from tests.docker.stage import ROOT, Stage, new_run, script

FOLDER = ROOT / "policies" / "tools"
NAMES = [
    *("Agent", "AskUserQuestion", "Bash", "Edit", "EnterPlanMode", "EnterWorktree", "ExitPlanMode", "ExitWorktree"),
    *("Glob", "Grep", "Monitor", "NotebookEdit", "Read", "SendMessage", "Skill", "TaskCreate", "TaskGet", "TaskList"),
    *("TaskStop", "TaskUpdate", "WebFetch", "WebSearch", "Workflow", "Write"),
]
# What the CLI takes for a number and for true or false (seen with the real one): it turns the text into the value.
_NUMBER = r"^\s*-?[0-9]+(\.[0-9]+)?\s*$"
_TRUTH = "^(true|false)$"


def loosened(schema: Any) -> Any:
    """A schema of the CLI without descriptions, taking what the CLI takes: members that it does not list (it refuses
    them itself), numbers and truth values as text, and what has a default may be absent."""
    if isinstance(schema, list):
        return [loosened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in ("description", "$schema", "default")}
    if kept.get("additionalProperties") is False:
        del kept["additionalProperties"]
    made = {name: loosened(value) for name, value in kept.items() if name not in ("properties", "required")}
    if "properties" in kept:
        made["properties"] = {name: loosened(value) for name, value in kept["properties"].items()}
    given = [n for n in kept.get("required", []) if "default" not in schema.get("properties", {}).get(n, {})]
    if given:
        made["required"] = given
    text = {"number": _NUMBER, "integer": _NUMBER, "boolean": _TRUTH}.get(str(kept.get("type")))
    if text is not None:
        made |= {"type": [kept["type"], "string"], "pattern": text}
    return made


async def listed(stage: Stage) -> dict[str, Any]:
    """The tools that the real CLI offers its model, by name, loosened."""
    door = await stage.play(script(hello={"tools": NAMES}))
    tools = door.seen("model", agent="")[0]["body"]["tools"]
    return {tool["name"]: loosened(tool["input_schema"]) for tool in tools}


async def _write() -> None:
    home = Path(tempfile.mkdtemp(prefix="helm-"))
    sandbox = Sandbox(home, ROOT / "agent_image" / "seccomp.json")
    stage = Stage(home, sandbox, new_run())
    try:
        found = await listed(stage)
    finally:
        await stage.clean()
        sandbox.close()
        shutil.rmtree(home)
    FOLDER.mkdir(exist_ok=True)
    for name, schema in found.items():
        text = json.dumps({"name": name, "input_schema": schema}, indent=2, sort_keys=True)
        (FOLDER / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    asyncio.run(_write())
