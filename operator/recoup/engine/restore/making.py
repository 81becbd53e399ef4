"""What a directory looks like that a restore has made and not settled yet."""

MAKING = 0o1700
"""Its mode until the end. Of the directories that only lead to something chosen, those alone get the recorded attributes."""
