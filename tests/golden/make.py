"""Makes the golden repositories of format 1: `python -m tests.golden.make DIRECTORY`, as root.

They are data that was made once; nothing runs this in a test. A repository that does not read any more is a broken reader, and making
it anew would hide that: run it only to add another one beside those that are there (docs/contributing/golden.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from recoup.engine.backup import cachefile, leaves, lists, references, source, trunk
from recoup.engine.backup.run import RunFile, RunSource
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.names import object_name
from recoup.engine.format.reader import ObjectReader, Opening, WrappingKey
from recoup.engine.format.sealed import ObjectBuilder
from recoup.engine.healing.run import heal
from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.passphrase import Cost, PassphraseKek
from recoup.engine.keys.tickets import Ticket, issue_ticket, session_id, ticket_to_text
from recoup.engine.log.bodies import Adopt, Evidence, Forget, Index, Pin, Unpin
from recoup.engine.log.follow import Log
from recoup.engine.maintenance.prune import Wishes, prune
from recoup.engine.maintenance.repack import repack
from recoup.engine.records.index import decode_segment, encode_segment
from recoup.engine.records.manifest import SourceKind
from recoup.engine.rekey import new_generation
from recoup.engine.replicate.run import replicate
from recoup.engine.source.stream import Stream
from recoup.engine.vault import Unlocked, open_vault, provision
from recoup.engine.verify.run import verify
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.faults.store import Crashed, Fault, FaultStore
from tests.golden import sources
from tests.unit.engine.backup.volume import Volume

QUIET = Progress(quiet=True)
PHRASE = "six words that everybody may guess"


class Story:
    """One vault from its first entry to the last, at its home and at a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.copy = MemoryStore("memory://home"), MemoryStore("memory://copy")
        self.kek, self.offline, self.hybrid = SecretKek.generate(), RecipientKek.generate(), RecipientKek.generate(hybrid=True)
        self.phrase = PassphraseKek.from_text(PHRASE, Cost(64 << 10, 3, 4))
        self.vault_id = os.urandom(16)
        made = provision(
            self.home, [self.kek, self.phrase], [self.offline.recipient], vault_id=self.vault_id, labels={"namespace": "golden"}
        )
        self.fingerprint, self.root = made.fingerprint, made.writer.identity.root_public
        self.points: dict[str, dict[str, Any]] = {}
        self.mail, self.disk = folder / "mail", folder / "disk"
        self.mail.mkdir()
        sources.fill_folder(self.mail)
        sources.fill_device(self.disk)

    def open(self, store: MemoryStore | None = None) -> Unlocked:
        log = Log(store or self.home, self.vault_id, root_public=self.root)
        log.follow()
        return open_vault(log, [self.kek], pinned=True)

    def back_up(self, path: Path, *, policy: str = "policy-a", slot: int = 0, store: Any = None, **wishes: Any) -> str:
        """One point of a policy's volume; without a policy one of the command line."""
        vault, run = self.open(), None
        if policy:
            claim, snapshot = f"claim-{path.name}", f"{policy}-{path.name}-{slot}"
            session = session_id(snapshot, claim)
            ticket = Ticket(self.vault_id, session, policy, f"2026-01-{slot + 1:02d}T03:00:00Z", claim)
            text = ticket_to_text(issue_ticket(ticket, vault.catalogue.run_signer))
            source_ = RunSource(namespace="golden", persistent_volume_claim=path.name, persistent_volume_claim_uid=claim)
            run = RunFile(session.hex(), text, policy, "daily", ticket.slot, snapshot, f"daily-{slot}", (claim,), source=source_)
        kinds = {stat.S_IFREG: SourceKind.DEVICE, stat.S_IFDIR: SourceKind.DIRECTORY}
        with patch.object(source, "KINDS", kinds):
            result = Volume(path, vault).back_up(run=run, store=store, **wishes)
        assert not result.errors
        self.points[result.id] = picture(path) if "stream" not in wishes else {}
        return result.id

    def tidy(self, store: MemoryStore, days: int, dead_after: timedelta = timedelta(days=30)) -> None:
        vault = self.open(store)
        prune(vault.log, vault.maintenance, Wishes(dead_after=dead_after), QUIET, now=time.time() + days * 86_400)

    def replicate(self) -> None:
        done = replicate(self.home, self.copy, self.vault_id, QUIET, pinned_root=self.root)
        assert not done.lost, done.lost

    def check(self, store: MemoryStore, level: int, *, good: bool = True, record: bool = True) -> None:
        vault = self.open(store)
        found = verify(vault, list(vault.log.state.commits.values()), level, QUIET, record=record)
        assert found.good == good, found


def tell(story: Story) -> None:
    """Everything that a log of format 1 may say, in an order in which it happens."""
    first = story.back_up(story.mail, slot=0)
    disk = story.back_up(story.disk, slot=0)
    killed = FaultStore(story.home, {40: Fault.CRASH_BEFORE})
    sources.change_folder(story.mail, 3)
    try:
        story.back_up(story.mail, policy="", store=killed)
    except Crashed:
        story.tidy(story.home, 40)  # its session ends: ABORT
    second = story.back_up(story.mail, slot=1)
    story.replicate()
    story.check(story.copy, 3)
    hybrid = new_generation(
        story.open().log, [story.kek], [story.kek, story.phrase, story.offline.recipient, story.hybrid.recipient], leaked=False
    )
    assert hybrid.generation == 2
    sources.change_folder(story.mail, 4)
    third = story.back_up(story.mail, slot=2)
    sources.write_device(story.disk, {70 << 20: b"second" * 9000, 0: bytes(12_000)})
    story.back_up(story.disk, slot=2)
    dump = [sys.executable, "-c", "print('insert into t values (1);' * 20000)"]
    stream = story.back_up(Path("dump"), policy="", stream=Stream("dump.sql", dump))
    printed = subprocess.run(dump, capture_output=True, check=True).stdout
    story.points[stream] = {"dump.sql": {"type": "f", "size": len(printed), "sha256": hashlib.sha256(printed).hexdigest()}}
    log, keys = story.open().log, story.open().maintenance.signer
    log.append(Forget((bytes.fromhex(first),), "policy-a", 3, "last 2"), keys)
    log.append(Adopt("policy-a", "policy-b"), keys)
    log.append(Pin(bytes.fromhex(second), "golden"), keys)
    log.append(Pin(bytes.fromhex(disk), "not for long"), keys)
    log.append(Unpin(bytes.fromhex(disk), "as said"), keys)
    repacked = repack(story.open(), 0.01, QUIET)
    assert repacked.points, repacked
    story.tidy(story.home, 41)
    story.tidy(story.home, 50)  # CONDEMN, and SWEEP a grace later
    merge_segments(story)
    story.replicate()
    story.open(story.copy).log.append(Forget((bytes.fromhex(third),), "", 0, "by hand, at the copy"), keys)
    story.tidy(story.copy, 51)
    story.tidy(story.copy, 60)
    damage(story, story.home, 0)
    story.check(story.home, 3, good=False)
    healed = heal(story.home, [story.copy], story.vault_id, QUIET, pinned_root=story.root)
    assert healed.objects
    assert not healed.lost
    for number in range(6):
        damage(story, story.copy, number, areas="d")
    story.check(story.copy, 3, good=False)
    sources.change_folder(story.mail, 5)
    story.back_up(story.mail, slot=3)
    story.replicate()  # what is known to be damaged there is put again: its MIRROR names incarnations
    assert not heal(story.copy, [story.home], story.vault_id, QUIET, pinned_root=story.root).lost
    leaked = new_generation(
        story.open().log, [story.kek], [story.kek, story.phrase, story.offline.recipient, story.hybrid.recipient], leaked=True
    )
    assert leaked.generation == 3
    sources.change_folder(story.mail, 6)
    story.back_up(story.mail, slot=4)
    sources.change_folder(story.mail, 7)
    story.back_up(story.mail, policy="policy-b", slot=5)
    story.replicate()
    story.open().log.append(Evidence("RestoreDrill", json.dumps({"points": 1, "good": True})), story.open().reader.signer)
    story.check(story.home, 4)
    story.check(story.copy, 4)


def merge_segments(story: Story) -> None:
    """INDEX: the segments of the second generation as one."""
    vault = story.open()
    old = list(dict.fromkeys(vault.log.state.segments))
    rows = {}

    keys = tuple(WrappingKey(key) for key in vault.maintenance.index_keys.values())
    opening = Opening(vault.identity.repo_id, story.vault_id, Kind.INDEX, wrapping_keys=keys)
    for segment in old:
        name = object_name(story.vault_id, "x", segment)
        reader = ObjectReader(story.home.get(name), opening, name)
        for number, row in enumerate(reader.table):
            if row.kind == BlockKind.INDEX:
                rows.update(dict(decode_segment(reader.read(number))))
    builder = ObjectBuilder(vault.writer.sealing(Kind.INDEX), 1 << 20)
    for block in encode_segment(sorted(rows.items())):
        builder.add(block_id(vault.writer.id_key, BlockKind.INDEX, block), BlockKind.INDEX, Codec.RAW, len(block), block)
    sealed = builder.close(stored_size=None)
    assert story.home.create(sealed.name, bytes(sealed.data))
    vault.log.append(Index((sealed.digest,), tuple(old)), vault.maintenance.signer)


def damage(story: Story, store: MemoryStore, number: int, areas: str = "dmx") -> None:
    """Of each area one object rots that both places hold."""
    common = sorted(story.home.objects.keys() & story.copy.objects.keys())
    for area in areas:
        names = [name for name in common if f"/{area}/" in name and "." not in name]
        name = names[number % len(names)]
        store.objects[name] = store.objects[name][:-1] + b"?"


def picture(root: Path) -> dict[str, dict[str, Any]]:
    """What must come back, by path; names as text with surrogates for bytes that are none."""
    if root.is_file():
        return {".": {"type": "b", "size": root.stat().st_size, "sha256": sha256(root)}}
    found: dict[str, dict[str, Any]] = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        info, name = path.lstat(), str(path.relative_to(root))
        letter = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}[stat.S_IFMT(info.st_mode)]
        row: dict[str, Any] = {"type": letter, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}
        row["mtime"] = info.st_mtime_ns
        if letter == "f":
            row |= {"size": info.st_size, "sha256": sha256(path)}
            if info.st_nlink > 1:
                row["sameAs"] = first.setdefault(info.st_ino, name)
        elif letter == "l":
            row["target"] = str(path.readlink())
        names = os.listxattr(path, follow_symlinks=False)
        if names:
            row["xattrs"] = {key: os.getxattr(path, key, follow_symlinks=False).hex() for key in sorted(names)}
        found[name] = row
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(story: Story, target: Path) -> None:
    target.mkdir(parents=True)
    with tarfile.open(target / "locations.tar.xz", "w:xz", preset=9) as archive:
        for where, store in (("home", story.home), ("copy", story.copy)):
            for name, data in sorted(store.objects.items()):
                member = tarfile.TarInfo(f"{where}/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    keys = {
        "fingerprint": story.fingerprint,
        "secret": story.kek.to_text(),
        "recovery": story.offline.to_text(),
        "hybrid": story.hybrid.to_text(),
        "passphrase": PHRASE,
    }
    (target / "keys.json").write_text(json.dumps(keys, indent=1) + "\n")
    points: dict[str, dict[str, Any]] = {}
    for store, where in ((story.home, "home"), (story.copy, "copy")):
        for manifest in story.open(store).log.state.commits:
            points.setdefault(manifest.hex(), {"at": [], "content": story.points[manifest.hex()]})["at"].append(where)
    rows = (f"{json.dumps(point)}: {json.dumps(points[point], sort_keys=True)}" for point in sorted(points))
    (target / "expected.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def main() -> None:
    target = Path(sys.argv[1])
    assert not target.exists(), f"{target} exists: golden repositories are never made again"
    small = [
        patch.object(lists, "INLINE_RUNS", 2),  # where nodes begin and end is the writer's choice: so few bytes show every level
        patch.object(lists, "_CHUNKS_LEAST", 1),
        patch.object(lists, "_CHUNKS_MOST", 2),
        patch.object(references, "LEAF_ROWS", 4),
        patch.object(references, "FANOUT", 3),
        patch.object(references, "SHARD_MEMBERS", 8),
        patch.object(cachefile, "NODE_RECORDS", 2),
        patch.object(leaves, "XATTR_INLINE", 256),
        patch.object(trunk, "LEAST", 2),
        patch.object(trunk, "MOST", 3),
    ]
    for one in small:
        one.start()
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder))
        tell(story)
        write(story, target)


if __name__ == "__main__":
    main()
