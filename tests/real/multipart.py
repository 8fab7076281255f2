#!/usr/bin/env python3
"""Checks a multipart/byteranges answer (RFC 9110 §14.6): multipart.py HEAD BODY FILE FIRST-LAST…, the parts in this order."""

import re
import sys

head, body, file, *ranges = sys.argv[1:]
fields = open(head, encoding="latin-1", newline="").read()
length = int(re.search(r"(?im)^content-length: (\d+)", fields)[1])
boundary = re.search(r'(?im)^content-type: multipart/byteranges; *boundary="?([^"\r\n]+)', fields)[1].encode()
content, truth = open(body, "rb").read(), open(file, "rb").read()
assert " 206" in fields.splitlines()[0], fields
assert len(content) == length, f"{len(content)} bytes, Content-Length {length}"

preamble, *parts, epilogue = re.split(rb"(?:^|\r\n)--" + re.escape(boundary), content)
assert epilogue.startswith(b"--") and preamble.strip() == b"", "does not begin and end with its boundary"
assert len(parts) == len(ranges), f"{len(parts)} parts for {len(ranges)} ranges"
for part, wanted in zip(parts, ranges):
    part_head, _, part_content = part.partition(b"\r\n\r\n")
    first, last = map(int, wanted.split("-"))
    said = re.search(rb"(?i)content-range: bytes (\d+)-(\d+)/(\d+)", part_head)
    assert said and tuple(map(int, said.groups())) == (first, last, len(truth)), f"{part_head!r} for {wanted}"
    assert part_content == truth[first : last + 1], f"other bytes in {wanted}"
