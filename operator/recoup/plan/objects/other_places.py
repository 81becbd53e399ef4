"""Further locations that a mover reaches besides its own: a URL with its settings, and the files that it names.

`recoup replicate --from`, `verify --heal-from` and `restore --also` take locations in this form (docs/replication.md).
"""

from collections.abc import Sequence
from urllib.parse import urlencode

from msgspec import Struct

from recoup.api.backuplocation import BackupLocationSpec
from recoup.plan.actions import Object
from recoup.plan.objects.pod import CA_ANNOTATION, secret_volume


class OtherPlaces(Struct, frozen=True, kw_only=True):
    """What a pod needs for them. `urls` in the order of the locations."""

    urls: tuple[str, ...] = ()
    volumes: tuple[Object, ...] = ()
    mounts: tuple[Object, ...] = ()
    annotations: dict[str, str] = {}


def other_places(locations: Sequence[BackupLocationSpec], *, optional: bool = False) -> OtherPlaces:
    """Each location has its credentials in a folder of its own; nothing of one is seen through another.

    optional: a pod starts without the Secrets that are not there; that location then does not give anything.
    """
    urls: list[str] = []
    volumes: list[Object] = []
    mounts: list[Object] = []
    annotations: dict[str, str] = {}
    for number, location in enumerate(locations):
        store, name = location.s3, f"other-{number}"
        folder = f"/recoup/{name}"
        settings = {"region": store.region, "credentials-dir": f"{folder}/credentials"}
        volumes.append(secret_volume(f"{name}-credentials", store.credentials_secret_ref.name, optional=optional))
        mounts.append({"name": f"{name}-credentials", "mountPath": f"{folder}/credentials", "readOnly": True})
        if store.endpoint:
            settings["endpoint-url"] = store.endpoint
        if store.force_path_style:
            settings["path-style"] = "true"
        if store.ca_bundle:
            settings["ca-bundle"] = f"{folder}/ca/ca.pem"
            annotations[f"{CA_ANNOTATION}-{number}"] = store.ca_bundle
            item = {"path": "ca.pem", "fieldRef": {"fieldPath": f"metadata.annotations['{CA_ANNOTATION}-{number}']"}}
            volumes.append({"name": f"{name}-ca", "downwardAPI": {"items": [item]}})
            mounts.append({"name": f"{name}-ca", "mountPath": f"{folder}/ca", "readOnly": True})
        urls.append(f"{store.url}?{urlencode(settings, safe='/:')}")
    return OtherPlaces(urls=tuple(urls), volumes=tuple(volumes), mounts=tuple(mounts), annotations=annotations)
