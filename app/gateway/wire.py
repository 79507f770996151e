"""What every route of the gateway shares: the run's identity as the door set it, a bounded strict body, answers that
are errors of our own and never a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from litestar import Request, Response
from litestar.di import NamedDependency

from app.domain.canonical import strict_loads
from app.domain.errors import Forbidden, HelmError, InvalidInput
from app.domain.ids import is_run_id
from app.services.services import Services

MAX_BODY: Final = 8 * 1024 * 1024
_AT_ONCE_S: Final = 0.1
T = TypeVar("T")
Http = Request[Any, Any, Any]
Given: TypeAlias = NamedDependency[Services]


def run_of(request: Http) -> str:
    """The run whose listener accepted the connection. Raises Forbidden: without it nothing is asked or told."""
    run = request.headers.get("x-helm-run", "")
    if not is_run_id(run):
        raise Forbidden("the door did not say which run this is")
    return run


async def json_body(request: Http) -> dict[str, Any]:
    """The request's JSON object, strictly read. Raises InvalidInput, TooLarge."""
    value = strict_loads(await request.body(), max_bytes=MAX_BODY)
    if not isinstance(value, dict):
        raise InvalidInput("the body is a JSON object")
    return value


def text(body: Mapping[str, Any], name: str, limit: int = 1_000, default: str | None = None) -> str:
    """A text field. Raises InvalidInput when it is absent (without a default), of another type or longer."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > limit:
        raise InvalidInput(f"{name} is a text of at most {limit} characters")
    return value


def count(body: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A non-negative integer field. Raises InvalidInput."""
    value = body.get(name, default)
    if type(value) is not int or not 0 <= value < 2**53:
        raise InvalidInput(f"{name} is a count")
    return value


async def while_connected(request: Http, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None once the caller has gone: an answer that nobody reads keeps nothing waiting.

    Most answers are there at once; only who waits longer is watched, and then hears of what happened before, too.
    """
    task = asyncio.ensure_future(work)
    gone: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({task}, timeout=_AT_ONCE_S)
        if not task.done():
            gone = asyncio.ensure_future(_gone(request))
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        if gone is not None:
            gone.cancel()


async def _gone(request: Http) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def error_answer(_: Http, error: Exception) -> Response[dict[str, Any]]:
    """Our own errors in our own shape; anything else is a bare 500 that tells nothing."""
    if isinstance(error, HelmError):
        return Response({"error": {"code": error.code, "message": error.message}}, status_code=error.status)
    status = getattr(error, "status_code", 500)
    return Response({"error": {"code": "INTERNAL", "message": "the request cannot be served"}}, status_code=status)
