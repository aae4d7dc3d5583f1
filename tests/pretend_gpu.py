"""A GPU that is none: tensors that say they are elsewhere, compute on the CPU, and refuse to meet tensors of the CPU.

A tensor on the device `meta` is here a CPU tensor in a wrapper. Operations on wrappers run on what is inside, after the
rules of CUDA were checked: operands lie on one device, but for scalars and for indices, which PyTorch moves by itself.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
MOVES = ("_to_copy", "copy_", "_has_compatible_shallow_copy_type")
INDICES = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")


class Elsewhere(torch.Tensor):
    """A tensor of the pretended GPU."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"Elsewhere({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def here(value):
    return value.inner if isinstance(value, Elsewhere) else value


def compute(func, args, kwargs):
    """Run an operation on what is inside; its results are elsewhere if an operand was, or if it was asked for there."""
    name = func._schema.name.split("::")[1]
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    away = any(isinstance(value, Elsewhere) for value in tensors)
    target = kwargs.get("device")
    if name not in MOVES:
        strangers = tensors[:1] if name in INDICES else tensors
        mixed = [value for value in strangers if not isinstance(value, Elsewhere) and value.ndim]
        if away and mixed:
            raise RuntimeError(f"{func}: a CPU tensor of shape {tuple(mixed[0].shape)} meets one of the GPU")
    if target is not None:
        away, kwargs = torch.device(target) == ELSEWHERE, {**kwargs, "device": torch.device("cpu")}
    elif name == "copy_":
        away = isinstance(args[0], Elsewhere)
    found = func(*tree_map(here, args), **tree_map(here, kwargs))
    if name.endswith("_") and args and isinstance(args[0], torch.Tensor):
        return args[0]
    return tree_map(lambda value: Elsewhere(value) if away and isinstance(value, torch.Tensor) else value, found)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Numbers that are put on the device at once, which torch does without any operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == ELSEWHERE:
            return func(*args, **{**kwargs, "device": torch.device("cpu")}).to(ELSEWHERE)
        return func(*args, **kwargs)


@contextmanager
def pretended_gpu():
    """A context in which the device `meta` is the pretended GPU; it has no autocast, and no forward derivatives."""
    with patch.object(torch, "is_autocast_enabled", lambda kind=None: False), _Literals(), _Operations():
        yield
