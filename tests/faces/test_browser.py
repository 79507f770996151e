"""The pages in a real browser: live ops once and in order, Allow behind the payload's end, keys, themes, offline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from app.web.present import REFRESH_INBOX, Op, badge
from app.web.rows import AnswerState, CallRow, CallState, EndedRow, LaneRow, RunStatus, TextRow
from app.web.views import Answer
from playwright.async_api import Page, async_playwright, expect

from tests.faces import samples, samples_run
from tests.faces.gallery import check, watch
from tests.faces.stage import Stage, running

pytestmark = pytest.mark.e2e
expect.set_options(timeout=20_000)
NOW = samples.NOW
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Seat:
    """A page on the stage, and everything that went wrong on it."""

    stage: Stage
    page: Page
    base: str
    head: int = 412
    problems: list[str] = field(default_factory=list)

    async def open(self, name: str) -> None:
        """Show a sample and wait until it is live."""
        await self.page.goto(f"{self.base}/sample/{name}")
        await self.page.locator("[data-bind=sync][data-state=live]").first.wait_for(state="attached")

    def send(self, *ops: Op, after: int | None = None, sync: str = "live", head: int | None = None) -> None:
        """The server's next frame."""
        self.head = self.head + 1 if after is None else after
        self.stage.frames.put_nowait({"after": self.head, "ops": list(ops), "head": head or self.head, "sync": sync})

    def text(self, seq: int, words: str = "line") -> Op:
        """A new line of the timeline."""
        return self.stage.faces.appended(TextRow(str(seq), seq, NOW, f"{words} {seq}"), NOW)


Sit = Callable[[dict[str, int]], Awaitable[Seat]]


@pytest.fixture
async def sit() -> AsyncIterator[Sit]:
    """Opens pages of a size; at the end none of them may have complained."""
    stage = Stage()
    seats: list[Seat] = []
    async with running(stage) as base, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--headless"]
        )

        async def take(viewport: dict[str, int]) -> Seat:
            size = {"width": viewport["width"], "height": viewport["height"]}
            context = await browser.new_context(screen=None, viewport=size, timezone_id="UTC", color_scheme="light")  # type: ignore[arg-type]
            context.set_default_timeout(20_000)
            seat = Seat(stage, await context.new_page(), base)
            await watch(seat.page, seat.problems)
            seats.append(seat)
            return seat

        yield take
        for seat in seats:
            if not seat.page.is_closed() and seat.page.url.startswith(base):
                await check(seat.page, seat.problems, seat.page.url)
        await browser.close()
    assert [problem for seat in seats for problem in seat.problems] == []


async def test_a_frame_is_applied_once_and_in_order(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    seat.send(seat.text(413), seat.text(414), after=414)
    seat.send(seat.text(413), seat.text(414), seat.text(999), after=414)
    seat.send(seat.text(415), after=415)
    await expect(seat.page.locator("#row-415")).to_be_visible()
    added = await seat.page.locator("#timeline-live > li").evaluate_all("nodes => nodes.slice(-3).map((n) => n.id)")
    assert added == ["row-413", "row-414", "row-415"]
    assert await seat.page.locator("#row-999").count() == 0
    await expect(seat.page.locator(".chip [data-bind=sync]")).to_have_text("live · caught up (415)")


async def test_a_call_is_replaced_in_place_and_stays_open(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    call = CallRow("700", 700, NOW, "Bash", "pytest -q", CallState.RUNNING, detail_href="/d")
    seat.send(seat.stage.faces.appended(call, NOW))
    await seat.page.locator("#row-700 summary").click()
    await expect(seat.page.locator("#row-700 .cd")).to_contain_text("collect.py")
    seat.send(seat.stage.faces.replaced(replace(call, state=CallState.OK, duration_ms=900), NOW))
    await expect(seat.page.locator("#row-700")).to_contain_text("900 ms")
    await expect(seat.page.locator("#row-700 .cd")).to_contain_text("collect.py")


async def test_a_lane_takes_its_own_lines(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    lane = LaneRow("800", "helper", "helper", 800, 801, NOW)
    line = TextRow("801", 801, NOW, "inside", lane="helper")
    faces = seat.stage.faces
    seat.send(faces.appended(lane, NOW), faces.appended(line, NOW), faces.replaced(replace(lane, calls=3), NOW))
    await expect(seat.page.locator("#lane-helper #row-801")).to_be_visible()
    await expect(seat.page.locator("#lane-head-helper")).to_contain_text("3 calls")


async def test_the_tail_is_followed_only_from_its_end(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run-states")
    box = seat.page.locator("#tl-scroll")
    await box.evaluate("box => { box.scrollTop = 0; }")
    await expect(seat.page.locator("[data-bind=tail]")).to_have_text("Not following")
    seat.send(*[seat.text(seq) for seq in range(600, 612)])
    await expect(seat.page.locator("#new-rows")).to_have_text("12 new")
    assert await box.evaluate("box => box.scrollTop") == 0
    await seat.page.locator("#new-rows").click()
    await expect(seat.page.locator("#row-611")).to_be_in_viewport()
    await expect(seat.page.locator("#new-rows")).to_be_hidden()


async def test_two_thousand_lines_leave_the_live_list_short(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    for start in range(1_000, 3_000, 100):
        seat.send(*[seat.text(seq) for seq in range(start, start + 100)])
    await expect(seat.page.locator("#row-2999")).to_be_in_viewport()
    assert await seat.page.locator("#timeline-live > li").count() <= 400
    order = await seat.page.evaluate(
        "[...document.querySelectorAll('#tl-scroll [data-kind=text]')].map((n) => Number(n.id.slice(4)))"
    )
    assert order == sorted(order)
    assert len([seq for seq in order if seq >= 1_000]) == 2_000


async def test_earlier_lines_come_above_and_the_view_stays(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run-states")
    await seat.page.locator("#tl-scroll").evaluate("box => { box.scrollTop = 0; }")
    before = await seat.page.locator("#row-500").bounding_box()
    await seat.page.locator("#older button").click()
    await expect(seat.page.locator(".chunk #row-388")).to_be_attached()
    after = await seat.page.locator("#row-500").bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 60


async def test_previews_are_dim_and_give_way_to_the_saved_line(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    faces = seat.stage.faces
    seat.send(faces.preview("", "m1", "I will "), faces.preview("", "m1", "look <b>"), after=412)
    await expect(seat.page.locator("#preview")).to_have_text("I will look <b>")
    saved = TextRow("413", 413, NOW, "I will look <b>\N{WAVING HAND SIGN}!", message="m1", units=18)
    seat.send(faces.appended(saved, NOW), after=413)
    await expect(seat.page.locator("#preview")).to_be_hidden()
    # The last piece came after the event that saved it; what is written beyond it is a second part of the message.
    seat.send(faces.preview("", "m1", "\N{WAVING HAND SIGN}!"), badge(5), after=414)
    await expect(seat.page.locator(".nav [data-bind=badge]")).to_have_text("5")
    await expect(seat.page.locator("#preview")).to_be_hidden()
    seat.send(faces.preview("", "m1", "Then"), after=413)
    await expect(seat.page.locator("#preview")).to_have_text("Then")
    seat.send(faces.preview("", "m2", "Next"), after=413)
    await expect(seat.page.locator("#preview")).to_have_text("Next")


async def test_words_of_a_sub_agent_on_their_way_stand_in_its_lane(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    faces = seat.stage.faces
    seat.send(faces.appended(LaneRow("800", "helper", "helper", 800, 801, NOW), NOW))
    seat.send(faces.preview("helper", "h1", "Reading"), faces.preview("", "m1", "Waiting"), after=413)
    inside = seat.page.locator("#lane-helper + .preview")
    await expect(inside).to_have_text("Reading")
    await expect(seat.page.locator("#preview")).to_have_text("Waiting")
    line = TextRow("801", 801, NOW, "Reading", lane="helper", message="h1", units=7)
    seat.send(faces.appended(line, NOW))
    await expect(inside).to_be_hidden()
    await expect(seat.page.locator("#preview")).to_have_text("Waiting")
    ended = EndedRow("802", 802, NOW, RunStatus.STOPPED)
    seat.send(faces.appended(ended, NOW))
    await expect(seat.page.locator("#preview")).to_be_hidden()


async def test_the_count_is_everywhere_and_in_the_title(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("runs")
    seat.send(badge(3))
    await expect(seat.page).to_have_title("(3) Runs · Helm")
    seat.send(badge(0))
    await expect(seat.page).to_have_title("Runs · Helm")
    await expect(seat.page.locator(".nav [data-bind=badge]")).to_be_hidden()


async def test_a_cut_line_is_taken_up_again_after_the_last_event(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    seat.send(seat.text(420), after=420)
    await expect(seat.page.locator("#row-420")).to_be_visible()
    seat.stage.frames.put_nowait(1012)
    await expect(seat.page.locator(".chip [data-bind=sync]")).to_contain_text("offline since")
    await expect(seat.page.locator("#row-420")).to_be_visible()
    await expect(seat.page.locator(".chip [data-bind=sync]")).to_have_text("live · caught up (420)")
    assert "after=420" in seat.stage.opened[-1]
    assert "run=r-1" in seat.stage.opened[-1]


async def test_replaying_says_from_where_to_where(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    seat.send(seat.text(413), after=413, sync="replaying", head=900)
    await expect(seat.page.locator(".chip [data-bind=sync]")).to_have_text("replaying 413 › 900")


async def test_a_session_that_ended_leads_to_login(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    seat.stage.frames.put_nowait(4401)
    await seat.page.wait_for_url("**/login?next=*")


async def test_status_decides_what_can_be_done(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    await expect(seat.page.locator("#steer")).to_be_visible()
    await expect(seat.page.get_by_text("Deny and say this")).to_be_visible()
    for op in seat.stage.faces.run_head(samples_run.head(RunStatus.STOPPED, live=False), NOW):
        seat.send(op)
    await expect(seat.page.locator("#steer")).to_be_hidden()
    await expect(seat.page.locator(".over")).to_contain_text("Stopped by a person.")
    await expect(seat.page.get_by_role("link", name="Run it again")).to_be_visible()
    assert await seat.page.locator("[data-dialog=stop]:visible").count() == 0


@pytest.mark.parametrize("viewport", [DESK, PHONE])
async def test_allow_waits_until_the_end_was_on_screen(sit: Sit, viewport: dict[str, int]) -> None:
    seat = await sit(viewport)
    await seat.open("card-long")
    allow = seat.page.locator("[data-allow]")
    await expect(allow).to_be_disabled()
    if viewport is DESK:
        await seat.page.keyboard.press("a")
        await expect(seat.page.locator("#toast")).to_be_visible()
    assert not [path for path, _, _ in seat.stage.posted if path.endswith("/answer")]
    await seat.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await expect(allow).to_be_enabled()
    await allow.click()
    await expect(seat.page.locator("[data-foot]")).to_contain_text("You allowed this once")
    assert seat.stage.posted[-1] == ("/inbox/ap-1/answer", {"answer": ["allow"]}, "csrf-token")


async def test_deny_takes_a_reason_and_enter_never_allows(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card")
    await expect(seat.page.locator("[data-allow]")).to_be_enabled()
    await seat.page.keyboard.press("d")
    await expect(seat.page.locator("#why-ap-1")).to_be_focused()
    await expect(seat.page.locator("[data-allow]")).to_be_hidden()
    await seat.page.keyboard.type("a d j ?")
    await seat.page.keyboard.press("Escape")
    await expect(seat.page.locator("[data-allow]")).to_be_visible()
    await seat.page.keyboard.press("d")
    await seat.page.keyboard.press("Enter")
    await expect(seat.page.locator("[data-foot] .fate")).to_be_visible()
    assert seat.stage.posted[-1][1] == {"answer": ["deny"], "reason": ["a d j ?"]}


async def test_a_second_answer_names_the_first(sit: Sit) -> None:
    seat = await sit(DESK)
    seat.stage.answer_status = 409
    await seat.open("card")
    await seat.page.keyboard.press("a")
    await expect(seat.page.locator("[data-foot]")).to_contain_text("Already allowed by mara")
    seat.problems[:] = [line for line in seat.problems if "409" not in line]


async def test_raw_shows_what_is_sent(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card-evil")
    await seat.page.get_by_text("Raw", exact=True).click()
    await expect(seat.page.locator(".p-raw")).to_contain_text('"bcc": "spy@example"')
    await expect(seat.page.locator(".p-rendered")).to_be_hidden()


async def test_keys_walk_the_inbox_without_leaving_the_page(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("inbox")
    await seat.page.keyboard.press("j")
    await expect(seat.page.locator("#card-pane .payload")).to_contain_text("git push --force")
    await expect(seat.page.locator(".it[aria-current=true]")).to_contain_text("Send e-mail")  # the sample's own card
    await seat.page.keyboard.press("?")
    await expect(seat.page.locator("#keys")).to_be_visible()
    await seat.page.keyboard.press("Escape")
    await seat.page.keyboard.press("/")
    await expect(seat.page.locator(".nav .find input")).to_be_focused()


async def test_the_inbox_asks_for_its_list_again(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("inbox-empty")
    assert await seat.page.locator(".it").count() == 0
    seat.send(REFRESH_INBOX)
    await expect(seat.page.locator(".it")).to_have_count(7)


async def test_a_message_is_sent_once_with_its_own_id(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    ids = []
    for words in ("First.", "Second."):
        await seat.page.locator("#steer textarea").fill(words)
        await seat.page.locator("#steer textarea").press("Enter")
        await expect(seat.page.locator("#steer textarea")).to_have_value("")
        path, form, token = seat.stage.posted[-1]
        assert (path, form["text"], form["mode"], token) == ("/runs/r-1/steer", [words], ["queue"], "csrf-token")
        ids.append(form["client_id"][0])
    assert len(set(ids)) == 2


async def test_deny_and_say_this_answers_with_the_words(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    await seat.page.locator("#steer textarea").fill("Not to the whole list.")
    await seat.page.get_by_text("Deny and say this").click()
    await expect(seat.page.locator("#toast")).to_contain_text("Denied")
    assert seat.stage.posted[-1][:2] == (
        "/inbox/ap-1/answer",
        {"answer": ["deny"], "reason": ["Not to the whole list."]},
    )


async def test_stop_asks_first(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    await seat.page.locator("[data-dialog=stop]:visible").click()
    await expect(seat.page.get_by_role("button", name="Keep it running")).to_be_focused()
    await seat.page.get_by_role("button", name="Stop the run").click()
    await expect(seat.page.locator("#stop")).to_be_hidden()
    assert seat.stage.posted[-1][0] == "/runs/r-1/stop"


async def test_an_interrupted_run_offers_to_be_closed_or_run_again(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run-interrupted")
    await expect(seat.page.locator("#steer")).to_be_hidden()
    await expect(seat.page.get_by_role("link", name="Run it again")).to_have_attribute(
        "href", "/blueprints/market-intel?again=r-1"
    )
    await seat.page.get_by_role("button", name="Stop…").click()
    await expect(seat.page.locator("#stop")).to_contain_text("Its container is gone already")
    await expect(seat.page.get_by_role("button", name="Leave it open")).to_be_focused()


async def test_an_answer_goes_only_forward_and_is_told_to_ears(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card")
    await expect(seat.page.locator(".when-open")).to_be_visible()

    def answered(state: AnswerState) -> Op:
        return seat.stage.faces.answered(samples.card(answer=Answer(state, "allow", "mara", NOW)), NOW)

    seat.send(answered(AnswerState.EXECUTED))
    await expect(seat.page.locator(".steps .on")).to_have_count(3)
    await expect(seat.page.locator(".when-open")).to_be_hidden()
    await expect(seat.page.locator("#say")).to_contain_text("executed")
    seat.send(answered(AnswerState.RECORDED), badge(6))
    await expect(seat.page.locator(".nav [data-bind=badge]")).to_have_text("6")
    await expect(seat.page.locator(".steps .on")).to_have_count(3)


async def test_ears_hear_that_the_line_came_back_and_not_every_event(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("run")
    assert (
        await seat.page.locator("[data-bind=sync]").evaluate_all("n => n.filter((x) => x.closest('[role=status]'))")
        == []
    )
    seat.stage.frames.put_nowait(1012)
    await expect(seat.page.locator("#say")).to_have_text("Live again")


async def test_a_new_token_is_marked_for_copying(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("settings-new")
    await seat.page.get_by_role("button", name="Copy").click()
    await expect(seat.page.locator("#toast")).to_be_visible()
    assert await seat.page.evaluate("getSelection().toString()") == "helm_" + "k" * 43
    assert await seat.page.locator(".pwform [autocomplete=username]").count() == 1
    assert await seat.page.locator("#pw-current").count() == 0


async def test_the_theme_is_kept_and_there_before_the_first_paint(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("settings")
    await seat.page.get_by_text("Dark", exact=True).click()
    assert await seat.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 15, 17)"
    await seat.page.reload(wait_until="commit")
    await seat.page.locator("body").wait_for(state="attached")
    assert await seat.page.evaluate("document.documentElement.dataset.theme") == "dark"


async def test_the_phone_has_tabs_and_large_targets(sit: Sit) -> None:
    seat = await sit(PHONE)
    await seat.open("run")
    await seat.page.get_by_role("tab", name="Evidence").click()
    await expect(seat.page.locator("#evidence-body")).to_be_visible()
    await expect(seat.page.locator("#tl")).to_be_hidden()
    await seat.page.get_by_role("tab", name="Timeline").click()
    shown = (
        "inbox",
        "card",
        "runs",
        "run",
        "run-failed",
        "run-interrupted",
        "blueprint",
        "settings-new",
        "login-first",
        "card-ceremony",
        "card-drift",
        "card-files",
        "card-asked",
        "policies",
        "policy",
        "policy-tested",
        "grants",
        "freeze",
        "freeze-on",
    )
    for name in (*shown, "login-first"):
        await seat.page.goto(f"{seat.base}/sample/{name}")
        small = await seat.page.evaluate(SMALL)
        assert small == [], (name, small)


# Every control that a thumb has to hit, with what makes its target larger than its text taken in.
SMALL = """
[...document.querySelectorAll("a, button, input:not([type=hidden]):not(.vh), textarea, summary, .seg span")]
  .filter((n) => n.offsetParent && !n.classList.contains("skip") && !n.closest(".find, .pre, .box, p, .hd"))
  .map((n) => [n, n.getBoundingClientRect()])
  .filter(([n, r]) => r.height < 43.5 && !(n.matches(".nm") || n.matches("#steer input")))
  .map(([n, r]) => `${n.tagName}.${n.className} ${n.textContent.trim().slice(0, 20)} ${Math.round(r.height)}`)
"""


# --- answering in other ways ------------------------------------------------------------------------------------------


async def test_edit_shows_what_is_allowed_before_it_is_sent(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card")
    await expect(seat.page.locator("[data-allow]")).to_be_enabled()
    await seat.page.keyboard.press("e")
    sheet = seat.page.locator("[data-panel=edit]")
    await expect(sheet.get_by_label("to", exact=True)).to_be_visible()
    go = seat.page.get_by_role("button", name="Allow it edited")
    await expect(go).to_be_disabled()
    await sheet.get_by_label("to", exact=True).fill("research@example")
    await expect(sheet.locator(".df .add").first).to_contain_text("to: research@example")
    await expect(go).to_be_enabled()
    # A socket that tells of the same card must not take the words from under the pen.
    seat.send(seat.stage.faces.answered(samples.card(), NOW), badge(6))
    await expect(seat.page.locator(".nav [data-bind=badge]")).to_have_text("6")
    await expect(sheet.get_by_label("to", exact=True)).to_have_value("research@example")
    await go.click()
    await expect(seat.page.locator("[data-foot] .fate")).to_be_visible()
    path, form, _ = next(one for one in reversed(seat.stage.posted) if one[0].endswith("/answer"))
    assert path == "/inbox/ap-1/answer" and form["answer"] == ["edit"] and form["f.to"] == ["research@example"]
    assert form["shown"] == [samples.EDITED.preview.digest]


@pytest.mark.parametrize("viewport", [DESK, PHONE])
async def test_a_pattern_is_counted_when_its_form_opens(sit: Sit, viewport: dict[str, int]) -> None:
    seat = await sit(viewport)
    await seat.open("card")
    await seat.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await expect(seat.page.locator("[data-allow]")).to_be_enabled()
    await seat.page.get_by_text("More", exact=True).locator("visible=true").first.click()
    await seat.page.get_by_role("button", name="Allow a pattern").click()
    await expect(seat.page.locator("#ptc-ap-1")).to_contain_text("Would have matched 6 of 41 past calls.")
    await seat.page.get_by_text("Every run of market-intel").click()
    await seat.page.get_by_role("button", name="Allow calls like this").click()
    await expect(seat.page.locator("[data-foot] .fate")).to_be_visible()
    _, form, _ = next(one for one in reversed(seat.stage.posted) if one[0].endswith("/answer"))
    assert form["answer"] == ["allow_pattern"] and form["scope"] == ["blueprint"]
    assert form["pattern"] == [samples.GRANT.pattern]


async def test_a_refused_answer_keeps_its_words_at_the_card(sit: Sit) -> None:
    seat = await sit(DESK)
    seat.stage.refuse = "The log cannot be written, so nothing was answered."
    await seat.open("card")
    await expect(seat.page.locator("[data-allow]")).to_be_enabled()
    await seat.page.keyboard.press("d")
    await seat.page.keyboard.type("Not yet")
    await seat.page.keyboard.press("Enter")
    await expect(seat.page.locator(".trouble")).to_contain_text("cannot be written")
    await expect(seat.page.locator("#why-ap-1")).to_have_value("Not yet")
    await seat.page.get_by_role("button", name="Cancel").click()
    await expect(seat.page.locator("[data-allow]")).to_be_enabled()
    seat.problems[:] = [line for line in seat.problems if "422" not in line]


async def test_several_are_selected_by_keys_listed_held_and_undone(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("inbox")
    await seat.page.keyboard.press("x")
    await expect(seat.page.locator("#pickbar")).to_contain_text("1 selected")
    await seat.page.locator("[data-pick=ap-2]").check()
    seat.send(REFRESH_INBOX)
    await expect(seat.page.locator("[data-pick=ap-2]")).to_be_checked()
    await seat.page.keyboard.press("Shift+A")
    listed = seat.page.locator("#bulk-list li")
    await expect(listed).to_have_count(2)
    await expect(listed.first).to_contain_text("Send e-mail to leadership@")
    await expect(listed.first.locator("code")).to_have_text("ap-1")
    await seat.page.get_by_role("button", name="Allow each once").click()
    await expect(seat.page.locator("#hold")).to_contain_text("Allowing 2 in")
    assert seat.stage.posted[-1][:2] == ("/inbox/bulk", {"ids": ["ap-1 ap-2"], "answer": ["allow"]})
    await seat.page.get_by_role("button", name="Undo").click()
    await expect(seat.page.locator("#hold")).to_contain_text("Undone.")
    assert seat.stage.posted[-1][0] == "/inbox/bulk/blk_1/undo"
    await expect(seat.page.locator("#pickbar")).to_be_hidden()


async def test_on_a_phone_several_are_selected_in_a_mode_of_its_own(sit: Sit) -> None:
    seat = await sit(PHONE)
    await seat.open("inbox")
    await expect(seat.page.locator("[data-pick=ap-1]")).to_be_hidden()
    await seat.page.get_by_role("button", name="Select several").locator("visible=true").click()
    await seat.page.locator("[data-pick=ap-1]").check()
    await seat.page.get_by_role("button", name="Answer…").click()
    await expect(seat.page.locator("#bulk-list li")).to_have_count(1)


async def test_a_passkey_signs_what_the_server_states(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card-sign")
    button = seat.page.get_by_role("button", name="Sign with your passkey")
    await expect(button).to_be_enabled()
    await seat.page.evaluate(
        "window.helmPasskey = { sign: async (text) => ({ type: 'webauthn', data: 'signed ' + text }) }"
    )
    await button.click()
    await expect(seat.page.locator("[data-foot] .fate")).to_be_visible()
    path, form, _ = seat.stage.posted[-1]
    assert path == "/inbox/ap-1/answer" and form["answer"] == ["allow"]
    assert (form["proof_type"], form["proof_data"]) == (["webauthn"], ["signed {}"])
    assert form["at"] == ["2026-11-21T14:23:20.000Z"]


async def test_a_finding_leads_to_its_line_and_a_change_asks_for_another_test(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("policy-broken")
    await seat.page.locator(".fi").first.click()
    area = seat.page.locator("textarea[data-file='rules.toml']")
    await expect(area).to_be_focused()
    line = await area.evaluate("a => a.value.slice(0, a.selectionStart).split('\\n').length")
    assert line == 41
    await expect(seat.page.locator("#fp-2 .gutter .wrong")).to_have_count(2)
    await seat.page.get_by_role("button", name="Test against history").click()
    await expect(seat.page.locator("#trial")).to_contain_text("would be decided otherwise")
    assert seat.stage.posted[-1][1]["name2"] == ["rules.toml"] and seat.stage.posted[-1][1]["history"] == ["1"]
    await expect(seat.page.locator(".savebar")).to_be_visible()
    await area.press("End")
    await area.type(" ")
    await expect(seat.page.locator(".savebar")).to_be_hidden()
    await seat.page.evaluate("for (const a of document.querySelectorAll('.code-area')) a.value = a.dataset.was")


async def test_who_may_only_look_has_nothing_to_answer_with(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("card-viewer")
    await expect(seat.page.locator("[data-blocked]")).to_contain_text("You may look, and not answer")
    for key in ("a", "d", "e", "x"):
        await seat.page.keyboard.press(key)
    assert [path for path, _, _ in seat.stage.posted if path != "/live/ticket"] == []


async def test_a_form_that_is_sent_before_it_is_wired_is_sent_as_it_was_meant(sit: Sit) -> None:
    seat = await sit(DESK)
    await seat.open("inbox")
    before = seat.page.url
    await seat.page.route("**/quick", lambda route: route.fulfill(status=204))
    async with seat.page.expect_request("**/quick", timeout=10_000) as asked:
        await seat.page.evaluate(
            """() => {
              const form = document.createElement("form");
              form.setAttribute("hx-post", "/quick");
              form.setAttribute("hx-swap", "none");
              form.innerHTML = '<input name="answer" value="deny"><button>Deny</button>';
              document.querySelector("main").append(form);
              form.querySelector("button").click();
            }"""
        )
    request = await asked.value
    assert (request.method, request.post_data) == ("POST", "answer=deny") and seat.page.url == before
