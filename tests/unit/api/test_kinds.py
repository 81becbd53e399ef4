"""Reading objects as the API server gives them, and writing statuses that it takes."""

from datetime import UTC, datetime

import pytest
from msgspec import structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import RUN_MESSAGE_LIMIT, BackupPolicy, BackupPolicyStatus, Run, RunResult
from recoup.api.backupsnapshot import SnapshotVolume, VolumeState
from recoup.api.objects import VOLUME_MESSAGE_LIMIT, decode, encode
from recoup.api.restorerequest import RestoredVolume, RestoreState
from recoup.errors import Invalid
from tests.unit.plan.examples import location, policy

SLOT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_defaults_of_the_schema_are_those_of_the_type() -> None:
    read = decode(BackupLocation, location())
    assert (read.spec.s3.region, read.spec.s3.force_path_style, read.spec.s3.url) == ("us-east-1", False, "s3://acme-backups/prod")
    whole_bucket = location(spec={"s3": {"bucket": "b", "credentialsSecretRef": {"name": "s"}}})
    assert decode(BackupLocation, whole_bucket).spec.s3.url == "s3://b"


def test_a_spec_of_another_version_is_refused_with_its_path() -> None:
    with pytest.raises(Invalid, match=r"BackupPolicy shop/shop: Object contains unknown field `hooked`.*\$\.spec"):
        decode(BackupPolicy, policy(hooked={"last": 3}))
    with pytest.raises(Invalid, match=r"\$\.spec\.suspend"):
        decode(BackupPolicy, policy(suspend="yes"))


def test_a_status_of_another_version_is_read() -> None:
    assert decode(BackupPolicy, policy(status={"observedGeneration": 3, "tomorrow": {"a": 1}})).status.observed_generation == 3


def test_what_is_written_is_what_a_get_returns() -> None:
    status = BackupPolicyStatus(observed_generation=1, last_runs=(Run(slot=SLOT, result=RunResult.RAN, snapshot="shop-1"),))
    plain = encode(status)
    assert plain == {"observedGeneration": 1, "lastRuns": [{"slot": "2026-11-01T12:00:00Z", "result": "Ran", "snapshot": "shop-1"}]}
    assert decode(BackupPolicy, policy(status=plain)).status == status


def test_messages_end_where_the_schema_ends_them() -> None:
    long = "x" * 10_000
    run = Run(slot=SLOT, result=RunResult.MISSED, message=long)
    stored = SnapshotVolume(persistent_volume_claim="a", uid="u", state=VolumeState.FAILED, message=long)
    restored = RestoredVolume(source="a", target="b", state=RestoreState.FAILED, message=long)
    again = structs.replace(restored, message=long)
    lengths = [len(item.message or "") for item in (run, stored, restored, again)]
    assert lengths == [RUN_MESSAGE_LIMIT, VOLUME_MESSAGE_LIMIT, VOLUME_MESSAGE_LIMIT, VOLUME_MESSAGE_LIMIT]
