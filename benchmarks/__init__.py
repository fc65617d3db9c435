"""What a send, a connection and the middleware cost: ``python -m benchmarks``."""
