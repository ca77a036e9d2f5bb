"""The program of docs/opa.md prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "opa.md"


def test_program_of_the_page_prints_what_its_comments_say() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == re.findall(r"^ *#> (.*)$", program, re.MULTILINE)
    assert done.stderr == ""
