"""Signals for other packages: one module each, imported by who wants it."""
