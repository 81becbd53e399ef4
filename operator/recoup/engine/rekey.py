"""Changing who opens a vault: add, remove and replace KEKs, begin a new generation (docs/format.md section 2).

Writes keyrings and KEYGEN, never a data object. New keyrings are put first and count when KEYGEN names them; until then the old ones
do, so that a crash at any call leaves a vault that opens as before or as asked. Two changes at once: one wins, the other begins again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from recoup.engine.descriptor import encode_descriptor, reference_to
from recoup.engine.format.names import descriptor_name, digest_of, keyring_name, vault_prefix
from recoup.engine.keys.describe import owns
from recoup.engine.keys.keyring import (
    MAX_KEYRING_BYTES,
    Material,
    OpenedKeyring,
    Section,
    decode_keyring,
    open_keyring,
    rewrap_keyring,
    seal_keyring,
)
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.wraps import Unwrapper, Wrap, Wrapper
from recoup.engine.log.bodies import Descriptor, KeyGen, KeyringRef
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.log.state import LogState
from recoup.engine.stores.versions import Kept, erase
from recoup.engine.vault import open_generation, read_descriptor, wants_hybrid
from recoup.errors import Integrity, Invalid, KeyUnavailable, NotFound, Retryable, Usage
from recoup.value import Value

SHORTEST: Final = 4
"""Digits of an id that a person must at least give."""
_TRIES: Final = 16
_DESCRIPTOR_TRIES: Final = 64


class Rekeyed(Value, frozen=True):
    """What a change came to."""

    generation: int
    """The newest generation."""
    keyrings: dict[int, tuple[Section, ...]]
    """What is in force now, by generation."""
    removed: tuple[str, ...]
    """Old keyring objects that are gone."""
    kept: tuple[Kept, ...]
    """Old keyring objects that are still there, and why. Whoever has a KEK of theirs, and a copy, reads what was sealed so far."""
    put: int
    """Objects written, entries of the log not counted."""


def add_keks(log: Log, at_hand: Sequence[Unwrapper], new: Sequence[Wrapper]) -> Rekeyed:
    """Every generation opens with the new KEKs, too. Adding one that is there already renews its wraps."""
    return _change(log, at_hand, new, dropped=())


def remove_keks(log: Log, at_hand: Sequence[Unwrapper], ids: Sequence[bytes], new: Sequence[Wrapper] = ()) -> Rekeyed:
    """The KEKs of these ids open nothing any more, and the new ones do. Raises Invalid (LastKey) if no key at hand would be left.

    Whoever has such a KEK and a copy of an old keyring can still open what was sealed so far: against that, `new_generation`.
    """
    return _change(log, at_hand, new, dropped=ids)


def new_generation(log: Log, at_hand: Sequence[Unwrapper], to: Sequence[Wrapper], *, leaked: bool) -> Rekeyed:
    """New keys for all that is sealed from here on; exactly the KEKs in `to` open old and new generations.

    Writers of the old generation are refused from then on. `leaked` also makes a new K_w, and with it new ids: nothing that is
    stored is found again, so that the next backup of each volume is a full one; and new run keys. The root key stays.
    """
    for _ in range(_TRIES):
        base, opened = _open_all(log, at_hand)
        number, newest = max(opened), opened[max(opened)]
        material = _renewed(newest.material, leaked=leaked)
        identity = log.state.require_identity()
        certificate = material.certify(identity.repo_id, identity.vault_id, number + 1, hybrid=wants_hybrid(to))
        keyrings = {old: rewrap_keyring(ring, _certificate(ring), lambda _: False, to) for old, ring in opened.items()}
        keyrings[number + 1] = seal_keyring(material, certificate, to)
        _prove_openable(keyrings, [*at_hand, *_openers(to)])
        try:
            if leaked:
                _allow_runs(log, newest.material, (newest.material.run, material.run))
            done = _put_in_force(log, newest.material, certificate, keyrings, base)
        except LogRejected:
            if log.state.keyrings == base:
                raise
            continue  # another change was faster: nothing of this one counts
        if leaked:
            _allow_runs(log, material, (material.run,))
        return done
    raise _overtaken(log)


def find_kek(log: Log, text: str) -> bytes:
    """The id of the one KEK that begins with these hex digits, among those of all keyrings that are there.

    Old keyrings count, too: a removal that was interrupted is finished by asking for it again. Raises Usage, NotFound.
    """
    wanted = text.strip().lower()
    if len(wanted) < SHORTEST or set(wanted) - set("0123456789abcdef"):
        raise Usage(f"{text!r} is not a key's id: give at least {SHORTEST} of its hex digits (see `recoup keys list`)")
    found = {wrap.id for _, wrap in _wraps(log) if wrap.id.hex().startswith(wanted)}
    if not found:
        raise NotFound(f"no key {text} opens vault {log.state.vault_id.hex()}; `recoup keys list` shows those that do", reason="UnknownKey")
    if len(found) > 1:
        raise Usage(f"{text} fits {len(found)} keys: {', '.join(sorted(one.hex()[:16] for one in found))}; give more digits")
    return found.pop()


def owned_ids(log: Log, keks: Sequence[Wrapper]) -> list[bytes]:
    """The ids under which these KEKs stand in the vault's keyrings."""
    return list({wrap.id: None for _, wrap in _wraps(log) if any(owns(kek, wrap) for kek in keks)})


def _wraps(log: Log) -> Iterator[tuple[str, Wrap]]:
    vault = log.state.vault_id
    named = {keyring_name(vault, number, digest) for number, digest in log.state.keyrings.items()}
    for name in sorted(named.union(name for name, _ in log.store.list(f"{vault_prefix(vault)}keyring/"))):
        try:
            _, sections = decode_keyring(log.store.get(name, MAX_KEYRING_BYTES), name)
        except (Integrity, NotFound):
            continue  # junk that somebody put there, or an old one that is just being removed
        yield from ((name, wrap) for section in sections[:1] for wrap in section.wraps)


def _change(log: Log, at_hand: Sequence[Unwrapper], new: Sequence[Wrapper], dropped: Sequence[bytes]) -> Rekeyed:
    for _ in range(_TRIES):
        base, opened = _open_all(log, at_hand)

        def keep(wrap: Wrap) -> bool:
            return wrap.id not in dropped and not any(owns(kek, wrap) for kek in new)

        keyrings = {}
        for number, ring in opened.items():
            if not new and not any(keep(wrap) for wrap in ring.wraps[0]):
                raise _last_key()
            keyrings[number] = rewrap_keyring(ring, _certificate(ring), keep, new)
        newest = opened[max(opened)]
        _prove_openable(keyrings, [*at_hand, *_openers(new)])
        try:
            return _put_in_force(log, newest.material, _certificate(newest), keyrings, base)
        except LogRejected:
            if log.state.keyrings == base:
                raise
    raise _overtaken(log)


def _open_all(log: Log, at_hand: Sequence[Unwrapper]) -> tuple[dict[int, bytes], dict[int, OpenedKeyring]]:
    """What is in force (digests by generation), and the same opened. Raises Invalid (NotHome) for a copy of the vault."""
    state = log.read_all()
    if state.initialised and not state.at_home:
        raise Invalid(f"{log.store.url} holds a copy of the vault: change its keys at its home, and replicate", reason="NotHome")
    base = dict(state.keyrings)
    return base, {number: open_generation(log, number, at_hand) for number in sorted(base)}


def _put_in_force(log: Log, signer: Material, certificate: bytes, keyrings: dict[int, bytes], base: dict[int, bytes]) -> Rekeyed:
    """Put the keyrings, append KEYGEN, remove what came before. Raises LogRejected if `base` is in force no more.

    What is removed was listed before the KEYGEN: it is named by entries before it, or belongs to a change that has lost against it.
    """
    vault = log.state.vault_id
    names = {number: keyring_name(vault, number, digest_of(data)) for number, data in keyrings.items()}
    before = [name for name, _ in log.store.list(f"{vault_prefix(vault)}keyring/")]
    for number, data in keyrings.items():
        if not log.store.create(names[number], data) and log.store.get(names[number]) != data:
            raise Integrity(f"keyring {names[number]} could not be put: something else stands there", reason="LogSquatted")
    refs = tuple(KeyringRef(number, digest_of(data)) for number, data in sorted(keyrings.items()))

    def overtaken(now: LogState) -> str | None:
        return None if now.keyrings == base else "the keys were changed at the same time"

    log.append(KeyGen(certificate, refs), SigningKey(signer.maintenance), guard=overtaken)
    gone, kept = _remove(log, [name for name in before if name not in names.values()])
    sections = {number: decode_keyring(data, names[number])[1] for number, data in keyrings.items()}
    return Rekeyed(max(keyrings), sections, gone, kept, put=len(keyrings))


def _prove_openable(keyrings: dict[int, bytes], openers: Sequence[Unwrapper]) -> None:
    """Nothing is put in force that nobody here can open: a vault may be lost by one mistyped key."""
    for number, data in keyrings.items():
        try:
            open_keyring(data, openers, f"of generation {number} that was just made")
        except KeyUnavailable as error:
            raise _last_key() from error


def _remove(log: Log, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[Kept, ...]]:
    gone: list[str] = []
    kept: list[Kept] = []
    for name in names:
        left = erase(log.store, name)
        kept += left
        if not left:
            gone.append(name)
    return tuple(gone), tuple(kept)


def _renewed(material: Material, *, leaked: bool) -> Material:
    """Keys of the next generation. The root key is the vault's identity and stays; after a leak nothing else does."""
    fresh = Material.generate()
    stays = {"root": material.root} | ({} if leaked else {"writer_root": material.writer_root, "run": material.run})
    return msgspec.structs.replace(fresh, **stays)


def _allow_runs(log: Log, signer: Material, run_keys: Sequence[bytes]) -> None:
    """Put a descriptor in force that lists exactly these run keys. Between generations both count, so that no run falls into a gap."""
    publics = tuple(dict.fromkeys(SigningKey(raw).public for raw in run_keys))
    for _ in range(_DESCRIPTOR_TRIES):
        current = read_descriptor(log)
        if current.run_keys == publics:
            return
        successor = msgspec.structs.replace(current, number=current.number + 1, run_keys=publics)
        while not log.store.create(descriptor_name(log.state.vault_id, successor.number), encode_descriptor(successor)):
            successor = msgspec.structs.replace(successor, number=successor.number + 1)  # left behind by a change that went no further
        try:
            log.append(Descriptor(reference_to(successor)), SigningKey(signer.maintenance))
        except LogRejected:
            if log.state.descriptor == reference_to(current):
                raise
        else:
            return
    raise _overtaken(log)


def _certificate(ring: OpenedKeyring) -> bytes:
    """The signed certificate again: signatures and records have one form each."""
    facts = ring.certificate
    return ring.material.certify(facts.repo_id, facts.vault_id, facts.generation, hybrid=facts.hybrid)


def _openers(keks: Sequence[Wrapper]) -> list[Unwrapper]:
    return [kek for kek in keks if isinstance(kek, Unwrapper)]


def _last_key() -> Invalid:
    return Invalid(
        "no key at hand would open the vault after that, so that nobody could tell whether one still does: add another key first and "
        "open the vault with it (of a recovery key bring the private half)",
        reason="LastKey",
    )


def _overtaken(log: Log) -> Retryable:
    return Retryable(f"the keys of vault {log.state.vault_id.hex()} are being changed by others all the time: try again later")
