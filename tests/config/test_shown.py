from __future__ import annotations

import logging
import typing as t
from pathlib import Path

import pytest

from signalpost.config import EnabledReceiver
from tests.config.loading import load


def shown(**options: t.Any) -> dict[str, t.Any]:
    """Return what is shown of options, each as a text."""
    one = EnabledReceiver("here:Free", None, "here:Free", options, "a test", ())
    return {name: repr(value) for name, value in one.shown_options.items()}


@pytest.mark.parametrize(
    "name",
    [
        *("token", "api_key", "apiKey", "API-KEY", "apikey", "key", "password"),
        *("db_password", "passwd", "pwd", "passphrase", "secret", "client_secret"),
        *("clientSecret", "secret_key", "SECRET_KEY", "credentials", "auth"),
        *("authorization", "proxy_authorization", "dsn", "sentry_dsn", "webhook"),
        *("webhook_url", "webhookUrl", "slack_webhook", "headers", "otlp_headers"),
        *("cookie", "session", "private_key", "access_token", "signing_key", "salt"),
        *(
            "psk",
            "pem",
            "pw",
            "mypw",
            "pswd",
            "dbpwd",
            "dbpass",
            "userpass",
            "smtppass",
        ),
        *(
            "authkey",
            "sshkey",
            "masterkey",
            "accountkey",
            "sharedkey",
            "sasKey",
            "key2",
        ),
        *("hmac", "csrf", "xsrf", "oauth", "oauth2", "sessionid", "PHPSESSID", "sid"),
        *(
            "signature",
            "sig",
            "seed",
            "jwt",
            "jwks",
            "pin",
            "pincode",
            "mypin",
            "bearer",
        ),
        *("otp", "totp", "nonce", "login", "creds", "clientcert", "httpauth", "dbPW"),
        *("AccountKey", "x-api-key", "connect.sid", "hook_url", "webhook_path", "cvv"),
    ],
)
@pytest.mark.parametrize("value", ["sesame", 1234, 1.5, ["sesame"], {"a": "sesame"}])
def test_a_secret_is_known_by_its_name(name: str, value: object) -> None:
    assert shown(**{name: value}) == {name: "…"}
    assert shown(outer={"x": {name: value}}) == {"outer": f"{{'x': {{{name!r}: …}}}}"}


@pytest.mark.parametrize(
    "value",
    [
        "Bearer sesame",
        "basic c2VzYW1lOnNlc2FtZQ==",
        "host=db user=shop password=sesame",
        "password: sesame",
        "/path?token=sesame",
        "user:sesame@host",
        "ghp_sesame0123",
        "xoxb-sesame-0123",
        "sk_live_sesame",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.e30.sesame",
        "-----BEGIN PRIVATE KEY-----\nsesame",
        "0123456789abcdef0123456789abcdef",
        "123e4567-e89b-12d3-a456-426614174000",
        "--api-key=sesame",
        '{"api_key": "sesame"}',
        "mysql --password sesame shop",
        "mysql -u shop -p sesame",
        "mysql -psesame shop",
        "curl -u shop:sesame https://shop.test",
        "redis-cli -a sesame",
        "requirepass sesame",
        "machine shop.test login shop password sesame",
        "CREATE USER shop IDENTIFIED BY 'sesame'",
        "X-Api-Key: sesame",
        "Set-Cookie: shop=sesame",
        "Server=db;Uid=shop;Pwd=sesame",
        "DefaultEndpointsProtocol=https;AccountKey=sesame==",
        "PGPASSWORD=sesame psql",
        "{'pw': 'sesame'}",
        "eyJ0.e30.sesame",
        "-----BEGIN CERTIFICATE-----\nsesame",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----",
        "ASIASESAMESESAME0000",
        "id_AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "sEsAmEoPeNsEsAmEoPeN",
        "SG.sesame-sesame.open",
    ],
)
def test_a_secret_is_known_by_its_form(value: str) -> None:
    assert shown(x=value, y=[value], z={"a": value}) == {
        "x": "…",
        "y": "[…]",
        "z": "{'a': …}",
    }


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://shop:sesame@db:5432/shop", "'postgresql://db:5432/…'"),
        ("https://hooks.test/services/T0/B0/sesame", "'https://hooks.test/…'"),
        ("https://sesame@sentry.test/1", "'https://sentry.test/…'"),
        ("redis://:sesame@cache", "'redis://cache/…'"),
        ("https://shop.test?key=sesame", "'https://shop.test/…'"),
        ("https://shop.test#sesame", "'https://shop.test/…'"),
        ("https:/shop:sesame@host", "'https://host/…'"),
        ("https://shop.test/#open=sesame", "'https://shop.test/…'"),
        ("see https://shop.test/T0/sesame now", "'see https://shop.test/… now'"),
        ("https://a.test,https://b.test/sesame", "'https://a.test,https:/…'"),
        ("/back?code=sesame", "'/back?…'"),
        ("shop.test/back#code=sesame&x=1", "'shop.test/back?…'"),
        ("http://localhost:4318", "'http://localhost:4318'"),
        ("http://localhost:4318/", "'http://localhost:4318/'"),
    ],
)
def test_of_a_url_the_host_is_shown(url: str, text: str) -> None:
    assert shown(url=url) == {"url": text}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        3,
        0.5,
        "exchange-closed",
        "/static/**",
        "shop.metrics:tenant_of",
        "X-Request-ID",
        "10.0.0.0/8",
        "/run/shop/watch",
        "a_rather_long_name_of_something",
        ["/", "/about"],
        ("/", "/about"),
        {"/healthz": 0.01, "*": 0.1},
        {"slow": "error"},
        [0.005, 0.01, 0.025],
        "",
        [],
        {},
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(value: object) -> None:
    assert shown(x=value) == {"x": repr(value)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["mysql", "--password", "sesame"], "['mysql', '--password', …]"),
        (["mysql", "-p", "sesame", "shop"], "['mysql', '-p', …, 'shop']"),
        (["curl", "-u", "shop"], "['curl', '-u', …]"),
        ([["DB_PASS", "sesame"], ["X", "y"]], "[['DB_PASS', …], ['X', 'y']]"),
        ((("X-Api-Key", "sesame"),), "(('X-Api-Key', …),)"),
        (["X-Api-Key:", "sesame"], "['X-Api-Key:', …]"),
        (["X-Api-Key: sesame", "Accept: */*"], "[…, 'Accept: */*']"),
        (["DB_PASS=sesame", "DB=shop"], "[…, 'DB=shop']"),
        ({"name": "DB_PASS", "value": "sesame"}, "{'name': 'DB_PASS', 'value': …}"),
        ({"key": "DB_PASS", "value": 1234}, "{'key': …, 'value': …}"),
        ([{"field": "X-Token", "is": ["a"]}], "[{'field': 'X-Token', 'is': …}]"),
        ({"name": "DB_HOST", "value": "db"}, "{'name': 'DB_HOST', 'value': 'db'}"),
        ({"env": {"DB_PASS": "sesame"}}, "{'env': {'DB_PASS': …}}"),
        (["status", "route", "method"], "['status', 'route', 'method']"),
    ],
)
def test_a_value_next_to_the_name_of_a_secret_is_one(value: object, text: str) -> None:
    assert shown(x=value) == {"x": text}


def test_options_beside_the_name_of_a_secret_are_secrets() -> None:
    options = {"name": "DB_PASS", "value": "sesame", "is_new": True}
    assert shown(**options) == {"name": "'DB_PASS'", "value": "…", "is_new": "True"}


def test_each_of_many_options_is_shown() -> None:
    assert len(shown(**{f"x{number}": number for number in range(100)})) == 100


def test_yes_no_and_nothing_are_no_secrets() -> None:
    assert shown(token=None, with_keys=True) == {"token": "None", "with_keys": "True"}


def test_names_that_only_sound_like_secrets_are_shown() -> None:
    options: dict[str, t.Any] = {
        "forwarded_header": "X-Forwarded-For",
        "token_file": "/run/token",
        "author": "me",
        "keyboard": "x",
        "monkey": "x",
        "compass": "x",
        "max_label_sets": 3,
        "keys_max": 100,
        "max_tokens": "100",
        "key_func": "shop.keys.find",
        "passes": 2,
        "pinned": "x",
        "token_env": "SHOP_TOKEN",
        "cookie_name": "shop",
        "password_field": "word",
        "session_lifetime": 3600,
        "bypass": "x",
        "monkeys": "x",
        "spin": "x",
        "concert": "x",
        "keyword": "x",
        "authority": "shop.test",
        "assigned": "x",
        "query_keys": ["page"],
    }
    assert shown(**options) == {name: repr(value) for name, value in options.items()}


class Client:
    def __repr__(self) -> str:
        raise AssertionError("a repr may have secrets")


def test_what_is_about_a_secret_is_judged_by_its_form() -> None:
    assert shown(token_env="ghp_sesame0123", key_file="-----BEGIN X") == {
        "token_env": "…",
        "key_file": "…",
    }


def test_a_long_text_is_judged_in_time_that_grows_with_it() -> None:
    for text in ("a" * 10**6, "a=" * 10**6, "- " * 10**6, "-a" * 10**6, "?a" * 10**6):
        shown(x=[text] * 20, y={text: text})


def test_objects_are_shown_by_their_type() -> None:
    assert shown(
        a=Client(),
        b=Client,
        c=len,
        d=logging.getLogger("shop.audit"),
        e=Path("/srv/shop"),
        f=b"sesame",
        g=lambda: 3,
    ) == {
        "a": "<Client>",
        "b": "<Client>",
        "c": "<len>",
        "d": "<logger shop.audit>",
        "e": "'/srv/shop'",
        "f": "<bytes>",
        "g": "<test_objects_are_shown_by_their_type.<locals>.<lambda>>",
    }


def test_large_values_are_cut() -> None:
    endless: list[t.Any] = []
    endless += [endless] * 100
    options = {
        "a": "x" * 100_000,
        "b": [1] * 100_000,
        "c": {str(number): 1 for number in range(100_000)},
        "d": 10**5000,
        "e": endless,
    }
    texts = shown(**options)
    assert len(texts["a"]) < 300
    assert len(texts["b"]) < 100
    assert len(texts["c"]) < 300
    assert texts["d"] == "<a huge number>"
    assert texts["b"].endswith("1, …]")


def test_what_is_enabled_has_no_secret_in_its_repr() -> None:
    one = load({"here:Free": {"api_key": "sesame"}})["here:Free"]
    assert "sesame" not in repr(one)
    assert one.options == {"api_key": "sesame"}
    assert one.receiver.options == {"api_key": "sesame"}
