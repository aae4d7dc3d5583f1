import pytest
import torch

from pairstill.core.devices import choose_device
from pairstill.core.errors import ConfigError


@pytest.mark.parametrize("name", ["mps", "meta", "xpu", "cpu:3", "gpu", "cuda:x", ""])
def test_other_devices_are_refused_with_what_is_allowed(name):
    with pytest.raises(ConfigError, match=f"device is '{name}'; allowed are auto, cpu, cuda"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    assert choose_device("cuda:1", count_gpus=lambda: 2) == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="device is 'cuda:9' but there are 2 GPUs, counted from 0"):
        choose_device("cuda:9", count_gpus=lambda: 2)


def test_without_a_gpu_the_cpu_is_taken_and_no_gpu_can_be_asked_for():
    assert choose_device("auto", count_gpus=lambda: 0) == torch.device("cpu")
    assert choose_device("auto", count_gpus=lambda: 1) == torch.device("cuda")
    with pytest.raises(ConfigError, match="no GPU is available; use --device cpu"):
        choose_device("cuda", count_gpus=lambda: 0)
