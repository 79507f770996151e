"""Policy bundles, blueprints and prices as they lie on disk. Everything is read and checked once, at start: a file that
does not load stops the server with its name, line and reason, and nothing half-loaded is ever used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.adapters.tool_schemas import FOLDER
from app.domain.blueprint import Blueprint, parse_blueprint
from app.domain.errors import BadPolicy, NotFound
from app.domain.policy import Bundle
from app.domain.policy_cases import Case, parse_cases
from app.domain.policy_seal import MAX_SEAL, SEAL, SIGNERS, Signer, check_seal, parse_signers
from app.domain.policy_text import HEAD, parse_bundle
from app.domain.pricing import Price, PriceTable, parse_prices
from app.domain.toml_text import MAX_FILE_BYTES

CASES: Final = ".cases.toml"
PRICES: Final = "prices.toml"
BLUEPRINTS: Final = "blueprints"
_CONTEXT_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class PolicyLibrary:
    """What was loaded. `texts` holds the files of each bundle (with those that it extends) by the name that its rules
    give, so that a rule can be shown as it was read; `signers` the text of the file that says who may sign bundles, ""
    where there is none."""

    blueprints_by_name: Mapping[str, Blueprint]
    bundles_by_name: Mapping[str, Bundle]
    cases: Mapping[str, Sequence[Case]]
    prices: PriceTable
    texts: Mapping[str, Mapping[str, str]]
    signers: str = ""

    def blueprint(self, name: str) -> Blueprint:
        """The blueprint of that name. Raises NotFound."""
        found = self.blueprints_by_name.get(name)
        if found is None:
            raise NotFound(f"there is no blueprint {name[:63]!r}")
        return found

    def blueprints(self) -> Sequence[Blueprint]:
        """All blueprints, in order of name."""
        return [self.blueprints_by_name[name] for name in sorted(self.blueprints_by_name)]

    def bundle(self, name: str) -> Bundle:
        """The policy bundle of that name. Raises NotFound."""
        found = self.bundles_by_name.get(name)
        if found is None:
            raise NotFound(f"there is no policy bundle {name[:63]!r}")
        return found

    def bundles(self) -> Sequence[Bundle]:
        """All policy bundles, in order of name."""
        return [self.bundles_by_name[name] for name in sorted(self.bundles_by_name)]

    def price(self, model: str) -> Price | None:
        """What a model costs; None when it is not listed."""
        return self.prices.find(model)

    def rule_text(self, bundle: str, rule: str) -> tuple[str, list[tuple[int, str]]]:
        """The file of a rule and its numbered lines; an empty list when it is not known any more."""
        found = self.bundles_by_name.get(bundle)
        known = next((row for row in found.rules if row.id == rule), None) if found is not None else None
        if known is None:
            return "", []
        return known.file, rule_lines(self.texts[bundle][known.file], known.line)


def load_library(folder: Path) -> PolicyLibrary:
    """Read a policies folder: bundles in sub-folders, `blueprints/*.toml`, `prices.toml`. Raises BadPolicy."""
    bundles: dict[str, Bundle] = {}
    texts: dict[str, Mapping[str, str]] = {}
    cases: dict[str, Sequence[Case]] = {}
    said, signers = read_signers(folder / SIGNERS)
    for path in bundle_folders(folder):
        bundle, files, rows = load_bundle(path)
        if signers:
            verify_folder(path, bundle, signers)
        bundles[bundle.name], texts[bundle.name], cases[bundle.name] = bundle, files, rows
    if not bundles:
        raise BadPolicy(f"{folder}: there is no policy bundle: a sub-folder with {HEAD}")
    prices = parse_prices(read_text(folder / PRICES), str(folder / PRICES))
    return PolicyLibrary(_blueprints(folder / BLUEPRINTS, bundles), bundles, cases, prices, texts, said)


def load_bundle(folder: Path, *also: Path) -> tuple[Bundle, Mapping[str, str], Sequence[Case]]:
    """One bundle with its files and its cases; a bundle that it extends is looked for beside it, then in the folders
    `also`. Raises BadPolicy with file, line and reason."""
    files, cases = _read_folder(folder)
    texts = {f"{folder}/{name}": text for name, text in files.items()}

    def find(name: str) -> tuple[Mapping[str, str], str] | None:
        place = next((path / name for path in (folder.parent, *also) if (path / name / HEAD).is_file()), None)
        if place is None:
            return None
        found = _read_folder(place)[0]
        texts.update({f"{place}/{file}": text for file, text in found.items()})
        return found, str(place)

    bundle = parse_bundle(files, str(folder), find=find)
    if bundle.name != folder.name:
        raise BadPolicy(f"{folder / HEAD}:1: the bundle is named {bundle.name!r}, and its folder {folder.name!r}")
    return bundle, texts, cases


def read_signers(path: Path) -> tuple[str, tuple[Signer, ...]]:
    """The file that says who may sign bundles: its text and what it says; ("", ()) where there is none, and then no
    bundle needs a signature. Raises BadPolicy."""
    if not path.is_symlink() and not path.exists():
        return "", ()
    text = read_text(path)
    return text, parse_signers(text, str(path))


def verify_folder(folder: Path, bundle: Bundle, signers: Sequence[Signer]) -> Signer:
    """Who signed the bundle in a folder. Raises BadPolicy where nobody did who may."""
    path = folder / SEAL
    if not path.is_file():
        words = f"the bundle {bundle.name!r} is not signed, and {SIGNERS} says that it must be"
        raise BadPolicy(f"{path}:1: {words}: helm policy sign {folder}")
    return check_seal(read_text(path, MAX_SEAL), bundle, signers, str(path))


def _read_folder(folder: Path) -> tuple[dict[str, str], list[Case]]:
    files: dict[str, str] = {}
    cases: list[Case] = []
    for path in sorted(folder.glob("*.toml")):
        text = read_text(path)
        if path.name.endswith(CASES):
            cases += parse_cases(text, str(path))
        else:
            files[path.name] = text
    return files, cases


def bundle_folders(folder: Path) -> list[Path]:
    """The sub-folders of a policies folder that hold bundles, in order of name. Raises BadPolicy."""
    if not folder.is_dir():
        raise BadPolicy(f"{folder}: there is no such folder of policies")
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name not in (BLUEPRINTS, FOLDER) and not path.name.startswith(".")
    ]


def read_text(path: Path, limit: int = MAX_FILE_BYTES) -> str:
    """A bounded UTF-8 file. Raises BadPolicy, naming the file."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadPolicy(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise BadPolicy(f"{path}:1: the file is larger than {limit} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadPolicy(f"{path}:{line}: not UTF-8") from None


def _blueprints(folder: Path, bundles: Mapping[str, Bundle]) -> dict[str, Blueprint]:
    found: dict[str, Blueprint] = {}
    for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
        blueprint = parse_blueprint(read_text(path), str(path))
        if blueprint.name != path.stem:
            raise BadPolicy(f"{path}:1: the blueprint is named {blueprint.name!r}, and its file {path.stem!r}")
        if blueprint.policy not in bundles:
            raise BadPolicy(f"{path}:1: there is no policy bundle {blueprint.policy!r}")
        found[blueprint.name] = blueprint
    return found


def rule_lines(text: str, start: int) -> list[tuple[int, str]]:
    """The lines of one [[rules]] table: up to the next one, without the empty and comment lines at its end."""
    lines = text.split("\n")[start - 1 : start - 1 + _CONTEXT_LINES]
    end = next((at for at, line in enumerate(lines) if at and line.startswith("[[")), len(lines))
    while end > 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return [(start + at, line) for at, line in enumerate(lines[:end])]
