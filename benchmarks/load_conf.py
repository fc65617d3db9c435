"""What gunicorn is told beside its command line: to keep a dead worker's figures."""

from __future__ import annotations

from signalpost.integrations.prometheus import clear_figures
from signalpost.integrations.prometheus import fold_worker

on_starting = clear_figures
child_exit = fold_worker
