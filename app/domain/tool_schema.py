"""What a tool says of itself: its description and the schemas of its input and output. That text comes from a server
that may say anything; it is pinned by its digest, shown to people, and believed in nothing."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from app.domain.canonical import Json, canonical_bytes, strict_loads
from app.domain.errors import HelmError, InvalidInput
from app.domain.json_schema import MAX_SCHEMA_BYTES, JsonSchema
from app.domain.schema_work import BadSchema
from app.domain.signing import sha256

BUILTIN: Final = "builtin"
MAX_DOCUMENT: Final = 2 * MAX_SCHEMA_BYTES + 65_536
MAX_DESCRIPTION: Final = 32_768
_TOOL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
_SERVER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

# Only a hint for the person who looks: nothing is decided by it.
_ORDERS: Final = re.compile(
    r"ignore\s+(?:all\s+|any\s+|the\s+)*(?:previous|prior|above|earlier|other)\s+(?:instructions?|rules?|prompts?|tools?)"
    r"|disregard\s+(?:all|any|the|your|previous)|do\s+not\s+(?:tell|mention|inform|reveal)|without\s+(?:telling|asking)"
    r"|system\s+prompt|<\s*/?\s*(?:system|important|instructions?)\s*>|you\s+must\s+(?:always|first|never)"
    r"|before\s+(?:using|calling)\s+(?:any\s+other|this|another)\s+tool|(?:api[_ ]?key|password|id_rsa|\.ssh/|\.env\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ToolDocument:
    """A tool as its server describes it. `output_schema` None: it declares none. Its bytes are made once: each call of
    the tool asks for their digest."""

    description: str
    input_schema: Json
    output_schema: Json | None = None

    @cached_property
    def bytes(self) -> bytes:
        """Its canonical JSON."""
        return canonical_bytes(
            {
                "description": self.description,
                "input_schema": self.input_schema,
                "output_schema": self.output_schema,
            }
        )

    @cached_property
    def digest(self) -> str:
        """`sha256:` over `bytes`."""
        return sha256(self.bytes)

    def pretty(self) -> str:
        """The document as text for people: one line per value, the same for the same document."""
        text = json.dumps(
            {
                "description": self.description,
                "input_schema": self.input_schema,
                "output_schema": self.output_schema,
            },
            ensure_ascii=False,
            indent=2,
            sort_keys=True,
        )
        return _INVISIBLE.sub(lambda found: f"\\u{{{ord(found.group()):04x}}}", text)

    def hints(self) -> tuple[str, ...]:
        """What in its words a person should look at twice. A hint: nobody decides by it."""
        words = "\n".join(_texts([self.description, self.input_schema, self.output_schema]))
        found = []
        if _INVISIBLE.search(words):
            found.append("invisible or direction-changing characters")
        if _ORDERS.search(unicodedata.normalize("NFKC", _INVISIBLE.sub("", words))):
            found.append("words that give orders to the agent")
        return tuple(found)


# What shows nothing, moves or turns text: format characters, tags, variation selectors, controls but line ends.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def _texts(value: Json) -> list[str]:
    found: list[str] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, Mapping):
            found.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    return found


def listed_tool(entry: Json) -> tuple[str, ToolDocument]:
    """Name and document of one entry of a `tools/list` result (MCP 2025-06-18 and later). Raises BadSchema for an entry
    whose name, description or size is not taken; whether its schemas can be used is another question (`Contract`)."""
    if not isinstance(entry, Mapping):
        raise BadSchema("a tool in the list is no object")
    name, description = entry.get("name"), entry.get("description", "")
    if not isinstance(name, str) or _TOOL.fullmatch(name) is None:
        raise BadSchema("a tool's name is 1 to 128 letters, digits, _ or -")
    title = entry.get("title")
    if not isinstance(description, str) or not isinstance(title, str | None):
        raise BadSchema("a tool's description is no text")
    said = f"{title}\n{description}" if title else description
    if len(said) > MAX_DESCRIPTION:
        raise BadSchema(f"a tool's description is longer than {MAX_DESCRIPTION} characters")
    document = ToolDocument(said, entry.get("inputSchema", {}), entry.get("outputSchema"))
    try:
        size = len(document.bytes)
    except HelmError as error:
        raise BadSchema(f"a tool's document is no JSON of ours: {error.message}") from None
    if size > MAX_DOCUMENT:
        raise BadSchema(f"a tool's document is larger than {MAX_DOCUMENT} bytes")
    return name, document


def read_document(data: bytes) -> ToolDocument:
    """The document behind a receipt's content. Raises InvalidInput when it is none (erased, cut)."""
    value = strict_loads(data, max_bytes=MAX_DOCUMENT)
    if not isinstance(value, dict) or value.keys() != {"description", "input_schema", "output_schema"}:
        raise InvalidInput("the tool's document is not in the log any more")
    return ToolDocument(str(value["description"]), value["input_schema"], value["output_schema"])


def is_server(name: str) -> bool:
    """Whether this can be the name of an MCP server."""
    return _SERVER.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Contract:
    """A tool's schemas, compiled. `fault`: why they are not used, and then nothing fits."""

    digest: str
    _input: JsonSchema | None
    _output: JsonSchema | None
    fault: str = ""

    @staticmethod
    def of(document: ToolDocument) -> Contract:
        """Compile a document; never raises: a schema that is not used leaves a contract that nothing fits."""
        try:
            output = None if document.output_schema is None else JsonSchema.of(document.output_schema)
            return Contract(document.digest, JsonSchema.of(document.input_schema), output)
        except BadSchema as error:
            return Contract.void(document.digest, error.message)

    @staticmethod
    def void(digest: str, fault: str) -> Contract:
        """A contract that nothing fits, and why."""
        return Contract(digest, None, None, fault)

    @property
    def has_output(self) -> bool:
        """Whether the tool says what it answers (or says it in a way that nobody can use)."""
        return self._output is not None or bool(self.fault)

    def check_input(self, args: Any) -> str | None:
        """None when the arguments fit, else field and rule that do not; never a value."""
        if self._input is None:
            return f"the tool's schema cannot be used: {self.fault}"
        return self._input.problem(args)

    def check_output(self, value: Any) -> str | None:
        """The same for a structured answer; always None where the tool declares none."""
        if self.fault:
            return f"the tool's schema cannot be used: {self.fault}"
        if self._output is None:
            return None
        elements, text = _size(value)
        return self._output.problem_of(value, elements, text)


def _size(value: Json) -> tuple[int, int]:
    """Values in an answer, and bytes of its text at most. It was parsed with bounds: its depth is one of them."""
    elements = text = 0
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            text += len(item) * (1 if item.isascii() else 4)
        elif isinstance(item, Mapping):
            elements += len(item)
            todo.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list):
            elements += len(item)
            todo.extend(item)
    return elements, text
