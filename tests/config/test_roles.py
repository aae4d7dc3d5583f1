from dataclasses import fields

from pairstill.analyze.work import _PLACES
from pairstill.config import ImageConfig, ReferencesConfig, RunConfig, StudentConfig, TeacherConfig
from pairstill.config.roles import always_counted, with_role
from pairstill.run.export import PRIVATE_SETTINGS
from pairstill.run.folder import FREE_SETTINGS
from pairstill.run.reuse import DECISIVE
from pairstill.tools.compare.runs import MADE_SETTINGS, REPEATED_SETTINGS

PLACES = {"run_dir", "device", "threads", "ranks_timeout_minutes", "cache_dir", "reuse", "verify", "tracker"}


def test_every_setting_of_a_run_says_what_it_is():
    assert [one.name for one in fields(RunConfig) if not one.metadata.get("role")] == []


def test_lists_of_settings_are_those_that_digests_of_old_were_made_of():
    assert set(FREE_SETTINGS) == PLACES | {"student", "evaluate"}
    assert set(DECISIVE) == {"method", "seed", "seeds", "heads", "teacher", "distill", "student", "info_nce"}
    assert set(PRIVATE_SETTINGS) == set(_PLACES) == PLACES | {"trajectories_dir"}
    assert set(REPEATED_SETTINGS) == {"seed", "seeds", "trajectories_dir"}
    assert set(MADE_SETTINGS) == {"method", "distill"}
    assert with_role(RunConfig, "loss") == ("info_nce",)
    assert with_role(TeacherConfig, "extent") == ("num_experts", "keep")
    assert with_role(ImageConfig, "model") == ("trainable", "last_stages", "precision")
    always = ("epochs", "batch_size", "momentum", "weight_decay", "validate_every")
    assert always_counted(StudentConfig) == always
    assert always_counted(ReferencesConfig) == ("momentum", "weight_decay", "random_pairs", "full_epochs")
