"""What checksums cost: writing and reading a file of tensors, against safetensors alone, in seconds of the processor.

OMP_NUM_THREADS=1 python benchmarks/stress/checksums.py --mib 100
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file

from pairstill.storage import load_tensors, save_tensors


def seconds(action: Callable[[], object]) -> float:
    """Return the median of five."""
    times = []
    for _ in range(5):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return median(times)


def read(tensors: dict[str, torch.Tensor]) -> None:
    """Touch every byte: files are memory-mapped."""
    for value in tensors.values():
        value.sum()


def run() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=100)
    mib = parser.parse_args().mib
    tensors = {f"tensor{number}": torch.randn(mib * 2**18 // 10) for number in range(10)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        found = {
            "write": seconds(lambda: save_tensors(path, tensors)),
            "write_plain": seconds(lambda: save_file(tensors, Path(folder) / "plain.safetensors")),
            "read": seconds(lambda: read(load_tensors(path))),
            "read_plain": seconds(lambda: read(load_file(path))),
        }
    report = {name: round(value, 3) for name, value in found.items()}
    print(
        json.dumps(
            {"mib": mib, **report, "mib_per_second_of_checksum": round(mib / (found["read"] - found["read_plain"]))}
        )
    )


if __name__ == "__main__":
    run()
