from dataclasses import replace

from pairstill.config import (
    AutoPhasesConfig,
    FeaturesFirstConfig,
    HeadsConfig,
    ImageConfig,
    RunConfig,
    TeacherConfig,
    TrajectoryConfig,
)
from pairstill.evaluate.measurement import crossed, current, measured_as
from pairstill.evaluate.results import made_title
from pairstill.methods import with_method


def test_results_of_other_pairs_do_not_count():
    config = RunConfig()
    about = {"method": "ptm_st", "protocol": "strict", "measured_as": measured_as(config, "ptm_st", "strict")}
    old, these, others = about, about | {"pairs": "a"}, about | {"pairs": "b"}
    assert current(config, [old, others], "a") == [old], "an old one contradicts nothing"
    assert current(config, [old, these, others], "a") == [these], "of several the last counts"
    assert current(config, [these], None) == [these], "a folder without pairs contradicts nothing"


def test_students_with_other_encoders_count_once_and_on_the_pairs_that_are_there():
    about = {"image": "a", "text": "x", "seeds": {"run": 0, "student": 0}, "pairs": "now"}
    other_text, other_pairs = {**about, "text": "y"}, {**about, "pairs": "before"}
    anew = {**about, "measured_as": "other rates"}
    assert crossed([about, other_text, anew, other_pairs], "now") == [other_text, anew]
    second = {**about, "seeds": {"run": 0, "student": 1}}
    assert crossed([about, second, anew], "now") == [anew], "students that were measured in two ways have no mean"
    assert crossed([other_pairs], None) == [other_pairs], "a folder without pairs contradicts nothing"


def test_lors_is_called_so_only_where_it_trains_the_tower():
    trained = RunConfig(method="lors")
    frozen = RunConfig(method="lors", image=ImageConfig(trainable=False), heads=HeadsConfig(image=True, width=4))
    assert made_title(trained) == "LoRS" and made_title(frozen) == "LoRS + symmetric heads"
    for config, title in ((trained, None), (frozen, "LoRS + symmetric heads")):
        results = [
            {"method": row, "protocol": "strict", "measured_as": measured_as(config, row, "strict")}
            for row in ("lors", "random")
        ]
        assert [result.get("title") for result in current(config, results, None)] == [title, None]
    assert made_title(RunConfig(method="random")) == "Random, one draw"
    assert made_title(RunConfig(image=frozen.image, heads=frozen.heads)) == "PTM-ST"


def test_pairs_made_in_another_way_are_not_called_by_the_methods_name_alone():
    heads = {"image": ImageConfig(trainable=False), "heads": HeadsConfig(image=True, width=4)}
    first = TrajectoryConfig(features_first=FeaturesFirstConfig(steps=3))
    auto = replace(first, auto_phases=AutoPhasesConfig())
    kept = {"teacher": TeacherConfig(keep="all")}
    titles = {
        (method, name): made_title(with_method(RunConfig(method=method, distill=distill, **heads, **kept)))
        for method in ("ptm_st", "ptm_st_auto", "features_first", "lors")
        for name, distill in (("plain", TrajectoryConfig()), ("first", first), ("auto", auto))
        if (method, name) != ("lors", "auto")
    }
    assert titles == {
        ("ptm_st", "plain"): "PTM-ST",
        ("ptm_st", "first"): "PTM-ST, features first",
        ("ptm_st", "auto"): "PTM-ST, auto phases",
        ("ptm_st_auto", "plain"): "PTM-ST, auto phases",
        ("ptm_st_auto", "first"): "PTM-ST, auto phases",
        ("ptm_st_auto", "auto"): "PTM-ST, auto phases",
        ("features_first", "plain"): "PTM-ST, features first",
        ("features_first", "first"): "PTM-ST, features first",
        ("features_first", "auto"): "PTM-ST, auto phases",
        ("lors", "plain"): "LoRS + symmetric heads",
        ("lors", "first"): "LoRS + symmetric heads, features first",
    }
    pixels = TrajectoryConfig(auto_phases=AutoPhasesConfig())
    assert made_title(RunConfig(distill=pixels, **heads, **kept)) == "PTM-ST, auto phases, on pixels"
    assert made_title(with_method(RunConfig(method="ptm_st_auto", **kept))) == "PTM-ST, auto phases"
