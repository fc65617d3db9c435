"""Django, set up with the modules that its section of the documentation has."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import code_blocks
from tests.servers.test_newcomer import Output
from tests.servers.test_newcomer import PATIENCE_SECONDS
from tests.servers.test_newcomer import started

pytest.importorskip("django")

PROGRAMS = Path(sys.executable).parent
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "shop.wsgi")

SETTINGS = """
ALLOWED_HOSTS = ["127.0.0.1"]
MIDDLEWARE = ["shop.records.RecordRoute"]
ROOT_URLCONF = "shop.urls"
SECRET_KEY = "only for a test"
"""

URLS = """
from django.http import Http404, HttpResponse
from django.urls import include, path

def item(request, number):
    if number == 0:
        raise Http404
    return HttpResponse(100 // (number - 1))

def upload(request):
    return HttpResponse(len(request.body))

urlpatterns = [
    path("shop/", include([path("items/<int:number>", item, name="item")])),
    path("upload", upload),
]
"""

CONFIGURATION = """
[signalpost]
format = "text"
[signalpost.receivers]
latency = true
failures = true
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[int, Output]]:
    """Serve Django; yield the port and the output of the server."""
    records, wsgi = (
        one
        for one in code_blocks("howto/where-to-put-it", "python")
        if one.startswith(("# shop/records.py", "# shop/wsgi.py"))
    )
    (tmp_path / "shop").mkdir()
    # As in the file that Django makes.
    module = 'import os\nos.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"\n'
    files = {
        "shop/records.py": records,
        "shop/wsgi.py": module + wsgi,
        "shop/settings.py": SETTINGS,
        "shop/urls.py": URLS,
        "signalpost.toml": CONFIGURATION,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with started(PROGRAMS, tmp_path, GUNICORN) as process:
        output = Output(process)
        yield int(output.find(r"http://127\.0\.0\.1:(\d+)")[1]), output


def status_of(port: int, path: str) -> int:
    """Return the status of a response."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_requests_have_the_routes_of_django(site: tuple[int, Output]) -> None:
    port, output = site
    assert status_of(port, "/shop/items/2") == 200
    output.find(r"latency GET /shop/items/<int:number> 200 complete")
    assert status_of(port, "/shop/items/0") == 404
    output.find(r"latency GET /shop/items/<int:number> 404 complete")
    assert status_of(port, "/nothing") == 404
    output.find(r"latency GET /nothing 404 complete")
    assert "signalpost.failures" not in output.text


def test_what_django_answers_with_an_error_page_has_failed(
    site: tuple[int, Output],
) -> None:
    port, output = site
    assert status_of(port, "/shop/items/1") == 500
    output.find(
        r"failures GET /shop/items/<int:number> - view ZeroDivisionError"
        r" at=\S*shop/urls\.py:8:item"
    )
    output.find(r"latency GET /shop/items/<int:number> 500 complete")


def test_client_that_leaves_its_upload_has_aborted(site: tuple[int, Output]) -> None:
    port, output = site
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
        head = "POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nff\r\nmug".encode())
    output.find(r"latency POST /upload \S+ aborted")
    assert "signalpost.failures" not in output.text
