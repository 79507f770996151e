"""What a person waits for, in a real Chromium: from a recorded event to the line in the page and on the screen, beside
a plain page of htmx with its WebSocket extension; and how long a run of 15,000 events takes to open.

Run as `python -m tests.bench.bench_page`; under a minute; prints figures, asserts nothing.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.kit import Report, ms, p50, p99, run, times
from tests.bench.stages import Server, stage

RATE: Final = 50
EVENTS: Final = 200
LONG: Final = 15_000
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# An element is in the page when the observer hears of it, and painted when the frame that it is in has been made: a
# message that is sent from inside a frame is heard after its painting.
WATCH: Final = """() => {
  const now = () => performance.timeOrigin + performance.now();
  const seen = globalThis.seen = { dom: {}, painted: {} };
  let fresh = [];
  const after = new MessageChannel();
  after.port1.onmessage = () => { const at = now(); for (const n of fresh) seen.painted[n] = at; fresh = []; };
  const frame = () => { after.port2.postMessage(0); requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new MutationObserver((changes) => {
    const at = now();
    for (const change of changes) for (const node of change.addedNodes)
      for (const [, n] of (node.textContent || "").matchAll(/bench-([0-9]{6})/g))
        if (!(+n in seen.dom)) { seen.dom[+n] = at; fresh.push(+n); }
  }).observe(document.body, { childList: true, subtree: true });
}"""
LOADED: Final = """() => {
  const page = performance.getEntriesByType("navigation")[0];
  const rest = performance.getEntriesByType("resource");
  const first = performance.getEntriesByName("first-contentful-paint")[0];
  return { server: page.responseStart - page.requestStart, painted: first?.startTime ?? 0,
    document: page.transferSize, whole: rest.reduce((sum, one) => sum + one.transferSize, page.transferSize),
    rows: document.querySelectorAll("[id^=row-]").length };
}"""


def extension() -> tuple[str, str]:
    """The text of htmx-ext-ws from the package registry, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["npm", "pack", "htmx-ext-ws@2"], cwd=folder, check=True, capture_output=True, timeout=30)
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as pack:
                held = next(
                    pack.extractfile(one) for one in pack if one.name in ("package/ws.js", "package/dist/ws.js")
                )
                return (held.read().decode() if held is not None else ""), ""
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            return "", f"{type(error).__name__}"


def offset(page: Page) -> float:
    """What the browser's clock shows more than ours, in seconds; the tightest of some readings."""
    found = []
    for _ in range(20):
        before = time.time()
        theirs = float(page.evaluate("performance.timeOrigin + performance.now()")) / 1e3
        after = time.time()
        found.append((after - before, theirs - (before + after) / 2))
    return min(found)[1]


def followed(page: Page, server: Server, what: str) -> dict[str, list[float]]:
    """Delays from the recording to the page and to the screen."""
    page.evaluate(WATCH)
    server.ask(what, 10, RATE)
    _until_painted(page, 10)
    page.evaluate("() => { globalThis.seen.dom = {}; globalThis.seen.painted = {}; }")
    skew, noted = offset(page), server.ask(what, EVENTS, RATE)
    _until_painted(page, EVENTS)
    seen: dict[str, dict[str, float]] = page.evaluate("globalThis.seen")
    return {kind: [at / 1e3 - skew - noted[int(n)] / 1e9 for n, at in found.items()] for kind, found in seen.items()}


def _until_painted(page: Page, count: int) -> None:
    # Asked from outside: the page's policy forbids a waiting function inside it.
    end = time.monotonic() + 15
    while page.evaluate("Object.keys(globalThis.seen.painted).length") < count and time.monotonic() < end:
        time.sleep(0.05)


def signed_in(browser: Browser, server: Server) -> Page:
    """A new browser profile that holds the cookies of a session."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    cookies: Any = [{"name": name, "value": value, "url": server.base} for name, value in server.ask("cookies").items()]
    context.add_cookies(cookies)
    return context.new_page()


def _events(report: Report, browser: Browser, server: Server, why_not: str) -> None:
    with report.table(
        f"event to page and screen, {EVENTS} events at {RATE}/s", "DOM p50", "DOM p99", "paint p50", "paint p99"
    ):
        page = signed_in(browser, server)
        page.goto(f"{server.base}/runs/{server.run}")
        page.locator("[data-bind=sync][data-state=live]").first.wait_for(state="attached")
        ours = _told(report, "Helm's run page, from record() on", followed(page, server, "notes"))
        page.context.close()
        if why_not:
            report.say(f"no plain htmx-ext-ws page beside it: npm pack htmx-ext-ws: {why_not}")
        else:
            page = browser.new_page()
            page.goto(server.plain)
            page.wait_for_timeout(500)
            theirs = _told(
                report, "plain htmx-ext-ws page, from send() on, no log", followed(page, server, "plain_notes")
            )
            report.say(f"Helm / plain, painted p50: {times(ours[0] / theirs[0])}, p99: {times(ours[1] / theirs[1])}")
            page.context.close()
    told = f"p50 {ms(ours[0])}, p99 {ms(ours[1])}"
    report.goal("event to painted", "p50 < 25 ms, p99 < 80 ms", told, ours[0] < 0.025 and ours[1] < 0.080)


def _told(report: Report, name: str, found: dict[str, list[float]]) -> tuple[float, float]:
    dom, painted = found["dom"], found["painted"]
    report.row(name, ms(p50(dom)), ms(p99(dom)), ms(p50(painted)), ms(p99(painted)))
    return p50(painted), p99(painted)


def _opening(report: Report, browser: Browser, server: Server) -> None:
    columns = ("server", "painted", "readable", "document", "with files")
    sizes = (0, 1_500, LONG)
    with report.table("opening a run, cold cache (median of 5)", *columns):
        there = 0
        for size in sizes:
            server.ask("fill", size - there)
            there = size
            loads = [_load(browser, server) for _ in range(2 if report.quick else 5)]
            middle = {name: statistics.median(one[name] for one in loads) for name in loads[0]}
            cells = [f"{middle[name]:.0f} ms" for name in ("server", "painted", "readable")]
            cells += [f"{middle[name] / 1e3:.0f} kB" for name in ("document", "whole")]
            report.row(f"{size:,} more events", *cells, note=f"{middle['rows']:.0f} lines on the page")
    told = f"{middle['readable']:.0f} ms, {middle['document'] / 1e3:.0f} kB ({middle['whole'] / 1e3:.0f} kB with files)"
    met = middle["readable"] < 1_000 and middle["whole"] < 300_000
    report.goal(f"opening a run of {LONG:,} events", "< 1 s to readable, < 300 kB first page", told, met)


def _load(browser: Browser, server: Server) -> dict[str, float]:
    page = signed_in(browser, server)
    began = time.perf_counter()
    page.goto(f"{server.base}/runs/{server.run}", wait_until="commit")
    page.locator("#tl-scroll [id^=row-]").last.wait_for(state="visible")
    readable = (time.perf_counter() - began) * 1e3
    page.wait_for_load_state("load")
    found: dict[str, float] = page.evaluate(LOADED)
    page.context.close()
    return found | {"readable": readable}


def measure(report: Report) -> None:
    """What a person waits for."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        report.say("no Chromium here: nothing to measure")
        return
    script, why_not = extension()
    with stage(extension=script) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        _events(report, browser, server, why_not)
        _opening(report, browser, server)
        browser.close()


if __name__ == "__main__":
    run(measure)
