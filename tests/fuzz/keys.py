"""Targets: what opens a vault, what names things, and what people and the controller hand over: keyrings, descriptors, files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from recoup.engine.backup.run import manifest_source, read_run_file, record_source
from recoup.engine.descriptor import decode_descriptor, decode_location, encode_descriptor, encode_location, new_descriptor
from recoup.engine.format.names import digest_of, parse_object_name
from recoup.engine.format.records import encode_record, seal_record
from recoup.engine.keys.certificate import verify_certificate
from recoup.engine.keys.describe import detail_of, kind_of
from recoup.engine.keys.kek import RecipientKek, SecretKek, kek_from_text
from recoup.engine.keys.keyfile import create_key_file, read_key_file
from recoup.engine.keys.keyring import _SECTION_FIELDS, KeyringBody, Material, Section, decode_keyring, open_keyring, seal_keyring
from recoup.engine.keys.passphrase import PassphraseKek, read_passphrase
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.text import decode_fingerprint, encode_fingerprint
from recoup.engine.keys.tickets import Ticket, ticket_from_text, verify_ticket
from recoup.engine.keys.wraps import Scope
from recoup.engine.log.bodies import DescriptorRef
from tests.fakes.memory_store import MemoryStore
from tests.fuzz.target import Target
from tests.unit.engine.keys.vaults import unlocked

IDS = bytes(range(16)), bytes(range(16, 32))
RUN_FILE = b"""{"session": "%s", "ticket": "", "policyUid": "p", "slot": "s", "capturedAt": 5, "volumesExpected": ["a"],
 "source": {"namespace": "shop", "labels": {"app": "db"},
  "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": []}]}}}}""" % (b"0123456789abcdef" * 2)


class _Ring:
    """A keyring, and its parts as somebody with the root key would change them."""

    def __init__(self) -> None:
        self.kek, self.material = SecretKek.generate(), Material.generate()
        self.certificate = self.material.certify(*IDS, 1)
        self.facts = verify_certificate(self.certificate, "x")
        self.root = SigningKey(self.material.root)
        self.honest = seal_keyring(self.material, self.certificate, [self.kek, RecipientKek.generate().recipient])
        self.sections = decode_keyring(self.honest, "x")[1]

    def stored(self, data: bytes) -> None:
        decode_keyring(data, "x")
        open_keyring(data, [self.kek], "x")

    def body(self, record: bytes) -> None:
        """The record inside, signed again."""
        signed = b"RCPK\x00\x01\x00\x00" + len(record).to_bytes(4, "big") + record
        data = signed + self.root.sign(b"rcp1/keyring", signed)
        for section in decode_keyring(data, "x")[1]:
            for wrap in section.wraps:
                _ = kind_of(wrap), detail_of(wrap)
        open_keyring(data, [self.kek, PassphraseKek(b"unknown to all")], "x")

    def section(self, plain: bytes) -> None:
        """What a section holds, sealed and signed again."""
        scope = Scope(*IDS, 1, "root")
        key = os.urandom(32)
        sealed = seal_record(key, scope.context(b"rcp1/section"), plain)
        changed = Section("root", (self.kek.wrap(key, scope),), sealed)
        self.body(encode_record(KeyringBody(self.certificate, (changed, *self.sections[1:]))))

    def certified(self, record: bytes) -> None:
        """Another certificate by the same root."""
        verify_certificate(record + self.root.sign(b"rcp1/certificate", record), "x")
        self.body(encode_record(KeyringBody(record + self.root.sign(b"rcp1/certificate", record), self.sections)))


def _file(read: Callable[[str], object]) -> Callable[[bytes], None]:
    """A target that reads a file by its name."""
    folder = tempfile.TemporaryDirectory(prefix="recoup-fuzz-")
    path = Path(folder.name) / "file"

    def target(data: bytes, _kept: object = folder) -> None:
        path.write_bytes(data)
        read(str(path))

    return target


def _run_file(path: str) -> None:
    run = read_run_file(path)
    _ = run.session_id, run.ticket_bytes, manifest_source(run, "/source"), record_source(run, "/source")


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


def _key_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        create_key_file(path, SecretKek.generate())
        return path.read_bytes() + encode_fingerprint(IDS[0], bytes(32)).encode() + b"\n"


def key_targets() -> Iterator[Target]:
    """Keyrings at three depths, then everything small."""
    ring, run_key = _Ring(), SigningKey(bytes(32))
    body = encode_record(KeyringBody(ring.certificate, ring.sections))
    section = encode_record(Material(*(bytes([n]) * 32 for n in range(7))))
    descriptor = encode_descriptor(new_descriptor(0, *IDS, (bytes(32),)))
    honest = new_descriptor(0, *IDS, (bytes(32),))
    ticket = encode_record(Ticket(IDS[1], IDS[0], "uid", "slot", "pvc"))
    writer = unlocked(MemoryStore()).writer
    yield Target("keyring", (ring.honest,), ring.stored)
    yield Target("keyring-signed", (body,), ring.body)
    yield Target("keyring-section", (section, msgspec.msgpack.encode(dict.fromkeys(_SECTION_FIELDS["root"], bytes(32)))), ring.section)
    yield Target("certificate-signed", (ring.certificate[:-64],), ring.certified)
    yield Target(
        "descriptor",
        (descriptor[8:],),
        lambda data: decode_descriptor(b"RCPD\0\1\0\0" + data, DescriptorRef(0, digest_of(b"RCPD\0\1\0\0" + data), honest.run_keys), "x"),
    )
    yield Target("location", (encode_location(IDS[0]),), lambda data: decode_location(data, "x"))
    yield Target("ticket-signed", (ticket,), lambda data: verify_ticket(data + run_key.sign(b"rcp1/ticket", data), (run_key.public,), "x"))
    yield Target("ticket-text", (b"YWJj",), _text(ticket_from_text))
    yield Target("run-file", (RUN_FILE,), _file(_run_file))
    yield Target("key-file", (_key_file(),), _file(lambda path: read_key_file(Path(path))))
    yield Target("passphrase-file", (b"six random words or more\n",), _file(read_passphrase))
    yield Target("role-keys", (*writer.to_files().values(),), lambda data: WriterKeys.from_bytes(data, "x"))
    yield Target("key-text", (SecretKek.generate().to_text().encode(),), _text(kek_from_text))
    yield Target("fingerprint", (encode_fingerprint(IDS[0], bytes(32)).encode(),), _text(decode_fingerprint))
    yield Target("object-name", (b"v/%s/d/00/%s.3" % (b"0" * 32, b"0" * 64),), _text(parse_object_name))
