"""What to run: image, model, tools, policy, budget, egress, workspace. The schema is closed; a file that says anything
else is refused with its line. A blueprint can only tighten the container, never loosen it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Final

from app.domain.canonical import Json, canonical_bytes, strict_loads
from app.domain.egress import EgressError, make_entry
from app.domain.errors import InvalidInput
from app.domain.json_schema import MAX_SCHEMA_BYTES, JsonSchema
from app.domain.pricing import usd_to_micro
from app.domain.toml_text import Table, read_toml

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_TOOL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}\*?")
_CALLED: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,199}")
_AGENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_URL: Final = re.compile(r"(?:https?://[^\s@]{1,500}|demo:[a-z0-9][a-z0-9-]{0,62})")
_DEMO: Final = re.compile(r"demo:[a-z0-9][a-z0-9-]{0,32}")
_MEMORY: Final = re.compile(r"[1-9][0-9]{0,5}[mg]")
_CPUS: Final = re.compile(r"(?:[1-9][0-9]?|0)(?:\.[0-9]{1,2})?")
_TOP: Final = (
    *("name", "title", "description", "runtime", "model", "policy", "task", "tools", "network", "demo"),
    *("max_turns", "timeout_minutes", "park_after_s", "budget", "egress", "mcp", "workspace", "agents", "resources"),
    "schemas",
)


@dataclass(frozen=True, slots=True)
class EgressRule:
    """One host (or `*.suffix`, which does not cover the suffix itself) and one port. `address`: a pinned literal
    IP, or `demo:NAME`, the place of a part of the demo world (then the port is that part's own)."""

    host: str
    port: int = 443
    flags: tuple[str, ...] = ()
    address: str = ""

    def matches(self, host: str, port: int) -> bool:
        """Whether this entry covers a canonical host and a port."""
        if port != self.port:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return host == self.host


@dataclass(frozen=True, slots=True)
class SubAgent:
    """An agent that the lead agent may call by name. `tools` None: those of the run."""

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...] | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of the container."""

    memory: str = "1g"
    cpus: str = "1.0"
    pids: int = 256


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A parsed blueprint. `budget_micro` is the run's cap in micro-dollars; None of a limit: the server's default.
    `schemas`: what the input of a tool has to fit here, beside what the tool says itself."""

    name: str
    title: str
    description: str
    runtime: str
    model: str
    policy: str
    task: str
    tools: tuple[str, ...]
    network: str
    demo: bool
    budget_micro: int
    max_turns: int | None = None
    timeout_minutes: int | None = None
    park_after_s: int | None = None
    egress: tuple[EgressRule, ...] = ()
    mcp: tuple[tuple[str, str], ...] = ()
    seed: str = "empty"
    agents: tuple[SubAgent, ...] = ()
    resources: Resources = Resources()
    schemas: tuple[tuple[str, Json], ...] = ()

    def payload(self) -> Json:
        """Everything in it as a JSON value; the digest is over exactly this."""
        data = asdict(self)
        data["mcp"] = dict(self.mcp)
        data["schemas"] = dict(self.schemas)
        if not self.schemas:
            del data["schemas"]  # a blueprint without any has the digest that it always had
        if self.park_after_s is None:
            del data["park_after_s"]  # the same
        return data

    @property
    def digest(self) -> str:
        """`sha256:` over the canonical JSON of `payload()`."""
        return "sha256:" + hashlib.sha256(canonical_bytes(self.payload())).hexdigest()

    def egress_match(self, host: str, port: int) -> EgressRule | None:
        """The first entry that covers host and port; None means that the run may not connect."""
        name = host.lower().removesuffix(".")
        return next((rule for rule in self.egress if rule.matches(name, port)), None)


def parse_blueprint(text: str, file: str) -> Blueprint:
    """The blueprint of a TOML file; `file` is the name that errors show. Raises BadPolicy with file, line, reason."""
    root = read_toml(text, file)
    root.closed(*_TOP)
    name = root.word("name", _NAME, "lower-case letters, digits and hyphens, at most 63")
    return Blueprint(
        name=name,
        title=root.text("title", name),
        description=root.text("description", "", limit=2000, empty=True),
        runtime=root.choice("runtime", ["claude"], "claude"),
        model=root.word("model", _MODEL, "a model's name"),
        policy=root.word("policy", _NAME, "the name of a policy bundle", "default"),
        task=root.text("task", "", limit=65536, empty=True),
        tools=_tools(root),
        network=root.choice("network", ["sealed"], "sealed"),
        demo=root.flag("demo", False),
        budget_micro=_budget(root.table("budget")),
        max_turns=root.integer("max_turns", low=1, high=10000) if root.has("max_turns") else None,
        timeout_minutes=root.integer("timeout_minutes", low=1, high=43200) if root.has("timeout_minutes") else None,
        park_after_s=root.integer("park_after_s", low=1, high=31_536_000) if root.has("park_after_s") else None,
        egress=tuple(_egress(row) for row in root.tables("egress")),
        mcp=_servers(root.table("mcp")),
        seed=_seed(root.table("workspace")),
        agents=_agents(root.tables("agents", most=50)),
        resources=_resources(root.table("resources")),
        schemas=_schemas(root.table("schemas")),
    )


def _tools(table: Table) -> tuple[str, ...]:
    tools = table.strings("tools")
    for tool in tools:
        if _TOOL.fullmatch(tool) is None:
            table.refuse("tools", f"{tool!r} is not a tool's name (letters, digits, _ and -, one * at its end)")
    if len(set(tools)) != len(tools):
        table.refuse("tools", "'tools' names a tool twice")
    return tools


def _budget(table: Table) -> int:
    table.closed("usd")
    micro = usd_to_micro(table.text("usd"))
    if micro is None or micro == 0:
        table.refuse("usd", "'usd' must be a decimal string above zero such as \"5.00\", at most six decimals")
    return micro


def _egress(row: Table) -> EgressRule:
    row.closed("host", "port", "flags", "address")
    host, flags = row.text("host", limit=255), row.strings("flags", ())
    port, address = row.integer("port", 443, low=1, high=65535), row.text("address", "", limit=45)
    demo = _DEMO.fullmatch(address) is not None
    try:
        entry = make_entry(host, port, flags, (address,) if address and not demo else ())
    except EgressError as error:
        row.refuse("host", str(error))
    pinned = address if demo else "".join(entry.addresses)
    return EgressRule(entry.host, entry.port, tuple(sorted(entry.flags)), pinned)


def _servers(table: Table) -> tuple[tuple[str, str], ...]:
    servers = []
    for name in table.data:
        server = table.table(name)
        if _NAME.fullmatch(name) is None:
            table.refuse(name, f"{name!r} is not a server's name (lower-case letters, digits, hyphens)")
        server.closed("url")
        servers.append((name, server.word("url", _URL, "http(s)://... without user info, or demo:NAME")))
    return tuple(sorted(servers))


def _schemas(table: Table) -> tuple[tuple[str, Json], ...]:
    """Input schemas of tools, by the name that the agent's runtime gives them; as a table or as a text of JSON."""
    found = []
    for name, given in table.data.items():
        if _CALLED.fullmatch(name) is None:
            table.refuse(name, f"{name!r} is not the name of one tool (Bash, mcp__mail__send_email)")
        try:
            schema = strict_loads(given.encode(), max_bytes=MAX_SCHEMA_BYTES) if isinstance(given, str) else given
            JsonSchema.of(schema)
        except InvalidInput as error:
            table.refuse(name, f"the schema of {name!r} cannot be used: {error.message}")
        found.append((name, schema))
    return tuple(sorted(found, key=lambda one: one[0]))


def _seed(table: Table) -> str:
    table.closed("seed")
    seed = table.text("seed", "empty", limit=500)
    if ".." in seed.split("/"):
        table.refuse("seed", "'seed' must not climb with ..")
    return seed


def _agents(rows: list[Table]) -> tuple[SubAgent, ...]:
    agents: list[SubAgent] = []
    for row in rows:
        row.closed("name", "description", "prompt", "tools", "model")
        agent = SubAgent(
            name=row.word("name", _AGENT, "letters, digits, _ and -, at most 63"),
            description=row.text("description", limit=2000),
            prompt=row.text("prompt", limit=65536),
            tools=_tools(row) if row.has("tools") else None,
            model=row.word("model", _MODEL, "a model's name") if row.has("model") else None,
        )
        if any(other.name == agent.name for other in agents):
            row.refuse("name", f"the agent {agent.name!r} is declared twice")
        agents.append(agent)
    return tuple(agents)


def _resources(table: Table) -> Resources:
    table.closed("memory", "cpus", "pids")
    return Resources(
        memory=table.word("memory", _MEMORY, "a size such as 512m or 2g", "1g"),
        cpus=table.word("cpus", _CPUS, "a number such as 0.5 or 2.0", "1.0"),
        pids=table.integer("pids", 256, low=64, high=32768),
    )
