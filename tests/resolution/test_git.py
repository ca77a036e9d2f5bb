"""Stacks in real git repositories, by their files' address and over http."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceChanged,
    SourceMissing,
    SourceRefMissing,
    SourceRefused,
    SourceTooLarge,
    SourceUnreachable,
    SourceUnreadable,
    StackAmbiguous,
)
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.sources.git.source import GitSource
from flowyml_policy.sources.search import StackSearch
from flowyml_policy.sources.source import FetchRules, SourceLimits
from flowyml_policy.storage.cache import ContentCache

OFFLINE = FetchRules(offline=True)
PASSWORD = "correct-horse-7"
STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: %s, version: "%s"}\nspec: {}\n'


def stack(name: str, version: str = "1.0.0") -> bytes:
    return STACK % (name.encode(), version.encode())


@pytest.fixture(name="commit")
def _commit(repository: Any) -> str:
    """A commit with two stacks, which the annotated tag v1 names."""
    commit: str = repository.commit({"stacks/prod.yaml": stack("prod"), "stacks/dev.yaml": stack("dev")})
    repository.git("tag", "--annotate", "--message", "First", "v1")
    return commit


def commit_at(url: str, ref: str | None, cache: ContentCache, **given: Any) -> str:
    provenance = GitSource(url, ref, cache=cache, **given).fetch().provenance("x.yaml", b"")
    assert provenance.commit is not None
    return provenance.commit


def test_git_annotated_tag_gives_the_commit_that_it_names(repository: Any, commit: str, cache: ContentCache) -> None:
    found = StackSearch(GitSource(repository.url, "v1", cache=cache, kind="github").fetch()).find("prod")
    assert found.data == stack("prod")
    assert str(found.definition.location(("metadata", "name"))) == "stacks/prod.yaml:3:18"
    assert found.provenance == Provenance(
        kind="github",
        uri=repository.url,
        ref="v1",
        full_ref="refs/tags/v1",
        commit=commit,
        path="stacks/prod.yaml",
        digest=digest(stack("prod")),
        pinned=False,
        fetched_at=found.provenance.fetched_at,
    )
    assert found.definition.source == found.provenance.as_source()
    assert found.provenance.fetched_at is not None


@pytest.mark.parametrize("ref", [None, "main", "v1", "refs/heads/main", "refs/tags/v1"])
def test_git_every_kind_of_ref_leads_to_its_commit(
    ref: str | None, repository: Any, commit: str, cache: ContentCache
) -> None:
    found = GitSource(repository.url, ref, cache=cache).fetch().provenance("x.yaml", b"")
    full_ref = {None: "HEAD", "main": "refs/heads/main", "v1": "refs/tags/v1"}.get(ref, ref)
    assert (found.ref, found.full_ref, found.commit) == (ref, full_ref, commit)


def test_git_files_are_listed_whatever_the_case(repository: Any, cache: ContentCache) -> None:
    repository.commit({f"x/{name}": stack("x") for name in ("a.Yaml", "b.YML", "c.yml", "d.yaml.txt")})
    revision = GitSource(repository.url, "main", cache=cache).fetch()
    assert revision.list_paths("x") == ["x/a.Yaml", "x/b.YML", "x/c.yml"]


def test_git_full_commit_id_is_pinned(repository: Any, commit: str, cache: ContentCache) -> None:
    revision = GitSource(repository.url, commit, cache=cache).fetch()
    data = revision.read("stacks/dev.yaml")
    assert data == stack("dev")
    provenance = revision.provenance("stacks/dev.yaml", data)
    assert (provenance.ref, provenance.full_ref, provenance.commit, provenance.pinned) == (commit, None, commit, True)


def test_git_older_commit_of_a_force_pushed_branch_is_still_read(
    repository: Any, commit: str, cache: ContentCache
) -> None:
    repository.git("tag", "--delete", "v1")
    assert commit_at(repository.url, "main", cache) == commit
    GitSource(repository.url, "main", cache=cache).fetch().read("stacks/prod.yaml")
    repository.git("checkout", "--quiet", "--orphan", "other")
    pushed = repository.commit({"stacks/prod.yaml": stack("prod", "2.0.0")})
    repository.git("branch", "--force", "main", "other")
    now = GitSource(repository.url, "main", cache=cache).fetch()
    assert now.read("stacks/prod.yaml") == stack("prod", "2.0.0")
    assert now.provenance("stacks/prod.yaml", b"").commit == pushed
    assert GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")


def test_git_tag_that_moved_is_followed_and_a_pin_says_so(repository: Any, commit: str, cache: ContentCache) -> None:
    pinned = GitSource(repository.url, "v1", cache=cache, commit=commit)
    assert pinned.fetch().read("stacks/prod.yaml") == stack("prod")
    moved = repository.commit({"stacks/prod.yaml": stack("prod", "6.6.6")})
    repository.git("tag", "--force", "v1")
    assert pinned.fetch().read("stacks/prod.yaml") == stack("prod")
    assert commit_at(repository.url, "v1", cache) == moved
    with pytest.raises(SourceChanged) as raised:
        GitSource(repository.url, "v1", cache=cache, commit=commit).fetch()
    assert raised.value.message == f"v1 was pinned to {commit} and is {moved} now: {repository.url}"


def test_git_tag_and_branch_of_one_name_and_two_commits_fails_closed(
    repository: Any, commit: str, cache: ContentCache
) -> None:
    repository.git("branch", "v1", commit)
    assert commit_at(repository.url, "v1", cache) == commit
    other = repository.commit()
    repository.git("branch", "--force", "v1", other)
    with pytest.raises(SourceRefMissing) as raised:
        GitSource(repository.url, "v1", cache=cache).fetch()
    assert raised.value.advice == "write refs/tags/v1 or refs/heads/v1"
    assert commit_at(repository.url, "refs/heads/v1", cache) == other
    assert commit_at(repository.url, "refs/tags/v1", cache) == commit


def test_git_branch_that_is_named_like_a_commit_is_never_taken_for_it(
    repository: Any, commit: str, cache: ContentCache
) -> None:
    name = "a" * 40
    subprocess.run(["git", "-C", repository.folder, "update-ref", f"refs/heads/{name}", commit], check=True)
    with pytest.raises(SourceRefMissing):
        GitSource(repository.url, name, cache=cache).fetch().read("stacks/prod.yaml")


@pytest.mark.parametrize("ref", ["v2", "refs/heads/none", "abc1234"])
def test_git_missing_ref_fails_closed(ref: str, repository: Any, commit: str, cache: ContentCache) -> None:
    assert commit
    with pytest.raises(SourceRefMissing) as raised:
        GitSource(repository.url, ref, cache=cache).fetch()
    assert raised.value.message == f"the repository has no branch or tag '{ref}': {repository.url}"


def test_git_commit_of_another_repository_fails_closed(repository: Any, commit: str, cache: ContentCache) -> None:
    other = commit.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    with pytest.raises(SourceRefMissing):
        GitSource(repository.url, other, cache=cache).fetch().read("stacks/prod.yaml")


def test_git_tag_of_a_tree_fails_closed(repository: Any, commit: str, cache: ContentCache) -> None:
    repository.git("tag", "tree", f"{commit}^{{tree}}")
    with pytest.raises((SourceRefMissing, SourceUnreachable)):
        GitSource(repository.url, "tree", cache=cache).fetch().read("stacks/prod.yaml")


def test_git_repository_that_is_gone_is_an_error_online_and_read_by_commit(
    repository: Any, commit: str, cache: ContentCache
) -> None:
    GitSource(repository.url, "v1", cache=cache).fetch().read("stacks/prod.yaml")
    shutil.rmtree(repository.folder)
    with pytest.raises(SourceMissing) as raised:
        GitSource(repository.url, "v1", cache=cache).fetch()
    assert "does not appear to be a git repository" in raised.value.message
    assert GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")
    with pytest.raises(SourceUnreachable):
        GitSource(repository.url, "b" * 40, cache=cache, rules=OFFLINE).fetch().read("stacks/prod.yaml")


def test_git_offline_reads_pinned_commits_and_refuses_refs(repository: Any, commit: str, cache: ContentCache) -> None:
    GitSource(repository.url, "v1", cache=cache).fetch().read("stacks/prod.yaml")
    offline = GitSource(repository.url, commit, cache=cache, rules=OFFLINE).fetch()
    assert offline.list_paths("stacks") == ["stacks/dev.yaml", "stacks/prod.yaml"]
    assert offline.read("stacks/dev.yaml") == stack("dev")
    assert offline.provenance("stacks/dev.yaml", b"").fetched_at is not None
    with pytest.raises(SourceUnreachable):
        GitSource(repository.url, "v1", cache=cache, rules=OFFLINE).fetch()


def test_git_what_was_read_once_needs_no_git_at_all(
    repository: Any, commit: str, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    StackSearch(GitSource(repository.url, "v1", cache=cache).fetch()).find("prod")
    monkeypatch.setenv("PATH", "")
    found = StackSearch(GitSource(repository.url, commit, cache=cache).fetch()).find("prod")
    assert (found.data, found.provenance.pinned) == (stack("prod"), True)
    with pytest.raises(SourceUnreachable) as raised:
        GitSource(repository.url, "v1", cache=cache).fetch()
    assert raised.value.message == "git is needed for this source, and there is none on PATH"


def damage(copy: Path) -> None:
    for file in (copy / "objects" / "pack").iterdir():
        file.chmod(0o600)
        file.write_bytes(b"damaged")


@pytest.mark.parametrize("harm", [damage, shutil.rmtree, lambda copy: shutil.rmtree(copy / "objects")])
def test_git_damaged_copy_is_fetched_anew(
    harm: Callable[[Path], None], repository: Any, commit: str, cache: ContentCache
) -> None:
    GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml")
    [copy] = (cache.directory / "git").glob("*.git")
    harm(copy)
    assert GitSource(repository.url, commit, cache=cache).fetch().read("stacks/dev.yaml") == stack("dev")
    [copy] = (cache.directory / "git").glob("*.git")
    harm(copy)
    with pytest.raises(SourceUnreachable):
        GitSource(repository.url, commit, cache=cache, rules=OFFLINE).fetch().list_paths("stacks")


def test_git_links_and_other_repositories_are_never_followed(
    repository: Any, cache: ContentCache, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_bytes(stack("outside"))
    repository.write("stacks/prod.yaml", stack("prod"))
    (repository.folder / "stacks" / "link.yaml").symlink_to(outside)
    (repository.folder / "linked").symlink_to("stacks")
    first = repository.commit()
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{first},stacks/module.yaml")
    repository.git("commit", "--quiet", "--message", "A module")
    revision = GitSource(repository.url, "main", cache=cache).fetch()
    assert revision.list_paths("stacks") == ["stacks/prod.yaml"]
    for path, what in {"stacks/link.yaml": "a symbolic link", "stacks/module.yaml": "another repository"}.items():
        with pytest.raises(SourceRefused) as raised:
            revision.read(path)
        assert raised.value.message.startswith(f"{path} is {what}, which is not followed")
    with pytest.raises(SourceMissing):
        revision.read("linked/prod.yaml")
    with pytest.raises(SourceRefused):
        revision.list_paths("linked")


def test_git_missing_path_says_at_which_commit(repository: Any, commit: str, cache: ContentCache) -> None:
    revision = GitSource(repository.url, "v1", cache=cache).fetch()
    with pytest.raises(SourceMissing) as raised:
        revision.read("stacks/none.yaml")
    assert raised.value.message == f"stacks/none.yaml is not there: {repository.url} at v1 (commit {commit})"
    with pytest.raises(SourceMissing) as raised:
        revision.read("stacks")
    assert raised.value.message == f"stacks is a folder, no file: {repository.url} at v1 (commit {commit})"
    assert (revision.holds("stacks"), revision.holds("stacks/dev.yaml"), revision.holds("x")) == (
        "folder",
        "file",
        None,
    )


def test_git_names_that_hide_something_are_refused(repository: Any, cache: ContentCache) -> None:
    repository.commit({"stacks/a\nb.yaml": stack("prod"), "-x.yaml": stack("dash"), "*.yaml": stack("star")})
    revision = GitSource(repository.url, cache=cache).fetch()
    assert revision.list_paths(recursive=False) == ["*.yaml", "-x.yaml"]
    assert revision.read("-x.yaml") == stack("dash")
    assert revision.read("*.yaml") == stack("star")
    with pytest.raises(SourceRefused):
        revision.list_paths("stacks")


def test_git_large_file_is_refused_from_servers_with_and_without_filters(repository: Any, cache: ContentCache) -> None:
    large = os.urandom(2 << 20)
    commit = repository.commit({"large.yaml": large, "small.yaml": stack("small")})
    for allowed in ("false", "true"):
        repository.git("config", "uploadpack.allowFilter", allowed)
        kept = ContentCache(cache.directory / allowed)
        revision = GitSource(repository.url, commit, cache=kept).fetch()
        assert revision.read("small.yaml") == stack("small")
        with pytest.raises(SourceTooLarge):
            revision.read("large.yaml")
        with pytest.raises(SourceTooLarge):
            revision.read_many(["small.yaml", "large.yaml"])
    copies = [
        sum(file.stat().st_size for file in (cache.directory / name).rglob("*.pack")) for name in ("false", "true")
    ]
    assert copies[0] > len(large) > copies[1]


def test_git_repository_larger_than_the_limit_fails_closed(repository: Any, cache: ContentCache) -> None:
    repository.commit({f"{number}.bin": os.urandom(500_000) for number in range(8)})
    limits = SourceLimits(repository_size=1 << 20)
    with pytest.raises(SourceTooLarge):
        GitSource(repository.url, cache=cache, rules=FetchRules(limits=limits)).fetch().list_paths()


def test_git_more_files_than_are_listed_fails_closed(repository: Any, cache: ContentCache) -> None:
    repository.commit({f"stacks/{number}.yaml": stack(f"s{number}") for number in range(12)})
    rules = FetchRules(limits=SourceLimits(files=11))
    revision = GitSource(repository.url, cache=cache, rules=rules).fetch()
    with pytest.raises(SourceTooLarge) as raised:
        revision.list_paths("stacks")
    assert raised.value.message == "12 definition files in stacks, more than 11"
    assert revision.read("stacks/7.yaml") == stack("s7")


def test_git_hooks_monitors_and_external_programs_never_run(
    repository: Any, commit: str, cache: ContentCache, git_settings: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    text = f'[core]\n  hooksPath = {hooks}\n  fsmonitor = touch {marker}\n[protocol "ext"]\n  allow = always\n'
    text += f"[url \"ext::sh -c 'touch {marker}' \"]\n  insteadOf = https://rewritten.example/\n"
    git_settings.write_text(git_settings.read_text() + text)
    GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml")
    with pytest.raises(SourceRefused) as raised:
        GitSource("https://rewritten.example/x/y", cache=cache).fetch()
    assert "transport 'ext' not allowed" in raised.value.message
    assert not marker.exists()


def test_git_variables_that_point_elsewhere_are_not_heeded(
    repository: Any, commit: str, cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")
    assert not (tmp_path / "elsewhere").exists()


# Over http, from a host


def use_password(git_settings: Path, password: str) -> None:
    helper = f"!f() {{ echo username=robot; echo password={password}; }}; f"
    git_settings.write_text(f'{git_settings.read_text()}[credential]\n  helper = "{helper}"\n')


def test_git_host_gives_two_hundred_stacks_for_one_fetch(git_host: Any, repository: Any, cache: ContentCache) -> None:
    commit = repository.commit({f"stacks/{number}.yaml": stack(f"stack-{number}") for number in range(200)})
    search = StackSearch(GitSource(git_host.url(), "main", cache=cache).fetch())
    found = [search.find(f"stack-{number}").data for number in range(200)]
    assert found == [stack(f"stack-{number}") for number in range(200)]
    assert len(git_host.fetches) == 1
    asked = len(git_host.server.requests)
    again = StackSearch(GitSource(git_host.url(), commit, cache=cache).fetch())
    assert [again.find(f"stack-{number}").data for number in range(200)] == found
    assert len(git_host.server.requests) == asked


def test_git_host_with_a_password_takes_it_from_the_credential_helper(
    git_host: Any, repository: Any, commit: str, cache: ContentCache, git_settings: Path
) -> None:
    git_host.password = PASSWORD
    use_password(git_settings, git_host.password)
    assert commit_at(git_host.url(), "v1", cache) == commit
    assert GitSource(git_host.url(), commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")
    assert repository.git("rev-parse", "v1^{commit}") == commit
    kept = [path for path in cache.directory.rglob("*") if path.is_file()]
    assert not [path for path in kept if git_host.password.encode() in path.read_bytes()]


@pytest.mark.parametrize("password", [None, "wrong-horse-7"])
def test_git_host_without_the_right_password_fails_closed(
    password: str | None, git_host: Any, commit: str, cache: ContentCache, git_settings: Path
) -> None:
    assert commit
    git_host.password = PASSWORD
    if password is not None:
        use_password(git_settings, password)
    with pytest.raises(SourceAccessDenied) as raised:
        GitSource(git_host.url(), "v1", cache=cache).fetch()
    assert "horse" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, SourceAccessDenied), (404, SourceMissing), (500, SourceUnreachable), (503, SourceUnreachable)],
)
def test_git_host_that_answers_with_an_error_fails_closed(
    status: int, error: type[Exception], git_host: Any, commit: str, cache: ContentCache
) -> None:
    assert commit
    git_host.status = status
    with pytest.raises(error):
        GitSource(git_host.url(), "v1", cache=cache).fetch()


def test_git_host_that_does_not_answer_is_given_up_in_time(git_host: Any, cache: ContentCache) -> None:
    git_host.server.answer = lambda _: git_host.server.ended.wait(60)
    rules = FetchRules(limits=SourceLimits(timeout=0.5))
    with pytest.raises(SourceUnreachable) as raised:
        GitSource(git_host.url(), "v1", cache=cache, rules=rules).fetch()
    assert raised.value.message == f"no complete answer within 0.5 s: {git_host.url()}"


def test_git_host_of_the_protocol_before_two_gives_tags_and_older_commits(
    git_host: Any, repository: Any, commit: str, cache: ContentCache
) -> None:
    git_host.old = True
    repository.git("tag", "--delete", "v1")
    repository.commit({"stacks/prod.yaml": stack("prod", "2.0.0")})
    repository.git("tag", "--annotate", "--message", "Second", "v2")
    assert GitSource(git_host.url(), commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")
    fresh = ContentCache(cache.directory / "fresh")
    tagged = GitSource(git_host.url(), "v2", cache=fresh).fetch()
    assert tagged.read("stacks/prod.yaml") == stack("prod", "2.0.0")
    with pytest.raises(SourceRefMissing):
        GitSource(git_host.url(), "c" * 40, cache=fresh).fetch().read("stacks/prod.yaml")


def test_git_host_redirect_to_another_scheme_fails_closed(
    git_host: Any, repository: Any, commit: str, cache: ContentCache
) -> None:
    assert commit
    git_host.server.answer = lambda handler: handler.reply(302, Location=f"file://{repository.folder}")
    with pytest.raises((SourceUnreachable, SourceRefused)):
        GitSource(git_host.url(), "v1", cache=cache).fetch()


def test_git_two_stacks_of_one_name_are_named_with_their_places(repository: Any, cache: ContentCache) -> None:
    repository.commit({"stacks/a.yaml": stack("prod"), "prod.yaml": stack("prod", "2.0.0")})
    with pytest.raises(StackAmbiguous) as raised:
        StackSearch(GitSource(repository.url, cache=cache).fetch()).find("prod")
    assert raised.value.message == "2 stacks are called 'prod': stacks/a.yaml:3:18 (prod), prod.yaml:3:18 (prod)"


def test_git_over_https_trusts_what_the_users_git_trusts(
    repository: Any,
    commit: str,
    cache: ContentCache,
    git_settings: Path,
    start_server: Any,
    authority: Any,
    git_host: Any,
) -> None:
    git_host.server = start_server(authority.server)
    git_host.server.answer = git_host.answer
    with pytest.raises(SourceUnreachable) as raised:
        GitSource(git_host.url(), "v1", cache=cache).fetch()
    assert raised.value.advice == "set git's http.sslCAInfo to the company's CA certificates"
    git_settings.write_text(f"{git_settings.read_text()}[http]\n  sslCAInfo = {authority.file}\n")
    revision = GitSource(git_host.url(), "v1", cache=cache).fetch()
    assert revision.read("stacks/prod.yaml") == stack("prod")
    assert revision.provenance("stacks/prod.yaml", b"").commit == commit
    assert repository.folder.is_dir()


def use_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> Path:
    """An ssh of the user's own that reaches this machine itself; the file that it notes its arguments in."""
    program, notes = folder / "own-ssh", folder / "ssh-arguments"
    program.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n{before}\nfor last; do :; done\nexec sh -c "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    return notes


def test_git_over_ssh_uses_the_users_own_ssh(
    repository: Any, commit: str, cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = use_ssh(tmp_path, monkeypatch, "")
    url = f"ssh://git@git.example:2222{repository.folder}"
    assert GitSource(url, commit, cache=cache).fetch().read("stacks/prod.yaml") == stack("prod")
    assert "-p 2222 git@git.example git-upload-pack" in notes.read_text()


def test_git_ssh_connection_that_stays_open_holds_nothing_up(
    repository: Any, commit: str, cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ssh(tmp_path, monkeypatch, f"sleep 60 </dev/null >/dev/null & echo $! >> {tmp_path}/kept")
    url = f"ssh://git@git.example{repository.folder}"
    rules = FetchRules(limits=SourceLimits(timeout=20))
    try:
        assert GitSource(url, commit, cache=cache, rules=rules).fetch().read("stacks/prod.yaml") == stack("prod")
    finally:
        for number in (tmp_path / "kept").read_text().split():
            os.kill(int(number), signal.SIGKILL)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("git@git.example: Permission denied (publickey).", SourceAccessDenied),
        ("Host key verification failed.", SourceAccessDenied),
        ("ssh: Could not resolve hostname git.example: Name or service not known", SourceUnreachable),
    ],
)
def test_git_ssh_that_fails_fails_closed(
    said: str, error: type[Exception], cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ssh(tmp_path, monkeypatch, f"echo '{said}' >&2; exit 255")
    with pytest.raises(error):
        GitSource("ssh://git@git.example/o/r", cache=cache).fetch()


def test_git_ssh_that_asks_gets_no_terminal(
    cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ssh(tmp_path, monkeypatch, f"(echo asked > /dev/tty) 2>/dev/null && touch {tmp_path}/asked; exit 255")
    with pytest.raises(SourceUnreachable):
        GitSource("ssh://git@git.example/o/r", cache=cache).fetch()
    assert not (tmp_path / "asked").exists()


def test_git_repository_of_another_object_format_fails_closed(cache: ContentCache, tmp_path: Path) -> None:
    folder = tmp_path / "sha256"
    subprocess.run(["git", "init", "--quiet", "--object-format=sha256", folder], check=True)
    subprocess.run(["git", "-C", folder, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    with pytest.raises(SourceUnreadable) as raised:
        GitSource(f"file://{folder}", cache=cache).fetch()
    assert raised.value.message == f"the repository does not name its commits by SHA-1: file://{folder}"


def test_git_empty_repository_fails_closed(repository: Any, cache: ContentCache) -> None:
    with pytest.raises(SourceRefMissing) as raised:
        GitSource(repository.url, cache=cache).fetch()
    assert raised.value.message == f"the repository has no default branch: {repository.url}"


def test_git_tree_that_unfolds_without_end_fails_closed(repository: Any, cache: ContentCache) -> None:
    inner = repository.commit({"x.yaml": stack("prod")}) + "^{tree}"
    tree = repository.git("rev-parse", inner)
    for _ in range(8):
        text = "".join(f"040000 tree {tree}\t{number}\n" for number in range(10))
        done = subprocess.run(
            ["git", "-C", repository.folder, "mktree"], input=text, check=True, capture_output=True, text=True
        )
        tree = done.stdout.strip()
    commit = repository.git("commit-tree", "-m", "A bomb", tree)
    repository.git("update-ref", "refs/heads/bomb", commit)
    revision = GitSource(repository.url, "bomb", cache=cache).fetch()
    with pytest.raises(SourceTooLarge):
        revision.list_paths("1")
    assert revision.read("/".join("12345678") + "/x.yaml") == stack("prod")


def test_git_copy_that_has_grown_too_large_is_started_anew(repository: Any, cache: ContentCache) -> None:
    rules = FetchRules(limits=SourceLimits(repository_size=500_000))
    packs = []
    for number in range(3):
        commit = repository.commit(
            {"noise.bin": os.urandom(300_000), "stacks/prod.yaml": stack("prod", f"{number}.0.0")}
        )
        data = GitSource(repository.url, commit, cache=cache, rules=rules).fetch().read("stacks/prod.yaml")
        assert data == stack("prod", f"{number}.0.0")
        packs.append(len(list((cache.directory / "git").rglob("*.pack"))))
    assert packs == [1, 2, 1]


def test_git_copies_that_were_used_longest_ago_are_removed(repository: Any, commit: str, cache: ContentCache) -> None:
    folder = cache.private_folder("git")
    for number in range(70):
        for name in (f"{number:02}.git", f".new-{number:02}"):
            (folder / name).mkdir()
            os.utime(folder / name, (1000 + number, 1000 + number))
    with FileLock(folder / "03.lock"):
        GitSource(repository.url, commit, cache=cache).fetch().read("stacks/prod.yaml")
    kept = sorted(path.stem for path in folder.iterdir() if path.is_dir() and len(path.stem) == 2)
    assert kept == ["03", *(f"{number:02}" for number in range(7, 70))]
    assert list(folder.glob(".new-*")) == []


def test_git_many_threads_share_one_source(git_host: Any, repository: Any, cache: ContentCache) -> None:
    names = [f"stack-{number}" for number in range(16)]
    repository.commit({f"stacks/{name}.yaml": stack(name) for name in names})
    search = StackSearch(GitSource(git_host.url(), "main", cache=cache).fetch())
    with ThreadPoolExecutor(len(names)) as threads:
        found = list(threads.map(lambda name: search.find(name).data, names))
    assert found == [stack(name) for name in names]
    assert len(git_host.fetches) == 1
