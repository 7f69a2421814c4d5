"""Listeners that every run has: they turn its events into files of the run directory."""
