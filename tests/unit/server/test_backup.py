"""A backup is taken by the commands of docs/server.md while the server runs, and restored as they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from flowyml_policy.server.received import verify_server
from tests.server import Server
from tests.unit.server.conftest import event, packed
from tests.unit.server.publishing import company

DOCS = Path(__file__).parents[3] / "docs" / "server.md"


def commands() -> list[str]:
    section = DOCS.read_text().partition("## Backup and restore\n")[2]
    return ["bash", "-euc", re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[0]]


def test_backup_of_a_server_that_runs_comes_back_whole(tmp_path: Path) -> None:
    running = Server(tmp_path / "one")
    token = running.token("bundles:publish", "bundles:read", "logs:write", name="ci")
    running.data.rename(running.folder / "server")
    running.config.write_text(running.config.read_text().replace(str(running.data), "./server"))
    acknowledged, over = [0], threading.Event()

    def post() -> None:
        while not over.is_set():
            assert running.ask("POST", "/logs", token=token, body=packed(event(acknowledged[0]))).status == 200
            acknowledged[0] += 1

    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with running:
        put = running.ask("PUT", "/bundles/acme", token=token, body=company("1", sequence=1))
        assert put.status == 201
        posting = threading.Thread(target=post)
        posting.start()
        try:
            while acknowledged[0] < 20:
                posting.join(0.01)
            before = acknowledged[0]
            done = subprocess.run(
                commands(), cwd=running.folder, env=environ, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
        finally:
            over.set()
            posting.join()

    restored = Server(tmp_path / "two")
    shutil.copytree(running.folder / "backup", restored.data)
    with restored:
        got = restored.ask("GET", "/bundles/acme", token=token)
        assert (got.status, got.headers["etag"], got.body) == (200, put.headers["etag"], company("1", sequence=1))
        again = restored.ask("POST", "/logs", token=token, body=packed(*map(event, range(before))))
        assert again.json == {"new": 0, "repeated": before, "conflicts": 0}
        verified = verify_server(restored.data / "server.db")
        assert (verified.problem, verified.received >= before) == (None, True)
    assert (running.folder / "backup").stat().st_mode & 0o077 == 0
