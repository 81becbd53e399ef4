"""Recovery points of an opened vault: find one by (a part of) its id, and open its manifest.

What restore, ls and verify begin with. The list itself comes from the log (engine/catalogue.py).
"""

from __future__ import annotations

from typing import Protocol

from recoup.engine.blocks import Blocks, Objects
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.log.bodies import Commit
from recoup.engine.log.facts import Committed
from recoup.engine.log.follow import Log
from recoup.engine.places import here
from recoup.engine.records.manifest import Manifest, decode_manifest
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity, NotFound, Usage
from recoup.value import Value

SHORTEST = 4
"""Digits of an id that a person must at least give."""


class OpenPoint(Value, frozen=True):
    """One recovery point with its manifest decoded and its blocks at hand."""

    id: str
    commit: Committed
    manifest: Manifest
    objects: Objects
    blocks: Blocks


class Vault(Protocol):
    """A vault whose log was followed, by whichever role."""

    @property
    def identity(self) -> VaultIdentity: ...

    @property
    def log(self) -> Log: ...


def find_point(vault: Vault, wanted: str) -> Committed:
    """The live recovery point whose id begins with `wanted`. Raises Usage if it is no id or fits several, NotFound if none."""
    text = wanted.strip().lower()
    if len(text) < SHORTEST or set(text) - set("0123456789abcdef"):
        raise Usage(f"{wanted!r} is not a recovery point's id: give at least {SHORTEST} of its hex digits (see `recoup snapshots`)")
    commits = vault.log.state.commits
    found = [digest for digest in commits if digest.hex().startswith(text)]
    if not found:
        raise NotFound(
            f"vault {vault.identity.vault_id.hex()} has no recovery point {wanted}; `recoup snapshots` lists them",
            reason="UnknownSnapshot",
        )
    if len(found) > 1:
        listed = ", ".join(digest.hex()[:16] for digest in found[:10])
        raise Usage(f"{wanted} fits {len(found)} recovery points: {listed}; give more digits")
    return commits[found[0]]


def open_point(unlocked: Unlocked, commit: Committed, store: Store | None = None) -> OpenPoint:
    """Fetch and decode the manifest that a COMMIT names. Raises Integrity if it, or the root of its refs, is not what was sealed.

    `store` hands out the objects (engine/places.py); by default they come from where the log was read.
    """
    objects = Objects(store if store is not None else here(unlocked.log), unlocked.reader)
    reader = objects.whole(Kind.MANIFEST, manifest_ref(commit.body))
    blocks = [row for row in reader.table if row.kind == BlockKind.MANIFEST]
    if len(blocks) != 1:
        raise Integrity(f"object {reader.name} holds {len(blocks)} manifests instead of one")
    manifest = decode_manifest(reader.read(reader.table.index(blocks[0])), reader.name)
    id_key = unlocked.reader.id_key(manifest.id_key_generation)
    return OpenPoint(commit.body.manifest.hex(), commit, manifest, objects, Blocks(objects, id_key, commit.refs or manifest.refs))


def manifest_ref(body: Commit) -> ObjectRef:
    """The manifest's object, in the incarnation that the COMMIT names."""
    return with_incarnation(body, body.manifest)


def with_incarnation(body: Commit, digest: bytes) -> ObjectRef:
    """An object that a COMMIT names, in the incarnation that it names."""
    incarnations = {ref.digest: ref.incarnation for ref in body.incarnations}
    return ObjectRef(digest, incarnations.get(digest, 0))
