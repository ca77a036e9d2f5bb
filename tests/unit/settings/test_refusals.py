"""What is said of keys and values that flowyml.yaml may not hold: what, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowyml_policy.settings.settings import Settings

Refused = Callable[..., str]


def test_all_problems_are_said_at_once_in_the_order_of_the_file(refused: Refused) -> None:
    assert refused("""\
polices: {}
allowed_stacks: [a]
deadline: 2s
environments: {prod: {stak: a}}
policy:
  opa: {deadlin: 2s}
  enforce: blok
""") == (
        "unknown key `polices`: flowyml.yaml:1:1; did you mean `policies`?\n"
        "unknown key `allowed_stacks`: flowyml.yaml:2:1; this key belongs under `policies`\n"
        "unknown key `deadline`: flowyml.yaml:3:1; this key belongs under `policy.opa`\n"
        "`environments.prod.stack` is missing: flowyml.yaml:4:16; add `stack: ...`\n"
        "unknown key `environments.prod.stak`: flowyml.yaml:4:23; did you mean `stack`?\n"
        "unknown key `policy.opa.deadlin`: flowyml.yaml:6:9; did you mean `deadline`?\n"
        "`policy.enforce` must be block, observe or none, not 'blok': flowyml.yaml:7:12; did you mean block?\n"
        "correct the file; `flowyml-policy schema settings` prints what may stand there"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("policy: {opa: {timeouts: 2s}}", "unknown key `policy.opa.timeouts`: @:16; did you mean `start_timeout`?"),
        (
            "policy: {opa: {memory: 4GB}}",
            "`policy.opa.memory` is not a size: '4GB': @:24; write a number and its unit: 512MiB or 4GiB",
        ),
        (
            "policy: {opa: {memory: 4}}",
            "`policy.opa.memory` is not a size: 4: @:24; write a number and its unit: 512MiB or 4GiB",
        ),
        (
            "policy: {opa: {memory: 1GiB}}",
            "`policy.opa.memory` is too little for OPA to start: @:24; write at least 1.5GiB",
        ),
        ("audit: {}", "unknown key `audit`: @:1; this key belongs under `policy`"),
        ("policies: {packs: []}", "unknown key `policies.packs`: @:12; this key belongs under `environments.<name>`"),
        (
            "policies: {allowed_registries: []}",
            "unknown key `policies.allowed_registries`: @:12; this key belongs under `policies.image_policy`",
        ),
        (
            "environments: {p: {stack: a, requirelock: true}}",
            "unknown key `environments.p.requirelock`: @:30; did you mean `require_lock`?",
        ),
        (
            "environments: {p: {stack: a, require_lock: true, requireLock: true}}",
            "the key stands twice, also as `environments.p.requireLock`: @:50; keep one of the two",
        ),
        (
            "project: {name: x, version: 0.3.0}",
            (
                "unknown key `project.version`: @:20; FlowyML's own example has it, and FlowyML itself refuses it; "
                "take it out"
            ),
        ),
        (
            "environments: {prod: {stack: a, variables: {}}}",
            (
                "unknown key `environments.prod.variables`: @:33; FlowyML's own example has it, and FlowyML itself "
                "refuses it; take it out"
            ),
        ),
        (
            "stacks: {a: {source: local, path: b, sha256: c}}",
            "unknown key `stacks.a.sha256`: @:38; this key belongs under `stacks.<name>`",
        ),
        (
            "xyzzy: 1",
            (
                "unknown key `xyzzy`: @:1; take it out; here may stand active_stack, defaults, docker, "
                "environments, plugins, policies, policy, project, registry, stacks"
            ),
        ),
        (
            "policy: {audit: {'a b': 1}}",
            "unknown key `policy.audit['a b']`: @:18; take it out; here may stand path, report_to",
        ),
    ],
)
def test_unknown_key_is_refused_with_a_hint(refused: Refused, content: str, words: str) -> None:
    assert refused(content) == words.replace("@:", "flowyml.yaml:1:")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("policy:", "`policy` has no value: @:8; write one, or take the key out"),
        ("policies:", "`policies` has no value: @:10; write one, or take the key out"),
        (
            "policies: {allowed_stacks: }",
            "`policies.allowed_stacks` has no value: @:28; write one, or take the key out",
        ),
        ("policies: 3", "`policies` must be a mapping, not a number: @:11; write a mapping"),
        ("environments: [a]", "`environments` must be a mapping, not a list: @:1; write a mapping"),
        ("environments: {p: local}", "`environments.p` must be a mapping, not a string: @:19; write a mapping"),
        (
            "policies: {allowed_stacks: prod-*}",
            "`policies.allowed_stacks` must be a list, not a string: @:28; write [prod-*]",
        ),
        (
            "policies: {allowed_stacks: {a: b}}",
            "`policies.allowed_stacks` must be a list, not a mapping: @:12; write a list: [...]",
        ),
        (
            "policies: {required_labels: [1.10]}",
            '`policies.required_labels[0]` must be a string, not a number: @:30; put it in quotes: "1.10"',
        ),
        (
            "policies: {required_labels: [approved: true]}",
            "`policies.required_labels[0]` must be a string, not a mapping: @:30; write approved=true",
        ),
        (
            "policies: {required_labels: [db_password: hunter2]}",
            (
                "`policies.required_labels[0]` must be a string, not a mapping: @:30; "
                "write db_password=, and then the value, as one string"
            ),
        ),
        (
            "stacks: {a: {source: http, url: 'https://x.io/a.yaml', token_env: 4829}}",
            "`stacks.a.token_env` must be a string, not a number: @:67; put it in quotes",
        ),
        (
            "stacks: {a: {source: registry, name: a b}}",
            (
                "`stacks.a.name` is refused: the name 'a b' cannot be a stack's: @:38; write 1 to 128 characters "
                "without blanks, '/', '@', '#' and ':'"
            ),
        ),
        (
            "stacks: {a: {source: registry, version: x y}}",
            (
                "`stacks.a.version` is refused: 'x y' is no version or range: @:41; write a version, as 2.1.0, or a "
                "range, as ^2.1 or ~2.1.0"
            ),
        ),
        (
            "stacks: {a: {source: http, url: 'https://x.io/a.yaml?sig=Zm9vYmFyc2VjcmV0c2lnbmF0dXJl'}}",
            (
                "`stacks.a.url` is refused: what looks like a secret stands in the address: @:33; a signed address is "
                "a key, and would be recorded: fetch the file first (`azcopy copy`, `aws s3 cp`) and name its path, "
                "or keep it in git or where it is read with a bearer token, which `token_env` names"
            ),
        ),
        (
            "project: {name: true}",
            '`project.name` must be a string, not a boolean: @:17; put it in quotes: "true"',
        ),
        ("project: {name: {a: 1}}", "`project.name` must be a string, not a mapping: @:11; write a string"),
        (
            "project: {name: a\u200bb}",
            "`project.name` holds a control or invisible character: 'a\\u200bb': @:17; take it out",
        ),
        (
            f"project: {{name: {'a' * 1001}}}",
            "`project.name` is longer than 1000 characters: @:17; write a shorter value",
        ),
        (
            "policy: {images: {insecure: ['https://x.io']}}",
            (
                "`policy.images.insecure[0]` is no host: 'https://x.io': @:30; "
                "write a host alone, as registry.example.com or localhost:5000"
            ),
        ),
        ("project: {name: [a]}", "`project.name` must be a string, not a list: @:11; write a string"),
        (
            "environments: {p: {stack: a, require_pinned: yes}}",
            "`environments.p.require_pinned` must be true or false, not a string: @:46; write true",
        ),
        (
            "environments: {p: {stack: a, requireLock: maybe}}",
            "`environments.p.requireLock` must be true or false, not a string: @:43; write true or false",
        ),
        (
            "policy: {images: {concurrency: 8.0}}",
            "`policy.images.concurrency` must be a whole number, not a number: @:32; write a whole number",
        ),
        (
            "policy: {images: {concurrency: 0}}",
            "`policy.images.concurrency` must be at least 1: @:32; write a number that is at least 1",
        ),
        (
            "policy: {images: {inspect: false}}",
            "`policy.images.inspect` must be auto, daemon, registry or off, not a boolean: @:28; write off",
        ),
        (
            "policy: {opa: {mode: server}}",
            "`policy.opa.mode` must be embedded or sidecar, not 'server': @:22; write one of embedded, sidecar",
        ),
        (
            "policies: {levels: {a.b: disabled}}",
            (
                "`policies.levels['a.b']` must be advisory, soft or hard, not 'disabled': @:26; "
                "a project can only tighten; the company's policy data may switch a code off"
            ),
        ),
        (
            "policies: {rule_data: {naming: {allowed_stacks: }}}",
            "`policies.rule_data.naming.allowed_stacks` has no value: @:49; write one, or take the key out",
        ),
        (
            "policies: {rule_data: {compute: 8}}",
            "`policies.rule_data.compute` must be a mapping, not a number: @:33; write a mapping",
        ),
        (
            "policies: {levels: {'': hard}}",
            "the key `policies.levels['']` is blank: @:21; write a value, or take the key out",
        ),
    ],
)
def test_ill_typed_value_is_refused(refused: Refused, content: str, words: str) -> None:
    assert refused(content) == words.replace("@:", "flowyml.yaml:1:")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("''", "'' cannot stand in a list of registries: it is empty"),
        ("'*'", "'*' cannot stand in a list of registries: a lone * would allow every registry"),
        ("https://x.io", "'https://x.io' cannot stand in a list of registries: it begins with a scheme"),
        ("' x.io'", "' x.io' cannot stand in a list of registries: it holds a blank or a control character"),
        ("x.io/Foo", "'x.io/Foo' cannot stand in a list of registries: its path holds upper-case letters"),
        ("ubuntu", "'ubuntu' cannot stand in a list of registries: 'ubuntu' is no host to Docker"),
    ],
)
def test_odd_allowlist_entry_is_refused(refused: Refused, entry: str, words: str) -> None:
    said = refused(f"policies: {{image_policy: {{allowed_registries: [gcr.io, {entry}]}}}}")
    assert said.startswith(f"`policies.image_policy.allowed_registries[1]` is refused: {words}")
    assert ": flowyml.yaml:1:56; " in said


def test_pattern_that_keeps_nothing_out_is_refused(refused: Refused) -> None:
    assert refused("policies: {allowed_stacks: ['*', '!prod-*']}") == (
        "`policies.allowed_stacks[1]` begins with `!`, which keeps nothing out here: '!prod-*': "
        "flowyml.yaml:1:34; list what is allowed, and leave this entry out"
    )


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("policies: {rule_data: {mine: {prod_stacks: ['a**']}}}", 45),
        ("policies: {rule_data: {mine: {stacks: [a, '[!b]']}}}", 43),
        ("project: {policies: {allowed_stacks: ['^a$']}}", 39),
        ("policy: {images: {allow_local: ['!a']}}", 33),
        ("policies: {image_policy: {deny_tags: ['[!0-9]*']}}", 39),
        ("policies: {rule_data: {images_tag: {denied: ['*-rc', '[!0-9]*']}}}", 54),
    ],
)
def test_pattern_is_checked_wherever_globs_stand(refused: Refused, content: str, column: int) -> None:
    assert f": flowyml.yaml:1:{column}; " in refused(content)


@pytest.mark.parametrize(
    ("content", "first", "second"),
    [
        ("policies: {required_labels: [a=x, a=y]}", 30, 35),
        ("project: {policies: {required_labels: [a=x, b, a=y]}}", 40, 48),
        ("policies: {image_policy: {required_labels: [a=x, a=y]}}", 45, 50),
        ("policies: {required_labels: [a=x], rule_data: {labels: {required: [a=y]}}}", 30, 68),
        (
            "policies: {rule_data: {images_labels: {required_labels: [a=y]}}, image_policy: {required_labels: [a=x]}}",
            99,
            58,
        ),
        (
            (
                "policies: {rule_data: {images_labels: {required_labels: [a=x]}, "
                "images_inspected: {required_labels: [a=y]}}}"
            ),
            58,
            102,
        ),
    ],
)
def test_two_values_for_one_label_are_refused(refused: Refused, content: str, first: int, second: int) -> None:
    said = refused(content)
    assert (
        f"asks for 'a=y', and 'a=x' is asked for at flowyml.yaml:1:{first}: flowyml.yaml:1:{second}; keep one" in said
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[null]", "`policies.image_policy.allowed_registries[0]` has no value: @:48; write one, or take the key out"),
        ("gcr.io", "`policies.image_policy.allowed_registries` must be a list, not a string: @:47; write [gcr.io]"),
        (
            "u:pw@gcr.io",
            "`policies.image_policy.allowed_registries` must be a list, not a string: @:47; write a list: [...]",
        ),
    ],
)
def test_odd_allowlist_is_refused(refused: Refused, content: str, words: str) -> None:
    said = refused(f"policies: {{image_policy: {{allowed_registries: {content}}}}}")
    assert said == words.replace("@:", "flowyml.yaml:1:")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("''", "is blank: @; write a value, or take the key out"),
        (
            "approved=",
            "asks for no value: 'approved=': @; write approved alone, which asks for any value, or approved=value",
        ),
        ("=true", "names no label: '=true': @; write the label's name, as `team`, or `approved=true`"),
        ("approved = true", "has blanks around '=': 'approved = true': @; write approved=true"),
        ("' team'", "has blanks around its value: ' team': @; take the blanks out"),
    ],
)
@pytest.mark.parametrize("section", ["policies: {", "policies: {image_policy: {"])
def test_bad_label_requirement_is_refused(refused: Refused, section: str, label: str, words: str) -> None:
    said = refused(f"{section}required_labels: [{label}]{'}' * section.count('{')}")
    place = f"flowyml.yaml:1:{len(section) + 19}"
    path = "policies." + ("image_policy." if "image" in section else "") + "required_labels[0]"
    assert said == f"`{path}` {words.replace('@', place)}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2", "is not a duration: 2: @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
        ("2 s", "is not a duration: '2 s': @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
        ("-2s", "is not a duration: '-2s': @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
        ("2w", "is not a duration: '2w': @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
        ("[2s]", "is not a duration: ['2s']: @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
        ("0s", "is no time at all: @; write a duration longer than zero"),
        ("99999d", "is longer than ten years: '99999d': @; write a shorter duration"),
        ("٣s", "is not a duration: '٣s': @; write a number and its unit: 500ms, 2s, 5m, 1h or 7d"),
    ],
)
def test_bad_duration_is_refused(refused: Refused, value: str, words: str) -> None:
    said = refused(f"policy:\n  opa:\n    deadline:   {value}\n")
    place = "flowyml.yaml:3:5" if value.startswith("[") else "flowyml.yaml:3:17"
    assert said == f"`policy.opa.deadline` {words.replace('@', place)}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ftp://x.io/a", "is no https address: @; write it as https://host/path"),
        ("x.io", "is no https address: @; write it as https://host/path"),
        ("https://", "is no https address: @; write it as https://host/path"),
        ("http://x.io", "is a plain http address of x.io: @; write https; plain http is for this machine alone"),
        (
            "http://localhost.evil.io",
            "is a plain http address of localhost.evil.io: @; write https; plain http is for this machine alone",
        ),
        (
            "https://u:pw@x.io",
            "carries credentials in its address: @; take them out and name a variable in `token_env`",
        ),
        ("https://x.io:http", "is no address: @; write it as https://host/path"),
        ("'https://[x'", "is no address: @; write it as https://host/path"),
        ("'https://x.io#a'", "has a '#' part: @; take it out"),
        ("3", 'must be a string, not a number: @; put it in quotes: "3"'),
    ],
)
def test_bad_address_is_refused_and_never_shown(refused: Refused, value: str, words: str) -> None:
    said = refused(f"policy: {{registry: {{url: {value}}}}}")
    assert said == f"`policy.registry.url` {words.replace('@', 'flowyml.yaml:1:26')}"


@pytest.mark.parametrize("value", ["http://localhost:1/a", "http://127.0.0.9", "'http://[::1]:8080'", "https://x.io"])
def test_good_address_is_taken(load: Callable[..., object], value: str) -> None:
    load(f"policy: {{registry: {{url: {value}}}}}")


@pytest.mark.parametrize("path", ["':memory:'", "'file::memory:?cache=shared'", "'file:a.db'"])
def test_audit_in_memory_fails_closed(refused: Refused, path: str) -> None:
    assert refused(f"policy: {{audit: {{path: {path}}}}}") == (
        f"`policy.audit.path` is no file that lasts: {path}: flowyml.yaml:1:24; "
        "write the path of a file on a local disk"
    )


def test_path_with_a_tilde_is_refused(refused: Refused) -> None:
    assert refused("policy: {rules: [~/rules]}") == (
        "`policy.rules[0]` starts with '~', which is not expanded: '~/rules': flowyml.yaml:1:18; write the path in full"
    )


def test_token_in_place_of_its_variable_is_refused_and_not_shown(refused: Refused) -> None:
    assert refused("policy: {registry: {token_env: ghp-0123}}") == (
        "`policy.registry.token_env` is no name of an environment variable: flowyml.yaml:1:32; "
        "write the variable's name alone, as REGISTRY_TOKEN"
    )


@pytest.mark.parametrize(
    "login",
    [
        "{}",
        "{username: ci}",
        "{password_env: P}",
        "{username: ci, token_env: T}",
        "{username: ci, password_env: P, token_env: T}",
    ],
)
def test_half_a_login_is_refused(refused: Refused, login: str) -> None:
    assert refused(f"policy: {{images: {{credentials: {{x.io: {login}}}}}}}") == (
        "`policy.images.credentials['x.io']` does not say how to log in: flowyml.yaml:1:33; "
        "write `username` and `password_env`, or `token_env` alone"
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("3", "`stacks.a` must be a mapping, not a number: @:13; write a mapping"),
        (
            "{path: a}",
            (
                "`stacks.a` does not say where it is kept: @:10; "
                "add `source:` local, github, gitlab, git, http or registry"
            ),
        ),
        (
            "{source: githb}",
            (
                "`stacks.a.source` must be local, github, gitlab, git, http or registry, not 'githb': "
                "@:22; did you mean github?"
            ),
        ),
        ("{source: local}", "`stacks.a.path` is missing: @:10; add `path: ...`"),
        (
            "{source: github, repo: stacks}",
            "`stacks.a.repo` is no repository: 'stacks': @:36; write its owner and name, as my-org/ml-stacks",
        ),
        (
            "{source: github, repo: a/b/c}",
            "`stacks.a.repo` is no GitHub repository: 'a/b/c': @:36; write its owner and name, as my-org/ml-stacks",
        ),
        (
            "{source: github, repo: a/b, ref: -x}",
            "`stacks.a.ref` is no git ref: '-x': @:46; write a tag, a branch or a commit, as v2.1.0",
        ),
        (
            "{source: github, repo: a/b, path: ../c}",
            "`stacks.a.path` leads out of the repository: '../c': @:47; write a path from the repository's root",
        ),
        (
            "{source: git, repo: a/b}",
            "`stacks.a` does not say where its repository is: @:10; write `repo` as an address, or a path and `host`",
        ),
        (
            "{source: git, repo: 'ext::sh://x'}",
            (
                "`stacks.a.repo` is no address of a git repository: it is no address: @:33; "
                "write https://host/path.git or ssh://git@host/path.git"
            ),
        ),
        (
            "{source: git, repo: 'ssh://u:pw@h/x'}",
            (
                "`stacks.a.repo` is no address of a git repository: credentials stand in the address: @:33; "
                "write https://host/path.git or ssh://git@host/path.git"
            ),
        ),
        (
            "{source: git, repo: 'ssh://[x/y'}",
            (
                "`stacks.a.repo` is no address of a git repository: the address names no host: @:33; "
                "write https://host/path.git or ssh://git@host/path.git"
            ),
        ),
        (
            "{source: git, repo: 'git@github.com:org/repo.git'}",
            ("`stacks.a.repo` is git's short form of an ssh address: @:33; write ssh://git@github.com/org/repo.git"),
        ),
        (
            "{source: git, repo: 'ssh://git@github.com:org/repo.git'}",
            ("`stacks.a.repo` is git's short form of an ssh address: @:33; write ssh://git@github.com/org/repo.git"),
        ),
        (
            "{source: git, repo: 'ssh://git@h:99999/x'}",
            (
                "`stacks.a.repo` is no address of a git repository: the address has a port that is none: @:33; "
                "write https://host/path.git or ssh://git@host/path.git"
            ),
        ),
        (
            "{source: github, repo: 'git@github.com:org/repo.git'}",
            (
                "`stacks.a.repo` is git's short form of an ssh address: @:36; write its owner and name, as "
                "my-org/ml-stacks, or the address ssh://git@github.com/org/repo.git under `source: git`"
            ),
        ),
        (
            "{source: git, repo: 'http://x.io/a.git'}",
            (
                "`stacks.a.repo` is a plain http address of x.io: @:33; "
                "write https; plain http is for this machine alone"
            ),
        ),
        (
            "{source: github, repo: a/b, ref: 'a b'}",
            "`stacks.a.ref` is no git ref: 'a b': @:46; write a tag, a branch or a commit, as v2.1.0",
        ),
        (
            "{source: http, url: https://x.io/a, sha256: abc}",
            "`stacks.a.sha256` is no SHA-256 digest: 'abc': @:57; write its 64 lower-case hex digits",
        ),
    ],
)
def test_bad_source_is_refused(refused: Refused, source: str, words: str) -> None:
    assert refused(f"stacks: {{a: {source}}}") == words.replace("@:", "flowyml.yaml:1:")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("github, repo: a/b, ref: '@'", "`stacks.a.ref` is no git ref: '@'"),
        ("github, repo: a/b, ref: a/.b", "`stacks.a.ref` is no git ref: 'a/.b'"),
        ("github, repo: a/b, path: .git/config", "`stacks.a.path` is no place in a repository: '.git/config'"),
        ("github, repo: a/b, path: a//b", "`stacks.a.path` is no place in a repository: 'a//b'"),
        ("github, repo: a/b, host: 'x.io:0'", "`stacks.a.host` is no host: 'x.io:0'"),
        ("github, repo: a/b, host: '[:::]'", "`stacks.a.host` is no host: '[:::]'"),
        ("git, repo: 'https://x,y.io/a'", "`stacks.a.repo` names no host"),
        ("git, repo: 'https://x.io/a/../b'", "`stacks.a.repo` is no address of a git repository"),
        ("http, url: 'https://x.io'", "`stacks.a.url` is refused: the address names a server and nothing on it"),
        ("http, url: 'https://x.io/a%2Fb'", "`stacks.a.url` is refused: the escape %2F hides a character"),
    ],
)
def test_source_is_refused_where_a_reference_is(refused: Refused, source: str, words: str) -> None:
    assert refused(f"stacks: {{a: {{source: {source}}}}}").startswith(words)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("local", "is reserved for the built-in stack: @; give the stack another name"),
        (
            "a/b",
            (
                "would be read as a path or an address: 'a/b': @; write a name without blanks, '/', '@', '#', ':' "
                "and ending"
            ),
        ),
        (
            "a.yaml",
            (
                "would be read as a path or an address: 'a.yaml': @; write a name without blanks, '/', '@', '#', "
                "':' and ending"
            ),
        ),
    ],
)
def test_bad_name_of_a_stack_is_refused(refused: Refused, key: str, words: str) -> None:
    said = refused(f"stacks: {{{key}: {{source: local, path: x}}}}")
    shown = key if key == "local" else f"['{key}']"
    head = f"the key `stacks.{key}`" if key == "local" else f"the key `stacks{shown}`"
    assert said == f"{head} {words.replace('@;', 'flowyml.yaml:1:10;')}"


# Variables in policy.opa.config


def test_variable_that_is_not_set_fails_closed(refused: Refused) -> None:
    assert refused("policy:\n  opa:\n    config: {services: {a: {url: '${UNSET}'}}, b: ['${', '${A-b}']}\n", A="x") == (
        "`policy.opa.config.services.a.url` needs the environment variable UNSET, which is not set: "
        "flowyml.yaml:3:34; set UNSET\n"
        "`policy.opa.config.b[0]` holds a `${` that names no variable: flowyml.yaml:3:52; "
        "write ${NAME}, or $${ where `${` itself is meant\n"
        "`policy.opa.config.b[1]` holds a `${` that names no variable: flowyml.yaml:3:58; "
        "write ${NAME}, or $${ where `${` itself is meant\n"
        "correct the file; `flowyml-policy schema settings` prints what may stand there"
    )


def test_variable_that_is_no_text_fails_closed(refused: Refused) -> None:
    assert refused("policy: {opa: {config: {a: '${BYTES}'}}}", BYTES="\udcff") == (
        "`policy.opa.config.a` needs the environment variable BYTES, which is not UTF-8: flowyml.yaml:1:28; "
        "set BYTES to text"
    )


PLACES = {
    "environments: {e: {stack: '%s'}}": "`environments.e.stack` %s: flowyml.yaml:1:27; ",
    "active_stack: '%s'": "`active_stack` %s: flowyml.yaml:1:15; ",
    "defaults: {stack: '%s'}": "`defaults.stack` %s: flowyml.yaml:1:19; ",
}
FIX = "take them out; git asks its credential helper, `stacks:` names a variable in `token_env`"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "address",
    [
        "https://foo:hunter2@bar/x#y",
        "https://hunter2@bar/x",
        "HTTP://hunter2@bar/x",
        "git+https://hunter2@bar/x.git@v1#y",
        "git+ssh://git:hunter2@bar/x.git@v1#y",
        "ssh://git:hunter2@bar",
        "https://foo:hunter2/3@bar/x",
        "foo:hunter2@bar/x",
        "ada@company.com:hunter2@bar/x",
        "registry://foo:hunter2@1.0.0",
    ],
)
def test_credentials_where_a_stack_is_named_are_refused_and_never_shown(
    refused: Refused, place: str, address: str
) -> None:
    said = refused(place % address)
    assert said == PLACES[place] % "carries credentials in its address" + FIX


@pytest.mark.parametrize(
    "name",
    [
        "prod-gpu@^2.1",
        "git+https://git.company.com:8443/org/repo.git@v1#stacks/prod.yaml:prod",
        "git@git.company.com:repo.git@v1",
        "git+ssh://git@git.company.com:2222/org/repo.git@v1#prod",
        "git+https://[2001:db8::1]/org/repo.git@v1#prod",
        "git@git.company.com:org/repo.git@v1#prod",
        "https://stacks.company.com/a%40b:c@d.yaml?sig=a@b:c#prod",
        "github://git.company.com:8443/org/repo@v1#prod",
        "file:///srv/a:b@c/x.yaml",
        "registry://prod-gpu@2.1.0",
        "./a:b/c@d.yaml",
    ],
)
def test_name_of_a_stack_without_credentials_is_taken_whole(load: Callable[..., Settings], name: str) -> None:
    settings = load(f"environments: {{e: {{stack: '{name}'}}}}\nactive_stack: '{name}'\ndefaults: {{stack: '{name}'}}")
    assert (settings.environments["e"].stack, settings.active_stack, settings.default_stack) == (name,) * 3


def test_registry_that_is_named_twice_is_refused(refused: Refused) -> None:
    said = refused("policy: {images: {cosign_keys: {a.io/x: one.pub, a.io/x/: two.pub}}}")
    assert said == (
        "`policy.images.cosign_keys` names a.io/x twice, as 'a.io/x' and 'a.io/x/': flowyml.yaml:1:19; "
        "keep one of the two"
    )
