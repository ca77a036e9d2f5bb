"""Image references and allowlist entries: a table of cases, which the Rego rule is held to as well, and their laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.references.image import ImageReference, matches, parse_allowlist_entry, parse_reference

TABLE: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "data" / "image_references.json").read_text(encoding="utf-8")
)


def reason(error: ReferenceInvalid) -> str:
    return error.message.rpartition(": ")[2]


@pytest.mark.parametrize("case", TABLE["references"], ids=lambda case: ascii(case["text"])[:40])
def test_parse_reference_reads_as_docker_reads_or_refuses(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(ReferenceInvalid) as caught:
            parse_reference(case["text"])
        assert caught.value.message.endswith(f" is no image reference: {case['refused']}")
        assert caught.value.advice
    else:
        read = parse_reference(case["text"])
        assert {"text": case["text"], **read._asdict()} == case


@pytest.mark.parametrize("case", TABLE["allowlist_entries"], ids=lambda case: ascii(case["text"])[:40])
def test_parse_allowlist_entry_normalises_or_refuses(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(ReferenceInvalid) as caught:
            parse_allowlist_entry(case["text"])
        assert caught.value.message.endswith(f" cannot stand in a list of registries: {case['refused']}")
        assert caught.value.advice
    else:
        assert parse_allowlist_entry(case["text"]) == case["entry"]


@pytest.mark.parametrize("case", TABLE["matches"], ids=lambda case: f"{case['entry']}-{case['reference'][:40]}")
def test_matches_allows_whole_hosts_and_components_only(case: dict[str, Any]) -> None:
    entry = parse_allowlist_entry(case["entry"])

    assert entry == case["entry"]
    assert matches(entry, parse_reference(case["reference"])) is case["allowed"]


@pytest.mark.parametrize("value", [None, 3, b"ubuntu", ["ubuntu"], {}])
def test_parse_of_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ReferenceInvalid, match="a value that is not text is no image reference: it is not text"):
        parse_reference(value)
    with pytest.raises(ReferenceInvalid, match="a value that is not text cannot stand in a list of registries"):
        parse_allowlist_entry(value)


@pytest.mark.parametrize(
    "text",
    [
        "user:hunter2@x.io/a",
        "https://user:hunter2@x.io/a",
        f"user:hunter2@x.io/a@sha256:{'0' * 64}",
        "a@hunter2@x.io/b",
    ],
)
def test_refusal_of_a_password_does_not_show_it(text: str) -> None:
    for parse in (parse_reference, parse_allowlist_entry):
        with pytest.raises(ReferenceInvalid) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "effective_tag", "written"),
    [
        ("ubuntu", "docker.io/library/ubuntu", "latest", "docker.io/library/ubuntu"),
        ("x.io/a:1", "x.io/a", "1", "x.io/a:1"),
        (f"x.io/a@sha256:{'0' * 64}", "x.io/a", None, f"x.io/a@sha256:{'0' * 64}"),
        (f"x.io/a:1@sha256:{'0' * 64}", "x.io/a", None, f"x.io/a:1@sha256:{'0' * 64}"),
    ],
)
def test_image_reference_answers_name_and_the_tag_that_a_pull_asks_for(
    text: str, name: str, effective_tag: str | None, written: str
) -> None:
    reference = parse_reference(text)

    assert (reference.name, reference.effective_tag, str(reference)) == (name, effective_tag, written)


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
ports = st.just("") | st.integers(1, 65535).map(lambda port: f":{port}")
hosts = st.builds(lambda parts, port: ".".join(parts) + port, st.lists(labels, min_size=2, max_size=4), ports)
components = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
tags = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
digests = st.none() | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
references = st.builds(ImageReference, hosts, paths, tags, digests).filter(
    lambda one: one.registry not in ("docker.io", "index.docker.io")
)


@given(references)
def test_parse_reference_of_a_normalised_reference_is_itself(reference: ImageReference) -> None:
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=20) | st.text("aA0.:/@_-[]*", max_size=20))
def test_parse_of_any_text_reads_or_refuses(text: str) -> None:
    for parse in (parse_reference, parse_allowlist_entry):
        try:
            read = parse(text)
        except ReferenceInvalid as error:
            refusal: ReferenceInvalid | None = error
        else:
            refusal = None
            assert parse(str(read)) == read
        assert refusal is None or (refusal.advice and reason(refusal))


@given(hosts, paths, references)
def test_matches_is_host_equal_and_path_equal_or_continued(host: str, path: str, reference: ImageReference) -> None:
    entry = parse_allowlist_entry(f"{host}/{path}")

    assert matches(entry, reference._replace(registry=host, repository=path))
    assert matches(entry, reference._replace(registry=host, repository=f"{path}/{reference.repository}"))
    assert matches(parse_allowlist_entry(host), reference._replace(registry=host))


@given(hosts, paths, components, labels)
def test_matches_never_allows_a_neighbour(host: str, path: str, component: str, label: str) -> None:
    entry = parse_allowlist_entry(f"{host}/{path}")
    name, _, port = host.partition(":")
    neighbours = {
        f"{host}/{path}-{component}",
        f"{host}/{path}{label}",
        f"{host}/{component}/{path}" if not path.startswith(component) else f"{host}/0{path}",
        f"{label}.{host}/{path}",
        f"{label}{host}/{path}",
        f"{name}.{label}/{path}",
        f"{name}{label}/{path}",
        f"{name}:{port}1/{path}" if port else f"{host}:5000/{path}",
    }

    assert {text for text in neighbours if matches(entry, parse_reference(text))} == set()


@given(labels, hosts, paths)
def test_matches_of_a_leading_star_allows_exactly_one_label(label: str, host: str, path: str) -> None:
    entry = parse_allowlist_entry(f"*.{host}/{path}")

    assert matches(entry, parse_reference(f"{label}.{host}/{path}"))
    assert not matches(entry, parse_reference(f"{label}.{label}.{host}/{path}"))
    assert not matches(entry, parse_reference(f"{label}.x{host}/{path}"))


@given(hosts, st.just("") | paths.map(lambda path: f"/{path}"), st.sampled_from(["/", "/*", "/**"]))
def test_parse_allowlist_entry_takes_an_open_end_for_none(host: str, path: str, end: str) -> None:
    assert parse_allowlist_entry(f"{host}{path}{end}") == parse_allowlist_entry(f"{host}{path}")
