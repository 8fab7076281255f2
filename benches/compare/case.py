"""What a case is. The cases themselves: warm.py (hits), cold.py (fills, and content that is not in memory), many.py (many objects, restarts)."""

from rivals import Squid, TrafficServer, Varnish
from servers import Nginx, NginxBuffers, Weir

ALL = (Nginx, NginxBuffers, Varnish, TrafficServer, Squid, Weir)
ALL_TLS = (Nginx, NginxBuffers, TrafficServer, Squid, Weir)
FAST = (Nginx, NginxBuffers, Varnish, TrafficServer, Weir)


class Case:
    """One row: servers that take turns, and goals. Subclasses answer `sample` with a dictionary of figures."""

    key = ""
    title = ""
    servers = FAST
    goals = ()
    #: Why a goal is missed, as far as it is known, and what was tried: a sentence for RESULTS.md.
    missed = ""
    #: Figures that the table of all servers shows, in this order.
    shows = ("rate", "bytes_per_second", "p50", "p99", "cpu_us_per_request", "cpu_seconds_per_gb", "memory", "disk_read_bytes", "origin_bytes")
    #: A request that reaches the origin voids a sample.
    hits = True
    #: Answers are so small that a median of 40 ms voids a sample.
    small = False
    #: Each sample has a server of its own, with nothing stored.
    fresh = False
    turns = 5
    #: Which of the origin's doors the servers fetch from: "port", "held_port" or "line_port".
    door = "port"

    def begin(self, shop):
        """Before any server is started: content."""

    def ready(self, shop, server):
        """When a server has started: right bytes, warm content."""

    def turn(self, shop, turn):
        """Before each turn of all servers."""

    def before(self, shop, server):
        """Before each sample, outside of what is measured."""

    def sample(self, shop, server, turn):
        raise NotImplementedError

    def finish(self, shop, server):
        """After the last turn; figures that are measured once for each server, if any."""
        return None
