"""Plays the demo in a real browser behind the real Caddy and keeps a picture of every page, at a desk and on a phone,
dark and light: `python -m tests.e2e.screenshots [FOLDER]`. The folder is outside the tree and named at the end."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from playwright.async_api import expect

from tests.cli.kit import ROOT
from tests.e2e.front import DESK, PHONE, Front, Seat, ended, front, start_run

VIEWS: Final = (("desk", DESK, "dark"), ("desk", DESK, "light"), ("phone", PHONE, "dark"), ("phone", PHONE, "light"))
expect.set_options(timeout=60_000)


class Album:
    """Takes each page in both sizes and both themes."""

    def __init__(self, folder: Path, house: Front) -> None:
        self.folder, self._house = folder, house
        self._seats: list[tuple[str, Seat]] = []
        self.taken = 0

    async def open(self, signed_in: Seat | None) -> None:
        """Seats for the four views, signed in as another seat or not at all."""
        for _, seat in self._seats:
            await seat.look()
            await seat.page.context.close()
        self._seats = []
        for name, size, theme in VIEWS:
            self._seats.append((f"{name}-{theme}", await self._house.sit(size, theme=theme, of=signed_in)))

    async def take(self, name: str, path: str, *, press: str = "", click: str = "") -> None:
        """One page in all views; `press` a key or `click` a selector before."""
        for view, seat in self._seats:
            await seat.go(path)
            if press:
                await seat.page.keyboard.press(press)
            if click and await seat.page.locator(click).first.is_visible():
                await seat.page.locator(click).first.click()
            await seat.page.evaluate("document.fonts.ready")
            await seat.page.screenshot(path=self.folder / f"{name}-{view}.png", animations="disabled")
            await seat.look()
            self.taken += 1


async def play(house: Front, album: Album) -> None:
    """The demo from its first minute to its verified log, with a picture of every page on the way."""
    await album.open(None)
    first = house.link.removeprefix(house.base)
    await album.take("01-link", first)
    await album.take("02-login", "/login")
    lead = await house.sit()
    await house.sign_in_by_link(lead)
    await album.open(None)
    await album.take("03-link-spent", first)
    await album.open(lead)
    await album.take("04-inbox-empty", "/inbox")
    await album.take("05-runs-empty", "/runs")
    await album.take("06-blueprints", "/blueprints")
    await album.take("07-blueprint", "/blueprints/market-brief")
    await album.take("08-evidence", "/evidence")
    await album.take("09-settings", "/settings")
    brief = await start_run(lead, "market-brief")
    await album.take("10-run-starting", brief)
    await expect(lead.page.locator(".ask[data-open]")).to_be_visible()
    await album.take("11-run-waiting", brief)
    await album.take("12-run-egress", brief, click="#tab-egress")
    await album.take("13-run-spend", brief, click="#tab-spend")
    await album.take("14-run-evidence", brief, click="#tab-evidence")
    other = await start_run(lead, "rotate-secret")
    await expect(lead.page.locator(".ask[data-open]")).to_be_visible()
    await album.take("15-inbox", "/inbox")
    question = await lead.page.locator(".ask[data-open] a", has_text="Review").get_attribute("href")
    await album.take("16-card-command", str(question))
    await lead.go(brief)
    mail = await lead.page.locator(".ask[data-open] a", has_text="Review").get_attribute("href")
    await album.take("17-card-email", str(mail))
    await album.take("18-card-deny", str(mail), press="d")
    await album.take("19-keys", "/inbox", press="?")
    await album.take("26-card-edit", str(mail), press="e")
    await album.take("27-card-more", str(mail), click=".acts .more summary")
    await album.take("28-policies", "/policies")
    await album.take("29-policy", "/policies/ops")
    await album.take("30-policy-edit", "/policies/default/edit")
    await album.take("31-freeze", "/freeze")
    await lead.go("/freeze")
    await lead.page.get_by_role("button", name="Freeze everything").click()
    await expect(lead.page.get_by_role("heading", name="Everything is frozen")).to_be_visible()
    await album.take("32-frozen", "/freeze")
    await album.take("33-card-frozen", str(mail))
    await lead.page.get_by_role("button", name="Let it go on").last.click()
    await expect(lead.page.locator(".frost")).to_have_count(0)
    await answer(lead, str(mail))
    await album.take("34-grants", "/grants")
    await album.take("20-card-answered", str(mail))
    await lead.go(brief)
    await ended(lead)
    await album.take("21-run-finished", brief)
    await album.take("22-runs", "/runs")
    await lead.go(other)
    await lead.page.get_by_role("button", name="Stop…").click()
    await lead.page.get_by_role("button", name="Stop the run").click()
    await ended(lead, "Stopped")
    await album.take("23-run-stopped", other)
    await lead.go("/evidence")
    await lead.page.get_by_role("button", name="Check the log now").click()
    await expect(lead.page.get_by_role("heading", name="The log verifies")).to_be_visible()
    await album.take("24-evidence-verified", "/evidence")
    await album.take("25-not-found", "/runs/r-nobody")


async def answer(seat: Seat, question: str) -> None:
    """Allow it as a person does."""
    await seat.go(question)
    await seat.page.locator("[data-payload-end]").scroll_into_view_if_needed()
    await seat.page.get_by_role("button", name="Allow once").click()
    await expect(seat.page.locator(".steps li.on")).to_have_text(["recorded", "delivered", "executed"])


async def main(words: Sequence[str]) -> int:
    """Play, take, name the folder; 1 when a page complained."""
    folder = Path(words[0]) if words else Path(tempfile.gettempdir()) / "helm-screens"
    if folder.resolve().is_relative_to(ROOT):
        print(f"{folder} is inside the tree; name a folder outside of it", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    async with front() as house:
        album = Album(folder, house)
        await play(house, album)
        problems = [one for one in await house.complaints() if "status of 4" not in one]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{album.taken} pictures in {folder}, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
