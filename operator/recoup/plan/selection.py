"""Which PersistentVolumeClaims a policy means."""

from recoup.api.backuppolicy import VolumeSelector
from recoup.api.labels import LabelSelector, selects
from recoup.plan.actions import Object


def select_claims(selector: VolumeSelector, claims: tuple[Object, ...]) -> tuple[Object, ...]:
    """The claims that are selected, by name. A claim that is being deleted is not protected any more.

    Named claims that do not exist are not in the answer: `missing_claims` tells them.
    """
    chosen = [claim for claim in claims if not claim["metadata"].get("deletionTimestamp") and _selects(selector, claim)]
    return tuple(sorted(chosen, key=lambda claim: str(claim["metadata"]["name"])))


def missing_claims(selector: VolumeSelector, claims: tuple[Object, ...]) -> tuple[str, ...]:
    """Names that the policy gives and that no claim has."""
    present = {claim["metadata"]["name"] for claim in select_claims(selector, claims)}
    return tuple(sorted(set(selector.persistent_volume_claims) - set(selector.exclude) - present))


def _selects(selector: VolumeSelector, claim: Object) -> bool:
    name = claim["metadata"]["name"]
    if name in selector.exclude:
        return False
    if selector.persistent_volume_claims:
        return name in selector.persistent_volume_claims
    labels = LabelSelector(match_labels=selector.match_labels, match_expressions=selector.match_expressions)
    return selects(labels, claim["metadata"].get("labels") or {})
