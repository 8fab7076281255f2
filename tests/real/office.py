#!/usr/bin/env python3
"""Many computers of an office at once. Python's standard library only; prints one line of JSON with what was measured.

  office.py herd    ADDRESS TARGET FILE --clients 200             the whole object, all at once
  office.py shuffle ADDRESS TARGET FILE --clients 8               Delivery Optimization: shuffled 1 MiB ranges on 7 connections
  office.py slow    ADDRESS TARGET --clients 500 --rate 51200     slow readers of --length bytes, for --seconds
  office.py many    ADDRESS TARGET --clients 8 --count 100000     many small objects: {} in TARGET becomes a number

ADDRESS is host:port of the server, TARGET the request target, FILE what the bytes are compared with.
"""

import argparse
import json
import mmap
import multiprocessing
import queue
import random
import socket
import sys
import threading
import time

PIECE = 1 << 20
CONNECTIONS = 7
STALL_SECONDS = 20


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Connection:
    """One kept-alive HTTP/1.1 connection, read with as few copies as Python allows."""

    def __init__(self, address, receive_buffer=None):
        host, port = address.rsplit(":", 1)
        self.address = address
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(STALL_SECONDS)
        self.socket.connect((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def ask(self, target, bounds=None):
        """Sends a GET as Delivery Optimization writes it; returns status, fields (in their own spelling) and the content length."""
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {self.address}",
            "Accept: */*",
            "User-Agent: Microsoft-Delivery-Optimization/10.1",
            "MS-CV: office.0.1",
            "Content-Length: 0",
        ]
        if bounds:
            lines.append(f"Range: bytes={bounds[0]}-{bounds[1]}")
        self.socket.sendall("\r\n".join(lines + ["", ""]).encode())
        while b"\r\n\r\n" not in self.rest:
            received = self.socket.recv(65536)
            if not received:
                raise Wrong("closed before the head was whole")
            self.rest += received
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        status, *fields = head.decode("latin-1").split("\r\n")
        fields = dict(field.split(": ", 1) for field in fields)
        if "Content-Length" not in fields:
            raise Wrong(f"no Content-Length in title case: {status} {fields}")
        return int(status.split()[1]), fields, int(fields["Content-Length"])

    def content(self, length):
        """The content that follows the head, in runs."""
        first, self.rest = self.rest[:length], self.rest[length:]
        if first:
            yield first
        left = length - len(first)
        while left:
            received = self.socket.recv(min(left, PIECE))
            if not received:
                raise Wrong(f"closed {left} bytes before the end")
            left -= len(received)
            yield received


def take(connection, target, truth, bounds=None):
    """One whole answer, compared byte for byte with the truth; returns when its first content byte came."""
    start, end = bounds if bounds else (0, len(truth) - 1)
    status, fields, length = connection.ask(target, bounds)
    if status != (206 if bounds else 200) or length != end - start + 1:
        raise Wrong(f"{status} with {length} bytes for {bounds}")
    if bounds and fields.get("Content-Range") != f"bytes {start}-{end}/{len(truth)}":
        raise Wrong(f"Content-Range: {fields.get('Content-Range')} for {bounds}")
    at, first_byte = start, None
    for run in connection.content(length):
        first_byte = first_byte or time.time()
        if run != truth[at : at + len(run)]:
            raise Wrong(f"other bytes near offset {at}")
        at += len(run)
    return first_byte


def herd_client(task, truth, _number):
    return [take(Connection(task.address), task.target, truth)]


def shuffle_client(task, truth, number):
    pieces = list(range((len(truth) + PIECE - 1) // PIECE))
    random.Random(task.seed + number).shuffle(pieces)
    work = queue.SimpleQueue()
    for piece in pieces:
        work.put(piece)

    def one_connection():
        connection = Connection(task.address)
        while True:
            try:
                piece = work.get_nowait()
            except queue.Empty:
                return
            bounds = (piece * PIECE, min((piece + 1) * PIECE, len(truth)) - 1)
            firsts.append(take(connection, task.target, truth, bounds))

    firsts = []
    together(one_connection, [()] * CONNECTIONS)
    if len(firsts) != len(pieces):
        raise Wrong(f"{len(firsts)} of {len(pieces)} pieces")
    return firsts


def slow_client(task, _truth, number):
    """Reads at --rate from a place of its own until --seconds are over."""
    connection = Connection(task.address, receive_buffer=32768)
    start = number * PIECE % task.length
    _, _, length = connection.ask(task.target, (start, task.length - 1))
    deadline, begun, got = time.time() + task.seconds, time.time(), 0
    while time.time() < deadline and got < length:
        got += len(connection.socket.recv(8192)) or sys.exit("cut")
        time.sleep(max(0.0, begun + got / task.rate - time.time()))
    return []


def many_client(task, _truth, number):
    """The objects of every --clients-th number."""
    connection = Connection(task.address)
    for object_number in range(number, task.count, task.clients):
        status, _, length = connection.ask(task.target.replace("{}", str(object_number)))
        if status != 200 or sum(map(len, connection.content(length))) != length:
            raise Wrong(f"{status} for object {object_number}")
    return []


def together(run, argument_lists):
    """One thread for each list of arguments; the first exception of any of them is raised here, when all have ended."""
    errors = []

    def caught(*arguments):
        try:
            run(*arguments)
        except Exception as error:  # shown by the caller, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=caught, args=arguments) for arguments in argument_lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def process(task, numbers, barrier, results):
    """The clients `numbers`, each in its thread: several processes, because one interpreter fills only one core."""
    client = {"herd": herd_client, "shuffle": shuffle_client, "slow": slow_client, "many": many_client}[task.pattern]
    threading.stack_size(256 << 10)
    firsts, wrong = [], []

    def one(number):
        try:
            barrier.wait()
            firsts.extend(client(task, truth, number))
        except (Wrong, OSError) as error:
            wrong.append(f"client {number}: {error!r}")

    truth = None
    if task.file:
        with open(task.file, "rb") as file:
            truth = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    together(one, [(number,) for number in numbers])
    results.put((firsts, wrong))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", choices=["herd", "shuffle", "slow", "many"])
    parser.add_argument("address")
    parser.add_argument("target")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=51200, help="bytes per second of a slow reader")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--length", type=int, default=0, help="length of the object slow readers read")
    parser.add_argument("--count", type=int, default=0, help="how many small objects")
    task = parser.parse_args()

    results = multiprocessing.Queue()
    barrier = multiprocessing.Barrier(task.clients)
    processes = min(task.processes, task.clients)
    shares = [range(task.clients)[start::processes] for start in range(processes)]
    workers = [multiprocessing.Process(target=process, args=(task, share, barrier, results)) for share in shares]
    begun = time.time()
    for worker in workers:
        worker.start()
    outcomes = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    firsts = [first for outcome in outcomes for first in outcome[0] if first]
    wrong = [text for outcome in outcomes for text in outcome[1]]
    print(
        json.dumps(
            {
                "clients": task.clients,
                "answers": len(firsts),
                "seconds": round(time.time() - begun, 2),
                "last_first_byte": max(firsts, default=0),
                "last_first_byte_after": round(max(firsts, default=begun) - begun, 2),
                "wrong": wrong[:5],
            }
        )
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
