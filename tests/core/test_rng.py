import subprocess
import sys

import pytest
import torch

from pairstill.core.rng import derive_seed, make_generator, seeded_globally


def test_seed_depends_on_every_part_their_order_and_their_kind():
    seeds = [
        derive_seed(0),
        derive_seed(1),
        derive_seed(0, 1),
        derive_seed(1, 0),
        derive_seed(0, "1"),
        derive_seed("0", 1),
        derive_seed("0", "1"),
        derive_seed("01"),
        derive_seed("a", "bc"),
        derive_seed("ab", "c"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_is_the_same_in_another_process():
    # hash() of a string differs between processes; a seed must not
    code = "from pairstill.core.rng import derive_seed; print(derive_seed(3, 'teacher', 7))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == derive_seed(3, "teacher", 7)


def test_generator_is_its_parts_alone():
    torch.manual_seed(5)
    first = torch.rand(4, generator=make_generator(0, "a"))
    torch.manual_seed(6)
    assert torch.equal(torch.rand(4, generator=make_generator(0, "a")), first)
    assert not torch.equal(torch.rand(4, generator=make_generator(0, "b")), first)


def test_seeded_globally_puts_the_state_back():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded_globally("x", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded_globally("x", 1):
        assert torch.equal(torch.rand(3), inside)
    with seeded_globally("x", 2):
        assert not torch.equal(torch.rand(3), inside)


def test_seeded_globally_puts_the_state_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded_globally("x"):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)
