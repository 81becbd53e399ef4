"""Two locations with a log each for every vault, of which the home can be cut off: from the controller only, or from the movers too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from recoup.api.labels import MANAGED_BY, MANAGER
from recoup.api.names import catalogue_secret, maintenance_secret
from recoup.controller.handout import REPOSITORY, ROLES, handed_out, vault_notes
from recoup.controller.kube import Kube
from recoup.controller.resources import JOB, LOCATION, SECRET
from recoup.errors import RecoupError, Retryable
from recoup.plan.objects.identity import VAULT
from recoup.plan.observed import Catalogue, Point
from recoup.retention import Candidate, Rules, decide
from tests.faults.driver import NAMESPACE_UID, BucketView, a_location
from tests.faults.world import Object, World, commit, work

BUCKETS = {"backups": "frankfurt", "copies": "oregon"}
REPOSITORIES = {"frankfurt": "ab" * 16, "oregon": "cd" * 16}
UNREACHABLE = '{"version": 1, "outcome": "Failed", "reason": "LocationUnreachable", "message": "connection refused"}'


@dataclass
class TwoPlaces:
    """What the movers of the world write to. cut: frankfurt does not answer the controller; movers_cut: nor the movers.

    slow: a backup that is at work there goes on until this is taken back.
    """

    logs: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    """By location and vault."""
    cut: bool = False
    movers_cut: bool = False
    slow: bool = False
    forgotten: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Manifests that were let go of, by location and vault."""
    failed: list[str] = field(default_factory=list)
    """Names of Jobs that ended badly."""

    def arrange(self, world: World) -> None:
        """A second location beside frankfurt; both are probed by the story itself."""
        world.kube.put(LOCATION, a_location(world.now) | {"status": {}})
        spec = a_location(world.now)["spec"]
        store = {"bucket": "copies", "endpoint": "http://s3.other", "credentialsSecretRef": {"name": "oregon-s3"}}
        keys = {"keys": [{"name": "daily", "secret": {"secretRef": {"name": "oregon-key"}}}]}
        made = {"metadata": {"name": "oregon", "uid": "uid-of-oregon"}, "spec": spec | {"s3": store, "encryption": keys}}
        world.kube.put(LOCATION, made | {"status": {}})
        world.mover = self.work

    def work(self, world: World, job: Object, pod: Object) -> Object | None:
        arguments = pod["spec"]["containers"][0]["args"]
        places = [name for text in arguments for bucket, name in BUCKETS.items() if f"s3://{bucket}" in text]
        if "frankfurt" in places and self.movers_cut:
            self.failed.append(job["metadata"]["name"])
            return {"exitCode": 10, "message": UNREACHABLE}
        match arguments[0]:
            case "backup" if self.slow and places == ["frankfurt"]:
                return None
            case "backup":
                commit(world, pod)
                self._append(places[0], arguments[arguments.index("--vault") + 1], world.points[-1])
            case "replicate":
                vault = arguments[arguments.index("--vault") + 1]
                for point in self.logs.get((places[0], vault), []):
                    self._append(places[1], vault, point)
            case "forget":
                self._forget(places[0], arguments, pod)
            case "keys-job":
                self._make_keys(world, places[0], arguments[arguments.index("--vault") + 1])
            case _:
                return work(world, job, pod)
        return {"exitCode": 0, "message": json.dumps({"version": 1, "outcome": "Succeeded"})}

    def _forget(self, name: str, arguments: list[str], pod: Object) -> None:
        """As the command does it: by the rules, from the logs of the vaults whose maintenance keys it holds, and only in the first one."""
        secrets = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        own, *beside = [secret.removeprefix("maintenance-") for secret in secrets if secret.startswith("maintenance-")]
        assert len(beside) == arguments.count("--beside")
        policy = arguments[arguments.index("--policy") + 1]
        known = [(vault, point) for vault in (own, *beside) for point in self.logs[name, vault] if point.owner_uid == policy]
        candidates = [Candidate(point.manifest, point.taken_at, point.order) for _, point in known]
        rules = Rules(last=int(arguments[arguments.index("--last") + 1]))
        gone = {one.id for one in decide(candidates, rules) if not one.keep}
        mine = {point.manifest for vault, point in known if vault == own} & gone
        self.logs[name, own] = [point for point in self.logs[name, own] if point.manifest not in mine]
        self.forgotten.setdefault((name, own), set()).update(mine)

    def _append(self, name: str, vault: str, point: Point) -> None:
        log = self.logs.setdefault((name, vault), [])
        if point.manifest in self.forgotten.get((name, vault), ()):
            return
        if all(known.manifest != point.manifest for known in log):
            log.append(point)

    def _make_keys(self, world: World, name: str, vault: str) -> None:
        labels = {MANAGED_BY: MANAGER, VAULT: vault, REPOSITORY: REPOSITORIES[name]}
        notes = vault_notes(f"fingerprint of {vault}", "shop", NAMESPACE_UID, "") | {ROLES: handed_out()}
        for secret, namespace in ((maintenance_secret(vault), "recoup-movers"), (catalogue_secret(vault), "recoup-system")):
            world.kube.put(SECRET, {"metadata": {"name": secret, "namespace": namespace, "labels": labels, "annotations": notes}})
        self.logs.setdefault((name, vault), [])

    def vaults(self) -> dict[str, str]:
        """Each vault by the name of its home, where it had its first log."""
        homes: dict[str, str] = {}
        for name, vault in self.logs:
            homes.setdefault(vault, name)
        return {name: vault for vault, name in homes.items()}


@dataclass
class TwoPlacesView(BucketView):
    """The locations as the controller reads them. remembers: logs are told of a location that does not answer, as if they had been read."""

    places: TwoPlaces = field(default_factory=TwoPlaces)
    remembers: bool = False

    def look(self, location: Object, *, max_age: float = 0.0) -> str | None:  # noqa: ARG002  # always fresh
        name = location["metadata"]["name"]
        self._answer(name)
        return REPOSITORIES[name] if any(where == name for where, _ in self.places.logs) else None

    def read(self, location: Object, vault: str, *, max_age: float = 0.0) -> Catalogue:  # noqa: ARG002  # always fresh
        name = location["metadata"]["name"]
        if not self.remembers:
            self._answer(name)
        if (name, vault) not in self.places.logs:
            raise RecoupError("the log is empty", reason="NoVault")
        points, forgotten = tuple(self.places.logs[name, vault]), frozenset(self.places.forgotten.get((name, vault), ()))
        self.held[name, vault] = Catalogue(vault=vault, fingerprint=f"fingerprint of {vault}", points=points, forgotten=forgotten)
        return self.held[name, vault]

    def has_maintenance(self, vault: str) -> bool:
        return self.has_keys(vault)

    def _answer(self, name: str) -> None:
        if name == "frankfurt" and self.places.cut:
            raise Retryable("connection refused", reason="LocationUnreachable")


def jobs_of(kube: Kube, command: str) -> list[Object]:
    """The Jobs that run this command."""
    return [job for job in kube.list(JOB) if job["spec"]["template"]["spec"]["containers"][0]["args"][0] == command]
