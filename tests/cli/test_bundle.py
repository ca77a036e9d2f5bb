"""The `bundle` commands from recipe to verdict, with the exit code of every way to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.oci_registry import OciServer, start
from tests.unit.bundles.archives import archive

RECIPES: Final = Path(__file__).parents[2] / "bundles"
BUNDLE: Final = "bundles/dist/company.tar.gz"


@pytest.fixture(name="company")
def _company(program: Any) -> Any:
    """The program in a folder with the example company's recipe."""
    shutil.copytree(RECIPES, program.here / "bundles", ignore=shutil.ignore_patterns("dist"))
    return program


def said(company: Any, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """The document that a command answers."""
    ran = company.run("bundle", *arguments, "--format", "json")
    assert (ran.exit_code, bool(ran.stderr)) == (exit_code, exit_code not in {0, 1} or "error" in ran.stdout)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_bundle_is_built_signed_verified_inspected_and_compared(company: Any) -> None:
    built = said(company, "build", "bundles/company.yaml", "--sequence", "3", "--expires", "2027-01-31")["bundle"]
    assert (built["file"], built["sequence"], built["expires"]) == (BUNDLE, 3, "2027-01-31T00:00:00Z")
    assert (built["roots"], built["rules"], built["tests"]) == (["org"], ["org.rules.cost_centre"], 4)
    pair = said(company, "keygen", "k")["key"]
    assert pair == {"private": "k.key", "public": "k.pub", "keyid": "k", "algorithm": "ES256"}
    signed = said(company, "sign", BUNDLE, "--key", "k.key", "--output", "signed.tar.gz")["bundle"]
    verified = said(company, "verify", "signed.tar.gz", "--key", "k.pub")["bundle"]
    assert verified == signed
    assert (signed["revision"], signed["keyid"]) == (built["revision"], "k")
    found = said(company, "inspect", "signed.tar.gz")["bundle"]
    assert found["signature"] == {"keyid": "k", "algorithm": "ES256"}
    assert (found["sequence"], found["rules"]) == (3, ["org.rules.cost_centre"])
    same = said(company, "diff", BUNDLE, "signed.tar.gz")
    assert (same["rules"], same["levels"], same["data"]) == ({"added": [], "removed": [], "changed": []}, [], [])


def test_tables_say_the_same_to_people(company: Any) -> None:
    built = company.run("bundle", "build", "bundles/company.yaml")
    revision = built.stdout.splitlines()[1].split()[1]
    assert built.stdout.splitlines()[:6] == [
        f"built  company  {BUNDLE}",
        f"  revision   {revision}",
        "  roots      org",
        "  rules      1, and 4 tests passed",
        "  sequence   none, so it cannot be pushed",
        "  expires    never",
    ]
    company.run("bundle", "keygen", "k")
    assert company.run("bundle", "sign", BUNDLE, "--key", "k.key").stdout.startswith(f"signed  {revision}  {BUNDLE}\n")
    verified = company.run("bundle", "verify", BUNDLE, "--key", "k.pub")
    assert verified.stdout.startswith(f"ok  {revision}  {BUNDLE}\n  signed by  k (ES256)\n")
    inspected = company.run("bundle", "inspect", BUNDLE).stdout
    assert "  signature  by k (ES256), not checked: `flowyml-policy bundle verify` does\n" in inspected
    assert "\nlevels\n  soft  cost_centre.format\n  soft  version.missing\n" in inspected
    (company.here / "bundles/company/levels.yaml").write_text("version.missing: soft\n")
    company.run("bundle", "build", "bundles/company.yaml", "--output", "new.tar.gz")
    diff = company.run("bundle", "diff", BUNDLE, "new.tar.gz")
    assert diff.exit_code == 1
    assert diff.stdout.endswith("\nlevels\n  cost_centre.format\n    - soft\n    + hard\n")


def test_key_and_public_key_from_the_environment(company: Any) -> None:
    company.run("bundle", "build", "bundles/company.yaml")
    company.run("bundle", "keygen", "k", "--algorithm", "RS256")
    private, public = ((company.here / f"k.{ending}").read_text() for ending in ("key", "pub"))
    options = ("--key-env", "KEY", "--keyid", "ci")
    signed = company.run("bundle", "sign", BUNDLE, *options, environ={"KEY": private.replace("\n", "\\n")})
    assert (signed.exit_code, signed.stderr) == (0, "")
    assert "  key        ci (RS256)\n" in signed.stdout
    verified = company.run("bundle", "verify", BUNDLE, *options, environ={"KEY": public})
    assert (verified.exit_code, verified.stderr) == (0, "")
    unset = company.run("bundle", "verify", BUNDLE, *options)
    assert (unset.exit_code, unset.stdout) == (3, "")
    assert unset.stderr.startswith("error: the variable KEY is not set, or empty; ")


def test_verify_of_what_is_not_as_it_was_signed_is_exit_1(company: Any) -> None:
    company.run("bundle", "build", "bundles/company.yaml")
    for name in ("old", "new"):
        company.run("bundle", "keygen", name)
    unsigned = company.run("bundle", "verify", BUNDLE, "--key", "old.pub")
    assert (unsigned.exit_code, unsigned.stdout) == (1, "")
    assert unsigned.stderr.startswith(f"error: the bundle is not signed: {BUNDLE}; do not load it")
    company.run("bundle", "sign", BUNDLE, "--key", "old.key")
    assert company.run("bundle", "verify", BUNDLE, "--key", "old.pub", "--key", "new.pub").exit_code == 0
    other = company.run("bundle", "verify", BUNDLE, "--key", "new.pub")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "signed by the key 'old', and new was given" in other.stderr
    told = said(company, "verify", BUNDLE, "--key", "new.pub", exit_code=1)
    assert told["error"]["code"] == "signature_refused"


def test_build_that_fails_says_every_line_and_writes_nothing(company: Any) -> None:
    folder = company.here / "bundles/company"
    test = folder / "rules/cost_centre/cost_centre_test.rego"
    text = test.read_text()
    test.write_text(text.replace('"ML-0042"', '"42"').replace('{"cost_centre": "42"}', '{"cost_centre": "ML-0042"}', 2))
    ran = company.run("bundle", "build", "bundles/company.yaml")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: the test org.rules.cost_centre.test_deny_malformed fails: "
        "bundles/company/rules/cost_centre/cost_centre_test.rego:21; "
        "correct the rule or its test; no bundle was written\n"
    )
    test.write_text(text)
    (folder / "levels.yaml").write_text("cost_center.format: soft\nversion.missing: strict\n")
    ran = company.run("bundle", "build", "bundles/company.yaml")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "bundles/company/levels.yaml:1:21; correct the code" in ran.stderr
    assert "bundles/company/levels.yaml:2:18; let " in ran.stderr
    (folder / "levels.yaml").write_text("a: [\n")
    ran = company.run("bundle", "build", "bundles/company.yaml")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert not (company.here / "bundles/dist").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("build", "absent.yaml"), 2),
        (("build", "bundles"), 2),
        (("build", "bundles/company.yaml", "--sequence", "0"), 2),
        (("build", "bundles/company.yaml", "--expires", "soon"), 2),
        (("build", "bundles/company/levels.yaml"), 3),
        (("inspect", "absent.tar.gz"), 2),
        (("inspect", "bundles/company.yaml"), 3),
        (("diff", "absent.tar.gz", "absent.tar.gz"), 2),
        (("keygen", "k/../../x y"), 2),
        (("keygen", "absent/k"), 3),
        (("keygen", "k", "--algorithm", "EdDSA"), 3),
        (("sign", "bundles/company.yaml"), 2),
        (("sign", "absent.tar.gz", "--key", "absent.key"), 2),
        (("sign", "bundles/company.yaml", "--key-env", "KEY"), 2),
        (("verify", "absent.tar.gz"), 2),
        (("verify", "absent.tar.gz", "--key", "bundles/company.yaml"), 3),
        (("verify", "absent.tar.gz", "--key", "a.pub", "--key", "b.pub", "--keyid", "c"), 2),
    ],
)
def test_exit_codes_of_calls_that_come_to_nothing(company: Any, arguments: tuple[str, ...], exit_code: int) -> None:
    ran = company.run("bundle", *arguments)
    assert (ran.exit_code, ran.stdout) == (exit_code, "")
    assert ran.stderr.startswith("error: ")
    assert "Traceback" not in ran.stderr


def test_private_key_that_others_may_read_is_not_used(company: Any) -> None:
    company.run("bundle", "build", "bundles/company.yaml")
    company.run("bundle", "keygen", "k")
    (company.here / "k.key").chmod(0o644)
    ran = company.run("bundle", "sign", BUNDLE, "--key", "k.key")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "error: the private key may be read by others (mode 0644): k.key; "
        "run chmod 600 k.key, and make a new key if others may have read it\n"
    )


@pytest.fixture(name="registry")
def _registry(program: Any) -> Iterator[OciServer]:
    """A registry that the settings name, and bundles of sequence 3, 2 and none."""
    for sequence in (3, 2, None):
        archive(program.here / f"{sequence}.tar.gz", sequence)
    with start() as running:
        (program.here / "flowyml.yaml").write_text(json.dumps({"policy": {"images": {"insecure": [running.host]}}}))
        yield running


def test_bundle_is_pushed_forced_back_and_pulled(program: Any, registry: OciServer) -> None:
    place = f"{registry.host}/team/company:stable"
    pushed = program.run("bundle", "push", "3.tar.gz", f"oci://{place}")
    assert (pushed.exit_code, pushed.stderr) == (0, "")
    revision = pushed.stdout.split()[1]
    assert pushed.stdout.splitlines()[:4] == [
        f"pushed  {revision}  {place}",
        "  sequence   3",
        "  expires    never",
        "  signature  none",
    ]
    refused = program.run("bundle", "push", "2.tar.gz", f"oci://{place}")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"error: the tag would go back, from sequence 3 ({revision}) to 2: 2.tar.gz to ")
    told = program.run("bundle", "push", "2.tar.gz", f"oci://{place}", "--force", "--format", "json")
    assert (told.exit_code, told.stderr) == (
        0,
        "warning: the tag was moved by --force from sequence 3 to sequence 2; the audit has it\n",
    )
    forced = json.loads(told.stdout)["bundle"]
    assert (forced["changed"], forced["forced_from"], forced["sequence"]) == (True, 3, 2)
    pulled = said(program, "pull", f"oci://{registry.host}/team/company@{forced['manifest']}")["bundle"]
    assert pulled == {
        **{key: forced[key] for key in ("revision", "sequence", "expires", "digest", "manifest", "signature")},
        "place": f"{registry.host}/team/company@{forced['manifest']}",
        "file": "company.tar.gz",
        "is_verified": False,
    }
    assert (program.here / "company.tar.gz").read_bytes() == (program.here / "2.tar.gz").read_bytes()
    again = program.run("bundle", "pull", f"oci://{place}", "--output", "b.tar.gz")
    assert again.stdout.startswith(f"pulled  {revision}  b.tar.gz\n  from       {place}\n  sequence   2\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("push", "missing.tar.gz", "oci://{host}/a:1"), 2, "there is no such file: missing.tar.gz"),
        (("push", "None.tar.gz", "oci://{host}/a:1"), 1, "the bundle has no sequence"),
        (("push", "3.tar.gz", "oci://{host}/a"), 2, "the address names no tag"),
        (("push", "3.tar.gz", "{host}/a:1"), 2, "no bundle is sent to this address"),
        (("push", "3.tar.gz", "oci://{host}/a:1", "--token-env", "T"), 2, "--token-env and --ca are for https"),
        (("push", "3.tar.gz", "http://{host}/bundles/a", "--force"), 2, "--force is for oci:// addresses"),
        (("push", "3.tar.gz", "http://{host}/bundles/a"), 3, "the server answered 404"),
        (("pull", "oci://{host}/a:1"), 3, "the registry has no such bundle (404, NAME_UNKNOWN)"),
        (("pull", "https://{host}/bundles/a"), 2, "write oci://registry.example.com/team/policy:1"),
        (("pull", "oci://{host}/a:1", "--keyid", "k"), 2, "no key is named"),
    ],
)
def test_push_or_pull_that_fails_says_why(
    program: Any, registry: OciServer, arguments: tuple[str, ...], exit_code: int, words: str
) -> None:
    ran = program.run("bundle", *(one.format(host=registry.host) for one in arguments))
    assert (ran.exit_code, ran.stdout, words in ran.stderr) == (exit_code, "", True), ran.stderr
    assert registry.repositories == {}


def test_push_and_pull_ask_nothing_offline(program: Any, registry: OciServer) -> None:
    for arguments in (
        ("push", "3.tar.gz", f"oci://{registry.host}/a:1"),
        ("push", "3.tar.gz", f"{registry.url}/bundles/a"),
        ("pull", f"oci://{registry.host}/a:1"),
    ):
        offline = program.run("bundle", *arguments, environ={"FLOWYML_POLICY_OFFLINE": "1"})
        assert (offline.exit_code, "no server is asked offline" in offline.stderr) == (3, True)
    assert registry.requests == []
