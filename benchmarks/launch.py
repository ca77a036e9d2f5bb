"""Starts one command, its stdout thrown away, and prints what it took as JSON.

`seconds` is wall time, `cpu` processor time, of the command and its children, `peak` the largest resident memory in
bytes, `code` the exit code. This imports almost nothing, since a child's peak starts at that of whoever forks it.
"""

import os
import sys
import time


def main(command: list[str]) -> int:
    """Run `command` to its end."""
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    print(f'{{"seconds": {seconds}, "cpu": {cpu}, "peak": {usage.ru_maxrss * unit}, "code": {code}}}')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
