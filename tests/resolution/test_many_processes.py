"""Many processes that resolve at once: one fetch, no file half written, one answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import flowyml_policy
from flowyml_policy.sources.git.source import GitSource
from flowyml_policy.storage.cache import ContentCache

PROCESSES = 16
STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: %s, version: "1.0.0"}\nspec: {}\n'

READ = """
import json, sys
from pathlib import Path
from flowyml_policy.storage.cache import ContentCache
from flowyml_policy.sources.git.source import GitSource
from flowyml_policy.sources.search import StackSearch

url, ref, cache, names = sys.argv[1:]
sys.stdin.read()
search = StackSearch(GitSource(url, ref, cache=ContentCache(Path(cache))).fetch())
found = [search.find(name) for name in json.loads(names)]
print(json.dumps([[one.definition.metadata.name, one.provenance.commit, one.provenance.digest] for one in found]))
"""


def started(url: str, ref: str, cache: Path, names: list[str]) -> subprocess.Popen[str]:
    root = Path(flowyml_policy.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", READ, url, ref, str(cache), json.dumps(names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def answers(processes: list[subprocess.Popen[str]]) -> list[Any]:
    """What each says, all of them let go only once all are there."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    done = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in done] == [""] * len(processes)
    return [json.loads(output) for output, _ in done]


def test_sixteen_processes_share_one_fetch(git_host: Any, repository: Any, cache: ContentCache) -> None:
    names = [f"stack-{number}" for number in range(20)]
    commit = repository.commit({f"stacks/{name}.yaml": STACK % name.encode() for name in names})
    found = answers([started(git_host.url(), "main", cache.directory, names) for _ in range(PROCESSES)])
    assert found == [found[0]] * PROCESSES
    assert [(name, at) for name, at, _ in found[0]] == [(name, commit) for name in names]
    assert len(git_host.fetches) == 1


def test_sixteen_processes_with_a_commit_each_all_get_theirs(
    git_host: Any, repository: Any, cache: ContentCache
) -> None:
    commits = [
        repository.commit({"stacks/prod.yaml": STACK % f"stack-{number}".encode()}) for number in range(PROCESSES)
    ]
    processes = [
        started(git_host.url(), commit, cache.directory, [f"stack-{number}"]) for number, commit in enumerate(commits)
    ]
    found = [(name, commit) for [[name, commit, _]] in answers(processes)]
    assert found == [(f"stack-{number}", commit) for number, commit in enumerate(commits)]


def test_process_that_is_killed_while_it_fetches_leaves_the_copy_usable(
    git_host: Any, repository: Any, cache: ContentCache
) -> None:
    commit = repository.commit({"stacks/prod.yaml": STACK % b"prod"})
    reached, answer = threading.Event(), git_host.server.answer

    def never(_: Any) -> None:
        reached.set()
        git_host.server.ended.wait(60)

    git_host.server.answer = never
    process = started(git_host.url(), commit, cache.directory, ["prod"])
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert reached.wait(60)
    process.kill()
    process.communicate()
    git_host.server.answer = answer
    assert GitSource(git_host.url(), commit, cache=cache).fetch().read("stacks/prod.yaml") == STACK % b"prod"
