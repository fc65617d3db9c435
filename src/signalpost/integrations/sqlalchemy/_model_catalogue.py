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
- ``args``: the positional arguments of the class, a tuple.
- ``kwargs``: its keyword arguments. If a receiver changes this dict, ``__init__`` gets
  the changes.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

The caller of the class gets an exception of a receiver.

.. versionadded:: 0.1
"""

post_init: NamedSignal = model_catalogue.signal(
    "post-init",
    "An object has been made by its class, or loaded.",
    payload=("instance", "is_loaded", "exchange"),
)
"""An object has been made by its class, or loaded from the database.

*Sender*: as for :data:`pre_init`.

*Sent when*: the outermost ``__init__`` has returned. Also, as in Django, when the
session has loaded a new object, or created one to merge another into. Not sent when an
existing object is refreshed, nor for one that is unpickled.

*Payload*:

- ``instance``: the object. Do not use relationships and further columns of a loaded
  object: the query that loads it is still running.
- ``is_loaded``: ``True`` if it was loaded or merged, so that no ``__init__`` has run.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

The caller of the class, or of the query, gets an exception of a receiver.

SQLAlchemy has no event after ``__init__``. So, from the first receiver of this signal
until :meth:`ModelInstrumentation.undo`, SQLAlchemy's ``__init__`` of each mapped class
is wrapped. Nothing else of the class is replaced.

.. versionadded:: 0.1
"""

pre_save: NamedSignal = model_catalogue.signal(
    "pre-save",
    "An object is about to be inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object is about to be inserted or updated.

*Sender*: as for :data:`pre_init`.

*Sent when*: a flush has reached the object, before its statement. Not sent for an
unchanged object, and never for statements without objects:
``session.execute(update(Order))``, ``query.delete()``, bulk methods, and changes that
the database makes by itself, such as ``ON DELETE CASCADE``.

*Payload*:

- ``instance``: the object. A receiver may set its columns. It must not change other
  objects or the session during a flush.
- ``created``: ``True`` if it is inserted, not updated.
- ``connection``: the :class:`~sqlalchemy.engine.Connection` of the flush, for further
  statements in the same transaction.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

If a receiver raises, the flush is aborted.

.. versionadded:: 0.1
"""

post_save: NamedSignal = model_catalogue.signal(
    "post-save",
    "An object has been inserted or updated.",
    payload=("instance", "created", "connection", "exchange"),
)
"""An object has been inserted or updated; its transaction may still be rolled back.

*Sender*: as for :data:`pre_init`.

*Sent when*: during the flush, after the statement. Statements of many objects may be
executed together, so it may be sent after the statements of others.

*Payload*: as for :data:`pre_save`; setting columns has no effect now.

.. versionadded:: 0.1
"""

pre_delete: NamedSignal = model_catalogue.signal(
    "pre-delete",
    "An object is about to be deleted.",
    payload=("instance", "connection", "exchange"),
)
"""An object is about to be deleted.

*Sender*: as for :data:`pre_init`.

*Sent when*: a flush has reached the object, before its statement; as for
:data:`pre_save`, not for statements without objects.

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
(In Django, it is the class of the table between the two. In SQLAlchemy, this table
needs no class, and a receiver could not be connected to it before it exists.)

*Sent when*: a flush writes the changes of the relationship since the last flush. So an
object that was added and removed again is not sent. If both classes have the
relationship (``back_populates``), each sends it for its own objects, whichever side was
changed: it is enough to connect to one of them. (Before SQLAlchemy 2.0.19, the side
that was not changed sends it only if its relationship is loaded.)

Not sent for changes that the session does not make through the relationship: statements
on the table between, relationships that are ``viewonly``, rows that are deleted with
their object, and a table between that is itself mapped, whose objects have
:data:`post_save` and :data:`post_delete`.

*Payload*:

- ``instance``: the object whose relationship it is.
- ``relationship``: its name, as ``"tags"``.
- ``action``: ``"pre_remove"`` and ``"pre_add"`` at the beginning of the flush, before
  its statements; ``"post_remove"`` and ``"post_add"`` at its end, when the transaction
  may still be rolled back. Django's ``clear`` is a removal of all objects.
- ``objects``: the other objects, a tuple.
- ``model``: their class, as the relationship has it; they may be of its subclasses.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

If a receiver raises, the flush is aborted. A receiver of a ``pre`` action may change
the session, and its changes are flushed. A receiver of a ``post`` action must not
change it.

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
updated or deleted by a flush, in the order of the first change. Not sent for an object
that was created and deleted in one transaction, nor for changes that a rollback undid,
even one to a savepoint. If a session takes part in a transaction of its connection, as
in tests, it is sent at the session's commit; a later rollback of that transaction is
too late.

*Payload*:

- ``instance``: the object. Every column and every lazy relationship can be read; values
  that are not loaded need a statement. Written objects are not kept until the commit.
  If nothing else refers to an object and a receiver reads ``instance``, it is loaded
  again. If the object was deleted, only its loaded values can be read. ``None`` if the
  object cannot be loaded, for instance because another transaction has deleted it.
- ``identity``: the primary key, a tuple as ``(7,)``. A receiver that reads only this
  and ``change`` causes no statement.
- ``change``: ``"created"``, also if it was updated after that, ``"updated"`` or
  ``"deleted"``.
- ``exchange``: the current :class:`~signalpost.exchange.Exchange`, or ``None``.

If a receiver raises, ``signalpost.signals`` logs the exception and the commit is not
affected, because it cannot be undone. A receiver may use the session, which is then in
a new transaction. If it adds objects, it must commit them.

.. versionadded:: 0.1
"""
