"""A server that sees a request through, for the tests of this folder."""

from __future__ import annotations

import typing as t
from contextlib import ExitStack

import flask

from signalpost.exchange import Exchange
from signalpost.lifecycle import catalogue
from signalpost.testing import Sent
from tests.integrations.shop import Course
from tests.integrations.shop import new_shop

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

