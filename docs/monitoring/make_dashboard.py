"""Writes ``dashboard.json``, which Grafana imports, into this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RATE = "[$__rate_interval]"
WHICH = '{job=~"$job"}'
DASHBOARD = Path(__file__).with_name("dashboard.json")

# A connection that the application has taken over, such as a WebSocket, is left out: it
# has no status, and it stays open.
ANSWERED = 'job=~"$job",outcome!="hijacked"'


def requests(*labels: str) -> str:
    """Return the query of the rate of the answered requests that have these labels."""
    which = ",".join([ANSWERED, *labels])
    return f"sum(rate(http_server_requests_total{{{which}}}{RATE}))"


REQUESTS = requests()
FAILED = (
    f"""({requests('status=~"5..|none"')} or vector(0))"""
    f""" + ({requests('status!~"5..|none"', 'outcome="error"')} or vector(0))"""
)
ABORTED = f"""{requests('outcome="aborted"')} or vector(0)"""


def quantile(share: float, metric: str, by: str = "") -> str:
    """Return the query of a quantile over all processes, by further labels."""
    labels = f"{by}, le" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels})"
        f" (rate({metric}_bucket{WHICH}{RATE})))"
    )


DURATION = "http_server_request_duration_seconds"
HEADERS = "http_server_time_to_headers_seconds"
STREAMS = "http_server_stream_duration_seconds"
QUEUE = "gunicorn_request_queue_seconds"

# Title, unit, and the queries with the names of their lines.
PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "Requests by outcome",
        "reqps",
        {
            "{{outcome}}": "sum by (outcome)"
            f" (rate(http_server_requests_total{WHICH}{RATE}))"
        },
    ),
    (
        "Response time (streams: time to headers)",
        "s",
        {f"p{share}": quantile(share / 100, DURATION) for share in (50, 90, 99)},
    ),
    (
        "Share of errors and of disconnects",
        "percentunit",
        {
            "errors": f"({FAILED}) / {REQUESTS}",
            "disconnects": f"({ABORTED}) / {REQUESTS}",
        },
    ),
    (
        "Requests in flight",
        "short",
        {"in flight": f"sum(http_server_requests_in_flight{WHICH})"},
    ),
    (
        "Busiest routes",
        "reqps",
        {
            "{{route}}": "topk(10, sum by (route)"
            f" (rate(http_server_requests_total{{{ANSWERED}}}{RATE})))"
        },
    ),
    (
        "Slowest routes, p99",
        "s",
        {"{{route}}": f"topk(10, {quantile(0.99, DURATION, 'route')})"},
    ),
    (
        "Time to headers",
        "s",
        {f"p{share}": quantile(share / 100, HEADERS) for share in (50, 99)},
    ),
    (
        "Exceptions by where",
        "short",
        {
            "{{where}} {{route}}": "sum by (where, route)"
            f" (increase(http_server_failures_total{WHICH}{RATE}))"
        },
    ),
    (
        "Response bytes",
        "Bps",
        {"sent": f"sum(rate(http_server_response_body_bytes_total{WHICH}{RATE}))"},
    ),
    (
        "SQL statements per request",
        "short",
        {
            "statements": 'sum(rate(sql_statements_total{job=~"$job",'
            f'route!="<none>"}}{RATE})) / {REQUESTS}'
        },
    ),
    (
        "Database time per request",
        "s",
        {
            "database": 'sum(rate(sql_statement_seconds_total{job=~"$job",'
            f'route!="<none>"}}{RATE})) / {REQUESTS}',
            "all": f"sum(rate({DURATION}_sum{WHICH}{RATE}))"
            f" / sum(rate({DURATION}_count{WHICH}{RATE}))",
        },
    ),
    (
        "Failed SQL statements",
        "ops",
        {
            "{{operation}}": "sum by (operation)"
            f' (rate(sql_statements_total{{job=~"$job",outcome="error"}}{RATE}))'
        },
    ),
    (
        "Duration of streams",
        "s",
        {
            f"p{share}": f"{quantile(share / 100, STREAMS)} or vector(0)"
            for share in (50, 99)
        },
    ),
    (
        "Duration of SQL statements, p99",
        "s",
        {
            "{{operation}}": quantile(
                0.99, "sql_statement_duration_seconds", "operation"
            )
        },
    ),
    (
        "Pool connections",
        "short",
        {
            "{{pool}} {{state}}": f"sum by (pool, state) (sql_pool_connections{WHICH})",
            "{{pool}} at most": "sum by (pool)"
            f" (sql_pool_max_connections{WHICH}) < Inf",
        },
    ),
    (
        "Callers waiting for a connection, and timeouts",
        "short",
        {
            "{{pool}} wait": f"sum by (pool) (sql_pool_waiting{WHICH})",
            "{{pool}} timed out": "sum by (pool)"
            f" (increase(sql_pool_timeouts_total{WHICH}{RATE}))",
        },
    ),
    (
        "Time to get a connection, and time in use, p99",
        "s",
        {
            "{{pool}} wait": quantile(0.99, "sql_pool_wait_seconds", "pool"),
            "{{pool}} in use": quantile(0.99, "sql_pool_use_seconds", "pool"),
        },
    ),
    (
        "gunicorn workers",
        "short",
        {
            "alive": f"sum(gunicorn_workers{WHICH})",
            "busy": f"sum(gunicorn_busy_workers{WHICH})",
        },
    ),
    (
        "Worker starts and exits",
        "short",
        {
            "started": f"sum(increase(gunicorn_worker_starts_total{WHICH}{RATE}))",
            "{{reason}}": "sum by (reason)"
            f" (increase(gunicorn_worker_exits_total{WHICH}{RATE}))",
        },
    ),
    (
        "Time in the queue",
        "s",
        {f"p{share}": quantile(share / 100, QUEUE) for share in (50, 99)},
    ),
    (
        "Units of work by outcome",
        "ops",
        {
            "{{name}} {{outcome}}": "sum by (name, outcome)"
            f" (rate(work_units_total{WHICH}{RATE}))"
        },
    ),
    (
        "Duration of units of work, p99",
        "s",
        {"{{name}}": quantile(0.99, "work_duration_seconds", "name")},
    ),
    (
        "Units of work in flight",
        "short",
        {"{{name}}": f"sum by (name) (work_in_flight{WHICH})"},
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = []
    for number, (title, unit, queries) in enumerate(PANELS):
        targets = [
            {"datasource": source, "expr": query, "legendFormat": name, "refId": letter}
            for letter, (name, query) in zip("ABC", queries.items(), strict=False)
        ]
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": title,
                "datasource": source,
                "targets": targets,
                "gridPos": {
                    "h": 8,
                    "w": 12,
                    "x": number % 2 * 12,
                    "y": number // 2 * 8,
                },
                "fieldConfig": {
                    "defaults": {"unit": unit, "min": 0},
                    "overrides": [],
                },
            }
        )
    return {
        "title": "signalpost",
        "uid": "signalpost",
        "tags": ["signalpost"],
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {
            "list": [
                {
                    "name": "source",
                    "label": "Source",
                    "type": "datasource",
                    "query": "prometheus",
                },
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": source,
                    "query": "label_values(http_server_requests_in_flight, job)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


if __name__ == "__main__":
    DASHBOARD.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
