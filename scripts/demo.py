"""Show the program on the example stacks: allowed ones, denied ones, and what the audit then holds.

Exits 0 only when every example got the decision that its first line expects, and the audit verifies; `make demo`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = Path(sys.executable).with_name("flowyml-policy")
PROJECTS: Final = (ROOT, ROOT / "examples" / "required-image-labels")
EXPECT: Final = "# Expect: "


def show(*arguments: str, code: int) -> bool:
    """Run one command as a person would, and say whether it exited as it should."""
    print(f"\n$ flowyml-policy {' '.join(arguments)}", flush=True)
    exited = subprocess.run([PROGRAM, *arguments], cwd=ROOT, check=False).returncode
    if exited != code:
        print(f"error: it exited with {exited}, and should with {code}", file=sys.stderr)
    return exited == code


def show_in(here: Path, environ: Mapping[str, str], *arguments: str, code: int) -> bool:
    """As `show`, in a folder and an environment, and with the exit code."""
    print(f"\n$ flowyml-policy {' '.join(arguments)}", flush=True)
    exited = subprocess.run([PROGRAM, *arguments], cwd=here, env=environ, check=False).returncode
    print(f"exit code {exited}")
    if exited != code:
        print(f"error: it exited with {exited}, and should with {code}", file=sys.stderr)
    return exited == code


def expected(project: Path) -> dict[str, str]:
    """What the first line of each example expects, by file: `allow`, or `deny` and the codes."""
    return {
        path.relative_to(project).as_posix(): path.read_text("utf-8").partition("\n")[0].removeprefix(EXPECT)
        for path in sorted((project / "stacks").glob("*.yaml"))
    }


def judged(project: Path) -> dict[str, str]:
    """What each example of the project gets, in the words of `expected`, judged on a copy with an audit of its own."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(project / "stacks", Path(folder, "stacks"))
        shutil.copy(project / "flowyml.yaml", folder)
        command = [str(PROGRAM), "stack", "validate", "stacks", "--format", "json"]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode not in {0, 1}:
        raise SystemExit(
            f"error: {' '.join(command[1:])} in {project} exited with {answer.returncode}\n{answer.stderr}"
        )
    found = {}
    for result in json.loads(answer.stdout)["results"]:
        codes = sorted({finding["code"] for finding in result["findings"] if finding["severity"] == "deny"})
        file = Path(result["source"]["uri"].removeprefix("file://"))
        found[f"stacks/{file.name}"] = " ".join([result["outcome"], *codes])
    return found


def main() -> int:
    """Run the demonstration; return the exit code."""
    fine = [
        show("stack", "validate", "stacks", code=1),
        show("stack", "validate", "stacks/prod-gpu-large.yaml", code=0),
        show("audit", "list", "--limit", "8", code=0),
        show("audit", "verify", code=0),
    ]
    print()
    for project in PROJECTS:
        wanted, found = expected(project), judged(project)
        for file in sorted({*wanted, *found}):
            if wanted.get(file) != found.get(file):
                fine.append(False)
                print(f"error: {file}: expected {wanted.get(file)!r}, got {found.get(file)!r}", file=sys.stderr)
    if all(fine):
        print("Every example got the decision that its first line expects. Next: README.md, or edit one and try again.")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
