#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# rdma.py DEVICE GID [TEST...]
#
# A device writes to memory that is paged on demand and reads from it, while the
# memory is paged out, moved, made huge or shared with a child: every byte is
# compared. Then what a driver may get wrong: memory that went through MADV_FREE, that
# is protected, that is gone, that is not aligned. KTAP, on stdout.
"""Traffic of an RDMA device over memory that is paged on demand."""

import ctypes
import mmap
import os
import struct
import sys
import threading
import time
import warnings

from pyverbs import enums as e
from pyverbs.addr import AHAttr, GlobalRoute
from pyverbs.cq import CQ
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, SendWR

PAGE = 4096
HUGE = 512 * PAGE
PAGES = 512
MESSAGE = 16 * PAGE
ROUNDS = 4
ACCESS = (e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_WRITE |
          e.IBV_ACCESS_REMOTE_READ)

MADV_DONTNEED, MADV_FREE = 4, 8
MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT, MADV_COLLAPSE = 14, 15, 21, 25
SYS_MOVE_PAGES, MPOL_MF_MOVE = 279, 2

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                      ctypes.c_int, ctypes.c_int, ctypes.c_long]
for name in "munmap", "madvise", "mprotect":
    getattr(libc, name).argtypes = [ctypes.c_void_p, ctypes.c_size_t,
                                    ctypes.c_int][:2 if name == "munmap" else 3]


class Failed(Exception):
    """What a test found."""


def check(good, what):
    """Fail unless something is so."""
    if not good:
        raise Failed(what)


def pattern(seed, pages=PAGES):
    """Pages of which no two are the same, nor any in two patterns."""
    return b"".join(struct.pack("<QQ", seed, page + 1) * (PAGE // 16)
                    for page in range(pages))


class Memory:
    """A mapping, at an address that a huge page may have."""

    def __init__(self, size=HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                 fd=-1, advice=MADV_NOHUGEPAGE):
        self.size = size
        self.reserved = libc.mmap(None, size + HUGE, 0, mmap.MAP_PRIVATE |
                                  mmap.MAP_ANONYMOUS, -1, 0)
        self.addr = -(-self.reserved // HUGE) * HUGE
        at = libc.mmap(self.addr, size, mmap.PROT_READ | mmap.PROT_WRITE,
                       flags | 0x10, fd, 0)
        check(at == self.addr, "no memory")
        if fd < 0:
            self.advise(advice)
        self.mr = None

    def advise(self, advice, offset=0, size=None):
        """madvise(), which may be refused."""
        return libc.madvise(self.addr + offset, size or self.size, advice)

    def protect(self, prot):
        """mprotect(), of all of it."""
        check(not libc.mprotect(self.addr, self.size, prot), "mprotect")

    def fill(self, data):
        """What the CPU writes."""
        ctypes.memmove(self.addr, data, len(data))

    def read(self, size=None):
        """What the CPU reads."""
        return ctypes.string_at(self.addr, size or self.size)

    def register(self, link):
        """Give it to the device, to be paged on demand."""
        self.mr = MR(link.pd, self.size, ACCESS | e.IBV_ACCESS_ON_DEMAND,
                     address=self.addr)
        return self

    def close(self):
        """Take it back."""
        if self.mr:
            self.mr.close()
        libc.munmap(self.reserved, self.size + HUGE)


class Link:
    """A connection of the device with itself."""

    def __init__(self, ctx, gid):
        self.pd = PD(ctx)
        self.cq = CQ(ctx, 16)
        attr = QPAttr(port_num=1)
        attr.qp_access_flags = ACCESS
        init = QPInitAttr(qp_type=e.IBV_QPT_RC, scq=self.cq, rcq=self.cq,
                          cap=QPCap(max_send_wr=8, max_recv_wr=1))
        self.qps = [QP(self.pd, init, attr) for _ in range(2)]
        route = GlobalRoute(dgid=ctx.query_gid(1, gid), sgid_index=gid)
        attr.ah_attr = AHAttr(port_num=1, is_global=1, gr=route, dlid=0)
        attr.path_mtu = e.IBV_MTU_4096
        attr.max_rd_atomic = attr.max_dest_rd_atomic = 1
        attr.min_rnr_timer = 12
        attr.timeout = 20
        attr.retry_cnt = attr.rnr_retry = 7
        for qp, other in zip(self.qps, reversed(self.qps)):
            attr.dest_qp_num = other.qp_num
            qp.to_rts(attr)

    def post(self, opcode, local, remote, size, at=0, to=None):
        """One message, and how it ended."""
        sge = SGE(local.addr + at, size, local.mr.lkey)
        wr = SendWR(opcode=opcode, num_sge=1, sg=[sge])
        wr.set_wr_rdma(remote.mr.rkey, remote.addr + (at if to is None else to))
        self.qps[0].post_send(wr)
        while True:
            found, completions = self.cq.poll()
            if found:
                return completions[0].status
            time.sleep(0)

    def move(self, opcode, local, remote):
        """All of the memory, message by message."""
        for at in range(0, local.size, MESSAGE):
            status = self.post(opcode, local, remote, MESSAGE, at)
            check(status == e.IBV_WC_SUCCESS, f"status {status} at {at}")

    def write(self, local, remote):
        """To the remote memory."""
        self.move(e.IBV_WR_RDMA_WRITE, local, remote)

    def fetch(self, local, remote):
        """From the remote memory."""
        self.move(e.IBV_WR_RDMA_READ, local, remote)

    def close(self):
        """Take it down."""
        for qp in self.qps:
            qp.close()
        self.cq.close()
        self.pd.close()


def compare(memory, expected, what):
    """Every byte."""
    found = memory.read()
    if found == expected:
        return
    wrong = sum(found[at:at + PAGE] != expected[at:at + PAGE]
                for at in range(0, memory.size, PAGE))
    raise Failed(f"{what}: {wrong} pages of {memory.size // PAGE} differ")


class Disturber(threading.Thread):
    """Does something to memory, over and over."""

    def __init__(self, work, memories):
        super().__init__()
        self.work = work
        self.memories = memories
        self.times = 0
        self.over = False

    def run(self):
        while not self.over:
            for memory in self.memories:
                self.work(memory, self.times)
            self.times += 1
            time.sleep(0.001)


def page_out(memory, _):
    """To swap."""
    memory.advise(MADV_PAGEOUT)


def migrate(memory, times):
    """To the other node."""
    count = memory.size // PAGE
    pages = (ctypes.c_void_p * count)(*range(memory.addr,
                                             memory.addr + memory.size, PAGE))
    nodes = (ctypes.c_int * count)(*[times % 2] * count)
    status = (ctypes.c_int * count)()
    libc.syscall(SYS_MOVE_PAGES, 0, ctypes.c_ulong(count), pages, nodes, status,
                 MPOL_MF_MOVE)


def collapse(memory, times):
    """A huge page, and a hole in it."""
    memory.advise(MADV_COLLAPSE)
    memory.advise(MADV_PAGEOUT, times % PAGES * PAGE, PAGE)


def fork(_memory, _times):
    """Pages that are shared until they are written to."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def everything(memory, times):
    """Each in turn."""
    (page_out, migrate, collapse, fork)[times % 4](memory, times)


def traffic(link, work=None, advice=MADV_NOHUGEPAGE):
    """Writes and reads while something disturbs them."""
    local, remote, back = (Memory(advice=advice).register(link)
                           for _ in range(3))
    disturber = work and Disturber(work, (local, remote, back))
    if disturber:
        disturber.start()
    try:
        seed = 0
        while seed < ROUNDS or (disturber and disturber.is_alive() and
                                disturber.times < 2 * ROUNDS):
            seed += 1
            sent = pattern(seed)
            local.fill(sent)
            link.write(local, remote)
            compare(remote, sent, f"round {seed}, written")
            link.fetch(back, remote)
            compare(back, sent, f"round {seed}, read")
    finally:
        if disturber:
            disturber.over = True
            disturber.join()
            print(f"# disturbed {disturber.times} times in {seed} rounds")
            check(disturber.times >= 2 * ROUNDS, "not disturbed")
    count_mirrors()
    for memory in local, remote, back:
        memory.close()


def count_mirrors():
    """How many of this process' there are, where somebody counts."""
    try:
        with open("/sys/kernel/debug/mmu_range_mirror", encoding="ascii") as all_of:
            mirrors = sum(f"pid={os.getpid()} " in line for line in all_of)
    except FileNotFoundError:
        return
    print(f"# {mirrors} mirrors")


def lost(link, huge=False, mirrored=False):
    """What is written to memory that went through MADV_FREE."""
    local = Memory().register(link)
    remote = Memory(advice=MADV_HUGEPAGE if huge else MADV_NOHUGEPAGE)
    remote.fill(pattern(1))
    if huge:
        check(not remote.advise(MADV_COLLAPSE), "no huge page")
    if mirrored:
        remote.register(link)
        local.fill(pattern(2))
        link.write(local, remote)
    check(not remote.advise(MADV_FREE), "MADV_FREE")
    if not mirrored:
        remote.register(link)
    sent = pattern(3)
    local.fill(sent)
    link.write(local, remote)
    check(not remote.advise(MADV_PAGEOUT), "MADV_PAGEOUT")
    found = remote.read()
    gone = sum(found[at:at + PAGE] != sent[at:at + PAGE]
               for at in range(0, HUGE, PAGE))
    print(f"# of {PAGES} pages, {gone} lost what the device wrote")
    local.close()
    remote.close()
    check(not gone, "lost")


def child_keeps(link):
    """A child has what was there when it was made."""
    local, remote = (Memory().register(link) for _ in range(2))
    old, new = pattern(1), pattern(2)
    local.fill(old)
    link.write(local, remote)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.read(reader, 1)
        os._exit(remote.read() != old)
    local.fill(new)
    link.write(local, remote)
    os.write(writer, b".")
    _, status = os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    check(not status, "the child sees what was written after its fork")
    compare(remote, new, "written")
    local.close()
    remote.close()


def discarded(link):
    """MADV_DONTNEED: there are zeros."""
    local, remote = (Memory().register(link) for _ in range(2))
    remote.fill(pattern(1))
    link.fetch(local, remote)
    remote.advise(MADV_DONTNEED)
    link.fetch(local, remote)
    compare(local, bytes(HUGE), "read")
    local.close()
    remote.close()


def shared_file(link):
    """A file of tmpfs, and where it has been cut off."""
    fd = os.memfd_create("rdma")
    os.ftruncate(fd, HUGE)
    local = Memory().register(link)
    remote = Memory(flags=mmap.MAP_SHARED, fd=fd).register(link)
    sent = pattern(1)
    local.fill(sent)
    link.write(local, remote)
    remote.advise(MADV_PAGEOUT)
    check(os.pread(fd, HUGE, 0) == sent, "the file differs")
    os.ftruncate(fd, 0)
    refused(link, local, remote)
    os.close(fd)
    local.close()
    remote.close()


def refused(link, local, remote):
    """The device must not write there."""
    status = link.post(e.IBV_WR_RDMA_WRITE, local, remote, PAGE)
    print(f"# status {status}")
    check(status != e.IBV_WC_SUCCESS, "the write is not refused")


def protected(link):
    """Memory that may not be written to any more."""
    local, remote = (Memory().register(link) for _ in range(2))
    old = pattern(1)
    local.fill(old)
    link.write(local, remote)
    remote.protect(mmap.PROT_READ)
    local.fill(pattern(2))
    refused(link, local, remote)
    compare(remote, old, "not written")
    local.close()
    remote.close()


def unmapped(link):
    """Memory that is gone."""
    local, remote = (Memory().register(link) for _ in range(2))
    link.write(local, remote)
    libc.munmap(remote.addr, remote.size)
    refused(link, local, remote)
    local.close()
    # Somebody else may have the rest by now.
    remote.mr.close()


def offset(link):
    """From the middle of a page to the middle of another, and over several."""
    local, remote = (Memory().register(link) for _ in range(2))
    sent = pattern(1)
    local.fill(sent)
    size, at, to = 3 * PAGE - 200, 100, 5 * PAGE + 300
    status = link.post(e.IBV_WR_RDMA_WRITE, local, remote, size, at, to)
    check(status == e.IBV_WC_SUCCESS, f"status {status}")
    expected = bytearray(HUGE)
    expected[to:to + size] = sent[at:at + size]
    compare(remote, bytes(expected), "written")
    local.close()
    remote.close()


TESTS = {
    "undisturbed": traffic,
    "pageout": lambda link: traffic(link, page_out),
    "migration": lambda link: traffic(link, migrate),
    "huge": lambda link: traffic(link, collapse, MADV_HUGEPAGE),
    "fork": lambda link: traffic(link, fork),
    "everything": lambda link: traffic(link, everything, MADV_HUGEPAGE),
    "child_keeps": child_keeps,
    "discarded": discarded,
    "shared_file": shared_file,
    "protected": protected,
    "unmapped": unmapped,
    "offset": offset,
    "lazyfree": lost,
    "lazyfree_again": lambda link: lost(link, mirrored=True),
    "lazyfree_huge": lambda link: lost(link, huge=True),
}


def main():
    """All tests, each with a connection of its own."""
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.stdout.reconfigure(line_buffering=True)
    ctx = Context(name=sys.argv[1])
    for number, test in enumerate(sys.argv[3:] or TESTS, 1):
        began = time.monotonic()
        try:
            link = Link(ctx, int(sys.argv[2]))
            TESTS[test](link)
            link.close()
            verdict = "ok"
        except Exception as found:
            print(f"# {type(found).__name__}: {found}")
            verdict = "not ok"
        print(f"# {time.monotonic() - began:.1f} s")
        print(f"{verdict} {number} rdma.{test}")


if __name__ == "__main__":
    main()
