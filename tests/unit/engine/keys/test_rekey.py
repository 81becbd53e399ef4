"""Who opens a vault after its keys were changed, what that writes, and who is refused from then on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.wraps import MAX_KEKS
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.rekey import add_keks, find_kek, new_generation, owned_ids, remove_keks
from recoup.engine.replicate.run import replicate
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Unlocked, open_vault, provision, read_descriptor
from recoup.errors import Invalid, KeyUnavailable, NotFound, Usage
from recoup.report import Progress
from tests.contract.keks.kinds import a_passphrase
from tests.faults.store import FaultStore
from tests.unit.engine.backup.volume import Volume, fill, picture, settle
from tests.unit.engine.keys.vaults import KEK, new_store, unlocked
from tests.unit.engine.log.entries import open_body

OTHER, OFFLINE, HYBRID = SecretKek.generate(), RecipientKek.generate(), RecipientKek.generate(hybrid=True)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume.make(tmp_path)
    fill(volume.source, files=20)
    settle(volume.source)
    return volume


def reopened(vault: Unlocked, *keks: SecretKek | RecipientKek) -> Unlocked:
    log = Log(vault.log.store, vault.identity.vault_id, root_public=vault.identity.root_public)
    log.follow()
    return open_vault(log, keks, pinned=True)


def with_keys(volume: Volume, vault: Unlocked) -> Volume:
    return Volume(volume.source, vault, volume.restored)


def test_rotating_a_kek_writes_keyrings_and_no_data(volume: Volume) -> None:
    first = volume.back_up().id
    vault = volume.vault
    prefix = f"v/{vault.identity.vault_id.hex()}/"
    before = {name: size for area in "dmx" for name, size in vault.log.store.list(f"{prefix}{area}/")}
    counted = FaultStore(vault.log.store)
    log = Log(counted, vault.identity.vault_id, root_public=vault.identity.root_public)
    done = remove_keks(log, [KEK, OTHER], owned_ids(log, [KEK]), [OTHER])
    put = [call.name for call in counted.calls if call.method == "create"]
    assert sorted(name.removeprefix(prefix).split("/")[0] for name in put) == ["keyring", "log"]
    assert (done.generation, done.put, len(done.removed), done.kept) == (1, 1, 1, ())
    assert {name: size for area in "dmx" for name, size in vault.log.store.list(f"{prefix}{area}/")} == before
    with pytest.raises(KeyUnavailable):
        reopened(vault, KEK)
    after = with_keys(volume, reopened(vault, OTHER))
    assert picture(after.restore(first)) == picture(volume.source)
    again = after.back_up()
    assert again.bytes_stored < 100_000  # the same keys: everything is found again


def test_keys_that_are_not_at_hand_keep_opening(volume: Volume) -> None:
    """Whoever adds or removes one key has not got the others."""
    vault = volume.vault
    phrase = a_passphrase()
    add_keks(vault.log, [KEK], [OFFLINE.recipient, phrase.closes])
    add_keks(vault.log, [KEK], [OTHER])
    remove_keks(vault.log, [OTHER], owned_ids(vault.log, [KEK]))
    for kek in (OFFLINE, OTHER):
        assert reopened(vault, kek).materials == vault.materials
    log = Log(vault.log.store, vault.identity.vault_id, root_public=vault.identity.root_public)
    log.follow()
    assert open_vault(log, [phrase.opens], pinned=True).materials == vault.materials


def test_adding_a_key_again_changes_nothing_and_its_old_keyring_name_never_returns(volume: Volume) -> None:
    vault = volume.vault
    seen = {vault.log.state.keyrings[1]}
    for _ in range(3):
        done = add_keks(vault.log, [KEK], [OTHER])
        assert len(done.keyrings[1][0].wraps) == 2
        remove_keks(vault.log, [KEK], [OTHER.id])
        assert vault.log.state.keyrings[1] not in seen
        seen.add(vault.log.state.keyrings[1])


def test_the_last_key_at_hand_is_not_removed(volume: Volume) -> None:
    vault = volume.vault
    before = vault.log.state.next_seq
    with pytest.raises(Invalid) as caught:
        remove_keks(vault.log, [KEK], [KEK.id])
    assert caught.value.reason == "LastKey"
    add_keks(vault.log, [KEK], [OFFLINE.recipient])
    with pytest.raises(Invalid, match="no key at hand"):
        remove_keks(vault.log, [KEK], [KEK.id])
    with pytest.raises(Invalid, match="no key at hand"):
        new_generation(vault.log, [KEK], [OFFLINE.recipient], leaked=True)
    assert vault.log.follow().next_seq == before + 1
    remove_keks(vault.log, [KEK, OFFLINE], [KEK.id])
    assert reopened(vault, OFFLINE).materials == vault.materials


def test_a_key_is_found_by_part_of_its_id(volume: Volume) -> None:
    vault = volume.vault
    text = KEK.id.hex()
    assert find_kek(vault.log, text[:8].upper()) == KEK.id
    for wrong, error in (("zz", Usage), ("abc", Usage), ("00" * 16, NotFound)):
        with pytest.raises(error):
            find_kek(vault.log, wrong)


def test_too_many_keys_are_refused(volume: Volume) -> None:
    with pytest.raises(Invalid) as caught:
        add_keks(volume.vault.log, [KEK], [RecipientKek.generate().recipient for _ in range(MAX_KEKS)])
    assert caught.value.reason == "TooManyKeys"


@pytest.mark.parametrize("leaked", [False, True])
def test_a_new_generation_reads_everything_and_refuses_the_old_writers(volume: Volume, leaked: bool) -> None:
    expected = picture(volume.source)
    first = volume.back_up()
    old = volume.vault
    session = os.urandom(16)
    old.log.append(open_body(session), old.writer.signer)
    done = new_generation(old.log, [KEK, OTHER], [OTHER], leaked=leaked)
    assert (done.generation, done.put) == (2, 2)
    with pytest.raises(LogRejected, match="generation 1 is over"):
        old.log.append(open_body(os.urandom(16)), old.writer.signer)
    new = reopened(old, OTHER)
    assert new.identity == old.identity
    now = with_keys(volume, new)
    second = now.back_up()
    for point in (first.id, second.id):
        assert picture(now.restore(point)) == expected
    before, after = old.materials[1], new.materials[2]
    assert new.materials[1] == before
    assert (after.root == before.root, after.writer_root == before.writer_root) == (True, not leaked)
    assert not {after.writer, after.maintenance, after.verifier, after.private} & {before.writer, before.maintenance, before.private}
    if leaked:
        assert second.bytes_stored >= first.bytes_total  # random data, and nothing is found again
    else:
        assert second.bytes_stored < first.bytes_total * 0.3
    third = now.back_up()
    assert third.bytes_stored < first.bytes_total * 0.3


def test_after_a_leak_only_the_new_run_key_issues_tickets(volume: Volume) -> None:
    old = volume.vault
    new_generation(old.log, [KEK], [KEK], leaked=True)
    new = reopened(old, KEK)
    assert read_descriptor(new.log).run_keys == (new.catalogue.run_signer.public,)
    assert new.catalogue.run_signer.public != old.catalogue.run_signer.public
    assert new.log.state.descriptor is not None
    assert new.log.state.descriptor.number == 2  # both keys counted while the generation changed


def test_a_hybrid_recipient_makes_the_data_key_hybrid(volume: Volume) -> None:
    first = volume.back_up().id
    done = new_generation(volume.vault.log, [KEK], [KEK, HYBRID.recipient], leaked=False)
    vault = reopened(volume.vault, HYBRID)
    assert [vault.log.state.certificates[number].hybrid for number in (1, done.generation)] == [False, True]
    now = with_keys(volume, vault)
    (volume.source / "more").write_bytes(os.urandom(4000))
    second = now.back_up().id
    assert picture(now.restore(second)) == picture(volume.source)
    (volume.source / "more").unlink()
    settle(volume.source)
    assert set(picture(now.restore(first))) == set(picture(volume.source))


def test_a_vault_made_with_a_hybrid_recipient_is_hybrid_throughout(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "location"))
    made = provision(store, [KEK], [HYBRID.recipient], vault_id=os.urandom(16), labels={})
    assert len(made.writer.data_public) == 1216
    vault = unlocked(store, made.writer.identity.vault_id)
    volume = Volume(tmp_path / "source", vault)
    volume.source.mkdir()
    fill(volume.source, files=5)
    point = volume.back_up().id
    assert picture(with_keys(volume, reopened(vault, HYBRID)).restore(point)) == picture(volume.source)


def test_two_changes_at_once_lose_neither(tmp_path: Path) -> None:
    """One is decided on keyrings that the other has replaced when it appends: it begins again."""
    store = new_store()
    vault = unlocked(store)

    class Overtaken(FaultStore):
        done = False

        def create(self, name: str, data: bytes | bytearray | memoryview) -> bool:
            if "/log/" in name and not self.done:
                self.done = True
                add_keks(Log(store, vault.identity.vault_id, root_public=vault.identity.root_public), [KEK], [OTHER])
            return super().create(name, data)

    place = Overtaken(store)
    add_keks(Log(place, vault.identity.vault_id, root_public=vault.identity.root_public), [KEK], [OFFLINE.recipient])
    assert place.done
    for kek in (KEK, OTHER, OFFLINE):
        assert reopened(vault, kek).materials == vault.materials
    assert len(list(store.list(f"v/{vault.identity.vault_id.hex()}/keyring/"))) == 1


def copy_of(volume: Volume, folder: Path) -> FileStore:
    copy = FileStore(str(folder / "copy"))
    identity = volume.vault.identity
    replicate(volume.vault.log.store, copy, identity.vault_id, Progress(quiet=True), pinned_root=identity.root_public)
    return copy


def at(copy: FileStore, vault: Unlocked) -> Log:
    log = Log(copy, vault.identity.vault_id, root_public=vault.identity.root_public)
    log.follow()
    return log


def test_keys_are_changed_at_the_home_and_nothing_is_put_elsewhere(volume: Volume, tmp_path: Path) -> None:
    copy = copy_of(volume, tmp_path)
    before = list(copy.list(""))
    with pytest.raises(Invalid) as caught:
        add_keks(at(copy, volume.vault), [KEK], [OTHER])
    assert caught.value.reason == "NotHome"
    assert list(copy.list("")) == before


def test_copies_follow_every_change(volume: Volume, tmp_path: Path) -> None:
    """A rotation before the first copy, a new generation after it: the copy opens as the home does."""
    first = volume.back_up().id
    vault = volume.vault
    remove_keks(vault.log, [KEK, OTHER], [KEK.id], [OTHER])
    copy = copy_of(volume, tmp_path)
    with pytest.raises(KeyUnavailable):
        open_vault(at(copy, vault), [KEK], pinned=True)
    assert open_vault(at(copy, vault), [OTHER], pinned=True).materials == vault.materials
    new_generation(vault.log, [OTHER], [OFFLINE.recipient, KEK], leaked=True)
    second = with_keys(volume, reopened(vault, KEK)).back_up().id
    copy_of(volume, tmp_path)
    there = open_vault(at(copy, vault), [OFFLINE], pinned=True)
    assert [point.hex() for point in there.log.state.commits] == [first, second]
    assert there.materials == reopened(vault, KEK).materials
    with pytest.raises(KeyUnavailable):
        open_vault(at(copy, vault), [OTHER], pinned=True)
