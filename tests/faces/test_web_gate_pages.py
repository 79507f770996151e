"""The card as a browser answers with it: every choice, every refusal with what was typed, several at once; and the
pages of grants, freezing, policies and notices. The real gate is behind all of it."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import PolicyRejected

from tests.faces.gate_world import GateWorld, finished, gate_world
from tests.faces.web_world import field_of, frame
from tests.house import MAIL

HX = {"hx-request": "true"}
MAIL_TOOL = "mcp__mail__send"
POLICIES = Path(__file__).parent / "gate_policies"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GateWorld]:
    shutil.copytree(POLICIES, tmp_path / "policies")
    async with gate_world(tmp_path) as found:
        yield found


async def _post(browser: httpx.AsyncClient, path: str, status: int = 200, **form: Any) -> str:
    answer = await browser.post(path, data=form, headers=HX)
    assert answer.status_code == status, answer.text
    return answer.text


async def _until(browser: httpx.AsyncClient, path: str, words: str) -> str:
    """Ask for a fragment until it says so, as the page does; bounded."""
    for _ in range(200):
        said = (await browser.get(path, headers=HX)).text
        if words in said:
            return said
    raise AssertionError(said)


# --- edit and allow ---------------------------------------------------------------------------------------------------


async def test_an_edited_call_is_compared_then_runs_and_only_that(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    card = (await browser.get(f"/inbox/{approval}")).text
    assert "Edit and allow…" in card and 'data-panel="edit"' in card
    edited = json.dumps({**MAIL, "to": "team@example.com"})
    shown = await _post(browser, f"/inbox/{approval}/edit", whole=edited)
    assert "to: leadership@example.com" in shown and "to: team@example.com" in shown
    digest = field_of(shown, "shown")
    # What is sent must be what stood beside the asked one.
    other = await _post(
        browser, f"/inbox/{approval}/answer", 400, answer="edit", whole=edited.replace("team", "all"), shown=digest
    )
    assert "look at it once more" in other and "all@example.com" in other and not task.done()
    foot = await _post(browser, f"/inbox/{approval}/answer", answer="edit", whole=edited, shown=digest)
    assert "You allowed it, edited" in foot
    told = await finished(task)
    assert told.allowed and told.edited == {**MAIL, "to": "team@example.com"}
    after = (await browser.get(f"/inbox/{approval}")).text
    assert "Edited before it was allowed" in after and "leadership@example.com" in after and "team@example" in after


async def test_a_command_is_edited_as_text_and_its_numbers_stay_numbers(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    call = {"command": "make all", "description": "Build", "timeout": 9000}
    task, approval = await world.asked(run, "Bash", call)
    assert "make all</textarea>" in (await browser.get(f"/inbox/{approval}")).text
    typed: dict[str, Any] = {"f.command": "make test\r\n", "f.timeout": "7000"}
    shown = await _post(browser, f"/inbox/{approval}/edit", **typed)
    wrong = await _post(browser, f"/inbox/{approval}/edit", **{**typed, "f.timeout": "soon"})
    assert "Timeout is a whole number." in wrong and field_of(wrong, "shown") == ""
    await _post(browser, f"/inbox/{approval}/answer", answer="edit", shown=field_of(shown, "shown"), **typed)
    told = await finished(task)
    assert told.edited == {"command": "make test\n", "description": "Build", "timeout": 7000}


async def test_what_the_law_refuses_comes_back_at_the_card_with_everything_typed(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, "Bash", {"command": "make"})
    typed: dict[str, Any] = {"f.command": "rm -rf /"}
    digest = field_of(await _post(browser, f"/inbox/{approval}/edit", **typed), "shown")
    foot = await _post(browser, f"/inbox/{approval}/answer", 422, answer="edit", shown=digest, **typed)
    assert "The edited call is refused" in foot and "rm -rf /</textarea>" in foot
    assert 'class="acts busy"' in foot and not task.done()
    long = await _post(browser, f"/inbox/{approval}/answer", 400, answer="deny", reason="x" * 2_001)
    assert "at most 2000 characters" in long and "x" * 2_000 in long
    task.cancel()


# --- grants -----------------------------------------------------------------------------------------------------------


async def test_allowed_for_this_run_the_next_call_passes_and_a_revoked_grant_asks_again(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    assert "Nothing is allowed in advance" in (await browser.get("/grants")).text
    foot = await _post(browser, f"/inbox/{approval}/answer", answer="allow_run", lasts_s="900", uses="3")
    assert "You allowed it for this run" in foot
    assert (await finished(task)).allowed
    assert (await world.hook(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t2")).allowed, "without a question"
    page = (await browser.get("/grants")).text
    assert "1 of 3" in page and MAIL_TOOL in page and "Revoke…" in page
    found = re.search(r'/grants/([^/"]+)/revoke', page)
    assert found is not None
    assert "revoked by ana" in await _post(browser, f"/grants/{found[1]}/revoke")
    again, _ = await world.asked(run, MAIL_TOOL, MAIL, "t3")
    again.cancel()


async def test_a_pattern_is_suggested_counted_and_holds(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    first, earlier = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "x@elsewhere.example"}, "t0")
    await _post(browser, f"/inbox/{earlier}/answer", answer="deny")
    await finished(first)
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    pattern = 'args.to.endsWith("@example.com") && !args.to.contains(",")'
    assert pattern.replace('"', "&#34;").replace("&&", "&amp;&amp;") in (await browser.get(f"/inbox/{approval}")).text
    counted = await _post(browser, f"/inbox/{approval}/pattern", pattern=pattern, scope="run")
    assert "Would have matched 1 of 2 past calls." in counted and "such as" in counted
    assert "column" in await _post(browser, f"/inbox/{approval}/pattern", pattern="args.to.endsWith(", scope="run")
    form: dict[str, Any] = {"answer": "allow_pattern", "scope": "run", "lasts_s": "3600", "uses": "5"}
    wrong = await _post(browser, f"/inbox/{approval}/answer", 400, **form, pattern='args.to == "nobody"')
    assert "not true of this very call" in wrong and "nobody" in wrong
    odd = await _post(browser, f"/inbox/{approval}/answer", 400, **{**form, "uses": "many"}, pattern=pattern)
    assert "How often is a whole number." in odd
    await _post(browser, f"/inbox/{approval}/answer", **form, pattern=pattern)
    await finished(task)
    assert (await world.hook(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t2")).allowed
    other, _ = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "b@elsewhere.example"}, "t3")
    other.cancel()


# --- ceremonies and roles ---------------------------------------------------------------------------------------------


async def test_a_quorum_tells_each_person_where_it_stands(world: GateWorld) -> None:
    ana, ben = await world.web.browser("ana"), await world.web.browser("ben")
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__pay", {"amount": 4})
    card = (await ana.get(f"/inbox/{approval}")).text
    assert "0 of 2 have allowed it" in card and "Edit and allow" not in card
    foot = await _post(ana, f"/inbox/{approval}/answer", answer="allow")
    assert "You have allowed it; 1 more person must." in foot and "data-allow" not in foot
    assert "1 of 2 have allowed it" in (await ben.get(f"/inbox/{approval}")).text and not task.done()
    assert "You allowed this once" in await _post(ben, f"/inbox/{approval}/answer", answer="allow")
    assert (await finished(task)).allowed


async def test_a_waiting_time_counts_down_and_opens(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__drop", {"table": "x"})
    card = (await browser.get(f"/inbox/{approval}")).text
    assert "It can be allowed after a waiting time." in card and "load delay:601s" in card and "data-allow" not in card
    assert "It can be allowed from" in await _post(browser, f"/inbox/{approval}/answer", 409, answer="allow")
    world.house.clock.ms += 601_000
    assert "data-allow" in (await browser.get(f"/inbox/{approval}/foot", headers=HX)).text
    assert "You allowed this once" in await _post(browser, f"/inbox/{approval}/answer", answer="allow")
    assert (await finished(task)).allowed


async def test_a_signature_is_asked_for_and_its_text_is_given(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__release", {"version": "2"})
    card = (await browser.get(f"/inbox/{approval}")).text
    assert "Sign with your passkey" in card and f"helm inbox allow {approval} --sign ~/.ssh/id_ed25519" in card
    said = await browser.post(f"/inbox/{approval}/statement", data={"answer": "allow"}, headers=HX)
    statement = json.loads(said.json()["statement"])
    assert (statement["approval"], statement["at"]) == (approval, said.json()["at"])
    assert "must be signed" in await _post(browser, f"/inbox/{approval}/answer", 403, answer="allow")
    await _post(browser, f"/inbox/{approval}/answer", 400, answer="allow", proof_type="odd")
    task.cancel()


async def test_who_may_not_allow_is_told_why(world: GateWorld) -> None:
    ana, ben = await world.web.browser("ana"), await world.web.browser("ben", "approver")
    viewer = await world.web.browser("vic", "viewer")
    run = await world.start()
    task, approval = await world.asked(run, "mcp__ops__deploy", {"to": "production"})
    assert "You started this run; somebody else must allow it." in (await ana.get(f"/inbox/{approval}")).text
    other, roles = await world.asked(run, "mcp__ops__rotate", {"key": "k"}, "t2")
    assert "Only an owner may allow this." in (await ben.get(f"/inbox/{roles}")).text
    seen = (await viewer.get(f"/inbox/{approval}")).text
    assert "You may look, and not answer" in seen and "data-allow" not in seen and 'value="deny"' not in seen
    assert "data-look" in seen and "data-picking" not in seen
    answer = await viewer.post(f"/inbox/{approval}/answer", data={"answer": "deny"}, headers=HX)
    assert answer.status_code == 403 and not task.done()
    task.cancel()
    other.cancel()


async def test_expired_is_told_apart_from_denied_and_is_asked_again(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    world.house.clock.ms += 3_601_000
    foot = await _post(browser, f"/inbox/{approval}/answer", 410, answer="allow")
    assert "Nobody denied it" in foot and "Ask again" in foot
    await finished(task)
    assert "Asked again." in await _post(browser, f"/inbox/{approval}/again")
    steering = await world.house.ledger.read.steering(run)
    assert len(steering) == 1


async def test_a_file_that_changed_leads_to_the_new_question(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    folder = world.house.home / "workspaces" / run
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "collect.sh"
    script.write_text("echo one\n")
    task, approval = await world.asked(run, "Bash", {"command": "bash collect.sh"})
    card = (await browser.get(f"/inbox/{approval}")).text
    assert "collect.sh" in card and "File that the call names" in card
    script.write_text("echo two\n")
    foot = await _post(browser, f"/inbox/{approval}/answer", 409, answer="allow")
    assert "collect.sh changed while this was asked" in foot
    new = await world.question(run, "toolu_1")
    assert new != approval and f'href="/inbox/{new}"' in foot and not task.done()
    moved = (await browser.get(f"/inbox/{approval}")).text
    assert f'data-card="{new}"' in moved and "changed" in moved
    assert "You allowed this once" in await _post(browser, f"/inbox/{new}/answer", answer="allow")
    assert (await finished(task)).allowed


# --- several at once --------------------------------------------------------------------------------------------------


async def test_several_are_held_undone_or_given_once_each(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    one, first = await world.asked(run, MAIL_TOOL, MAIL, "t1")
    two, second = await world.asked(run, MAIL_TOOL, {**MAIL, "to": "b@example.com"}, "t2")
    assert f'data-pick="{first}"' in (await browser.get("/inbox")).text
    held = await _post(browser, "/inbox/bulk", ids=f"{first} {second}", answer="allow")
    assert "Allowing 2 in" in held and "Undo" in held
    bulk = re.search(r'data-hold="([^"]+)"', held)
    assert bulk is not None and not one.done() and not two.done()
    assert "Undone." in await _post(browser, f"/inbox/bulk/{bulk[1]}/undo")
    await _post(browser, "/inbox/bulk", 400, ids="", answer="allow")
    await _post(browser, "/inbox/bulk", 400, ids=first, answer="maybe")
    held = await _post(browser, "/inbox/bulk", ids=f"{first} apr_nobody", answer="deny", reason="Not now")
    bulk = re.search(r'data-hold="([^"]+)"', held)
    assert bulk is not None
    told = await finished(one)
    assert not told.allowed and "Not now" in told.words and not two.done()
    said = await _until(browser, f"/inbox/bulk/{bulk[1]}", "of 2 denied")
    assert "1 of 2 denied" in said and "is not there any more" in said
    two.cancel()


# --- freezing ---------------------------------------------------------------------------------------------------------


async def test_a_frozen_house_says_so_on_every_page_and_on_open_cards(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    task, approval = await world.asked(run, MAIL_TOOL, MAIL)
    line = await world.web.socket(browser, after=world.house.ledger.head, form="html")
    done = await browser.post("/freeze", data={"scope": "all", "reason": "Odd mails"})
    assert done.headers["location"] == "/freeze"
    targets: set[str] = set()
    while not {"#frozen", "[data-foot][data-open]"} <= targets:
        targets |= {op["target"] for op in (await frame(line)).get("ops", []) if op["op"] == "refresh"}
    await line.close()
    for path in ("/freeze", "/inbox", "/runs", "/policies", "/freeze/banner"):
        page = (await browser.get(path)).text
        assert "Everything is frozen" in page and "Odd mails" in page, path
    assert "ana froze everything; unfreeze it first." in (await browser.get(f"/inbox/{approval}/foot")).text
    assert "unfreeze it first" in await _post(browser, f"/inbox/{approval}/answer", 409, answer="allow")
    assert (await world.hook(run, "Read", {"file_path": "/workspace/a"}, "t2")).code == "FROZEN"
    await _post(browser, "/freeze/lift", 204, scope="all")
    assert "is frozen" not in (await browser.get("/inbox")).text
    assert "You allowed this once" in await _post(browser, f"/inbox/{approval}/answer", answer="allow")
    assert (await finished(task)).allowed


async def test_one_run_is_frozen_from_its_page(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    assert 'data-dialog="freeze"' in (await browser.get(f"/runs/{run}")).text
    await _post(browser, "/freeze", 204, scope="run", target=run)
    page = (await browser.get(f"/runs/{run}")).text
    assert (">Frozen</span>" in page and "Run 1 is frozen" in page) or "is frozen" in page
    assert (await browser.post("/freeze", data={"scope": "moon"}, headers=HX)).status_code == 400
    viewer = await world.web.browser("vic", "viewer")
    assert (await viewer.post("/freeze/lift", data={"scope": "run", "target": run})).status_code == 403
    assert "Unfreeze…" not in (await viewer.get("/inbox")).text


# --- notices and evidence ---------------------------------------------------------------------------------------------


async def test_a_broken_edit_of_the_policies_is_an_item_until_it_is_seen(world: GateWorld) -> None:
    browser = await world.web.browser()
    broken = PolicyRejected("ceremony/rules.toml", 7, "an unknown key 'wehn'")
    await world.house.ledger.record(SYSTEM_RUN, Draft(broken))
    page = (await browser.get("/inbox")).text
    assert "(1) Inbox" in page and "An edit of the policies does not load" in page
    assert "ceremony/rules.toml line 7: an unknown key" in page
    key = re.search(r'data-card="(ntc-[0-9a-f]+)"', page)
    assert key is not None
    await _post(browser, f"/inbox/{key[1]}/answer", 400, answer="allow")
    assert "Seen." in await _post(browser, f"/inbox/{key[1]}/answer", answer="dismiss")
    assert "(1)" not in (await browser.get("/inbox")).text
    assert (await browser.get(f"/inbox/{key[1]}")).status_code == 404


async def test_a_tool_that_drifted_is_shown_as_a_change_and_accepted(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    tool = {"name": "send", "description": "Send an e-mail.", "inputSchema": {"type": "object"}}
    await world.house.services.tools.learn(run, "mail", [tool])
    await world.house.services.tools.learn(run, "mail", [{**tool, "description": "Send, and copy to me."}])
    page = (await browser.get("/inbox")).text
    assert "Send an e-mail." in page and "Send, and copy to me." in page and "Accept what it says now" in page
    key = re.search(r'data-card="(ntc-[0-9a-f]+)"', page)
    assert key is not None
    form: dict[str, Any] = {"shown": field_of(page, "shown")}
    assert (await world.hook(run, MAIL_TOOL, MAIL)).code == "TOOL_DRIFT"
    stale = await browser.post(f"/inbox/{key[1]}/answer", data={"answer": "accept", "shown": "sha256:" + "0" * 64})
    assert stale.status_code in (400, 409)
    assert "Accepted." in await _post(browser, f"/inbox/{key[1]}/answer", answer="accept", **form)
    task, _ = await world.asked(run, MAIL_TOOL, MAIL, "t2")
    task.cancel()


async def test_evidence_is_laid_beside_a_run_and_what_it_owes_stands_there(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    assert (await world.hook(run, "mcp__ops__change", {}, "t1")).code == "EVIDENCE_REQUIRED"
    await _post(browser, f"/runs/{run}/evidence", 204, kind="change_record", ref="CHG-1042")
    assert (await world.hook(run, "mcp__ops__change", {}, "t2")).allowed
    await world.done(run, "mcp__ops__change", "t2")
    page = (await browser.get(f"/runs/{run}")).text
    assert "CHG-1042" in page and "change_record" in page and "health-check" in page
    answer = await browser.post(f"/runs/{run}/evidence", data={"kind": "Odd Kind", "ref": "x"}, headers=HX)
    assert answer.status_code == 400


# --- policies ---------------------------------------------------------------------------------------------------------


async def test_rules_stand_in_order_with_what_they_decided(world: GateWorld) -> None:
    browser = await world.web.browser()
    run = await world.start()
    assert (await world.hook(run, "Read", {"file_path": "/workspace/a"})).allowed
    page = (await browser.get("/policies/ceremony")).text
    assert page.index("secrets") < page.index(">read<") < page.index(">two<")
    assert "2 people" in page and "waits 10 min" in page and "signed" in page and "owes health-check" in page
    assert re.search(r">read</b>.*?<b>1</b> <span class=\"t3 meta\">hit<", page, re.S)
    checked = (await browser.get("/policies/ceremony/check")).text
    assert "The check" in checked and "has no cases yet" in checked
    assert (await browser.get("/policies/nobody")).status_code == 404
    assert (await browser.get("/policies/nobody/edit")).status_code == 404


def _form(page: str) -> dict[str, Any]:
    """What the editor sends, as a browser does."""
    names = dict(re.findall(r'name="(name\d+)" value="([^"]*)"', page))
    texts = dict(re.findall(r'name="(text\d+)"[^>]*>\n(.*?)</textarea>', page, re.S))
    plain = {key: html.unescape(text) for key, text in texts.items()}
    return {"base": field_of(page, "base"), **names, **plain}


async def test_an_edit_is_tested_against_the_past_before_it_is_saved(world: GateWorld, tmp_path: Path) -> None:
    browser = await world.web.browser()
    run = await world.start()
    assert (await world.hook(run, "Read", {"file_path": "/workspace/a"})).allowed
    form = _form((await browser.get("/policies/ceremony/edit")).text)
    key = next(name.replace("name", "text") for name, file in form.items() if file == "rules.toml")
    same = await _post(browser, "/policies/ceremony/test", **form)
    assert "The text is the one in force." in same
    broken = {**form, key: form[key].replace('tools = ["Read"]', 'tuls = ["Read"]', 1)}
    told = await _post(browser, "/policies/ceremony/test", history="1", **broken)
    assert "ceremony/rules.toml:" in told and 'data-line="' in told and "Save…" not in told
    allows = 'id = "read"\ntools = ["Read"]\nverdict = "ALLOW"'
    edited = {**form, key: form[key].replace(allows, allows.replace("ALLOW", "DENY"))}
    assert edited != form
    told = await _post(browser, "/policies/ceremony/test", history="1", **edited)
    assert "1 of 1 past call would be decided otherwise" in told and "denied" in told and "Save…" in told
    assert 'verdict = "DENY"\n\n[[rules]]\nid = "broken"' not in (tmp_path / "policies/ceremony/rules.toml").read_text()
    untested = await _post(browser, "/policies/ceremony/save", tested="sha256:" + "0" * 64, **edited)
    assert "not the text that was tested" in untested
    saved = await _post(browser, "/policies/ceremony/save", tested=field_of(told, "tested"), **edited)
    assert "Saved." in saved
    assert (tmp_path / "policies/ceremony/rules.toml").read_text() == edited[key]
    late = await _post(browser, "/policies/ceremony/save", tested=field_of(told, "tested"), **edited)
    assert "changed since you opened them" in late
    approver = await world.web.browser("ben", "approver")
    assert "Only an owner saves policies." in (await approver.get("/policies/ceremony/edit")).text
    refused = await approver.post("/policies/ceremony/save", data={**edited, "tested": field_of(told, "tested")})
    assert refused.status_code == 403
