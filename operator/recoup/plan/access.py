"""Who may use a location, and who may read whose recovery points from it. Pure judgement on names and uids.

A vault belongs to a namespace's uid, not to its name, so a namespace that was re-created under an old name inherits nothing by itself.
A namespace reads its own vault; anything else takes a grant on the location. A refusal names the line that the platform team would
have to add, and says nothing about what the location holds to somebody who may not read it.
"""

from collections.abc import Iterable

from msgspec import Struct

from recoup.api.backuplocation import AdoptedNamespace, BackupLocation, Grant, NamespaceRef, Vault
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


def resolve_source(location: BackupLocation, source: SourceNamespace, reader: Namespace, vault: str | None = None) -> Vault | Refusal:
    """The vault that a request of namespace `reader` for the recovery points of `source` may read at the location.

    Without a uid, `source` means the reader's own vault if it has one under that name, else the only namespace that had the name.
    `vault`: this very one is meant.
    """
    namesakes = [vault for vault in location.status.vaults if vault.namespace == source.name]
    named = [one for one in namesakes if source.uid in (None, one.namespace_uid) and vault in (None, one.id)]
    own = [one for one in named if one.namespace_uid == reader.uid]
    adopted = [one for one in adopted_vaults(location, reader) if one in named]
    if own and adopted:  # such as after the loss of a cluster: the new namespace's first backups must not pass for the old one's
        return _ambiguous(location, source, [*own, *adopted])
    if own or adopted:
        return _one(own or adopted)
    grants = [grant for grant in location.spec.grants if _is_for(grant, source, reader)]
    if not grants and not _is_adopted(location, source, reader):
        return _not_granted(location, source, reader)
    if not named:
        uid = f" with uid {source.uid}" if source.uid else ""
        message = f"BackupLocation {location.metadata.name} holds no vault of a namespace {source.name}{uid}; see its status.vaults"
        return Refusal("VaultNotFound", message)
    alone = len({one.namespace_uid for one in namesakes}) == 1
    readable = [one for one in named if any(grant.source.uid == one.namespace_uid or (alone and not grant.source.uid) for grant in grants)]
    if not readable and source.uid:
        return _not_granted(location, source, reader)
    if len({one.namespace_uid for one in readable}) != 1:
        return _ambiguous(location, source, namesakes)
    return _one(readable)


def _one(vaults: list[Vault]) -> Vault:
    """Of the vaults of one namespace, which may have several one after the other, the one that has its home here."""
    return min(vaults, key=lambda vault: (vault.replica, vault.id))


def adopted_vaults(location: BackupLocation, reader: Namespace) -> tuple[Vault, ...]:
    """The vaults whose recovery points the platform team has namespace `reader` adopt; its own are not among them.

    Where several namespaces had the name that an entry says, it means none of them: a uid or a cluster has to tell which.
    """
    found: dict[str, Vault] = {}
    for adoption in location.spec.adopt:
        if _means(adoption.to, reader.name, reader.uid):
            vaults = [vault for vault in _named_by(location, adoption.source) if vault.namespace_uid != reader.uid]
            if len({vault.namespace_uid for vault in vaults}) == 1:
                found |= {vault.id: vault for vault in vaults}
    return tuple(found[vault] for vault in sorted(found))


def ambiguous_adoptions(location: BackupLocation, readers: Iterable[Namespace]) -> list[str]:
    """What is to be said of entries of catalogue.adopt that fit several namespaces."""
    told: list[str] = []
    for reader in readers:
        for adoption in location.spec.adopt:
            uids = {vault.namespace_uid for vault in _named_by(location, adoption.source)} - {reader.uid}
            if _means(adoption.to, reader.name, reader.uid) and len(uids) > 1:
                shown = ", ".join(sorted(uids)[:_SHOWN])
                told.append(f"{adoption.source.namespace} for {reader.name} fits {len(uids)} namespaces; say from.uid, one of {shown}")
    return told


def _named_by(location: BackupLocation, source: AdoptedNamespace) -> list[Vault]:
    named = [vault for vault in location.status.vaults if vault.namespace == source.namespace]
    return [vault for vault in named if source.uid in (None, vault.namespace_uid) and source.cluster in (None, vault.cluster)]


def _is_adopted(location: BackupLocation, source: SourceNamespace, reader: Namespace) -> bool:
    """An entry of catalogue.adopt is about that source, whether its vault is known yet or not."""
    return any(
        _means(adoption.to, reader.name, reader.uid)
        and adoption.source.namespace == source.name
        and (source.uid is None or adoption.source.uid in (None, source.uid))
        for adoption in location.spec.adopt
    )


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
