"""The model providers of a run, as the server commands them; a client can neither name nor change one."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.domain.egress import EgressError, canonical_address, canonical_host
from app.domain.streams import object_of, text_of

PROVIDERS = ("anthropic", "openai")
MODEL_HOSTS = frozenset({"api.anthropic.com", "api.openai.com"})
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class UpstreamError(ValueError):
    """An upstream that is refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One provider: where it is and which key file belongs to it."""

    provider: str
    tls: bool
    host: str
    port: int
    prefix: str
    key: str

    @property
    def authority(self) -> str:
        """The Host field's value."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def parse_upstreams(value: object) -> Mapping[str, Upstream]:
    """The `upstreams` of an `open` command. Raises UpstreamError."""
    if not isinstance(value, dict) or set(value) - set(PROVIDERS):
        raise UpstreamError("upstreams is an object with anthropic and openai, each optional")
    return {name: _parse_upstream(name, object_of(facts)) for name, facts in value.items()}


def _parse_upstream(provider: str, facts: Mapping[str, object]) -> Upstream:
    key = text_of(facts.get("key"))
    if _KEY_NAME.fullmatch(key) is None:
        raise UpstreamError(f"{provider}: key is the name of a file in keys/providers")
    try:
        parts = urlsplit(text_of(facts.get("base")))
        port = parts.port
    except ValueError:
        raise UpstreamError(f"{provider}: base is not an address") from None
    if parts.scheme not in ("https", "http") or parts.username or parts.query or parts.fragment or not parts.hostname:
        raise UpstreamError(f"{provider}: base is https://host[:port][/prefix]")
    tls = parts.scheme == "https"
    if not tls and parts.hostname not in _LOOPBACK:
        raise UpstreamError(f"{provider}: http is for a model server on this machine only; use https")
    prefix = parts.path.rstrip("/")
    if _PREFIX.fullmatch(prefix) is None:
        raise UpstreamError(f"{provider}: the prefix of base has plain segments only")
    return Upstream(provider, tls, _host(provider, parts.hostname), port or (443 if tls else 80), prefix, key)


def _host(provider: str, text: str) -> str:
    try:
        return canonical_address(text) if text[0].isdigit() or ":" in text else canonical_host(text)
    except EgressError as error:
        raise UpstreamError(f"{provider}: {error}") from None


def verified_tls() -> ssl.SSLContext:
    """TLS as a client, verified with the system's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
