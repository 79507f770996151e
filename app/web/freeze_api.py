"""Freezing for programs: one order stops what an agent does, and only another one, of a person, lifts it."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.response import Response

from app.domain.standing import Freeze
from app.web.api_requests import ROOT, Json, body_of
from app.web.context import Req, viewer_of, web_of


@get(f"{ROOT}/freezes")
async def list_freezes(request: Req) -> Json:
    """What is frozen."""
    return Response(_freezes(request))


@post(f"{ROOT}/freeze", status_code=200)
async def freeze(request: Req) -> Json:
    """Freeze a scope; the same once more is applied once more."""
    body = await body_of(request, "Freeze")
    made = await web_of(request).services.freezer.freeze(
        body["scope"], body.get("target", ""), by=viewer_of(request).account, reason=body.get("reason", "")
    )
    return Response(freeze_json(made))


@post(f"{ROOT}/unfreeze", status_code=200)
async def unfreeze(request: Req) -> Json:
    """Lift a freeze; what is frozen still."""
    body = await body_of(request, "Freeze")
    await web_of(request).services.freezer.unfreeze(
        body["scope"], body.get("target", ""), by=viewer_of(request).account, reason=body.get("reason", "")
    )
    return Response(_freezes(request))


def freeze_json(freeze: Freeze) -> dict[str, Any]:
    """A freeze as programs get it."""
    return {
        "scope": freeze.scope,
        "target": freeze.target,
        "reason": freeze.reason,
        "by": freeze.by,
        "at": freeze.ts,
        "seq": freeze.seq,
    }


def _freezes(request: Req) -> dict[str, Any]:
    return {"freezes": [freeze_json(one) for one in web_of(request).services.freezer.freezes()]}


ROUTES: Final[tuple[Any, ...]] = (list_freezes, freeze, unfreeze)
