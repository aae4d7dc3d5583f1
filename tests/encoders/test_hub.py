from huggingface_hub import constants

from pairstill.encoders.hub import without_waiting

NOBODY = "http://127.0.0.1:9"


def test_a_hub_that_does_not_answer_is_taken_for_offline_and_left_as_it_was():
    before = constants.HF_HUB_OFFLINE
    with without_waiting(endpoint=NOBODY):
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE is before
    with without_waiting(asks=False, endpoint=NOBODY):
        assert constants.HF_HUB_OFFLINE is before
