"""Hits: content that every server has, in memory or in the page cache."""

import time
from random import Random

import origin
from case import ALL, ALL_TLS, FAST, Case
from generate import h2load, wrk
from goals import Bound, Ratio
from measure import right_bytes, warm
from rivals import TrafficServer, Varnish
from servers import LARGE, Nginx, NginxBuffers, Weir

MICROSECONDS = " µs"
#: Those that speak HTTP/2 to clients.
H2 = (Nginx, NginxBuffers, TrafficServer, Weir)


#: Why, as far as `benches/hit.sh` and `benches/profile.sh` tell.
MISSED = {
    "hit_64k": "weir takes less of a core for a request than any other here; the clients take as much, whoever serves. What is left is the copy from memory into"
    " the socket: a server that did nothing else was 6 to 9 % faster with `sendfile`, for which what is in packs would have to be held in its place.",
    "hit_1m": "Seven eighths of its CPU time are the kernel's. A server that did nothing else was 8 % faster with `splice` through a pipe of 256 KiB than with `sendfile`: not built.",
    "range_1m": "Nine tenths of its CPU time are the kernel's, and how large the pieces are in which the page cache holds the file decides more than what weir does: fills write"
    " 512 KiB at a time for that. `sendfile`, maps, `splice` and copies were compared; offsets inside of pages go faster from a map.",
    "tls_1m": "Encryption and copies; the kernel here has no TLS of its own, which would save one.",
    "connect_1k": "Five sixths of its CPU time are the kernel's. What a connection needs is made for each: a task, hyper's state, weir's own, and its places among the limits. Answering without parsing brought 5 %.",
}


class Hits(Case):
    """As many hits of one object as go."""

    def __init__(self, key, title, name, connections, goals, servers=ALL, tls=False, fields=()):
        self.key, self.title, self.goals, self.servers = key, title, goals, servers
        self.missed = MISSED.get(key, "")
        self.name, self.connections, self.tls, self.fields = name, connections, tls, fields
        self.small = origin.SIZES[name] <= 64 << 10
        self.large = origin.SIZES[name] >= LARGE
        self.path = f"/{name}"

    def begin(self, shop):
        shop.origin.provide(self.name)
        self.expected = origin.expected(shop.origin, self.path)

    def ready(self, shop, server):
        warm(shop, server, self.path, self.expected, self.tls)
        wrk(server, self.path, self.connections, 1, tls=self.tls)

    def before(self, shop, server):
        if self.large:
            server.read_back()

    def sample(self, shop, server, turn):
        return wrk(server, self.path, self.connections, shop.seconds, tls=self.tls, fields=self.fields)

    def finish(self, shop, server):
        right_bytes(server, self.path, self.expected, self.tls)


class Ranges(Hits):
    """Random ranges of 1 MiB of one large object."""

    CHECKED = 20

    def ready(self, shop, server):
        warm(shop, server, self.path, self.expected)
        random = Random(1)
        for _ in range(self.CHECKED):
            offset = random.randrange(len(self.expected) - origin.MIB)
            right_bytes(server, self.path, self.expected, span=(offset, offset + origin.MIB))

    def sample(self, shop, server, turn):
        settings = {"COMPARE_LENGTH": len(self.expected), "COMPARE_PIECE": origin.MIB}
        return wrk(server, self.path, self.connections, shop.seconds, script="ranges", settings=settings)


class Http2(Hits):
    """Hits over HTTP/2, several streams on each connection."""

    STREAMS = 8

    def __init__(self, *words, **more):
        super().__init__(*words, **more, tls=True)
        self.small = False

    def ready(self, shop, server):
        warm(shop, server, self.path, self.expected, tls=True)

    def sample(self, shop, server, turn):
        return h2load(server, self.path, self.connections, self.STREAMS, shop.seconds)


class SlowReaders(Case):
    """Small hits alone, and then while 2,000 clients take 10 KB a second each of a large hit."""

    key = "slow_readers"
    title = "2,000 slow readers (10 KB/s of a 100 MiB hit) while 1 KiB hits run, 64 connections"
    goals = (
        Ratio("rate", 1.2),
        Bound("undisturbed_share", 0.85, "", least=True),
        Bound("memory_growth", 32, " MB", scale=1e-6),
    )
    missed = (
        "No content is held for a reader, but its connection is: 18.8 kB with an answer under way, of which two buffers of hyper are 8, task and connection 4, and"
        " request and content 4. It was 26.6 while the first buffer and the future that had answered were kept."
    )
    shows = ("rate", "undisturbed_share", "p99", "memory_growth", "starved")
    servers = (Nginx, NginxBuffers, Varnish, TrafficServer, Weir)
    READERS, RATE = 2000, 10_000
    #: The kernel's buffers are full, and the readers slow indeed, when the server uses less of a core; or after so many seconds.
    REST, REST_SECONDS = 0.1, 30

    def begin(self, shop):
        self.contents = {}
        for name in ("1k", "100m"):
            shop.origin.provide(name)
            self.contents[f"/{name}"] = origin.expected(shop.origin, f"/{name}")

    def ready(self, shop, server):
        for path, expected in self.contents.items():
            warm(shop, server, path, expected)

    def sample(self, shop, server, turn):
        alone = wrk(server, "/1k", 64, shop.seconds)
        before = server.process.memory()
        words = {"path": "/100m", "clients": self.READERS, "rate": self.RATE}
        with shop.helper.beside("slow", server, ready="ready", **words) as readers:
            self.fill(server)
            figures = wrk(server, "/1k", 64, shop.seconds)
            growth = server.process.memory() - before
            starved = readers()["starved"]
        # The CPU time of the sample is that of both runs and the readers: per request it would mean nothing.
        del figures["bytes"], figures["requests"]
        return figures | {"undisturbed_share": figures["rate"] / alone["rate"], "memory_growth": growth, "starved": starved}

    def fill(self, server):
        """Waits until the readers are no work any more, but for the little they take."""
        until = time.monotonic() + self.REST_SECONDS
        used = 1.0
        while used > self.REST and time.monotonic() < until:
            before = server.process.cpu_seconds()
            time.sleep(1)
            used = server.process.cpu_seconds() - before


CASES = (
    Hits("hit_1k", "1 KiB hits, keep-alive, 64 connections", "1k", 64, (Ratio("rate", 1.25), Bound("cpu_us_per_request", 9, MICROSECONDS))),
    Hits("hit_64k", "64 KiB hits, 64 connections", "64k", 64, (Ratio("rate", 1.1),)),
    Hits("hit_1m", "1 MiB hits, 16 connections", "1m", 16, (Ratio("bytes_per_second", 1.05),)),
    Ranges("range_1m", "random 1 MiB ranges of a 1 GiB object, 16 connections", "1g", 16, (Ratio("bytes_per_second", 1.1),), FAST),
    Hits("hit_100m", "100 MiB objects, 4 connections", "100m", 4, (Ratio("bytes_per_second", 1.1),), FAST),
    Hits("tls_1k", "TLS 1.3: 1 KiB hits, 64 connections", "1k", 64, (Ratio("rate", 1.0),), ALL_TLS, tls=True),
    Hits("tls_64k", "TLS 1.3: 64 KiB hits, 64 connections", "64k", 64, (Ratio("rate", 1.3),), ALL_TLS, tls=True),
    Hits("tls_1m", "TLS 1.3: 1 MiB hits, 16 connections", "1m", 16, (Ratio("bytes_per_second", 1.2),), ALL_TLS, tls=True),
    Hits("connect_1k", "new connection per request, 1 KiB, 64 connections", "1k", 64, (Ratio("rate", 1.1),), fields=("Connection: close",)),
    Http2("h2_1k", "HTTP/2 and TLS 1.3: 1 KiB hits, 16 connections, 8 streams each", "1k", 16, (Ratio("rate", 1.0),), H2),
    Http2("h2_1m", "HTTP/2 and TLS 1.3: 1 MiB hits, 4 connections, 8 streams each", "1m", 4, (Ratio("bytes_per_second", 1.0),), H2),
    SlowReaders(),
)
