"""What a send and the middleware cost: ``python -m benchmarks`` prints two tables."""
