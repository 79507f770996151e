"""Several questions answered at once: exactly those that were listed, each of them once, and taken back for a while."""

from litestar import get, post
from litestar.params import FromPath

from app.domain.errors import HelmError, InvalidInput
from app.services.bulk import Bulk
from app.web.context import Html, Req, answerer_of, form_of, is_fragment, viewer_of, web_of
from app.web.shell import fragment, redirect
from app.web.views_gate import HeldItem, Hold, HoldState

_WORDS = {
    "ALREADY_ANSWERED": "was answered before",
    "FORBIDDEN": "you may not answer it so",
    "CONFLICT": "cannot be allowed yet",
    "FROZEN": "is frozen",
    "INPUT_CHANGED": "has changed since",
    "NOT_FOUND": "is not there any more",
}


@post("/inbox/bulk", status_code=200)
async def bulk_hold(request: Req) -> Html:
    """Take one decision over several questions, and hold it for as long as it can be undone."""
    web, viewer = web_of(request), viewer_of(request)
    fields = await form_of(request)
    answer = fields.get("answer", "")
    if answer not in ("allow", "deny"):
        raise InvalidInput("an answer is allow or deny")
    bulk = web.services.bulk.hold(
        fields.get("ids", "").split(),
        "allow" if answer == "allow" else "deny",
        who=answerer_of(request),
        reason=fields.get("reason", ""),
        source=viewer.source,
    )
    return _hold(request, bulk)


@get("/inbox/bulk/{bulk:str}")
async def bulk_state(request: Req, bulk: FromPath[str]) -> Html:
    """What became of it."""
    return _hold(request, web_of(request).services.bulk.get(bulk))


@post("/inbox/bulk/{bulk:str}/undo", status_code=200)
async def bulk_undo(request: Req, bulk: FromPath[str]) -> Html:
    """Take it back, whole; when it is too late for that, what became of it."""
    web = web_of(request)
    try:
        return _hold(request, web.services.bulk.undo(bulk, who=answerer_of(request)))
    except HelmError:
        if not is_fragment(request):
            raise
        return _hold(request, web.services.bulk.get(bulk))


def _hold(request: Req, bulk: Bulk) -> Html:
    web = web_of(request)
    if not is_fragment(request):
        return redirect("/inbox")
    items = tuple(HeldItem(key, _result(bulk, key)) for key in bulk.ids)
    done = bulk.state == "applied" and len(bulk.results) == len(bulk.ids)
    left = max(0, -(-(bulk.until_ms - web.now()) // 1000)) if bulk.state == "held" else 1
    state: HoldState = "undone" if bulk.state == "undone" else "applied" if done else "held"
    return fragment(web.faces.hold(Hold(bulk.id, bulk.answer, items, left, state), web.now()))


def _result(bulk: Bulk, key: str) -> str:
    found = bulk.results.get(key, "")
    return found if found in ("", "recorded") else _WORDS.get(found, f"was not answered ({found})")
