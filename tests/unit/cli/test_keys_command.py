"""`recoup keys` as a person meets it: what it prints, what it refuses, what it leaves; and every kind of key where a key is taken."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from recoup.cli.main import run
from recoup.engine.keys import passphrase
from recoup.engine.keys.keyfile import read_key_file
from recoup.engine.keys.passphrase import Cost

PHRASE = "six words that nobody will guess"


@pytest.fixture(autouse=True)
def _quick_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase, "tune", lambda: Cost(64 << 10, 3, 4))


class Shell:
    """One location, a key file and a passphrase."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.place = f"file://{folder}/location"
        (folder / "phrase").write_text(PHRASE + "\n")
        self.key = self.new_key("a.key")

    def new_key(self, name: str) -> str:
        assert run(["keygen", str(self.folder / name)]) == 0
        return str(self.folder / name)

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        head = 2 if arguments[0] == "keys" else 1
        assert run([*arguments[:head], "--location", self.place, *arguments[head:]]) == code
        said = self.capsys.readouterr()
        return said.out, said.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json")[0])


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, capsys)
    shell("init", "--key-file", shell.key)
    return shell


def test_list_needs_no_key_and_marks_those_that_are_given(shell: Shell) -> None:
    out, err = shell("keys", "list")
    assert out.split("\n")[0].split() == ["ID", "KIND", "GENERATIONS", "AT", "HAND", "DETAIL"]
    assert "whoever wrote it" in err
    assert "only one key" in err
    listed = shell.json("keys", "list", "--key-file", shell.key)
    assert listed["fingerprintKnown"] is True
    (kek,) = listed["keys"]
    assert kek == {"id": read_key_file(Path(shell.key)).kek.id.hex(), "kind": "secret", "detail": "", "generations": [1], "atHand": True}
    assert kek["id"][:16] in Path(shell.key).read_text()


def test_every_kind_is_added_opens_and_is_removed(shell: Shell, tmp_path: Path) -> None:
    recovery = str(tmp_path / "r.key")
    run(["keygen", "--recovery", "--hybrid", recovery])
    public = shell.capsys.readouterr().out.strip().splitlines()[-1]
    fingerprint = shell.json("keys", "list", "--key-file", shell.key)["fingerprint"]
    other = shell.new_key("b.key")
    _, err = shell("keys", "add", "--key-file", shell.key, "--recipient", public, "--new-key-file", other)
    assert "content is sealed to an X25519 key still" in err
    done = shell.json("keys", "add", "--key-file", shell.key, "--new-passphrase-file", str(tmp_path / "phrase"))
    assert (done["generation"], done["dataObjectsWritten"], len(done["keyringsRemoved"]), done["keyringsKept"]) == (1, 0, 1, [])
    assert [kek["kind"] for kek in done["keys"]] == ["secret", "secret", "hybrid", "passphrase"]
    assert done["keys"][3]["detail"] == "Argon2id, 64 MiB, 3 passes"
    opening = (("--key-file", other), ("--key-file", recovery), ("--passphrase-file", str(tmp_path / "phrase")))
    for options in opening:
        assert shell("snapshots", *options, "--fingerprint", fingerprint)
    assert fingerprint in Path(other).read_text()
    for kek in done["keys"][1:]:
        shell("keys", "remove", "--key-file", shell.key, kek["id"][:10])
    for options in opening:
        _, err = shell("snapshots", *options, "--fingerprint", fingerprint, code=40)
        assert "[KeyUnavailable]" in err
    assert PHRASE not in err


def test_rotate_replaces_the_key_that_opened_it(shell: Shell) -> None:
    other = shell.new_key("b.key")
    done = shell.json("keys", "rotate", "--key-file", shell.key, "--new-key-file", other)
    assert [kek["id"] for kek in done["keys"]] == [read_key_file(Path(other)).kek.id.hex()]
    shell("snapshots", "--key-file", shell.key, code=40)
    shell("snapshots", "--key-file", other)
    shell("keys", "rotate", "--key-file", shell.key, "--new-key-file", other)  # again, as after an interruption
    assert shell.json("keys", "list", "--key-file", other)["keys"] == [done["keys"][0]]


def test_a_new_generation_opens_with_the_keys_named_and_no_others(shell: Shell) -> None:
    other = shell.new_key("b.key")
    out, _ = shell("keys", "new-generation", "--leaked", "--key-file", shell.key, "--new-key-file", other)
    assert "1, 2" in out
    shell("snapshots", "--key-file", shell.key, code=40)
    shell("snapshots", "--key-file", other)
    assert shell.json("keys", "new-generation", "--key-file", other)["generation"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add",), 2, "--new-key-file"),
        (("remove", "0000"), 20, "UnknownKey"),
        (("remove", "x"), 2, "not a key's id"),
        (("rotate",), 2, "--new-key-file"),
        (("add", "--recipient", "recouprecipient1zz"), 20, "InvalidKey"),
        (("add", "--new-aws-kms", "alias/x"), 20, "ARN"),
    ],
)
def test_bad_input_says_what_to_do_and_changes_nothing(arguments: tuple[str, ...], code: int, words: str, shell: Shell) -> None:
    before = shell.json("keys", "list", "--key-file", shell.key)
    names = sorted(path.name for path in (shell.folder / "location").rglob("*"))
    _, err = shell("keys", arguments[0], "--key-file", shell.key, *arguments[1:], code=code)
    assert words in err
    assert shell.json("keys", "list", "--key-file", shell.key) == before
    assert sorted(path.name for path in (shell.folder / "location").rglob("*")) == names


def test_the_last_key_and_a_weak_passphrase_are_refused(shell: Shell, tmp_path: Path) -> None:
    (kek,) = shell.json("keys", "list", "--key-file", shell.key)["keys"]
    _, err = shell("keys", "remove", "--key-file", shell.key, kek["id"], code=20)
    assert "[LastKey]" in err
    (tmp_path / "weak").write_text("hunter2\n")
    _, err = shell("keys", "add", "--key-file", shell.key, "--new-passphrase-file", str(tmp_path / "weak"), code=20)
    assert "[WeakPassphrase]" in err
    assert "hunter2" not in err


def test_init_prints_a_recovery_sheet_and_takes_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(tmp_path, capsys)
    out, err = shell("init", "--key-file", shell.key, "--passphrase-file", str(tmp_path / "phrase"))
    assert all(word in out for word in ("vault ", "fingerprint  recoupvault1", "opened by", "recoup restore --location"))
    assert "only one key" not in err


def test_passphrases_come_from_stdin_line_by_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode())))

    fingerprint = shell.json("keys", "list", "--key-file", shell.key)["fingerprint"]
    say(PHRASE)
    shell("keys", "add", "--key-file", shell.key, "--new-passphrase-file", "-")
    say(PHRASE, "another passphrase of some length")
    shell("keys", "rotate", "--passphrase-file", "-", "--new-passphrase-file", "-", "--fingerprint", fingerprint)
    say("another passphrase of some length")
    shell("snapshots", "--passphrase-file", "-", "--fingerprint", fingerprint)
    say(PHRASE)
    shell("snapshots", "--passphrase-file", "-", "--fingerprint", fingerprint, code=40)


def test_hybrid_is_for_recovery_keys(tmp_path: Path) -> None:
    assert run(["keygen", "--hybrid", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()
