"""A vault of any size that stands nowhere: object sets and listings are made up when they are read, the log is real.

Run as a program it prunes such a vault and prints what that took: `python -m tests.e2e.engine.large_vault TEBIBYTES`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta

from blake3 import blake3

from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.bodies import Commit
from recoup.engine.maintenance.prune import Wishes, prune
from recoup.engine.records.objectset import Member, Shard, encode_leaf, encode_root
from recoup.report import Progress
from tests.faults.memory import MemoryStore
from tests.peak import own_peak
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import open_body

PACK = 16 << 20
VOLUMES = 8
GARBAGE = 4
"""Objects of each first byte and volume that no point needs."""


class LargeStore(MemoryStore):
    """Packs exist in listings alone; a shard's bytes are made when somebody asks for them."""

    def __init__(self, packs: int) -> None:
        super().__init__()
        self.vault = os.urandom(16)
        self.each = packs // (VOLUMES * 256)
        self.shards: dict[bytes, tuple[int, int]] = {}
        self.deleted = 0

    def names(self, volume: int, byte: int, count: int) -> list[bytes]:
        """Digests of packs, sorted: the same for every call."""
        stream = blake3(b"%d/%d" % (volume, byte)).digest(length=31 * count)
        return sorted(bytes([byte]) + stream[at : at + 31] for at in range(0, len(stream), 31))

    def leaf(self, volume: int, byte: int) -> bytes:
        members = [Member(name, 0, "d", PACK, 16) for name in self.names(volume, byte, self.each)]
        return encode_leaf(members, byte, byte, bytes(16))

    def make_set(self, volume: int) -> bytes:
        """The digest of the volume's object set; its root is stored, its shards are not."""
        shards = []
        for byte in range(256):
            digest = digest_of(self.leaf(volume, byte))
            self.shards[digest] = (volume, byte)
            shards.append(Shard(byte, byte, digest, 0))
        root = encode_root(shards, bytes(16))
        self.create(object_name(self.vault, "x", digest_of(root)), root)
        return digest_of(root)

    def get(self, name: str, limit: int = 1 << 28) -> bytes:
        place = self.shards.get(bytes.fromhex(name[-64:])) if "/x/" in name else None
        return super().get(name, limit) if place is None else self.leaf(*place)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        yield from super().list(prefix)
        if prefix.endswith("/d/"):
            for byte in range(256):
                found = [name for volume in range(VOLUMES) for name in self.names(volume, byte, self.each)]
                found += self.names(-1, byte, GARBAGE * VOLUMES)
                for name in sorted(found):
                    yield object_name(self.vault, "d", name), PACK

    def delete(self, name: str) -> None:
        super().delete(name)
        self.deleted += 1


def main(tebibytes: float) -> None:
    store = LargeStore(int(tebibytes * (1 << 40)) // PACK)
    vault = unlocked(store, store.vault)
    for volume in range(VOLUMES):
        session = os.urandom(16)
        seq = vault.log.append(open_body(session), vault.writer.signer).head.seq
        body = Commit(session, seq, b"", os.urandom(32), store.make_set(volume), (), b"", b"")
        vault.log.append(body, vault.writer.signer)
    before = own_peak()
    pruned = prune(vault.log, vault.maintenance, Wishes(grace=timedelta(0)), Progress(quiet=True))
    result = {"objects": pruned.objects, "live": pruned.live_objects, "deleted": store.deleted, "before": before, "peak": own_peak()}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]))
