"""Tools for tests of an application, as context managers and decorators.

For unittest, pytest or any other framework. pytest has the same as fixtures, see
:mod:`signalpost.integrations.pytest_plugin`. The client for Flask is in
:mod:`signalpost.integrations.flask_testing`, so that this module needs no Flask.
"""

from __future__ import annotations

from ._capturing import capture
from ._capturing import Captured
from ._capturing import Sent
from ._exchanges import finished_exchanges
from ._exchanges import request_failures
from ._exchanges import RequestFailure
from ._restoring import Restored
from ._restoring import restored
from ._statements import max_statements
from ._statements import Statement
from ._statements import StatementLimit

__all__ = [
    "Captured",
    "RequestFailure",
    "Restored",
    "Sent",
    "Statement",
    "StatementLimit",
    "capture",
    "finished_exchanges",
    "max_statements",
    "request_failures",
    "restored",
]
