"""Labels and annotations that Recoup writes, and label selectors as Kubernetes evaluates them.

Every child carries its owner in labels, so that one cluster-wide list by label finds all that belongs to a run, also after its
namespace is gone. No tracking label of any GitOps tool is ever copied onto children.
"""

from enum import StrEnum

from msgspec import field

from recoup.api.names import label_value
from recoup.api.objects import GROUP, Spec

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "recoup"
OWNER_KIND = f"{GROUP}/owner-kind"
OWNER_NAMESPACE = f"{GROUP}/owner-namespace"
OWNER_NAME = f"{GROUP}/owner-name"
OWNER_UID = f"{GROUP}/owner-uid"
VOLUME = f"{GROUP}/volume"
POLICY = f"{GROUP}/policy"
"""On a BackupSnapshot: the name of its policy, cut and hashed if it is too long for a label value."""
ORIGIN_VAULT = f"{GROUP}/origin-vault"
"""On a BackupSnapshot that was read from a location: the vault. With ORIGIN_RUN, the run there, it tells which recovery point it shows."""
ORIGIN_RUN = f"{GROUP}/origin-run"
RUN = f"{GROUP}/run"
"""Annotation on a mover pod: the run file, shown to the container by a downwardAPI volume."""
UPKEEP = f"{GROUP}/upkeep"
"""On an upkeep Job and its Pod: which task it does (plan/upkeep.py)."""
UPKEEP_VAULT = f"{GROUP}/upkeep-vault"
UPKEEP_NAMESPACE = f"{GROUP}/upkeep-namespace"
"""The namespace whose vault it is, cut and hashed as needed: its policies are waiting to hear of it."""

UPKEEP_POLICY = f"{GROUP}/upkeep-policy"
"""On an upkeep Job that one policy asked for by itself: its uid."""


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Spec, frozen=True):
    key: str
    operator: Operator
    values: tuple[str, ...] = ()


class LabelSelector(Spec, frozen=True):
    """Empty selects everything; all that is written must hold."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


def selector_text(selector: LabelSelector) -> str:
    """The selector as a list request takes it; empty for everything."""
    terms = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for requirement in selector.match_expressions:
        values = f"({','.join(requirement.values)})"
        match requirement.operator:
            case Operator.IN:
                terms.append(f"{requirement.key} in {values}")
            case Operator.NOT_IN:
                terms.append(f"{requirement.key} notin {values}")
            case Operator.EXISTS:
                terms.append(requirement.key)
            case Operator.DOES_NOT_EXIST:
                terms.append(f"!{requirement.key}")
    return ",".join(terms)


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: Requirement, labels: dict[str, str]) -> bool:
    present = requirement.key in labels
    match requirement.operator:
        case Operator.EXISTS:
            return present
        case Operator.DOES_NOT_EXIST:
            return not present
        case Operator.IN:
            return present and labels[requirement.key] in requirement.values
        case Operator.NOT_IN:
            return not present or labels[requirement.key] not in requirement.values


def owner_labels(*, kind: str, namespace: str | None, name: str, uid: str) -> dict[str, str]:
    """The labels of every child. The owner's namespace is empty for a cluster-scoped owner; a long name is cut and hashed."""
    return {
        MANAGED_BY: MANAGER,
        OWNER_KIND: kind,
        OWNER_NAMESPACE: namespace or "",
        OWNER_NAME: label_value(name),
        OWNER_UID: uid,
    }
