"""What every form shares: the server's gateway, the keys, the resolver, TLS. One value, made once at start."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.door.exchange import Pool
from app.door.gateway_client import Gateway
from app.door.keys import KeyRing
from app.door.limits import DIAL_SECONDS, Caps
from app.door.upstreams import Upstream
from app.door.wire import Wire

Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Every address that the system's resolver gives. Raises OSError."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


@dataclass(frozen=True, slots=True)
class House:
    """The parts that a connection may use."""

    gateway: Gateway
    keys: KeyRing
    tls: ssl.SSLContext
    caps: Caps = field(default_factory=Caps)
    resolver: Resolver = resolve

    def pool_to(self, upstream: Upstream) -> Pool:
        """A new pool of connections to a provider."""

        async def dial() -> Wire:
            loop = asyncio.get_running_loop()
            tls = self.tls if upstream.tls else None
            name = upstream.host if upstream.tls else None
            async with asyncio.timeout(DIAL_SECONDS):
                _, wire = await loop.create_connection(
                    Wire, upstream.host, upstream.port, ssl=tls, server_hostname=name
                )
            return wire

        return Pool(dial)


async def dial_address(address: str, port: int) -> Wire:
    """A connection to one literal address; nothing is resolved. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    async with asyncio.timeout(DIAL_SECONDS):
        _, wire = await loop.create_connection(
            Wire, address, port, family=family, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    return wire
