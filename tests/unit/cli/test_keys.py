"""`recoup keygen` and `recoup init` as a person meets them: output, files, exit codes, and nothing secret on any stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recoup.cli.main import run
from recoup.engine.keys.keyfile import read_key_file
from recoup.engine.stores.file import FileStore
from recoup.engine.unlock import unlock


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "a.key"
    assert run(["keygen", str(path)]) == 0
    return path


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"file://{tmp_path}/location"


def secret_of(path: Path) -> str:
    return read_key_file(path).kek.to_text()


def test_keygen_writes_a_key_and_never_overwrites_it(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = key.read_bytes()
    capsys.readouterr()
    assert run(["keygen", str(key)]) == 20
    said = capsys.readouterr()
    assert "never overwritten" in said.err
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_recovery_key_prints_its_public_half_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recovery.key"
    assert run(["keygen", "--recovery", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("recouprecipient1")
    assert len(said.out.split()) == 1
    assert secret_of(path) not in said.out + said.err
    assert said.out.strip() in path.read_text()


def test_init_makes_a_vault_that_both_keys_open(tmp_path: Path, key: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    recovery = tmp_path / "recovery.key"
    run(["keygen", "--recovery", str(recovery)])
    public = capsys.readouterr().out.strip()
    arguments = ["init", "--location", place, "--key-file", str(key), "--recipient", public, "--label", "owner=team-a", "-o", "json"]
    assert run(arguments) == 0
    said = capsys.readouterr()
    made = json.loads(said.out)
    assert made["created"] is True
    assert "only one key" not in said.err
    assert secret_of(key) not in said.out + said.err
    store = FileStore(str(tmp_path / "location"))
    assert made["fingerprint"] in key.read_text()
    for opened in (unlock(store, [key]), unlock(store, [recovery], fingerprint=made["fingerprint"])):
        assert opened.identity.vault_id.hex() == made["vault"]
        assert opened.labels == {"owner": "team-a"}


def test_one_key_alone_is_warned_of(key: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--location", place, "--key-file", str(key)]) == 0
    said = capsys.readouterr()
    assert "only one key" in said.err
    assert "fingerprint  recoupvault1" in said.out


def test_init_again_makes_no_second_vault_unless_asked(key: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["init", "--location", place, "--key-file", str(key)]
    assert run(arguments) == 0
    assert run(arguments) == 20
    said = capsys.readouterr()
    assert "already" in said.err
    vault = said.out.split()[1]
    assert run([*arguments, "--vault", vault]) == 0
    assert "was there already" in capsys.readouterr().out
    assert run([*arguments, "--vault", "00112233445566778899aabbccddeeff"]) == 0
    assert len(read_key_file(key).pins) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--key-file"),
        (["--recipient", "recouprecipient1zz"], 20, "recouprecipient"),
        (["--label", "x", "--recipient", "y"], 2, "NAME=VALUE"),
        (["--vault", "12", "--recipient", "y"], 20, "recouprecipient"),
    ],
)
def test_bad_input_says_what_to_do_and_leaves_nothing(
    arguments: list[str], code: int, words: str, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--location", place, *arguments]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "location").exists()


def test_the_help_of_both_loads_no_engine() -> None:
    script = (
        "import sys\nfrom recoup.cli.main import run\nfor name in ('keygen', 'init'):\n    assert run([name, '--help']) == 0\n"
        "assert not {'boto3', 'cryptography', 'kopf', 'recoup.engine.vault'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_of_a_folder_of_keys_one_that_opens_is_enough(tmp_path: Path, key: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a restore pod has them: each Secret a folder, empty if the Secret does not exist."""
    run(["init", "--location", place, "--key-file", str(key)])
    folder = tmp_path / "keys"
    for name in ("cold", "daily"):
        (folder / name).mkdir(parents=True)
    asked = ["snapshots", "--location", place, "--keys-dir", str(folder)]
    assert run(asked) == 40
    assert "not there to be tried: cold, daily" in capsys.readouterr().err
    (folder / "daily" / "key").write_bytes(key.read_bytes())
    assert run(asked) == 0
    assert "cold" not in capsys.readouterr().err


def test_a_key_that_is_not_there_is_named_when_none_opens(
    tmp_path: Path, key: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["init", "--location", place, "--key-file", str(key)])
    folder = tmp_path / "keys"
    for name in ("cold", "other"):
        (folder / name).mkdir(parents=True)
    run(["keygen", str(folder / "other" / "key")])
    capsys.readouterr()
    assert run(["snapshots", "--location", place, "--keys-dir", str(folder)]) == 40
    told = capsys.readouterr().err
    assert "not there to be tried: cold" in told
    assert "other" not in told.rpartition("not there")[2]
