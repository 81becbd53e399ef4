"""A small vault in a temporary directory, for tests that need real keys and a real log."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from recoup.engine.keys.kek import Kek, SecretKek
from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Store
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked, open_vault, provision

KEK = SecretKek.generate()


def new_store() -> FileStore:
    """A store in a new directory that ends with the test process."""
    directory = tempfile.mkdtemp(prefix="recoup-test-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return FileStore(str(Path(directory) / "location"))


def unlocked(store: Store | None = None, vault_id: bytes | None = None, kek: Kek = KEK) -> Unlocked:
    """Make a vault (or open it, if it is there) and open it with the KEK."""
    place = new_store() if store is None else store
    vault = os.urandom(16) if vault_id is None else vault_id
    made = provision(place, [kek], [], vault_id=vault, labels={"namespace": "tests"})
    log = Log(place, vault, root_public=made.writer.identity.root_public)
    log.follow()
    return open_vault(log, [kek], pinned=True)
