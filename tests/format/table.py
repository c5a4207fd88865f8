"""Tables (indexes, snapshots and floors) by the page docs/format.md, and which floor counts."""

import re
from zlib import crc32

from canon import siphash13
from wire import Body, Broken, Damaged, u

BLOCK_BYTES, FENCES_A_BLOCK, PLACES_A_BLOCK, FILTER_BYTES_A_BLOCK, LINE_BYTES = 4096, 409, 255, 4032, 64  # as on the page
KINDS, NO_RECORD = {"index": 1, "snapshot": 2}, 65535


def up(n, by):
    return -(-n // by)


class Table:
    """A table that is sound by itself; or Broken."""

    def __init__(self, data, kind, ledger):
        def need(true, what):
            if not true:
                raise Broken(what)

        need(data[:8] == b"TLTABLE1" and u(data, 8, 4) == crc32(data[12:BLOCK_BYTES]), "the header cannot be read")
        need((u(data, 12, 2), u(data, 14, 2), data[16:32]) == (1, KINDS[kind], ledger["uuid"]), "it is another table")
        self.data, self.number, self.first, self.last, length = data, *(u(data, at, 8) for at in (32, 40, 48, 56))
        self.at, self.end, self.chain = u(data, 72, 8), u(data, 80, 8), u(data, 88, 4)
        counts, count, blocks, places = [u(data, at, 8) for at in range(96, 176, 8)], *(u(data, at, 8) for at in (176, 184, 192))
        self.seed = crc32(data[16:32] + data[14:16] + data[32:40] + data[48:56])
        filter_bytes = up(2 * count, LINE_BYTES) * LINE_BYTES if kind == "index" else 0
        sizes = [blocks, up(blocks, FENCES_A_BLOCK), up(places, PLACES_A_BLOCK), up(filter_bytes, FILTER_BYTES_A_BLOCK)]
        need(len(data) == length == BLOCK_BYTES * (1 + sum(sizes)), "its length is not what its header says")
        areas, block = [], 1
        for size in sizes:
            areas.append([self.block(n) for n in range(block, block + size)])
            block += size
        self.records, fences = {}, [None] * blocks
        self.read_records(b"".join(block[6:] for block in areas[0]), ledger["key"], fences)
        need(len(self.records) == count, "it has another number of records")
        self.starts_are(areas[0], fences)
        stored = [block[6 + 10 * n:16 + 10 * n] for block in areas[1] for n in range(FENCES_A_BLOCK)][:blocks]
        need([(u(it, 0, 8), u(it, 8, 2)) for it in stored] == [(it[0], it[1]) for it in fences], "a fence is wrong")
        frames = [block[6 + 16 * n:22 + 16 * n] for block in areas[2] for n in range(PLACES_A_BLOCK)][:places]
        self.frames = [(self.first + u(it, 0, 4), u(it, 4, 4), u(it, 8, 8)) for it in frames]
        stored = b"".join(block[6:6 + FILTER_BYTES_A_BLOCK] for block in areas[3])[:filter_bytes]
        need(stored == filter_of([hash for hash, *_ in self.records.values()], filter_bytes), "its filter is wrong")
        if kind == "snapshot":
            classes = [record[1] for record in self.records.values()]
            need(counts == [classes.count(n) for n in (*range(9), 10)], "its counts are wrong")
            need(self.first == 1 and not places, "a snapshot covers everything, and has no places")

    def block(self, n):
        block = self.data[BLOCK_BYTES * n:BLOCK_BYTES * (n + 1)]
        if u(block, 0, 4) != crc32(n.to_bytes(8, "little") + block[4:], self.seed):
            raise Broken(f"the checksum of block {n} does not match")
        return block

    def read_records(self, area, key, fences):
        """Fills `records`, (task or note, key) to (hash, class, version, seq, time, seqs of its keyed events), and fences."""
        room, at, before = BLOCK_BYTES - 6, 0, None
        while at + 4 <= len(area) and u(area, at, 4):
            stop, hash, kind, name_end = at + 4 + u(area, at, 4), u(area, at + 4, 8), area[at + 12], at + 15 + u(area, at + 13, 2)
            what = ("task", "note")[kind > 9]
            name, b = area[at + 15:name_end].decode(), Body(area[name_end:stop])
            place = hash, kind > 9, name.encode()
            if before and before >= place or kind > 11 or hash != siphash13(key, what[:1].encode() + name.encode()):
                raise Broken(f"the record of {name} is not in its place")
            for n in range(at // room, up(stop, room)):
                begins = n == at // room
                if fences[n] is None or fences[n][2] is None and begins:
                    fences[n] = hash, 0, at % room if begins else None
                if begins:
                    fences[n] = fences[n][0], fences[n][1] | 1 << kind, fences[n][2]
            self.records[what, name] = hash, kind, *slot_of(b, kind)
            before, at = place, stop

    def starts_are(self, blocks, fences):
        for n, (block, fence) in enumerate(zip(blocks, fences)):
            if fence is None or u(block, 4, 2) != (NO_RECORD if fence[2] is None else fence[2]):
                raise Broken(f"block {n + 1} does not say where its first record begins")


def slot_of(b, kind):
    """(version, seq, time, seqs of the keyed events) of a body; everything in it is decoded."""
    def optional(read, *bits):
        return read(*bits) if b.varint(1) else None

    version, seq, time, _actor, live = b.varint(), b.varint(), b.varint(), optional(b.text), b.varint(32)
    if live == 1:
        state, _attempts = b.byte(), b.varint(32)
        b.signed(), b.signed(), optional(b.signed), optional(b.signed), optional(b.text), optional(b.text)
        b.list(lambda: (b.text(), b.text()))
    elif live == 2:
        b.text()
    if live > 2 or kind != {0: kind if kind in (9, 11) else -1, 1: live == 1 and state, 2: 10}[live]:
        raise Broken("a record is not of its class")
    keyed = b.list(lambda: (b.text(), b.varint(), seq - b.varint(), b.varint(), b.varint(), b.varint(), b.varint(1),
                            b.varint(32))[2])
    b.end()
    return version, seq, time, keyed


def filter_of(hashes, size):
    out = bytearray(size)
    for hash in hashes if size else ():
        line, bits = hash * (size // LINE_BYTES) >> 64, hash * 0x9e3779b97f4a7c15 % (1 << 64)
        for group in range(7):
            bit = bits >> 9 * group & 511
            out[line * LINE_BYTES + bit // 8] |= 1 << bit % 8
    return bytes(out)


def read_table(path, kind, ledger):
    """A sound table, or None."""
    try:
        return Table(path.read_bytes(), kind, ledger)
    except (Broken, OSError, IndexError, UnicodeDecodeError):
        return None


def read_floor(directory, ledger, named, name):
    """The floor that counts, where the first segment names a predecessor that ends with this seq; or Damaged."""
    copies = {}
    for path in sorted((directory / "floor").glob("*")):
        if re.fullmatch(r"[0-9]{20}-[12]\.snap", path.name):
            copies.setdefault(int(path.name[:20]), []).append(path)
    last = min((last for last in copies if last >= named), default=None)
    good = filter(None, (read_table(path, "snapshot", ledger) for path in copies.get(last, [])))
    floor = next((table for table in good if table.last == last), None)
    if floor is None:
        raise Damaged("segments are missing before it, and no floor stands for them", name, 112, 1)
    return floor
