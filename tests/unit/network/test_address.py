"""Which addresses are asked, and what belongs together."""

from __future__ import annotations

import pytest

from flowyml_policy.network.address import AddressRefused, parse_address


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://Stacks.Example/a/b.yaml?x=1", ("https", "stacks.example", 443), "/a/b.yaml?x=1"),
        ("https://stacks.example:8443", ("https", "stacks.example", 8443), "/"),
        ("https://[2001:db8::1]/a", ("https", "2001:db8::1", 443), "/a"),
        ("http://127.0.0.1:80//a", ("http", "127.0.0.1", 80), "//a"),
        ("http://localhost/", ("http", "localhost", 80), "/"),
        ("http://[::1]/", ("http", "::1", 80), "/"),
        ("http://named.example/a", ("http", "named.example", 80), "/a"),
        ("http://other.example:8080/a", ("http", "other.example", 8080), "/a"),
    ],
)
def test_address_is_read(url: str, origin: tuple[str, str, int], target: str) -> None:
    address = parse_address(url, {"named.example", "other.example:8080"})
    assert (address.origin, address.target) == (origin, target)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://[::1/a", "unreadable"),
        ("https://a.example:port/", "unreadable"),
        ("https://a.example:99999/", "unreadable"),
        ("", "scheme"),
        ("ftp://a.example/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("https:///a", "scheme"),
        ("https://a.example/a b", "scheme"),
        ("https://a.example/\r\nHost: b", "scheme"),
        ("https://a.example\\b.example/", "scheme"),
        ("https://a%2eexample/", "scheme"),
        ("https://bücher.example/", "scheme"),
        ("https://a,b.example/", "scheme"),
        ("https://a.example./", "scheme"),
        ("https://a.example:0/", "scheme"),
        ("https://user@a.example/", "credentials"),
        ("https://:pw@a.example/", "credentials"),
        ("https://127.0.0.1\\@a.example/", "credentials"),
        ("https://a.example/#b", "fragment"),
        ("http://a.example/", "plain"),
        ("http://named.example:8080/", "plain"),
        ("http://localhost.a.example/", "plain"),
    ],
)
def test_address_is_refused(url: str, reason: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(url, {"named.example:80"})
    assert (caught.value.reason, caught.value.url) == (reason, url)
