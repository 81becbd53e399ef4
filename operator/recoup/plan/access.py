"""Who may use a location, and who may read whose recovery points from it. Pure judgement on names and uids.

A vault belongs to a namespace's uid, not to its name, so a namespace that was re-created under an old name inherits nothing by itself.
A namespace reads its own vault; anything else takes a grant on the location. A refusal names the line that the platform team would
have to add, and says nothing about what the location holds to somebody who may not read it.
"""

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation, Grant, NamespaceRef, Vault
from recoup.api.labels import selects
from recoup.api.restorerequest import SourceNamespace

_SHOWN = 5


class Refusal(Struct, frozen=True):
    """Why not, and what to do about it."""

    reason: str
    message: str


class Namespace(Struct, frozen=True):
    """A namespace as it is now."""

    name: str
    uid: str


def check_namespace(location: BackupLocation, namespace: str, labels: dict[str, str]) -> Refusal | None:
    """Judge whether policies of the namespace may use the location."""
    if location.spec.read_only:
        return Refusal(
            "LocationReadOnly",
            f"BackupLocation {location.metadata.name} is only read by this cluster (spec.accessMode: ReadOnly); name another in"
            " spec.locations of the policy, or ask the platform team for accessMode ReadWrite",
        )
    if selects(location.spec.allowed_namespaces, labels):
        return None
    return Refusal(
        "NamespaceNotAllowed",
        f"BackupLocation {location.metadata.name} is not for namespace {namespace}: the namespace's labels do not match"
        " spec.allowedNamespaces; ask the platform team to label the namespace, or use another location",
    )


def resolve_source(location: BackupLocation, source: SourceNamespace, reader: Namespace) -> Vault | Refusal:
    """The vault that a request of namespace `reader` for the recovery points of `source` may read at the location.

    Without a uid, `source` means the reader's own vault if it has one under that name, else the only namespace that had the name.
    """
    namesakes = [vault for vault in location.status.vaults if vault.namespace == source.name]
    named = [vault for vault in namesakes if source.uid in (None, vault.namespace_uid)]
    own = [vault for vault in named if vault.namespace_uid == reader.uid]
    if own:
        return own[0]
    grants = [grant for grant in location.spec.grants if _is_for(grant, source, reader)]
    if not grants:
        return _not_granted(location, source, reader)
    if not named:
        uid = f" with uid {source.uid}" if source.uid else ""
        message = f"BackupLocation {location.metadata.name} holds no vault of a namespace {source.name}{uid}; see its status.vaults"
        return Refusal("VaultNotFound", message)
    alone = len({vault.namespace_uid for vault in namesakes}) == 1
    readable = [
        vault for vault in named if any(grant.source.uid == vault.namespace_uid or (alone and not grant.source.uid) for grant in grants)
    ]
    if not readable and source.uid:
        return _not_granted(location, source, reader)
    if len({vault.namespace_uid for vault in readable}) != 1:
        return _ambiguous(location, source, namesakes)
    return readable[0]


def _is_for(grant: Grant, source: SourceNamespace, reader: Namespace) -> bool:
    if not _means(grant.to, reader.name, reader.uid) or grant.source.namespace != source.name:
        return False
    return source.uid is None or grant.source.uid in (None, source.uid)


def _means(reference: NamespaceRef, name: str, uid: str) -> bool:
    return reference.namespace == name and reference.uid in (None, uid)


def _not_granted(location: BackupLocation, source: SourceNamespace, reader: Namespace) -> Refusal:
    whose = f"{{namespace: {source.name}, uid: {source.uid}}}" if source.uid else f"{{namespace: {source.name}}}"
    return Refusal(
        "NotGranted",
        f"namespace {reader.name} may not read recovery points of namespace {source.name} at BackupLocation {location.metadata.name};"
        f" the platform team can allow it by adding to its spec.grants:"
        f" {{from: {whose}, to: {{namespace: {reader.name}, uid: {reader.uid}}}}}",
    )


def _ambiguous(location: BackupLocation, source: SourceNamespace, namesakes: list[Vault]) -> Refusal:
    uids = sorted({vault.namespace_uid for vault in namesakes})
    shown = ", ".join(uids[:_SHOWN]) + (f" and {len(uids) - _SHOWN} more" if len(uids) > _SHOWN else "")
    return Refusal(
        "AmbiguousNamespace",
        f"BackupLocation {location.metadata.name} holds vaults of {len(uids)} namespaces that were named {source.name}, one after the"
        f" other; name the one that is meant by its uid, in source.namespace.uid and in the grant's from.uid: {shown}",
    )
