"""Whether a location's object lock keeps what it promises, found out by trying (docs/object-lock.md).

Puts one object of some bytes that is locked for a minute, under `probe/lock/`, tries to destroy it, hides it and reads it all the same.
What earlier probes left there is removed once its lock has ended.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from recoup.engine.probe import Finding, Verdict
from recoup.engine.stores.base import Lock, Store
from recoup.engine.stores.versions import Version, Versioned, erase, history_of, names_below
from recoup.errors import Denied, Integrity, Invalid, NotFound, RecoupError

BRIEF: Final = timedelta(minutes=1)
"""For which the probe's object is locked."""
_PREFIX: Final = "probe/lock/"
_DATA: Final = b"recoup probe of an object lock: may be deleted\n"
_CHECK: Final = "object lock"


def try_lock(plain: Store, locking: Store) -> list[Finding]:
    """Try it. Both stores are the same place, `locking` puts with a lock of BRIEF. Raises Retryable if the place does not answer."""
    if not isinstance(locking, Versioned) or locking.object_lock is None or not isinstance(plain, Versioned):
        raise TypeError("only a store that puts with a lock can be asked")
    tried = _Trial(plain, locking, locking.object_lock)
    steps: tuple[Callable[[], Finding], ...] = (tried.put, tried.destroy, tried.extend, tried.hide)
    findings: list[Finding] = []
    for step in steps:
        findings.append(step())
        if findings[-1].verdict == Verdict.FAILED:
            break
    tried.clean_up()
    return findings


class _Trial:
    def __init__(self, plain: Store, locking: Store, lock: Lock) -> None:
        assert isinstance(locking, Versioned)
        assert isinstance(plain, Versioned)
        self._plain, self._locking, self._lock = plain, locking, lock
        self._versioned, self._control = locking, plain
        self._name = _PREFIX + secrets.token_hex(8)
        self._version: Version | None = None

    def put(self) -> Finding:
        try:
            self._locking.create(self._name, _DATA)
        except Invalid as error:  # Denied, too: no right to s3:PutObjectRetention
            return _failed(error.reason, f"nothing can be put with a lock here: {error}")
        try:
            history = history_of(self._versioned, self._name)
        except Invalid as error:
            return _failed(
                "VersionsDenied", f"versions of objects cannot be listed, which an object lock needs (s3:ListBucketVersions): {error}"
            )
        if history is None or not history.versions:
            return _failed("VersionsMissing", "an object that was just put has no version: this place only says that it has an object lock")
        self._version = history.versions[-1]
        return _passed("an object can be put with a lock")

    def destroy(self) -> Finding:
        assert self._version is not None
        try:
            self._versioned.delete_version(self._version)
        except Invalid:
            return self._whose_refusal()
        return _failed("LockIgnored", "an object that was locked a moment before could be deleted for good: the lock protects nothing here")

    def extend(self) -> Finding:
        assert self._version is not None
        try:
            self._versioned.hold_version(self._version, self._versioned.provider_time() + 2 * BRIEF, self._lock.mode)
        except Invalid as error:
            return _failed(
                "ExtensionDenied", f"a lock cannot be extended (s3:PutObjectRetention): it would end although it is needed: {error}"
            )
        return _passed("a lock can be extended")

    def hide(self) -> Finding:
        """Behind a delete marker, as an attacker would."""
        assert self._version is not None
        try:
            self._plain.delete(self._name)
        except Denied:
            return Finding(
                _CHECK, Verdict.UNKNOWN, "HidingUntried", "these credentials may not delete, so nothing could be hidden to be read again"
            )
        try:
            found = self._versioned.read_version(self._version, len(_DATA))
        except (NotFound, Integrity, Invalid) as error:
            return _failed("VersionsUnreadable", f"what is hidden behind a delete marker cannot be read (s3:GetObjectVersion): {error}")
        if found != _DATA:
            return _failed("VersionsUnreadable", "what is hidden behind a delete marker is read with other bytes")
        return _passed("what is hidden behind a delete marker is read all the same")

    def clean_up(self) -> None:
        with suppress(RecoupError):
            for name in names_below(self._plain, _PREFIX):
                erase(self._plain, name, hide=False)

    def _whose_refusal(self) -> Finding:
        """The lock's, or that of credentials which may delete no version: that of an unlocked object tells."""
        name = f"{self._name}-unlocked"
        self._plain.create(name, _DATA)
        history = history_of(self._control, name)
        try:
            if history is not None:
                self._control.delete_version(history.versions[-1])
                return _passed("a locked object is not deleted, though these credentials may delete one that is not locked")
        except Invalid:
            pass
        message = (
            "a locked object is not deleted; because of the lock or since these credentials may delete no version, that cannot be told"
        )
        return Finding(_CHECK, Verdict.UNKNOWN, "LockUntried", message)


def _passed(message: str) -> Finding:
    return Finding(_CHECK, Verdict.PASSED, "", message)


def _failed(reason: str, message: str) -> Finding:
    return Finding(_CHECK, Verdict.FAILED, reason, message)
