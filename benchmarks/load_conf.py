"""gunicorn's configuration for the load run: a dead worker's metrics are kept."""

from __future__ import annotations

from signalpost.integrations.prometheus import clear_metrics
from signalpost.integrations.prometheus import merge_worker

on_starting = clear_metrics
child_exit = merge_worker
