"""A volume with a home, and copies of it at other locations, in one temporary directory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from recoup.engine.format.names import digest_of, keyring_name, log_name, object_name
from recoup.engine.log.bodies import Commit, Mirror
from recoup.engine.log.entries import decode_entry
from recoup.engine.log.follow import Log
from recoup.engine.log.mirror import home_entry
from recoup.engine.log.state import LogState
from recoup.engine.places import here
from recoup.engine.replicate.run import Replicated, replicate
from recoup.engine.replicate.sets import SetReader
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked, open_vault
from recoup.errors import Integrity, NotFound
from recoup.report import Progress
from tests.unit.engine.backup.volume import Volume
from tests.unit.engine.keys.vaults import KEK


@dataclass
class Copies:
    """`home` is backed up into; `store` is the copy's location."""

    directory: Path
    home: Volume
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = FileStore(str(self.directory / "copy"))

    @classmethod
    def make(cls, directory: Path) -> Copies:
        home = Volume.make(directory)
        home.pack_bytes = 5 << 20
        return cls(directory, home)

    @property
    def vault_id(self) -> bytes:
        return self.home.vault.identity.vault_id

    def replicate(
        self, *, source: Store | None = None, target: Store | None = None, threads: int = 3, add_only: bool = False
    ) -> Replicated:
        """As a new process does it: it knows nothing but the two stores."""
        places = source or self.home.store, target or self.store
        return replicate(*places, self.vault_id, Progress(quiet=True), threads=threads, add_only=add_only)

    def log(self, store: Store | None = None) -> Log:
        return Log(store or self.store, self.vault_id, root_public=self.home.vault.identity.root_public)

    def state(self, store: Store | None = None) -> LogState:
        return self.log(store).follow()

    def open(self, store: Store | None = None) -> Unlocked:
        """The vault as a person opens it who has nothing but this location and the key."""
        log = self.log(store)
        log.follow()
        return open_vault(log, [KEK], pinned=True)

    def volume(self, store: Store | None = None) -> Volume:
        """To restore from this location alone."""
        self.home.restored += 1
        return Volume(self.home.source, self.open(store), 1000 * self.home.restored)


def claims(copies: Copies, store: Store) -> list[str]:
    """What live points at a location need and it does not hold as its name says: nothing, if its log tells the truth."""
    log = copies.log(store)
    if not log.follow().initialised:
        return []
    objects = here(log, check=True)
    sets, bad = SetReader(copies.vault_id, objects), []
    for commit in log.state.commits.values():
        for wanted in sets.needed(commit):
            name = object_name(copies.vault_id, wanted.area, wanted.digest, wanted.at)
            try:
                objects.get(name)
            except (NotFound, Integrity) as error:
                bad.append(f"{name}: {error}")
    for generation, digest in log.state.keyrings.items():
        name = keyring_name(copies.vault_id, generation, digest)
        if digest_of(store.get(name)) != digest:
            bad.append(name)
    return bad


def mirrored(copies: Copies, store: Store) -> Counter[bytes]:
    """How many MIRRORs of each point's COMMIT stand in a location's log, valid or not."""
    found: Counter[bytes] = Counter()
    for seq in range(copies.state(store).next_seq):
        body = decode_entry(store.get(log_name(copies.vault_id, seq)), "test").body
        if isinstance(body, Mirror) and isinstance(commit := home_entry(body).body, Commit):
            found[commit.manifest] += 1
    return found
