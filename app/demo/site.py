"""The web of the demo: small sites of three competitors and one tracker, told apart by the Host header.

Every visit is a line in a JSONL file, so that a test can see that a denied host was never reached.
"""

import base64
import json
import time
from pathlib import Path

from litestar import Litestar, Request, Response, get
from litestar.datastructures import State

PAGES = Path(__file__).parent / "pages"
COMPETITORS = ("acme.demo.test", "northwind.demo.test", "contoso.demo.test")
TRACKER = "cdn.tracker.test"
_ROUTES = {host: {"/": "home", "/pricing": "pricing"} for host in COMPETITORS}
_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def site_app(visits: Path) -> Litestar:
    """All hosts on one application; an unknown host or page is a plain 404."""

    @get(["/", "/{path:path}"])
    async def page(request: Request[object, object, State]) -> Response[bytes]:
        host = request.headers.get("host", "").rsplit(":", 1)[0].lower()
        path = request.url.path
        status, kind, content = _find(host, path)
        line = {"time": round(time.time(), 3), "host": host, "path": path, "status": status}
        with visits.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return Response(content, status_code=status, media_type=kind)

    return Litestar(route_handlers=[page], openapi_config=None)


def _find(host: str, path: str) -> tuple[int, str, bytes]:
    if host == TRACKER:
        return 200, "image/gif", _PIXEL
    name = _ROUTES.get(host, {}).get(path.rstrip("/") or "/")
    if name is None:
        return 404, "text/plain; charset=utf-8", f"There is no page {path} at {host}.\n".encode()
    file = PAGES / f"{host.split('.', 1)[0]}-{name}.html"
    return 200, "text/html; charset=utf-8", file.read_bytes()
