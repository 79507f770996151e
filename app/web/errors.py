"""Errors as answers: JSON for programs and fragments, a page for people, and never a traceback for anyone."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Response

from app.domain.errors import HelmError, InputChanged, Unauthenticated
from app.services.people import TooManyAttempts
from app.web.action_rows import remedy_of
from app.web.context import is_fragment, web_of
from app.web.session import Viewer
from app.web.views import Shell
from app.web.views_plain import ErrorPage

log = structlog.get_logger("helm.web")

_CODES: Final = {400: "INVALID_INPUT", 401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND"}
_CODES_MORE: Final = {405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE"}
_TEXTS: Final = {
    400: "the request cannot be read",
    404: "there is nothing at this address",
    405: "this address does not take that method",
    413: "the request is larger than 1 MiB",
}
_TITLES: Final = {
    400: "That did not work",
    403: "That is not allowed",
    404: "There is nothing here",
    405: "That does not work here",
    409: "Somebody was faster",
    413: "That is too large",
    422: "That did not work",
    429: "Too many attempts",
    503: "Helm cannot do that right now",
}
_OURS: Final = "Something broke inside Helm. It was written to the server's own log; nothing was changed."


def error_body(code: str, message: str, receipt_id: str = "") -> dict[str, Any]:
    """The one shape of errors."""
    return {"error": {"code": code, "message": message, "reason_code": code, "receipt_id": receipt_id}}


def on_helm_error(request: Request[Any, Any, Any], error: HelmError) -> Response[Any]:
    """An error that we raised on purpose."""
    if error.status >= 500 and error.status != 503:
        log.error("request failed", path=request.url.path, code=error.code, reason=error.message)
    if isinstance(error, Unauthenticated) and _wants_page(request) and request.method == "GET":
        return _to_login(request)
    headers = {}
    if isinstance(error, TooManyAttempts):
        headers["retry-after"] = str(error.retry_s)
    if isinstance(error, Unauthenticated) and request.url.path.startswith("/api/"):
        headers["www-authenticate"] = "Bearer"
    answer = _answer(request, error.status, error.code, error.message, error.receipt_id, headers)
    if isinstance(error, InputChanged) and isinstance(answer.content, dict):
        answer.content["error"]["approval"] = error.approval
    return answer


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """An error of the framework: its own words may repeat what was sent, ours do not."""
    status = error.status_code if 400 <= error.status_code < 500 else 500
    if status == 500:
        return on_fault(request, error)
    code = _CODES.get(status) or _CODES_MORE.get(status, "INVALID_INPUT")
    text = _TEXTS.get(status, HTTPStatus(status).phrase.lower())
    headers = {"allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else {}
    return _answer(request, status, code, text, "", headers)


def on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A bug of ours: the whole of it goes into the log, none of it to the client."""
    log.error("request broke", path=request.url.path, exc_info=error)
    return _answer(request, 500, "INTERNAL", _OURS, "", {})


def _answer(
    request: Request[Any, Any, Any], status: int, code: str, message: str, receipt: str, headers: dict[str, str]
) -> Response[Any]:
    if not _wants_page(request):
        return Response(error_body(code, message, receipt), status_code=status, headers=headers)
    web = web_of(request)
    page = ErrorPage(
        status=status,
        title=_TITLES.get(status, "Something went wrong"),
        detail=message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else "."),
        remedy=remedy_of(code),
        reason_code=code,
        shell=_shell(request),
    )
    html = web.faces.page(page, web.now())
    return Response(html, status_code=status, headers=headers, media_type="text/html; charset=utf-8")


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    path = request.url.path
    return not (path.startswith(("/api/", "/live", "/healthz", "/static/")) or is_fragment(request))


def _shell(request: Request[Any, Any, Any]) -> Shell | None:
    """As much of the shell as is known without reading anything: the log itself may be what is broken."""
    viewer = request.scope["state"].get("viewer")
    if not isinstance(viewer, Viewer):
        return None
    web = web_of(request)
    return Shell(viewer.account, web.seals.csrf(viewer.key), head=max(0, web.services.ledger.head))


def _to_login(request: Request[Any, Any, Any]) -> Response[Any]:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = "?" + urlencode({"next": path}) if path not in ("/", "/inbox") else ""
    return Response("", status_code=303, headers={"location": f"/login{query}"}, media_type="text/plain")
