"""The schemas that `helm policy lint` checks conditions against: those that are shipped, those that are pinned in the
log, and those of a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from app.adapters.tool_schemas import FOLDER, load_tools
from app.cli.exits import USAGE, Failure
from app.cli.policy_log import open_log
from app.domain.canonical import Json, strict_loads
from app.domain.errors import InvalidInput
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import ToolPinned
from app.settings import Settings, read_settings

SCHEMAS_HELP: Final = 'JSON Schemas of what tools take: {"mcp__shop__*": {...}}.'
MAX_BYTES: Final = 8 * 1024 * 1024
_BUILTIN: Final = "builtin"


def gather(file: Path | None, from_log: bool) -> dict[str, Json]:
    """Schemas by a glob of tool names: those of the runtime's own tools, over them what the log says, and over that
    what the file says. Raises BadPolicy."""
    settings = read_settings(os.environ)
    shipped = {name: tool.input_schema for name, tool in load_tools(settings.policies / FOLDER).items()}
    pinned = asyncio.run(_pinned(settings)) if from_log else {}
    return shipped | pinned | (_read(file) if file is not None else {})


def _read(file: Path) -> dict[str, Json]:
    try:
        value = strict_loads(file.read_bytes(), max_bytes=MAX_BYTES)
    except OSError as error:
        raise Failure(f"{file}: cannot be read: {error.strerror}", USAGE) from None
    except InvalidInput as error:
        raise Failure(f"{file}: {error.message}", USAGE) from None
    if not isinstance(value, dict) or not all(isinstance(schema, dict) for schema in value.values()):
        raise Failure(f'{file}: not of the form {{"TOOL": {{JSON Schema}}, ...}}', USAGE)
    return value


async def _pinned(settings: Settings) -> dict[str, Json]:
    """What each tool takes, as it was pinned or accepted last."""
    found: dict[str, Json] = {}
    async with open_log(settings) as reader:
        after = -1
        while page := await reader.events(after=after, run=SYSTEM_RUN, limit=500):
            after = page[-1].seq
            for event in page:
                pin = event.payload
                if isinstance(pin, ToolPinned) and pin.state in ("pinned", "accepted"):
                    name = pin.tool if pin.server == _BUILTIN else f"mcp__{pin.server}__{pin.tool}"
                    found |= _schema(name, event.content("document"))
    return found


def _schema(tool: str, document: bytes) -> dict[str, Json]:
    try:
        value = strict_loads(document, max_bytes=MAX_BYTES)
    except InvalidInput:
        return {}
    schema = value.get("input_schema") if isinstance(value, dict) else None
    return {tool: schema} if isinstance(schema, dict) else {}
