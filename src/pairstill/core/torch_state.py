"""What PyTorch keeps for the whole process, as pairstill's maths needs it, and afterwards as it was.

A library has no say in how the program around it uses torch: in what precision, with how many threads, with or without
gradients.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def own_torch_state(threads: int | None = None, *, tf32: bool = False) -> Iterator[None]:
    """Compute in float32 on the CPU unless told otherwise, with gradients, inside the block; then all is as it was.

    That covers the default type and device, the gradient and inference modes, autocast, the precision of products, the
    number of threads and the global generator of the CPU.

    Args:
        threads: threads of the CPU; None leaves their number.
        tf32: let GPUs convolve in TF32.
    """
    dtype, count = torch.get_default_dtype(), torch.get_num_threads()
    precisions = [(where, name, getattr(where, name)) for where, name, *_ in _products()]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            torch.set_default_dtype(torch.float32)
            if threads is not None:
                torch.set_num_threads(threads)
            use_tf32(tf32)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(count)
            for where, name, value in precisions:
                setattr(where, name, value)


def use_tf32(wanted: bool) -> None:
    """Let GPUs convolve in TF32 or not, in this process; PyTorch by itself does.

    Convolutions are the image tower's alone. Matrix products, which the heads, the losses and recall have too, stay in
    float32 whatever is wanted.
    """
    for where, name, exact, fast in _products():
        setattr(where, name, fast if wanted else exact)


def _products() -> list[tuple[Any, str, Any, Any]]:
    """Return where the precision of products stands, and its value in float32 and in TF32, which CPUs have not."""
    backends: Any = torch.backends  # whose types do not know all of it
    if not hasattr(backends.cudnn, "conv"):  # before torch 2.9
        return [(backends.cuda.matmul, "allow_tf32", False, False), (backends.cudnn, "allow_tf32", False, True)]
    # not the older flags, which raise in a program that has set the newer ones
    others = (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [
        (backends.cudnn.conv, "fp32_precision", "ieee", "tf32"),
        *((where, "fp32_precision", "ieee", "ieee") for where in others),
    ]
