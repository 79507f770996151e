"""The whole journey in a real browser through the real Caddy: sign in, start, watch, steer, answer, verify."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.e2e.front import PHONE, SMALL, Front, Seat, ended, front, start_run, texts

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]
expect.set_options(timeout=60_000)
SEEN = re.compile(r"queued › delivered ›\s*seen at #\d+")


async def steer(seat: Seat, words: str) -> None:
    """Send a message into the run on this page, for its next step."""
    await seat.page.get_by_label("Message to the agent").fill(words)
    await seat.page.get_by_title("Sent at the next step").click()
    await seat.page.get_by_role("button", name="Send", exact=True).click()


@pytest.fixture
async def house() -> AsyncIterator[Front]:
    """An installation that nobody has signed in to; at the end no page of it may have complained."""
    async with front() as made:
        yield made
        assert await made.complaints() == []


async def test_a_run_is_watched_steered_allowed_and_its_log_verifies(house: Front) -> None:
    desk = await house.sit()
    await house.sign_in_by_link(desk)
    beside = await house.seat_in(desk.page.context)
    await beside.go("/inbox")
    await beside.stays()

    await start_run(desk, "market-brief")
    await desk.stays()
    await expect(desk.page.locator("[data-kind=call]").first).to_be_visible()
    await steer(desk, "Mention the source of each price.")
    await expect(desk.page.locator("[data-kind=steering]")).to_contain_text(SEEN)

    # The question comes in by itself, on the page that looks at the inbox and in the title of every other.
    await expect(beside.page).to_have_title("(1) Inbox · Helm")
    await expect(beside.page.locator("#inbox-list .it")).to_have_count(1)
    await expect(desk.page).to_have_title("(1) Competitor price brief · Helm")
    await expect(desk.page.locator(".ask[data-open]")).to_contain_text("leadership@example.com")
    assert house.letters() == []
    # A message does not answer the question: it waits, and is read when the run goes on.
    await steer(desk, "Keep it short.")
    late = desk.page.locator("[data-kind=steering]").nth(1)
    await expect(late).to_contain_text("delivered")
    await expect(late).not_to_contain_text("seen")

    await beside.page.set_viewport_size({"width": 1440, "height": 420})
    await beside.page.locator("#inbox-list .it").click()
    allow = beside.page.get_by_role("button", name="Allow once")
    await expect(allow).to_be_disabled()
    await beside.page.keyboard.press("a")
    await expect(beside.page.locator("#toast")).to_contain_text("Scroll to the end")
    await beside.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await expect(allow).to_be_enabled()
    await allow.click()
    await expect(beside.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])
    assert await beside.stayed()

    await expect(late).to_contain_text(SEEN)
    await ended(desk)
    assert await desk.stayed()
    await expect(desk.page).to_have_title("Competitor price brief · Helm")
    (letter,) = house.letters()
    assert "To: leadership@example.com" in letter
    shown = await desk.rows()
    assert len(shown) == len(set(shown))
    # What came in live is what a page shows that is opened now.
    await beside.page.set_viewport_size({"width": 1440, "height": 900})
    await beside.go(desk.page.url.removeprefix(desk.base))
    assert await beside.rows() == shown
    for part in ("#spend-body td", "#spend-body dd", "#egress-body td:not(:last-child)"):
        await expect(desk.page.locator(part)).to_have_text(list(await texts(beside.page.locator(part))))

    await desk.go("/evidence")
    await desk.page.get_by_role("button", name="Check the log now").click()
    await expect(desk.page.get_by_role("heading", name="The log verifies")).to_be_visible()


async def test_a_denial_on_the_phone_is_read_by_the_agent(house: Front) -> None:
    phone = await house.sit(PHONE)
    await house.sign_in_by_link(phone)
    run = await start_run(phone, "rotate-secret")
    await expect(phone.page.locator(".ask[data-open]")).to_have_count(1)
    await phone.go("/inbox")
    await phone.page.locator("#inbox-list .it").first.tap()
    await expect(phone.page.locator("main.inbox.open")).to_be_visible()
    await phone.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await phone.page.get_by_role("button", name="Allow once").tap()
    await expect(phone.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])

    await phone.go(run)
    await expect(phone.page.locator(".ask[data-open]")).to_contain_text("integrations@partner.example.com")
    await phone.page.locator(".ask[data-open] a", has_text="Review").tap()
    await phone.page.get_by_role("button", name="Deny…").tap()
    await phone.page.get_by_label("Why not?").fill("The partner is told by telephone.")
    await phone.page.locator(".acts .denybox").get_by_role("button", name="Deny", exact=True).tap()
    await expect(phone.page.locator(".fate")).to_contain_text("You denied this")
    await expect(phone.page.locator(".steps li.on")).to_have_text(["recorded", "delivered"])

    await phone.go(run)
    await ended(phone)
    asked = await texts(phone.page.locator("[data-kind=approval]"))
    assert "allowed once" in asked[0]
    assert "denied" in asked[1]
    assert house.letters() == []


async def question(seat: Seat, blueprint: str) -> str:
    """Start a run and open the card of its first question; the run's address."""
    run = await start_run(seat, blueprint)
    card = await seat.page.locator(".ask[data-open] a", has_text="Review").get_attribute("href")
    await seat.go(str(card))
    await seat.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await expect(seat.page.get_by_role("button", name="Allow once")).to_be_enabled()
    return run


async def test_an_edited_letter_goes_out_and_a_pattern_lets_the_next_run_through(house: Front) -> None:
    desk = await house.sit()
    await house.sign_in_by_link(desk)
    run = await question(desk, "market-brief")
    await desk.page.keyboard.press("e")
    sheet = desk.page.locator("[data-panel=edit]")
    await sheet.get_by_label("subject", exact=True).fill("As a person wrote it")
    await expect(sheet.locator(".df .add")).to_contain_text(["As a person wrote it"])
    await sheet.get_by_role("button", name="Allow it edited").click()
    await expect(desk.page.locator(".fate")).to_contain_text("You allowed it, edited")
    await expect(desk.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])
    (letter,) = house.letters()
    assert "Subject: As a person wrote it" in letter
    await desk.go(run)
    await ended(desk)

    run = await question(desk, "market-brief")
    await desk.page.locator(".acts summary", has_text="More").click()
    await desk.page.get_by_role("button", name="Allow a pattern").click()
    counted = desk.page.locator("[id^=ptc-]")
    await expect(counted).to_contain_text("Would have matched 1 of 1 past call.")
    await desk.page.get_by_text("Every run of market-brief").click()
    await expect(counted).to_contain_text("Would have matched 2 of 2 past calls.")
    await desk.page.get_by_role("button", name="Allow calls like this").click()
    await expect(desk.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])
    await desk.go(run)
    await ended(desk)

    run = await start_run(desk, "market-brief")
    await ended(desk)
    assert await desk.page.locator("[data-kind=approval]").count() == 0
    assert len(house.letters()) == 3
    await desk.go("/grants")
    await expect(desk.page.locator(".gr")).to_contain_text("1 of 20")
    await desk.page.get_by_text("Revoke…").click()
    await desk.page.get_by_role("button", name="Revoke it now").click()
    await expect(desk.page.locator(".gr")).to_contain_text("revoked by")


async def test_several_are_answered_at_once_and_a_freeze_holds_everything(house: Front) -> None:
    desk = await house.sit()
    await house.sign_in_by_link(desk)
    first = await question(desk, "market-brief")
    await question(desk, "rotate-secret")
    beside = await house.seat_in(desk.page.context)
    await beside.go(first)
    await beside.stays()

    await desk.go("/freeze")
    await desk.page.get_by_label("Reason, for the log").fill("A look first")
    await desk.page.get_by_role("button", name="Freeze everything").click()
    await expect(desk.page.get_by_role("heading", name="Everything is frozen")).to_be_visible()
    await expect(beside.page.locator(".frost")).to_contain_text("A look first")
    await desk.go("/inbox")
    await expect(desk.page.locator("[data-blocked]")).to_contain_text("froze everything")
    await expect(desk.page.get_by_role("button", name="Allow once")).to_have_count(0)
    await desk.page.locator(".frost summary").click()
    await desk.page.get_by_role("button", name="Let it go on").click()
    await expect(desk.page.locator(".frost")).to_have_count(0)
    await expect(beside.page.locator(".frost")).to_have_count(0)
    await expect(desk.page.get_by_role("button", name="Allow once")).to_have_count(1)

    for box in await desk.page.locator("[data-pick]").all():
        await box.check()
    await desk.page.keyboard.press("Shift+A")
    await expect(desk.page.locator("#bulk-list li")).to_have_count(2)
    await desk.page.get_by_role("button", name="Allow each once").click()
    await desk.page.locator("#hold").get_by_role("button", name="Undo").click()
    await expect(desk.page.locator("#hold")).to_contain_text("Undone")
    assert house.letters() == []
    for box in await desk.page.locator("[data-pick]").all():
        await box.check()
    await desk.page.keyboard.press("Shift+A")
    await desk.page.get_by_role("button", name="Allow each once").click()
    await expect(desk.page.locator("#hold")).to_contain_text("2 of 2 allowed once.")
    await ended(beside)
    assert await beside.stayed()
    assert len(house.letters()) == 1


async def test_a_cut_line_and_a_restart_lose_nothing_and_repeat_nothing(house: Front) -> None:
    desk = await house.sit()
    await house.sign_in_by_link(desk)
    await start_run(desk, "market-brief")
    chip = desk.page.locator(".chip [data-bind=sync]")
    await expect(desk.page.locator("[data-kind=call]").first).to_be_visible()
    await desk.stays()
    await house.cut()
    await expect(chip).to_contain_text("offline since")
    kept = await desk.rows()
    await expect(desk.page.locator("#offline")).to_be_visible()
    assert await desk.rows() == kept
    await house.connect()
    await expect(chip).to_contain_text("caught up")

    await expect(desk.page.locator(".ask[data-open]")).to_have_count(1)
    await house.restart()
    await expect(desk.page.locator(".ask[data-open]")).to_have_count(1)
    await expect(chip).to_contain_text("caught up")
    await desk.page.locator(".ask[data-open]").get_by_role("button", name="Deny…").click()
    await desk.page.locator(".ask .denybox").get_by_role("button", name="Deny", exact=True).click()
    await ended(desk)
    assert await desk.stayed()
    assert house.letters() == []
    desk.forgive_lost_line()

    shown = await desk.rows()
    await desk.page.reload()
    await desk.live()
    assert await desk.rows() == shown
    assert len(shown) == len(set(shown))


async def test_every_page_fits_the_smallest_phone(house: Front) -> None:
    phone = await house.sit(SMALL)
    await house.sign_in_by_link(phone)
    pages = ["/inbox", "/runs", "/blueprints", "/policies", "/policies/default", "/policies/default/edit"]
    pages += ["/grants", "/freeze", "/evidence", "/settings"]
    for path in pages:
        await phone.go(path)
    run = await start_run(phone, "market-brief")
    question = phone.page.locator(".ask[data-open] a", has_text="Review")
    card = str(await question.get_attribute("href"))
    for size in (PHONE, SMALL):
        await phone.page.set_viewport_size({"width": size[0], "height": size[1]})
        for path in (run, card, *pages):
            await phone.go(path)
            await phone.look()
        await phone.go(run)
        for tab in ("spend", "egress", "evidence"):
            await phone.page.locator(f"#tab-{tab}").tap()
            await phone.look()
    await phone.go(card)
    await phone.page.get_by_role("button", name="Deny…").tap()
    await phone.look()
    await phone.page.locator(".acts .denybox").get_by_role("button", name="Deny", exact=True).tap()
    await expect(phone.page.locator(".fate")).to_contain_text("You denied this")
    await phone.go(run)
    await ended(phone)


async def test_signing_out_another_device_ends_its_page(house: Front) -> None:
    desk, phone = await house.sit(), await house.sit(PHONE)
    await house.sign_in_by_link(desk)
    await house.sign_in(phone)
    await phone.go("/runs")
    await desk.go("/settings")
    await desk.page.get_by_role("button", name="Sign it out").click()
    await phone.page.wait_for_url("**/login?next=*")
    await expect(desk.page.get_by_role("button", name="Sign it out")).to_have_count(0)


async def test_the_keyboard_alone_is_enough(house: Front) -> None:
    desk = await house.sit()
    await house.sign_in_by_link(desk)
    keys = desk.page.keyboard
    await keys.press("?")
    await expect(desk.page.locator("#keys")).to_be_visible()
    await keys.press("Escape")
    await keys.press("g")
    await keys.press("b")
    await desk.page.wait_for_url("**/blueprints")
    await keys.press("j")
    await keys.press("j")
    await keys.press("k")
    await keys.press("j")
    first = await desk.page.locator(".list .it:focus").get_attribute("href")
    assert first is not None
    await keys.press("Enter")
    await desk.page.wait_for_url(f"**{first}")
    await desk.go("/blueprints/rotate-secret")
    await desk.page.get_by_label("Name of the run").press("Enter")
    await desk.page.wait_for_url("**/runs/*")
    await keys.press("g")
    await keys.press("i")
    await desk.page.wait_for_url("**/inbox")
    await desk.live()
    await expect(desk.page.locator("#inbox-list .it")).to_have_count(1)
    await keys.press("j")
    await expect(desk.page.get_by_role("button", name="Allow once")).to_be_enabled()
    await keys.press("a")
    await expect(desk.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])
    await expect(desk.page.locator("#inbox-list .it").first).to_contain_text("integrations@partner.example.com")
    await keys.press("j")
    await expect(desk.page.locator("[data-card]")).to_contain_text("integrations@partner.example.com")
    await keys.press("d")
    await keys.type("By telephone.")
    await keys.press("Enter")
    await expect(desk.page.locator(".fate")).to_contain_text("You denied this")
    await keys.press("g")
    await keys.press("r")
    await desk.page.wait_for_url("**/runs")
    await desk.live()
    await keys.press("j")
    await keys.press("Enter")
    await desk.page.wait_for_url("**/runs/*")
    await ended(desk)
