"""A restore notices every changed bit that it reads, whole and by ranges, names the object, and writes no wrong byte.

With the id's comparison in `read_checked` off, swapped packs come back as wrong files; with the digest's in `Objects.whole` off, an older
manifest does.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from recoup.engine.blocks import Objects, read_checked, read_named
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.layout import decode_header
from recoup.engine.format.names import parse_object_name
from recoup.engine.format.reader import ObjectReader
from recoup.engine.healing.run import heal
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.restore.outcome import Outcome
from recoup.errors import Integrity, RecoupError
from tests.fakes.memory_store import MemoryStore
from tests.faults.bits.small import QUIET, Small, flipped
from tests.unit.engine.backup.volume import picture

BITS = [pytest.param(1, marks=pytest.mark.long, id="every-one"), pytest.param(61, id="some")]
RESTORES = [pytest.param(23, marks=pytest.mark.long, id="many"), pytest.param(2_003, id="some")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.make(tmp_path_factory.mktemp("small"))


def read_all(small: Small, name: str, data: bytes, *, ranged: bool) -> None:
    """What a restore does with one object: open it, read its blocks, compare each with its id. Raises Integrity."""
    parsed, keys = parse_object_name(name), small.volume.vault.reader
    kind, ref = kind_of(small, name), ObjectRef(parsed.digest, parsed.incarnation)
    store = MemoryStore("memory://home")
    store.objects[name] = data
    objects = Objects(store, keys)
    genuine = ObjectReader(small.objects[name], keys.opening(kind), name)
    reader = objects.ranged(kind, ref) if ranged else objects.whole(kind, ref)
    for number, row in enumerate(genuine.table[:-1]):
        if kind in {Kind.REFS, Kind.MANIFEST}:
            read_named(reader, number, BlockKind(row.kind), keys.id_key(1))
        else:
            read_checked(reader, number, row.id, BlockKind(row.kind), keys.id_key(1))


def complaint(small: Small, name: str, data: bytes, *, ranged: bool) -> str:
    """What `read_all` says; empty if it is content."""
    try:
        read_all(small, name, data, ranged=ranged)
    except RecoupError as error:
        return str(error)
    return ""


def kind_of(small: Small, name: str) -> Kind:
    return Kind(decode_header(memoryview(small.objects[name]), name).kind)


def padding_of(small: Small, name: str) -> range:
    """The bytes that no block of content is in, and that are not read by ranges."""
    reader = ObjectReader(small.objects[name], small.volume.vault.reader.opening(kind_of(small, name)), name)
    last = reader.table[-1]
    return range(last.offset, last.offset + last.cipher_length)


def readable(small: Small) -> list[str]:
    """Objects that a restore opens: not index and cache, and no sets."""
    names = sorted({*small.area("dmx")} - {*small.sets()})
    return [name for name in names if kind_of(small, name) not in {Kind.INDEX, Kind.CACHE}]


@pytest.mark.parametrize("step", BITS)
@pytest.mark.parametrize("ranged", [False, True], ids=["whole", "ranged"])
def test_every_bit_that_is_read(small: Small, ranged: bool, step: int) -> None:
    noticed, unread = 0, 0
    for name in readable(small):
        padding, data = padding_of(small, name), small.objects[name]
        for bit in range(len(name) % step, 8 * len(data), step):
            said = complaint(small, name, flipped(data, bit), ranged=ranged)
            assert name.rpartition("/")[2] in said if said else bit // 8 in padding, (name, bit, said)
            noticed, unread = noticed + bool(said), unread + (not said)
    print(f"{noticed} bits noticed, {unread} in padding that is not read")
    assert noticed > 1_000


@pytest.mark.parametrize("step", BITS)
@pytest.mark.parametrize("ranged", [False, True], ids=["whole", "ranged"])
def test_every_length_is_noticed(small: Small, ranged: bool, step: int) -> None:
    for name in readable(small):
        data = small.objects[name]
        for cut in [*(data[:length] for length in range(0, len(data), step)), data + b"\0", data + data]:
            with pytest.raises(Integrity, match=name.rpartition("/")[2]):
                read_all(small, name, cut, ranged=ranged)


def test_undisturbed_everything_comes_back(small: Small) -> None:
    for point, before in small.points.items():
        outcome, target = small.restore(small.place(), point)
        assert not outcome.damaged.total
        assert picture(target) == before


def judged(small: Small, changed: dict[str, bytes | None], point: str) -> str:
    """`refused`, `partly` or `whole`; whatever was restored is right, and what is wrong is named."""
    shutil.rmtree(small.folder / "restored", ignore_errors=True)
    words = [name.rpartition("/")[2] for name in changed]
    before, target, refusal = small.points[point], small.folder / "restored", ""
    outcome = Outcome()
    try:
        outcome, _ = small.restore(small.place(changed), point)
    except RecoupError as error:
        refusal = str(error)
    assert not wrong(target, before)
    if refusal:
        assert any(word in refusal for word in words), refusal
        return "refused"
    if not outcome.damaged.total:
        assert picture(target) == before
        return "whole"
    assert all(any(word in reason for word in words) for _, reason in outcome.damaged.listed), outcome.damaged
    return "partly"


def wrong(target: Path, before: dict[bytes, tuple[object, ...]]) -> list[bytes]:
    """Files at the target that are not what they were."""
    if not target.exists():
        return []
    names = []
    for name, found in picture(target).items():
        if found[6] is not None and not name.startswith(b".recoup") and before[name][6] != found[6]:
            names.append(name)
    return names


@pytest.mark.parametrize("step", RESTORES)
def test_whole_restores_with_a_changed_bit(small: Small, step: int) -> None:
    told: Counter[str] = Counter()
    point = list(small.points)[-1]
    for name in small.area("dmx"):
        for bit in range(len(name) % step, 8 * len(small.objects[name]), step):
            told[judged(small, {name: flipped(small.objects[name], bit)}, point)] += 1
    print(f"{sum(told.values())} restores with one bit changed: {dict(told)}; no wrong byte")
    assert told["refused"] + told["partly"] > 10
    assert told["whole"] > 10, "of what this point does not need"


def test_whole_restores_of_swapped_and_foreign_objects(small: Small, tmp_path: Path) -> None:
    """Each pair of one kind, the older manifest in the newer one's place among them; the same kind of another vault."""
    other, told = Small.make(tmp_path), Counter[str]()
    foreign = {kind: name for kind in Kind for name in readable(other) if kind_of(other, name) is kind}
    point = list(small.points)[-1]
    for name in readable(small):
        for twin in readable(small):
            if twin != name and kind_of(small, twin) is kind_of(small, name):
                told[judged(small, {name: small.objects[twin]}, point)] += 1
        told[judged(small, {name: other.objects[foreign[kind_of(small, name)]]}, point)] += 1
    print(f"{sum(told.values())} restores with swapped or foreign objects: {dict(told)}; no wrong byte")
    assert told["refused"] + told["partly"] > 10
    assert told["whole"] > 5, "of what this point does not need"


@pytest.mark.parametrize("step", [pytest.param(29, marks=pytest.mark.long, id="many"), pytest.param(1_201, id="some")])
def test_all_is_healed_where_a_copy_is(small: Small, step: int) -> None:
    """Any bit of every object at once, and none of them left at all: after healing every point is as it was.

    Index segments and roots of caches are in no copy: they save work, and recovery points do not need them.
    """
    names, rounds = small.area("dmx"), 0
    for bit in range(0, 8 * max(len(small.objects[name]) for name in names), step):
        harmed = {name: flipped(small.objects[name], bit % (8 * len(small.objects[name]))) for name in names}
        place = small.place({**harmed})
        done = heal(place, [small.copy], small.volume.vault.identity.vault_id, QUIET)
        assert not done.lost
        found = small.verify(place, 4)
        assert not found.affected
        assert sorted(found.harmless) == sorted(damage.name for damage in found.damages.values())
        assert {kind_of(small, name) for name in found.harmless} <= {Kind.INDEX, Kind.CACHE}
        rounds += len(harmed)
    place = small.place(dict.fromkeys(names))
    assert not heal(place, [small.copy], small.volume.vault.identity.vault_id, QUIET).lost
    for point, before in small.points.items():
        outcome, target = small.restore(place, point)
        assert not outcome.damaged.total
        assert picture(target) == before
    print(f"{rounds + len(names)} objects harmed, all healed")
