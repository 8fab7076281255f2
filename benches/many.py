#!/usr/bin/env python3
"""Many small objects: what each costs in memory, and how long a start takes until the first hit; weir alone, of the comparison's make.

    benches/many.py [--objects N] [--memory MIB] [--seconds S]

Wants nginx, wrk and rustc, and target/release/weir (WEIR names another). Works below COMPARE_WORK or the usual temporary directory: an object
of 4 KiB takes 8 KiB there and some 600 bytes of index. Memory is RssAnon: pages of files do not count. What is set aside for content (--memory)
counts for no object, so "beyond" is what an object costs.

With 64 MiB, RssAnon and what an object costs beyond them, on a machine with two cores that was busy with much else:

    objects      filled, at rest    after hits over all    after a start    first hit after SIGTERM    after SIGKILL
    200,000      117 MB, 266 B      136 MB, 359 B           42 MB           0.25 and 0.34 s            0.44 and 0.58 s
    1,000,000    198 MB, 136 B      222 MB, 160 B          118 MB, 54 B     2.1 and 2.9 s              1.6 and 2.4 s

Nothing of what was stored a second before SIGKILL was lost. The table is 110 B of each object; 30 MB are what the allocator keeps between blocks in use,
however many objects there are, and up to 16 MiB heads and answers that are recognised. Times of starts want a quiet machine:
with real-time priority (`chrt -f 20`) a start with 200,000 takes 0.18 to 0.20 s after either signal, of which 0.02 s are syncs of the index.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "compare"))
sys.dont_write_bytecode = True

import origin  # noqa: E402
from compare import Shop  # noqa: E402
from generate import wrk  # noqa: E402
from many import PATH, settle  # noqa: E402
from measure import right_bytes  # noqa: E402
from servers import Weir, restarted  # noqa: E402

#: Objects stored a second before SIGKILL.
LATE = 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--memory", type=int, default=64, help="MiB")
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("WEIR", str(HERE.parent / "target/release/weir"))
    with tempfile.TemporaryDirectory(prefix="weir-many.") as tools:
        subprocess.run(["rustc", "-O", "--edition", "2024", HERE / "compare/load/main.rs", "-o", f"{tools}/load"], check=True)
        shop = Shop(Path(tools), options.seconds)
        try:
            shop.origin.start()
            Weir.content_memory = options.memory << 20
            measure(shop, shop.server(Weir, "port"), options)
        finally:
            shop.close()


def measure(shop, server, options):
    try:
        fill_and_hit(shop, server, options)
        restart(shop, server, options)
    finally:
        server.remove()


def fill_and_hit(shop, server, options):
    count = options.objects
    tell(server, options, "empty")
    began = time.monotonic()
    for first in range(0, count, max(1, count // 4)):
        fill(shop, server, first, min(count // 4, count - first))
        tell(server, options, f"{first + count // 4:,} filled after {time.monotonic() - began:.0f} s")
    settle(server)
    tell(server, options, "at rest")
    for working_set in (1_000, count):
        mark = shop.origin.mark()
        figures = wrk(server, PATH, 64, options.seconds, script="many", settings={"COMPARE_COUNT": working_set})
        missed = shop.origin.taken(mark)[0]
        print(f"  random of {working_set:,}: {figures['rate']:,.0f} hits a second, {missed} missed", flush=True)
    settle(server)
    tell(server, options, "after the hits")


def restart(shop, server, options):
    """Both signals, twice each; what was stored a second before SIGKILL must be a hit after it."""
    path = f"{PATH}{options.objects // 2:010}"
    expected = origin.expected(shop.origin, path)

    def first_hit():
        mark = shop.origin.log.stat().st_size
        try:
            right_bytes(server, path, expected)
        except (OSError, AssertionError):
            return False
        return shop.origin.log.stat().st_size == mark

    for turn in range(2):
        print(f"  SIGTERM: first hit after {restarted(server, signal.SIGTERM, first_hit):.3f} s")
        first = options.objects + turn * LATE
        fill(shop, server, first, LATE)
        time.sleep(1)
        print(f"  SIGKILL: first hit after {restarted(server, signal.SIGKILL, first_hit):.3f} s", end=", ")
        mark = shop.origin.mark()
        fill(shop, server, first, LATE)
        print(f"{shop.origin.taken(mark)[0]} of {LATE} late objects lost", flush=True)
    settle(server)
    tell(server, options, "at rest after a start")


def fill(shop, server, first, count):
    figures = shop.helper.run("fill", server, path=PATH, first=first, count=count, connections=64, len=origin.SMALL)
    if figures["wrong"]:
        raise AssertionError(f"{figures['wrong']} wrong bodies")


def tell(server, options, when):
    memory = server.process.memory()
    beyond = max(0, memory - server.content_memory)
    print(f"  {when}: RssAnon {memory >> 10:,} kB, beyond {server.content_memory >> 20} MiB {beyond / options.objects:.0f} B an object", flush=True)


if __name__ == "__main__":
    main()
