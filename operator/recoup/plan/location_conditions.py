"""Whether a BackupLocation is fine: Reachable, Conformant, KeyRedundant and Ready, from what was seen of it.

Inconclusive news never overturns a verdict: a place that passed its probe stays Conformant while it is away, and one that could not be
probed is neither. Each reason says what a person can do.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import CATALOGUE_READ, CONFORMANT, KEY_REDUNDANT, REACHABLE, BackupLocation, EncryptionKey, LastProbe, Vault
from recoup.api.conditions import (
    Conditions,
    ConditionStatus,
    drop_condition,
    find_condition,
    set_condition,
    set_not_ready,
    set_ready,
    set_reconciling,
    set_stalled,
)
from recoup.plan.access import Refusal
from recoup.plan.adoption import Adoption
from recoup.plan.movers import Verdict

PASSED = "Passed"

PASSING = frozenset({"LocationUnreachable", "LocationUnavailable", "Throttled", "Unavailable"})
"""Reasons that go away by themselves."""

UNREACHABLE = PASSING | {
    "AccessDenied", "BucketNotFound", "CertificateRejected", "ClockSkewed", "CredentialsIncomplete", "CredentialsMissing",
    "CredentialsNotFound", "CredentialsRejected", "InvalidLocation", "RegionMismatch", "RequestRefused",
}  # fmt: skip
"""Reasons that say nothing about what the place can do, only that we cannot get at it."""

INCONCLUSIVE = UNREACHABLE | {
    "Cancelled", "MoverFailed", "MoverKilled", "MoverNotScheduled", "MoverNotStarted", "MoverOutOfMemory", "MoverPodLost",
    "MoverPodNotCreated", "Usage",
}  # fmt: skip
"""Reasons for which a probe came to no result."""


class Reading(Struct, frozen=True):
    """The controller's own look at the place. reason: empty if it answered. repository_id: None if nothing was ever stored there."""

    reason: str = ""
    message: str = ""
    repository_id: str | None = None


class Judged(Struct, frozen=True, kw_only=True):
    """probe: the last one, if it was about the present settings. running: one is under way. disputed: a vault that changed.

    adoption: how far the vaults that were made elsewhere are known. ambiguous: what catalogue.adopt says that fits several of them.
    """

    location: BackupLocation
    reading: Reading | None = None
    probe: LastProbe | None = None
    running: Verdict | None = None
    refused: Refusal | None = None
    disputed: Vault | None = None
    adoption: Adoption = Adoption()
    ambiguous: tuple[str, ...] = ()


def count_keys(keys: Sequence[EncryptionKey]) -> int:
    """Keys that cannot be lost together: all Secrets of the cluster count as one, for they go with it; each recipient as one more."""
    recipients = {key.recipient.public_key for key in keys if key.recipient}
    return len(recipients) + any(key.secret for key in keys)


def judge_location(judged: Judged, now: datetime) -> Conditions:
    """The conditions as they should read now."""
    conditions, generation = judged.location.status.conditions, judged.location.metadata.generation
    for kind, (status, reason, message) in (
        (REACHABLE, _reachable(judged)),
        (CONFORMANT, _conformant(judged)),
        (KEY_REDUNDANT, _key_redundant(judged.location)),
    ):
        conditions = set_condition(conditions, kind, status, reason, message, now=now, generation=generation)
    if judged.location.spec.lists_vaults:
        status, reason, message = _catalogue_read(judged)
        conditions = set_condition(conditions, CATALOGUE_READ, status, reason, message, now=now, generation=generation)
    else:
        conditions = drop_condition(conditions, CATALOGUE_READ)
    return _ready(judged, conditions, now)


Word = tuple[bool | None, str, str]
"""Status, reason, message."""


def _reachable(judged: Judged) -> Word:
    reading, probe = judged.reading, judged.probe
    known = find_condition(judged.location.status.conditions, REACHABLE)
    if reading is not None and reading.reason:
        # The words of a network error differ from one try to the next; that is no news, and must not become a write each time.
        same = known is not None and known.reason == reading.reason and known.observed_generation == judged.location.metadata.generation
        return (False, known.reason, known.message) if known and same else (False, reading.reason, reading.message)
    if probe is not None and probe.result in UNREACHABLE:
        return False, probe.result, f"with the movers' credentials: {probe.message}"
    if reading is not None:
        return True, "Answers", "the location answers and takes the credentials"
    if known is None:
        return None, "NotRead", "the location has not been read yet"
    return _as_was(judged.location, REACHABLE)


def _conformant(judged: Judged) -> Word:
    if judged.location.spec.read_only:
        return None, "ReadOnly", "it is not probed, because nothing is ever written here"
    probe, known = judged.probe, find_condition(judged.location.status.conditions, CONFORMANT)
    if probe is None:
        return None, "NotProbed", "the location has not been probed yet"
    if probe.result == PASSED:
        return True, "Atomic", probe.message
    if probe.result not in INCONCLUSIVE:
        return False, probe.result, probe.message
    if known is not None and known.status is ConditionStatus.TRUE:
        return _as_was(judged.location, CONFORMANT)
    return None, probe.result, f"the probe came to no result: {probe.message}"


def _key_redundant(location: BackupLocation) -> Word:
    keys = location.spec.encryption.keys
    if location.spec.read_only:
        return None, "ReadOnly", "who else can open what is stored here is for those to say who write it"
    if count_keys(keys) >= 2:
        if not any(key.secret for key in keys):
            return True, "KeptOffline", "every key is kept offline, so that no restore can be made inside a cluster"
        return True, "IndependentKeys", "losing any one key loses nothing"
    if any(key.recipient for key in keys):
        return False, "SingleKey", "all is lost with this one key; add another recipient, or a secret, to spec.encryption.keys"
    message = "every key lies in a Secret of this cluster and is lost with it; add a recipient, made by recoup keygen --recovery and kept"
    return False, "LostWithCluster", f"{message} in a safe, to spec.encryption.keys"


def _catalogue_read(judged: Judged) -> Word:
    adoption = judged.adoption
    if adoption.done and judged.ambiguous:
        return False, "AmbiguousNamespace", f"spec.catalogue.adopt does not say which is meant: {'; '.join(judged.ambiguous)}"
    return adoption.done, adoption.reason, adoption.message


def _ready(judged: Judged, conditions: Conditions, now: datetime) -> Conditions:
    generation = judged.location.metadata.generation
    reachable, conformant = find_condition(conditions, REACHABLE), find_condition(conditions, CONFORMANT)
    assert reachable is not None
    assert conformant is not None
    if judged.disputed is not None:
        message = (
            f"vault {judged.disputed.id} of namespace {judged.disputed.namespace} has another root key than when it was first seen;"
            " somebody may have planted it: compare the fingerprints before anything is restored from it"
        )
        return set_stalled(conditions, "VaultChanged", message, now=now, generation=generation)
    if reachable.status is ConditionStatus.FALSE:
        setter = set_not_ready if reachable.reason in PASSING else set_stalled
        return setter(conditions, reachable.reason, reachable.message, now=now, generation=generation)
    if conformant.status is ConditionStatus.FALSE and conformant.reason == "NotAtomic":
        message = f"copies can be kept here, but no policy can have its home here: {conformant.message}"
        return set_ready(conditions, "CopiesOnly", message, now=now, generation=generation)
    if conformant.status is ConditionStatus.FALSE:
        return set_stalled(conditions, conformant.reason, conformant.message, now=now, generation=generation)
    if reachable.status is ConditionStatus.TRUE and judged.location.spec.read_only:
        return set_ready(conditions, "Readable", "recovery points can be restored from here", now=now, generation=generation)
    if reachable.status is ConditionStatus.TRUE and conformant.status is ConditionStatus.TRUE:
        return set_ready(conditions, "Usable", "backups can go here", now=now, generation=generation)
    if judged.refused is not None:
        return set_stalled(conditions, judged.refused.reason, judged.refused.message, now=now, generation=generation)
    if judged.running is not None:
        reason, message = judged.running.reason or "Probing", judged.running.message or "the location is being probed"
        return set_reconciling(conditions, reason, message, now=now, generation=generation)
    unknown = conformant if conformant.status is ConditionStatus.UNKNOWN else reachable
    return set_not_ready(conditions, unknown.reason, unknown.message, now=now, generation=generation)


def _as_was(location: BackupLocation, kind: str) -> Word:
    known = find_condition(location.status.conditions, kind)
    assert known is not None
    status = None if known.status is ConditionStatus.UNKNOWN else known.status is ConditionStatus.TRUE
    return status, known.reason, known.message
