"""A weight that says so where it is written in place, which would change nothing.

What `module.weight` reads is made anew each time, so `clamp_`, `copy_`, `weight.data = …` and
`nn.init` would write to a tensor that is thrown away. A method that writes is refused at once. A
function that does (`torch.clamp_(weight, 0)`, `out=weight`) is seen by the version that it counts,
when the tensor is thrown away, and refused where a weight is read next. Operations take the tensor
as any other and return plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from subspan.errors import InputError

_HARMLESS = {"requires_grad_", "share_memory_", "detach_", "rename_"}
_VIEWS = (
    "__getitem__", "view", "view_as", "reshape", "reshape_as", "flatten", "ravel", "squeeze",
    "unsqueeze", "t", "transpose", "permute", "movedim", "swapaxes", "swapdims", "narrow",
    "select", "diagonal", "chunk", "split", "unbind", "unfold", "expand", "expand_as", "contiguous",
)  # fmt: skip
_VIEW_PROPERTIES = ("T", "mT", "H", "mH")


class SubspaceWeight(torch.Tensor):
    """A weight at the present θ, and views of it: read as any tensor, not written."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    _subspan_name = "weight"
    _subspan_record: tuple[list[str], int] | None = None  # where to say so; the version when made

    def __del__(self) -> None:
        if self._subspan_record is not None and self._version != self._subspan_record[1]:
            self._subspan_record[0].append(self._subspan_name)

    def detach(self) -> torch.Tensor:
        """Return the values; `embedding` with `max_norm` may scale rows of them."""
        values: torch.Tensor = torch.Tensor.data.__get__(self)  # type: ignore[attr-defined]
        return guard(values, self._subspan_name)

    @property
    def data(self) -> torch.Tensor:
        """The values."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        raise written(self._subspan_name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        return self.as_subclass(torch.Tensor).__deepcopy__(memo)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return repr(self.as_subclass(torch.Tensor))


def guard(tensor: torch.Tensor, name: str, record: list[str] | None = None) -> torch.Tensor:
    """Let a tensor that was made for one reading refuse to be written; in place.

    Args:
        tensor: which.
        name: of the weight, for the error.
        record: where the name is put when the tensor goes and was written all the same.
    """
    if type(tensor) is torch.Tensor:
        tensor.__class__ = SubspaceWeight
        tensor._subspan_name = name  # type: ignore[attr-defined]
        if record is not None and not tensor.is_inference():
            tensor._subspan_record = record, tensor._version  # type: ignore[attr-defined]
    return tensor


def unguarded(tensor: torch.Tensor) -> torch.Tensor:
    """Let a tensor be plain again, for code of PyTorch's that lays it out anew; in place."""
    if type(tensor) is SubspaceWeight:
        tensor.__class__ = torch.Tensor  # type: ignore[assignment]
    return tensor


def written(name: str) -> InputError:
    """Return the error for a write to a weight of a subspace."""
    return InputError(
        f"{name}: expected no write in place to a weight that lies in a subspace, got one, which "
        "would be lost. Write θ, or call handle.merge() or handle.detach() first."
    )


def _guarded(result: Any, origin: SubspaceWeight) -> Any:
    if isinstance(result, tuple):
        return tuple(_guarded(part, origin) for part in result)
    if result is not origin and result._typed_storage()._cdata == origin._typed_storage()._cdata:
        return guard(result, origin._subspan_name)
    return result


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: SubspaceWeight, *args: Any, **kwargs: Any) -> Any:
        raise written(self._subspan_name)

    refuse.__name__ = name
    return refuse


def _viewing(name: str) -> Callable[..., Any]:
    own = getattr(torch.Tensor, name)

    def view(self: SubspaceWeight, *args: Any, **kwargs: Any) -> Any:
        return _guarded(own(self, *args, **kwargs), self)

    view.__name__ = name
    return view


def _viewing_property(name: str) -> property:
    own = getattr(torch.Tensor, name)

    def view(self: SubspaceWeight) -> Any:
        return _guarded(own.__get__(self), self)

    return property(view)


def _writes(name: str) -> bool:
    if name in ("__setitem__", "resize_as_sparse_"):
        return True
    if name.startswith("__i") and name.endswith("__"):
        return name[3:-2] in {
            "add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "and", "or", "xor",
            "lshift", "rshift",
        }  # fmt: skip
    return name.endswith("_") and not name.startswith("_") and name not in _HARMLESS


for _name in dir(torch.Tensor):
    if _writes(_name):
        setattr(SubspaceWeight, _name, _refusing(_name))
for _name in _VIEWS:
    setattr(SubspaceWeight, _name, _viewing(_name))
for _name in _VIEW_PROPERTIES:
    setattr(SubspaceWeight, _name, _viewing_property(_name))
