"""The WSGI middleware that sends the lifecycle signals of exchanges."""
