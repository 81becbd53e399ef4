"""Random bits of a larger repository: verification names every object that was hit, and reading one notices it or is right."""

from __future__ import annotations

import random

import pytest

from tests.faults.bits.small import Small, flipped
from tests.faults.bits.test_restore import complaint, padding_of, readable

COUNTS = [pytest.param(100_000, marks=pytest.mark.long, id="100000"), pytest.param(2_000, id="2000")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.make(tmp_path_factory.mktemp("large"), files=400, content=4_000)


@pytest.mark.parametrize("count", COUNTS)
def test_random_bits(large: Small, count: int) -> None:
    rng = random.Random(20_261_123)
    names = sorted({*large.area("dmx")} - {*large.sets()})
    assert sum(len(large.objects[name]) for name in names) > 1_500_000
    done = 0
    while done < count:
        harmed = {name: flipped(large.objects[name], rng.randrange(8 * len(large.objects[name]))) for name in names}
        found = large.verify(large.place({**harmed}))
        assert {damage.name for damage in found.damages.values()} == set(harmed)
        done += len(harmed)
    print(f"{done} random bits in {len(names)} objects, each noticed and named")


@pytest.mark.parametrize("count", [pytest.param(20_000, marks=pytest.mark.long, id="20000"), pytest.param(300, id="300")])
@pytest.mark.parametrize("ranged", [False, True], ids=["whole", "ranged"])
def test_random_bits_that_are_read(large: Small, ranged: bool, count: int) -> None:
    rng, noticed = random.Random(count), 0
    names = readable(large)
    padding = {name: padding_of(large, name) for name in names}
    for _ in range(count):
        name = rng.choice(names)
        bit = rng.randrange(8 * len(large.objects[name]))
        said = complaint(large, name, flipped(large.objects[name], bit), ranged=ranged)
        assert name.rpartition("/")[2] in said if said else bit // 8 in padding[name]
        noticed += bool(said)
    print(f"{noticed} of {count} random bits noticed, the others in padding")
    assert noticed > count / 3
