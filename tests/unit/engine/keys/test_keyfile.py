"""Key files: created once, pinned at the end, never overwritten, and clear about what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.keyfile import create_key_file, pin_vault, read_key_file
from recoup.engine.keys.text import encode_fingerprint
from recoup.errors import Invalid, KeyUnavailable, RecoupError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.key"


@pytest.mark.parametrize("kek", [SecretKek.generate(), RecipientKek.generate()])
def test_a_key_file_round_trips_with_mode_0600(path: Path, kek: SecretKek | RecipientKek) -> None:
    old = os.umask(0)
    try:
        create_key_file(path, kek)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path).kek == kek
    assert read_key_file(path).pins == {}


def test_nothing_is_ever_overwritten_or_followed(path: Path, tmp_path: Path) -> None:
    create_key_file(path, SecretKek.generate())
    before = path.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for target in (path, link, tmp_path):
        with pytest.raises(Invalid):
            create_key_file(target, SecretKek.generate())
    assert path.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_fingerprints_are_added_once_each(path: Path) -> None:
    create_key_file(path, SecretKek.generate())
    fingerprints = [encode_fingerprint(os.urandom(16), os.urandom(32)) for _ in range(3)]
    for fingerprint in [*fingerprints, *fingerprints]:
        pin_vault(read_key_file(path), fingerprint)
    assert len(read_key_file(path).pins) == 3
    assert path.read_text().count("recoupvault1") == 3


def test_a_fingerprint_is_added_to_a_file_without_a_final_newline(path: Path) -> None:
    path.write_text(SecretKek.generate().to_text())
    pin_vault(read_key_file(path), encode_fingerprint(bytes(16), bytes(32)))
    assert read_key_file(path).pins == {bytes(16): bytes(32)}


def test_another_root_key_for_a_pinned_vault_is_refused(path: Path) -> None:
    create_key_file(path, SecretKek.generate())
    pin_vault(read_key_file(path), encode_fingerprint(bytes(16), bytes(32)))
    with pytest.raises(Invalid) as caught:
        pin_vault(read_key_file(path), encode_fingerprint(bytes(16), b"\1" * 32))
    assert caught.value.reason == "RootMismatch"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# only a comment\n",
        "hello",
        SecretKek.generate().to_text() + "\n" + SecretKek.generate().to_text(),
        "\0\xff",
        "recoupsecret1aaaa",
    ],
)
def test_other_files_are_not_key_files(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(Invalid) as caught:
        read_key_file(path)
    assert str(path) in str(caught.value)
    assert content.strip()[14:40] == "" or content.strip()[14:40] not in str(caught.value)


def test_a_missing_or_huge_file_says_so(path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="No such file"):
        read_key_file(path)
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(RecoupError, match="longer"):
        read_key_file(path)
