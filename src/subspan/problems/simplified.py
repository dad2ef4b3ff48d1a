"""`simplify`: the same numbers of a traced graph, to the bit, in fewer calls.

What `vmap` of a gradient traces to spends a good part of its calls on views that change nothing,
multiplications by one, and comparisons made five times. A small network pays for calls.

What is left is called by PyTorch's own bindings, which take a microsecond less than an overload
does, and small tensors of one number are made once.

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
_BINDINGS = {
    _ATEN._log_softmax.default: torch._log_softmax,
    _ATEN._log_softmax_backward_data.default: torch._log_softmax_backward_data,
    _ATEN.add.Tensor: torch.add,
    _ATEN.bmm.default: torch.bmm,
    _ATEN.cat.default: torch.cat,
    _ATEN.div.Tensor: torch.div,
    _ATEN.gather.default: torch.gather,
    _ATEN.mm.default: torch.mm,
    _ATEN.mul.Tensor: torch.mul,
    _ATEN.ne.Scalar: torch.ne,
    _ATEN.neg.default: torch.neg,
    _ATEN.permute.default: torch.permute,
    _ATEN.relu.default: torch.relu,
    _ATEN.scatter.value: torch.scatter,
    _ATEN.split_with_sizes.default: torch.split_with_sizes,
    _ATEN.squeeze.dims: torch.squeeze,
    _ATEN.sub.Tensor: torch.sub,
    _ATEN.sum.dim_IntList: torch.sum,
    _ATEN.tanh.default: torch.tanh,
    _ATEN.transpose.int: torch.transpose,
    _ATEN.unsqueeze.default: torch.unsqueeze,
    _ATEN.where.self: torch.where,
}
_METHODS = {
    _ATEN.view.default: "view",
    _ATEN._unsafe_view.default: "view",
    _ATEN.expand.default: "expand",
    _ATEN.reshape.default: "reshape",
}
_CONSTANT = {_ATEN.scalar_tensor.default, _ATEN.ones_like.default, _ATEN.zeros_like.default}
_LARGEST_CONSTANT = 2**16  # numbers
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
    _with_constants(graph)
    _bound(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _with_constants(graph: fx.GraphModule) -> None:
    """Make tensors that every call fills alike once; nothing writes to them."""
    results = _results(graph.graph)
    for node in list(graph.graph.nodes):
        value = node.meta.get("val")
        if node.target not in _CONSTANT or node in results or not isinstance(value, torch.Tensor):
            continue
        if value.numel() > _LARGEST_CONSTANT:
            continue
        fill = {_ATEN.ones_like.default: 1, _ATEN.zeros_like.default: 0}
        number = fill.get(node.target, node.args[0])
        made = torch.empty_strided(
            value.shape, value.stride(), dtype=value.dtype, device=value.device
        )
        name = f"constant_of_{node.name}"
        graph.register_buffer(name, made.fill_(number), persistent=False)
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(name))
        graph.graph.erase_node(node)


def _bound(graph: fx.Graph) -> None:
    """Call the same operations by their shorter ways; only what no step above asks for after."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in _BINDINGS:
            node.target = _BINDINGS[node.target]
        elif node.target in _METHODS:
            node.op, node.target = "call_method", _METHODS[node.target]


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
