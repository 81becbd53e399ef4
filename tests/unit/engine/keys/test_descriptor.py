"""Vault descriptors: only the one that the log names, and only rules that this version follows."""

from __future__ import annotations

import msgspec
import pytest

from recoup.engine.descriptor import VaultDescriptor, decode_descriptor, encode_descriptor, new_descriptor, reference_to
from recoup.errors import Integrity, Invalid

DESCRIPTOR = new_descriptor(0, bytes(16), bytes(range(16)), (bytes(32),))


def test_a_descriptor_round_trips() -> None:
    assert decode_descriptor(encode_descriptor(DESCRIPTOR), reference_to(DESCRIPTOR), "x") == DESCRIPTOR


def test_every_flip_and_cut_is_noticed() -> None:
    data, ref = bytearray(encode_descriptor(DESCRIPTOR)), reference_to(DESCRIPTOR)
    for position in range(len(data)):
        data[position] ^= 1
        for changed in (bytes(data), bytes(data[:position])):
            with pytest.raises(Integrity, match="descriptor x"):
                decode_descriptor(changed, ref, "x")
        data[position] ^= 1


def test_log_and_descriptor_must_agree() -> None:
    ref = reference_to(DESCRIPTOR)
    for other in (msgspec.structs.replace(ref, number=1), msgspec.structs.replace(ref, run_keys=())):
        with pytest.raises(Integrity, match="differ"):
            decode_descriptor(encode_descriptor(DESCRIPTOR), other, "x")


@pytest.mark.parametrize("changes", [{"ids": "sha256"}, {"minimum_suite": 2}], ids=str)
def test_rules_that_this_version_does_not_follow_say_update(changes: dict[str, object]) -> None:
    newer: VaultDescriptor = msgspec.structs.replace(DESCRIPTOR, **changes)
    with pytest.raises(Invalid, match="update"):
        decode_descriptor(encode_descriptor(newer), reference_to(newer), "x")
