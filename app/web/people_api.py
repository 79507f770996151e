"""People for programs: who may come in, and as what. For owners alone."""

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response

from app.services.people_port import Person
from app.web.api_requests import ROOT, Json, body_of
from app.web.context import OWNER, Req, secure_of, viewer_of, web_of


@get(f"{ROOT}/people", opt={OWNER: True})
async def list_people(request: Req) -> Json:
    """Everyone, oldest first."""
    people = await web_of(request).people.people()
    return Response({"people": [_person(request, person) for person in people]})


@post(f"{ROOT}/people", status_code=201, opt={OWNER: True})
async def add_person(request: Req) -> Json:
    """Somebody new."""
    body = await body_of(request, "AddPerson")
    person, secret = await web_of(request).people.add_person(body["account"], body["role"])
    base = f"{'https' if secure_of(request) else 'http'}://{request.headers.get('host', '')}"
    return Response({**_person(request, person), "link": f"{base}/login/link/{secret}"})


@post(f"{ROOT}/people/{{account:str}}/role", status_code=200, opt={OWNER: True})
async def set_role(request: Req, account: FromPath[str]) -> Json:
    """Another role."""
    body = await body_of(request, "SetRole")
    return Response(_person(request, await web_of(request).people.set_role(account, body["role"])))


def _person(request: Req, person: Person) -> dict[str, Any]:
    return {
        "account": person.account,
        "role": person.role,
        "created_ms": person.created_ms,
        "you": person.id == viewer_of(request).person,
    }


ROUTES: Final[tuple[Any, ...]] = (list_people, add_person, set_role)
