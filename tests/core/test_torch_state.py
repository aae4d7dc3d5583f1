from contextlib import nullcontext

import pytest
import torch

from pairstill.core.torch_state import own_torch_state, use_tf32


def seen():
    """What torch keeps for the whole process."""
    products = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul)
    return {
        "generator": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "products": [where.fp32_precision for where in products],
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
    }


@pytest.fixture
def restored():
    """Put back what a test sets for the whole process."""
    dtype, threads, products = torch.get_default_dtype(), torch.get_num_threads(), torch.backends.mkldnn.matmul
    precision = products.fp32_precision
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    products.fp32_precision = precision


AROUND = {
    "nothing": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("fails", [False, True])
def test_inside_it_is_pairstills_own_and_afterwards_as_it_was(restored, around, fails):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    with AROUND[around]():
        before = seen()
        with pytest.raises(ValueError, match="inside") if fails else nullcontext(), own_torch_state(1):
            inside = seen()
            weight = torch.ones(2, requires_grad=True)
            (torch.rand(2, device="cpu") * weight).sum().backward()
            assert weight.dtype == torch.float32 and weight.grad is not None
            torch.nn.Linear(3, 3)
            if fails:
                raise ValueError("inside")
        assert seen() == before
    assert inside["modes"] == (True, False, False) and inside["device"] == "cpu"
    assert inside["threads"] == 1 and inside["products"] == ["ieee"] * 3


def test_blocks_may_be_nested():
    before = seen()
    with own_torch_state(tf32=True):
        assert seen()["products"] == ["ieee", "tf32", "ieee"]
        with own_torch_state():
            assert seen()["products"] == ["ieee"] * 3
        assert seen()["products"] == ["ieee", "tf32", "ieee"]
        use_tf32(False)
    assert seen() == before
