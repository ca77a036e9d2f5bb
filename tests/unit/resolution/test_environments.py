"""No other way to name a stack takes it out of an environment that runs on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy import StackDefinition
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.provenance import Provenance, RegisteredProvenance
from flowyml_policy.records.record import SourceKind
from flowyml_policy.resolution.environments import environments_of
from flowyml_policy.settings.loading import load_settings

SETTINGS = """\
environments:
  by-name: {stack: gpu}
  by-version: {stack: gpu@^2.1}
  by-registry: {stack: registry://gpu@2.1.0}
  by-address: {stack: 'github://org/stacks@v1#gpu'}
  by-path: {stack: 'github://org/stacks@v2#stacks/gpu.yaml'}
  by-folder: {stack: 'git+https://github.com/org/stacks@v2#stacks/'}
  by-key: {stack: prod}
  by-key-without-path: {stack: searched}
  by-url: {stack: web}
  by-file: {stack: file://./stacks/gpu.yaml}
  by-file-folder: {stack: 'file://./stacks#gpu'}
  by-url-with-query: {stack: 'https://stacks.example/asked.yaml?v=1'}
  by-repository-file: {stack: 'git+file://@/link@v1#stacks/gpu.yaml'}
  malformed: {stack: 'github://org'}
  other: {stack: cpu}
  other-repository: {stack: 'github://org/others@v1#stacks/gpu.yaml'}
  other-path: {stack: 'github://org/stacks@v1#stacks/gpu.yaml.yml'}
  other-name: {stack: 'file://./stacks#cpu'}
stacks:
  prod: {source: github, repo: org/stacks, ref: v2, path: stacks/gpu.yaml}
  searched: {source: github, repo: org/stacks}
  web: {source: http, url: https://stacks.example/gpu.yaml}
"""
VALID = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: any}\nspec: {}\n"
ALWAYS = {"by-name", "by-version", "by-registry"}


def definition(provenance: Provenance | None, name: str = "gpu") -> StackDefinition:
    found = StackDefinition.from_dict(
        {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": name}, "spec": {}}
    )
    return found if provenance is None else found.located(provenance)


def git(uri: str = "https://github.com/org/stacks.git", path: str = "stacks/gpu.yaml") -> Provenance:
    return Provenance(kind="github", uri=uri, ref="main", commit="0" * 40, path=path)


@pytest.mark.parametrize(
    ("provenance", "name", "expected"),
    [
        (None, "gpu", ALWAYS),
        (git(), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://github.com/org/stacks"), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://github.com/Org/STACKS.git"), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://git.example/Org/stacks.git"), "any", set()),
        (git("file://@/repository"), "any", {"by-repository-file"}),
        (git("file://@/repository/.git"), "any", {"by-repository-file"}),
        (git("file://@/link/"), "any", {"by-repository-file"}),
        (git("file://@/elsewhere"), "any", set()),
        (Provenance(kind="http", uri="https://stacks.example/asked.yaml"), "any", {"by-url-with-query"}),
        (Provenance(kind="http", uri="https://stacks.example/asked.yaml?v=2"), "any", {"by-url-with-query"}),
        (Provenance(kind="http", uri="https://stacks.example/gpu.yaml?x"), "any", {"by-url"}),
        (git(path="stacks/x.yaml"), "gpu", ALWAYS | {"by-address", "by-folder"}),
        (git(), "gpu-2", {"by-path", "by-folder", "by-key"}),
        (git(), "searched", {"by-path", "by-folder", "by-key", "by-key-without-path"}),
        (git("https://github.com/org/forks.git"), "gpu", ALWAYS),
        (Provenance(kind="http", uri="https://stacks.example/gpu.yaml"), "any", {"by-url"}),
        (Provenance(kind="http", uri="https://stacks.example/other.yaml"), "any", set()),
        (Provenance(kind="local", uri="stacks/gpu.yaml"), "gpu", ALWAYS | {"by-file", "by-file-folder"}),
        (Provenance(kind="local", uri="stacks/gpu.yaml"), "any", {"by-file"}),
        (Provenance(kind="local", uri="stacks/../stacks/gpu.yaml"), "any", {"by-file"}),
        (Provenance(kind="registry", uri="registry://gpu@2.1.0"), "gpu", ALWAYS),
    ],
)
def test_environments_of_a_definition_are_those_that_lead_to_where_it_was_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provenance: Provenance | None,
    name: str,
    expected: set[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    (tmp_path / "flowyml.yaml").write_text(SETTINGS.replace("//@/", f"//{tmp_path}/"))
    if provenance is not None:
        provenance = provenance.model_copy(update={"uri": provenance.uri.replace("//@/", f"//{tmp_path}/")})
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)})
    assert set(environments_of(settings, definition(provenance, name))) == expected


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("github://org/stacks", "ssh://git@github.com/org/stacks.git"),
        ("git+ssh://git@github.com/org/stacks", "https://github.com/org/stacks.git"),
        ("git+ssh://git@github.com/org/stacks", "ssh://another@github.com:22/Org/Stacks.git"),
        ("git+ssh://git@ssh.github.com:443/org/stacks", "https://github.com/org/stacks.git"),
        ("git+https://www.github.com/org/stacks", "https://github.com/org/stacks.git"),
        ("gitlab://group/sub/stacks", "ssh://git@altssh.gitlab.com:443/group/sub/stacks.git"),
        ("gitlab://git.example/group/stacks", "ssh://git@git.example:2222/Group/stacks"),
        ("git+https://git.example:8443/org/stacks.git", "ssh://git@git.example:2222/org/stacks/"),
        ("git+https://git.example/org/stacks", "https://GIT.example:8443/Org/Stacks.git"),
        ("git+https://git.example/org/%C3%A4", "ssh://git@git.example/org/%C3%84.git"),
        ("git+https://git.example/org/stacks", "ssh://git@git.example/srv/git/org/stacks.git"),
        ("git+ssh://git@git.example/srv/git/org/stacks", "https://git.example/org/stacks"),
        ("git+https://git.example/scm/org/stacks.git", "ssh://git@git.example:7999/org/stacks.git"),
        ("git+ssh://git.example/~/stacks", "https://git.example/stacks.git"),
        ("git+https://dev.azure.com/org/project/_git/stacks", "ssh://git@ssh.dev.azure.com/v3/org/project/stacks"),
        ("git+http://127.0.0.1:3000/org/stacks", "ssh://git@127.0.0.1/org/stacks"),
        ("git+http://127.0.0.1:3000/org/stacks", "http://localhost:3000/org/stacks"),
        ("git+http://[::1]:3000/org/stacks", "ssh://git@localhost/org/stacks"),
        ("git+ssh://git@git.example/~/org/stacks", "ssh://git@git.example/home/git/org/stacks"),
        ("git+ssh://git@git.example/~git/org/stacks", "ssh://git@git.example/home/git/org/stacks"),
        ("git+ssh://git@git.example/~git/org/stacks", "ssh://git@git.example/~/org/stacks"),
        ("git+ssh://git@git.example/~ann/stacks", "https://git.example/scm/~ann/stacks.git"),
        ("git+ssh://git@git.example/org/stacks", "ssh://git@git.example/srv/org/stacks"),
        ("git+https://git.example/org/stacks", "https://git.example/scm/org/stacks"),
        ("git+https://[2001:db8::1]/org/stacks", "ssh://git@[2001:db8::1]:22/org/stacks"),
        ("gitlab://org/stacks", "https://gitlab.com/mirror/org/stacks"),
        ("git+ssh://git@gitlab.com/org/stacks", "ssh://git@gitlab.com/mirror/org/stacks"),
        ("git+ssh://git@git.example/~ann/stacks", "ssh://git@git.example/~bob/stacks"),
        ("git+https://git.example/org/stacks", "ssh://git@git.example/~"),
        ("gitlab://mine/sub/stacks", "https://gitlab.com/yours/sub/stacks.git"),
    ],
)
def test_environments_of_a_definition_are_the_same_by_every_transport_to_its_repository(
    tmp_path: Path, named: str, read: str
) -> None:
    assert _is_in_environment(tmp_path, f"{named}@v1#stacks/gpu.yaml", git(read))


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("github://org/stacks", "ssh://git@gitlab.com/org/stacks.git"),
        ("github://org/stacks", "ssh://git@github.com.example/org/stacks.git"),
        ("github://org/stacks", "ssh://git@github.com/org/stacks-2.git"),
        ("github://org/stacks", "ssh://git@github.com/stacks-org/stacks.git"),
        ("git+ssh://git@git.example/org/stacks", "ssh://git@git.example/srv/borg/stacks"),
        ("git+https://git.example/org/stacks", "ssh://git@git.example/srv/borg/stacks"),
        ("git+https://git.example/org/stacks", "file:///org/stacks"),
    ],
)
def test_environments_of_a_definition_of_another_repository_are_none(tmp_path: Path, named: str, read: str) -> None:
    assert not _is_in_environment(tmp_path, f"{named}@v1#stacks/gpu.yaml", git(read))


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ("http://stacks.example:8080/gpu.yaml", True),
        ("https://STACKS.example/gpu.yaml?v=2", True),
        ("https://stacks.example./gpu.yaml", True),
        ("https://stacks.example/%67pu.yaml", True),
        ("https://stacks.example/GPU.yaml", False),
        ("https://other.example/gpu.yaml", False),
    ],
)
def test_environments_of_a_definition_at_an_http_address_are_those_of_host_and_path(
    tmp_path: Path, read: str, *, expected: bool
) -> None:
    provenance = Provenance(kind="http", uri=read)
    assert _is_in_environment(tmp_path, "https://stacks.example/gpu.yaml", provenance) is expected


spelled_names = st.tuples(st.sampled_from(["org", "ORG"]), st.sampled_from(["stacks", "Stacks", "STACKS"]))
hosts = st.sampled_from(
    [
        ("git.example", "GIT.example"),
        ("github.com", "www.github.com", "ssh.github.com"),
        ("gitlab.com", "altssh.gitlab.com"),
        ("127.0.0.1", "localhost", "[::1]", "127.0.0.2"),
    ]
)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Two addresses of one repository: by any transport, port, user, prefix and name of its host, in any letters."""
    names = draw(hosts)
    addresses = []
    for _ in range(2):
        scheme = draw(st.sampled_from(["https", "ssh"]))
        user = draw(st.sampled_from(["", "git@", "ann@"])) if scheme == "ssh" else ""
        port = draw(st.sampled_from(["", ":22", ":443", ":8443"]))
        prefix = draw(st.sampled_from(["", "scm/", "srv/git/", "~/", "~git/", "v3/", "_git/"]))
        path = "/".join(draw(spelled_names)) + draw(st.sampled_from(["", ".git", "/", ".git/"]))
        addresses.append(f"{scheme}://{user}{draw(st.sampled_from(names))}{port}/{prefix}{path}")
    return addresses[0], addresses[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@given(pair=spellings())
def test_definition_belongs_when_its_repository_is_spelled_anyhow(folder: Path, pair: tuple[str, str]) -> None:
    named, read = pair
    assert _is_in_environment(folder, f"git+{named}@v1#stacks/gpu.yaml", git(read))
    assert not _is_in_environment(folder, f"git+{named}@v1#stacks/gpu.yaml", git(f"{read.rstrip('/')}-2"))


RAW = "https://raw.githubusercontent.com/org/stacks"


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}/v2/stacks/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}/refs/heads/feature/x/stacks/gpu.yaml?token=a"),
        ("github://Org/Stacks@v1#stacks/", f"{RAW}/{'a' * 40}/stacks/sub/gpu.yaml"),
        ("github://org/stacks@v1#any", f"{RAW}/main/elsewhere.yaml"),
        ("git+ssh://git@github.com/org/stacks@v1#stacks/gpu.yaml", f"{RAW}/v2/stacks/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "https://github.com/org/stacks/raw/main/stacks/gpu.yaml"),
        ("gitlab://group/sub/stacks#stacks/gpu.yaml", "https://gitlab.com/group/sub/stacks/-/raw/main/stacks/gpu.yaml"),
        ("gitlab://git.example/g/s#gpu.yaml", "https://git.example:8443/g/s/-/raw/main/gpu.yaml?ref_type=heads"),
        ("git+https://[2001:db8::1]/g/s#gpu.yaml", "https://[2001:db8::1]:8443/g/s/-/raw/main/gpu.yaml"),
        ("git+https://git.example/org/s#gpu.yaml", "https://git.example/org/s/raw/branch/main/gpu.yaml"),
        ("git+https://git.example/org/s#gpu.yaml", "https://git.example/scm/org/s/raw/main/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "https://github.com/org/stacks/blob/v1/stacks/gpu.yaml?raw=true"),
        ("gitlab://g/s#gpu.yaml", "https://gitlab.com/g/s/-/blob/main/gpu.yaml"),
        (f"{RAW}/v1/stacks/gpu.yaml", f"{RAW}/feature/x/stacks/gpu.yaml"),
        (f"{RAW}/feature/x/stacks/gpu.yaml", f"{RAW}/refs/tags/v1/stacks/gpu.yaml"),
        (f"{RAW}/v1/gpu.yaml", "https://github.com/org/stacks/raw/v2/gpu.yaml"),
        (f"{RAW}/feature/x/stacks/gpu.yaml", f"{RAW}/feature/y/stacks/gpu.yaml"),
        ("gitlab://g/raw/s#gpu.yaml", "https://gitlab.com/g/raw/s/-/raw/main/gpu.yaml"),
        ("https://git.example/g/s/-/raw/v1/gpu.yaml", "https://git.example/g/s/-/raw/v2/gpu.yaml"),
    ],
)
def test_environments_of_a_file_that_a_git_server_hands_out_are_those_of_its_repository(
    tmp_path: Path, named: str, read: str
) -> None:
    assert _is_in_environment(tmp_path, named, Provenance(kind="http", uri=read))


@pytest.mark.parametrize("named", [f"{RAW}/v1/stacks/gpu.yaml", f"{RAW}/refs/heads/a/b/stacks/gpu.yaml#any"])
def test_environments_of_a_repositorys_file_are_those_of_where_its_server_hands_it_out(
    tmp_path: Path, named: str
) -> None:
    assert _is_in_environment(tmp_path, named, git())
    assert not _is_in_environment(tmp_path, named, git(path="other/gpu.yaml"))
    assert not _is_in_environment(tmp_path, named, git("https://github.com/org/others.git"))
    assert not _is_in_environment(tmp_path, named, None)


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}/v1/other/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}/stacks/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", f"{RAW}-2/v1/stacks/gpu.yaml"),
        (
            "github://org/stacks@v1#stacks/gpu.yaml",
            "https://raw.githubusercontent.com.evil/org/stacks/v1/stacks/gpu.yaml",
        ),
        ("github://org/stacks@v1#other", f"{RAW}/v1/stacks/gpu.yaml"),
        ("gitlab://org/stacks#stacks/gpu.yaml", f"{RAW}/v1/stacks/gpu.yaml"),
        (f"{RAW}/v1/stacks/gpu.yaml", f"{RAW}/v1/stacks/cpu.yaml"),
        (f"{RAW}/v1/stacks/gpu.yaml", "https://stacks.example/v1/stacks/gpu.yaml"),
        ("git+https://git.example/v1#gpu.yaml", "https://git.example/raw/v1/gpu.yaml"),
    ],
)
def test_environments_of_another_file_that_a_git_server_hands_out_are_none(
    tmp_path: Path, named: str, read: str
) -> None:
    assert not _is_in_environment(tmp_path, named, Provenance(kind="http", uri=read))


@pytest.mark.parametrize(
    ("fragment", "read", "expected"),
    [
        ("#any", "stacks/gpu.yaml", True),
        ("#stacks/gpu.yaml", "stacks/gpu.yaml", True),
        ("#stacks/", "stacks/gpu.yaml", True),
        ("", "gpu.yaml", True),
        ("#other", "stacks/gpu.yaml", False),
        ("#stacks/gpu.yaml", "stacks/cpu.yaml", False),
        ("#any", "../elsewhere/gpu.yaml", False),
        ("#any", "../repository-2/gpu.yaml", False),
    ],
)
@pytest.mark.parametrize("address", ["repository", "repository/.git", "link"])
def test_environments_of_a_file_in_the_folder_of_a_repository_are_those_of_the_repository(
    tmp_path: Path, address: str, fragment: str, read: str, *, expected: bool
) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    provenance = Provenance(kind="local", uri=str(tmp_path / "repository" / read))
    assert _is_in_environment(tmp_path, f"git+file://{tmp_path}/{address}@v1{fragment}", provenance) is expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("file://./repository/stacks/gpu.yaml", True),
        ("file://./repository/stacks#any", True),
        ("file://./link/stacks/gpu.yaml", True),
        ("file://./repository/stacks/cpu.yaml", False),
        ("file://./elsewhere/stacks/gpu.yaml", False),
    ],
)
@pytest.mark.parametrize("address", ["repository", "repository/.git"])
def test_environments_of_a_file_of_a_repository_of_this_machine_are_those_of_its_place_in_the_folder(
    tmp_path: Path, address: str, named: str, *, expected: bool
) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    assert _is_in_environment(tmp_path, named, git(f"file://{tmp_path}/{address}")) is expected


def test_link_in_a_working_tree_takes_no_file_of_a_commit_out(tmp_path: Path) -> None:
    """What was read is the commit's, where the path is a path, whatever lies in the folder by now."""
    for folder in ("repository/stacks", "repository/other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "repository" / "stacks" / "gpu.yaml").symlink_to("../other/gpu.yaml")
    address = f"file://{tmp_path}/repository"
    assert _is_in_environment(tmp_path, f"git+{address}@v1#stacks/gpu.yaml", git(address))
    assert _is_in_environment(tmp_path, "file://./repository/stacks#any", git(address))


def registered(kind: SourceKind, uri: str) -> RegisteredProvenance:
    """Where a definition came from that was read at `uri`, registered, and read from the registry."""
    return RegisteredProvenance(
        kind="registry", uri="registry://any@1.0.0", pinned=True, applied_from=Source(kind=kind, uri=uri)
    )


@pytest.mark.parametrize(
    ("named", "kind", "uri"),
    [
        ("github://org/stacks@v1#any", "github", "https://github.com/org/stacks.git"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "github", "https://github.com/org/stacks.git"),
        ("github://org/stacks", "git", "ssh://git@github.com/org/stacks"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "http", f"{RAW}/v2/stacks/gpu.yaml"),
        (f"{RAW}/v1/stacks/gpu.yaml", "github", "https://github.com/org/stacks.git"),
        ("https://stacks.example/gpu.yaml?v=1", "http", "https://stacks.example/gpu.yaml?v=2"),
        ("git+file://@/repository@v1#any", "git", "file://@/repository"),
        ("git+file://@/repository@v1#stacks/gpu.yaml", "git", "file://@/repository/.git"),
        ("git+file://@/repository@v1", "local", "@/repository/stacks/gpu.yaml"),
        ("file://./repository/stacks/gpu.yaml", "git", "file://@/repository"),
        ("file://.", "git", "file://@/repository"),
        ("file://./stacks/gpu.yaml", "local", "stacks/gpu.yaml"),
        ("file://./stacks/gpu.yaml", "local", "@/stacks/gpu.yaml"),
        ("file://@/stacks/gpu.yaml", "local", "gpu.yaml"),
        ("file://./stacks/gpu.yaml", "local", "../build/stacks/gpu.yaml"),
        ("file://./stacks/gpu.yaml", "local", "/another/machine/stacks/gpu.yaml"),
        ("file://./stacks", "local", "/another/machine/stacks/sub/gpu.yaml"),
        ("file://./stacks", "local", "gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "local", "checkout/stacks/gpu.yaml"),
        ("github://org/stacks@v1#stacks/", "local", "checkout/stacks/gpu.yaml"),
        ("https://stacks.example/stacks/gpu.yaml", "local", "gpu.yaml"),
        (f"{RAW}/v1/stacks/gpu.yaml", "local", "stacks/gpu.yaml"),
        ("github://org/stacks@v1#any", "local", "elsewhere.yaml"),
        ("github://org/stacks@v1#any", "git", "file:///another/machine/clone"),
        ("github://org/stacks@v1#any", "stdin", "-"),
        ("file://./stacks#any", "object", "flowyml.Stack"),
        ("https://stacks.example/gpu.yaml#any", "registry", "registry://any@0.9.0"),
        ("github://org/stacks@v1#any", "git", "https://[not an address"),
        ("file://./stacks#any", "local", "no\0path"),
        ("file://./stacks#any", "git", "file:///no%00path"),
    ],
)
def test_environments_of_a_registered_definition_are_those_of_where_it_was_read_before(
    tmp_path: Path, named: str, kind: SourceKind, uri: str
) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "gpu.yaml").touch()
    at = str(tmp_path)
    assert _is_in_environment(tmp_path, named.replace("@/", f"{at}/"), registered(kind, uri.replace("@/", f"{at}/")))


@pytest.mark.parametrize(
    ("named", "kind", "uri"),
    [
        ("github://org/stacks@v1#other", "github", "https://github.com/org/stacks.git"),
        ("github://org/stacks@v1#any", "github", "https://github.com/org/forks.git"),
        ("github://org/stacks@v1#any", "http", "https://stacks.example/gpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "local", "stacks/cpu.yaml"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "git", "file:///another/machine/clone"),
        ("github://org/stacks@v1#stacks/gpu.yaml", "stdin", "-"),
        ("github://org/stacks", "local", "stacks/gpu.yaml"),
        ("file://./stacks/gpu.yaml", "local", "cpu.yaml"),
        ("file://./stacks/gpu.yaml", "local", "other/gpu.yaml"),
        ("file://./stacks/gpu.yaml", "git", "https://github.com/org/stacks.git"),
        ("file://./stacks", "local", "cpu.yaml"),
        ("https://stacks.example/gpu.yaml", "http", "https://other.example/gpu.yaml"),
        ("https://stacks.example/gpu.yaml", "git", "https://stacks.example/org/stacks"),
    ],
)
def test_environments_of_a_registered_definition_of_another_place_and_name_are_none(
    tmp_path: Path, named: str, kind: SourceKind, uri: str
) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "gpu.yaml").write_text(VALID.replace("any", "gpu"))
    assert not _is_in_environment(tmp_path, named, registered(kind, uri))


@pytest.mark.parametrize(
    ("kind", "uri"),
    [
        ("stdin", "-"),
        ("object", "flowyml.Stack"),
        ("local", "elsewhere.yaml"),
        ("local", "/another/machine/copy.yaml"),
        ("registry", "registry://any@0.9.0"),
    ],
)
@pytest.mark.parametrize(
    ("named", "content", "expected"),
    [
        ("file://./stacks/prod.yaml", VALID, True),
        ("file://./stacks/prod.yaml", VALID.replace("spec: {}", "spec: {compute: {max_nodes: 4}}"), True),
        ("file://./stacks", VALID, True),
        ("file://./stacks/prod.yaml", f"{VALID.replace('any', 'cpu')}---\n{VALID}", True),
        ("file://./stacks/prod.yaml", VALID.replace("spec: {}", "spec: 1"), True),
        ("file://./stacks/prod.yaml", "any: [", True),
        ("file://./stacks/prod.yaml", "cpu: [", False),
        ("file://./stacks/prod.yaml", VALID.replace("any", "cpu"), False),
        ("file://./stacks", VALID.replace("any", "cpu"), False),
        ("file://./stacks#cpu", VALID, False),
        ("file://./stacks/missing.yaml", VALID, False),
    ],
)
def test_environments_of_a_definition_registered_from_a_copy_are_those_whose_file_holds_its_name(
    tmp_path: Path, named: str, content: str, kind: SourceKind, uri: str, *, expected: bool
) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "prod.yaml").write_text(content)
    assert _is_in_environment(tmp_path, named, registered(kind, uri)) is expected


def test_environments_of_a_definition_registered_from_a_copy_include_one_whose_file_cannot_be_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "project" / "stacks").mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text(VALID)
    (tmp_path / "project" / "stacks" / "prod.yaml").symlink_to(tmp_path / "outside.yaml")
    assert _is_in_environment(tmp_path / "project", "file://./stacks/prod.yaml", registered("stdin", "-"))


def test_environments_of_a_definition_of_a_key_include_it_when_registered_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "prod.yaml").write_text(VALID)
    (tmp_path / "flowyml.yaml").write_text(
        "environments: {production: {stack: prod, require_lock: true}, dev: {stack: other}}\n"
        "stacks: {prod: {source: local, path: stacks/prod.yaml}, other: {source: local, path: stacks/other.yaml}}\n"
    )
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)})
    assert environments_of(settings, definition(registered("stdin", "-"), "any")) == ("production",)


def _is_in_environment(folder: Path, reference: str, provenance: Provenance | None) -> bool:
    """Whether the environment that runs on `reference` is one of a definition that was read at `provenance`."""
    (folder / "flowyml.yaml").write_text(f"environments: {{production: {{stack: '{reference}'}}}}\n")
    settings = load_settings(project=folder, environ={"HOME": str(folder)})
    return environments_of(settings, definition(provenance, "any")) == ("production",)
