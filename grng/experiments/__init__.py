"""Experiments: many configs handed to an executor."""
