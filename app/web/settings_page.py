"""Settings: provider keys (whether they are there), signed-in devices, API tokens, the password."""

from litestar import get, post
from litestar.params import FromPath

from app.domain.errors import Forbidden, InvalidInput
from app.domain.times import ms_of
from app.services.people import MIN_PASSWORD
from app.services.people_port import Session
from app.web.context import OWN, Html, Req, form_of, is_fragment, viewer_of, web_of
from app.web.session import Viewer
from app.web.shell import fragment, html, redirect, shell_of
from app.web.views_plain import ApproverKeyRow, SessionRow, SettingsPage, TokenRow, TokensBox


@get("/settings")
async def settings_page(request: Req) -> Html:
    """The page."""
    return await _page(request)


async def _page(request: Req, secret: str = "") -> Html:
    web, viewer = web_of(request), viewer_of(request)
    sessions = await web.people.sessions(viewer.person)
    page = SettingsPage(
        shell=await shell_of(request),
        keys=web.settings.provider_keys(),
        sessions=tuple(_row(session, viewer) for session in sessions),
        about=await _about(request),
        tokens=await _tokens(request, secret),
        asks_password=viewer.session is None or web.people.asks_password(viewer.session),
        min_length=MIN_PASSWORD,
        approver_keys=_approver_keys(request),
        may_enroll=viewer.role != "viewer",
    )
    return html(request, page)


_KINDS = {"ssh-ed25519": "SSH key", "sk-ssh-ed25519": "SSH key on a security key", "webauthn": "passkey"}


def _approver_keys(request: Req) -> tuple[ApproverKeyRow, ...]:
    keys = web_of(request).services.approver_keys.keys(viewer_of(request).account)
    return tuple(
        ApproverKeyRow(key.id, key.name, _KINDS[key.type], ms_of(key.added_ts), bool(key.revoked_seq)) for key in keys
    )


async def _tokens(request: Req, secret: str = "") -> TokensBox:
    web, viewer = web_of(request), viewer_of(request)
    rows = tuple(
        TokenRow(token.id, token.name, token.created_ms, token.seen_ms)
        for token in await web.people.tokens(viewer.person)
    )
    origin = f"{request.url.scheme}://{request.headers.get('host', '')}"
    example = f'curl -H "Authorization: Bearer $HELM_TOKEN" {origin}/api/v1/runs'
    return TokensBox(web.seals.csrf(viewer.key), rows, secret, example)


def _row(session: Session, viewer: Viewer) -> SessionRow:
    return SessionRow(
        session.id, session.device, session.address, session.created_ms, session.seen_ms, session.id == viewer.key
    )


async def _about(request: Req) -> tuple[tuple[str, str], ...]:
    web = web_of(request)
    report = await web.pulse.report()
    facts = [("Version", web.settings.version or "unknown"), ("Log", web.services.ledger.log)]
    if report is not None:
        facts.append(("Engine", report.engine.version or report.engine.reason or "none"))
    return (*facts, *web.settings.about)


@post("/settings/sessions/{key:str}/revoke", status_code=200, opt={OWN: True})
async def session_revoke(request: Req, key: FromPath[str]) -> Html:
    """Sign a device out, at once."""
    web, viewer = web_of(request), viewer_of(request)
    await web.people.end_session(key, viewer.person)
    return redirect("/settings")


@post("/settings/sessions/revoke-others", status_code=200, opt={OWN: True})
async def sessions_revoke(request: Req) -> Html:
    """Sign out everywhere else."""
    await web_of(request).people.end_others(_session(request))
    return redirect("/settings")


@post("/settings/password", status_code=200, opt={OWN: True})
async def password_change(request: Req) -> Html:
    """Set a new password; every other device is signed out."""
    fields = await form_of(request)
    if fields.get("password", "") != fields.get("again", ""):
        raise InvalidInput("the two passwords differ")
    await web_of(request).people.change_password(
        _session(request), fields.get("current", ""), fields.get("password", "")
    )
    return redirect("/settings")


@post("/settings/tokens", status_code=200, opt={OWN: True})
async def token_create(request: Req) -> Html:
    """A new API token; its secret is shown in this answer and never again."""
    web, viewer = web_of(request), viewer_of(request)
    _, secret = await web.people.new_token(viewer.person, (await form_of(request)).get("name", ""))
    if is_fragment(request):
        return fragment(web.faces.tokens(await _tokens(request, secret), web.now()))
    return await _page(request, secret)


@get("/settings/tokens")
async def tokens_again(request: Req) -> Html:
    """The page that shows a new token, loaded again: its secret is gone."""
    return redirect("/settings")


@post("/settings/tokens/{key:str}/revoke", status_code=200, opt={OWN: True})
async def token_revoke(request: Req, key: FromPath[str]) -> Html:
    """Revoke a token, at once."""
    web, viewer = web_of(request), viewer_of(request)
    await web.people.end_token(key, viewer.person)
    if is_fragment(request):
        return fragment(web.faces.tokens(await _tokens(request), web.now()))
    return redirect("/settings")


def _session(request: Req) -> Session:
    session = viewer_of(request).session
    if session is None:
        raise Forbidden("this is done in a signed-in browser")
    return session
