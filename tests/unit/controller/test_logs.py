from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest

from recoup.controller.logs import MASK, Redactor, set_up_logging

CANARY = "canary-9f3b/secret+value"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)


def test_a_record_is_one_line_of_json_with_its_extras(stream: io.StringIO) -> None:
    set_up_logging("INFO", Redactor(), stream)
    logging.getLogger("recoup.test").info("hello\n%s", "you", extra={"namespace": "shop", "object": "p"})
    (line,) = stream.getvalue().splitlines()
    decoded = msgspec.json.decode(line)
    assert decoded["message"] == "hello\nyou"
    assert (decoded["namespace"], decoded["object"], decoded["level"]) == ("shop", "p", "INFO")
    assert decoded["time"].endswith("Z")


def test_a_known_secret_shows_nowhere(stream: io.StringIO) -> None:
    redactor = Redactor()
    redactor.register(CANARY)
    set_up_logging("INFO", redactor, stream)
    log = logging.getLogger("recoup.test")
    log.info("message %s", CANARY)
    log.info("extra", extra={"object": f"x{CANARY}y"})
    try:
        int(CANARY)
    except ValueError:
        log.exception("error")
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count(MASK) == 3


@pytest.mark.parametrize("text", ["Authorization: Bearer {}", "bearer {}", "aws_secret_access_key={}", 'secretAccessKey": "{}'])
def test_what_looks_like_a_credential_is_masked_unknown(stream: io.StringIO, text: str) -> None:
    set_up_logging("INFO", Redactor(), stream)
    logging.getLogger("x").info(text.format("abcdefgh12345678"))
    assert "abcdefgh12345678" not in stream.getvalue()


def test_a_short_value_is_not_taken_for_a_secret() -> None:
    redactor = Redactor()
    redactor.register("a", "")
    assert redactor("a banana") == "a banana"
