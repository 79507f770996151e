"""What a condition may say, and that both engines decide it inside bounds."""

from __future__ import annotations

import pytest
from app.domain.canonical import Json
from app.domain.expressions import ENGINE, INTERPRETED, MAX_SOURCE, BadExpression, Chain, Engine, compile_condition

ENGINES = pytest.mark.parametrize("engine", [ENGINE, INTERPRETED], ids=["first", "second"])


@pytest.mark.parametrize(
    ("source", "line", "column", "reason"),
    [
        ("foo == 1", 1, 1, "undeclared"),
        ("run.nme == 'a'", 1, 5, "no field"),
        ("\n\n  args.x ==\n  tool + 1", 4, 8, "overload"),
        ("tool", 1, 1, "true or false"),
        ("args.x == ", 1, 11, "yntax"),
        ("args.l.map(x, x + x) == []", 1, 15, "'+' inside a macro"),
        ("[args.s].map(x, [x].map(y, y + y)) == []", 1, 28, "'+' inside a macro"),
        ("args.l.exists(x, x.l.exists(y, y.l.exists(z, z)))", 1, 32, "nested deeper"),
        ("args.l.exists(args, true)", 1, 1, "must not be named"),
        (".tool == 'a'", 1, 2, "leading dot"),
        ("bytes(args.x) == bytes('a')", 1, 1, "unknown function"),
        ("", 1, 1, "empty"),
        ("(" * 30 + "true" + ")" * 30, 1, 1, "nested deeper"),
        ("!" * 200 + "true", 1, 1, "operators"),
        (" + ".join(["args.s"] * 40) + " == ''", 1, 1, "additions"),
        ("true || " * 600 + "true", 1, 1, "longer"),
        ("args.s == '" + "a" * MAX_SOURCE + "'", 1, 1, "longer"),
    ],
)
def test_what_is_refused_when_it_is_loaded(source: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(BadExpression) as caught:
        compile_condition(source)
    assert reason in caught.value.reason
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    "source", ["foo == 1", "run.nme == 'a'", "args.x == ", "args.l.reduce(a, b, 1) == 1", "nope(1)"]
)
def test_the_second_engine_alone_refuses_them_too(source: str) -> None:
    with pytest.raises(BadExpression):
        compile_condition(source, INTERPRETED)


@pytest.mark.parametrize(
    ("source", "reads", "depth"),
    [
        ("args.x == 1 && has(args.y)", {"args": {"x", "y"}}, 0),
        ("size(args) > 1 || args.x == 1", {"args": None}, 0),
        ("args['x'] == 1", {"args": None}, 0),
        ("args.l.exists(x, x.args == 1)", {"args": {"l"}}, 1),
        ("shell.commands.exists(c, c.argv.exists(a, a == tool))", {"shell": {"commands"}, "tool": None}, 2),
        ("args.l.filter(x, x.a).exists(y, y.b)", {"args": {"l"}}, 1),
        ("' args.z '.contains('x') // args.z", {}, 0),
        ("timestamp(now).getHours() < 18", {"now": None}, 0),
    ],
)
def test_what_a_condition_reads(source: str, reads: dict[str, set[str] | None], depth: int) -> None:
    condition = compile_condition(source)
    assert {name: None if fields is None else set(fields) for name, fields in condition.reads.items()} == reads
    assert condition.macro_depth == depth


def first(engine: Engine, sources: list[str], args: Json, elements: int = 1) -> tuple[int | None, int | None]:
    return Chain([compile_condition(source) for source in sources], engine).first({"args": args}, elements)


@ENGINES
def test_the_first_that_is_true_decides(engine: Engine) -> None:
    sources = ["args.x == 1", "args.x == 2", "args.y == 3"]
    assert first(engine, sources, {"x": 2, "y": 3}) == (1, None)
    assert first(engine, sources, {"x": 9, "y": 3}) == (2, None)
    assert first(engine, sources, {"x": 9, "y": 4}) == (None, None)


@ENGINES
def test_an_error_names_its_condition_and_stops_there(engine: Engine) -> None:
    assert first(engine, ["args.x == 1", "args.nope == 2", "true"], {"x": 9}) == (None, 1)
    assert first(engine, ["args.x == 1", "args.nope == 2"], {"x": 1}) == (0, None)


@ENGINES
@pytest.mark.parametrize("value", [1, "true", None, [True], {"a": True}, 1.0])
def test_only_a_boolean_is_an_answer(engine: Engine, value: Json) -> None:
    assert first(engine, ["args.x"], {"x": value}) == (None, 0)
    assert first(engine, ["args.x && true"], {"x": value}) == (None, 0)


@ENGINES
def test_a_long_chain_keeps_its_order(engine: Engine) -> None:
    sources = [f"args.x == {number}" for number in range(40)]
    for wanted in (0, 15, 16, 17, 31, 32, 39):
        assert first(engine, sources, {"x": wanted}) == (wanted, None)


@ENGINES
def test_deep_conditions_share_a_chain_or_are_split(engine: Engine) -> None:
    deep = "(" * 9 + "args.x == 1" + " && true)" * 9
    assert first(engine, [deep] * 20 + ["args.x == 2"], {"x": 2}) == (20, None)


@ENGINES
def test_a_flood_of_elements_is_an_error_and_not_a_wait(engine: Engine) -> None:
    flood = list(range(200))
    source = "args.l.all(x, args.l.all(y, x >= 0 && y >= 0))"
    assert first(engine, [source], {"l": flood}, elements=len(flood)) == (None, 0)
    assert first(engine, [source], {"l": flood[:20]}, elements=20) == (0, None)
