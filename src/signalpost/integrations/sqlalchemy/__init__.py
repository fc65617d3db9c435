"""Signals for SQL statements, transactions, pools and models of SQLAlchemy 2.0 and 2.1.

::

    from signalpost.integrations.sqlalchemy import instrument
    from signalpost.lifecycle import sql_executed

    instrument(engine)
    sql_executed.connect(note_statement)
"""

from __future__ import annotations

from ._catalogue import catalogue
from ._catalogue import connection_checked_in
from ._catalogue import connection_checked_out
from ._catalogue import savepoint_releasing
from ._catalogue import savepoint_rolling_back
from ._catalogue import savepoint_setting
from ._catalogue import transaction_beginning
from ._catalogue import transaction_committing
from ._catalogue import transaction_rolling_back
from ._instrumentation import EveryEngine
from ._instrumentation import instrument
from ._instrumentation import Instrumentation
from ._model_catalogue import committed
from ._model_catalogue import m2m_changed
from ._model_catalogue import model_catalogue
from ._model_catalogue import post_delete
from ._model_catalogue import post_init
from ._model_catalogue import post_save
from ._model_catalogue import pre_delete
from ._model_catalogue import pre_init
from ._model_catalogue import pre_save
from ._models import instrument_models
from ._models import ModelInstrumentation
from ._until_commit import held_until_commit
from ._until_commit import HeldUntilCommit
from ._until_commit import send_after_commit

__all__ = [
    "EveryEngine",
    "HeldUntilCommit",
    "Instrumentation",
    "ModelInstrumentation",
    "catalogue",
    "committed",
    "connection_checked_in",
    "connection_checked_out",
    "held_until_commit",
    "instrument",
    "instrument_models",
    "m2m_changed",
    "model_catalogue",
    "post_delete",
    "post_init",
    "post_save",
    "pre_delete",
    "pre_init",
    "pre_save",
    "savepoint_releasing",
    "savepoint_rolling_back",
    "savepoint_setting",
    "send_after_commit",
    "transaction_beginning",
    "transaction_committing",
    "transaction_rolling_back",
]
