"""Which entries are valid (docs/format.md section 6): one function per type, each against the whole log before the entry.

Pure decisions on the facts of a log. The appender asks them before it writes, every reader when it reads: both come to the same answer,
which is what makes the log decide. A rule returns why an entry does not count, or None.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from recoup.engine.format.kinds import DIGEST_BYTES, ID_BYTES, MAX_OBJECT_BYTES
from recoup.engine.keys.certificate import verify_certificate
from recoup.engine.keys.signing import PUBLIC_KEY_BYTES
from recoup.engine.keys.tickets import verify_ticket
from recoup.engine.log.bodies import (
    LOCKED,
    SIGNERS,
    TYPE_OF,
    Abort,
    Adopt,
    Attest,
    Body,
    Commit,
    Damaged,
    Descriptor,
    DescriptorRef,
    Evidence,
    Index,
    Init,
    KeyGen,
    Mirror,
    ObjectRef,
    Open,
    Replace,
    Signer,
)
from recoup.engine.log.facts import Facts
from recoup.engine.log.mirror import mirror_objection
from recoup.engine.log.upkeep import upkeep_objection
from recoup.errors import Integrity

MAX_LEVEL = 5
_HOME_ONLY = (Descriptor, KeyGen, Adopt, Open, Commit, Abort, Replace, Index)


def objection(state: Facts, body: Body, signer: Signer, generation: int) -> str | None:
    """Why `body`, signed by that role of that generation, would not count as the next entry; None if it would."""
    if signer not in SIGNERS[TYPE_OF[type(body)]]:
        return f"a {type(body).__name__} is not signed by the {signer.name.lower()} key"
    if isinstance(body, Evidence) and (signer is Signer.MAINTENANCE) != (body.kind == LOCKED):
        return f"EVIDENCE of kind {body.kind[:64]} is not signed by the {signer.name.lower()} key"
    if isinstance(body, Init):
        return _init(state, body, generation)
    if isinstance(body, Mirror):
        return _mirror(state, body)
    if not state.initialised:
        return "the log does not begin with an INIT"
    if signer in {Signer.WRITER, Signer.MAINTENANCE} and generation != state.generation:
        return f"generation {generation} is over, {state.generation} is in force"
    if not state.at_home and isinstance(body, _HOME_ONLY):
        return f"this is not the vault's home, and {type(body).__name__.upper()} belongs into the home's log"
    return _by_type(state, body)


def _by_type(state: Facts, body: Body) -> str | None:
    match body:
        case Descriptor():
            return _descriptor(state, body)
        case KeyGen():
            return _keygen(state, body)
        case Open():
            return _open(state, body)
        case Commit():
            return _commit(state, body)
        case Abort():
            return _abort(state, body)
        case Attest():
            return _attest(state, body)
        case Damaged():
            return None if body.objects and _are_objects(body.objects) else "DAMAGED names no objects, or malformed ones"
        case Init() | Mirror():
            raise AssertionError("judged before")
        case _:
            return upkeep_objection(state, body)


def _mirror(state: Facts, body: Mirror) -> str | None:
    reason, home = mirror_objection(state, body)
    if reason is not None:
        return reason
    if not _are_objects(body.incarnations):
        return "MIRROR is malformed"
    match home:
        case Descriptor():
            return _descriptor(state, home)
        case KeyGen():
            return _keygen(state, home)
        case Commit():
            return _named(state, msgspec.structs.replace(home, incarnations=body.incarnations))
    return None


def _init(state: Facts, body: Init, generation: int) -> str | None:
    if state.initialised:
        return "the log has an INIT already"
    if body.keyring.generation != generation or not _are_digests([body.keyring.digest]):
        return "INIT names no keyring of its own generation"
    return _descriptor_ref(body.descriptor)


def _descriptor(state: Facts, body: Descriptor) -> str | None:
    if state.descriptor is not None and body.descriptor.number <= state.descriptor.number:
        return "a newer descriptor is in force"
    return _descriptor_ref(body.descriptor)


def _descriptor_ref(ref: DescriptorRef) -> str | None:
    if ref.number < 0 or not _are_digests([ref.digest]) or any(len(key) != PUBLIC_KEY_BYTES for key in ref.run_keys):
        return "the descriptor's number, digest or run keys are malformed"
    return None


def _keygen(state: Facts, body: KeyGen) -> str | None:
    identity = state.require_identity()
    try:
        certificate = verify_certificate(body.certificate, "the certificate in KEYGEN")
    except Integrity as error:
        return str(error)
    if (certificate.repo_id, certificate.vault_id, certificate.root) != (identity.repo_id, identity.vault_id, identity.root_public):
        return "the certificate belongs to another vault or root key"
    if certificate.generation not in {state.generation, state.generation + 1}:
        return f"generation {certificate.generation} does not follow {state.generation}"
    if certificate.generation == state.generation and certificate != state.certificates[state.generation]:
        return "the keys of a generation never change"
    named = [ref.generation for ref in body.keyrings]
    if (
        certificate.generation not in named
        or len(set(named)) != len(named)
        or not set(named) <= {*state.certificates, certificate.generation}
    ):
        return "the keyrings named are not one for each live generation"
    return None if _are_digests(ref.digest for ref in body.keyrings) else "a keyring's digest is malformed"


def _open(state: Facts, body: Open) -> str | None:
    session = state.sessions.get(body.session)
    if len(body.session) != ID_BYTES or not 0 < body.pack_size <= MAX_OBJECT_BYTES or not _are_digests(body.index_segments):
        return "OPEN is malformed"
    if session is not None and session.committed is not None:
        return "the session has its COMMIT already"
    if session is not None and session.ticket != body.ticket:
        return "the session was opened with another ticket"
    return _ticket(state, body.ticket, body.session)


def _commit(state: Facts, body: Commit) -> str | None:
    session = state.sessions.get(body.session)
    if session is None:
        if body.open_seq not in state.lost:
            return "the session has no OPEN"
        reason = _ticket(state, body.ticket, body.session)
        if reason is not None:
            return reason
    elif session.committed is not None:
        return "the session has its COMMIT already"
    elif body.open_seq not in session.opens and body.open_seq not in state.lost:
        return "the COMMIT names no OPEN of its session"
    elif body.open_seq <= session.aborted_up_to:
        return "its OPEN was aborted"
    elif body.ticket != session.ticket:
        return "the COMMIT does not carry the ticket of its OPEN"
    return _named(state, body)


def _named(state: Facts, body: Commit) -> str | None:
    """What the COMMIT names by digest; at a replica index segments and caches need not be."""
    named = [body.manifest, body.object_set, *body.index_segments, *([body.cache] if body.cache else [])]
    if body.manifest in state.forgotten:
        return "the recovery point was forgotten"
    if not _are_digests(named) or not _are_objects(body.incarnations) or body.manifest in state.commits:
        return "the COMMIT's objects are malformed or those of another point"
    incarnations = {ref.digest: ref.incarnation for ref in body.incarnations}
    if any(ObjectRef(digest, incarnations.get(digest, 0)) in state.damaged for digest in named):
        return "the COMMIT names an object that is known to be damaged"
    return None


def _abort(state: Facts, body: Abort) -> str | None:
    session = state.sessions.get(body.session)
    if session is None or body.open_seq not in session.opens:
        return "ABORT names no OPEN of its session"
    if session.committed is not None or body.open_seq <= session.aborted_up_to:
        return "the session has ended"
    return None


def _attest(state: Facts, body: Attest) -> str | None:
    if not 0 <= body.level <= MAX_LEVEL or body.objects < 0 or body.bytes_read < 0:
        return "ATTEST is malformed"
    return None if all(manifest in state.commits for manifest in body.manifests) else "ATTEST names a point that is not live"


def _ticket(state: Facts, signed: bytes, session: bytes) -> str | None:
    """A run without a policy has no ticket; any other must be for this session and signed by a run key in force."""
    if not signed:
        return None
    run_keys = state.descriptor.run_keys if state.descriptor is not None else ()
    try:
        ticket = verify_ticket(signed, run_keys, "OPEN or COMMIT")
    except Integrity as error:
        return str(error)
    if ticket.session != session or ticket.vault_id != state.vault_id:
        return "the ticket is for another session or vault"
    return None


def _are_digests(digests: Iterable[bytes]) -> bool:
    return all(len(digest) == DIGEST_BYTES for digest in digests)


def _are_objects(refs: Iterable[ObjectRef]) -> bool:
    return all(len(ref.digest) == DIGEST_BYTES and ref.incarnation >= 0 for ref in refs)
