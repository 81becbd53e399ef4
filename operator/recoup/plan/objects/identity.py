"""Whose child an object is: the labels that every child carries and the names that follow from them.

A child's name is a function of its owner's uid, of the volume and of the step, so two controllers make the same object. Readable parts
come first and are cut; the hash at the end is what tells children apart.
"""

from msgspec import Struct

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID, VOLUME, owner_labels
from recoup.api.names import NAME_LIMIT, fit_name, short_hash, volume_label
from recoup.api.objects import GROUP
from recoup.plan.actions import Object

COMPONENT = "app.kubernetes.io/component"
"""mover, keys or handout: what the NetworkPolicies of the chart select by."""

VAULT = f"{GROUP}/vault"
"""On a keys Job: the vault that it makes keys for."""

VAULT_NAMESPACE = f"{GROUP}/vault-namespace"
"""On a keys Job: the namespace whose vault it is, cut and hashed if its name is too long for a label value."""

ADOPTS = f"{GROUP}/adopts"
"""On a Job that opens vaults which were made elsewhere: "vaults"."""

ATTEMPT = f"{GROUP}/attempt"
"""On a mover: which try it is, from 1."""

HANDOUT = "handout"
"""The component of a Job that brings a mover in a workload's namespace its keys."""

LOCATION = f"{GROUP}/location"
"""On a backup mover: name of the location that it writes to, cut and hashed if it is too long for a label value."""

RESTORED_BY = f"{GROUP}/restored-by"
"""On a restored PVC: uid of the RestoreRequest that made it. It is the user's from then on, so it carries no owner label."""

RECLAIM_POLICY = f"{GROUP}/reclaim-policy"
"""On a PersistentVolume being handed over: the policy it gets back at the end."""


class Owner(Struct, frozen=True, kw_only=True):
    """The custom resource that children are made for."""

    kind: str
    namespace: str
    name: str
    uid: str

    def labels(self, volume_uid: str | None = None) -> dict[str, str]:
        """Labels of a child; `volume_uid` is the PVC uid of the volume it is for."""
        labels = owner_labels(kind=self.kind, namespace=self.namespace, name=self.name, uid=self.uid)
        return labels | {VOLUME: volume_label(volume_uid)} if volume_uid else labels

    def child_name(self, readable: str, *parts: str) -> str:
        """`<owner>-<readable>-<hash of owner uid and parts>`, at most 63 characters."""
        tail = short_hash(self.uid, *parts)
        return f"{fit_name(self.name, readable, limit=NAME_LIMIT - len(tail) - 1)}-{tail}"


def is_handout(job: Object) -> bool:
    return (job["metadata"].get("labels") or {}).get(COMPONENT) == HANDOUT


def is_child(thing: Object, owner_uid: str, volume_uid: str | None = None) -> bool:
    """The object carries our labels for this owner (and this volume)."""
    labels = thing["metadata"].get("labels") or {}
    ours = labels.get(MANAGED_BY) == MANAGER and labels.get(OWNER_UID) == owner_uid
    return ours and (volume_uid is None or labels.get(VOLUME) == volume_label(volume_uid))
