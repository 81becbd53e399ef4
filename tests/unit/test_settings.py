from __future__ import annotations

import pytest

from recoup.errors import Usage
from recoup.settings import from_environment

GOOD = {"RECOUP_IMAGE": "recoup:1", "RECOUP_IDENTITY": "pod-1", "PATH": "/bin"}


def test_defaults_and_every_type() -> None:
    settings = from_environment(
        GOOD
        | {
            "RECOUP_WORKERS": "3",
            "RECOUP_RESYNC": "60.5",
            "RECOUP_LEADER_ELECTION": "False",
            "RECOUP_IMAGE_PULL_SECRETS": "a, b,",
        }
    )
    assert (settings.workers, settings.resync, settings.leader_election, settings.image_pull_secrets) == (3, 60.5, False, ("a", "b"))
    assert (settings.system_namespace, settings.movers_namespace) == ("recoup-system", "recoup-movers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RECOUP_IMAGE": ""}, "RECOUP_IMAGE is not set"),
        ({"RECOUP_WORKERS": "many"}, "RECOUP_WORKERS='many' is not a number"),
        ({"RECOUP_WORKERS": "0"}, "between 1 and 32"),
        ({"RECOUP_RESYNC": "0"}, "at least 1 second"),
        ({"RECOUP_LEADER_ELECTION": "yes"}, "is not true or false"),
        ({"RECOUP_LOG_LEVEL": "loud"}, "DEBUG, INFO, WARNING or ERROR"),
        ({"RECOUP_MOVERS_NAMESPACE": "recoup-system"}, "must differ"),
    ],
)
def test_bad_values_name_the_variable(change: dict[str, str], message: str) -> None:
    with pytest.raises(Usage, match=message):
        from_environment(GOOD | change)
