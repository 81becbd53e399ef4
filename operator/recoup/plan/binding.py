"""Whether a mover is better made a moment later: when its claim has its volume.

A pod whose claim is not bound yet is set aside by the scheduler for a second or more, though the volume is there a moment later. Only
for classes that bind at once; the others wait for the pod themselves.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from recoup.plan.actions import Object
from recoup.plan.movers import parse_time

BIND_SOON = timedelta(seconds=5)
"""How long a claim is given; then the mover is made all the same, and says what it waits for."""


def is_about_to_bind(claim: Object, storage_classes: Iterable[Object], now: datetime) -> bool:
    """`claim`: one that exists, or the body of one that is created in this very pass."""
    if (claim.get("status") or {}).get("phase") == "Bound":
        return False
    name = claim["spec"].get("storageClassName")
    found = next((item for item in storage_classes if item["metadata"]["name"] == name), {})
    created = claim["metadata"].get("creationTimestamp")
    return found.get("volumeBindingMode") == "Immediate" and (created is None or now - parse_time(created) < BIND_SOON)
