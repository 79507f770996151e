"""The view of a shell command: what it finds inside, and that no text can break it. The verdicts over it stand in the
tables of the bundles."""

from __future__ import annotations

import pytest
from app.domain.canonical import canonical_bytes
from app.domain.places import file_view, is_credential, is_inside, resolve
from app.domain.shell import MAX_COMMAND, shell_view
from app.domain.shell_hazards import HAZARDS
from app.domain.shell_script import MAX_SCRIPT
from hypothesis import given, settings
from hypothesis import strategies as st


def names(command: str) -> list[str]:
    view = shell_view(command, "/workspace")
    assert not view["unclear"], command
    return [found["name"] for found in view["commands"]]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls -la", ["ls"]),
        ("/usr/bin/env A=1 'py'thon -m pytest -q", ["env", "python", "pytest"]),
        ("a && b || c; d | e &", ["a", "b", "c", "d", "e"]),
        ("bash -lc 'a; b'", ["bash", "a", "b"]),
        ("sudo -u root nice -n 5 timeout -k 1 10 a -x", ["sudo", "nice", "timeout", "a"]),
        ("echo $(a $(b)) `c` <(d)", ["b", "a", "c", "d", "echo"]),
        ("find . -name x -exec a {} \\;", ["find", "a"]),
        ("ls | xargs -I{} -n 2 a {}", ["ls", "xargs", "a"]),
        ("cat <<EOF | sh\na\nEOF", ["cat", "sh", "a"]),
        ("cat <<EOF > f\n$(a)\nEOF", ["a", "cat"]),
        ("for x in 1 2; do a $x; done", ["a"]),
        ("case $x in a) b;; *) c;; esac", ["b", "c"]),
        ("if a; then b; else c; fi", ["a", "b", "c"]),
        ("f() { a; }; f", ["a", "f"]),
        ('git commit -m "$(cat <<\'EOF\'\nit\'s "quoted"\nEOF\n)"', ["cat", "git"]),
        ("command -v a", ["command"]),
        ("\\a; a''b; \"a b\"/c", ["a", "ab"]),
    ],
)
def test_the_commands_inside_a_command(command: str, expected: list[str]) -> None:
    if ' b"' in command:
        assert shell_view(command, "/workspace")["unclear"]
        return
    assert names(command) == expected


def test_words_lose_their_quotes_and_redirects_are_listed() -> None:
    view = shell_view("a 'b c' \"d\\\"e\" f\\ g $'\\x68' > out 2>&1", "/workspace")
    assert view["commands"] == [
        {"name": "a", "argv": ["b c", 'd"e', "f g", "h"], "redirects": ["> out", "2>&1"]},
    ]


@pytest.mark.parametrize(
    "command", [None, 7, ["rm"], "", "  ", "a" * (MAX_COMMAND + 1), "((", "$X", "a\u202eb", "a;" * 500]
)
def test_what_cannot_be_read_is_unclear(command: object) -> None:
    assert shell_view(command, "/workspace")["unclear"] is True


# A space inside a fragment is written as an underscore.
FRAGMENTS = "( $( {_ a| <<A_ ' \" ${ ` if_ (( x=y;_ $(a) a=( < > ) @(_)) || x() !;&=case_ a[_ eval_"
FRAGMENTS += " sudo_ x=$x$x;_ bash_-c_'"


@pytest.mark.parametrize("size", [MAX_SCRIPT - 10, MAX_COMMAND - 10, MAX_COMMAND * 4])
@pytest.mark.parametrize("fragment", FRAGMENTS.split(" "))
def test_a_flood_is_read_in_bounded_time(fragment: str, size: int) -> None:
    view = shell_view(fragment.replace("_", " ") * (size // len(fragment)), "/workspace")
    assert len(view["commands"]) <= 201
    assert set(view["hazards"]) <= HAZARDS


WORDS = "rm -rf / $X ' \" ` $( ) { } ; | & && <<E \\ eval if then fi > < ~ * $IFS ${ x= \u00e9"
PIECES = st.sampled_from([*WORDS.split(), "\n", "E\n", "bash -c", "curl x", "| sh", "find . -exec", " "])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map(" ".join) | st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_gives_a_canonical_view(command: str) -> None:
    view = shell_view(command, "/workspace")
    if "\x00" not in command:
        canonical_bytes(view)
    assert set(view["hazards"]) <= HAZARDS


@pytest.mark.parametrize(
    ("path", "cwd", "expected"),
    [
        ("a/../b", "/workspace", "/workspace/b"),
        ("/workspace/../etc", "/x", "/etc"),
        ("//etc", "/x", "/etc"),
        ("~/a/../..", "/x", "~"),
        (".", "/workspace", "/workspace"),
    ],
)
def test_paths_are_resolved_without_a_file_system(path: str, cwd: str, expected: str) -> None:
    assert resolve(path, cwd) == expected


def test_inside_is_the_workspace_and_nothing_beside_it() -> None:
    assert [is_inside(path) for path in ("/workspace", "/workspace/a", "/workspace2", "/", "workspace")] == [
        True,
        True,
        False,
        False,
        False,
    ]


SECRETS = ("~/.ssh/id_rsa", "/root/.aws/credentials", "/proc/1/environ", "/etc/shadow")


def test_places_of_secrets() -> None:
    assert all(is_credential(path) for path in SECRETS)
    assert not any(is_credential(path) for path in ("/workspace/ssh.md", "/workspace/environ", "/etc/passwd"))


def test_a_file_view_of_other_types_is_not_known() -> None:
    assert file_view({"file_path": 7}, "/workspace")["known"] is False
    assert file_view({"path": "a"}, "relative")["inside"] is False


LONG = "| a | ) ( ' line of a table\n" * 400


def test_a_long_here_document_is_set_aside_and_the_rest_is_read() -> None:
    assert names(f"cat <<'EOF' > out.md\n{LONG}EOF\nls") == ["cat", "ls"]
    assert names(f"cat <<-EOF > out.md\n{LONG}\tEOF\nls") == ["cat", "ls"]
    assert "rm-root" in shell_view(f"cat <<'EOF' > out.md\n{LONG}EOF\nrm -rf /", "/workspace")["hazards"]


@pytest.mark.parametrize(
    "command",
    [
        f'echo "<<EOF"\nrm -rf /\n{LONG}EOF\n',
        f"# <<'EOF'\nrm -rf /\n{LONG}EOF\n",
        f"cat <<EOF\n$(rm -rf /)\n{LONG}EOF\n",
        f"cat <<'A' <<'B'\n{LONG}A\n{LONG}B\n",
        f"cat <<'EOF'\n{LONG}",
        f"echo HELM_BODY_0\ncat <<'EOF'\n{LONG}EOF\n",
        f"bash <<'EOF'\n{LONG}EOF\n",
    ],
    ids=range(7),
)
def test_nothing_that_would_run_can_be_set_aside(command: str) -> None:
    view = shell_view(command, "/workspace")
    assert view["unclear"] or view["hazards"]


def test_a_long_script_in_a_here_document_is_read_where_it_can_be() -> None:
    inner = "cat <<'IN' > x\n" + LONG + "IN\nrm -rf /\n"
    assert "rm-root" in shell_view(f"bash <<'EOF'\n{inner}EOF\n", "/workspace")["hazards"]


def test_bodies_of_scripts_inside_each_other_are_kept_apart() -> None:
    inner = f"cat <<'A' > x\n{LONG}A\ncat <<'B' > y\n{LONG}B\n"
    second = f"rm -rf /\ncat <<'C' > z\n{LONG}C\n"
    command = f"bash <<'EOF'\n{inner}EOF\nbash <<'END'\n{second}END\n"
    assert "rm-root" in shell_view(command, "/workspace")["hazards"]
