from pairstill.config import RunConfig
from pairstill.evaluate.measurement import current, measured_as


def test_results_of_other_pairs_do_not_count():
    config = RunConfig()
    about = {"method": "ptm_st", "protocol": "strict", "measured_as": measured_as(config, "ptm_st", "strict")}
    old, these, others = about, about | {"pairs": "a"}, about | {"pairs": "b"}
    assert current(config, [old, these, others], "a") == [old, these]
    assert current(config, [these], None) == [these], "a folder without pairs contradicts nothing"
