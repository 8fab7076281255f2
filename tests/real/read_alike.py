"""Does every server behind weir read the same requests in what weir forwards?

Sends the table of ambiguous requests, good ones, and seeded mutations of both through weir's pass path to a strict recorder, and to the same
recorder behind other servers; compares what arrived there. The strict recorder says what weir forwarded.
"""

import argparse
import asyncio
import collections
import os
import random
import re
import sys

# Requests that weir is to accept, each with something that other servers may see differently. HOST stands for the origin's name.
GOOD = [
    "GET /m HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET /a//b/./c;d=e?f=/..&g=%2F#".replace("#", "") + " HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET /%41%7e?{x|y}&z=\\ HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET http://HOST/m?q HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "HEAD /m HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "OPTIONS /m HTTP/1.1\r\nHost: HOST\r\nMax-Forwards: 3\r\n\r\n",
    "DELETE /m HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc",
    "M-SEARCH /m HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n",
    "PUT /m HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: HOST\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: HOST\r\nContent-Length: 44\r\n\r\nGET /hidden HTTP/1.1\r\nHost: evil.example\r\n\r\n\r\n",
    "POST /m HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HEAD /m HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
    "GET /m HTTP/1.0\r\nHost: HOST\r\n\r\n",
    "POST /m HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nConnection: X-A, Content-Length, Host\r\nX-A: b\r\nContent-Length: 2\r\n\r\nhi",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nX_Y: z\r\nX-Empty:\r\nX-Tab:\t a\t\r\nX-High: \xe4\xff\r\n\r\n",
    "GET /m HTTP/1.1\r\nHost: HOST\r\nCookie: a=b; c=\"d\\\"e\"\r\nRange: bytes=0-1\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
]

# Asked last on every connection: what a request before it swallowed, or left over, shows here.
LAST = "GET /last HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"

# Seconds without an answer after which there is none. weir itself waits a second for a server that expectations mean nothing to.
QUIET = 1.6

LINES = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Content-Length: 5",
    "Content-Length: 0",
    "Connection: close",
    "Connection: keep-alive, Transfer-Encoding",
    "Expect: 100-continue",
    "Expect: x",
    "TE: trailers, chunked",
    "Upgrade: websocket",
    "Trailer: Content-Length",
    "Content-Encoding: chunked",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "X: y",
]
BYTES = ["\r", "\n", "\r\n", " ", "\t", "\0", "\x0b", "\x7f", ":", ";", ",", '"', "\\", "/", "?", "%", "#", "*", "0", "1", "5", "a", "F", "x", "\x85", "\xa0", "\xff"]


class Recorder:
    """Reads requests strictly and keeps them: a server of its own for each that is compared."""

    def __init__(self):
        self.requests = []
        self.malformed = []

    async def serve(self, reader, writer):
        try:
            while await self.one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # broken off: no request
        except (ValueError, asyncio.LimitOverrunError) as error:
            self.malformed.append(str(error))
        finally:
            writer.close()

    async def one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        if not re.fullmatch(r"\S+ \S+ HTTP/1\.[01]", line) or any(re.search(r"[\r\n\0]", field) for field in [line, *fields]):
            raise ValueError(f"a malformed head: {head!r}")
        method, target, _ = line.split(" ")
        fields = [(name.lower(), value.strip(" \t")) for name, _, value in (field.partition(":") for field in fields)]
        get = lambda wanted: [value for name, value in fields if name == wanted]
        lengths, codings, hosts = get("content-length"), get("transfer-encoding"), get("host")
        if len(lengths) + len(codings) > 1 or len(hosts) != 1 or any(coding.lower() != "chunked" for coding in codings):
            raise ValueError(f"an ambiguous head: {head!r}")
        if get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await self.chunks(reader) if codings else await reader.readexactly(int(lengths[0]) if lengths else 0)
        self.requests.append(((get("x-row") or ["?"])[0], method, target, hosts[0], body))
        writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: " + (b"0\r\n\r\n" if method == "HEAD" else b"2\r\n\r\nok"))
        await writer.drain()
        return "close" not in [value.lower() for value in get("connection")]

    async def chunks(self, reader):
        body = b""
        while True:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1")
            size = int(re.fullmatch(r"([0-9A-Fa-f]{1,16})(;.*)?\r\n", line, re.S).group(1), 16)
            if size == 0:
                break
            body += await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk of another length")
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body


def table(path):
    """Every row of the table of ambiguous requests: whether it is forwarded, and its bytes."""
    for line in open(path, encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            _, _, forwarded, escaped = line.rstrip("\n").split(" | ", 3)
            yield forwarded != "-", re.sub(r"\\(x..|.)", lambda m: {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}.get(m[1]) or chr(int(m[1][1:], 16)), escaped)


def mutation(random, good, bases):
    """One message with one to three changes: mostly of a good one, or hardly anything would be forwarded."""
    message = random.choice(good if random.random() < 0.8 else bases)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at = random.randrange(len(message) + 1)
        ends = [match.end() for match in re.finditer("\r\n", message)] or [0]
        end = random.choice(ends)
        change = random.randrange(8)
        if change == 0:
            message = message[:at] + random.choice(BYTES) + message[at:]
        elif change == 1:
            message = message[:at] + message[at + 1 :]
        elif change == 2:
            message = message[:at] + random.choice(BYTES) + message[at + 1 :]
        elif change == 3:
            message = message[:end] + random.choice(LINES) + "\r\n" + message[end:]
        elif change == 4:
            message = message[:end] + message[end:].partition("\r\n")[2]
        elif change == 5:
            message = message[: max(0, end - 2)] + random.choice(["\n", "\r", "\r\n ", " \r\n", "\r\r\n"]) + message[end:]
        elif change == 6:
            message = re.sub(r"\d", lambda m: random.choice("0123456789") if random.random() < 0.3 else m[0], message)
        else:
            message += random.choice(bases)
    return message


async def exchange(weir, message, quiet):
    """Sends `message` on a connection of its own; the statuses that came before its end, or before `quiet` seconds of silence."""
    reader, writer = await asyncio.open_connection(*weir)
    answers = b""
    try:
        writer.write(message.encode("latin-1"))
        while more := await asyncio.wait_for(reader.read(65536), quiet):
            answers += more
    except (TimeoutError, asyncio.TimeoutError, ConnectionError):
        pass
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([2-5]\d\d) ", answers)]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recorders", required=True, help="NAME,… the first is asked directly, the others through a server")
    parser.add_argument("--table", required=True)
    parser.add_argument("--mutations", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ready", required=True, help="a file to make when the recorders listen, with a line NAME=PORT for each; then a line on stdin is waited for: host:port of weir")
    asked = parser.parse_args()
    recorders, servers, ports = {}, [], ""
    for name in asked.recorders.split(","):
        recorders[name] = Recorder()
        server = await asyncio.start_server(recorders[name].serve, "127.0.0.1", 0, limit=1 << 20)
        servers.append(server)
        ports += f"{name}={server.sockets[0].getsockname()[1]}\n"
    with open(asked.ready + ".new", "w") as ready:
        ready.write(ports)
    os.rename(ready.name, asked.ready)
    host, _, port = (await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip().rpartition(":")
    for recorder in recorders.values():
        recorder.requests.clear()

    rows = list(table(asked.table))
    good = [message for forwarded, message in rows if forwarded] + GOOD
    bases = [message for _, message in rows] + GOOD
    chosen = random.Random(asked.seed)
    messages = bases + [mutation(chosen, good, bases) for _ in range(asked.mutations)]
    places = asyncio.Semaphore(64)
    statuses = collections.defaultdict(dict)

    async def send(name, row, message):
        marked = re.sub("(Host: HOST[^\r\n]*\r\n)", rf"\g<1>X-Row: {row}\r\n", message + LAST)
        async with places:
            statuses[name][row] = await exchange((host, int(port)), marked.replace("HOST", host_of(name)), QUIET)

    for name in recorders:
        await asyncio.gather(*(send(name, row, message) for row, message in enumerate(messages)))
    await asyncio.sleep(0.5)
    return report(messages, recorders, statuses)


def host_of(name):
    """Hosts are equally long, so that a length cuts the same."""
    return f"{name:x<7}.test"


def alike(name, row, method, target, at, body):
    """What is compared of a request: without the name of the server, and without what servers may write otherwise."""
    host, upstream = host_of(name), r"127\.0\.0\.1:\d+"
    target = re.sub("^/+", "/", target.replace(host, "HOST"))  # a matter of routing: apache2 joins it to where it proxies to
    return row, method, target, re.sub(upstream, "UPSTREAM", at.replace(host, "HOST")), body.replace(host[:7].encode(), b"HOST")


def report(messages, recorders, statuses):
    """Prints what differs; whether anything does."""
    (first, direct), *others = recorders.items()
    seen = lambda name, recorder: collections.Counter(alike(name, *request) for request in recorder.requests)
    forwarded = seen(first, direct)
    print(f"{len(messages)} messages, {forwarded.total()} requests forwarded, of {len({key[0] for key in forwarded})} messages")
    wrong = len(direct.malformed)
    for what in direct.malformed[:5]:
        print(f"weir forwarded {what}")
    for name, recorder in others:
        read = seen(name, recorder)
        added, missing = read - forwarded, forwarded - read
        # A server may refuse what is forwarded to it, but then it says so.
        refused = 0
        for key in list(missing):
            own = [status for status in statuses[name].get(int(key[0]) if key[0].isdigit() else -1, []) if status >= 400]
            through = [status for status in statuses[first].get(int(key[0]) if key[0].isdigit() else -1, []) if status >= 400]
            answers_itself = key[1] == "OPTIONS" and own == through  # by Max-Forwards
            if len(own) >= len(through) + missing[key] or answers_itself:
                refused += missing.pop(key)
        print(f"{name}: read {read.total()} alike, refused {refused}, read otherwise {added.total()}, lost {missing.total()}, malformed {len(recorder.malformed)}")
        wrong += added.total() + missing.total() + len(recorder.malformed)
        for kind, keys in [("read by it alone", added), ("lost", missing)]:
            for key in list(keys)[:5]:
                message = messages[int(key[0])] if key[0].isdigit() else "?"
                print(f"  {kind}: {key}\n    of {message!r}\n    statuses {statuses[name].get(int(key[0]) if key[0].isdigit() else -1)}")
        for what in recorder.malformed[:5]:
            print(f"  malformed behind it: {what}")
    return wrong > 0


sys.exit(asyncio.run(main()))
