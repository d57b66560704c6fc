"""Small changes of a module's source, of which each should make a test fail."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
# Functions with an argument that guards against a mistake in the code itself: of rows that are as many, and of a record
# that nobody writes to, nothing shows whether it is there.
GUARDS = {"zip": "strict", "dataclass": "frozen"}


@dataclass(frozen=True)
class Change:
    """One change of one module.

    Attributes:
        lines: the lines it concerns, counted from 1.
        before: what stands there, on one line.
        after: what takes its place.
        source: the whole module with it.
    """

    lines: range
    before: str
    after: str
    source: str


def compared(node: ast.Compare) -> Iterator[ast.AST]:
    """Turn each comparison."""
    for i, op in enumerate(node.ops):
        for other in COMPARED[type(op)]:
            changed = deepcopy(node)
            changed.ops[i] = other()
            yield changed


def computed(node: ast.BinOp | ast.AugAssign) -> Iterator[ast.AST]:
    """Turn an operation of arithmetic."""
    # A text has no minus, and '|' of types is read by nobody.
    texts = any(isinstance(n, ast.JoinedStr | ast.Constant) and not _number(n) for n in ast.iter_child_nodes(node))
    if type(node.op) in COMPUTED and not texts:
        changed = deepcopy(node)
        changed.op = COMPUTED[type(node.op)]()
        yield changed


def _number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def constant(node: ast.Constant) -> Iterator[ast.AST]:
    """Change a number by one, or a half, and turn a truth; half of nothing is nothing."""
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, float):
        yield from (ast.Constant(value * 1.5), ast.Constant(value / 1.5)) if value else [ast.Constant(1.0)]


def joined(node: ast.BoolOp) -> Iterator[ast.AST]:
    """Take 'and' for 'or', and leave each operand out."""
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for i in range(len(node.values)):
        rest = node.values[:i] + node.values[i + 1 :]
        yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]


def without_sign(node: ast.UnaryOp) -> Iterator[ast.AST]:
    """Leave out a minus or a 'not'."""
    if isinstance(node.op, ast.USub | ast.Not):
        yield node.operand


def other_branch(node: ast.If | ast.While | ast.IfExp) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Take the other branch."""
    yield node.test, ast.UnaryOp(ast.Not(), node.test)


def deleted(node: ast.stmt) -> Iterator[ast.AST]:
    """Leave a statement out."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, or the '...' of a stub
    if isinstance(node, ast.Assign) and not any(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets):
        return  # a name that is missing is noticed by whatever reads it
    yield ast.Pass()


KINDS: dict[type, tuple[Callable[[Any], Iterator[Any]], ...]] = {
    ast.Compare: (compared,),
    ast.BinOp: (computed,),
    ast.AugAssign: (computed, deleted),
    ast.Constant: (constant,),
    ast.BoolOp: (joined,),
    ast.UnaryOp: (without_sign,),
    ast.If: (other_branch,),
    ast.While: (other_branch,),
    ast.IfExp: (other_branch,),
    ast.Expr: (deleted,),
    ast.Assign: (deleted,),
    ast.Raise: (deleted,),
    ast.Continue: (deleted,),
    ast.Break: (deleted,),
}


def _changeable(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those in annotations, in texts, in what type checkers alone read, and in `GUARDS`."""
    yield node
    if isinstance(node, ast.Call) and ast.unparse(node.func) in GUARDS:
        node = ast.Call(node.func, node.args, [k for k in node.keywords if k.arg != GUARDS[ast.unparse(node.func)]])
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
        return
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _changeable(child)


def changes(source: str) -> list[Change]:
    """Return every small change of a module, in the order of its lines; each can be compiled."""
    tree = ast.parse(source)
    found = []
    for node in _changeable(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for kind in KINDS.get(type(node), ()):
            for made in kind(node):
                where, what = made if isinstance(made, tuple) else (node, made)
                change = _spliced(source, where, what)
                if change.before != change.after:
                    found.append(change)
    return sorted(found, key=lambda change: change.lines.start)


def _spliced(source: str, node: Any, changed: ast.AST) -> Change:
    """Put a node in the place of another, and nothing else."""
    text = ast.unparse(ast.fix_missing_locations(changed))
    if isinstance(node, ast.expr):
        text = f"({text})"
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
    data = source.encode()
    whole = (data[:first] + text.encode() + data[last:]).decode()
    context = data[starts[node.lineno - 1] : first].decode(), data[last : starts[node.end_lineno]].decode()
    before, after = (" ".join((context[0] + part + context[1]).split()) for part in (data[first:last].decode(), text))
    return Change(range(node.lineno, node.end_lineno + 1), before, after, whole)
