"""References to stacks: what each form means, what is refused and in which words, and that writing undoes reading."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.references.arguments import is_reference
from flowyml_policy.references.stack import parse_stack_reference
from flowyml_policy.references.stack_values import (
    FileReference,
    GitKind,
    GitReference,
    HttpReference,
    NameReference,
    RegistryReference,
    StackReference,
)
from flowyml_policy.settings.stack_entries import (
    GitEntry,
    GitHubEntry,
    GitLabEntry,
    HttpEntry,
    LocalEntry,
    RegistryEntry,
    StackEntry,
)
from flowyml_policy.sources.entries import reference_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"

READ: list[tuple[str, StackReference]] = [
    ("prod-gpu", NameReference("prod-gpu")),
    ("prod-gpu@2.1.0", NameReference("prod-gpu", "2.1.0")),
    ("prod-gpu@^2.1", NameReference("prod-gpu", "^2.1")),
    ("prod-gpu@~2.1.0", NameReference("prod-gpu", "~2.1.0")),
    ("prod-gpu@^2.1.0-rc.1", NameReference("prod-gpu", "^2.1.0-rc.1")),
    ("prod-gpu@2.1.0-rc.1+build.7", NameReference("prod-gpu", "2.1.0-rc.1+build.7")),
    ("produktion-größer", NameReference("produktion-größer")),
    ("100%", NameReference("100%")),
    ("registry://prod-gpu", RegistryReference("prod-gpu")),
    ("registry://prod-gpu@^2", RegistryReference("prod-gpu", "^2")),
    ("github://org/repo", GitReference("github", "https://github.com/org/repo.git")),
    ("github://org/repo.git/", GitReference("github", "https://github.com/org/repo.git")),
    ("GitHub://org/.github", GitReference("github", "https://github.com/org/.github.git")),
    (
        "github://my-org/ml-stacks@v2.1.0#prod",
        GitReference("github", "https://github.com/my-org/ml-stacks.git", "v2.1.0", None, "prod"),
    ),
    (
        f"github://org/repo@{COMMIT}#stacks/prod.yaml",
        GitReference("github", "https://github.com/org/repo.git", COMMIT, "stacks/prod.yaml"),
    ),
    (
        "github://org/repo@feature/x#stacks/all.yaml:prod",
        GitReference("github", "https://github.com/org/repo.git", "feature/x", "stacks/all.yaml", "prod"),
    ),
    (
        "github://org/repo@pkg@1.0.0#prod.yml",
        GitReference("github", "https://github.com/org/repo.git", "pkg@1.0.0", "prod.yml"),
    ),
    ("github://org/repo#./prod", GitReference("github", "https://github.com/org/repo.git", None, "prod")),
    ("github://org/repo#stacks/", GitReference("github", "https://github.com/org/repo.git", None, "stacks")),
    (
        "github://org/repo#:prod.yaml",
        GitReference("github", "https://github.com/org/repo.git", None, None, "prod.yaml"),
    ),
    (
        "github://org/repo@fix%2312#a%20b/c%3Ad.yaml:100%25",
        GitReference("github", "https://github.com/org/repo.git", "fix#12", "a b/c:d.yaml", "100%"),
    ),
    (
        "github://GitHub.Company.com:8443/org/repo@v1",
        GitReference("github", "https://github.company.com:8443/org/repo.git", "v1"),
    ),
    (
        "gitlab://group/sub/repo@main#stack",
        GitReference("gitlab", "https://gitlab.com/group/sub/repo.git", "main", None, "stack"),
    ),
    (
        "gitlab://gitlab.company.com/group/repo@v1#stack",
        GitReference("gitlab", "https://gitlab.company.com/group/repo.git", "v1", None, "stack"),
    ),
    ("gitlab://gitlab.com/my.group/repo", GitReference("gitlab", "https://gitlab.com/my.group/repo.git")),
    ("gitlab://gitlab:443/group/repo", GitReference("gitlab", "https://gitlab/group/repo.git")),
    ("gitlab://[2001:DB8:0::1]:8443/g/r", GitReference("gitlab", "https://[2001:db8::1]:8443/g/r.git")),
    (
        "git+https://host.example/x.git@v1#stack",
        GitReference("git", "https://host.example/x.git", "v1", None, "stack"),
    ),
    (
        "git+https://dev.azure.com/org/My%20Project/_git/repo",
        GitReference("git", "https://dev.azure.com/org/My%20Project/_git/repo"),
    ),
    ("git+https://host/a%40b/c.git@v1", GitReference("git", "https://host/a%40b/c.git", "v1")),
    ("git+http://127.0.0.1:8080/x.git", GitReference("git", "http://127.0.0.1:8080/x.git")),
    ("git+http://[::1]:8080/x.git", GitReference("git", "http://[::1]:8080/x.git")),
    ("git+ssh://git@host:22/x.git@v1", GitReference("git", "ssh://git@host/x.git", "v1")),
    ("git+ssh://host/~user/x", GitReference("git", "ssh://host/~user/x")),
    ("git+file:///srv/repo.git@main#stack", GitReference("git", "file:///srv/repo.git", "main", None, "stack")),
    ("git+file://localhost/srv/repo/", GitReference("git", "file:///srv/repo")),
    ("https://host/stacks/prod.yaml", HttpReference("https://host/stacks/prod.yaml")),
    ("https://Host:443/prod.yaml?ref=main#stack", HttpReference("https://host/prod.yaml?ref=main", "stack")),
    ("https://host/%40scope/a%20b.yaml", HttpReference("https://host/%40scope/a%20b.yaml")),
    ("http://intranet/prod.yaml", HttpReference("http://intranet/prod.yaml")),
    ("file:///srv/prod.yaml", FileReference("/srv/prod.yaml")),
    ("file://localhost/srv/prod.yaml#prod", FileReference("/srv/prod.yaml", "prod")),
    ("file:///srv/a%20b%23c.yaml", FileReference("/srv/a b#c.yaml")),
    ("file://./stacks/prod.yaml", FileReference("stacks/prod.yaml")),
    ("file://../shared//stacks/", FileReference("../shared/stacks")),
    ("file://.", FileReference(".")),
]


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text for text, _ in READ])
def test_parse_stack_reference_reads_each_form_and_writes_it_back(text: str, expected: StackReference) -> None:
    reference = parse_stack_reference(text)

    assert reference == expected
    assert parse_stack_reference(str(reference)) == reference


CANONICAL = [
    "prod-gpu@^2.1",
    "registry://prod-gpu@2.1.0",
    "github://org/repo@v1#stack",
    "gitlab://gitlab.company.com/group/repo@v1#stacks/all.yaml:prod",
    "gitlab://gitlab:443/group/repo",
    "gitlab://gitlab.com/my.group/repo",
    "git+ssh://git@host/x.git@v1#./prod",
    "git+file:///srv/repo@fix%2312",
    "https://host/prod.yaml#stack",
    "file:///srv/prod.yaml",
    "file://./stacks/prod.yaml#prod",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_str_of_a_reference_in_its_shortest_form_is_that_form(text: str) -> None:
    assert str(parse_stack_reference(text)) == text


REFUSED = [
    ("", "it is empty; name a stack; its form is prod-gpu or prod-gpu@2.1.0"),
    ("  ", "it is empty"),
    ("prod gpu", "it holds a blank or line break"),
    ("prod\n", "it holds a blank or line break"),
    ("prod\x00", "it holds a control or invisible character"),
    ("prod\u202e", "it holds a control or invisible character"),
    ("x" * 2001, "it is longer than 2000 characters"),
    ("x" * 129, "cannot be a stack's"),
    ("-prod", "it begins with '-', as an option does"),
    ("..", "the name '..' cannot be a stack's"),
    ("prod.yaml", "it names a file; write file://./prod.yaml"),
    ("stacks/prod", "it is a path; write file://./stacks/prod"),
    ("../prod", "it is a path; write file://../prod"),
    ("prod#x", "only an address has a '#'"),
    ("prod@", "nothing stands after the '@'"),
    ("@2.1.0", "the name is empty"),
    ("prod@>=2", "'>=2' is no version or range; write a version, as 2.1.0, or a range, as ^2.1 or ~2.1.0"),
    ("prod@^x", "'^x' is no version or range"),
    ("prod@2@3", "'2@3' is no version or range"),
    ("ext::sh", "git's remote helpers"),
    ("ext::sh -c touch% /tmp/x", "it holds a blank or line break"),
    (
        "git@github.com:org/repo",
        "it is git's short form of an ssh address; write git+ssh://git@github.com/org/repo; its form is git+ssh://git@host",
    ),
    ("git@host:/srv/git/a.git@v1#x", "short form of an ssh address; write git+ssh://git@host/srv/git/a.git@v1#x;"),
    ("git@host:a.git#x", "it is git's short form of an ssh address; write git+ssh://git@host/a.git#x;"),
    ("github.com:org/repo", "it is git's short form of an ssh address; write git+ssh://github.com/org/repo;"),
    ("git+ssh://git@host:org/repo.git", "short form of an ssh address; write git+ssh://git@host/org/repo.git;"),
    ("ssh://git@host:~ada/repo", "it is git's short form of an ssh address; write git+ssh://git@host/~ada/repo;"),
    ("git+ssh://git@host:99999/repo.git", "a port that is none"),
    ("prod:latest", "it is no name, and no address either; write git+ssh://git@host/path for git"),
    ("ftp://host/x", "ftp:// is no kind of reference; its form is github://org/repo@v1.0#stack"),
    ("ssh://git@host/x", "ssh:// is no kind of reference; its form is git+ssh://git@host/path.git@v1.0#stack"),
    ("git://host/x", "git:// is no kind of reference; its form is git+https://"),
    ("git+ext::sh", "git's remote helpers"),
    ("git+ext://sh", "git+ext:// is no kind of reference"),
    ("github://", "nothing is no repository's owner and name"),
    ("github://org", "'org' is no repository's owner and name; write its owner and name, as org/repo"),
    ("github://org@v1", "it names no repository before the '@'"),
    ("github://org/repo/sub", "is no repository's owner and name"),
    ("github://my.host/repo", "'repo' is no repository's owner and name"),
    ("gitlab://group", "is no repository's group and name"),
    ("github://org/..", "is no repository's owner and name"),
    ("github://-org/repo", "is no repository's owner and name"),
    ("github://org/re%70o", "is no repository's owner and name"),
    ("github://org/repo@", "nothing stands after the '@'"),
    ("github://org/repo#", "nothing stands after the '#'"),
    ("github://org/repo@-v", "the ref is no git ref: '-v'"),
    ("github://org/repo@%2Dv", "the ref is no git ref: '-v'"),
    ("github://org/repo@--upload-pack=x", "the ref is no git ref"),
    ("github://org/repo@a..b", "the ref is no git ref"),
    ("github://org/repo@a%2e%2eb", "the ref is no git ref"),
    ("github://org/repo@a:b", "the ref is no git ref"),
    ("github://org/repo@HEAD^1", "the ref is no git ref"),
    ("github://org/repo@HEAD@{1}", "the ref is no git ref"),
    ("github://org/repo@@", "the ref is no git ref"),
    ("github://org/repo@a//b", "the ref is no git ref"),
    ("github://org/repo@a/.b", "the ref is no git ref"),
    ("github://org/repo@v%00", "the ref holds a control or invisible character"),
    ("github://org/repo@v%0Aw", "the ref holds a control or invisible character"),
    ("github://org/repo@v%FF", "a percent-escape is no UTF-8"),
    ("github://org/repo@100%", "a '%' stands there that begins no escape; write %25"),
    ("github://org/repo#../x.yaml", "the path leads out of the repository"),
    ("github://org/repo#a/%2e%2e/x.yaml", "the path leads out of the repository"),
    ("github://org/repo#/etc/x.yaml", "the path leads out of the repository"),
    ("github://org/repo#.git/config", "is no place in a repository"),
    ("github://org/repo#-x.yaml", "is no place in a repository"),
    ("github://org/repo#a//b", "is no place in a repository"),
    ("github://org/repo#a.yaml:", "nothing stands after the ':'"),
    ("github://org/repo#-x", "the stack's name '-x' cannot be a stack's"),
    ("gitlab://host:99999/g/r", "a port that is none"),
    ("gitlab://host:x/g/r", "a port that is none"),
    ("gitlab://[fe80::1%25eth0]/g/r", "no IPv6 address"),
    ("gitlab://[zz]/g/r", "the host in brackets is no IPv6 address"),
    ("git+https:///x.git", "the address names no host"),
    ("git+https://host", "the address names a server and nothing on it"),
    ("git+https://-oProxyCommand=x/y", "is no host"),
    ("git+ssh://-oProxyCommand=x/y", "is no host"),
    ("git+ssh://-x@host/y", "the user in the address is none"),
    ("git+https://bücher.example/x", "the host is not ASCII"),
    ("git+https://host/a/../b", "the path segment '..'"),
    ("git+https://host/a/%2e%2e/b", "the escape %2e hides a character"),
    ("git+https://host/a%2Fb", "the escape %2F hides a character"),
    ("git+https://host/a%0Ab", "the escape %0A hides a character"),
    ("git+https://host/a%b", "a '%' stands there that begins no escape"),
    ("git+https://host/ä", "must be escaped"),
    ("git+https://host/a?b=c", "a repository's address has no '?'"),
    ("git+http://host/x.git", "git over plain http can be read and changed on its way"),
    ("git+http://127.0.0.1.evil.com/x.git", "git over plain http"),
    ("git+file://host/x", "a file's address names a host"),
    ("https://host", "the address names a server and nothing on it"),
    ("https://host/", "the address names a server and nothing on it"),
    ("https://host/prod.yaml@v1", "must be escaped; percent-encode it, as %40 for '@'"),
    ("https://host/a//b", "the path segment ''"),
    ("https://host/a?b=ä", "must be escaped"),
    ("file://stacks/prod.yaml", "'stacks' stands where a host would; write three slashes"),
    ("file://", "it names no file"),
    ("file://~/x.yaml", "'~' stands where a host would"),
    ("registry://prod/gpu", "cannot be a stack's"),
    ("registry://prod#x", "a registered stack has no '#'"),
    ("registry://", "the name is empty"),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[ascii(text)[:50] for text, _ in REFUSED])
def test_parse_stack_reference_of_a_malformed_one_says_what_is_wrong(text: str, expected: str) -> None:
    with pytest.raises(ReferenceMalformed) as caught:
        parse_stack_reference(text)

    assert expected in str(caught.value)
    assert str(caught.value).startswith("the stack reference")
    assert "its form is " in caught.value.advice
    assert caught.value.exit_code == 3


CREDENTIALS = [
    "git+https://user:{}@host/x.git",
    "git+https://{}@host/x.git",
    "git+ssh://git:{}@host/x.git",
    "https://user:{}@host/x.yaml",
    "https://{}@host/x.yaml",
    "https://host/x.yaml?token={}",
    "https://user:123?{}@host/x.yaml",
    "https://user:a/{}@host/x.yaml",
    "https://user:123/{}@host/x.yaml",
    "gitlab://user:{}@gitlab.company.com/g/r",
    "gitlab://{}@gitlab.company.com/g/r",
    "user:{}@host",
    "ftp://user:{}@host/x",
    "git+https://user:{}@",
]


@pytest.mark.parametrize("form", CREDENTIALS)
def test_parse_stack_reference_with_credentials_is_refused_without_repeating_them(form: str) -> None:
    secret = "s3cretTokenZx81kfLq02mVbQ9s"

    with pytest.raises(ReferenceMalformed) as caught:
        parse_stack_reference(form.format(secret))

    error: BaseException | None = caught.value
    while error is not None:
        assert secret not in str(error)
        error = error.__cause__


names = st.from_regex(r"[A-Za-z0-9_][^\s/@#:]{0,20}", fullmatch=True).filter(str.isprintable)
plain_names = names.filter(lambda name: not name.lower().endswith((".yaml", ".yml")))
versions = st.from_regex(r"[\^~]?(0|[1-9][0-9]{0,3})(\.(0|[1-9][0-9]{0,3})){2}(-[a-z]{1,5})?", fullmatch=True)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.builds(
    lambda name, port: name + (f":{port}" if port else ""),
    st.lists(labels, min_size=1, max_size=3).map(".".join) | st.ip_addresses(v=6).map(lambda one: f"[{one}]"),
    st.none() | st.integers(1, 65535),
)
segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True).filter(
    lambda one: not one.endswith(".git")
)
printable = st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" #%:@")
texts = st.text(printable, min_size=1, max_size=12).map(str.strip).filter(bool)
refs = (
    texts.map(lambda text: "".join(one for one in text if one not in " ~^:?*[\\."))
    .filter(lambda text: text and not text.startswith(("-", "/")) and not text.endswith("/"))
    .filter(lambda text: "//" not in text and "@{" not in text and text != "@")
)
paths = (
    st.lists(texts.map(lambda text: text.replace("/", "").replace("\\", "")), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda path: path == path.strip() and not path.startswith("-"))
    .filter(lambda path: not any(part in {"", ".", "..", ".git"} for part in path.split("/")))
)


@st.composite
def git_references(draw: st.DrawFn) -> GitReference:
    kinds: list[GitKind] = ["github", "gitlab", "git"]
    kind = draw(st.sampled_from(kinds))
    length = 2 if kind == "github" else draw(st.integers(2, 4))
    place = "/".join(draw(st.lists(segments, min_size=length, max_size=length)))
    scheme = draw(st.sampled_from(["https", "ssh", "file"])) if kind == "git" else "https"
    user = draw(st.sampled_from(["", "git@"])) if scheme == "ssh" else ""
    host = "" if scheme == "file" else draw(hosts | st.sampled_from(["github.com", "gitlab.com"]))
    return GitReference(
        kind,
        f"{scheme}://{user}{host}/{place}",
        draw(st.none() | refs),
        draw(st.none() | paths),
        draw(st.none() | names),
    )


references = st.one_of(
    st.builds(NameReference, plain_names, st.none() | versions),
    st.builds(RegistryReference, names, st.none() | versions),
    git_references(),
    st.builds(
        lambda host, place, stack: HttpReference(f"https://{host}/{place}.yaml", stack),
        hosts,
        segments,
        st.none() | names,
    ),
    st.builds(
        lambda start, path, stack: FileReference(start + path, stack),
        st.sampled_from(["", "/", "../", "./", "../../"]),
        paths.filter(lambda path: not path.startswith("~")),
        st.none() | names,
    ),
)


@given(references)
def test_str_of_any_reference_parses_to_that_reference(reference: StackReference) -> None:
    assert parse_stack_reference(str(reference)) == reference


@given(st.text(string.printable + "ä%\u202e\0", max_size=40) | st.text(max_size=20))
def test_parse_stack_reference_of_any_text_reads_or_raises_its_leaf(text: str) -> None:
    try:
        reference = parse_stack_reference(text)
    except ReferenceMalformed:
        return
    assert parse_stack_reference(str(reference)) == reference


@given(
    st.sampled_from(["github://", "gitlab://", "git+https://", "git+ssh://", "https://", "file://", "registry://"]),
    st.text("ab/.@#:%2eF-~[]?", max_size=25),
)
def test_parse_stack_reference_of_any_address_is_stable_or_raises_its_leaf(scheme: str, rest: str) -> None:
    try:
        reference = parse_stack_reference(scheme + rest)
    except ReferenceMalformed:
        return
    written = str(reference)
    assert parse_stack_reference(written) == reference
    assert str(parse_stack_reference(written)) == written
    if isinstance(reference, GitReference):
        assert not (reference.ref or "").startswith("-")
        assert ".." not in (reference.path or "").split("/")
        assert ".." not in reference.url.split("/")


@pytest.mark.parametrize(("ref", "expected"), [(COMMIT, True), ("a" * 64, True), (COMMIT[:12], False), (None, False)])
def test_names_commit_is_so_for_full_commit_ids_only(ref: str | None, *, expected: bool) -> None:
    assert GitReference("git", "https://host/x", ref).names_commit is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prod-gpu", True),
        ("prod-gpu@^2", True),
        ("github://org/repo#stacks/prod.yaml", True),
        ("file:///srv/prod.yaml", True),
        ("ftp://host/x", True),
        ("", True),
        ("prod\0", True),
        ("-", False),
        ("prod.yaml", False),
        ("prod.YML", False),
        ("stacks/prod", False),
        ("./prod", False),
        ("folder", False),
        ("dangling", False),
    ],
)
def test_is_reference_tells_references_from_paths(
    text: str, *, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")

    assert is_reference(text) is expected


ENTRIES: TypeAdapter[StackEntry] = TypeAdapter(StackEntry)
SCHEMES = ["https://", "https://h", "http://", "http://localhost/", "ssh://", "ssh://git@h/", "file://", "file:///"]
OF_SETTINGS: list[tuple[StackEntry, str]] = [
    (LocalEntry(source="local", path="./stacks/dev.yaml"), "file://./stacks/dev.yaml"),
    (LocalEntry(source="local", path="/srv/stacks"), "file:///srv/stacks"),
    (
        GitHubEntry(source="github", repo="my-org/ml-stacks", ref="v2.1.0", path="stacks/prod.yaml"),
        "github://my-org/ml-stacks@v2.1.0#stacks/prod.yaml",
    ),
    (GitHubEntry(source="github", repo="my-org/ml-stacks"), "github://my-org/ml-stacks#dev"),
    (
        GitHubEntry(source="github", repo="o/r", host="github.company.com", path="x.yaml"),
        "github://github.company.com/o/r#x.yaml",
    ),
    (GitLabEntry(source="gitlab", repo="a/b/c", host="gitlab"), "gitlab://gitlab:443/a/b/c#dev"),
    (GitEntry(source="git", repo="ssh://git@host/x.git", ref="v1"), "git+ssh://git@host/x.git@v1#dev"),
    (GitEntry(source="git", repo="a/b", host="host:8443", path="s/x"), "git+https://host:8443/a/b#s/x"),
    (GitEntry(source="git", repo="http://localhost:80/x.git"), "git+http://localhost/x.git#dev"),
    (
        HttpEntry(source="http", url="https://stacks.company.com/staging.yaml"),
        "https://stacks.company.com/staging.yaml",
    ),
    (RegistryEntry(source="registry"), "registry://dev"),
    (RegistryEntry(source="registry", name="prod", version="^2.1"), "registry://prod@^2.1"),
]


@pytest.mark.parametrize(("source", "expected"), OF_SETTINGS, ids=[text for _, text in OF_SETTINGS])
def test_reference_of_an_entry_of_settings_is_the_reference_to_the_same(source: StackEntry, expected: str) -> None:
    reference = reference_of(source, key="dev")

    assert str(reference) == expected
    assert parse_stack_reference(expected) == reference


odd = st.text("ab/.-@:%2eF~[]\\_é ", max_size=12)


@given(
    st.one_of(
        st.builds(
            dict, source=st.just("github"), repo=st.just("o/r"), ref=odd | refs, path=odd | paths, host=odd | hosts
        ),
        st.builds(dict, source=st.just("gitlab"), repo=odd | st.just("a/b/c.git")),
        st.builds(dict, source=st.just("git"), repo=odd, host=hosts),
        st.builds(lambda scheme, rest: {"source": "git", "repo": scheme + rest}, st.sampled_from(SCHEMES), odd),
        st.builds(lambda scheme, rest: {"source": "http", "url": scheme + rest}, st.sampled_from(SCHEMES), odd),
    )
)
def test_reference_of_any_entry_that_settings_take_is_one(values: dict[str, str]) -> None:
    try:
        entry = ENTRIES.validate_python(values)
    except ValidationError:
        return
    reference = reference_of(entry, key="dev")
    assert parse_stack_reference(str(reference)) == reference


def test_reference_of_without_key_names_no_stack() -> None:
    assert reference_of(GitHubEntry(source="github", repo="o/r")) == GitReference("github", "https://github.com/o/r")
    with pytest.raises(ReferenceMalformed, match="has no name"):
        reference_of(RegistryEntry(source="registry"))


def test_reference_of_what_a_reference_cannot_hold_fails_closed() -> None:
    with pytest.raises(ReferenceMalformed, match="no version or range"):
        reference_of(RegistryEntry.model_construct(source="registry", name="prod", version=">= 2"))
