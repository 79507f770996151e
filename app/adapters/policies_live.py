"""The policies folder while the server runs. What is in force was loaded whole and is replaced whole; a text that does
not load, or that is still being written, replaces nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from app.adapters.policies import PolicyLibrary, load_library
from app.domain.blueprint import Blueprint
from app.domain.errors import BadPolicy, NotFound
from app.domain.policy import Bundle
from app.domain.policy_seal import SEAL, SIGNERS
from app.domain.policy_text import change_digest
from app.domain.pricing import Price
from app.services.policies import BundleChange, Edit

Stamp: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


class LiveLibrary:
    """The library in force. A bundle that was taken out of the folder stays for the runs that were started with it."""

    def __init__(self, folder: Path) -> None:
        """Load the folder. Raises BadPolicy."""
        self._folder = folder
        self._stamp = self._seen = stamp_of(folder)
        self._library = load_library(folder)
        self._gone: dict[str, PolicyLibrary] = {}
        self._fault = ""

    # --- the library -------------------------------------------------------------------------------------------------

    def blueprint(self, name: str) -> Blueprint:
        """The blueprint of that name. Raises NotFound."""
        return self._library.blueprint(name)

    def blueprints(self) -> Sequence[Blueprint]:
        """All blueprints, in order of name."""
        return self._library.blueprints()

    def bundle(self, name: str) -> Bundle:
        """The policy bundle of that name. Raises NotFound."""
        return self._with(name).bundle(name)

    def bundles(self) -> Sequence[Bundle]:
        """All policy bundles that are in the folder, in order of name."""
        return self._library.bundles()

    def price(self, model: str) -> Price | None:
        """What a model costs; None when it is not listed."""
        return self._library.price(model)

    def rule_text(self, bundle: str, rule: str) -> tuple[str, list[tuple[int, str]]]:
        """The file of a rule and its numbered lines; an empty list when it is not known any more."""
        try:
            return self._with(bundle).rule_text(bundle, rule)
        except NotFound:
            return "", []

    def _with(self, bundle: str) -> PolicyLibrary:
        return self._library if bundle in self._library.bundles_by_name else self._gone.get(bundle, self._library)

    # --- the folder --------------------------------------------------------------------------------------------------

    @property
    def settling(self) -> bool:
        """Whether the folder is being written at this moment: look again soon."""
        return self._seen != self._stamp and not self._fault

    def look(self) -> Edit | None:
        """What was edited since, loaded whole; None when nothing was. It is in force only after `take`. A change counts
        when two looks see it alike. Raises BadPolicy, each time until it is mended."""
        stamp = stamp_of(self._folder)
        if stamp != self._seen:
            self._seen, self._fault = stamp, ""
            return None
        if self._fault:
            raise BadPolicy(self._fault)
        if stamp == self._stamp:
            return None
        try:
            library = load_library(self._folder)
            self._check_signers(library)
        except BadPolicy as error:
            self._fault = error.message
            raise
        if stamp_of(self._folder) != stamp:
            return None
        return Edit(stamp, library, tuple(_changes(self._library, library)))

    def _check_signers(self, library: PolicyLibrary) -> None:
        """Who can write the folder must not be able to say who vouches for it: that takes a restart."""
        if self._library.signers and library.signers != self._library.signers:
            words = "who may sign was changed; restart the server to take that over"
            raise BadPolicy(f"{self._folder / SIGNERS}:1: {words}")

    def take(self, edit: Edit) -> None:
        """Put an edit into force, in one step."""
        if isinstance(edit.library, PolicyLibrary):
            gone = set(self._library.bundles_by_name) - set(edit.library.bundles_by_name)
            self._gone |= dict.fromkeys(gone, self._library)
            self._stamp, self._library = edit.stamp, edit.library


def stamp_of(folder: Path) -> Stamp:
    """What changes as soon as any file below the folder does."""
    found = []
    for path in (*folder.glob("*.toml"), *folder.glob("*/*.toml"), *folder.glob(SIGNERS), *folder.glob(f"*/{SEAL}")):
        try:
            facts = path.stat()
        except OSError:
            continue  # it went away between the two calls; the next look sees another folder
        found.append((str(path), facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino))
    return tuple(sorted(found))


def _changes(before: PolicyLibrary, after: PolicyLibrary) -> list[BundleChange]:
    changes = []
    for bundle in after.bundles():
        old = before.bundles_by_name.get(bundle.name)
        if old is None or old.digest != bundle.digest:
            texts: Mapping[str, str] = before.texts.get(bundle.name, {})
            digest = change_digest(texts, after.texts[bundle.name], f"{bundle.name}/")
            changes.append(BundleChange(bundle.name, bundle.digest, digest))
    return changes
