"""Fuzzing: ``python -m tests.fuzz TARGET --executions 1000000``."""
