"""The gateway: agents' API on the door's internal socket. It has no operator route, so no container can reach one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from litestar import Litestar
from litestar.di import Provide

from app.gateway import door, elsewhere, hooks, mcp, runner
from app.gateway.wire import MAX_BODY, error_answer
from app.services.services import Services


def create_gateway_app(services: Services) -> Litestar:
    """The ASGI app of the gateway over the given services."""

    made: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def clients(_: Litestar) -> AsyncIterator[None]:
        yield
        for client in made:
            await client.aclose()

    async def provide_services() -> Services:
        return services

    async def provide_client() -> httpx.AsyncClient:
        # At the first MCP call: loading the authorities takes longer than most other parts of a start.
        if not made:
            # No timeout on reading: an MCP tool may take as long as it takes; the run's stop cuts it.
            timeout = httpx.Timeout(None, connect=10.0)
            made.append(httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False))
        return made[0]

    return Litestar(
        route_handlers=[door.routes, hooks.routes, runner.routes, mcp.routes, elsewhere.route_of_nothing],
        dependencies={"services": Provide(provide_services), "mcp_http": Provide(provide_client)},
        lifespan=[clients],
        exception_handlers={Exception: error_answer},
        request_max_body_size=MAX_BODY,
        openapi_config=None,
        logging_config=None,
    )
