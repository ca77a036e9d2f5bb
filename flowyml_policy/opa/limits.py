"""Whether this process may grow as far as OPA needs: its runtime ends the process where it may not.

Limits of this kind come from batch systems and containers (`ulimit -v`, `ulimit -u`), and from this program for the
processes in which it lets others' policy run.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from flowyml_policy.errors.opa import OpaUnavailable

NEEDED_SPACE: Final = 3 << 29
"""Bytes of address space, above what is mapped already: with 1.2 GiB it ends in some runs, with 1.5 in none."""
_STEP: Final = 256 << 20
"""What is told is rounded up, since the next command may map a little more."""
SPARE_THREADS: Final = 8
"""Threads that the runtime starts beside one for each processor."""
MANY: Final = 4096
"""A limit of so many processes leaves room, and nobody's are counted."""
_PROC: Final = Path("/proc")
_FIRST_TO_GO: Final = "1000"
"""The kernel's word for a process that it should end before any other."""


def limit_memory(memory: int) -> bool:
    """Limit this process to `memory` bytes; answer whether no tighter limit holds."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":  # elsewhere the limit does not hold, or Go does not start under it
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text(_FIRST_TO_GO)
    return limit == memory


def check_limits() -> None:
    """Raise OpaUnavailable where a limit of this process leaves OPA too little; only Linux says how much is used."""
    if not sys.platform.startswith("linux"):
        return
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        check_space(space, _mapped())
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if processes != resource.RLIM_INFINITY and processes < MANY and os.getuid() != 0:  # root is not held to it
        check_threads(processes, _threads_of)


def check_space(limit: int, used: int) -> None:
    """Raise OpaUnavailable where `limit` bytes of address space, of which `used` are taken, are too few."""
    if limit - used < NEEDED_SPACE:
        wanted = -(-(used + NEEDED_SPACE) // _STEP) * (_STEP >> 20)
        raise OpaUnavailable(
            f"OPA cannot be loaded: this process may map {limit // 2**20} MiB of memory, and {wanted} MiB are needed",
            advice=f"raise the limit of address space: `ulimit -v {wanted * 1024}` or more, or `ulimit -v unlimited`",
        )


def check_threads(limit: int, count: Callable[[int], int]) -> None:
    """Raise OpaUnavailable where `limit` threads of this user, of which `count` says how many run, are too few."""
    used, needed = count(os.getuid()), SPARE_THREADS + (os.cpu_count() or 1)
    if limit - used < needed:
        raise OpaUnavailable(
            f"OPA cannot be loaded: this user may have {limit} processes and threads, {used} run, and {needed} more are"
            " needed",
            advice=f"raise the limit of processes: `ulimit -u {used + needed}` or more",
        )


def _mapped() -> int:
    try:
        pages = int((_PROC / "self" / "statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _threads_of(user: int) -> int:
    """The threads that `user` runs, as far as /proc shows them."""
    with suppress(OSError):
        return sum(
            _threads_in(process) for process in os.scandir(_PROC) if process.name.isdecimal() and _is_of(process, user)
        )
    return 0


def _is_of(process: os.DirEntry[str], user: int) -> bool:
    with suppress(OSError):
        return process.stat().st_uid == user
    return False


def _threads_in(process: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return sum(1 for _ in os.scandir(f"{process.path}/task"))
    return 0
