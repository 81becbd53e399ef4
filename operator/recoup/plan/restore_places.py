"""Where a restore reads: the home of its vault, or another location of the policy with a copy of it.

The right to read is judged at the home, whichever location gives the bytes: a copy gives nobody more than the home does. The home's log is
read first, or that of the location which the source names; if that can't be, the next one's.
"""

from collections.abc import Mapping, Sequence

from recoup.api.backuplocation import BackupLocation, BackupLocationSpec
from recoup.api.labels import selects
from recoup.api.objects import decode
from recoup.plan.actions import Object


def policy_behind(source: Object, snapshot: Object | None, policies: Sequence[Object]) -> Object | None:
    """The policy of the request's own namespace that says where copies of its vault are, or None.

    A location alone stands for the policy that is named beside it, else for one that has its home there, else for one that copies to it.
    """
    by_name = {policy["metadata"]["name"]: policy for policy in policies}
    reference = source.get("policyRef") or ((snapshot or {}).get("spec") or {}).get("policyRef")
    if reference is not None:
        return by_name.get(reference["name"])
    named = source.get("location")
    if named is None:
        return None
    using = [policy for policy in policies if named in _names(policy)]
    asked = by_name.get(source.get("policy") or "")
    if asked in using:
        return asked
    return min(using, key=lambda policy: _names(policy).index(named), default=None)


def home_of(request: Object, policy: Object | None) -> str | None:
    """The home, where the source names a location that holds copies for this policy of the request's own namespace; else None."""
    source, whose = request["spec"]["source"], request["spec"]["source"].get("namespace")
    own = whose is None or whose["name"] == request["metadata"]["namespace"]
    named = source.get("location")
    if policy is None or not own or named is None or named not in _names(policy):
        return None
    return _names(policy)[0]


def other_homes(request: Object, home: str | None, policy: Object | None) -> tuple[str, ...]:
    """Locations besides `home` where a policy of the request's own namespace may have had its home for a while (homes.py).

    None once the plan is settled, or where a BackupSnapshot says it.
    """
    source = request["spec"]["source"]
    settled = ((request.get("status") or {}).get("plan") or {}).get("location")
    if settled or source.get("snapshotRef") or policy is None or home is None or home != _names(policy)[0]:
        return ()
    own = (source.get("namespace") or {}).get("name") in (None, request["metadata"]["namespace"])
    return tuple(_names(policy)[1:]) if own else ()


def reading_order(request: Object, home: str, snapshot: Object | None, policy: Object | None) -> tuple[str, ...]:
    """Names of the locations that may hold the vault, in the order in which they are asked."""
    settled = ((request.get("status") or {}).get("plan") or {}).get("readFrom")
    named = settled or request["spec"]["source"].get("location")
    held = [copy["location"] for copy in ((snapshot or {}).get("status") or {}).get("copies") or ()]
    listed = _names(policy) if policy is not None and home in _names(policy) else []
    if held and held[0] != home:
        held = []
    names = [*([named] if named in (home, *listed, *held) else []), home, *listed, *held]
    return tuple(dict.fromkeys(names))


def is_for(location: Object, namespace: Object | None) -> bool:
    """Whether copies of this namespace may lie at the location: only then is it read for it."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return selects(decode(BackupLocation, location).spec.allowed_namespaces, labels)


def sources_of(places: Mapping[str, Object], read_from: str) -> tuple[BackupLocationSpec, ...]:
    """The locations for a mover: the one that the plan was read from, then the others, which it asks for what that one does not give."""
    names = [read_from, *(name for name in places if name != read_from)]
    return tuple(decode(BackupLocation, places[name]).spec for name in names if name in places)


def _names(policy: Object) -> list[str]:
    return [item["name"] for item in policy["spec"]["locations"]]
