"""What a valid entry changes in the facts of a log (docs/format.md section 6). No decisions: those are in `rules.py`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from recoup.engine.keys.certificate import Certificate, verify_certificate
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.log.bodies import (
    Abort,
    Adopt,
    Attest,
    Body,
    Commit,
    Condemn,
    Damaged,
    Descriptor,
    Evidence,
    Forget,
    Heal,
    Index,
    Init,
    KeyGen,
    Mirror,
    ObjectRef,
    Open,
    Pin,
    Replace,
    Sweep,
    Unpin,
)
from recoup.engine.log.entries import Entry, Head
from recoup.engine.log.facts import Attested, Committed, Facts, Forgotten, Noted, Session
from recoup.engine.log.mirror import home_entry, subject_of


def apply_entry(facts: Facts, entry: Entry) -> None:
    """Add a valid entry."""
    head, body = entry.head, entry.body
    match body:
        case Mirror():
            _mirror(facts, head, body)
        case Commit():
            facts.sessions.setdefault(body.session, Session(body.ticket)).committed = head.seq
            _commit(facts, Committed(head.seq, head.time, head.generation, body))
        case Replace():
            _replace(facts, head.seq, body, body.incarnations)
        case Open() | Abort():
            _session(facts, head, body)
        case Attest():
            facts.attests.append(Attested(head.seq, head.time, body))
        case Damaged():
            facts.damaged.update(body.objects)
            _know(facts, body.objects)
        case Heal():
            _heal(facts, body)
        case Evidence():
            facts.evidence.append(Noted(head.seq, head.time, body))
        case Forget() | Condemn() | Sweep() | Index():
            _upkeep(facts, head, body)
        case _:
            assert body is not None
            _everywhere(facts, head, body, head.location_id)


def _everywhere(facts: Facts, head: Head, body: Body, location_id: bytes) -> None:
    """What has the same effect at the home and, mirrored, elsewhere."""
    match body:
        case Init():
            certificate = _certify(facts, body.certificate)
            facts.init, facts.location_id = body, location_id
            facts.identity = VaultIdentity(certificate.repo_id, certificate.vault_id, certificate.root)
            facts.keyrings[body.keyring.generation] = body.keyring.digest
            facts.descriptor = body.descriptor
        case Descriptor():
            facts.descriptor = body.descriptor
        case KeyGen():
            _certify(facts, body.certificate)
            facts.keyrings = {ref.generation: ref.digest for ref in body.keyrings}
        case Adopt():
            facts.adopted[body.old_policy_uid] = body.new_policy_uid
        case Pin():
            facts.pinned[body.point] = Noted(head.seq, head.time, body)
        case Unpin():
            facts.pinned.pop(body.point, None)


def _certify(facts: Facts, data: bytes) -> Certificate:
    certificate = verify_certificate(data, "a certificate that counts already")
    facts.certificates[certificate.generation] = certificate
    facts.signed_certificates[certificate.generation] = data
    return certificate


def _session(facts: Facts, head: Head, body: Open | Abort) -> None:
    if isinstance(body, Abort):
        facts.sessions[body.session].aborted_up_to = body.open_seq
        return
    session = facts.sessions.setdefault(body.session, Session(body.ticket))
    session.opens[head.seq] = body
    session.opened_at = head.time


def _commit(facts: Facts, commit: Committed) -> None:
    facts.commits[commit.body.manifest] = commit
    _know(facts, commit.body.incarnations)


def _replace(facts: Facts, seq: int, body: Replace, incarnations: tuple[ObjectRef, ...]) -> None:
    """The COMMIT as it reads from here on: refs and set are the new ones, session, manifest, trees and cache stay."""
    known = facts.commits[body.point]
    own = {ref.digest: ref for ref in (*known.body.incarnations, *incarnations)}
    commit = msgspec.structs.replace(
        known.body,
        object_set=body.object_set,
        index_segments=(*known.body.index_segments, *body.index_segments),
        incarnations=tuple(own.values()),
    )
    facts.last_shrinking = seq
    facts.commits[body.point] = msgspec.structs.replace(known, body=commit, refs=body.refs, replaced=seq)
    _know(facts, incarnations)


def _mirror(facts: Facts, outer: Head, mirror: Mirror) -> None:
    home = home_entry(mirror)
    facts.mirrored[subject_of(home.body)] = home.head.seq
    match home.body:
        case Commit():
            body = msgspec.structs.replace(home.body, incarnations=mirror.incarnations)
            commit = Committed(outer.seq, home.head.time, home.head.generation, body, home_seq=home.head.seq, mirrored_at=outer.time)
            _commit(facts, commit)
        case Replace():
            _replace(facts, outer.seq, home.body, mirror.incarnations)
        case Init() | Descriptor() | KeyGen() | Adopt() | Pin() | Unpin():
            _everywhere(facts, outer, home.body, outer.location_id)


def _heal(facts: Facts, body: Heal) -> None:
    for ref in body.objects:
        facts.healed[ref.digest] = tuple(sorted({*facts.healed.get(ref.digest, ()), ref.incarnation}))


def _upkeep(facts: Facts, head: Head, body: Forget | Condemn | Sweep | Index) -> None:
    match body:
        case Forget():
            for point in body.points:
                gone = facts.commits.pop(point)
                bare = msgspec.structs.replace(gone.body, ticket=b"", record=b"")
                facts.forgotten[point] = Forgotten(head.seq, msgspec.structs.replace(gone, body=bare))
            if body.policy_uid:
                facts.policy_generations[body.policy_uid] = body.policy_generation
            facts.last_shrinking = head.seq
        case Condemn():
            facts.condemned[head.seq] = Noted(head.seq, head.time, body)
            facts.unfinished.difference_update(body.finished)
            facts.last_live = (head.seq, body.live_objects)
        case Sweep():
            del facts.condemned[body.condemned]
            facts.swept[head.seq] = Noted(head.seq, head.time, body)
            facts.unfinished.add(head.seq)
            facts.last_live = (head.seq, body.live_objects)
        case Index():
            facts.replaced_segments.update(body.replaced)
            for segment in body.replaced:
                facts.merged_segments.pop(segment, None)
            facts.merged_segments.update(dict.fromkeys(body.segments, head.seq))


def _know(facts: Facts, objects: Iterable[ObjectRef]) -> None:
    for ref in objects:
        if ref.incarnation > facts.incarnations.get(ref.digest, 0):
            facts.incarnations[ref.digest] = ref.incarnation
