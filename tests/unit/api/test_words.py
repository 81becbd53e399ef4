"""Durations, quantities, names and labels: small words that everything else is made of."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.api.durations import parse_duration, to_duration
from recoup.api.labels import LabelSelector, Operator, Requirement, owner_labels, selects
from recoup.api.names import fit_name, label_value, short_hash, snapshot_name, spread, vault_id, volume_label
from recoup.api.quantities import parse_bytes, parse_quantity, to_quantity
from recoup.errors import Invalid

DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("4h", 14_400), ("30d", 2_592_000), ("8w", 4_838_400), ("4h30m", 16_200), ("1d1s", 86_401)],
)
def test_durations_read_as_written(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0s", "5", "1.5h", "30m4h", "4h 30m", "-1h", "1y", "h", "1H", "90s\n"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Invalid, match="such as 4h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (-5, "0s"),
        (41, "41s"),
        (90, "1m30s"),
        (3600, "1h"),
        (16_200, "4h30m"),
        (266_400, "3d2h"),
        (266_461, "3d2h"),
        (2_592_000, "30d"),
    ],
)
def test_durations_are_written_with_their_two_largest_units(seconds: float, text: str) -> None:
    assert to_duration(timedelta(seconds=seconds)) == text


@given(st.integers(1, 10**8))
def test_a_duration_survives_writing_and_reading(seconds: int) -> None:
    assert parse_duration(to_duration(timedelta(seconds=seconds), parts=4)) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("10Gi", 10 * 1024**3),
        ("1.5Gi", 1_610_612_736),
        ("500M", 500_000_000),
        ("250m", Decimal("0.25")),
        ("12e6", 12_000_000),
        (5, 5),
        ("1E", 10**18),
    ],
)
def test_quantities_read_as_kubernetes_reads_them(text: str | int, value: int | Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "1Kb", "1 Gi", "0x10", "1ki", "--1", "1e999"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a Kubernetes quantity"):
        parse_quantity(text)


def test_sizes_are_rounded_up_to_whole_bytes() -> None:
    assert parse_bytes("1500m") == 2
    assert parse_bytes("1Ki") == 1024


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (512, "512"),
        (1000, "1Ki"),
        (1024, "1Ki"),
        (13_314_398_617, "12.4Gi"),
        (325_058_560, "310Mi"),
        (2 * 1024**4, "2Ti"),
        (1023 * 1024**2, "1Gi"),
    ],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert to_quantity(count) == text


@given(st.integers(0, 2**62))
def test_a_written_size_is_close_and_is_a_quantity(count: int) -> None:
    assert abs(parse_quantity(to_quantity(count)) - count) <= max(Decimal(count) * 6 / 100, Decimal(1))


@given(NAMES, NAMES)
def test_names_fit_and_differ(one: str, two: str) -> None:
    assert DNS_LABEL.match(fit_name("backup", one))
    if one != two and max(len(one), len(two)) > 63:
        assert fit_name(one) != fit_name(two)
    assert len(label_value(one)) <= 63


def test_borders_of_parts_count_in_a_hash() -> None:
    assert short_hash("a", "bc") != short_hash("ab", "c")
    assert fit_name("data.0") != fit_name("data-0")


@given(NAMES, st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001
def test_the_slot_survives_in_a_snapshots_name(policy: str, naive: datetime) -> None:
    slot = naive.replace(tzinfo=UTC)
    name = snapshot_name(policy, slot)
    assert DNS_LABEL.match(name)
    assert name.endswith(f"-{slot:%Y%m%dt%H%M%Sz}")


def test_a_snapshot_of_a_short_policy_reads_as_in_the_docs() -> None:
    assert snapshot_name("shop", datetime(2026, 11, 23, 4, 15, tzinfo=UTC)) == "shop-20261123t041500z"


def test_names_that_must_never_change() -> None:
    """These stand in buckets and clusters: a change orphans what is there."""
    assert vault_id("location-uid", "namespace-uid") == "aab5112f44121e4b004e89279f95ad43"
    assert volume_label("pvc-uid") == "9bf444bc9f"


@given(st.text(), st.integers(1, 10_000))
def test_spread_stays_in_its_width(seed: str, width: int) -> None:
    assert 0 <= spread(seed, width) < width
    assert spread(seed, 0) == 0


def test_labels_of_a_child_fit_whatever_its_owner_is_called() -> None:
    labels = owner_labels(kind="BackupPolicy", namespace="shop", name="x" * 253, uid="u")
    assert all(len(value) <= 63 for value in labels.values())
    assert labels["app.kubernetes.io/managed-by"] == "recoup"


def test_a_selector_needs_all_that_it_says() -> None:
    selector = LabelSelector(match_labels={"a": "1"}, match_expressions=(Requirement(key="b", operator=Operator.NOT_IN, values=("2",)),))
    assert selects(selector, {"a": "1"})
    assert not selects(selector, {"a": "1", "b": "2"})
    assert not selects(selector, {"b": "1"})
    assert selects(LabelSelector(), {})
