import os
import subprocess
import sys

import pytest
import torch
from torch import distributed

from pairstill.core.errors import ConfigError, RankError
from pairstill.core.world import World

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_without_torchrun_a_process_is_alone():
    assert World.from_environment() == World(rank=0, size=1, local_rank=0, local_size=1)


def test_one_process_of_torchrun_is_alone(monkeypatch):
    for name, value in {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert World.from_environment() == World()


def test_torchrun_says_which_process_this_is(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    world = World.from_environment()
    assert world == World(rank=5, size=8, local_rank=1, local_size=4)
    assert not world.is_main and World().is_main


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE is 2 but RANK, LOCAL_RANK, .* is not set; start several processes with torchrun",
        ),
        ({**TORCHRUN, "LOCAL_RANK": "first"}, "must be whole numbers .*first"),
    ],
)
def test_an_environment_that_is_not_torchruns(monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=expected):
        World.from_environment()


def test_a_process_alone_is_left_as_it_is():
    world, value = World(), torch.ones(2)
    world.join(torch.device("cpu"), 1)
    assert world.mean({"a": value})["a"] is value
    assert world.from_main(lambda: 3) == world.main_first(lambda: 3) == 3
    assert world.gather(3) == [3]
    world.barrier()
    world.leave()
    assert not distributed.is_initialized()


def test_a_process_alone_imports_nothing_heavy():
    code = (
        "import sys\nfrom pairstill.core.world import World\nworld = World.from_environment()\nworld.join(None, 1)\n"
        "world.barrier(), world.from_main(int), world.leave()\nprint('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_are_disjoint_and_complete(world):
    shares = [World(rank, world).shard(range(5)) for rank in range(world)]
    assert sorted(piece for share in shares for piece in share) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "use",
    [
        lambda world: world.mean({"a": torch.ones(2)}),
        lambda world: world.from_main(lambda: 1),
        lambda world: world.main_first(lambda: 1),
        lambda world: world.gather(1),
        lambda world: world.barrier(),
        lambda world: world.join(torch.device("cpu"), 1),
    ],
    ids=["mean", "from_main", "main_first", "gather", "barrier", "join"],
)
def test_a_lost_rank_is_an_error_that_says_what_to_do(monkeypatch, use):
    def lost(*_, **__):
        raise distributed.DistBackendError("Connection closed by peer. Check the logs\nmore")

    for name in ("all_reduce", "broadcast_object_list", "gather_object", "init_process_group"):
        monkeypatch.setattr(distributed, name, lost)
    expected = r"another rank stopped.*same command goes on from the last checkpoint .*Connection closed by peer\)$"
    with pytest.raises(RankError, match=expected):
        use(World(rank=0, size=2))


def test_an_error_of_the_work_itself_stays_what_it_is():
    def fail():
        raise RuntimeError("of the work")

    with pytest.raises(RuntimeError, match="^of the work$"):
        World(rank=0, size=2).from_main(fail)


TWO = """
import sys
import torch
from pairstill.core.world import World

world = World.from_environment()
world.join(torch.device("cpu"), 1)
me = world.rank
given = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t() * (1 + me), "b": torch.tensor(10.0 * me)}
found = world.mean(given)
assert found["a"].tolist() == [[1.5, 4.5], [3.0, 6.0]] and found["b"].tolist() == 5.0, found
assert given["a"].tolist()[0] == [1.0 + me, 3.0 + 3 * me], "what was given stays"
assert world.mean({"nan": torch.tensor(float("nan") if me else 1.0)})["nan"].isnan()
assert world.from_main(lambda: ("main", me)) == ("main", 0)
assert world.gather(me * 2) == ([0, 2] if world.is_main else [])
path = sys.argv[1]

def read_or_write():
    if world.is_main:
        with open(path, "w") as stream:
            stream.write("done")
    with open(path) as stream:
        return stream.read()

assert world.main_first(read_or_write) == "done"
world.leave()
world.leave()
assert not torch.distributed.is_initialized()
"""


def test_two_processes_agree(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    found = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(tmp_path / "file")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
