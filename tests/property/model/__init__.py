"""Explicit-state models of the rules by which the logs decide (docs/format.md section 6). Pure Python, no line of the product."""
