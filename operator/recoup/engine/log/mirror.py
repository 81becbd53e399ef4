"""MIRROR: an entry of the home's log in the log of another location (docs/format.md section 6).

Unsigned, because it carries a signed entry. Here are its authenticity and its rules; pure, as all rules. Whether the objects of a
mirrored point are here is the replicator's word until a verification says so (ATTEST).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recoup.engine.keys.certificate import Certificate
from recoup.engine.log.bodies import SIGNERS, TYPE_OF, Adopt, Commit, Descriptor, Init, KeyGen, Mirror, Pin, Replace, Signer, Unpin
from recoup.engine.log.entries import Entry, decode_entry
from recoup.engine.log.facts import Facts, key_of
from recoup.errors import Integrity

if TYPE_CHECKING:
    from recoup.engine.log.bodies import Body

WHAT = "the mirrored entry"
MIRRORED: Final = (Init, Descriptor, KeyGen, Adopt, Commit, Replace, Pin, Unpin)
"""What is true of a vault wherever it is. Everything else is about the home itself: who works there, what is swept or verified there."""


def home_entry(body: Mirror) -> Entry:
    """The entry that a MIRROR carries. Raises Integrity if it is none."""
    return decode_entry(body.entry, WHAT)


def subject_of(body: Body | None) -> bytes:
    """What an entry is about: a recovery point's manifest, or the vault as a whole (empty)."""
    match body:
        case Commit():
            return body.manifest
        case Replace() | Pin() | Unpin():
            return body.point
        case _:
            return b""


def check_home_signature(state: Facts, home: Entry, certificate: Certificate | None = None) -> None:
    """Raise Integrity unless a key of this vault signed `home` for the home's log. `certificate` is that of a first INIT."""
    head = home.head
    if certificate is None:
        identity = state.require_identity()
        certificate = state.certificates.get(head.generation)
        if (head.vault_id, head.repo_id, head.location_id) != (state.vault_id, identity.repo_id, identity.repo_id):
            raise Integrity(f"{WHAT} was not written for the home of this vault")
    if head.vault_id != state.vault_id or head.location_id != head.repo_id:
        raise Integrity(f"{WHAT} was not written for the home of this vault")
    if certificate is None or head.signer not in {Signer.WRITER, Signer.MAINTENANCE, Signer.VERIFIER}:
        raise Integrity(f"{WHAT} names a signer that the vault does not have")
    if not home.signed_by(key_of(certificate, Signer(head.signer))):
        raise Integrity(f"{WHAT} is not signed by a key of this vault")


def mirror_objection(state: Facts, body: Mirror) -> tuple[str | None, Body | None]:
    """Why a MIRROR would not count; if it may, the home's body, for the rules of its own type."""
    try:
        home = home_entry(body)
        if isinstance(home.body, Init) and not state.initialised:
            return None, home.body  # who made it was decided when it was authenticated
        check_home_signature(state, home)
    except Integrity as error:
        return str(error), None
    if state.at_home:
        return "a home's log mirrors nothing", None
    if home.body is None:
        return "the mirrored entry is of an unknown type", None
    if Signer(home.head.signer) not in SIGNERS[TYPE_OF[type(home.body)]]:
        return "the mirrored entry is not signed by the role that may write it", None
    if not isinstance(home.body, MIRRORED):
        return "the mirrored entry is about the home only", None
    last = state.mirrored.get(subject_of(home.body), -1)
    if home.head.seq <= last:
        return f"entry {last} of the home was mirrored already: entries about one thing come in the home's order, each once", None
    if home.head.generation != state.generation:
        return f"the mirrored entry is of generation {home.head.generation}, which is over: {state.generation} is in force", None
    match home.body:
        case Init():
            return "the log has an INIT already", None
        case Commit():
            if home.body.manifest in state.commits or home.body.manifest in state.forgotten:
                return "the point is here, or was forgotten here", None
        case Replace() | Pin():
            if home.body.point not in state.commits:
                return "the point is not live here", None
    return None, home.body
