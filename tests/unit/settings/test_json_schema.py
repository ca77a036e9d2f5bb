"""The JSON Schema of flowyml.yaml says the same as the reader of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.settings.json_schema import settings_json_schema
from flowyml_policy.settings.settings import Settings

Load = Callable[..., Settings]

GOOD = [
    "project: {}",
    "policies: {allowed_stacks: [], required_labels: [a=b], levels: {a.b: hard}, rule_data: {a: {b: [1]}}}",
    "environments: {p: {stack: a, requireLock: true}, q: {stack: b, require_lock: false, packs: [c]}}",
    "environments: {p: {stack: 'git+ssh://git@a:22/b@v1'}, q: {stack: 'https://a:8443/b@c:d'}}",
    "stacks: {a: {source: local, path: b}, c: {source: github, repo: d/e}, f: {source: registry}}",
    "policy: {opa: {deadline: 500ms, require_revision: null, config: {a: [1]}}, images: {tag_ttl: 0s, ca: null}}",
    "policy: {opa: {require_revision: {flowyml: 1.0.0+abc}, sidecar: {url: 'https://opa.company.com:8181'}}}",
    "policy: {enforce: observe, registry: {url: null, token_env: A, ca: b}, audit: {path: a.db, report_to: https://x.io}}",
    "policy: {sources: {plain_http: [a, b.c:80, '[::1]:8080']}}\nstacks: {d: {source: http, url: 'http://b.c/d'}}",
    "defaults: {stack: a, environment: b}\nregistry: {sources: [a]}\ndocker: {baseImage: a}\nplugins: [1]",
    "project: {policies: {allowed_stacks: [a]}}",
    "policies: {allowed_stacks: ['*', 'a?', '[ab]*', 'v[0-9]', '{a,b-*}'], required_labels: ['a=b c', 'a.b/c']}",
    "policy: {images: {allow_local: ['localhost:5000/a/*:dev']}}",
]
BAD = [
    "polices: {}",
    "policies:",
    "policies: {allowed_stacks: a}",
    "policies: {allowed_stacks: }",
    "policies: {allowed_stacks: ['!a']}",
    "policies: {allowed_stacks: ['[^a]']}",
    "policies: {allowed_stacks: ['{a,{b,c}}']}",
    "policies: {allowed_stacks: ['a**']}",
    "policies: {allowed_stacks: ['^a.*$']}",
    "policies: {allowed_stacks: ['a-.*']}",
    "policies: {allowed_stacks: ['a,b']}",
    "policies: {required_labels: ['a: b']}",
    "policies: {required_labels: ['a=x,b']}",
    "policies: {required_labels: ['a in (b)']}",
    "policies: {required_labels: ['!a']}",
    "policies: {required_labels: ['a=*']}",
    "policy: {images: {allow_local: ['a/**']}}",
    "policies: {required_labels: ['']}",
    "policies: {required_labels: [a: b]}",
    "policies: {levels: {a.b: disabled}}",
    "policies: {image_policy: {allowed_registries: ['*']}}",
    "policies: {image_policy: {allowed_registries: ['https://x.io']}}",
    "policies: {image_policy: {allowed_registries: [null]}}",
    "policies: {}\nproject: {policies: {}}",
    "environments: {p: {}}",
    "environments: {p: {stack: a, require_lock: true, requireLock: true}}",
    "environments: {p: {stack: a, require_pinned: 'true'}}",
    "environments: {p: {stack: 'https://a:b@c/d'}}",
    "environments: {p: {stack: 'git+HTTPS://b@c/d'}}",
    "active_stack: 'ssh://a:b@c/d'",
    "stacks: {a: {path: b}}",
    "stacks: {a: {source: ftp}}",
    "stacks: {a: {source: http, url: 'https://x.io', sha256: a}}",
    "stacks: {local: {source: local, path: a}}",
    "stacks: {a: {source: local, path: b, ref: c}}",
    "policy: {enforce: blok}",
    "policy: {opa: {deadline: 2}}",
    "policy: {opa: {deadline: 2 s}}",
    "policy: {images: {concurrency: 0}}",
    "policy: {images: {inspect: false}}",
    "policy: {registry: {url: ftp://x.io}}",
    "policy: {registry: {token_env: a-b}}",
    "policy: {audit: {path: ':memory:'}}",
    "policy: {audit: {path: null}}",
    "policy: {sources: {plain_http: a}}",
    "policy: {sources: {plain_http: ['*.a']}}",
    "policy: {sources: {plain_http: ['http://a']}}",
    "policy: {sources: {plain_http: [a/b]}}",
    "policy: {sources: {plain_http: ['']}}",
    "policy: {sources: {plain_http: null}}",
    "policy: {rules: ['~/a']}",
    "policy: {images: {credentials: {x.io: {username: a}}}}",
    "[]",
]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = settings_json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("content", GOOD)
def test_schema_and_reader_take_good_settings(load: Load, validator: Draft202012Validator, content: str) -> None:
    load(content)
    validator.validate(yaml.safe_load(content))


def test_schema_takes_the_page_example(validator: Draft202012Validator, page: str) -> None:
    validator.validate(yaml.safe_load(page))


@pytest.mark.parametrize("content", BAD)
def test_schema_and_reader_refuse_bad_settings(load: Load, validator: Draft202012Validator, content: str) -> None:
    with pytest.raises(SettingsInvalid):
        load(content)
    assert not validator.is_valid(yaml.safe_load(content))


def test_every_key_of_the_schema_is_described() -> None:
    schema = settings_json_schema()
    sections: dict[str, Any] = {"": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if "description" not in value and "const" not in value and "$ref" not in value
    ]
    assert bare == []


def test_schema_names_defaults_as_they_are_written() -> None:
    opa = settings_json_schema()["$defs"]["OpaSettings"]["properties"]
    names = ("deadline", "max_age", "start_timeout", "memory")
    assert [opa[name]["default"] for name in names] == ["2s", "7d", "10s", "4GiB"]
