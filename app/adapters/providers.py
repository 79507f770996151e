"""Where model calls and MCP servers lead. Knows which key files there are, and never opens one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.adapters.keys import write_secret
from app.domain.blueprint import Blueprint
from app.domain.errors import BadConfig, InvalidInput, NotFound

BASES: Final[dict[str, str]] = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}
DEMO_KEY_FILE: Final = "demo"

World = Callable[[], Awaitable[Mapping[str, str]]]


class ProviderDirectory:
    """Providers of an installation. `world` starts the demo's scripted world when it is first needed; None: no demo."""

    def __init__(self, keys: Path, world: World | None, bases: Mapping[str, str] = BASES) -> None:
        self._keys, self._world, self._bases = keys, world, bases

    def keys(self) -> Mapping[str, bool]:
        """Which providers have a key."""
        return {name: (self._keys / name).is_file() for name in self._bases}

    async def upstreams(self, blueprint: Blueprint) -> Mapping[str, Mapping[str, str]]:
        """Real providers where there is a key; the scripted one for a demo blueprint where there is none."""
        present = self.keys()
        if present["anthropic"]:
            return {name: {"base": base, "key": name} for name, base in self._bases.items() if present[name]}
        if blueprint.demo and self._world is not None:
            places = await self._world()
            return {name: {"base": places[name], "key": DEMO_KEY_FILE} for name in BASES}
        raise BadConfig("there is no key for Anthropic; run: helm key set anthropic")

    async def place(self, address: str) -> tuple[str, int]:
        """Where a pinned address leads: itself, or the part of the demo world that it names."""
        if not address.startswith("demo:"):
            return address, 0
        if self._world is None:
            raise BadConfig("the blueprint connects to the demo's site, and HELM_DEMO is off")
        parts = urlsplit((await self._world()).get(address.removeprefix("demo:"), ""))
        if not parts.hostname or not parts.port:
            raise NotFound("the demo has no such part")
        return parts.hostname, parts.port

    async def mcp_url(self, blueprint: Blueprint, server: str) -> str:
        """The address of one of the blueprint's MCP servers."""
        url = dict(blueprint.mcp).get(server)
        if url is None:
            raise NotFound("the blueprint names no such MCP server")
        if not url.startswith("demo:"):
            return url
        if self._world is None:
            raise BadConfig("the blueprint uses the demo's servers, and HELM_DEMO is off")
        place = (await self._world()).get(url.removeprefix("demo:"))
        if place is None:
            raise NotFound("the demo has no such server")
        return place


def set_key(folder: Path, name: str, key: str) -> None:
    """Store a provider's key, 0600. Raises InvalidInput for a name or key that cannot be one."""
    if name not in (*BASES, DEMO_KEY_FILE):
        raise InvalidInput(f"a provider is one of: {', '.join(BASES)}")
    key = key.strip()
    if not 8 <= len(key) <= 4_096 or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput("a key is one line of 8 to 4096 printable characters")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(folder / name, (key + "\n").encode("ascii"))


def unset_key(folder: Path, name: str) -> bool:
    """Delete a provider's key; False when there was none."""
    if name not in BASES:
        raise InvalidInput(f"a provider is one of: {', '.join(BASES)}")
    try:
        os.unlink(folder / name)
    except FileNotFoundError:
        return False
    return True
