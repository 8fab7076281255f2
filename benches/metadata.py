#!/usr/bin/env python3
"""An update server with one long answer, and a client that measures how long it takes through weir, with and without being read.

The answer is the same whatever is called: GetExtendedUpdateInfo is metadata, which weir reads as it passes, GetTimestamps is not.

    metadata.py serve PORT identity|xpress MEGABYTES_PER_SECOND
    metadata.py ask HOST:PORT PID COUNT      prints: median seconds unread, median seconds read, kB of memory unread, kB read
"""

import socket
import statistics
import struct
import sys
import threading
import time

CLIENT = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService"
BLOCK = 16_352  # as Windows Server 2025 writes them
HEAD = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetExtendedUpdateInfoResponse xmlns="%s">'
    "<GetExtendedUpdateInfoResult><Updates><Update><ID>7</ID><Xml>" % CLIENT
).encode()
TAIL = b"</Xml></Update></Updates></GetExtendedUpdateInfoResult></GetExtendedUpdateInfoResponse></s:Body></s:Envelope>"


def rules():
    """One block of rules of applicability, escaped as a fragment is, and different in its numbers."""
    rule = '&lt;b.RegDword Key="HKEY_LOCAL_MACHINE" Subkey="SOFTWARE\\Policies\\%08x" Value="x" Data="%d" /&gt;'
    text = b"".join((rule % (n * 2654435761 % 2**32, n)).encode() for n in range(200))
    whole = text[: text[:BLOCK].rindex(b"&lt;")]
    return whole + b" " * (BLOCK - len(whole))


def compressed(plain):
    """Plain LZ77 (MS-XCA 2.3) with references of 3 to 9 bytes."""
    out, flags_at, flags, count, at, seen = bytearray(4), 0, 0, 0, 0, {}
    while at < len(plain):
        if count == 32:
            out[flags_at : flags_at + 4] = struct.pack("<I", flags)
            flags_at, flags, count = len(out), 0, 0
            out += bytes(4)
        start, length = seen.get(plain[at : at + 3]), 0
        if start is not None and at - start <= 8192:
            length = next((n for n in range(9) if plain[start + n : start + n + 1] != plain[at + n : at + n + 1]), 9)
        if at + 3 <= len(plain):
            seen[plain[at : at + 3]] = at
        flags, count = flags << 1 | (length >= 3), count + 1
        if length >= 3:
            out += struct.pack("<H", (at - start - 1) << 3 | length - 3)
            at += length
        else:
            out += plain[at : at + 1]
            at += 1
    out[flags_at : flags_at + 4] = struct.pack("<I", (flags + 1 << 32 - count) - 1)
    return bytes(out)


def answer(coding):
    block = rules()
    times = 60_000_000 // BLOCK + 1
    if coding == "identity":
        return HEAD + block * times + TAIL
    raw = lambda plain: struct.pack("<II", len(plain), len(plain)) + plain
    coded = compressed(block)
    return raw(HEAD) + (struct.pack("<II", BLOCK, len(coded)) + coded) * times + raw(TAIL)


def serve(port, coding, rate):
    body = memoryview(answer(coding))
    field = "Content-Encoding: xpress\r\n" if coding == "xpress" else ""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode()

    def converse(peer):
        while read_head(peer):
            peer.sendall(head)
            began, sent = time.monotonic(), 0
            while sent < len(body):
                sent += peer.send(body[sent : sent + 65536])
                ahead = sent / (rate * 1e6) - (time.monotonic() - began) if rate else 0
                if ahead > 0.001:
                    time.sleep(ahead)

    with socket.create_server(("127.0.0.1", port), backlog=64) as server:
        while True:
            threading.Thread(target=converse, args=(server.accept()[0],), daemon=True).start()


def read_head(peer):
    """A head and its body; false at the end of the connection."""
    came = b""
    while b"\r\n\r\n" not in came:
        more = peer.recv(65536)
        if not more:
            return False
        came += more
    head, body = came.split(b"\r\n\r\n", 1)
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += peer.recv(65536)
    return True


def call(peer, operation, buffer):
    body = (
        f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{operation} xmlns="{CLIENT}"/></s:Body></s:Envelope>'
    )
    began = time.monotonic()
    peer.sendall(
        f"POST /ClientWebService/client.asmx HTTP/1.1\r\nHost: wsus.test:8530\r\nContent-Type: text/xml; charset=utf-8\r\n"
        f'SOAPAction: "{CLIENT}/{operation}"\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode()
    )
    came = b""
    while b"\r\n\r\n" not in came:
        came += peer.recv(65536)
    head, first = came.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200"), head
    left = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")) - len(first)
    while left:
        left -= peer.recv_into(buffer, min(left, len(buffer)))
    return time.monotonic() - began


def peak(pid):
    """Of anonymous and other memory, since it was asked last."""
    with open(f"/proc/{pid}/status") as status:
        high = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    with open(f"/proc/{pid}/clear_refs", "w") as clear:
        clear.write("5")
    return high


def ask(at, pid, count):
    host, port = at.rsplit(":", 1)
    peer, buffer = socket.create_connection((host, int(port))), bytearray(1 << 20)
    operations = ["GetTimestamps", "GetExtendedUpdateInfo"]
    times, peaks = {name: [] for name in operations}, {name: 0 for name in operations}
    for name in operations:
        call(peer, name, buffer)
    for turn in range(count):
        # Each goes first half of the time.
        for name in operations if turn % 2 else operations[::-1]:
            peak(pid)
            times[name].append(call(peer, name, buffer))
            peaks[name] = max(peaks[name], peak(pid))
            time.sleep(0.3)  # what is still being read is of this call
    unread, read = (statistics.median(times[name]) for name in operations)
    print(f"{unread:.4f} {read:.4f} {peaks[operations[0]]} {peaks[operations[1]]}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
