"""Become another program while holding a lock: ``python launch.py LOCK PROGRAM ARGUMENT…``.

It is run as a file and imports only the standard library, so it starts at once. A record lock
outlives exec(2), so the kernel names the program as the lock's holder.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import Final, NoReturn

LOCKED_EXIT: Final = 97


def main(lock: str, program: str, *arguments: str) -> NoReturn:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        sys.stderr.write(f"{lock}: another process holds it: this replica is already running\n")
        sys.exit(LOCKED_EXIT)
    os.set_inheritable(fd, True)
    os.execv(program, [program, *arguments])  # noqa: S606 - the purpose of this file


if __name__ == "__main__":
    main(*sys.argv[1:])
