"""Starts a server that has no command line: NAME APP PORT."""

from __future__ import annotations

import sys
import typing as t
from importlib import import_module
from wsgiref import simple_server

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"


def bjoern(app: WSGIApplication, port: int) -> None:
    import_module("bjoern").run(app, HOST, port)


def cheroot(app: WSGIApplication, port: int) -> None:
    wsgi = import_module("cheroot.wsgi")
    wsgi.Server((HOST, port), app, numthreads=4).start()


def gevent(app: WSGIApplication, port: int) -> None:
    pywsgi = import_module("gevent.pywsgi")
    pywsgi.WSGIServer((HOST, port), app, log=None).serve_forever()


def waitress(app: WSGIApplication, port: int) -> None:
    # The smallest buffer there is, so that a client who leaves is noticed soon.
    import_module("waitress").serve(
        app, host=HOST, port=port, threads=4, outbuf_high_watermark=1, send_bytes=1
    )


def werkzeug(app: WSGIApplication, port: int) -> None:
    import_module("werkzeug.serving").run_simple(HOST, port, app, threaded=True)


def werkzeug_debugger(app: WSGIApplication, port: int) -> None:
    import_module("werkzeug.serving").run_simple(
        HOST, port, app, threaded=True, use_debugger=True
    )


def wsgiref(app: WSGIApplication, port: int) -> None:
    simple_server.make_server(HOST, port, app).serve_forever()


STARTS: dict[str, t.Callable[[WSGIApplication, int], None]] = {
    "bjoern": bjoern,
    "cheroot": cheroot,
    "gevent": gevent,
    "waitress": waitress,
    "werkzeug": werkzeug,
    "werkzeug-debugger": werkzeug_debugger,
    "wsgiref": wsgiref,
}


def application(name: str) -> WSGIApplication:
    """Import ``"package.module:attribute"``."""
    module, _, attribute = name.partition(":")
    return t.cast("WSGIApplication", getattr(import_module(module), attribute))


def main(arguments: list[str]) -> None:
    """Serve until the process is stopped."""
    server, name, port = arguments[:3]
    if server == "uwsgi":
        # Not returned from: uWSGI takes the process over.
        import_module("pyuwsgi").run(
            [
                *("--http-socket", f"{HOST}:{port}", "--module", name),
                *("--master", "--enable-threads", "--threads", "4", "--die-on-term"),
                *("--need-app", "--disable-logging", *arguments[3:]),
            ]
        )
    else:
        STARTS[server](application(name), int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
