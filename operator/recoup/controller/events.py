"""Kubernetes Events of the controller: few, one per transition, for people and `kubectl describe`.

The name of an Event is derived from what it says about which version of the object, so that a repeated reconcile, or a second
replica, posts it once. Losing one is harmless (the condition stays): a refused Event never fails a reconcile.
"""

import hashlib
import logging
from datetime import datetime

from recoup.controller import failures
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import EVENT
from recoup.errors import RecoupError
from recoup.plan.actions import EventNote

log = logging.getLogger(__name__)

REPORTING_CONTROLLER = "recoup.dev/controller"
LONGEST_NOTE = 1024
"""Bytes that the API accepts in a note."""


def build_event(owner: Object, note: EventNote, *, now: datetime, instance: str) -> Object:
    """Build the events.k8s.io/v1 object for one note on `owner` as it was read."""
    metadata = owner["metadata"]
    seen = "\0".join((metadata["uid"], str(metadata.get("resourceVersion")), note.type, note.reason, note.message))
    digest = hashlib.sha256(seen.encode()).hexdigest()[:16]
    namespace = metadata.get("namespace")
    regarding = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{metadata['name'][:200]}.{digest}", "namespace": namespace or "default"},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "type": note.type.value,
        "reason": note.reason,
        "note": note.message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
        "regarding": regarding | ({"namespace": namespace} if namespace else {}),
    }


def post_events(kube: Kube, owner: Object, notes: tuple[EventNote, ...], *, now: datetime, instance: str) -> None:
    for note in notes:
        try:
            kube.create(EVENT, build_event(owner, note, now=now, instance=instance))
        except failures.AlreadyExists:
            continue
        except RecoupError as error:
            log.warning("Event not posted: %s", error, extra={"reason": note.reason})
