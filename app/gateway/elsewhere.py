"""What is nowhere here. The door forwards nothing of this: where a request for rooms of people arrives all the same, it
is an attempt to get past the door, and recorded as one."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, route

from app.domain.errors import NotFound
from app.domain.reasons import Reason
from app.gateway.wire import Given, Http, run_of

_OURS: Final = frozenset({"door", "gate", "mcp", "runner"})


@route(["/", "/{rest:path}"], http_method=["GET", "POST", "PUT", "PATCH", "DELETE"], status_code=403)
async def route_of_nothing(request: Http, services: Given) -> Response[dict[str, Any]]:
    """Refuse, and record who asked for what."""
    run, path = run_of(request), request.url.path
    if path.strip("/").partition("/")[0] in _OURS:
        raise NotFound("there is nothing here")
    answer = await services.self_approvals.attempt(run, str(request.method), path[:300])
    error = {"code": Reason.SELF_APPROVAL.value, "message": answer.message, "receipt_id": answer.receipt_id}
    return Response({"error": error}, status_code=403)
