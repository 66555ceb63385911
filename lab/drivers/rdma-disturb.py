#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# rdma-disturb.py PID...
#
# Page the private memory of these processes out and move it to the other node and
# back, until all of them have ended. How often, on stdout.
"""Disturb the memory of processes from outside."""

import ctypes
import os
import select
import sys
import time

SYS_MIGRATE_PAGES, SYS_PROCESS_MADVISE = 256, 440
MADV_PAGEOUT = 21

libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    """struct iovec."""
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def page_out(pid, pidfd):
    """What is anonymous and may be written to, mapping by mapping."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
            lines = maps.readlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    for line in lines:
        span, prot, _, _, inode = line.split()[:5]
        if not prot.startswith("rw-p") or inode != "0":
            continue
        start, end = (int(word, 16) for word in span.split("-"))
        part = Iovec(start, end - start)
        libc.syscall(SYS_PROCESS_MADVISE, pidfd, ctypes.byref(part),
                     ctypes.c_ulong(1), MADV_PAGEOUT, 0)


def migrate(pid, node):
    """To this node."""
    to, away = ctypes.c_ulong(1 << node), ctypes.c_ulong(2 >> node)
    libc.syscall(SYS_MIGRATE_PAGES, pid, ctypes.c_ulong(64),
                 ctypes.byref(away), ctypes.byref(to))


def main():
    """All of them in turn."""
    times = 0
    processes = {int(pid): os.pidfd_open(int(pid)) for pid in sys.argv[1:]}
    while processes:
        for pid, pidfd in list(processes.items()):
            # Nobody may have waited for it yet.
            if select.select([pidfd], [], [], 0)[0]:
                del processes[pid]
                continue
            page_out(pid, pidfd)
            migrate(pid, times % 2)
        times += 1
        time.sleep(0.01)
    print(f"# disturbed {times} times")


if __name__ == "__main__":
    main()
