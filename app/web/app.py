"""Builds the face for people: routes, guard, errors and edge. Nothing runs on import."""

from typing import Any, Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from app.domain.errors import HelmError
from app.services.people import PeopleDesk
from app.services.services import Services
from app.web import (
    api_routes,
    approvers_api,
    assets,
    blueprints,
    bulk,
    evidence,
    freeze_pages,
    grant_pages,
    inbox,
    live,
    people_pages,
    policy_pages,
    runs,
    settings_page,
)
from app.web.context import Web, require_viewer
from app.web.edge import WebApp
from app.web.errors import on_fault, on_helm_error, on_http_error
from app.web.hub import Hub
from app.web.present import Faces
from app.web.pulse import Pulse
from app.web.session import Seals
from app.web.settings import WebSettings
from app.web.tickets import Tickets

ROUTES: Final[tuple[Any, ...]] = (
    *(assets.static_file, assets.favicon),
    *(people_pages.login_page, people_pages.login, people_pages.link_page, people_pages.link_enter),
    people_pages.logout,
    *(inbox.home, inbox.inbox_page, inbox.inbox_item, inbox.inbox_answer, inbox.inbox_foot),
    *(inbox.inbox_edit, inbox.inbox_pattern, inbox.inbox_statement, inbox.inbox_again),
    *(bulk.bulk_hold, bulk.bulk_state, bulk.bulk_undo),
    *(grant_pages.grants_page, grant_pages.grant_revoke),
    *(policy_pages.policies_page, policy_pages.policy_page, policy_pages.policy_check),
    *(policy_pages.policy_edit, policy_pages.policy_test, policy_pages.policy_save),
    *(freeze_pages.freeze_page, freeze_pages.freeze_banner, freeze_pages.freeze, freeze_pages.freeze_lift),
    *(runs.runs_page, runs.run_page, runs.run_timeline, runs.run_event),
    *(runs.run_start, runs.run_steer, runs.run_stop, runs.run_evidence),
    *(blueprints.blueprints_page, blueprints.blueprint_page, blueprints.blueprint_start),
    *(settings_page.settings_page, settings_page.session_revoke, settings_page.sessions_revoke),
    *(settings_page.password_change, settings_page.token_create, settings_page.tokens_again),
    settings_page.token_revoke,
    *(evidence.evidence_page, evidence.evidence_verify),
    *(live.ticket, live.live),
    *approvers_api.PAGE_ROUTES,
    *api_routes.ROUTES,
)


def create_web_app(services: Services, people: PeopleDesk, settings: WebSettings) -> Litestar:
    """The ASGI application. Its lifespan follows the log; run it with uvicorn's `lifespan="on"` and without its proxy
    headers (`proxy_headers=False`): whom to believe is decided here."""
    faces = Faces(settings.templates, settings.static)
    web = Web(
        services=services,
        people=people,
        settings=settings,
        faces=faces,
        seals=Seals(settings.secret),
        tickets=Tickets(services.clock),
        hub=Hub(services, people, faces, settings.key_id),
        pulse=Pulse(services.health),
    )
    app = WebApp(
        route_handlers=list(ROUTES),
        guards=[require_viewer],
        exception_handlers={HelmError: on_helm_error, HTTPException: on_http_error, Exception: on_fault},
        on_startup=[web.hub.start],
        on_shutdown=[web.hub.stop, web.pulse.stop],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=settings.body_limit,
        state=State({"web": web, "assets": assets.load_assets(settings.static)}),
        debug=False,
    )
    app.settings = settings
    return app
