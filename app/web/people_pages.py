"""Signing in and out: a one-time link, then a password. A failure says the same whoever the account is."""

from typing import Final

from litestar import get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath
from litestar.response import Response

from app.domain.errors import HelmError, InvalidInput, Unauthenticated
from app.services.people import MIN_PASSWORD, Device, TooManyAttempts
from app.services.people_port import Session
from app.web.context import (
    COOKIE,
    COOKIE_PRE,
    OPEN,
    OWN,
    Html,
    Req,
    by_cookie,
    check_csrf,
    form_of,
    secure_of,
    viewer_of,
    web_of,
)
from app.web.session import cookie_name
from app.web.shell import html, redirect, safe_path
from app.web.views_plain import LoginPage, LoginStep

_PRE_S: Final = 3_600
_BROWSERS: Final = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"))
_SYSTEMS: Final = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows")),
    *(("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux")),
)


@get("/login", opt={OPEN: True})
async def login_page(request: Req) -> Html:
    """The form, or the inbox for who is in already."""
    if await by_cookie(request) is not None:
        return redirect(safe_path(request.query_params.get("next", "")))
    return _form(request, LoginStep.ACCOUNT, next_path=safe_path(request.query_params.get("next", "")))


@post("/login", status_code=200, opt={OPEN: True})
async def login(request: Req) -> Html:
    """Sign in with a password."""
    fields = await form_of(request)
    account, next_path = fields.get("account", "").strip()[:64], safe_path(fields.get("next", ""))
    try:
        await _check_form(request)
        session = await web_of(request).people.enter(account, fields.get("password", ""), device_of(request))
    except TooManyAttempts as error:
        answer = _form(request, LoginStep.ACCOUNT, 429, account=account, next_path=next_path, retry_s=error.retry_s)
        answer.headers["retry-after"] = str(error.retry_s)
        return answer
    except HelmError as error:
        words = error.message[:1].upper() + error.message[1:] + "."
        return _form(request, LoginStep.ACCOUNT, error.status, account=account, next_path=next_path, error=words)
    return _enter(request, session, next_path)


@get("/login/link/{secret:str}", opt={OPEN: True})
async def link_page(request: Req, secret: FromPath[str]) -> Html:
    """The one-time link. Who has a password is signed in; who has none chooses one, and only that spends the link."""
    web = web_of(request)
    owner = await web.people.link_owner(secret)
    if owner is None:
        return _form(request, LoginStep.LINK_SPENT, 410)
    if not owner.password or request.scope["state"].get("head"):
        return _form(request, LoginStep.FIRST, account=owner.account, action=f"/login/link/{secret}")
    try:
        session = await web.people.enter_by_link(secret, device_of(request))
    except Unauthenticated:
        return _form(request, LoginStep.LINK_SPENT, 410)
    return _enter(request, session, "/inbox")


@post("/login/link/{secret:str}", status_code=200, opt={OPEN: True})
async def link_enter(request: Req, secret: FromPath[str]) -> Html:
    """Choose the first password and sign in."""
    web = web_of(request)
    owner = await web.people.link_owner(secret)
    if owner is None:
        return _form(request, LoginStep.LINK_SPENT, 410)
    fields = await form_of(request)
    try:
        await _check_form(request)
        if fields.get("password", "") != fields.get("again", ""):
            raise InvalidInput("the two passwords differ")
        if not fields.get("password"):
            raise InvalidInput(f"a password has at least {MIN_PASSWORD} characters")
        session = await web.people.enter_by_link(secret, device_of(request), fields["password"])
    except Unauthenticated:
        return _form(request, LoginStep.LINK_SPENT, 410)
    except HelmError as error:
        words = error.message[:1].upper() + error.message[1:] + "."
        action = f"/login/link/{secret}"
        return _form(request, LoginStep.FIRST, error.status, account=owner.account, action=action, error=words)
    return _enter(request, session, "/inbox")


@post("/logout", status_code=200, opt={OWN: True})
async def logout(request: Req) -> Html:
    """Sign this browser out."""
    viewer = viewer_of(request)
    await web_of(request).people.end_session(viewer.key, viewer.person)
    answer = redirect("/login")
    answer.set_cookie(_cookie(request, COOKIE, "", 0))
    return answer


def device_of(request: Req) -> Device:
    """A device by a name that people recognise ("Firefox on Linux"), from what the browser says about itself."""
    agent = request.headers.get("user-agent", "")
    browser = next((name for mark, name in _BROWSERS if mark in agent), "Safari" if "Safari/" in agent else "Browser")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return Device(f"{browser} on {system}" if system else browser, request.scope["state"].get("address", ""))


def _form(
    request: Req,
    step: LoginStep,
    status: int = 200,
    *,
    account: str = "",
    action: str = "/login",
    error: str = "",
    retry_s: int = 0,
    next_path: str = "",
) -> Html:
    """A login page, with the random value that its CSRF token is bound to."""
    web = web_of(request)
    binding = _binding(request) or web.services.clock.entropy(16).hex()
    page = LoginPage(
        csrf=web.seals.csrf(f"pre:{binding}"),
        step=step,
        account=account,
        action=action,
        error=error,
        retry_s=retry_s,
        next_path="" if next_path == "/inbox" else next_path,
        host=request.headers.get("host", ""),
        min_length=MIN_PASSWORD,
        link_command=web.settings.link_command,
    )
    answer = html(request, page, status)
    answer.set_cookie(_cookie(request, COOKIE_PRE, binding, _PRE_S))
    return answer


def _binding(request: Req) -> str:
    value = request.cookies.get(cookie_name(COOKIE_PRE, secure_of(request)), "")
    return value if len(value) == 32 and value.isascii() and value.isalnum() else ""


async def _check_form(request: Req) -> None:
    binding = _binding(request)
    await check_csrf(request, f"pre:{binding}" if binding else "")


def _enter(request: Req, session: Session, path: str) -> Html:
    web = web_of(request)
    life_s = (session.expires_ms - session.created_ms) // 1_000
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A Strict cookie does not travel with a redirect that another site began; a page of ours begins anew.
        answer: Html = Response("", headers={"refresh": f"0; url={path}"}, media_type="text/html; charset=utf-8")
    else:
        answer = redirect(path)
    answer.set_cookie(_cookie(request, COOKIE, web.seals.token(session), life_s))
    answer.set_cookie(_cookie(request, COOKIE_PRE, "", 0))
    return answer


def _cookie(request: Req, name: str, value: str, max_age: int) -> Cookie:
    secure = secure_of(request)
    return Cookie(
        key=cookie_name(name, secure),
        value=value,
        max_age=max_age,
        path="/",
        httponly=True,
        secure=secure,
        samesite="strict",
    )
