"""The shipped schemas against the real CLI: they are its own, and refuse no call that it would make."""

from __future__ import annotations

import json
from typing import Any

import pytest
from app.adapters.tool_schemas import load_tools

from tests.docker.cli_tools import FOLDER, NAMES, listed
from tests.docker.stage import Stage, script

pytestmark = pytest.mark.docker
Json = dict[str, Any]

# What a careless model sends. The CLI mends some of it before the hook asks, some after, and refuses the rest.
CARELESS: list[tuple[str, Json]] = [
    ("Bash", {"command": "echo 1", "timeout": "5000"}),
    ("Bash", {"command": "echo 2", "run_in_background": "false"}),
    ("Bash", {"command": "echo 3", "extra": 1}),
    ("Bash", {"command": ["echo", "4"]}),
    ("Bash", {}),
    ("Bash", {"command": "echo 6", "timeout": None}),
    ("Bash", {"command": "echo 7", "timeout": 99_999_999}),
    ("Read", {"file_path": "/workspace/none", "offset": "1", "limit": "2"}),
    ("Read", {"file_path": "/workspace/none", "limit": 0}),
    ("Read", {"path": "/workspace/none"}),
    ("Grep", {"pattern": "x", "-n": "true", "head_limit": "3"}),
    ("Grep", {"pattern": "x", "output_mode": "bogus"}),
    ("Write", {"file_path": "/workspace/a", "content": 5}),
    ("Edit", {"file_path": "/workspace/a", "old_string": "a", "new_string": "b", "replace_all": "true"}),
    ("TaskCreate", {"subject": "x", "description": "y", "metadata": "{}"}),
    ("TaskStop", {"shell_id": "x"}),
    ("Glob", {"pattern": "*"}),
]


async def test_the_shipped_schemas_are_those_of_the_real_cli(stage: Stage) -> None:
    shipped = {name: document.input_schema for name, document in load_tools(FOLDER).items()}
    assert await listed(stage) == shipped, "run: python -m tests.docker.cli_tools"
    assert set(shipped) == set(NAMES)


async def test_no_call_that_the_cli_makes_is_refused(stage: Stage) -> None:
    steps = [{"tools": [{"id": f"toolu_{n}", "name": t, "input": a}]} for n, (t, a) in enumerate(CARELESS)]
    stage.strict = False
    door = await stage.play(script(*steps, hello={"tools": NAMES}))
    refused = {each["id"] for each in door.seen("gate") if stage.misfit(each)}
    invalid = set()
    for message in door.seen("model", agent="")[-1]["body"]["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        invalid |= {b["tool_use_id"] for b in blocks if "InputValidationError" in json.dumps(b.get("content", ""))}
    assert refused <= invalid, "a call that the CLI makes"
    assert len(refused) >= 5, "and what it refuses is mostly refused before"
