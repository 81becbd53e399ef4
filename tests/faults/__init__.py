"""Trouble by injection: writes that are the last, answers that are lost, objects that vanish, movers that die."""
