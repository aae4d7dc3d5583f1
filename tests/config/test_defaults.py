import json
from dataclasses import asdict, dataclass, field

from pairstill.config import PhaseConfig, RunConfig, StudentConfig, TrajectoryConfig
from pairstill.config.changed import changed, meant
from pairstill.config.defaults import decisive, filled, in_use


@dataclass(frozen=True)
class Inner:
    a: int = 1
    new: tuple[float, ...] = (0.5,)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = (Inner(),)
    flag: bool = False


def test_what_is_missing_has_its_default_on_every_level():
    inner = {"a": 1, "new": [0.5]}
    assert filled({}, Outer()) == {"inner": inner, "many": [inner], "flag": False}
    older = {"inner": {"a": 3}, "many": [{"a": 1}, {"a": 2}]}
    assert filled(older, Outer()) == {
        "inner": {"a": 3, "new": [0.5]},
        "many": [{"a": 1, "new": [0.5]}, {"a": 2, "new": [0.5]}],
        "flag": False,
    }


def test_what_is_there_stays():
    assert filled({"a": None, "gone": 7}, Inner()) == {"a": None, "gone": 7, "new": [0.5]}
    settings = json.loads(json.dumps(asdict(RunConfig(seed=3))))
    assert filled(settings, RunConfig()) == settings
    del settings["distill"]["phases"][0]["endpoint"], settings["student"]
    assert filled(settings, RunConfig()) == json.loads(json.dumps(asdict(RunConfig(seed=3))))


@dataclass(frozen=True)
class Loss:
    directions: str = changed("mean", before="sum")


def test_what_is_missing_means_what_it_meant_when_it_was_stored():
    assert filled({}, Loss()) == {"directions": "sum"}
    assert filled({"directions": "mean"}, Loss()) == {"directions": "mean"}
    assert (decisive(Loss()), decisive(Loss("sum"))) == ({"directions": "mean"}, {})
    assert (meant(Loss, "directions"), meant(Inner, "a")) == ("sum", 1)


def test_only_what_is_set_is_decisive():
    assert decisive(StudentConfig()) == {}
    assert decisive(StudentConfig(epochs=3)) == {"epochs": 3}
    assert decisive(StudentConfig(), ("momentum",)) == {"momentum": 0.9}
    phases = (PhaseConfig(endpoint=7),)
    assert decisive(TrajectoryConfig(phases=phases)) == {"phases": (asdict(phases[0]),)}


def test_groups_that_are_switched_off_mean_nothing():
    off, on = ({"steps": steps, "in_range": True} for steps in (0, 3))
    assert in_use({"distill": {"features_first": off, "ema": True}}) == {
        "distill": {"features_first": {"steps": 0}, "ema": True}
    }
    assert in_use({"distill": {"features_first": on}}) == {"distill": {"features_first": on}}
