"""What every handler has at hand, and who is asking. Deny is the default: a route that does not say that it is open
asks for a session (pages) or a Bearer token (`/api`), and one that changes anything asks for more than a viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.response import Response

from app.domain.approval import Answerer
from app.domain.errors import Forbidden, InvalidInput, Unauthenticated
from app.services.people import PeopleDesk
from app.services.services import Services
from app.web.hub import Hub
from app.web.present import Faces
from app.web.pulse import Pulse
from app.web.session import Seals, Viewer, cookie_name
from app.web.settings import WebSettings
from app.web.tickets import Tickets

Req: TypeAlias = Request[Any, Any, Any]
Html: TypeAlias = Response[str]
OPEN: Final = "open"
EITHER: Final = "either"
OWN: Final = "own"  # changes nothing but what is the caller's own: their sessions, tokens, password
OWNER: Final = "owner"
UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
COOKIE: Final = "helm"
COOKIE_PRE: Final = "helm-pre"
_MOST_FIELDS: Final = 40


@dataclass(frozen=True, slots=True)
class Web:
    """The one object behind the handlers."""

    services: Services
    people: PeopleDesk
    settings: WebSettings
    faces: Faces
    seals: Seals
    tickets: Tickets
    hub: Hub
    pulse: Pulse

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.services.clock.now_ms()


def web_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Web:
    """The context of the application."""
    found = connection.app.state["web"]
    if not isinstance(found, Web):
        raise Unauthenticated("the application is not built")
    return found


def viewer_of(request: ASGIConnection[Any, Any, Any, Any]) -> Viewer:
    """Who is asking. Raises Unauthenticated where a guard has not proved it."""
    found = request.scope["state"].get("viewer")
    if not isinstance(found, Viewer):
        raise Unauthenticated("sign in first")
    return found


def answerer_of(request: ASGIConnection[Any, Any, Any, Any]) -> Answerer:
    """Who is asking, as answers see them. Raises Unauthenticated."""
    viewer = viewer_of(request)
    return Answerer(viewer.account, viewer.role)


def secure_of(request: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether this connection came over TLS."""
    return bool(request.scope["state"].get("secure"))


def is_fragment(request: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether htmx asks for a piece of a page."""
    return request.headers.get("hx-request") == "true"


async def require_viewer(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of the whole application. Raises Unauthenticated, Forbidden (CSRF, a role that may not do this)."""
    if handler.opt.get(OPEN):
        return
    bearer = connection.headers.get("authorization")
    if connection.scope["path"].startswith("/api/") or (handler.opt.get(EITHER) and bearer is not None):
        viewer = await by_token(web_of(connection), bearer or "")
    else:
        viewer = await by_cookie(connection)
        if viewer is not None and connection.scope.get("method") in UNSAFE:
            await check_csrf(connection, viewer.key)
    if viewer is None:
        raise Unauthenticated("sign in first")
    connection.scope["state"]["viewer"] = viewer
    _check_role(viewer, handler, connection.scope.get("method") in UNSAFE)


def _check_role(viewer: Viewer, handler: BaseRouteHandler, changes: bool) -> None:
    """The one place that keeps viewers from changing anything, whatever routes are added."""
    if handler.opt.get(OWNER) and viewer.role != "owner":
        raise Forbidden("only an owner may do this; an owner can give you that role: helm people role NAME owner")
    if changes and viewer.role not in ("owner", "approver") and not handler.opt.get(OWN):
        raise Forbidden(
            "you may look, and not change anything; an owner can give you another role: helm people role NAME approver"
        )


async def by_token(web: Web, header: str) -> Viewer | None:
    """The owner of a Bearer token."""
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = await web.people.token_of(secret.strip())
    return Viewer(token.person, token.account, token=token) if token is not None else None


async def by_cookie(connection: ASGIConnection[Any, Any, Any, Any]) -> Viewer | None:
    """The person of the session cookie: its signature must hold, and its row must be there."""
    web = web_of(connection)
    token = connection.cookies.get(cookie_name(COOKIE, secure_of(connection)), "")
    found = web.seals.session_id(token, web.now())
    if found is None:
        return None
    session = await web.people.session(found[0])
    if session is None or session.person != found[1]:
        return None
    return Viewer(session.person, session.account, session=session)


async def check_csrf(connection: ASGIConnection[Any, Any, Any, Any], binding: str) -> None:
    """Refuse an unsafe request that no page of ours has made for this session."""
    given = connection.headers.get("x-csrftoken", "")
    if not given and isinstance(connection, Request):
        given = (await form_of(connection)).get("_csrf_token", "")
    if not web_of(connection).seals.csrf_holds(binding, given):
        raise Forbidden("this form is too old or was not made here; load the page again")


async def form_of(request: Req) -> Mapping[str, str]:
    """The fields of a form. Raises InvalidInput for another content type, a repeated field, or no UTF-8."""
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidInput("a form is sent as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidInput("the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidInput("a field of the form came twice")
    return fields
