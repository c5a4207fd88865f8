"""The canonical bytes of an entry, and the hash of a request: docs/format.md, "Canonical bytes"."""

import struct


def canon(e, without=()):
    out = [b"\x01"]

    def put(tag, value):
        if tag not in without:
            out.append(struct.pack("<BI", tag, len(value)) + value)

    def field(tag, name, size=0, clear=0):
        value = e.get(name)
        if name in e and value is None:  # cleared
            put(clear, b"")
        elif name in e:
            value = value[0] if isinstance(value, tuple) else value
            put(tag, int(value).to_bytes(size, "little") if size else value.encode())

    for tag, name, size in [(1, "seq", 8), (2, "task", 0), (3, "version", 8), (4, "at", 8), (5, "said", 8),
                            (6, "kind", 1), (7, "inferred", 1), (8, "from", 1), (9, "to", 1), (10, "attempts", 4)]:
        field(tag, name, size)
    field(11, "output", 0, 12)
    field(13, "error", 0, 14)
    meta = sorted((key.encode(), value) for key, value in e.get("metadata", {}).items())
    for key, value in meta:
        if value is not None:
            put(15, struct.pack("<I", len(key)) + key + value.encode())
    for key, value in meta:
        if value is None:
            put(16, key)
    for tag, name, clear in [(17, "created_at", 0), (18, "updated_at", 0), (19, "started_at", 20),
                             (21, "finished_at", 22)]:
        field(tag, name, 8, clear)
    for tag, name, size in [(23, "actor", 0), (24, "reason", 0), (25, "cause", 8), (26, "key", 0), (27, "note", 0),
                            (28, "value", 0)]:
        field(tag, name, size)
    return b"".join(out)


def siphash13(key, data):
    low = (1 << 64) - 1
    k0, k1 = (int.from_bytes(half, "little") for half in (key[:8], key[8:]))
    v = [k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573]

    def rotl(x, n):
        return (x << n | x >> 64 - n) & low

    def turn():
        a, b, c, d = v
        a, c = a + b & low, c + d & low
        b, d = rotl(b, 13) ^ a, rotl(d, 16) ^ c
        a, c = rotl(a, 32) + d & low, c + b & low
        b, d = rotl(b, 17) ^ c, rotl(d, 21) ^ a
        v[:] = a, b, rotl(c, 32), d

    whole = len(data) // 8 * 8
    padded = data[:whole] + data[whole:].ljust(7, b"\0") + bytes([len(data) & 255])
    for m in struct.unpack(f"<{len(padded) // 8}Q", padded):
        v[3] ^= m
        turn()
        v[0] ^= m
    v[2] ^= 255
    for _ in range(3):
        turn()
    return v[0] ^ v[1] ^ v[2] ^ v[3]
