"""Data that tests make: small enough for every run, odd enough to be worth it."""
