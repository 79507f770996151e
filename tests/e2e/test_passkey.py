"""A passkey in a real browser: made in the settings, and used to sign an answer, with a virtual authenticator of
Chromium's own. The server is a real one; only containers are names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.ceremony import ceremony_library, rule
from tests.cli.kit import Running, served
from tests.cli.test_commands import SEND, ask, begin, waiting
from tests.faces.gallery import check, watch

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
expect.set_options(timeout=20_000)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    ceremony_library(tmp_path, rule("keyed", SEND, "ESCALATE", 'risk = "high"\napproval = { proof = "key" }'))
    with served(tmp_path / "home", HELM_POLICIES=str(tmp_path / "policies")) as running:
        running.helm("key", "set", "anthropic", given="sk-nobody-uses-this")
        yield running
    checked = running.helm("verify-log", "--json")
    assert checked.code == 0, checked.out


@pytest.fixture
async def page(server: Running) -> AsyncIterator[Page]:
    """A signed-in page of the dashboard; at its end it may not have complained."""
    problems: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--headless"]
        )
        found = await (await browser.new_context()).new_page()
        await watch(found, problems)
        await found.goto(server.announced["login"])
        for field in ("password", "again"):
            await found.locator(f"input[name={field}]").fill(PASSWORD)
        await found.locator("button").first.click()
        await found.wait_for_url("**/inbox")
        yield found
        await check(found, problems, found.url)
        await browser.close()
    # Chromium advises to take RSA as well; Helm takes none.
    assert [problem for problem in problems if "pubKeyCredParams" not in problem] == []


async def authenticator(page: Page, *, verifies: bool = True) -> None:
    """An authenticator of Chromium's own, which says that it verified its person, or that it did not."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


async def added(page: Page, server: Running) -> None:
    await page.goto(server.announced["url"] + "/settings")
    await page.get_by_label("Name of a new passkey").fill("this laptop")
    await page.get_by_role("button", name="Add a passkey").click()


async def asked(server: Running) -> tuple[str, threading.Thread, list[dict[str, Any]]]:
    run = await asyncio.to_thread(begin, server)
    thread, answers = await asyncio.to_thread(ask, server, run, "toolu_passkey")
    item = await asyncio.to_thread(waiting, server, run)
    return str(item["key"]), thread, answers


async def test_a_passkey_is_made_and_signs_an_answer_on_the_card(server: Running, page: Page) -> None:
    await authenticator(page)
    await added(page, server)
    await expect(page.locator("#approver-keys .krow")).to_contain_text("this laptop")
    await expect(page.locator("#approver-keys .krow")).to_contain_text("passkey")
    key, thread, answers = await asked(server)
    await page.goto(f"{server.announced['url']}/inbox/{key}")
    await page.get_by_role("button", name="Sign with your passkey").click()
    await asyncio.to_thread(thread.join, 30)
    assert answers[0]["hookSpecificOutput"]["permissionDecision"] == "allow", answers
    checked = await asyncio.to_thread(server.helm, "verify-log", "--json")
    assert "W_APPR_OPERATOR_ASSERTED" not in checked.document["warning_counts"]


async def test_an_authenticator_that_does_not_verify_its_person_is_not_enrolled(server: Running, page: Page) -> None:
    await authenticator(page, verifies=False)
    await added(page, server)
    await expect(page.locator("[data-passkey-words]")).to_contain_text("cancelled, or took too long")
    assert server.helm("approver", "list", "--json").document["keys"] == []


async def test_an_answer_without_a_signature_is_refused(server: Running, page: Page) -> None:
    key, thread, answers = await asked(server)
    refused = await asyncio.to_thread(server.helm, "inbox", "allow", key)
    assert refused.code != 0 and "must be signed" in refused.error
    assert (await asyncio.to_thread(server.helm, "inbox", "deny", key)).code == 0
    await asyncio.to_thread(thread.join, 30)
    assert answers[0]["hookSpecificOutput"]["permissionDecision"] == "deny", answers
