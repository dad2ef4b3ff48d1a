"""`simplify`: the same numbers of a traced graph, to the bit, in fewer calls.

What `vmap` of a gradient traces to spends a good part of its calls on views that change nothing,
multiplications by one, and comparisons made five times. A small network pays for calls.

Only what leaves every bit alone is done: a matrix product keeps operands of the same strides and
alignment, on which its last bits depend. A graph that writes into memory or draws numbers stays as
it is, since there the same call twice is not the same thing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

_ATEN = torch.ops.aten
_VIEWS = {  # of which one that returns its argument's shape and strides returns its argument
    _ATEN.view.default,
    _ATEN._unsafe_view.default,
    _ATEN.reshape.default,
    _ATEN.expand.default,
    _ATEN.detach.default,
    _ATEN.alias.default,
}
_EACH = {_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor}  # number by number


def simplify(graph: fx.GraphModule) -> fx.GraphModule:
    """Take out calls that change nothing and calls made before; in place.

    Args:
        graph: as `make_fx` traces it, at one shape of every tensor.
    """
    if not all(_pure(node) for node in graph.graph.nodes if node.op == "call_function"):
        return graph
    _without_changeless(graph.graph)
    _without_repeats(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _pure(node: fx.Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return getattr(node.target, "__name__", "") == "getitem"
    seeded = torch.Tag.nondeterministic_seeded in node.target.tags
    return not (node.target._schema.is_mutable or seeded)


def _without_changeless(graph: fx.Graph) -> None:
    results = _results(graph)
    for node in list(graph.nodes):
        if node.op != "call_function" or node in results:
            continue
        source = _source(node)
        if source is not None:
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _source(node: fx.Node) -> fx.Node | None:
    """Return the node of the graph that has the same numbers in the same shape, if one is known."""
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    if node.target in _VIEWS:
        return first if _form(first) is not None and _form(first) == _form(node) else None
    if node.target is _ATEN.mul.Scalar:
        form, own = _form(first), _form(node)
        same = form is not None and own is not None and (form[0], form[2]) == (own[0], own[2])
        return first if same and node.args[1] == 1 and _number_by_number(node) else None
    if node.target is _ATEN.transpose.int and first.target is _ATEN.transpose.int:
        inner = first.args[0]
        back = isinstance(inner, fx.Node) and node.args[1:] == first.args[1:]
        return inner if back and isinstance(inner, fx.Node) else None
    return None


def _without_repeats(graph: fx.Graph) -> None:
    seen: dict[Any, fx.Node] = {}
    results = _results(graph)
    for node in list(graph.nodes):
        if node.op != "call_function" or node in results:
            continue
        call = (node.target, repr((node.args, node.kwargs)))
        known = seen.setdefault(call, node)
        if known is not node:
            node.replace_all_uses_with(known)
            graph.erase_node(node)


def _results(graph: fx.Graph) -> set[fx.Node]:
    """Return what the graph returns and that of which it is a view.

    They stay, so that no result becomes the memory of an argument or of another result.
    """
    found: set[fx.Node] = set()
    ahead = [n for node in graph.nodes if node.op == "output" for n in node.all_input_nodes]
    while ahead:
        node = ahead.pop()
        if node.op == "call_function" and node not in found:
            found.add(node)
            views = not isinstance(node.target, torch._ops.OpOverload) or any(
                given.alias_info is not None for given in node.target._schema.returns
            )
            ahead += node.all_input_nodes if views else []
    return found


def _number_by_number(node: fx.Node) -> bool:
    """Whether a node, or views of it, is read by nothing that cares how it lies in memory."""
    return all(
        user.target in _EACH or (user.target in _VIEWS and _number_by_number(user))
        for user in node.users
    )


def _form(node: fx.Node) -> tuple[tuple[int, ...], tuple[int, ...], torch.dtype] | None:
    """Return shape, strides and dtype, if it is a tensor and known."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return None
    return tuple(value.shape), value.stride(), value.dtype
