import pytest
import torch

from pairstill.devices import choose_device
from pairstill.errors import ConfigError


@pytest.mark.parametrize("name", ["mps", "meta", "xpu", "cpu:3", "gpu", "cuda:x", ""])
def test_other_devices_are_refused_with_what_is_allowed(name):
    with pytest.raises(ConfigError, match=f"device is '{name}'; allowed are auto, cpu, cuda"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="device is 'cuda:9' but there are 2 GPUs, counted from 0"):
        choose_device("cuda:9")
