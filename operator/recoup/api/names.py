"""Names of everything that Recoup creates: a function of what it is for, never of the time or of chance.

Two controllers, or one that was stopped half-way, therefore make the same object and not two. A name that would be too long is cut
and gets a hash of the whole, so that different inputs stay different.
"""

from datetime import UTC, datetime
from hashlib import sha256

NAME_LIMIT = 63
_HASH_LENGTH = 10


def fit_name(*parts: str, limit: int = NAME_LIMIT) -> str:
    """Join parts with "-" into a DNS label of at most `limit` characters; cut and hashed if longer, else as it reads.

    While the name fits, only its text counts: where ("a", "b-c") and ("a-b", "c") could both occur, end with a volume_label.
    """
    whole = "-".join(part for part in parts if part)
    if len(whole) <= limit and "." not in whole:
        return whole
    kept = whole.replace(".", "-")[: limit - _HASH_LENGTH - 1].rstrip("-")
    return f"{kept}-{short_hash(*parts)}"


def label_value(value: str) -> str:
    """A label value for a name: object names may have 253 characters, label values 63."""
    if len(value) <= NAME_LIMIT:
        return value
    return f"{value[: NAME_LIMIT - _HASH_LENGTH - 1].rstrip('-.')}-{short_hash(value)}"


def short_hash(*parts: str) -> str:
    """Ten hex digits of the parts; their borders count, so ("a", "bc") and ("ab", "c") differ."""
    return _digest(*parts).hex()[:_HASH_LENGTH]


def slot_text(slot: datetime) -> str:
    """A slot as it appears in names: `20261123t041500z`."""
    return slot.astimezone(UTC).strftime("%Y%m%dt%H%M%Sz")


def snapshot_name(policy: str, slot: datetime) -> str:
    """The BackupSnapshot of a policy's slot: `<policy>-<slot>`; the slot always survives cutting."""
    tail = slot_text(slot)
    return f"{fit_name(policy, limit=NAME_LIMIT - len(tail) - 1)}-{tail}"


def volume_label(pvc_uid: str) -> str:
    """Value of the label recoup.dev/volume."""
    return short_hash(pvc_uid)


def vault_id(location: str, namespace_uid: str, generation: int = 0) -> str:
    """The vault of a namespace at its home, as 32 hex digits (16 bytes).

    `location` is the uid of the BackupLocation; a namespace that was re-created has another uid and therefore another vault.
    `generation` counts up when a vault has to be abandoned.
    """
    return _digest("vault", location, namespace_uid, str(generation)).hex()[:32]


def writer_secret(vault: str) -> str:
    """Secret in the movers' namespace with the keys that a backup mover gets."""
    return f"writer-{vault}"


def maintenance_secret(vault: str) -> str:
    """Name of the Secret with the keys that forget, pin and prune, in the movers' namespace."""
    return f"maintenance-{vault}"


def catalogue_secret(vault: str) -> str:
    """Secret in the system namespace with the keys that read catalogue records and nothing else."""
    return f"catalogue-{vault}"


def adopted_secret(vault: str) -> str:
    """Secret in the system namespace with the keys that read the catalogue records of a vault that was not made from here."""
    return f"adopted-{vault}"


def spread(seed: str, width: int) -> int:
    """A stable number in [0, width) for the seed: spreads starts without anybody having to remember a choice."""
    return int.from_bytes(_digest("spread", seed)[:8]) % width if width > 0 else 0


def _digest(*parts: str) -> bytes:
    return sha256(b"".join(len(data).to_bytes(4) + data for data in (part.encode() for part in parts))).digest()
