"""Statements about results: `claims:` and `--expect`, their grammar and their verdicts."""
