"""Many small objects: hits over all of them, memory for each, and what a restart costs."""

import http.client
import signal
import time
from random import Random

import origin
from case import Case
from generate import wrk
from goals import Bound, Ratio
from measure import right_bytes
from rivals import TrafficServer, Varnish
from servers import Nginx, NginxBuffers, Weir, restarted

PATH = "/many/"


class Many(Case):
    """Random hits over `count` objects of 4 KiB; at the end, restarts."""

    shows = ("rate", "p50", "p99", "cpu_us_per_request", "memory_per_object", "fills_per_second", "after_term", "after_kill", "lost")
    small = True
    CHECKED = 50
    #: Objects that are stored a second before the kill, and older ones that are asked for after it.
    LATE, OLDER = 200, 2000

    def __init__(self, key, title, count, goals, servers, turns=5):
        self.key, self.title, self.count, self.goals, self.servers, self.turns = key, title, count, goals, servers, turns
        self.stored = {}

    def ready(self, shop, server):
        before = server.process.memory()
        figures = self.fill(shop, server)
        if figures["wrong"]:
            raise AssertionError(f"{server.name} gave {figures['wrong']} wrong bodies while it was filled")
        settle(server)
        growth = server.process.memory() - before
        beyond = max(0, growth - server.content_memory)
        self.stored[server.name] = {"memory_per_object": beyond / self.count, "fills_per_second": figures["rate"]}
        random = Random(1)
        for _ in range(self.CHECKED):
            path = f"{PATH}{random.randrange(self.count):010}"
            right_bytes(server, path, origin.expected(shop.origin, path))

    def fill(self, shop, server, first=0, count=None):
        return shop.helper.run("fill", server, path=PATH, first=first, count=count or self.count, connections=64, len=origin.SMALL)

    def sample(self, shop, server, turn):
        figures = wrk(server, PATH, 64, shop.seconds, script="many", settings={"COMPARE_COUNT": self.count})
        return figures | self.stored[server.name]

    def finish(self, shop, server):
        """Restarts after both signals; `lost` counts what was a hit a second before the kill and is none after it."""
        if not server.keeps:
            return None
        path = f"{PATH}{self.count // 2:010}"
        expected = origin.expected(shop.origin, path)

        def first_hit():
            before = shop.origin.log.stat().st_size
            try:
                right_bytes(server, path, expected)
            except (OSError, AssertionError, http.client.HTTPException):
                return False
            return shop.origin.log.stat().st_size == before

        figures = {"after_term": restarted(server, signal.SIGTERM, first_hit)}
        self.fill(shop, server, first=self.count, count=self.LATE)
        time.sleep(1)
        figures["after_kill"] = restarted(server, signal.SIGKILL, first_hit)
        mark = shop.origin.mark()
        self.fill(shop, server, first=self.count - self.OLDER, count=self.OLDER + self.LATE)
        return figures | {"lost": shop.origin.taken(mark)[0]}


def settle(server):
    """Waits, at most 10 s, until the server's memory is at rest: some of what a fill takes is given back."""
    until = time.monotonic() + 10
    memory = -1
    while memory != (memory := server.process.memory()) and time.monotonic() < until:
        time.sleep(1)


CASES = (
    Many(
        "many", "200,000 objects of 4 KiB, random hits", 200_000,
        (Ratio("rate", 1.2), Bound("memory_per_object", 150, " B"), Bound("after_term", 0.2, " s"), Bound("after_kill", 0.3, " s"), Bound("lost", 0, "")),
        (Nginx, NginxBuffers, Varnish, TrafficServer, Weir),
    ),
    Many(
        "million", "1,000,000 objects of 4 KiB, random hits, weir alone", 1_000_000,
        (Bound("memory_per_object", 150, " B"), Bound("after_term", 2, " s"), Bound("after_kill", 2, " s"), Bound("lost", 0, "")),
        (Weir,), turns=3,
    ),
)
