"""The driver: runs the cases that are asked for, one after the other, and reports. `run.sh` is the way to start it."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import cold
import machine
import many
import measure
import report
import warm
from generate import Helper
from origin import Origin
from servers import Place

CASES = {case.key: case for module in (warm, cold, many) for case in module.CASES}


class Shop:
    """What one case works with: a directory, the origin, the helper, and the servers made for it."""

    def __init__(self, results, seconds):
        self.seconds = seconds
        self.work = Path(tempfile.mkdtemp(prefix="weir-compare.", dir=os.environ.get("COMPARE_WORK")))
        # Servers that leave root behind read what is below.
        self.work.chmod(0o755)
        self.helper = Helper(results / "load")
        self.origin = Origin(self.work, self.helper.program)
        self.certificate, self.key = self.work / "certificate.pem", self.work / "key.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        kind = ["-x509", "-nodes", "-days", "30", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        files = ["-keyout", self.key, "-out", self.certificate]
        subprocess.run(["openssl", "req", *kind, *subject, *files], check=True, stderr=subprocess.DEVNULL)
        self.key.chmod(0o644)

    def server(self, kind, door):
        """A new server of this kind, started, with nothing stored."""
        place = Place(self.work, getattr(self.origin, door), self.certificate, self.key, Path(os.environ["WEIR"]))
        server = kind(place)
        server.prepare()
        server.start()
        return server

    def rest(self):
        """Lets what was written reach the disk, so that no row pays for the one before it."""
        os.sync()

    def close(self):
        self.origin.stop()
        shutil.rmtree(self.work, ignore_errors=True)


def run(case, options):
    """Measures one case and keeps its samples."""
    shop = Shop(options.results, options.seconds)
    turns = options.turns or case.turns
    case.turns = turns
    with (options.results / f"{case.key}.jsonl").open("w") as kept:

        def keep(**record):
            kept.write(json.dumps(record) + "\n")
            kept.flush()
            show(record)

        keep(kind="run", case=case.key, turns=turns, seconds=options.seconds, **machine.facts())
        try:
            shop.origin.start()
            case.begin(shop)
            (fresh if case.fresh else standing)(shop, case, turns, keep)
        finally:
            shop.close()


def standing(shop, case, turns, keep):
    """All servers run all the time, warm, and take turns."""
    servers = []
    try:
        for kind in case.servers:
            with blame(keep, case, kind.name):
                servers.append(server := shop.server(kind, case.door))
                case.ready(shop, server)
                continue
            if servers and servers[-1].name == kind.name:
                servers.pop().remove()
        for turn in range(turns):
            case.turn(shop, turn)
            for server in rotated(servers, turn):
                with blame(keep, case, server.name, turn):
                    keep(kind="sample", case=case.key, server=server.name, turn=turn, **measure.sample(shop, case, server, turn))
        for server in servers:
            with blame(keep, case, server.name):
                if figures := case.finish(shop, server):
                    keep(kind="once", case=case.key, server=server.name, **figures)
    finally:
        # All end before the first directory goes: with many objects in it that takes a minute.
        for server in servers:
            server.stop()
        for server in servers:
            server.remove()


def fresh(shop, case, turns, keep):
    """Each sample has a server of its own."""
    for turn in range(turns):
        case.turn(shop, turn)
        for kind in rotated(case.servers, turn):
            server = None
            with blame(keep, case, kind.name, turn):
                server = shop.server(kind, case.door)
                case.ready(shop, server)
                shop.rest()
                keep(kind="sample", case=case.key, server=server.name, turn=turn, **measure.sample(shop, case, server, turn))
                if turn == turns - 1:
                    case.finish(shop, server)
            if server:
                server.remove()


class blame:
    """What a server does wrong is written down, and the others go on."""

    def __init__(self, keep, case, server, turn=None):
        self.keep, self.case, self.server, self.turn = keep, case, server, turn

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, Exception):
            return False
        traceback.print_exception(kind, error, trace)
        self.keep(kind="failed", case=self.case.key, server=self.server, turn=self.turn, reason=f"{kind.__name__}: {error}")
        return True


def rotated(items, turn):
    """A B C, B C A, C A B: who goes after whom changes with every turn."""
    first = turn % len(items) if items else 0
    return [*items[first:], *items[:first]]


def show(record):
    figures = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in record.items() if name not in ("kind", "case", "versions")}
    print(f"{time.strftime('%H:%M:%S')} {record['case']}:", *(f"{name}={value}" for name, value in figures.items() if value not in (None, 0)), flush=True)


def options():
    parser = argparse.ArgumentParser(prog="run.sh", description="weir beside its rivals")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all of them")
    parser.add_argument("--turns", type=int, help="how often each server takes its turn (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of a sample of hits (default: 4)")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md")
    parser.add_argument("--results", type=Path, required=True, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := [key for key in asked.cases if key not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    return asked


def main():
    # Ended from outside, it still ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked = options()
    if asked.list:
        for case in CASES.values():
            print(f"{case.key:14} {case.title}")
        return
    if not asked.report:
        for key in asked.cases or CASES:
            run(CASES[key], asked)
    text = report.table(CASES.values(), asked.results)
    (Path(__file__).parent / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
