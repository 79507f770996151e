"""What holds for every answer: names and origins, headers, HEAD, errors without a traceback, no open door."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from app.domain.errors import BadConfig
from app.web.edge import HEADERS
from app.web.settings import WebSettings
from litestar.routes import HTTPRoute

from tests.faces.web_world import WebWorld, settings_for, web_world

OPEN = {"/login", "/login/link/{secret:str}", "/static/{name:path}", "/favicon.ico", "/healthz"}
OPEN |= {"/api/v1/openapi.json"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path) as found:
        yield found


def _filled(path: str) -> str:
    return re.sub(r"\{[a-z_]+:int\}", "1", re.sub(r"\{[a-z_]+:(str|path)\}", "x", path))


async def test_every_route_asks_who_you_are(world: WebWorld) -> None:
    client = world.client()
    seen = 0
    for route in world.app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format in OPEN or route.path in OPEN:
            continue
        for method in route.methods - {"OPTIONS"}:
            answer = await client.request(method, _filled(route.path))
            api = route.path.startswith("/api/")
            fine = {401} if api or method != "GET" else {303, 401}
            assert answer.status_code in fine, (method, route.path, answer.status_code)
            seen += 1
    assert seen > 40


async def test_security_headers_stand_on_every_answer(world: WebWorld) -> None:
    browser, program = await world.browser(), await world.program()
    answers = [
        await browser.get("/inbox"),
        await browser.get("/runs/nope"),
        await browser.get("/no/such/page"),
        await browser.post("/inbox"),
        await browser.post("/logout", headers={"x-csrftoken": "x"}),
        await world.client().get("/inbox"),
        await program.get("/api/v1/runs/nope"),
        await world.client().get("/inbox", headers={"host": "evil.example"}),
        await world.client().get("/static/app.css"),
        await browser.post("/runs", content=b"x" * 1_100_000),
    ]
    assert {answer.status_code for answer in answers} >= {200, 303, 403, 404, 405, 413, 421}
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (answer.status_code, name)
        assert "cache-control" in answer.headers
        assert "Traceback" not in answer.text and "app/web" not in answer.text


async def test_only_our_own_names_are_answered(world: WebWorld) -> None:
    browser = await world.browser()
    for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.", "127.0.0.1:80:80", ""):
        assert (await browser.get("/inbox", headers={"host": host})).status_code in (400, 421), host
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1.evil.example"):
        for method in ("GET", "POST"):
            answer = await browser.request(method, "/inbox", headers={"origin": origin})
            assert answer.status_code == 403 and answer.json()["error"]["code"] == "FOREIGN_ORIGIN"
    assert (await browser.get("/inbox", headers={"origin": "http://127.0.0.1"})).status_code == 200


async def test_head_works_where_get_does_and_says_nothing(world: WebWorld) -> None:
    browser = await world.browser()
    for path in ("/inbox", "/runs", "/static/app.css", "/healthz", "/login"):
        got, head = await browser.get(path), await browser.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path


async def test_cookies_open_nothing_under_api(world: WebWorld) -> None:
    browser = await world.browser()
    assert (await browser.get("/api/v1/runs")).status_code == 401
    assert (await browser.get("/api/v1/runs", headers={"authorization": "Bearer"})).status_code == 401
    program = await world.program()
    assert (await program.get("/inbox")).status_code == 303  # and a token opens no page


async def test_static_files_keep_and_are_asked_for_again(world: WebWorld) -> None:
    client = world.client()
    page = await client.get("/login")
    found = re.search(r'href="(/static/app\.css\?v=[0-9a-f]+)"', page.text)
    assert found is not None
    kept = await client.get(found.group(1))
    assert "immutable" in kept.headers["cache-control"] and kept.headers["content-encoding"] == "gzip"
    asked = await client.get("/static/app.css", headers={"accept-encoding": "identity"})
    assert "no-cache" in asked.headers["cache-control"] and "content-encoding" not in asked.headers
    same = await client.get("/static/app.css", headers={"if-none-match": kept.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    for path in ("/static/../pyproject.toml", "/static/%2e%2e/pyproject.toml", "/static/nope.js", "/static/"):
        assert (await client.get(path)).status_code == 404
    assert "content-encoding" not in page.headers  # pages hold secrets: they are never compressed


async def test_the_manifest_names_icons_that_are_served_in_their_size(world: WebWorld) -> None:
    client = world.client()
    manifest = (await client.get("/static/manifest.webmanifest")).json()
    pictures = [icon for icon in manifest["icons"] if icon["type"] == "image/png"]
    assert {icon["sizes"] for icon in pictures} == {"192x192", "512x512"}
    for icon in pictures:
        found = await client.get(icon["src"])
        width, height = (int.from_bytes(found.content[at : at + 4]) for at in (16, 20))
        assert (found.headers["content-type"], f"{width}x{height}") == ("image/png", icon["sizes"])
    assert "icon-touch-180.png" in (await client.get("/login")).text


async def test_forms_are_read_strictly(world: WebWorld) -> None:
    browser = await world.browser()
    for content, media in (
        (b"answer=allow&answer=deny", "application/x-www-form-urlencoded"),
        (b"answer=%ff%fe", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b'{"answer": "allow"}', "application/json"),
        (b"&".join(b"a%d=1" % number for number in range(60)), "application/x-www-form-urlencoded"),
    ):
        answer = await browser.post("/inbox/apr_x/answer", content=content, headers={"content-type": media})
        assert answer.status_code == 400, content


async def test_a_secret_must_be_long_enough() -> None:
    with pytest.raises(BadConfig, match="32"):
        settings_for(secret=b"short")
    with pytest.raises(BadConfig, match="host"):
        settings_for(hosts=frozenset())


class _Answered:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}


async def _asked(world: WebWorld, client: tuple[str, int] | None, **headers: str) -> _Answered:
    """A request as a Unix socket (client None) or a TCP listener hands it over."""
    answered = _Answered()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = {"host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/login",
        "raw_path": b"/login",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": client,
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }
    await world.app(scope, receive, answered.send)  # type: ignore[arg-type]
    return answered


async def test_only_the_peer_of_a_unix_socket_is_believed_about_tls(tmp_path: Path) -> None:
    async with web_world(tmp_path, trust_proxy=True) as world:
        caddy = await _asked(world, None, x_forwarded_proto="https", x_forwarded_for="203.0.113.9")
        assert caddy.status == 200 and caddy.headers["set-cookie"].startswith("__Host-helm-pre=")
        other = await _asked(world, ("127.0.0.1", 5), x_forwarded_proto="https", x_forwarded_for="203.0.113.9")
        assert other.status == 200 and other.headers["set-cookie"].startswith("helm-pre=")


def test_settings_say_nothing_by_themselves() -> None:
    assert not WebSettings.__dataclass_fields__["trust_proxy"].default
