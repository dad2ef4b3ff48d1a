"""What a Python function does, as a digest that is the same in every process.

It is that of the function's syntax tree, without docstrings, where the source can be read and is
what the function was compiled from; so neither its place, comments, nor Python's release count.
Elsewhere (typed at a prompt, made by `exec`, source changed since) it is that of the byte code,
which other releases of Python write otherwise.
"""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from subspan.canonical import digest

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_UNSAID = {"ctx", "kind", "type_comment"}  # fields of a syntax tree that the rest implies
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Names:
    """What a function's code, and the functions in it, refer to by name.

    Args:
        read: global names that it reads.
        imported: modules that it imports, as written, with the number of dots before.
        attributes: every name of a global, a module or an attribute that it has.
    """

    read: frozenset[str]
    imported: frozenset[tuple[str, int]]
    attributes: frozenset[str]


def code_digest(function: FunctionType) -> list[str]:
    """Return ["source", hash] of a function, or ["bytecode", Python's release, hash]."""
    node = _definition(function)
    if node is not None:
        return ["source", digest(_tree(node))]
    release = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return ["bytecode", release, digest(_compiled(function.__code__))]


def names_in(code: CodeType) -> Names:
    """Return the names that code refers to."""
    read, imported, attributes = set(), set(), set()
    for part in _nested(code):
        attributes |= set(part.co_names)
        level = 0
        for instruction in dis.get_instructions(part):
            if instruction.opname in _READS:
                read.add(str(instruction.argval))
            elif instruction.opname == "IMPORT_NAME":
                imported.add((str(instruction.argval), level))
            # `import` loads the number of dots, then the names, then the module.
            if instruction.opname.startswith("LOAD_") and type(instruction.argval) is int:
                level = instruction.argval
    return Names(frozenset(read), frozenset(imported), frozenset(attributes))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _definition(function: FunctionType) -> Function | None:
    """Return the syntax tree of a function; None where there is no telling which one it is."""
    code = function.__code__
    for _ in range(2):
        text = "".join(linecache.getlines(code.co_filename, function.__globals__))
        try:
            nodes, compiled = _parsed(text, code.co_filename)
        except (SyntaxError, ValueError, RecursionError):
            return None
        if code in compiled:
            return _chosen(nodes, code)
        linecache.checkcache(code.co_filename)  # the file may have been read before it was changed
    return None


def _chosen(nodes: list[Function], code: CodeType) -> Function | None:
    found = [node for node in nodes if _starts(node) == (code.co_firstlineno, code.co_name)]
    if len(found) > 1:  # several lambdas in a line: the innermost body around all instructions
        found = sorted((n for n in found if _holds(n, code)), key=_span)[-1:]
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=64)
def _parsed(text: str, filename: str) -> tuple[list[Function], frozenset[CodeType]]:
    tree = ast.parse(text)
    code = compile(tree, filename, "exec", dont_inherit=True)
    nodes = [n for n in ast.walk(tree) if isinstance(n, Function)]
    return nodes, frozenset(_nested(code))


def _starts(node: Function) -> tuple[int, str]:
    if isinstance(node, ast.Lambda):
        return node.lineno, "<lambda>"
    return min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.name


Place = tuple[int, int]


def _span(node: Function) -> tuple[Place, Place]:
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    last = body[-1]
    return (body[0].lineno, body[0].col_offset), (last.end_lineno or 0, last.end_col_offset or 0)


def _holds(node: Function, code: CodeType) -> bool:
    start, end = _span(node)
    places = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    return all(start <= (p[0], p[2]) and (p[1], p[3]) <= end for p in places)


def _tree(node: Any) -> Any:
    if isinstance(node, list):
        return [_tree(part) for part in node]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: getattr(node, name, None) for name in node._fields if name not in _UNSAID}
    if isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    said = {name: _tree(value) for name, value in fields.items() if value not in (None, [])}
    return [type(node).__name__, said]


def _compiled(code: CodeType) -> Any:
    counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
    names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
    table = getattr(code, "co_exceptiontable", b"")
    constants = [_constant(c) for c in code.co_consts]
    return [counts, [list(n) for n in names], code.co_code.hex(), table.hex(), constants]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _compiled(value)
    if isinstance(value, tuple):
        return ["tuple", [_constant(v) for v in value]]
    if isinstance(value, frozenset):  # in an order that differs between processes
        return ["frozenset", sorted(digest(_constant(v)) for v in value)]
    return [type(value).__name__, repr(value)]
