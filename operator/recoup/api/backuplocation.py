"""BackupLocation: one place that holds copies; cluster-scoped, the platform team's. Mirrors crds/backuplocations.yaml."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from recoup.api.conditions import Condition
from recoup.api.labels import LabelSelector
from recoup.api.objects import ObjectMeta, Reference, Spec, Status

KIND = "BackupLocation"
PLURAL = "backuplocations"

REACHABLE = "Reachable"
CONFORMANT = "Conformant"
KEY_REDUNDANT = "KeyRedundant"
CATALOGUE_READ = "CatalogueRead"
PULLED = "Pulled"
RETENTION_APPLIED = "RetentionApplied"

MAX_VAULTS = 2048
"""Bound of status.vaults: some 300 bytes each, in an object that may have 1.5 MiB."""


class S3(Spec, frozen=True):
    bucket: str
    credentials_secret_ref: Reference
    maintenance_credentials_secret_ref: Reference | None = None
    live_credentials_secret_ref: Reference | None = None
    """May be seen in the namespaces of workloads; without it no mover of this location runs there."""
    endpoint: str | None = None
    region: str = "us-east-1"
    prefix: str = ""
    force_path_style: bool = False
    ca_bundle: str | None = None

    @property
    def url(self) -> str:
        """The location as the command line takes it."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


class SecretKey(Spec, frozen=True):
    """A key-encryption key in the Secret's entry `key`, in the movers' namespace. The controller names it and never reads it."""

    secret_ref: Reference


class RecipientKey(Spec, frozen=True):
    """The public half of a key whose private half is kept offline."""

    public_key: str


class EncryptionKey(Spec, frozen=True):
    """Exactly one of secret, recipient."""

    name: str
    secret: SecretKey | None = None
    recipient: RecipientKey | None = None


class Encryption(Spec, frozen=True):
    keys: tuple[EncryptionKey, ...]


class NamespaceRef(Spec, frozen=True):
    """A namespace by name and, to mean this one and not a later one of the same name, by uid."""

    namespace: str
    uid: str | None = None


class Grant(Spec, frozen=True):
    """Who may restore whose data; plan/access.py judges it."""

    source: NamespaceRef = field(name="from")
    to: NamespaceRef


class Limits(Spec, frozen=True):
    """What the location is spared; plan/budgets.py keeps to the first. Bandwidths are quantities, bytes a second of each mover."""

    concurrent_movers: int = 16
    upload_bandwidth: str | int | None = None
    download_bandwidth: str | int | None = None


class AdoptedNamespace(Spec, frozen=True):
    """A namespace of any cluster, as recorded in its vault. cluster: uid of that cluster's namespace kube-system."""

    namespace: str
    uid: str | None = None
    cluster: str | None = None


class Adoption(Spec, frozen=True):
    """Whose recovery points appear where; plan/adoption.py judges it."""

    source: AdoptedNamespace = field(name="from")
    to: NamespaceRef


class CatalogueSpec(Spec, frozen=True):
    adopt: tuple[Adoption, ...] = ()


class AccessMode(StrEnum):
    READ_WRITE = "ReadWrite"
    READ_ONLY = "ReadOnly"


class Pull(Spec, frozen=True):
    """A BackupLocation whose vaults of other clusters are copied here; plan/pulling.py does it."""

    source: str = field(name="from")


class PullRetention(Spec, frozen=True):
    """Which pulled recovery points stay: those that any rule keeps, and all that came less than `guard` ago. plan/pull_retention.py."""

    last: int | None = None
    hourly: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    within: str | None = None
    guard: str = "14d"
    edit_grace: str = "24h"


class BackupLocationSpec(Spec, frozen=True):
    s3: S3
    encryption: Encryption
    provider: str | None = None
    region: str | None = None
    allowed_namespaces: LabelSelector = LabelSelector()
    grants: tuple[Grant, ...] = ()
    limits: Limits = Limits()
    access_mode: AccessMode = AccessMode.READ_WRITE
    catalogue: CatalogueSpec | None = None
    pull: tuple[Pull, ...] = ()
    pull_retention: PullRetention | None = None

    @property
    def read_only(self) -> bool:
        return self.access_mode is AccessMode.READ_ONLY

    @property
    def lists_vaults(self) -> bool:
        """Vaults that were not made from this cluster are looked for, too."""
        return self.read_only or self.catalogue is not None

    @property
    def adopt(self) -> tuple[Adoption, ...]:
        return self.catalogue.adopt if self.catalogue is not None else ()


class Vault(Status, frozen=True):
    """A vault as it was first seen; its fingerprint is pinned and never replaced by what the bucket says later.

    replica: the place holds a copy of a vault that has its home elsewhere. cluster: as far as the vault tells. pruned_at: when the last
    prune Job of a pulled copy ended.
    """

    id: str
    namespace: str
    namespace_uid: str
    fingerprint: str
    cluster: str | None = None
    replica: bool = False
    pruned_at: datetime | None = None


class LastProbe(Status, frozen=True):
    """settings: stands for the s3 settings that were probed."""

    at: datetime
    result: str
    message: str
    job: str
    settings: str


class PullStatus(Status, frozen=True):
    """How the copies of one location's vaults stand. vaults: of other clusters, there. behind_since: time of the oldest point not here."""

    source: str = field(name="from")
    vaults: int = 0
    complete: int = 0
    behind_since: datetime | None = None
    reason: str | None = None
    message: str | None = None


class PullRetentionStatus(Status, frozen=True):
    """rules: those that count. edited: others, which count from effective_at on; goes: recovery points that go by them then."""

    rules: str | None = None
    edited: str | None = None
    effective_at: datetime | None = None
    goes: int | None = None


class BackupLocationStatus(Status, frozen=True):
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    repository_id: str | None = None
    key_count: int | None = None
    vault_count: int | None = None
    vaults: tuple[Vault, ...] = ()
    last_probe: LastProbe | None = None
    pulls: tuple[PullStatus, ...] = ()
    pull_retention: PullRetentionStatus | None = None


class BackupLocation(Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: BackupLocationSpec
    status: BackupLocationStatus = BackupLocationStatus()
