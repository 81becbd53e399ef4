"""Kubernetes quantities (`200Mi`, `1.5G`, `250m`, `12e6`): read exactly, written the way people read sizes.

Exact rational arithmetic; nothing is rounded but in `to_quantity`, which is for display.
"""

import re
from decimal import Decimal

from recoup.errors import Invalid

_QUANTITY = re.compile(r"^([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([eE][+-]?[0-9]{1,2})|([KMGTPE]i|[numkMGTPE]))?$")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_FACTORS = {
    **{unit: Decimal(1024) ** power for power, unit in enumerate(_BINARY)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("num", start=-3)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
}


def parse_quantity(value: str | float) -> Decimal:
    """Raises Invalid if the API server would not have taken it either."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise Invalid(f"{value!r} is not a Kubernetes quantity such as 10Gi, 500M or 250m", reason="InvalidQuantity")
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    return Decimal(number) * _FACTORS[suffix or ""]


def parse_bytes(value: str | float) -> int:
    """A size in whole bytes, rounded up as the API server does."""
    exact = parse_quantity(value)
    whole = int(exact)
    return whole if whole == exact or exact < 0 else whole + 1


def to_quantity(count: float) -> str:
    """A size for people: `512`, `12.4Gi`, `310Mi`; three digits at most, rounded to the nearest."""
    value = float(count)
    power = 0
    while value >= 999.5 and power < len(_BINARY) - 1:
        value /= 1024
        power += 1
    digits = 0 if power == 0 or value >= 99.95 else 1
    return f"{value:.{digits}f}".removesuffix(".0") + _BINARY[power]
