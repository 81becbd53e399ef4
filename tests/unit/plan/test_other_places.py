"""What a pod is given of a further location is what the command line reads of its URL."""

import pytest
from msgspec import convert

from recoup.api.backuplocation import BackupLocationSpec
from recoup.cli import places as cli
from recoup.plan.objects.other_places import other_places
from tests.unit.plan.examples import S3, location


def spec(**s3: object) -> BackupLocationSpec:
    return convert(location(spec={"s3": {**S3, **s3}})["spec"], BackupLocationSpec)


def test_each_place_has_its_own_files() -> None:
    found = other_places([spec(), spec(credentialsSecretRef={"name": "oregon-s3"}, caBundle="PEM")])
    secrets = [volume["secret"]["secretName"] for volume in found.volumes if "secret" in volume]
    assert secrets == ["frankfurt-s3", "oregon-s3"]
    assert [mount["mountPath"] for mount in found.mounts] == [
        "/recoup/other-0/credentials",
        "/recoup/other-1/credentials",
        "/recoup/other-1/ca",
    ]
    assert list(found.annotations.values()) == ["PEM"]
    assert len({mount["name"] for mount in found.mounts}) == len(found.volumes)


def test_the_url_is_read_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec(endpoint="https://s3.example.org:9000", forcePathStyle=True, region="eu-central-1")
    [url] = other_places([made]).urls
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/recoup/other-0/credentials")
    read = cli.PlaceType().convert(url, None, None)
    assert (read.url, read.endpoint_url, read.region) == ("s3://acme-backups/prod", "https://s3.example.org:9000", "eu-central-1")
    assert (read.path_style, read.credentials_dir, read.ca_bundle) == (True, "/recoup/other-0/credentials", None)
