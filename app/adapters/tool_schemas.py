"""The schemas of the tools that the agent's runtime has itself, as they are shipped: one JSON file per tool."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.domain.canonical import strict_loads
from app.domain.errors import BadPolicy, InvalidInput
from app.domain.json_schema import MAX_SCHEMA_BYTES
from app.domain.tool_schema import Contract, ToolDocument

FOLDER: Final = "tools"


def load_tools(folder: Path) -> dict[str, ToolDocument]:
    """The tools of a folder by name: files `{"name", "input_schema"}`. Raises BadPolicy with file and reason."""
    found: dict[str, ToolDocument] = {}
    for path in sorted(folder.glob("*.json")):
        name, document = _read(path)
        if name != path.stem:
            raise BadPolicy(f"{path}:1: the tool is named {name!r}, and its file {path.stem!r}")
        found[name] = document
    return found


def _read(path: Path) -> tuple[str, ToolDocument]:
    try:
        value = strict_loads(path.read_bytes(), max_bytes=MAX_SCHEMA_BYTES)
    except OSError as error:
        raise BadPolicy(f"{path}: cannot be read: {error.strerror}") from None
    except InvalidInput as error:
        raise BadPolicy(f"{path}:1: {error.message}") from None
    if not isinstance(value, dict) or value.keys() != {"name", "input_schema"} or not isinstance(value["name"], str):
        raise BadPolicy(f'{path}:1: a tool is {{"name": "...", "input_schema": {{...}}}}')
    document = ToolDocument("", value["input_schema"])
    fault = Contract.of(document).fault
    if fault:
        raise BadPolicy(f"{path}:1: {fault}")
    return value["name"], document
