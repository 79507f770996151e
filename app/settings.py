"""What the installation is told from outside: environment variables, each with a default that works, read at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.errors import BadConfig

ROOT: Final = Path(__file__).resolve().parents[1]

# Every setting there is, with its default and what it means; the README's table and a test are derived from this.
SETTINGS: Final[dict[str, tuple[str, str]]] = {
    "HELM_HOME": ("~/.helm", "folder of all state: log, keys, workspaces, sockets"),
    "HELM_HOST": ("127.0.0.1", "address of the dashboard's listener; keep it on loopback, and put Caddy in front"),
    "HELM_PORT": ("8400", "port of the dashboard"),
    "HELM_ORIGINS": ("", "more origins under which the dashboard is reached, comma-separated (https://helm.example)"),
    "HELM_SLOTS": ("6", "how many runs may have a container at once"),
    "HELM_IMAGE": ("helm-agent:latest", "image of the agents' containers"),
    "HELM_POLICIES": ("", "folder of policies, blueprints and prices; empty: the one of this installation"),
    "HELM_DEMO": ("on", "off: never play a blueprint on the scripted model"),
    "HELM_PARK_AFTER": ("120", "seconds after which a run that only waits for people gives its slot to others"),
    "HELM_DOOR": ("child", "external: the door is a service of its own (docker-compose)"),
    "HELM_LOG": ("warning", "level of the server's own messages: debug, info, warning, error"),
}

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_ANYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one installation, checked."""

    home: Path
    host: str
    port: int
    origins: tuple[str, ...]
    slots: int
    image: str
    policies: Path
    demo: bool
    door: str
    park_after_s: int
    log_level: str

    @property
    def database(self) -> Path:
        return self.home / "helm.db"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def door_folder(self) -> Path:
        return self.home / "door"

    @property
    def url(self) -> str:
        """Where a person on this machine finds the dashboard."""
        host = "localhost" if self.host in ("127.0.0.1", "::1", "0.0.0.0", "::") else self.host  # noqa: S104 - compared
        return f"http://{host}:{self.port}"

    @property
    def local_names(self) -> frozenset[str]:
        """Host and port of the listener, under every name that reaches it on this machine."""
        names = {f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        if self.host not in (*_LOOPBACK, *_ANYWHERE):
            names.add(f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")
        return frozenset(names)

    @property
    def pages(self) -> frozenset[str]:
        """The origins under which the dashboard is served. Behind Caddy with its own certificates the browser says
        plain "localhost"; a public name is in HELM_ORIGINS."""
        outside = self.origins or ("https://localhost",)
        return frozenset({f"http://{name}" for name in self.local_names} | {origin.lower() for origin in outside})


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment. Raises BadConfig with the variable and the remedy."""
    get = {name: environment.get(name, default) for name, (default, _) in SETTINGS.items()}
    if get["HELM_DOOR"] not in ("child", "external"):
        raise BadConfig("HELM_DOOR is child or external")
    if get["HELM_LOG"] not in ("debug", "info", "warning", "error"):
        raise BadConfig("HELM_LOG is debug, info, warning or error")
    return Settings(
        home=Path(get["HELM_HOME"]).expanduser().absolute(),
        host=get["HELM_HOST"],
        port=_number("HELM_PORT", get["HELM_PORT"], 0, 65_535),
        origins=tuple(part.strip().rstrip("/") for part in get["HELM_ORIGINS"].split(",") if part.strip()),
        slots=_number("HELM_SLOTS", get["HELM_SLOTS"], 1, 1_000),
        image=get["HELM_IMAGE"],
        policies=Path(get["HELM_POLICIES"]).expanduser().absolute() if get["HELM_POLICIES"] else ROOT / "policies",
        demo=get["HELM_DEMO"] != "off",
        door=get["HELM_DOOR"],
        park_after_s=_number("HELM_PARK_AFTER", get["HELM_PARK_AFTER"], 1, 31_536_000),
        log_level=get["HELM_LOG"],
    )


def _number(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise BadConfig(f"{name} is a number from {least} to {most}, not {text[:40]!r}")
    return int(text)
