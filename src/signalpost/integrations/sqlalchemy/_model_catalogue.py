"""Signals for the objects of mapped classes, named as Django's."""

from __future__ import annotations

from ..._engine.namespace import Namespace
from ..._engine.signal import NamedSignal

model_catalogue: Namespace = Namespace()
"""The signals of mapped classes by their names, as in ``model_catalogue["pre-save"]``.

.. versionadded:: 0.1
"""

pre_init: NamedSignal = model_catalogue.signal(
    "pre-init",
    "An object is about to be made by its class.",
    payload=("instance", "args", "kwargs", "exchange"),
)
"""An object is about to be made by its class: ``__init__`` has not run.

*Sender*: the class of the object. ``subclasses=True`` connects to a base class and
its subclasses; ``named("Order")`` means the mapped classes of that name, before there
are any.

*Sent when*: SQLAlchemy reports that a constructor was called, once for an object,
before the ``__init__`` of the class. Not for an object that is loaded, nor for one
that ``session.merge()`` makes or that is unpickled: no ``__init__`` runs for those.

*Payload*:

- ``instance``: the object, with nothing set.
- ``args``: what the class was called with by position, a tuple.
- ``kwargs``: what it was called with by keyword. To change this dict changes what
  ``__init__`` gets.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises goes to the caller of the class.

.. versionadded:: 0.1
"""

post_init: NamedSignal = model_catalogue.signal(
    "post-init",
    "An object has been made by its class, or loaded.",
    payload=("instance", "is_loaded", "exchange"),
)
"""An object has been made by its class, or loaded from the database.

*Sender*: as for :data:`pre_init`.

*Sent when*: the outermost ``__init__`` has returned; and, as Django's is too, when the
session has loaded an object that it did not have, or made one to merge another into.
Not when an object that is there already is refreshed, nor for one that is unpickled.

*Payload*:

- ``instance``: the object. Of one that is loaded, relationships and further columns
  must be left alone: the query that loads it is still at work.
- ``is_loaded``: whether it was loaded or merged, so that no ``__init__`` has run.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises goes to the caller of the class, or of the query.

SQLAlchemy has no event after ``__init__``. So, from the first receiver of this signal
until :meth:`ModelInstrumentation.undo`, the ``__init__`` that SQLAlchemy has put on
each mapped class is wrapped in one of ours. Nothing else that it has is replaced.

.. versionadded:: 0.1
"""

pre_save: NamedSignal = model_catalogue.signal(
    "pre-save",
    "An object is about to be inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object is about to be inserted or updated.

*Sender*: as for :data:`pre_init`.

*Sent when*: a flush has come to the object, before its statement. Not for an object of
which nothing has changed, and never for statements that do without objects:
``session.execute(update(Order))``, ``query.delete()``, bulk methods, and what the
database does by itself, such as ``ON DELETE CASCADE``.

*Payload*:

- ``instance``: the object. Its columns may still be set; other objects, and the
  session, must be left alone within a flush.
- ``created``: whether it is inserted, not updated.
- ``connection``: the :class:`~sqlalchemy.engine.Connection` of the flush, for further
  statements in the same transaction.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises ends the flush.

.. versionadded:: 0.1
"""

post_save: NamedSignal = model_catalogue.signal(
    "post-save",
    "An object has been inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object has been inserted or updated; its transaction may still be rolled back.

*Sender*: as for :data:`pre_init`.

*Sent when*: within the flush, after the statement. Statements of many objects may be
executed together, so it can come after those of others.

*Payload*: as for :data:`pre_save`; to set columns now would change nothing.

.. versionadded:: 0.1
"""

pre_delete: NamedSignal = model_catalogue.signal(
    "pre-delete",
    "An object is about to be deleted.",
    payload=("instance", "connection", "exchange"),
)
"""An object is about to be deleted.

*Sender*: as for :data:`pre_init`.

*Sent when*: a flush has come to the object, before its statement; as for
:data:`pre_save`, not for statements that do without objects.

*Payload*: ``instance``, ``connection`` and ``exchange``, as for :data:`pre_save`.

.. versionadded:: 0.1
"""

post_delete: NamedSignal = model_catalogue.signal(
    "post-delete",
    "An object has been deleted.",
    payload=("instance", "connection", "exchange"),
)
"""An object has been deleted; its transaction may still be rolled back.

*Sender*: as for :data:`pre_init`.

*Sent when*: within the flush, after the statement.

*Payload*: ``instance``, ``connection`` and ``exchange``, as for :data:`pre_save`.

.. versionadded:: 0.1
"""


m2m_changed: NamedSignal = model_catalogue.signal(
    "m2m-changed",
    "Objects are put into a many-to-many relationship, or taken out.",
    payload=("instance", "relationship", "action", "objects", "model", "exchange"),
)
"""Objects are put into a many-to-many relationship, or taken out of it.

*Sender*: the class of the object that has the relationship, as for :data:`pre_init`.
Django's is the class of the table between; here that is a mere table, of which no class
need to be mapped, and which cannot be connected to before it is there.

*Sent when*: a flush writes what was done to the relationship since the last one: so
that what was put in and taken out again is not sent, nor what was not written. A
relationship that both classes know (``back_populates``) is sent by each of them for its
own objects, whichever of them was changed: to connect to one of them is enough to get
everything (before SQLAlchemy 2.0.19, not by the one that was not changed, unless its
relationship is loaded).

Not sent for changes that the session does not make by the relationship: statements on
the table between, relationships that are ``viewonly``, the rows that go when their
object is deleted, and tables between that are mapped themselves, whose objects have
:data:`post_save` and :data:`post_delete`.

*Payload*:

- ``instance``: the object whose relationship it is.
- ``relationship``: its name, as ``"tags"``.
- ``action``: ``"pre_remove"`` and ``"pre_add"`` at the beginning of the flush, before
  any statement of it; ``"post_remove"`` and ``"post_add"`` at its end, when the
  transaction may still be rolled back. Django's ``clear`` is the removal of all that
  the relationship had.
- ``objects``: the other objects, a tuple.
- ``model``: their class, as the relationship has it; they may be of its subclasses.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises ends the flush. A receiver of a ``pre`` action may change the
session, and what it changes is flushed; one of a ``post`` action must leave it alone.

.. versionadded:: 0.1
"""

committed: NamedSignal = model_catalogue.signal(
    "committed",
    "A change of an object has been committed.",
    payload=("instance", "identity", "change", "exchange"),
)
"""A change of an object has been committed: the moment to report it to others.

*Sender*: as for :data:`pre_init`.

*Sent when*: the outermost transaction of a session has been committed and has ended, so
that the session can load again; once for each object that the transaction inserted,
updated or deleted by a flush, in the order in which it first did. Not for an object
that was created and deleted in one transaction, nor for what a rollback has undone, of
a savepoint too. A session that takes part in a transaction of its connection, as in
tests, sends at its own commit; a rollback of that transaction comes too late.

*Payload*:

- ``instance``: the object. Every column and every lazy relationship can be read; what
  is not loaded takes a statement. Written objects are not kept until the commit, so one
  that nothing else refers to is loaded again, if a receiver reads ``instance``. Of one
  that was deleted, only what was loaded before can be read. ``None``, if the object
  cannot be loaded, as when another transaction has deleted it meanwhile.
- ``identity``: the primary key, a tuple as ``(7,)``. A receiver that reads only this
  and ``change`` causes no statement.
- ``change``: ``"created"``, also if it was updated after that, ``"updated"`` or
  ``"deleted"``.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

What a receiver raises is logged by ``signalpost.signals`` and does not harm the commit,
as nothing can be undone. A receiver may use the session, which is in a new transaction
then; commit there what it adds.

.. versionadded:: 0.1
"""
