"""What a restore is told to do besides where to: what is chosen, and what becomes of what is there already. Data only."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec
from msgspec import field

from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.selection import Choice
from recoup.value import Value


class Existing(StrEnum):
    """What becomes of a target that holds something. Each but `fail` goes one step further than the one before."""

    FAIL = "fail"
    """It is refused, unless it holds exactly this, or a part that an earlier run of the same restore left."""
    MERGE = "merge"
    """What is missing comes, what differs is replaced, what is only there stays. A directory that holds something never gives way."""
    OVERWRITE = "overwrite"
    """As merge, but whatever stands where the recovery point has something else gives way, also a whole directory."""
    MIRROR = "mirror"
    """As overwrite, and at the end what the recovery point does not have is deleted."""

    @property
    def clears_directories(self) -> bool:
        return self in {Existing.OVERWRITE, Existing.MIRROR}


class Orders(Value, frozen=True):
    """Everything that says how to restore."""

    wishes: Wishes = field(default_factory=Wishes)
    choice: Choice = field(default_factory=Choice)
    existing: Existing = Existing.FAIL
    into: str = ""
    """Directory below the target, made if it is absent."""

    def mark(self, point: str) -> bytes:
        """Names this restore in markers and temporary names: one of the same point with another choice is another restore."""
        if self.choice.everything:
            return point[:16].encode()
        digest = hashlib.blake2b(msgspec.json.encode(self.choice), digest_size=4).hexdigest()
        return f"{point[:16]}-{digest}".encode()
