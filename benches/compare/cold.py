"""Content that nobody has yet, and content that is on disk but not in memory."""

import threading
from contextlib import contextmanager

import origin
from case import Case
from generate import wrk
from goals import Bound, Ratio
from measure import right_bytes, warm
from rivals import TrafficServer, TrafficServerDisk, TrafficServerSlices, Varnish, VarnishFile
from servers import Direct, Nginx, NginxBuffers, NginxSlices, NginxThreads, Weir

ORIGIN_SHARE = Bound("origin_share", 1.01, "")


class Cold(Case):
    """Each sample: a server with nothing stored, and clients that come for one object."""

    hits = False
    fresh = True
    shows = ("bytes_per_second", "seconds", "first_byte_p50", "first_byte_p99", "cpu_seconds_per_gb", "memory", "origin_share")

    def __init__(self, key, title, name, goals, servers, command="herd", door="port", missed="", **words):
        self.key, self.title, self.goals, self.servers, self.missed = key, title, goals, servers, missed
        self.name, self.command, self.door, self.words = name, command, door, words

    def path(self, turn):
        # The name of a package: what is large by its name may be asked for in parts from the first request on.
        return f"/cold/{turn}/{self.name}.cab"

    def turn(self, shop, turn):
        # Another content each time: equal content could be recognised.
        shop.origin.provide(self.name, turn + 1)

    def ready(self, shop, server):
        """The pooled connections, threads and code of the first request are not what is measured."""
        shop.origin.provide("1k")
        right_bytes(server, "/1k", origin.expected(shop.origin, "/1k"))

    def sample(self, shop, server, turn):
        path, length = self.path(turn), origin.SIZES[self.name]
        words = {"path": path, "seed": turn + 1, "len": length} | self.words
        mark = shop.origin.mark()
        figures = shop.helper.run(self.command, server, **words)
        return figures | {"origin_share": shop.origin.taken(mark)[1] / length}

    def finish(self, shop, server):
        """Every byte of what the last turn stored; while it was measured one word in 4 KiB was looked at."""
        path = self.path(self.turns - 1)
        right_bytes(server, path, origin.expected(shop.origin, path))


class Evicted(Case):
    """Hot small hits beside cold ranges: what is read of the large object is taken out of memory again four times a second."""

    key = "cold_mix"
    title = "1 KiB hits (4 connections) while 8 clients read evicted 1 MiB ranges"
    goals = (Ratio("rate", 1.0), Ratio("pieces_per_second", 1.0, TrafficServerDisk.name))
    servers = (Nginx, NginxThreads, VarnishFile, TrafficServerDisk, Weir)
    missed = (
        "Two closed loops: what the cold ranges take of the cores the hot hits have not. Looked at every 5 ms, no thread that serves was ever waiting for the "
        "disk; they wait for a core. A cold range costs weir and Traffic Server alike, some 1.2 ms of CPU, of which 0.9 and 0.75 ms in the threads that "
        "also serve hits, nearly all in the kernel: copies and packets. Tried without gain, on a machine with other work: portions of 128 and 64 KiB, "
        "a look at the sockets after every four tasks, and a line in which long responses wait so that one sends between two looks (five pairs: 0.97 of the "
        "hits, 0.91 of the ranges)."
    )
    shows = ("rate", "p50", "p99", "pieces_per_second", "disk_read_bytes", "memory")
    READERS, PAUSE = 8, 0.25

    def begin(self, shop):
        self.contents = {}
        for name in ("1k", "1g"):
            shop.origin.provide(name)
            self.contents[f"/{name}"] = origin.expected(shop.origin, f"/{name}")

    def ready(self, shop, server):
        for path, expected in self.contents.items():
            warm(shop, server, path, expected)
        shop.rest()

    def sample(self, shop, server, turn):
        words = {"path": "/1g", "seed": 1, "len": origin.GIB, "piece": origin.MIB, "connections": self.READERS, "seconds": shop.seconds + 1}
        with evicting(server, self.PAUSE), shop.helper.beside("ranges", server, **words) as ranges:
            figures = wrk(server, "/1k", 4, shop.seconds)
            pieces = ranges()
        del figures["bytes"], figures["requests"]
        return figures | {"pieces_per_second": pieces["answers"] / pieces["seconds"], "wrong": pieces["wrong"]}


@contextmanager
def evicting(server, pause):
    """Takes the server's large files out of memory, again and again."""
    over = threading.Event()
    files = server.large_files()

    def evict():
        while True:
            server.process.evict(files)
            if over.wait(pause):
                return

    server.process.evict(files)
    thread = threading.Thread(target=evict, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


CASES = (
    Evicted(),
    Cold(
        "cold_1g", "cold 1 GiB, one client", "1g", (Ratio("bytes_per_second", 1.3),),
        (Direct, Nginx, NginxBuffers, Varnish, TrafficServer, Weir), clients=1,
        missed="A GiB takes some 19,000 system calls (reads of 240 KiB, writes of 640 KiB), so bytes are what costs: out of one socket, into the page cache "
        "(a quarter of the samples), through BLAKE3 (a twelfth), into the other socket. Varnish keeps content in memory alone: it has neither the second nor the "
        "third. Tried: longer queues before the disk make it dearer, as what is written has left the processor's caches by then (4 MiB with writes of "
        "2 MiB: 2.5 in place of 1.5 CPU s/GB; writes of 1 MiB: 2.0).",
    ),
    Cold(
        "cold_1g_line", "cold 1 GiB, one client, a line of 100 MB/s to the origin", "1g",
        (Ratio("bytes_per_second", 0.98, Direct.name),), (Direct, Nginx, Weir), door="line_port", clients=1,
    ),
    Cold(
        "cold_parallel", "cold 256 MiB, origin gives 20 MiB/s a connection", "256m",
        (Ratio("bytes_per_second", 3, Direct.name), ORIGIN_SHARE), (Direct, Nginx, Weir), door="held_port", clients=1,
    ),
    Cold(
        "herd", "200 clients, one cold 256 MiB object", "256m",
        (Ratio("bytes_per_second", 1.05), Bound("first_byte_p99", 50, " ms", scale=1e3), ORIGIN_SHARE),
        (NginxSlices, Varnish, TrafficServer, Weir), clients=200,
        missed="weir takes fewer CPU seconds for a GB than the best, so it waits; for what was not found. Sending what is still arriving from a map in place of"
        " `sendfile` brought a fifth less CPU. Tried, one pair under a profiler: turns of 1 MiB, with the first bytes in a fifth of the time.",
    ),
    Cold(
        "shuffled", "8 × 7 connections, shuffled 1 MiB pieces of a cold 256 MiB object", "256m",
        (Ratio("bytes_per_second", 1.1), ORIGIN_SHARE, Bound("memory", 150, " MB", scale=1e-6)),
        (NginxSlices, Varnish, TrafficServerSlices, Weir), command="shuffled", clients=8, connections=7, piece=origin.MIB,
        missed="As for the cold GiB: what Varnish keeps in memory alone weir also writes and hashes.",
    ),
)
