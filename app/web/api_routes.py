"""Every route of the REST API, one module for each group."""

from __future__ import annotations

from typing import Any, Final

from app.web import api, approvers_api, freeze_api, gate_api, people_api, policy_api, standing_api

ROUTES: Final[tuple[Any, ...]] = (
    *api.ROUTES,
    *gate_api.ROUTES,
    *standing_api.ROUTES,
    *freeze_api.ROUTES,
    *people_api.ROUTES,
    *approvers_api.ROUTES,
    *policy_api.ROUTES,
)
