"""What the face for people is told at start: its names, its secret, its files. Nothing is read from the environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import BadConfig
from app.web.views_plain import Check, KeyStatus


def _no_keys() -> tuple[KeyStatus, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`hosts` are Host headers as browsers send them ("localhost:8400"; a bare name stands for every port), `origins`
    whole origins ("https://helm.example").

    `trust_proxy`: requests without a client address (a Unix socket, where only Caddy can connect) carry the client's in
    X-Forwarded-For and the scheme in X-Forwarded-Proto. On any other listener those headers mean nothing.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    secret: bytes
    templates: Path
    static: Path
    cookie_secure: bool = False
    trust_proxy: bool = False
    body_limit: int = 1_048_576
    version: str = ""
    log_path: str = ""
    key_id: str = ""
    link_command: str = "helm login-link"
    about: tuple[tuple[str, str], ...] = ()
    provider_keys: Callable[[], tuple[KeyStatus, ...]] = _no_keys
    check_log: Callable[[], Awaitable[Check]] | None = None

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise BadConfig("the secret that signs sessions must have at least 32 bytes")
        if not self.hosts:
            raise BadConfig("the dashboard needs at least one host name under which it is reached")
