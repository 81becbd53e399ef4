"""The command line's frame: lazy imports, help, exit codes, signals, broken pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from recoup.cli import main as entry
from recoup.cli.main import COMMANDS, root, run
from recoup.cli.options import ByteSize, Location, location_options
from recoup.errors import Cancelled, Denied, Integrity, Invalid, KeyUnavailable, RecoupError, Retryable, Usage
from recoup.report import REPORT_LIMIT, Progress, Report, encode_report, reporting

HEAVY = ("kopf", "kubernetes", "boto3", "botocore", "cryptography", "rich", "recoup.engine.stores.s3", "recoup.engine.vault", "tenacity")
PROBE = """
import sys
from recoup.cli.main import run
code = run(sys.argv[1:])
print([name for name in {heavy!r} if name in sys.modules], code, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("backup", "restore", "verify", "snapshots", "ls", "doctor", "init"))]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[] 0"
    assert "Usage: recoup" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_teaches(name: str) -> None:
    result = CliRunner().invoke(root, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 8
    context = click.Context(root)
    command = root.get_command(context, name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} says nothing"


@pytest.mark.parametrize("name", ["restore", "verify", "snapshots", "ls", "doctor", "backup"])
def test_help_has_an_example(name: str) -> None:
    assert f"recoup {name} --location" in CliRunner().invoke(root, [name, "--help"]).output


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(root, "get_command", lambda *_: command)
    return run(["anything"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Usage("no such thing"), 2),
        (Retryable("it is away", reason="LocationUnreachable"), 10),
        (Invalid("change it"), 20),
        (Denied("not you"), 20),
        (Integrity("it is broken"), 30),
        (KeyUnavailable("no key"), 40),
        (Cancelled("stopped"), 130),
    ],
)
def test_errors_are_one_line_with_their_reason_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: RecoupError, code: int
) -> None:
    assert fails_with(monkeypatch, error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {error} [{error.reason}]\n"


def test_a_bug_shows_where_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(monkeypatch, ZeroDivisionError("oh")) == 1
    assert "Traceback" in (text := capsys.readouterr().err)
    assert "error: this is a bug in recoup: ZeroDivisionError: oh [InternalError]" in text


def test_interrupts_end_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(monkeypatch, KeyboardInterrupt()) == 130
    assert "[Cancelled]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["restore"], ["snapshots", "--location", "ftp://x"], ["verify", "--level", "7", "--location", "file:///x"]]
)
def test_wrong_calls_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    extra = ["--key-file", str(key)] if arguments[0] == "snapshots" else []
    assert run([*arguments, *extra]) in {2, 20}
    assert capsys.readouterr().err


WAIT = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in the background of a shell
from recoup.cli import main
import click

@click.command()
def command():
    print("ready", flush=True)
    threading.Event().wait(60)

main.root.get_command = lambda *_: command
main.main(["wait"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_running_command_with_130(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "error: stopped before the end [Cancelled]\n"


FLOOD = """
from recoup.cli import main
import click, sys

@click.command()
def command():
    for _ in range(100000):
        sys.stdout.write("a line that nobody reads\\n")

main.root.get_command = lambda *_: command
main.main(["flood"])
"""


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == entry.BROKEN_PIPE_EXIT_CODE


@pytest.mark.parametrize(
    ("text", "size"),
    [("500", 500), ("512KiB", 524_288), ("50Mi", 50 << 20), ("10MB", 10_000_000), ("1 GiB", 1 << 30), ("1.5k", 1500), ("2T", 2 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-5", "ten", "5 parsecs", "1e9"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ByteSize().convert(text, None, None)


@pytest.mark.parametrize("name", ["backup", "restore", "verify"])
@pytest.mark.parametrize(("number", "code"), [("0", 2), ("33", 2), ("many", 2)])
def test_parallelism_is_bounded(name: str, number: str, code: int) -> None:
    result = CliRunner().invoke(root, [name, "--location", "file:///x", "--parallelism", number])
    assert result.exit_code == code
    assert "parallelism" in result.output


def test_location_options_become_store_options(tmp_path: Path) -> None:
    seen: list[Location] = []

    @click.command()
    @location_options
    def command(location: Location) -> None:
        seen.append(location)

    arguments = [
        "--location",
        "s3://b/p",
        "--endpoint-url",
        "http://x",
        "--virtual-host-style",
        "--upload-limit",
        "1MB",
        "--credentials-dir",
        str(tmp_path),
    ]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    options = seen[0].options()
    assert (options.endpoint_url, options.path_style, options.upload_limit, options.credentials_dir) == (
        "http://x",
        False,
        10**6,
        str(tmp_path),
    )


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/p", "s3://bucket/p?x=1", "file://host/x", "file:///", "s3:///p", "http://x", "relative"]
)
def test_locations_that_cannot_be_read_are_refused_without_repeating_secrets(url: str) -> None:
    from recoup.engine.stores.registry import open_store

    with pytest.raises(Usage) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


class Stream:
    """A stream that is no terminal."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines.append(text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def test_progress_is_throttled_and_knows_rate_and_eta() -> None:
    now = 1000.0
    stream = Stream()
    progress = Progress(stream=stream, clock=lambda: now)  # type: ignore[arg-type]
    progress.start("restoring", bytes_total=1000, files_total=10)
    for _ in range(50):
        now += 0.1
        progress.advance(data=10, files=0)
    progress.end()
    lines = [json.loads(line)["progress"] for line in stream.lines]
    assert 5 <= len(lines) <= 8
    assert lines[0] == {"phase": "restoring", "bytesDone": 0, "bytesTotal": 1000, "filesDone": 0, "filesTotal": 10, "rate": 0, "eta": None}
    assert lines[-1]["bytesDone"] == 500
    assert 90 <= lines[-1]["rate"] <= 110
    assert 4 <= lines[-1]["eta"] <= 6


def test_a_report_is_small_whatever_went_wrong() -> None:
    report = Report(message="x\udcff" * 5000, first_paths=["p/\udcff" * 200] * 50, id="a" * 64)
    data = encode_report(report)
    assert len(data) <= REPORT_LIMIT
    decoded = json.loads(data)
    assert decoded["id"] == "a" * 64
    assert decoded["message"].startswith("x\\xff")


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "Succeeded", ""),
        (Integrity("bad", reason="ObjectMissing"), "Failed", "ObjectMissing"),
        (KeyboardInterrupt(), "Cancelled", "Cancelled"),
        (Cancelled("stop"), "Cancelled", "Cancelled"),
        (ValueError("bug"), "Failed", "InternalError"),
    ],
)
def test_reports_are_written_however_a_run_ends(tmp_path: Path, error: BaseException | None, outcome: str, reason: str) -> None:
    path = tmp_path / "report"
    path.write_text("what was there before, which is longer than what comes" * 100)

    def work() -> None:
        with reporting(str(path)) as report:
            report.files_total = 7
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    decoded = json.loads(path.read_text())
    assert (decoded["version"], decoded["outcome"], decoded["reason"], decoded["filesTotal"]) == (1, outcome, reason, 7)
    assert decoded["engineVersion"]


def test_output_tables_are_plain_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from recoup.cli.output import emit_table, human_bytes, human_seconds

    emit_table(("NAME", "SIZE"), [("a", "1"), ("longer", "22")], right=("SIZE",))
    assert capsys.readouterr().out == "NAME    SIZE\na          1\nlonger    22\n"
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [human_seconds(n) for n in (1.23, 75, 3700)] == ["1.2s", "1m15s", "1h01m"]


def test_stdin_is_not_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recoup.cli.main", "--version"],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.startswith("recoup ")
