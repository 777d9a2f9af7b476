"""Recorded traffic sent again: read it, send it at its own times, compare what comes back."""
