"""CEL conditions: what a rule may say, checked when it is loaded, and decided inside bounds that hold. The only
importer of cel_expr_python and celpy. An error, and any result that is not exactly a boolean, is `None` here, and DENY
above.

Google's engine (cel_expr_python) decides: it counts iterations and its regular expressions are linear. cel-python's
InterpretedRunner is the second opinion, and decides where no wheel of the first exists. cel-python's compiled runner
must never be used: it executes into module globals, and two threads got each other's verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, NoReturn, Protocol

import celpy
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.celtypes import BoolType, IntType
from celpy.evaluation import CELEvalError
from lark import Token, Tree

from app.domain.canonical import Json

try:
    from cel_expr_python import cel
except ImportError:  # no wheel for this platform
    cel = None

MAX_SOURCE: Final = 4096
MAX_NESTING: Final = 24
MAX_OPERATORS: Final = 96
MAX_ADDITIONS: Final = 16
MAX_MACRO_DEPTH: Final = 2
MAX_STEPS: Final = 10_000
CHAIN: Final = 16

# What a condition can read. A mapping names its fields; `None` means that the fields are not known before the call.
FIELDS: Final[Mapping[str, frozenset[str] | None]] = {
    "args": None,
    "blueprint": None,
    "run": frozenset({"id", "no", "title"}),
    "agent": frozenset({"id", "type", "depth", "path"}),
    "budget": frozenset({"spent", "reserved", "cap"}),
    "shell": frozenset({"commands", "names", "hazards", "unclear"}),
    "file": frozenset({"path", "inside", "credential", "known"}),
    "evidence": None,
}
SCALARS: Final[Mapping[str, str]] = {
    "tool": "STRING",
    "effect_class": "STRING",
    "now": "STRING",
    "cwd": "STRING",
    "grade": "STRING",
    "host": "STRING",
    "port": "INT",
    "egress_listed": "BOOL",
}
LISTS: Final = frozenset({"grants"})  # of maps
VARIABLES: Final = frozenset({*FIELDS, *SCALARS, *LISTS})
_MACROS: Final = frozenset({"all", "exists", "exists_one", "filter", "map"})
_METHODS: Final = frozenset(
    {"startsWith", "endsWith", "contains", "matches", "size"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getHours", "getMinutes", "getSeconds"}
)
_FUNCTIONS: Final = frozenset(
    {"has", "size", "int", "double", "string", "bool", "timestamp", "duration", "dyn", "matches"}
)
_STRINGS: Final = re.compile(r"""[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_CPP_ERROR: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)")


class BadExpression(Exception):
    """A condition that is refused when it is loaded; `line` and `column` count from 1 inside its source."""

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.column, self.reason = line, column, reason


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition. `reads` maps each variable to the fields that are read, None for all of it. `macro_depth`
    bounds its cost: at most (elements it can range over) ** macro_depth steps."""

    source: str
    reads: Mapping[str, frozenset[str] | None]
    macro_depth: int


class Engine(Protocol):
    """One way to decide CEL."""

    name: str

    def __hash__(self) -> int: ...

    def compile(self, source: str) -> Any:
        """A program for a source. Raises BadExpression."""
        ...

    def run(self, program: Any, inputs: Json, steps: int) -> object:
        """The result as a plain Python value; None for every error. `steps` is the worst case of its macros."""
        ...


class CppEngine:
    """cel-cpp through cel_expr_python, with static types. Its errors are values, hence the test of the exact type."""

    def __init__(self) -> None:
        kinds = {name: getattr(cel.Type, kind) for name, kind in SCALARS.items()}
        fields = {name: cel.Type.Map(cel.Type.STRING, cel.Type.DYN) for name in FIELDS}
        self.name = "cel-expr-python/" + version("cel-expr-python")
        lists = dict.fromkeys(LISTS, cel.Type.List(cel.Type.Map(cel.Type.STRING, cel.Type.DYN)))
        self._env = cel.NewEnv(variables=kinds | fields | lists)
        self._answers = (cel.Type.BOOL, cel.Type.DYN, cel.Type.INT)

    def compile(self, source: str) -> Any:
        """The program; its declared result must be able to be a boolean (or a number, for a chain)."""
        try:
            program = self._env.compile(source)
        except RuntimeError as error:
            found = _CPP_ERROR.search(str(error))
            line, column, reason = found.groups() if found else (1, 1, "it does not compile")
            raise BadExpression(int(line), int(column), reason[:200]) from None
        if not any(program.return_type() == kind for kind in self._answers):
            raise BadExpression(1, 1, f"the result must be true or false, not {program.return_type()}")
        return program

    def run(self, program: Any, inputs: Json, steps: int) -> object:
        """`steps` is not needed: the engine stops by itself after its own iteration budget."""
        try:
            value = program.eval(data=inputs).value()
        except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError):
            return None
        return value if type(value) in (bool, int) else None


class InterpretedEngine:
    """cel-python, interpreted. It has no budget of its own, so the bound is checked before it starts."""

    def __init__(self) -> None:
        self.name = "cel-python/" + version("cel-python")
        self._env = celpy.Environment(runner_class=celpy.InterpretedRunner)

    def parse(self, source: str) -> Tree[Token]:
        """The syntax tree. Raises BadExpression."""
        try:
            tree: Tree[Token] = self._env.compile(source)
        except CELParseError as error:
            raise BadExpression(error.line or 1, error.column or 1, "syntax error") from None
        except RecursionError:
            raise BadExpression(1, 1, "the condition is nested too deeply") from None
        return tree

    def compile(self, source: str) -> Any:
        """The program."""
        return self._env.program(self.parse(source))

    def run(self, program: Any, inputs: Json, steps: int) -> object:
        """What the interpreter says, or None past the bound."""
        if steps > MAX_STEPS:
            return None
        try:
            activation = {name: json_to_cel(value) for name, value in inputs.items()}
            value = program.evaluate(activation)
        except (CELEvalError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError):
            return None
        except (AssertionError, MemoryError):
            return None
        if isinstance(value, BoolType):
            return bool(value)
        return int(value) if isinstance(value, IntType) else None


INTERPRETED: Final = InterpretedEngine()
ENGINE: Final[Engine] = INTERPRETED if cel is None else CppEngine()


def compile_condition(source: str, engine: Engine = ENGINE) -> Condition:
    """Check a condition's source against every static bound. Raises BadExpression with line and column."""
    _check_size(source)
    engine.compile(source)  # for its type check; a chain compiles the source again
    tree = INTERPRETED.parse(source)
    survey = _Survey()
    survey.visit(tree, frozenset(), 0)
    return Condition(source, survey.frozen(), survey.depth)


def evaluate(source: str, inputs: Json, engine: Engine = ENGINE, steps: int = 1) -> bool | None:
    """What one condition says about `inputs`; None for an error and for anything that is not a boolean. `steps` is the
    worst case of its macros."""
    try:
        answer = engine.run(engine.compile(source), inputs, steps)
    except BadExpression:
        return None
    return answer if isinstance(answer, bool) else None


class Chain:
    """Ordered conditions, compiled together so that one call decides up to sixteen of them."""

    def __init__(self, conditions: Sequence[Condition | None], engine: Engine = ENGINE) -> None:
        self._engine = engine
        self.depth = max((c.macro_depth for c in conditions if c is not None), default=0)
        sources = [(index, c.source if c is not None else "true") for index, c in enumerate(conditions)]
        self._chunks = [
            chunk for start in range(0, len(sources), CHAIN) for chunk in self._chunk(sources[start : start + CHAIN])
        ]

    def _chunk(self, sources: list[tuple[int, str]]) -> Iterator[_Chunk]:
        """One program for these conditions, or two halves where the engine finds the whole too deep."""
        text = "0"
        for index, source in reversed(sources):
            text = f"({source}\n) ? {index + 1} : ({text})"
        try:
            program = self._engine.compile(text)
        except BadExpression:
            if len(sources) == 1:
                raise
            half = len(sources) // 2
            yield from self._chunk(sources[:half])
            yield from self._chunk(sources[half:])
            return
        singles = [(index, self._engine.compile(source)) for index, source in sources]
        yield _Chunk(program, singles)

    def first(self, inputs: Json, elements: int) -> tuple[int | None, int | None]:
        """(index of the first condition that is true, None), or (None, index of one that could not be decided before
        any was true), or (None, None). `elements`: how many elements the inputs hold."""
        steps = max(elements, 1) ** self.depth
        for chunk in self._chunks:
            answer = self._engine.run(chunk.program, inputs, steps)
            if type(answer) is int and answer > 0:
                return answer - 1, None
            if type(answer) is int and answer == 0:
                continue
            index, failed = self._one_by_one(chunk, inputs, steps)
            if index is not None or failed is not None:
                return index, failed
        return None, None

    def _one_by_one(self, chunk: _Chunk, inputs: Json, steps: int) -> tuple[int | None, int | None]:
        """The chunk as a whole failed (an error, or a shared budget): each condition for itself says which one."""
        for index, program in chunk.singles:
            answer = self._engine.run(program, inputs, steps)
            if type(answer) is not bool:
                return None, index
            if answer:
                return index, None
        return None, None


@dataclass(frozen=True, slots=True)
class _Chunk:
    program: Any
    singles: list[tuple[int, Any]]


def _check_size(source: str) -> None:
    """Bounds on the text alone: nothing recursive has seen it yet."""
    if len(source) > MAX_SOURCE:
        raise BadExpression(1, 1, f"the condition is longer than {MAX_SOURCE} characters")
    if not source.strip() or re.search("[\x00\ud800-\udfff]", source):
        raise BadExpression(1, 1, "the condition is empty, or holds a NUL or half a surrogate pair")
    bare = _STRINGS.sub('""', source)
    depth = 0
    for char in bare:
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_NESTING:
            raise BadExpression(1, 1, f"the condition is nested deeper than {MAX_NESTING} levels")
    if len(re.findall(r"&&|\|\||[?!-]", bare)) > MAX_OPERATORS:
        raise BadExpression(1, 1, f"the condition has more than {MAX_OPERATORS} operators")
    if bare.count("+") > MAX_ADDITIONS:
        raise BadExpression(1, 1, f"the condition has more than {MAX_ADDITIONS} additions")


class _Survey:
    """One walk over the syntax tree: which variables and fields are read, how deep macros nest, and what is refused."""

    def __init__(self) -> None:
        self.depth = 0
        self._reads: dict[str, set[str] | None] = {}

    def frozen(self) -> dict[str, frozenset[str] | None]:
        return {name: None if fields is None else frozenset(fields) for name, fields in self._reads.items()}

    def visit(self, node: Tree[Token] | Token, bound: frozenset[str], depth: int) -> None:
        if isinstance(node, Token):
            return
        if node.data == "ident":
            self._variable(_token(node), None, bound)
        elif node.data == "member_dot":
            self._select(node, bound, depth)
        elif node.data == "member_dot_arg":
            self._method(node, bound, depth)
        elif node.data == "ident_arg":
            self._function(node, bound, depth)
        elif node.data in ("dot_ident", "dot_ident_arg", "member_object"):
            _refuse(node, "a leading dot or a message literal is not part of a condition")
        elif node.data == "addition_add" and depth:
            _refuse(node, "'+' inside a macro is refused: it can grow without bound")
        else:
            for child in node.children:
                self.visit(child, bound, depth)

    def _select(self, node: Tree[Token], bound: frozenset[str], depth: int) -> None:
        target, name = node.children[0], node.children[1]
        root = _plain_ident(target)
        if root is not None and isinstance(name, Token):
            self._variable(root, name, bound)
        else:
            self.visit(target, bound, depth)

    def _method(self, node: Tree[Token], bound: frozenset[str], depth: int) -> None:
        name = str(node.children[1])
        arguments = _arguments(node.children[2:])
        self.visit(node.children[0], bound, depth)
        if name not in _MACROS:
            if name not in _METHODS:
                _refuse(node, f"unknown method {name!r}; known: {', '.join(sorted(_METHODS | _MACROS))}")
            for argument in arguments:
                self.visit(argument, bound, depth)
            return
        variable = _plain_ident(arguments[0]) if len(arguments) >= 2 else None
        if variable is None:
            _refuse(node, f"the macro {name!r} needs a variable and a condition")
        if variable in VARIABLES:
            _refuse(node, f"a macro's variable must not be named like the variable {str(variable)!r}")
        if depth >= MAX_MACRO_DEPTH:
            _refuse(node, f"macros are nested deeper than {MAX_MACRO_DEPTH}")
        self.depth = max(self.depth, depth + 1)
        for argument in arguments[1:]:
            self.visit(argument, bound | {str(variable)}, depth + 1)

    def _function(self, node: Tree[Token], bound: frozenset[str], depth: int) -> None:
        name = str(node.children[0])
        if name not in _FUNCTIONS:
            _refuse(node, f"unknown function {name!r}; known: {', '.join(sorted(_FUNCTIONS))}")
        for argument in _arguments(node.children[1:]):
            self.visit(argument, bound, depth)

    def _variable(self, name: Token, field: Token | None, bound: frozenset[str]) -> None:
        if name in bound:
            return
        if name not in VARIABLES:
            _refuse_token(name, f"unknown variable {str(name)!r}; known: {', '.join(sorted(VARIABLES))}")
        known = FIELDS.get(name)
        if field is not None and known is not None and field not in known:
            _refuse_token(field, f"{name} has no field {str(field)!r}; known: {', '.join(sorted(known))}")
        reads = self._reads.setdefault(str(name), set())
        if field is None or reads is None:
            self._reads[str(name)] = None
        else:
            reads.add(str(field))


def _arguments(children: Sequence[Any]) -> list[Any]:
    lists = [child for child in children if isinstance(child, Tree) and child.data == "exprlist"]
    return list(lists[0].children) if lists else []


def _plain_ident(node: Any) -> Token | None:
    """The name, when a subtree is nothing but one identifier."""
    while isinstance(node, Tree) and node.data != "ident" and len(node.children) == 1:
        node = node.children[0]
    return _token(node) if isinstance(node, Tree) and node.data == "ident" else None


def _token(node: Tree[Token]) -> Token:
    return next(child for child in node.children if isinstance(child, Token))


def _refuse(node: Tree[Token], reason: str) -> NoReturn:
    token = next(node.scan_values(lambda value: isinstance(value, Token)), None)
    raise BadExpression(getattr(token, "line", None) or 1, getattr(token, "column", None) or 1, reason)


def _refuse_token(token: Token, reason: str) -> NoReturn:
    raise BadExpression(token.line or 1, token.column or 1, reason)
