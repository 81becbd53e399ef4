"""Padmé: sizes that leak only O(log log n) bits of a length and cost at most 12 % (Nikitin et al., PETS 2019)."""

from __future__ import annotations


def padme(length: int) -> int:
    """Round `length` (bytes) up so that only the leading bits of its floating-point form can differ from zero."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << (exponent - kept)) - 1 if exponent > kept else 0
    return (length + mask) & ~mask
