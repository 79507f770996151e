"""What stands around every page: counts, slots, money of today, banners. Read once per request."""

from litestar.response import Response

from app.web.context import Html, Req, Web, answerer_of, viewer_of, web_of
from app.web.run_views import frozen_note, name_of
from app.web.views import Notice, Shell
from app.web.views_gate import FrozenNote
from app.web.views_plain import Page


async def shell_of(request: Req) -> Shell:
    """The shell for who is asking. `head` is taken before anything else is read, so that nothing falls in between."""
    web, viewer = web_of(request), viewer_of(request)
    services = web.services
    head = services.ledger.head
    return Shell(
        person=viewer.account,
        csrf=web.seals.csrf(viewer.key),
        host=request.headers.get("host", ""),
        inbox_count=await web.hub.pages.inbox_count(head),
        slots_used=services.runs.slots_used(),
        slots_total=services.runs.slots_total,
        today_spent=await web.hub.pages.spent_today(),
        head=max(0, head),
        notices=await notices_of(request),
        frozen=await frozen_of(web),
        may_act=answerer_of(request).role in ("owner", "approver"),
    )


async def frozen_of(web: Web) -> tuple[FrozenNote, ...]:
    """What is frozen now, the widest first."""
    order = {"all": 0, "blueprint": 1, "run": 2}
    notes = []
    for freeze in sorted(web.services.ledger.standing.freezes.values(), key=lambda one: (order[one.scope], one.seq)):
        run = await web.services.ledger.read.run(freeze.target) if freeze.scope == "run" else None
        notes.append(frozen_note(freeze, name_of(run) if run is not None else ""))
    return tuple(notes)


async def notices_of(request: Req) -> tuple[Notice, ...]:
    """What is wrong with the server, with its remedy."""
    web = web_of(request)
    report = await web.pulse.report()
    notices: list[Notice] = []
    if report is None:
        return ()
    if report.ledger:
        notices.append(Notice("The log cannot be written, so nothing is released.", report.ledger))
    if report.door:
        notices.append(Notice("The door does not answer, so nothing leaves a container.", report.door))
    if report.policies:
        notices.append(Notice("An edit of the policies is not in force.", report.policies))
    if not report.engine.ok:
        notices.append(Notice(report.engine.reason or "No container can be started.", report.engine.remedy))
    return tuple(notices)


def html(request: Req, page: Page, status: int = 200) -> Html:
    """A whole page."""
    web = web_of(request)
    return Response(web.faces.page(page, web.now()), status_code=status, media_type="text/html; charset=utf-8")


def redirect(path: str) -> Html:
    """To another page of ours, with GET."""
    return Response("", status_code=303, headers={"location": path}, media_type="text/plain")


def fragment(text: str, status: int = 200) -> Html:
    """A piece of a page."""
    return Response(text, status_code=status, media_type="text/html; charset=utf-8")


def safe_path(path: str) -> str:
    """A path of this server to go to after signing in; anything that could lead elsewhere becomes the inbox."""
    fine = path.startswith("/") and not path.startswith(("//", "/login", "/api", "/logout")) and len(path) < 1_000
    return path if fine and "\\" not in path and path.isprintable() and path.isascii() else "/inbox"
