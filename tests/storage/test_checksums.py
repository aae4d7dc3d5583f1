from hashlib import sha256

import pytest

from pairstill.core.errors import ArtifactError
from pairstill.storage.checksums import check_seal, parse_json, sealed


def test_json_numbers_that_are_finite_come_back():
    assert parse_json("[1, -2.5e3, 1e-400, 123456789012345678901234567890]") == [
        1,
        -2500.0,
        0.0,
        123456789012345678901234567890,
    ]


def test_a_seal_finds_any_change_but_not_of_order():
    content = {"a": [1, 2.5], "b": {"c": "é"}}
    found = sealed(content)
    assert found["sha256"] == sha256(b'{"a":[1,2.5],"b":{"c":"\\u00e9"}}').hexdigest()
    assert check_seal({"sha256": found["sha256"], "b": {"c": "é"}, "a": [1, 2.5]}, "x") == content
    assert sealed(found) == found
    for changed in ({**found, "a": [1, 2.6]}, {**found, "d": 1}, {k: v for k, v in found.items() if k != "a"}):
        with pytest.raises(ArtifactError, match=r"^line 3 is damaged, or was changed .* checksum does not match"):
            check_seal(changed, "line 3")


def test_what_was_never_sealed_passes():
    assert check_seal({"a": 1}, "x") == {"a": 1}
