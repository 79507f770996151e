"""Takes a picture of every page at a desk and on a phone, dark and light: `python -m tests.faces.gallery [name ...]`.

Prints CSP violations, console errors and sideways overflow; exit 1 when there is any. Pictures go to /tmp/gallery.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.faces.stage import Stage, running

OUT = Path("/tmp/gallery")
SIZES = {"desk": (1440, 900, 1), "phone": (390, 844, 2)}
NARROW = {"small": (360, 740, 1), "rail": (1024, 768, 1)}
# Panes clip what is too wide, so each of them is asked, and not only the page.
TOO_WIDE = """
[document.documentElement, ...document.querySelectorAll("body, main, section, .scroll, .bar-h, .acts, form")]
  .filter((n) => n.clientWidth && n.scrollWidth > n.clientWidth + 1).map((n) => n.className || n.tagName)
"""
WATCH = """
globalThis.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => globalThis.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


async def watch(page: Page, problems: list[str]) -> None:
    """Collect everything that a clean page does not do."""
    await page.add_init_script(WATCH)
    page.on(
        "console", lambda m: problems.append(f"console {m.type}: {m.text}") if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))


async def check(page: Page, problems: list[str], where: str) -> None:
    """No sideways scrolling, no CSP violation, the icons there."""
    problems += [f"{where}: too wide: {one}" for one in await page.evaluate(TOO_WIDE)]
    problems += [f"{where}: CSP {one}" for one in await page.evaluate("globalThis.violations")]


async def shoot(browser: Browser, base: str, names: list[str], problems: list[str]) -> None:
    """All pictures of the named samples."""
    for theme in ("dark", "light"):
        for size, (width, height, scale) in (SIZES | NARROW).items():
            if size in NARROW and theme == "light":
                continue
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                device_scale_factor=scale,
                color_scheme="dark" if theme == "dark" else "light",
                has_touch=size == "phone",
                timezone_id="UTC",
            )
            page = await context.new_page()
            await watch(page, problems)
            for name in names:
                where = f"{name}-{size}-{theme}"
                mark = len(problems)
                await page.goto(f"{base}/sample/{name}")
                await page.locator("main").wait_for()
                if await page.locator("[data-bind=sync]").count():
                    await page.locator("[data-bind=sync][data-state=live]").first.wait_for(state="attached")
                await page.evaluate("document.fonts.ready")
                await check(page, problems, where)
                problems[mark:] = [line if line.startswith(where) else f"{where}: {line}" for line in problems[mark:]]
                await page.screenshot(path=OUT / f"{where}.png")
            await context.close()


async def main(names: list[str]) -> int:
    """Serve, shoot, tell."""
    stage, problems = Stage(), list[str]()
    async with running(stage) as base, async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--headless"]
        )
        await shoot(browser, base, names or list(stage.pages), problems)
        await browser.close()
    for line in problems:
        print(line)
    print(f"{len(problems)} problems, pictures in {OUT}")
    return 1 if problems else 0


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    sys.exit(asyncio.run(main(sys.argv[1:])))
