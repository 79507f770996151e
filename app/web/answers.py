"""What a person typed into a card's foot, as the answer that the services take; and the same foot again where an answer
is refused, with everything that was typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from app.domain.approval import Answerer
from app.domain.canonical import Json
from app.domain.content import Proof
from app.domain.errors import HelmError, InputChanged, InvalidInput
from app.domain.run import Action
from app.services.replies import NO_PROOF, GrantTerms, Reply
from app.web.cards import arguments_of, foot_of, schema_of
from app.web.context import Web
from app.web.edits import digest_of, edited_call, form_of_call, preview_of, typed_form
from app.web.views import Card
from app.web.views_gate import EditForm, EditPreview, GrantForm

Fields: TypeAlias = Mapping[str, str]
ANSWERS: Final = frozenset({"allow", "deny", "edit", "allow_run", "allow_pattern"})
_PANEL: Final = {"deny": "deny", "edit": "edit", "allow_run": "run", "allow_pattern": "pattern"}
_COUNT: Final = re.compile(r"[0-9]{1,7}")


async def reply_of(web: Web, action: Action, fields: Fields) -> Reply:
    """The answer that was typed. Raises InvalidInput, in words for who typed it."""
    answer = fields.get("answer", "")
    if answer == "deny":
        return Reply("deny", fields.get("reason", ""))
    if answer == "edit":
        return Reply("allow", edited=await _edited(web, action, fields))
    if answer in ("allow_run", "allow_pattern"):
        return Reply("allow", grant=_terms(answer, fields))
    return Reply("allow", fields.get("reason", ""), proof=_proof(fields), at=fields.get("at", ""))


async def call_of(web: Web, action: Action) -> tuple[EditForm, Mapping[str, Json]]:
    """The form of a call, and its arguments as they were asked for."""
    arguments = arguments_of(await web.services.ledger.read.event(action.intent))
    return form_of_call(action.tool, arguments, await schema_of(web, action)), arguments


async def preview_for(web: Web, action: Action, fields: Fields) -> EditPreview:
    """What was typed so far beside what was asked for."""
    form, arguments = await call_of(web, action)
    return preview_of(form, arguments, fields)


async def _edited(web: Web, action: Action, fields: Fields) -> dict[str, Json]:
    form, arguments = await call_of(web, action)
    edited = edited_call(form, arguments, fields)
    digest = digest_of(edited)
    if digest == digest_of(dict(arguments)):
        raise InvalidInput("nothing is changed; allow it as it is, or change something")
    if fields.get("shown") != digest:
        raise InvalidInput("what was compared is not what would be sent; look at it once more")
    return edited


def _terms(answer: str, fields: Fields) -> GrantTerms:
    wide = answer == "allow_pattern"
    scope: Literal["run", "blueprint"] = "blueprint" if wide and fields.get("scope") == "blueprint" else "run"
    pattern = fields.get("pattern", "").replace("\r\n", "\n").strip() if wide else ""
    return GrantTerms(scope, pattern, _count(fields, "lasts_s", "how long"), _count(fields, "uses", "how often"))


def _count(fields: Fields, name: str, words: str) -> int:
    text = fields.get(name, "").strip()
    if not _COUNT.fullmatch(text):
        raise InvalidInput(f"{words} is a whole number")
    return int(text)


def _proof(fields: Fields) -> Proof:
    """A passkey's signature; one by an SSH key comes through the API."""
    if not fields.get("proof_type"):
        return NO_PROOF
    if fields["proof_type"] != "webauthn":
        raise InvalidInput("this kind of signature is not known")
    return Proof("webauthn", fields.get("proof_data", ""))


async def refused_foot(web: Web, action: Action, who: Answerer, fields: Fields, error: HelmError) -> Card:
    """The foot again: what is wrong, the form that it was typed into, and nothing of it lost."""
    card = await foot_of(web, action, who)
    trouble = error.message[:1].upper() + error.message[1:]
    trouble += "" if trouble.endswith((".", "!", "?")) else "."
    moved = error.approval if isinstance(error, InputChanged) else card.moved_key
    card = replace(card, trouble=trouble, moved_key=moved)
    panel = _PANEL.get(fields.get("answer", ""), "")
    if panel == "edit" and card.edit is not None:
        form, arguments = await call_of(web, action)
        card = replace(card, edit=typed_form(form, fields, preview_of(form, arguments, fields)))
    if panel in ("run", "pattern") and card.grant is not None:
        card = replace(card, grant=_typed_grant(card.grant, fields))
    return replace(card, panel=panel if panel in _open_panels(card) else "", typed=fields.get("reason", "")[:2_000])


def _open_panels(card: Card) -> set[str]:
    return {_PANEL[choice] for choice in card.available if choice in _PANEL}


def _typed_grant(grant: GrantForm, fields: Fields) -> GrantForm:
    def number(name: str, before: int) -> int:
        text = fields.get(name, "").strip()
        return int(text) if _COUNT.fullmatch(text) else before

    return replace(
        grant,
        pattern=fields.get("pattern", grant.pattern).replace("\r\n", "\n"),
        scope="blueprint" if fields.get("scope") == "blueprint" else "run",
        lasts_s=number("lasts_s", grant.lasts_s),
        uses=number("uses", grant.uses),
    )
