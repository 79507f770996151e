"""Shipped files from memory: with their content hash in the address they never change, without it they are asked for
again. Only these are compressed; a page that holds a secret never is."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from litestar import get
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import NotFound
from app.web.context import OPEN, Req

_FOREVER: Final = "public, max-age=31536000, immutable"
_ASK: Final = "public, no-cache"
_SQUEEZED: Final = (".js", ".css", ".svg", ".webmanifest", ".json", ".txt")
_TYPES: Final = {".webmanifest": "application/manifest+json", ".js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    data: bytes
    squeezed: bytes
    media: str
    tag: str


def load_assets(folder: Path) -> dict[str, Asset]:
    """Every file of a folder, read once at start; nothing else can be asked for."""
    return {
        path.relative_to(folder).as_posix(): _asset(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    squeezed = gzip.compress(data, 9, mtime=0) if path.suffix in _SQUEEZED else b""
    media = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if media.startswith("text/") and "charset" not in media:
        media += "; charset=utf-8"
    useful = squeezed if 0 < len(squeezed) < len(data) else b""
    return Asset(data, useful, media, hashlib.sha256(data).hexdigest()[:20])


@get("/static/{name:path}", opt={OPEN: True})
async def static_file(request: Req, name: FromPath[str]) -> Response[bytes]:
    """A shipped file."""
    asset = request.app.state["assets"].get(name.lstrip("/"))
    if not isinstance(asset, Asset):
        raise NotFound("there is no such file")
    return _answer(request, asset)


@get("/favicon.ico", opt={OPEN: True})
async def favicon(request: Req) -> Response[bytes]:
    """For programs that ask for it unasked."""
    asset = request.app.state["assets"].get("favicon.svg")
    if not isinstance(asset, Asset):
        raise NotFound("there is no such file")
    return _answer(request, asset)


def _answer(request: Req, asset: Asset) -> Response[bytes]:
    squeezed = bool(asset.squeezed) and "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{asset.tag}{"-gz" if squeezed else ""}"'
    asked = request.query_params.get("v", "")
    forever = bool(asked) and asset.tag.startswith(asked)
    headers = {"etag": tag, "cache-control": _FOREVER if forever else _ASK, "vary": "accept-encoding"}
    if tag in [known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")]:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media)
    if squeezed:
        headers["content-encoding"] = "gzip"
    return Response(asset.squeezed if squeezed else asset.data, headers=headers, media_type=asset.media)
