"""Measures a send, a connection and the middleware: ``python -m benchmarks``."""
