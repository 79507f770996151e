"""The templates keep their promises for every sample: inert under hostile text, no inline code, no dead links."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from app.web import text
from app.web.charts import spend_chart
from app.web.payloads import (
    CommandBody,
    EmailBody,
    FileBody,
    HttpBody,
    JsonBody,
    diff_lines,
    payload_of,
    statements,
    text_blocks,
)
from app.web.present import ROWS, Faces, badge
from app.web.rows import AnswerState, CallRow, CallState, LaneRow, TextRow
from app.web.views import Answer, InboxPage, Money, SpendSeries, TimelineChunk
from hypothesis import given
from hypothesis import strategies as st

from tests.faces import samples, samples_pages, samples_run

ROOT = Path(__file__).parents[2]
FACES = Faces(ROOT / "templates", ROOT / "static", UTC)
PAGES = samples_pages.pages()
ROUTES = re.compile(
    r"^(#.*|/(inbox|runs|blueprints|policies|grants|freeze|evidence|settings|login|logout)([/?].*)?|/api/v1/openapi.json|/d|/static/[a-z0-9./-]+\?v=[0-9a-f]{10}(#i-[a-z]+)?)$"
)


class Seen(HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


def seen(html: str) -> Seen:
    """Parse a page or fragment."""
    parser = Seen()
    parser.feed(html)
    return parser


def drawn() -> dict[str, str]:
    """Every page and fragment there is, by name."""
    now = samples.NOW
    html = {name: FACES.page(page, now) for name, page in PAGES.items()}
    html["detail"] = FACES.call_detail(samples_run.DETAIL, now)
    html["chunk"] = FACES.chunk(TimelineChunk("r-1", samples_run.rows(), 12), now)
    html["foot"] = FACES.card_foot(samples.card(), now)
    run = samples_run.run_page()
    for op in [
        *FACES.run_head(run.run, now),
        *FACES.run_side(run, now),
        FACES.run_line(samples_pages.run_rows()[0], now),
    ]:
        html[op["target"]] = op["html"]
    return html


DRAWN = drawn()


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_inline_and_htmx_evaluates_nothing(name: str) -> None:
    for tag, attributes in seen(DRAWN[name]).tags:
        assert tag not in {"style", "iframe", "object", "embed", "base"}
        if tag == "script":
            assert attributes["src"].startswith("/static/")
        assert "style" not in attributes
        for key, value in attributes.items():
            assert not key.startswith(("on", "hx-on"))
            assert not (key == "hx-vals" and "js:" in value)
            assert not (key == "hx-trigger" and "[" in value)
    assert not re.search(r"<script(?![^>]*src=)", DRAWN[name])


@pytest.mark.parametrize("name", DRAWN)
def test_every_address_is_one_of_ours_and_every_icon_exists(name: str) -> None:
    icons = set(re.findall(r'id="(i-[a-z]+)"', (ROOT / "static/icons.svg").read_text()))
    for tag, attributes in seen(DRAWN[name]).tags:
        for key in ("href", "src", "action", "hx-get", "hx-post"):
            if key in attributes:
                assert ROUTES.match(attributes[key]), (tag, key, attributes[key])
                assert not urlsplit(attributes[key]).netloc
        if tag == "use":
            assert attributes["href"].split("#")[1] in icons


@pytest.mark.parametrize("name", DRAWN)
def test_ids_are_unique_and_labels_point_somewhere(name: str) -> None:
    tags = seen(DRAWN[name]).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)), sorted(one for one in ids if ids.count(one) > 1)
    for _, attributes in tags:
        for key in ("for", "aria-controls", "aria-labelledby", "aria-describedby"):
            assert key not in attributes or attributes[key] in ids
    for tag, attributes in tags:
        if tag in {"input", "textarea"} and attributes.get("type") not in {"hidden", "radio"}:
            labelled = attributes.get("aria-label") or attributes.get("id") in {a.get("for") for _, a in tags}
            assert labelled, attributes


@pytest.mark.parametrize("name", ["run-evil", "card-evil"])
def test_hostile_text_is_shown_and_does_nothing(name: str) -> None:
    page = seen(DRAWN[name])
    assert not [a for tag, a in page.tags if tag == "img"]
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text
    assert "U+202E" in page.text
    assert "ESC[31m" in page.text
    assert not text._HIDDEN.search(DRAWN[name])
    DRAWN[name].encode("utf-8")


@given(st.text(max_size=200))
def test_any_text_survives_as_text(words: str) -> None:
    html = FACES.row(TextRow("k", 1, samples.NOW, words), samples.NOW)
    html.encode("utf-8")
    assert [tag for tag, _ in seen(html).tags if tag not in {"li", "time", "svg", "use", "div", "span"}] == []
    assert not text._HIDDEN.search(html)
    plain = text.plain(words)
    assert not text._HIDDEN.search(plain)
    assert text.plain(plain) == plain


def test_a_target_of_ten_kilobytes_is_one_short_line() -> None:
    html = FACES.row(CallRow("k", 1, 0, "Bash", samples.LONG, CallState.OK), samples.NOW)
    assert len(html) < 2_000


def test_a_long_text_is_whole_but_opened_on_demand() -> None:
    html = FACES.row(TextRow("k", 1, 0, samples.LONG), samples.NOW)
    assert html.count("x") >= len(samples.LONG)
    assert "Show all 10,000 characters" in html


def test_each_kind_of_row_has_its_fragment() -> None:
    for name in ROWS.values():
        assert (ROOT / f"templates/fragments/{name}.html").exists()


def test_vendored_files_are_the_ones_that_were_checked() -> None:
    vendor = ROOT / "static/vendor"
    listed = json.loads((vendor / "VENDOR.json").read_text())["files"]
    for entry in listed:
        digest = hashlib.sha384((vendor / entry["file"]).read_bytes()).digest()
        assert base64.b64encode(digest).decode() == entry["sha384"]
        assert (vendor / entry["licence_file"]).exists()
    known = {entry["file"] for entry in listed} | {entry["licence_file"] for entry in listed} | {"VENDOR.json"}
    assert {path.name for path in vendor.iterdir()} == known


def test_ops_name_the_place_where_a_row_lives() -> None:
    row = TextRow("7", 7, 0, "hello")
    assert FACES.appended(row, 0)["target"] == "#timeline-live"
    assert FACES.appended(replace(row, lane="fc"), 0)["target"] == "#lane-fc"
    assert FACES.replaced(row, 0)["target"] == "#row-7"
    lane = LaneRow("9", "fc", "fact-checker", 1, 2, 0)
    assert FACES.replaced(lane, 0)["target"] == "#lane-head-fc"
    assert 'id="lane-head-fc"' in FACES.replaced(lane, 0)["html"]
    assert badge(7) == {"op": "text", "target": "#badge", "text": "7"}


def test_allow_starts_disabled_where_there_is_a_payload_to_read() -> None:
    foot = seen(FACES.card_foot(samples.card(), samples.NOW))
    allow = next(a for tag, a in foot.tags if tag == "button" and "data-allow" in a)
    assert "disabled" in allow


def test_only_what_the_server_offers_can_be_answered() -> None:
    foot = FACES.card_foot(replace(samples.card(), available=("deny",)), samples.NOW)
    assert "data-allow" not in foot
    assert 'value="deny"' in foot


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(AnswerState.RECORDED, "allow"), "You allowed this once"),
        (Answer(AnswerState.FAILED, "allow"), "failed"),
        (Answer(AnswerState.UNKNOWN, "allow"), "outcome unknown"),
        (Answer(AnswerState.NOT_DELIVERED, "deny"), "not delivered"),
        (Answer(AnswerState.DELIVERED, "deny", "jon", 0, "no", mine=False), "Already denied"),
        (Answer(AnswerState.EXPIRED, at_ms=0), "Expired"),
        (Answer(AnswerState.WITHDRAWN), "Withdrawn"),
    ],
)
def test_a_card_says_what_became_of_it(answer: Answer, words: str) -> None:
    foot = FACES.card_foot(samples.card(answer=answer), samples.NOW)
    assert words in foot
    assert "data-allow" not in foot


@pytest.mark.parametrize(
    ("micro", "words"),
    [
        (0, "$0.00"),
        (1, "<$0.01"),
        (5_000, "$0.01"),
        (1_840_000, "$1.84"),
        (1_234_567_890_000, "$1,234,567.89"),
        (-10_000, "−$0.01"),
    ],
)
def test_money(micro: int, words: str) -> None:
    assert text.money(micro) == words


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (12, "12 ms"),
        (1_240, "1.2 s"),
        (38_000, "38 s"),
        (360_000, "6 min"),
        (6_720_000, "1 h 52"),
        (7_200_000, "2 h"),
        (90 * 3_600_000, "3 d"),
    ],
)
def test_durations(ms: int, words: str) -> None:
    assert text.took(ms) == words


def test_times_never_break_a_page() -> None:
    assert text.iso(10**30).startswith("1970")
    assert text.left(5, 5) == "expired"
    assert text.ago(5_000, 0) == "now"


def test_payloads_take_the_form_of_what_they_are() -> None:
    kinds: dict[type, dict[str, object]] = {
        EmailBody: dict(samples.EMAIL),
        CommandBody: {"command": "ls"},
        FileBody: {"file_path": "a", "content": "b"},
        HttpBody: {"url": "https://a.example/"},
        JsonBody: {"x": 1},
    }
    tools = ["mcp__mail__send", "Bash", "Write", "WebFetch", "anything"]
    for tool, (kind, arguments) in zip(tools, kinds.items(), strict=True):
        assert type(payload_of(tool, arguments, "d").body) is kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "to cc bcc from sender subject body text files attachments command description file_path path content "
    "old_string new_string edits url method headers prompt x"
)
KEYS = st.sampled_from(NAMES.split())
TOOLS = st.sampled_from(["mcp__mail__send", "Bash", "Write", "Edit", "MultiEdit", "WebFetch", "other"])


@given(TOOLS, st.dictionaries(KEYS, JSON, max_size=6))
def test_no_payload_hides_a_value(tool: str, arguments: dict[str, object]) -> None:
    marked = {
        key: f"mark{number}" if isinstance(value, str) else value
        for number, (key, value) in enumerate(arguments.items())
    }
    payload = payload_of(tool, marked, "d")
    html = FACES.page(InboxPage(samples.shell(), (), samples.card(payload)), samples.NOW)
    start, end = html.index('class="p-rendered"'), html.index('class="p-raw')
    rendered = seen("<div " + html[start:end]).text
    for value in marked.values():
        if isinstance(value, str):
            assert value in rendered


@given(st.text(alphabet="ab \t;&|'\"\\$#<>\n", max_size=60))
def test_a_command_shown_in_lines_is_the_same_command(command: str) -> None:
    assert "".join("".join(statements(command)).split()) == "".join(command.split())


@given(st.text(alphabet="ab \n-*•", max_size=60))
def test_text_blocks_keep_every_word(words: str) -> None:
    kept = "".join(line for block in text_blocks(words) for line in block.lines)
    assert re.sub(r"[\s*•-]", "", kept) == re.sub(r"[\s*•-]", "", words)


@given(st.text(alphabet="ab\n", max_size=40), st.text(alphabet="ab\n", max_size=40))
def test_a_diff_holds_both_sides(old: str, new: str) -> None:
    lines = diff_lines(old, new)
    assert "\n".join(line.text for line in lines if line.sign in " -") == old
    assert "\n".join(line.text for line in lines if line.sign in " +") == new


points = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**9)), max_size=6).map(tuple)


@given(st.lists(points, max_size=6), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_chart_stays_in_its_frame(series: list[tuple[tuple[int, int], ...]], reserved: int, cap: int) -> None:
    tab = replace(
        samples_run.spend(),
        series=tuple(SpendSeries(str(number), tuple(sorted(steps))) for number, steps in enumerate(series)),
        money=Money(0, reserved, cap),
        from_ms=0,
        to_ms=10**7,
        blocked_ms=None,
    )
    chart = spend_chart(tab)
    if chart is None:
        assert not any(series)
        return
    for area in chart.areas:
        for x, y in re.findall(r"([\d.-]+),([\d.-]+)", area.path):
            assert 40 <= float(x) <= 336
            assert 26 <= float(y) <= 150
    assert len(chart.areas) <= 3
    assert len(chart.money) <= 6
