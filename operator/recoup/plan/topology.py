"""Where a volume may be made: node labels against the node affinity that a PersistentVolume had."""

from collections.abc import Mapping, Sequence

from recoup.plan.actions import Object

HOSTNAME = "kubernetes.io/hostname"
"""The label by which a pod is kept away from single nodes."""


def required_by(labels: dict[str, str]) -> Object | None:
    """A node affinity (as in a PersistentVolume's spec) that wants these node labels; None for anywhere."""
    if not labels:
        return None
    wanted = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())]
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": wanted}]}}


def has_place(node_affinity: Object | None, nodes: tuple[Object, ...]) -> bool:
    """A node that can take pods satisfies the affinity."""
    terms = _terms(node_affinity)
    return not terms or any(_matches(term, node) for node in nodes if _is_usable(node) for term in terms)


def can_take(node: Object, node_affinity: Object | None, node_selector: Mapping[str, str]) -> bool:
    """The node takes pods, and one with this affinity and selector may go there."""
    labels, terms = node["metadata"].get("labels") or {}, _terms(node_affinity)
    chosen = all(labels.get(key) == value for key, value in node_selector.items())
    return chosen and _is_usable(node) and (not terms or any(_matches(term, node) for term in terms))


def away_from(node_affinity: Object | None, hostnames: Sequence[str]) -> Object | None:
    """The same affinity without these nodes."""
    if not hostnames:
        return node_affinity
    not_there = {"key": HOSTNAME, "operator": "NotIn", "values": sorted(hostnames)}
    terms = [term | {"matchExpressions": [*(term.get("matchExpressions") or ()), not_there]} for term in _terms(node_affinity) or [{}]]
    return {"required": {"nodeSelectorTerms": terms}}


def describe(node_affinity: Object | None) -> str:
    """The affinity in words: `topology.kubernetes.io/zone in (a, b)`."""
    terms = [" and ".join(_words(item) for item in term.get("matchExpressions") or ()) for term in _terms(node_affinity)]
    return " or ".join(term for term in terms if term)


def _words(item: Object) -> str:
    values = f" ({', '.join(item['values'])})" if item.get("values") else ""
    return f"{item['key']} {str(item['operator']).lower()}{values}"


def _terms(node_affinity: Object | None) -> list[Object]:
    return list(((node_affinity or {}).get("required") or {}).get("nodeSelectorTerms") or ())


def _matches(term: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    by_label = all(_holds(item, labels.get(item["key"])) for item in term.get("matchExpressions") or ())
    return by_label and all(_holds(item, node["metadata"]["name"]) for item in term.get("matchFields") or ())


def _holds(item: Object, value: str | None) -> bool:
    values = item.get("values") or []
    match item["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            if value is None or not value.isdigit() or not values or not str(values[0]).isdigit():
                return False
            return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return False


def _is_usable(node: Object) -> bool:
    if (node.get("spec") or {}).get("unschedulable"):
        return False
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)
