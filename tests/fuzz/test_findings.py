"""What fuzzing found, one test for each: bytes of somebody with valid keys, or of a person's own files, that ended in a bare exception.

Each failed before its mending, with the exception named in its docstring.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from recoup.cli.snapshots import origin
from recoup.controller.points import to_point, to_verification
from recoup.engine.backup.lineage import OldRow
from recoup.engine.backup.run import read_run_file
from recoup.engine.backup.units import KeptContent
from recoup.engine.browse.find import Finder, Wanted
from recoup.engine.catalogue import Point, read_catalogue
from recoup.engine.evidence import VERIFICATION, Verification
from recoup.engine.format.records import seal_record
from recoup.engine.judged import Judgement
from recoup.engine.keys.certificate import sign_certificate, verify_certificate
from recoup.engine.keys.kek import SecretKek, kek_from_text
from recoup.engine.keys.keyring import Material, _decode_section
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Evidence
from recoup.engine.log.points import PointRecord
from recoup.engine.log.state import LogState
from recoup.engine.log.summary import cut, restore, rows_of
from recoup.engine.proof import read_proofs
from recoup.engine.records.content import WireContent
from recoup.engine.records.tree import FileType
from recoup.errors import Integrity, Invalid
from recoup.plan.movers import _report
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import plant, signed
from tests.unit.engine.restore.forge import Forger, Item

NESTED = '{"a":' * 9_000
"""JSON that a decoder follows until Python's limit of recursion."""
RECORD = PointRecord("p", "s", "", "None", (), "{}", "directory", 1, 2, 3, 4, 5, 6, 0, "x")


@pytest.mark.parametrize("kind", [VERIFICATION, "Drill", "Other"])
def test_evidence_that_nests_without_end_says_nothing(kind: str) -> None:
    """RecursionError: one entry by a verifier's key, and the controller could read that vault's log no more."""
    vault = unlocked()
    vault.log.append(Evidence(kind, NESTED), vault.reader.signer)
    assert read_catalogue(vault.log.store, vault.identity.vault_id, vault.catalogue).verifications == ()
    assert [proof.statement for proof in read_proofs(vault.log)] == [{"text": NESTED}]


def test_a_source_that_nests_without_end_is_shown_as_text_and_told_to_nobody() -> None:
    """RecursionError, in the controller and in `recoup snapshots`: a writer's record."""
    record = msgspec.structs.replace(RECORD, source=NESTED)
    point = to_point(Point("ab", "cd", 1, 1, "", "20260101t000000z", "uid", record))
    assert point is not None
    assert point.source.persistent_volume_claim_uid == "uid"
    assert origin(NESTED).startswith('{"a":')


def test_a_movers_last_word_that_nests_without_end() -> None:
    """RecursionError in the controller: a container's termination message is whatever the mover wrote."""
    assert not _report({"message": '{"extra":' + "[" * 4_000}).message


def test_times_outside_the_calendar() -> None:
    """ValueError and OverflowError, in the controller and in `recoup evidence`: entries carry 64 bits of milliseconds."""
    vault = unlocked()
    body = Evidence("Drill", "{}")
    plant(vault.log, signed(vault, body, vault.reader.signer, time=(1 << 64) - 1))
    vault.log.follow()
    assert read_proofs(vault.log)[0].time.startswith("@1844674407370955")
    judged = Judgement(4, 4, attested_at=1.8e16, drilled_at=1.8e16)
    point = to_point(Point("ab", "cd", 1, 1, "", "20260101t000000z", "uid", RECORD, judgement=judged))
    assert point is not None
    assert point.verified_at == datetime(1970, 1, 1, tzinfo=UTC), "so long ago that it is due again"
    assert to_verification(Verification("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 4, 1, 1, 1, 1)) is None


def test_text_that_is_no_text() -> None:
    """UnicodeDecodeError: msgspec's own errors do not cover it."""
    with pytest.raises(Integrity, match="content of section root"):
        _decode_section(b"\x81\xa4ro\xffx\xc4\x01x", "root", "x")
    [data] = unlocked().writer.to_files().values()
    with pytest.raises(Invalid, match="keys of this role"):
        WriterKeys.from_bytes(data.replace(b"version", b"versio\xff"), "x")


def test_a_certificate_of_no_generation() -> None:
    """OverflowError where the generation becomes 32 bits of a context."""
    material = Material.generate()
    honest = verify_certificate(material.certify(bytes(16), bytes(16), 1), "x")
    for generation in (0, 1 << 32):
        forged = sign_certificate(msgspec.structs.replace(honest, generation=generation), SigningKey(material.root))
        with pytest.raises(Integrity):
            verify_certificate(forged, "x")


def test_a_mistyped_key_with_a_letter_of_another_alphabet() -> None:
    """ValueError: a person's typing error became a traceback."""
    text = SecretKek.generate().to_text()
    with pytest.raises(Invalid, match="characters that it cannot"):
        kek_from_text(text[:-1] + "\N{CYRILLIC SMALL LETTER A}")


def test_a_checkpoint_that_names_no_healed_incarnation() -> None:
    """TypeError: `max` of one number."""
    vault = unlocked()
    row = msgspec.msgpack.encode([10, bytes(32), []])
    facts = restore(cut([*rows_of(vault.log.state), row]), vault.identity.vault_id, vault.identity.root_public, "x")
    assert facts.incarnation_of(bytes(32)) == 0
    assert LogState(vault.identity.vault_id, None).incarnation_of(bytes(32)) == 0


def test_contents_of_an_unknown_scheme_in_a_cache() -> None:
    """ValueError: a writer's companion would have ended the next backup, which can do without."""
    with pytest.raises(Integrity, match="unknown unit scheme"):
        _ = OldRow(0, b"", KeptContent(WireContent(7, ()), [])).content


def test_finding_by_type_in_a_tree_with_an_unknown_type(tmp_path: Path) -> None:
    """ValueError: leaves are looked through before they are judged."""
    forger = Forger.make(tmp_path / "location")
    point = forger.open(forger.tree([((), [Item(b"a", 9), Item(b"b", FileType.FIFO)])]))  # type: ignore[arg-type]  # that is the attack
    with pytest.raises(Integrity, match="unknown type"):
        list(Finder(Wanted((), types=frozenset({FileType.FIFO}))).in_point(point))


def test_a_run_file_whose_affinity_is_no_json(tmp_path: Path) -> None:
    """UnicodeDecodeError, and only when the manifest was written, at the end of the run."""
    path = tmp_path / "run.json"
    path.write_bytes(b'{"session": "%s", "source": {"nodeAffinity": {"re\xffquired": []}}}' % (b"0" * 32))
    with pytest.raises(Invalid, match="not well-formed"):
        read_run_file(str(path))


def test_what_is_sealed_and_no_record() -> None:
    """The labels of a vault, which are JSON of strings: anything else is Integrity."""
    vault = unlocked()
    init = vault.log.state.init
    assert init is not None
    from recoup.engine.vault import _labels_context, open_labels

    for plain in (b'{"a":"\xff"}', NESTED.encode(), b"[]"):
        sealed = seal_record(bytes(32), _labels_context(vault.identity), plain)
        with pytest.raises(Integrity, match="labels"):
            open_labels(bytes(32), vault.identity, msgspec.structs.replace(init, labels=sealed))
