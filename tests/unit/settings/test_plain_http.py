"""The hosts that http sources may be read from without TLS: how they are written, whose they are, what they allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowyml_policy.settings.settings import Settings

Load = Callable[..., Settings]
Refused = Callable[..., str]

WEB = "stacks: {web: {source: http, url: '%s'}}\n"
HOSTS = "policy: {sources: {plain_http: [%s]}}\n"


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("files.example", "http://files.example/a.yaml"),
        ("files.example", "http://files.example:8080/a.yaml"),
        ("Files.Example", "http://FILES.example/a.yaml"),
        ("files.example:8080", "http://files.example:8080/a.yaml"),
        ("files.example:80", "http://files.example/a.yaml"),
        ("files.example:080", "HTTP://files.example:80/a.yaml"),
        ("files", "http://files/a.yaml"),
        ("192.0.2.7", "http://192.0.2.7:8080/a.yaml"),
        ("'[2001:DB8:0::1]:8080'", "http://[2001:db8::1]:8080/a.yaml"),
        ("'[2001:db8::1]'", "http://[2001:db8:0::1]/a.yaml"),
        ("", "http://127.0.0.1:8080/a.yaml"),
        ("", "http://localhost/a.yaml"),
    ],
)
def test_plain_http_address_of_a_named_host_is_taken(load: Load, named: str, url: str) -> None:
    settings = load(HOSTS % named + WEB % url)
    assert settings.stacks["web"].model_dump(include={"source", "url"}) == {"source": "http", "url": url}


@pytest.mark.parametrize(
    ("named", "url", "host"),
    [
        ("", "http://files.example/a.yaml", "files.example"),
        ("", "HTTP://files.example/a.yaml", "files.example"),
        ("example", "http://files.example/a.yaml", "files.example"),
        ("files.example", "http://files.example.evil/a.yaml", "files.example.evil"),
        ("files.example", "http://evil.files.example/a.yaml", "evil.files.example"),
        ("files.example:8080", "http://files.example/a.yaml", "files.example"),
        ("files.example:8080", "http://files.example:8081/a.yaml", "files.example"),
        ("files.example:443", "http://files.example/a.yaml", "files.example"),
        ("'[2001:db8::1]:80'", "http://[2001:db8::1]:8080/a.yaml", "2001:db8::1"),
    ],
)
def test_plain_http_address_of_another_host_fails_closed(refused: Refused, named: str, url: str, host: str) -> None:
    assert refused(HOSTS % named + WEB % url) == (
        f"`stacks.web.url` is a plain http address of {host}: flowyml.yaml:2:35; "
        f"write https, or name {host} under `policy.sources.plain_http`"
    )


@pytest.mark.parametrize("value", ["files.example:0", "files.example:65536", "'[12:::::1]'", "'[::1'"])
def test_plain_http_host_that_is_none_is_refused(refused: Refused, value: str) -> None:
    said = refused(HOSTS % value)
    bare = value.strip("'")
    assert said == (
        f"`policy.sources.plain_http[0]` is no host: '{bare}': flowyml.yaml:1:33; "
        "write a host alone, or with its port, as files.example.com:8080"
    )


def test_plain_http_hosts_are_the_platforms_where_it_names_them(load: Load, refused: Refused) -> None:
    web = WEB % "http://files.example/a.yaml"
    assert load(web, platform=HOSTS % "files.example").policy.sources.plain_http == ("files.example",)
    assert refused(web, platform=HOSTS % "") == (
        "`stacks.web.url` is a plain http address of files.example: flowyml.yaml:1:35; "
        "write https, or name files.example under `policy.sources.plain_http`, which the platform sets "
        "(/etc/settings.yaml:1:20)"
    )
    assert refused(HOSTS % "files.example" + web, platform=HOSTS % "") == (
        "`policy.sources.plain_http` is set by the platform (/etc/settings.yaml:1:20) and again: "
        "flowyml.yaml:1:20; take it out of the project\n"
        "`stacks.web.url` is a plain http address of files.example: flowyml.yaml:2:35; "
        "write https, or name files.example under `policy.sources.plain_http`, which the platform sets "
        "(/etc/settings.yaml:1:20)\n"
        "correct the file; `flowyml-policy schema settings` prints what may stand there"
    )


@pytest.mark.parametrize(
    "elsewhere",
    [
        "policy: {sources: {plain_http: [files.example]}, registry: {url: 'http://files.example'}}\n",
        "policy: {sources: {plain_http: [files.example]}, audit: {report_to: 'http://files.example'}}\n",
        HOSTS % "files.example" + "stacks: {a: {source: git, repo: 'http://files.example/a.git'}}\n",
    ],
)
def test_named_host_opens_nothing_but_http_sources(refused: Refused, elsewhere: str) -> None:
    said = refused(elsewhere)
    assert "is a plain http address of files.example" in said
    assert said.endswith("write https; plain http is for this machine alone")
