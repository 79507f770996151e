"""Policies that are edited while the server runs, with real files, a real log and real verdicts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from app.adapters.policies_live import LiveLibrary
from app.domain.canonical import canonical_bytes
from app.domain.errors import NotFound
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import VerdictGiven
from app.domain.payloads_log import PolicyRejected, PolicySet
from app.domain.policy_text import change_digest
from app.domain.signing import sha256
from app.services.health import Health
from app.services.policies import PolicyWatch
from app.settings import ROOT

from tests.house import House, NoProviders, house

NO_SHELL = '[[rules]]\nid = "no-shell"\ntools = ["Bash"]\nverdict = "DENY"\nmessage = "Not now."\n\n'


@dataclass
class Scene:
    """A house whose policies lie in a folder of their own, and who watches them."""

    world: House
    folder: Path
    files: LiveLibrary
    watch: PolicyWatch

    @property
    def rules(self) -> Path:
        return self.folder / "default" / "rules.toml"

    async def look(self) -> None:
        """Two looks, as a change counts when two see it alike."""
        await self.watch.look()
        await self.watch.look()

    async def ask(self, run: str, key: str) -> tuple[str, str]:
        """The rule and the policy's digest that decide over `ls`."""
        await self.world.services.tool_calls.ask(run, self.world.hook("Bash", {"command": "ls"}, key))
        events = await self.world.ledger.read.events(run=run)
        last = [event.payload for event in events if isinstance(event.payload, VerdictGiven)][-1]
        return last.rule_ids[0], last.policy_digest

    async def announced(self) -> list[PolicySet]:
        events = await self.world.ledger.read.events(run=SYSTEM_RUN)
        return [event.payload for event in events if isinstance(event.payload, PolicySet)]

    async def health(self) -> str:
        made = Health(self.world.ledger, self.world.sandbox, NoProviders(), self.world.door.state, self.watch.notice)
        report = await made.check()
        assert report.ok
        return report.policies


@asynccontextmanager
async def scene(home: Path) -> AsyncIterator[Scene]:
    folder = home / "policies"
    shutil.copytree(ROOT / "policies", folder)
    files = LiveLibrary(folder)
    (home / "log").mkdir()
    async with house(home / "log", library=files) as world:
        watch = PolicyWatch(world.ledger, files, world.clock)
        await watch.announce(files)
        yield Scene(world, folder, files, watch)


async def test_an_edit_is_announced_and_decides_from_the_next_intent_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        before = {set_.bundle: set_.digest for set_ in await at.announced()}
        assert set(before) == {bundle.name for bundle in at.files.bundles()}
        run = await at.world.start()
        assert await at.ask(run.id, "t1") == ("shell", before["default"])
        old = at.rules.read_text()
        at.rules.write_text(NO_SHELL + old)
        await at.look()
        rule, digest = await at.ask(run.id, "t2")
        assert (rule, digest) == ("no-shell", at.files.bundle("default").digest)
        assert digest != before["default"]
        new = (await at.announced())[len(before) :]
        # coding, finance, ops and research stand on it
        assert {set_.bundle for set_ in new} == {"coding", "default", "finance", "ops", "research"}
        assert [(s.digest, s.author) for s in new if s.bundle == "default"] == [(digest, "file")]
        listing = [
            {
                "path": "default/rules.toml",
                "before": sha256(old.encode()).removeprefix("sha256:"),
                "after": sha256((NO_SHELL + old).encode()).removeprefix("sha256:"),
            }
        ]
        assert next(s for s in new if s.bundle == "default").diff_digest == sha256(canonical_bytes(listing))
        file, lines = at.files.rule_text("default", "no-shell")
        assert (file, lines[0]) == (str(at.rules), (1, "[[rules]]"))


async def test_a_broken_edit_keeps_the_old_rules_and_is_said_until_it_is_mended(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        run, digest = await at.world.start(), at.files.bundle("default").digest
        text, count = at.rules.read_text(), len(await at.announced())
        at.rules.write_text(NO_SHELL.replace("DENY", "PERHAPS") + text)
        await at.look()
        notice = await at.health()
        assert re.fullmatch(
            rf"policy file {at.rules} line 4: 'verdict' must be one of: .*; the rules of \S+Z are still in force",
            notice,
        )
        assert await at.ask(run.id, "t1") == ("shell", digest)
        await at.look()
        assert await at.health() == notice
        at.rules.write_text(text)
        await at.look()
        assert await at.health() == ""
        assert len(await at.announced()) == count, "the text in force is no news"
        assert await at.ask(run.id, "t2") == ("shell", digest)


async def test_a_file_that_is_gone_or_unreadable_keeps_the_old_rules(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        digest = at.files.bundle("default").digest
        at.rules.rename(at.folder / "kept")
        await at.look()
        assert "default/bundle.toml line" in await at.health()
        (at.folder / "kept").rename(at.rules)
        at.rules.write_bytes(b"\xff\xfe")
        await at.look()
        assert "not UTF-8" in await at.health()
        shutil.move(at.folder, at.folder.with_name("away"))
        await at.look()
        assert "no such folder" in await at.health()
        assert at.files.bundle("default").digest == digest


async def test_a_text_that_is_still_being_written_does_not_count(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        digest, text = at.files.bundle("default").digest, at.rules.read_text()
        for size in (100, 2_000, len(text)):
            at.rules.write_text(text[:size])
            await at.watch.look()
            assert at.files.settling
        assert (at.files.bundle("default").digest, at.watch.notice()) == (digest, "")


async def test_an_edit_that_cannot_be_recorded_is_not_in_force(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        digest = at.files.bundle("default").digest
        await at.world.ledger.close()
        at.rules.write_text(NO_SHELL + at.rules.read_text())
        await at.look()
        assert "waits for the log" in at.watch.notice()
        assert at.files.bundle("default").digest == digest


async def test_a_bundle_that_was_taken_out_stays_for_the_runs_that_have_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        digest = at.files.bundle("finance").digest
        shutil.rmtree(at.folder / "finance")
        await at.look()
        assert at.watch.notice() == ""
        assert "finance" not in {bundle.name for bundle in at.files.bundles()}
        assert at.files.bundle("finance").digest == digest
        assert at.files.rule_text("finance", "fin-refund")[1]
        with pytest.raises(NotFound):
            at.files.bundle("never-there")


async def test_the_watch_sees_an_edit_by_itself(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        count = len(await at.announced())
        task = asyncio.create_task(at.watch.watch())
        at.rules.write_text(NO_SHELL + at.rules.read_text())
        async with asyncio.timeout(20):
            async for page in at.world.ledger.follow(at.world.ledger.head):
                if any(isinstance(event.payload, PolicySet) for event in page):
                    break
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(await at.announced()) == count + 5


def test_the_listing_of_a_change_names_what_was_added_and_taken_away() -> None:
    same = change_digest({"p/a/x.toml": "1"}, {"p/a/x.toml": "1"}, "a/")
    assert same == sha256(canonical_bytes([]))
    added = change_digest({}, {"p/a/x.toml": "1"}, "a/")
    assert added == change_digest({}, {"q/a/x.toml": "1"}, "a/"), "the place of the folder is no part of it"
    assert len({same, added, change_digest({"p/a/x.toml": "1"}, {}, "a/")}) == 3


async def test_a_broken_edit_is_one_notice_until_it_is_mended_or_cleared(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        good, ledger = at.rules.read_text(), at.world.ledger

        async def rejections() -> list[PolicyRejected]:
            events = await ledger.read.events(run=SYSTEM_RUN)
            return [event.payload for event in events if isinstance(event.payload, PolicyRejected)]

        at.rules.write_text("[[rules]]\nid = 3\n")
        await at.look()
        await at.look()
        (rejected,) = await rejections()
        assert (rejected.file.endswith("default/rules.toml"), rejected.line) == (True, 1)
        (notice,) = ledger.standing.notices.values()
        assert (notice.kind, "line 1" in notice.text) == ("policy", True)
        await at.world.services.notices.clear(notice.id, by="ana")
        await at.look()
        assert ledger.standing.notices == {}, "seen is seen, while it is the same fault"
        at.rules.write_text("\n[[rules]]\nid = 3\n")
        await at.look()
        assert len(await rejections()) == 2, "another fault is another notice"
        assert len(ledger.standing.notices) == 1
        at.rules.write_text(good)
        await at.look()
        assert ledger.standing.notices == {}, "mended without another text: no policy is set, and the notice goes"
        at.rules.write_text("[[rules]]\nid = 3\n")
        await at.look()
        at.rules.write_text(NO_SHELL + good)
        await at.look()
        assert ledger.standing.notices == {}
        assert len(await rejections()) == 3
