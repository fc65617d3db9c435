"""What a database does, in signals, for SQLAlchemy 2.0 and 2.1.

::

    from signalpost.integrations.sqlalchemy import instrument
    from signalpost.lifecycle import sql_executed

    instrument(engine)
    sql_executed.connect(note_statement)
"""

from __future__ import annotations

from ._catalogue import catalogue
from ._catalogue import savepoint_releasing
from ._catalogue import savepoint_rolling_back
from ._catalogue import savepoint_setting
from ._catalogue import transaction_beginning
from ._catalogue import transaction_committing
from ._catalogue import transaction_rolling_back
from ._instrumentation import EveryEngine
from ._instrumentation import instrument
from ._instrumentation import Instrumentation
from ._models import committed
from ._models import instrument_models
from ._models import model_catalogue
from ._models import ModelInstrumentation
from ._models import post_delete
from ._models import post_save
from ._models import pre_delete
from ._models import pre_save

__all__ = [
    "EveryEngine",
    "Instrumentation",
    "ModelInstrumentation",
    "catalogue",
    "committed",
    "instrument",
    "instrument_models",
    "model_catalogue",
    "post_delete",
    "post_save",
    "pre_delete",
    "pre_save",
    "savepoint_releasing",
    "savepoint_rolling_back",
    "savepoint_setting",
    "transaction_beginning",
    "transaction_committing",
    "transaction_rolling_back",
]
