"""The policies folder as an editor sees it. A text is tried in a copy of the whole folder, so that what depends on it
is tried too, and in a process of its own, so that the server's time is not spent on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from app.adapters.policies import load_bundle, load_library, read_text
from app.domain.errors import BadPolicy, Conflict, InvalidInput, NotFound
from app.domain.expressions import ENGINE, INTERPRETED
from app.domain.policy import Bundle
from app.domain.policy_cases import Case, compare, second_opinion
from app.domain.policy_lint import Finding, lint_bundle, load_finding
from app.domain.policy_text import HEAD
from app.services.policy_desk import CaseResult, Examined

LIMIT_S: Final = 120.0


class DiskPolicyFolder:
    """Bundles below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def files(self, name: str) -> dict[str, str]:
        """The bundle's own files. Raises NotFound, BadPolicy."""
        return await asyncio.to_thread(self._files, name)

    def _files(self, name: str) -> dict[str, str]:
        place = self._place(name)
        return {path.name: read_text(path) for path in sorted(place.glob("*.toml"))}

    def _place(self, name: str) -> Path:
        place = self._folder / name
        if "/" in name or name.startswith(".") or not (place / HEAD).is_file():
            raise NotFound(f"there is no policy bundle {name[:63]!r}")
        return place

    async def examine(self, name: str, files: Mapping[str, str]) -> Examined:
        """Check a text in a process of its own. Raises InvalidInput when it takes too long or breaks."""
        with self._copied(name, files) as copy:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.adapters.policy_folder", copy, name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
            try:
                async with asyncio.timeout(LIMIT_S):
                    said, _ = await process.communicate()
            except TimeoutError:
                raise InvalidInput(f"the check took more than {LIMIT_S:.0f} seconds and was ended") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            raise InvalidInput("the check ended without an answer")
        return msgspec.json.decode(said, type=Examined)

    async def load(self, name: str, files: Mapping[str, str]) -> Bundle:
        """The bundle that a text makes. Raises BadPolicy."""
        return await asyncio.to_thread(self._load, name, files)

    def _load(self, name: str, files: Mapping[str, str]) -> Bundle:
        with self._copied(name, files) as copy:
            return load_bundle(Path(copy) / name)[0]

    def _copied(self, name: str, files: Mapping[str, str]) -> tempfile.TemporaryDirectory[str]:
        """The whole folder once more, with these files in the place of the bundle's own."""
        own = self._files(name)
        if not set(files) <= set(own):
            raise InvalidInput("an edit changes the files that are there")
        copy = tempfile.TemporaryDirectory(prefix="helm-policy-")
        shutil.copytree(self._folder, copy.name, dirs_exist_ok=True)
        for file, text in files.items():
            (Path(copy.name) / name / file).write_text(text, encoding="utf-8")
        return copy

    async def write(self, name: str, files: Mapping[str, str]) -> None:
        """Replace files, each whole. Raises Conflict."""
        await asyncio.to_thread(self._write, name, files)

    def _write(self, name: str, files: Mapping[str, str]) -> None:
        place = self._place(name)
        ready: list[tuple[Path, Path]] = []
        try:
            for file, text in files.items():
                ready.append((place / f".{file}.new", place / file))
                _durable(ready[-1][0], text)
            for fresh, target in ready:
                shutil.copymode(target, fresh)
                fresh.replace(target)
        except OSError as error:
            for fresh, _ in ready:
                fresh.unlink(missing_ok=True)
            raise Conflict(f"{place} cannot be written: {error.strerror}; change the files there yourself") from None


def _durable(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def examined(root: Path, name: str) -> Examined:
    """Load the whole folder, and check one bundle of it; paths are told below the folder."""
    try:
        library = load_library(root)
    except BadPolicy as error:
        return Examined((_below(load_finding(error.message), root),))
    bundle = library.bundle(name)
    texts, cases = library.texts[name], library.cases[name]
    findings = [one for one in lint_bundle(bundle, texts, cases) if one.file.startswith(f"{root / name}/")]
    other = bundle if ENGINE is INTERPRETED else second_opinion(bundle)
    return Examined(tuple(_below(one, root) for one in findings), tuple(_result(bundle, other, one) for one in cases))


def _below(finding: Finding, root: Path) -> Finding:
    prefix = f"{root}/"
    return replace(finding, file=finding.file.removeprefix(prefix), message=finding.message.replace(prefix, ""))


def _result(bundle: Bundle, other: Bundle, case: Case) -> CaseResult:
    """Both engines must give what the case expects; the first that does not is shown."""
    expected, got = compare(bundle, case)
    if got == expected and other is not bundle:
        got = compare(other, case)[1]
    return CaseResult(case.name, case.request.tool, _words(expected), _words(got), got == expected)


def _words(answer: Mapping[str, str]) -> str:
    return " ".join(value for value in answer.values() if value)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(examined(Path(sys.argv[1]), sys.argv[2])))
