"""The shown part of a Referer header: no secret, and the path of ordinary URLs."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalpost.exchange import Exchange


def shown(header: str) -> str | None:
    environ = {"HTTP_REFERER": header.encode().decode("latin-1")}
    return Exchange(environ, "shop").referrer


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https://a.example/",
        "http://a.example:8000/x/y.html",
        "HTTPS://A.Example/Path",
        "https://192.0.2.1/x",
        "https://[2001:db8::1]:8443/x",
        "https://[fe80::1%25eth0]/x",
        "https://bücher.example/bücher",
        "https://my_host.example/x",
        "http://localhost/a,b/c=d/e:f",
        "https://a.example/@ada",
        "https://a.example/ada@b.example",
        "https://a.example:8000/@ada",
        "https://a.example/caf%C3%A9/100%25",
        "https://a.example/a b",
        "https://a.example/black&white/a&b",
        "https://web.example/https://a.example/x",
        "android-app://com.example.mail/",
        "file:///home/ada/x.html",
        "about:blank",
        "about:srcdoc",
        "//a.example/x",
        "/cart/7",
        "shop.example",
        "/",
    ],
)
def test_origin_and_path_of_a_url_are_kept(url: str) -> None:
    assert shown(url) == url
    assert shown(f"{url}?token=s3cret#s3cret") == url


SECRETS = [
    ("https://a.example/x&token=s3cret", "https://a.example/x"),
    ("https://a.example/x&a[b]=1&token=s3cret", "https://a.example/x"),
    ("https://a.example/x%26token%3Ds3cret", "https://a.example/x"),
    ("https://a.example/x%2526token%253Ds3cret/y", "https://a.example/x"),
    ("https://a.example&token=s3cret", "https://a.example"),
    ("https://ada&x=s3cret@a.example/x", "https:…"),
    ("/x&token=s3cret", "/x"),
    ("https:/ada:s3cret@a.example", "https:…"),
    ("https:ada:s3cret@a.example", "https:…"),
    ("https:s3cret@a.example", "https:…"),
    ("https:///ada:s3cret@a.example/x", "https:…"),
    ("https:////ada:s3cret@a.example/x", "https:…"),
    ("https:\\\\ada:s3cret@a.example", "https:…"),
    ("https:/\\ada:s3cret@a.example", "https:…"),
    ("https:\\/ada:s3cret@a.example/x", "https:…"),
    ("https://ada\\:s3cret@a.example/", "https:…"),
    ("https://ada:s3cret\\@a.example/", "https:…"),
    ("https://a.example\\s3cret@b.example/", "https:…"),
    ("https://a.example/x\\ada:s3cret@b.example", "https://a.example/…"),
    ("HTTPS:/ada:s3cret@a.example", "HTTPS:…"),
    ("ada:s3cret@a.example/p", "…"),
    ("s3cret:x@a.example", "…"),
    ("s3cret:x@a.example//p", "…"),
    ("s3cret@a.example/p", "…"),
    ("a.example/x//s3cret@b.example", "…"),
    ("//ada:s3cret@a.example/x", "//a.example/x"),
    ("//s3cret@a.example/x", "//a.example/x"),
    ("\\\\ada:s3cret@a.example/x", "…"),
    ("/\\ada:s3cret@a.example/x", "/…"),
    ("/ada:s3cret@a.example/x", "/a.example/x"),
    ("https://s3cret@a.example/x", "https://a.example/x"),
    ("https://s3cret:@a.example/x", "https://a.example/x"),
    ("https://:s3cret@a.example/x", "https://a.example/x"),
    ("https://ada:s3@cr@et:s3cret@a.example/x", "https://a.example/x"),
    ("https://ada:s3cret@[fe80::1%25eth0]:1/x", "https://[fe80::1%25eth0]:1/x"),
    ("https://ada:s3cret%40a.example/x", "https:…"),
    ("https://s3cret%40a.example/x", "https:…"),
    ("https://s3cret%2540a.example/x", "https:…"),
    ("https://ada:s3cret\uff20a.example/x", "https:…"),
    ("https://ada:s3cret/x@a.example/", "https:…"),
    ("https://ada:12/s3cret@a.example/", "https:…"),
    ("https://ada:12?s3cret@a.example/", "https:…"),
    ("https://ada:12#s3cret@a.example/", "https:…"),
    ("https://ada:s3cret", "https:…"),
    ("https://a.example;jsessionid=s3cret/x", "https:…"),
    ("https://a.example/x;jsessionid=s3cret", "https://a.example/x"),
    ("https://a.example/x;JSESSIONID=s3cret?y", "https://a.example/x"),
    ("https://a.example/x;a=s3cret/y;b=s3cret/z", "https://a.example/x/y/z"),
    ("https://a.example/x%3Bjsessionid=s3cret/y", "https://a.example/x/y"),
    ("https://a.example/x%3bjsessionid=s3cret", "https://a.example/x"),
    ("https://a.example/x%253Bs3cret", "https://a.example/x"),
    ("https://a.example/x%3Ftoken=s3cret/y", "https://a.example/x"),
    ("https://a.example/x%23s3cret", "https://a.example/x"),
    ("/x;jsessionid=s3cret", "/x"),
    ("a.example;s3cret/x;s3cret", "a.example/x"),
    ("https://a.example/https://ada:s3cret@b.example/", None),
    ("https://a.example/https://s3cret@b.example/", None),
    ("https://a.example/https:/s3cret@b.example/", None),
    ("https://a.example/,https://ada:s3cret@b.example/", None),
    ("https://a.example/https%3A%2F%2Fada%3As3cret%40b.example", None),
    ("https://a.example/go/ada:s3cret%40b.example", None),
    ("mailto:s3cret@a.example", "mailto:…"),
    ("MailTo:s3cret", "MailTo:…"),
    ("javascript:alert('s3cret')", "javascript:…"),
    ("javascript://s3cret@%0aalert()", "javascript:…"),
    ("data:text/html;base64," + "s3cret" * 100_000, "data:…"),
    ("blob:https://ada:s3cret@a.example/1", "blob:…"),
    ("view-source:https://ada:s3cret@a.example/", "view-source:…"),
    ("tel:s3cret", "tel:…"),
    ("about:s3cret", "about:…"),
    ("android-app:s3cret", "android-app:…"),
    ("android-app://s3cret@com.example/x", "android-app://com.example/x"),
    ("ftp://ada:s3cret@a.example/x", "ftp://a.example/x"),
    ("file://ada:s3cret@a.example/x", "file://a.example/x"),
    ("file:///ada:s3cret@a.example/x", "file:…"),
    ("foo:///s3cret@a.example/x", "foo:…"),
    ("s3cret", "…"),
    ("s3cret word", "…"),
    ("Bearer s3cret", "…"),
    ("token=s3cret", "…"),
    ("aaaa.bbbb." + "s3cret" * 20, "…"),
    ("://s3cret@a.example", "…"),
    (":s3cret", "…"),
    (" https://ada:s3cret@a.example/x", "https://a.example/x"),
    ("\x00\t\r\n\x1fhttps://ada:s3cret@a.example/x", "https://a.example/x"),
    ("\ufeffhttps:/ada:s3cret@a.example/x", "https:…"),
    ("ht\ntps://ada:s3cret@a.example/x", "…"),
    ("https\t://ada:s3cret@a.example/x", "…"),
    ("https:\n//ada:s3cret@a.example/x", "https:…"),
    ("https:/\t/ada:s3cret@a.example/x", "https:…"),
    ("https://\tada:s3cret@a.example/x", "https://a.example/x"),
    ("https://ada:s3cret@\ta.example/x", "https:…"),
    ("https://ada\n:s3cret\r\n@a.example/x", "https://a.example/x"),
    ("https://[::1/s3cret", "https:…"),
    ("https://[s3cret]/x", "https:…"),
]


@pytest.mark.parametrize(("header", "referrer"), SECRETS)
def test_no_secret_is_shown(header: str, referrer: str | None) -> None:
    found = shown(header)
    assert found is not None
    assert "s3cret" not in found
    assert referrer is None or found == referrer


@pytest.mark.parametrize("nothing", ["", "?s3cret", "#s3cret", "  ", "\t?s3cret"])
def test_what_has_no_origin_and_no_path_is_no_referrer(nothing: str) -> None:
    assert shown(nothing) is None


def test_a_url_within_the_path_keeps_its_host() -> None:
    url = "https://a.example/to/https://ada:s3cret@b.example/x"
    assert shown(url) == "https://a.example/to/https://b.example/x"


marks = st.text("/\\:;@?#%4032BF [].\t\n", max_size=4)


@given(
    scheme=st.sampled_from(["https", "HTTP", "ftp", "mailto", "ada", ""]),
    slashes=st.text("/\\: \t", max_size=4),
    user=st.sampled_from(["ada:", "ada", ":", ""]),
    before=marks,
    at=st.sampled_from(["@", "%40", "@@", "\\@"]),
    path=st.text(string.ascii_letters + "/", max_size=9),
)
def test_no_password_is_shown_wherever_the_marks_are(
    scheme: str, slashes: str, user: str, before: str, at: str, path: str
) -> None:
    # Of one that is in the path by every reading nothing is known to be a secret.
    header = f"{scheme}:{slashes}{user}s3cret{at}{before}a.example/{path}"
    assert "s3cret" not in (shown(header) or "")


@pytest.mark.parametrize(
    "text",
    [
        *("/", "@", ";", "%25", "%40", "%3B", "\\", "a@b/", ":@", "//a@", "%", "."),
        *("a.", "[", "\t", "https://", "a:b@c/", "%2525"),
    ],
)
@pytest.mark.parametrize("before", ["", "https://", "https://a.example/", "x:", "//"])
def test_a_long_header_is_read_in_linear_time(before: str, text: str) -> None:
    """It takes minutes if a pattern tries each beginning with each end."""
    shown(before + text * 200_000 + "!")
