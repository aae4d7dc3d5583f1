import json
from dataclasses import replace

import pytest
import torch

from pairstill import cli
from pairstill.core.errors import ConfigError, PairstillError
from pairstill.tools.bench import measure as module
from pairstill.tools.bench.measure import Benchmark, command, measure, peak_bytes, seconds_in_turn
from pairstill.tools.bench.settings import BENCHMARKS, HypergradientBench, RecallBench, TrajectoriesBench

CPU = torch.device("cpu")
TINY = RecallBench(rounds=2, memory=False, device="cpu")


def test_rounds_take_the_variants_in_turn():
    order = []
    seconds = seconds_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU)
    assert order == ["a", "b"] * 3 and set(seconds) == {"a", "b"} and min(seconds.values()) >= 0


def test_the_median_is_over_the_rounds():
    clock = iter([0.0, 1.0, 10.0, 15.0, 20.0, 22.0])
    assert seconds_in_turn({"a": lambda: None}, 3, CPU, clock=lambda: next(clock)) == {"a": 2.0}


def test_peak_memory_sees_what_is_freed_again():
    size = 256 * 2**20
    # the system counts in pages, and late
    assert 0.99 * size <= peak_bytes(lambda: torch.ones(size // 4).sum(), CPU) < 2 * size


def test_the_first_variant_is_the_baseline_and_runs_once_before_the_clock():
    calls = []
    closed = []
    benchmark = Benchmark(
        {"first": lambda: calls.append("first") or 1, "second": lambda: calls.append("second") or 2},
        lambda outputs: {name: {"twice": 2 * value} for name, value in outputs.items()},
        lambda: closed.append(True),
    )
    report = measure("recall", TINY, lambda settings, device: benchmark)
    assert not isinstance(report, int)
    assert [row.name for row in report.rows] == ["first", "second"] and report.rows[0].ratio == 1
    assert [dict(row.values) for row in report.rows] == [{"twice": 2}, {"twice": 4}]
    assert len(calls) == 2 * (1 + TINY.rounds) and closed == [True]
    assert all(row.peak_bytes is None for row in report.rows)
    assert json.loads(json.dumps(report.to_json()))["settings"]["rounds"] == 2


def test_peak_of_runs_one_variant_once_and_unknown_ones_are_named():
    calls = []
    benchmark = Benchmark({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert isinstance(measure("recall", replace(TINY, peak_of="b"), lambda settings, device: benchmark), int)
    assert calls == ["b"]
    with pytest.raises(ConfigError, match="peak_of is 'c'; the variants are a; b"):
        measure("recall", replace(TINY, peak_of="c"), lambda settings, device: benchmark)


def test_the_command_shows_what_differs_from_the_defaults_and_parses_back():
    settings = TrajectoriesBench(rounds=5, endpoints=(3, 4), model="nf_resnet_tiny", memory=False)
    line = command("trajectories", settings)
    assert line.startswith("pairstill bench trajectories ") and "--rounds=5" in line and "seed" not in line
    parser = cli.build_parser()
    arguments = ["bench", "trajectories", *module._options("trajectories", settings)]
    found = dict(vars(parser.instantiate(parser.parse_args(arguments)).bench["trajectories"]))
    found.pop("json")
    assert TrajectoriesBench(**found) == settings
    assert command("recall", RecallBench()) == "pairstill bench recall"


def test_a_fresh_process_that_fails_says_why():
    with pytest.raises(PairstillError, match="measuring the peak memory of nonsense failed:\n.*the variants are"):
        module._peak_in_fresh_process("recall", RecallBench(images=2, device="cpu", peak_of="nonsense"))


@pytest.mark.parametrize("kind", BENCHMARKS.values())
def test_numbers_must_be_above_zero(kind):
    with pytest.raises(ConfigError, match="rounds is 0; it must be above 0"):
        kind(rounds=0)
    assert kind(seed=0).seed == 0


def test_endpoints_must_be_epochs():
    with pytest.raises(ConfigError, match=r"endpoints are \[11\]; each must be in 2..10"):
        TrajectoriesBench(endpoints=(11,))


def test_the_command_line_prints_one_json_object_and_takes_dashes(capsys):
    tiny = ["--model=nf_resnet_tiny", "--size=16", "--pairs=4", "--batch", "2", "--inner-steps", "2", "--rounds=1"]
    assert cli.main(["bench", "hypergradient", *tiny, "--device=cpu", "--memory=false", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "hypergradient" and report["settings"]["inner_steps"] == 2
    assert report["rows"][0]["ratio"] == 1 and report["hardware"]["device"] == "cpu"


def test_the_command_line_shows_a_table(capsys):
    assert cli.main(["bench", "recall", "--images=20", "--rounds=1", "--device=cpu", "--memory=false"]) == 0
    shown = capsys.readouterr().out
    assert "in tiles" in shown and "mean recall" in shown and "pairstill bench recall" in shown


def test_a_benchmark_with_wrong_settings_is_wrong_usage(capsys):
    assert cli.main(["bench", "recall", "--images=0"]) == 2
    assert "images is 0" in capsys.readouterr().err


def test_defaults_are_the_sizes_that_the_targets_are_stated_for():
    default = HypergradientBench()
    assert (default.model, default.size, default.batch, default.inner_steps) == ("nf_resnet26", 64, 20, 8)
