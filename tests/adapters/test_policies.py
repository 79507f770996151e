"""The policies folder: everything is checked when it is read, and every error names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from app.adapters.policies import load_library
from app.domain.errors import BadPolicy, NotFound

from tests.domain.policy_kit import HEAD, rule

PRICES = """[[prices]]
model = "m"
input = 1
output = 1
cache_write = 1
cache_read = 1
source = "test"
date = "2026-11-21"
"""
BLUEPRINT = 'name = "a"\nmodel = "m"\npolicy = "test"\ntools = ["Read"]\n[budget]\nusd = "1"\n'
CASES = '[[cases]]\nname = "reads"\ntool = "Read"\nverdict = "ALLOW"\nrule = "all"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test").mkdir()
    (tmp_path / "blueprints").mkdir()
    (tmp_path / "test" / "bundle.toml").write_text(HEAD)
    (tmp_path / "test" / "rules.toml").write_text("# first\n" + rule("all", "ALLOW") + "\n# last\n")
    (tmp_path / "test" / "test.cases.toml").write_text(CASES)
    (tmp_path / "blueprints" / "a.toml").write_text(BLUEPRINT)
    (tmp_path / "prices.toml").write_text(PRICES)
    return tmp_path


def test_everything_is_found_by_name(folder: Path) -> None:
    library = load_library(folder)
    assert library.bundle("test").rules[0].id == "all"
    assert library.blueprint("a").policy == "test"
    assert [blueprint.name for blueprint in library.blueprints()] == ["a"]
    assert [bundle.name for bundle in library.bundles()] == ["test"]
    assert library.price("m") is not None
    assert library.price("n") is None
    assert [case.rule for case in library.cases["test"]] == ["all"]


def test_what_is_not_there_is_not_found(folder: Path) -> None:
    library = load_library(folder)
    for find in (library.bundle, library.blueprint):
        with pytest.raises(NotFound):
            find("nope")


def test_a_rule_is_shown_as_it_stands_in_its_file(folder: Path) -> None:
    file, lines = load_library(folder).rule_text("test", "all")
    assert file.endswith("test/rules.toml")
    assert lines[0] == (2, "[[rules]]")
    assert lines[-1][1].startswith("verdict")
    assert load_library(folder).rule_text("test", "gone") == ("", [])


def test_the_digest_is_over_the_content_and_not_the_place_or_the_cases(folder: Path, tmp_path: Path) -> None:
    before = load_library(folder).bundle("test").digest
    (folder / "test" / "test.cases.toml").write_text("")
    moved = folder.rename(folder.with_name("moved"))
    assert load_library(moved).bundle("test").digest == before
    (moved / "test" / "rules.toml").write_text(rule("all", "DENY"))
    assert load_library(moved).bundle("test").digest != before


@pytest.mark.parametrize(
    ("file", "content", "where"),
    [
        ("test/rules.toml", b"[[rules]]\nid = 1\n", "test/rules.toml:1: 'verdict' is missing"),
        ("test/rules.toml", b"a = \xff\n", "test/rules.toml:1: not UTF-8"),
        ("test/rules.toml", b"#" * 300_000, "test/rules.toml:1: the file is larger"),
        ("test/bundle.toml", HEAD.replace('"test"', '"other"').encode(), "test/bundle.toml:1: the bundle is named"),
        ("test/test.cases.toml", b"[[cases]]\nname = 'x'\n", "test.cases.toml:1: 'tool' is missing"),
        (
            "blueprints/a.toml",
            BLUEPRINT.replace('"test"', '"gone"').encode(),
            "a.toml:1: there is no policy",
        ),
        ("blueprints/b.toml", BLUEPRINT.encode(), "blueprints/b.toml:1: the blueprint is named"),
        ("prices.toml", b"x = 1\n", "prices.toml:1: unknown key"),
    ],
)
def test_a_broken_file_stops_the_load_and_is_named(folder: Path, file: str, content: bytes, where: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(BadPolicy) as caught:
        load_library(folder)
    assert where in caught.value.message, caught.value.message


@pytest.mark.parametrize("missing", ["prices.toml", "test/bundle.toml", "test/rules.toml"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(BadPolicy, match=missing.rsplit("/", maxsplit=1)[-1].replace(".", r"\.")):
        load_library(folder)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadPolicy):
            load_library(path)
