from huggingface_hub import constants

from pairstill.encoders.hub import without_waiting


def test_a_hub_that_does_not_answer_is_taken_for_offline_and_left_as_it_was(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with without_waiting():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    with without_waiting(asks=False):
        assert not constants.HF_HUB_OFFLINE
