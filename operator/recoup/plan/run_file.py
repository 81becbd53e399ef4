"""The run file: what a backup mover is told of the run it belongs to, and writes into its recovery point (docs/command-line.md)."""

import msgspec

from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.objects import decode
from recoup.plan.actions import Object
from recoup.plan.observed import ClaimRecord, SnapshotObserved, Ticket


def write_run(
    observed: SnapshotObserved, *, ticket: Ticket, source: ClaimRecord, expected: tuple[str, ...], captured_at: int, consistency: str
) -> str:
    """The JSON text of one volume's run file."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    known = {field: value for field, value in msgspec.to_builtins(source).items() if value is not None}
    run: Object = {
        "session": ticket.session,
        "ticket": ticket.ticket,
        "policyUid": snapshot.status.policy_uid or "",
        "policy": snapshot.spec.policy_ref.name,
        "slot": observed.snapshot["spec"].get("slot") or observed.snapshot["metadata"]["creationTimestamp"],
        "snapshotUid": snapshot.metadata.uid,
        "snapshot": snapshot.metadata.name,
        "volumesExpected": list(expected),
        "consistency": consistency,
        "capturedAt": captured_at,
        "source": {"clusterUid": observed.around.cluster_uid} | known,
    }
    return msgspec.json.encode(run).decode()
