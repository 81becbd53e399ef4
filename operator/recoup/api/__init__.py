"""Types of the custom resources and the small words they are made of: conditions, names, durations, quantities, labels.

Frozen structs that mirror crds/*.yaml (tests/contract holds the two together). No I/O, no clock, no random numbers here;
what is decided with these types is in plan/, what reads and writes them is in controller/.
"""
