#!/usr/bin/env python3
"""A second reader of a ledger, by the page docs/format.md; it shares no code with the crate. Standard library only.

    reader.py DIR            one JSON object a line for each entry; a summary on stderr
    reader.py --canon DIR    for each entry its seq and its canonical bytes in hex

Exit: 0 sound (a torn tail too), 2 usage, 5 damaged, 10 no ledger, 12 a format that this reader does not know.
With 5 and 12 the entries below what is wrong are printed, and none above.
"""

import json
import math
import re
import struct
import sys
from pathlib import Path
from zlib import crc32

from canon import canon, siphash13
from table import Table, read_floor, read_table
from wire import Body, Broken, Damaged, Unknown, u

LEDGER_BYTES, HEADER_BYTES, SEAL_BYTES, FRAME_HEADER_BYTES, FRAME_ALIGN = 4096, 4096, 64, 32, 8  # as on the page
SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX, SEGMENT_EVENTS_MAX, FRAME_TEXT_BYTES_MAX = 16384, 1 << 30, 262144, 32 << 20
TIME_MS_MAX, SEQ_MAX, META_KEYS_MAX, DEPTHS = (1 << 48) - 1, 1 << 62, 256, {"output": 64, "value": 127}
# Field, least and most bytes; the last two are those of each metadata key and value.
TEXTS = [("task", 1, 1280), ("note", 1, 1280), ("value", 1, 12 << 20), ("actor", 1, 255), ("key", 1, 255),
         ("reason", 0, 4096), ("error", 0, 65536), ("output", 1, 8 << 20), ("metadata key", 1, 255),
         ("metadata value", 0, 65536)]
EVENTS = {1: "created", 2: "transitioned", 3: "updated", 4: "requeued", 5: "observed", 6: "removed",
          7: "noted", 8: "pruned", 9: "redacted", 10: "key_rotated", 11: "removed"}
CONTROL, OF_NOTES = (8, 9, 10), (7, 11)
# What an event of a task may have, and one of a note may not.
OF_TASKS = {"inferred", "from", "to", "attempts", "output", "error", "metadata"}
STATES = ["pending", "ready", "running", "completed", "failed", "retrying", "cancelled", "skipped", "dead_lettered"]
TIMES = ["created_at", "updated_at", "started_at", "finished_at"]
FIELDS = ["seq", "task", "note", "version", "at", "said", "event", "inferred", "from", "to", "attempts", "output",
          "value", "error", "metadata", *TIMES, "actor", "reason", "cause", "key"]


# ---------------------------------------------------------------- bodies

def entries_of(body, seq, time, names):
    """The entries of a frame. `names`: the tasks and the notes that its segment has named; grows."""
    b = Body(body)
    byte, varint, text, signed = b.byte, b.varint, b.text, b.signed
    columns = [b.list(*element) for element in
               [(byte,), (byte,), (varint, 16), (varint, 32), (text,), (varint,), (varint,), (varint,), (signed,),
                (varint, 32), (text,), (text,), (text,), (varint, 32), (varint, 32), (varint, 16), (varint, 32),
                (varint, 32)]]
    option = b.byte()
    if option > 1:
        raise Broken("an option is 0 or 1")
    columns += [b.list(element) if option else [] for element in (varint, text, varint, varint, byte, signed, b.extra)]
    b.end()
    words, _extras = columns.pop(12), columns.pop()
    todo = [iter(column) for column in columns]
    (heads, moves, flags, numbers, ids, versions, backs, times, saids, attempts, outputs, errors, actors, reasons,
     metas, meta_keys, meta_values, causes, keys, key_backs, digests, masks, stamps) = todo
    entries, written_out = [], 0

    def word(number):
        nonlocal written_out
        written_out += len(words[number].encode())
        return words[number]

    def wrapped(n):
        return n % (1 << 64)

    def fact():
        nonlocal time
        head, move, flag = next(heads), next(moves), next(flags)
        kind, e = head & 15, {"seq": seq + len(entries)}
        if kind not in EVENTS:
            raise Unknown(f"an event of kind {kind}")
        if flag >> 11:
            raise Broken(f"flags {flag:#x}")
        if kind not in CONTROL:
            what = "note" if kind in OF_NOTES else "task"
            if head & 64:
                names[what].append(next(ids))
            e[what] = names[what][-1] if head & 64 else names[what][next(numbers)]
            e["version"] = next(versions)
            e["back"] = e["seq"] - next(backs) if e["version"] > 1 else 0
        time += next(times) if entries else 0
        e["at"] = happened = time
        if flag & 32:
            e["said"] = happened = wrapped(time + next(saids))
        e["kind"], e["event"] = 6 if kind == 11 else kind, EVENTS[kind]
        if head & 16:
            e["inferred"] = True
        for name, state in ("from", move >> 4), ("to", move & 15):
            if state != 15:
                e[name] = (state, STATES[state])
        if flag & 1:
            e["attempts"] = next(attempts)
        said = "value" if kind == 7 else "output"
        for name, column, set_, clear in (said, outputs, 2, 128), ("error", errors, 4, 256):
            if flag & (set_ | clear):
                e[name] = next(column) if flag & set_ else None
        if flag & 8:
            pairs = [(word(next(meta_keys)), next(meta_values)) for _ in range(next(metas))]
            e["metadata"] = {key: word(value - 1) if value else None for key, value in pairs}
        if flag & 16:
            e["actor"] = word(next(actors))
        if flag & 64:
            e["reason"] = word(next(reasons))
        if flag & 512:
            e["cause"] = e["seq"] - next(causes)
        if head & 128:
            e["key"], back, e["digest"] = next(keys), next(key_backs), next(digests)
            e["key_back"] = back and e["seq"] - back
        if flag & 1024:
            mask = next(masks)
            if mask >> 6:
                raise Broken(f"time mask {mask}")
            for bit, name in enumerate(TIMES):
                if mask & 1 << bit:
                    e[name] = wrapped(happened + next(stamps))
                elif bit > 1 and mask & 4 << bit:
                    e[name] = None
        e["last"] = bool(head & 32)
        if kind in OF_NOTES and ((OF_TASKS | {*TIMES}) & e.keys() or kind == 7 and e.get("value") is None):
            raise Broken("a note with the fields of a task, or noted without a value")
        check_limits(e)
        return e

    try:
        for _ in columns[0]:
            entries.append(fact())
    except (StopIteration, IndexError):
        raise Broken("a column is too short, or a number names nothing") from None
    if any(next(column, None) is not None for column in todo):
        raise Broken("an element that nothing uses")
    if written_out > FRAME_TEXT_BYTES_MAX:
        raise Broken("its texts are too large")
    return entries


def finite(number):
    if not math.isfinite(float(number)):
        raise ValueError(number)


def check_limits(e):
    meta = e.get("metadata", {})
    for name, least, most in TEXTS:
        texts = {"metadata key": meta.keys(), "metadata value": meta.values()}.get(name, [e.get(name)])
        if not all(least <= len(text.encode()) <= most for text in texts if text is not None):
            raise Broken(f"{name} is too long, or empty")
    for name, text in ((name, e[name]) for name in DEPTHS if e.get(name) is not None):
        try:
            value = json.loads(text, parse_int=finite, parse_float=finite, parse_constant=finite)
            json.dumps(value, ensure_ascii=False).encode()  # no lone surrogate
        except (ValueError, RecursionError):
            raise Broken(f"{name} is no JSON") from None
        depth, deepest = 0, 0
        for bracket in re.findall(r'[\[\]{}]', re.sub(r'"(\\.|[^"\\])*"', "", text)):
            depth += 1 if bracket in "[{" else -1
            deepest = max(deepest, depth)
        if deepest > DEPTHS[name]:
            raise Broken(f"{name} nests too deep")
    if len(meta) > META_KEYS_MAX or e["at"] > TIME_MS_MAX or e.get("version") == 0:
        raise Broken("a number out of range")
    if "cause" in e and not 0 < e["cause"] < e["seq"]:
        raise Broken("the cause is no earlier entry")


# ---------------------------------------------------------------- files

def check_format(data, name):
    if u(data, 12, 2) != 1:
        raise Unknown(f"{name}: format {u(data, 12, 2)}")
    if u(data, 16, 4):
        raise Unknown(f"{name}: incompatible features {u(data, 16, 4):#x}")


def read_live(path, ledger):
    """The newest valid slot of this copy: (epoch, count, durable, pid); zeros where there is none."""
    data = path.read_bytes().ljust(584, b"\0") if path.exists() else bytes(584)
    slots = [data[at:at + 72] for at in (0, 512)]
    good = [s for s in slots if u(s, 0, 4) == crc32(ledger["uuid"] + s[4:]) and u(s, 48, 8) == ledger["inode"]]
    return max([(u(s, 4, 4), u(s, 56, 8), u(s, 8, 8), u(s, 32, 4)) for s in good], default=(0, 0, 0, 0))


class Segment:
    def __init__(self, log, name, number, ledger, before):
        self.name, base, d = name, int(name[11:31]), (log / name).read_bytes()
        self.data, self.base = d, base

        def need(true, what, at):
            if not true:
                raise Damaged(what, name, at, base)

        need(int(name[:10]) == number, f"segment {number} is missing", 0)
        need(d[:8] == b"TLSEGMT1" and u(d, 8, 4) == crc32(d[12:HEADER_BYTES]), "its header cannot be read", 0)
        check_format(d, name)
        capacity, self.salt, reason = u(d, 96, 8), d[104:108], u(d, 108, 4)
        self.base_time, self.epoch = u(d, 88, 8), u(d, 140, 4)
        self.before = u(d, 112, 8), u(d, 120, 8), u(d, 128, 8), u(d, 136, 4)  # number, end, last seq, chain
        need(d[32:72] == ledger["identity"], "it belongs to another ledger", 32)
        need((u(d, 72, 8), u(d, 80, 8)) == (number, base) and base <= SEQ_MAX, "its name does not match its header", 72)
        need(SEGMENT_BYTES_MIN <= capacity <= SEGMENT_BYTES_MAX and capacity % 8 == 0 and len(d) >= capacity,
             "its capacity is impossible, or the file is shorter", 96)
        need(reason in (1, 2, 3), "its reason is unknown", 108)
        self.limit = capacity - SEAL_BYTES
        slot = d[self.limit:capacity]
        self.slot_used = any(slot)
        self.slot = None  # epoch, successor, end, last seq, chain
        if slot[:8] == b"TLSEAL01" and u(slot, 8, 4) == crc32(self.salt + slot[12:]):
            self.slot = u(slot, 12, 4), u(slot, 16, 8), u(slot, 24, 8), u(slot, 32, 8), u(slot, 40, 4)
        if before is None:
            need(self.before[0] == 0 and base == 1, "the segments before it are missing", 112)
        elif isinstance(before, Table):
            if self.before != (before.number, before.end, before.last, before.chain) or base != before.last + 1:
                raise Damaged("the floor is not of the segment before it", name, 112, 1)
        else:
            need(self.before[0] == number - 1 and self.before[2] == base - 1 and HEADER_BYTES <= self.before[1] <= before.limit,
                 "it does not follow the one before it", 112)
            need(before.slot in (None, (self.epoch, number) + self.before[1:]), "the seal before says otherwise", 112)

    def header_at(self, at, end):
        """(kind, epoch, first seq, watermark, events, time, end of body, end of frame) of a valid header."""
        h = self.data[at:at + FRAME_HEADER_BYTES]
        if at + FRAME_HEADER_BYTES > end or u(h, 0, 4) != crc32(self.salt + h[12:16] + h[4:]):
            return None
        kind, events, stop = h[11], u(h, 24, 2), at + FRAME_HEADER_BYTES + u(h, 8, 3)
        if kind == 0 or kind in (1, 2) and not events or (kind in (3, 4, 5) or kind > 127) and events:
            return None
        return (kind, u(h, 12, 4), self.base + u(h, 16, 4), self.base + u(h, 20, 4) - 1, events, u(h, 26, 6),
                stop, stop + -stop % FRAME_ALIGN)

    def frame_at(self, at, end, seq, epoch, time, in_batch):
        """The header of the frame that is valid at this position."""
        f = self.header_at(at, end)
        if not f or f[7] > end or f[2] != seq or f[1] < epoch or f[5] < time \
                or in_batch and 2 < f[0] or seq + f[4] - self.base > SEGMENT_EVENTS_MAX or any(self.data[f[6]:f[7]]):
            return None
        h, body = self.data[at:at + FRAME_HEADER_BYTES], self.data[at + FRAME_HEADER_BYTES:f[6]]
        return f if u(h, 4, 4) == crc32(self.salt + h[12:16] + body) else None

    def places(self, at, end):
        """Multiples of 8 from here on at which something stands."""
        return (p for p in range(at, end, FRAME_ALIGN) if any(self.data[p:p + FRAME_HEADER_BYTES]))

    def read(self, end, chain):
        """Entries of complete batches; the place behind them (byte, seq, chain); gaps; the highest watermark."""
        at, seq, epoch, time, gaps, mark = HEADER_BYTES, self.base, self.epoch, self.base_time, 0, 0
        names, entries, frames, unfinished = {"task": [], "note": []}, [], [], False
        self.frames = []  # of events, in complete batches
        whole = at, seq, chain
        while True:
            found = ((p, self.frame_at(p, end, seq, epoch, time, unfinished)) for p in self.places(at, end))
            place, f = next(((p, f) for p, f in found if f), (0, None))
            if not f:
                break
            kind, epoch, first, water, events, time, stop, after = f
            if 5 < kind < 128:
                raise Unknown(f"{self.name}: a frame of kind {kind}")
            gaps += place > at
            chain = crc32(struct.pack("<I", chain) + self.data[place:place + FRAME_HEADER_BYTES])
            at, seq, mark = after, seq + events, max(mark, water)
            frames.append((place, f))
            unfinished = kind == 2
            if not unfinished:
                for place, f in frames:
                    entries += self.entries_at(place, f, names)
                    self.frames += [(place, f)] if f[4] else []
                frames, whole = [], (at, seq, chain)
        behind = (self.header_at(p, end) for p in self.places(at, end))
        return entries, whole, gaps, max([mark] + [f[3] for f in behind if f])

    def entries_at(self, place, f, names):
        kind, _, first, _, events, time, stop, _ = f
        body = self.data[place + FRAME_HEADER_BYTES:stop]
        try:
            if kind == 3:
                b = Body(body)
                b.raw(16), b.varint(32), b.varint(), b.end()
            if kind > 2:
                return []
            entries = entries_of(body, first, time, names)
            if len(entries) != events or entries[-1]["last"] != (kind == 1):
                raise Broken("header and body differ on the events, or on the end of the batch")
            return entries
        except Broken as err:
            raise Damaged(str(err), self.name, place, first) from None


def read_log(directory, entries):
    """Adds all entries, and says what was found; or Damaged or Unknown."""
    d = (directory / "LEDGER").read_bytes()
    if len(d) < LEDGER_BYTES or d[:8] != b"TLEDGER1" or u(d, 8, 4) != crc32(d[12:LEDGER_BYTES]):
        raise Damaged("it cannot be read", "LEDGER", 0, 1)
    check_format(d, "LEDGER")
    inode = (directory / "LEDGER").stat().st_ino
    ledger = {"identity": d[32:72], "uuid": d[32:48], "key": d[48:64], "inode": inode}
    live, segments, log = read_live(directory / "live", ledger), [], directory / "log"
    names = sorted(path.name for path in log.glob("*") if re.fullmatch(r"[0-9]{10}-[0-9]{20}\.log", path.name))
    if not names:
        raise Damaged("every segment is missing", "log", 0, 1)
    floor, first = None, 1
    if int(names[0][:10]) > 1:
        floor = read_floor(directory, ledger, int(names[0][11:31]) - 1, names[0])
        first = floor.number + 1
    for n, name in enumerate((name for name in names if int(name[:10]) >= first), first):
        segments.append(Segment(log, name, n, ledger, segments[-1] if segments else floor))
    if not segments:
        raise Damaged("the segments behind the floor are missing", "log", 0, floor.last + 1)
    history, chain, gaps, tables = History(ledger["key"], floor), floor.chain if floor else 0, 0, int(floor is not None)
    for s, after in zip(segments, segments[1:] + [None]):
        if s.base_time != history.time:
            raise Damaged("its base time is not that of the last entry", s.name, 88, s.base)
        new, (at, seq, chain), passed, mark = s.read(after.before[1] if after else s.limit, chain)
        for e in new:
            history.add(e, s.name)
            entries.append(e)
        gaps += passed
        tables += after is not None and is_index_of(directory, ledger, s, after, history, new)
        if after and seq != after.base or after and not passed and at == after.before[1] and chain != after.before[3]:
            raise Damaged("it is not what its successor vouches for", s.name, at, seq)
        chain = after.before[3] if after else chain
    if s.slot_used:
        raise Damaged("it is sealed, and its successor is missing", s.name, s.limit, seq)
    durable = max(mark, s.base - 1, live[2])
    if seq <= durable:
        raise Damaged(f"entries up to {durable} were durable", s.name, at, seq)
    return (f"segments={len(segments)} entries={len(entries)} last={seq - 1} end={s.name}:{at} chain={chain:08x} "
            f"durable={durable} gaps={gaps} torn={int(any(s.data[at:s.limit]))} tables={tables} live={live}")


def is_index_of(directory, ledger, s, after, history, entries):
    """Whether there is an index of a segment that says what the segment's entries do."""
    table = read_table(directory / "idx" / s.name.replace(".log", ".idx"), "index", ledger)
    if not table or (table.number, table.end, table.last, table.chain, table.first) != (*after.before, s.base):
        return False
    touched = {subject_of(e) for e in entries} - {None}
    frames = [(f[2], p, f[5]) for p, f in s.frames]
    return touched == table.records.keys() and frames == table.frames and all(
        history.says(subject, *record[1:]) for subject, record in table.records.items())


def subject_of(e):
    return next(((what, e[what]) for what in ("task", "note") if what in e), None)


class History:
    """What entries say of those before them: times, versions, backs, states, key backs and digests."""

    def __init__(self, key, floor):
        self.key, self.time = key, floor.at if floor else 0
        self.last, self.last_keyed, self.state, self.at = {}, {}, {}, {}
        for subject, (_, kind, version, seq, time, keyed) in floor.records.items() if floor else []:
            self.last[subject], self.at[subject] = (seq, version), time
            self.state[subject] = kind == 10 if subject[0] == "note" else (kind, STATES[kind]) if kind < 9 else None
            if keyed:
                self.last_keyed[subject] = keyed[-1]

    def says(self, subject, kind, version, seq, time, keyed):
        """Whether a record of a table says of a task or note what the entries up to here do."""
        state = self.state[subject]
        mine = state and state[0] if subject[0] == "task" else 10 if state else 11
        return ((9 if mine is None else mine, (seq, version), time, keyed[-1] if keyed else None)
                == (kind, self.last[subject], self.at[subject], self.last_keyed.get(subject)))

    def add(self, e, name):
        subject, seq = subject_of(e), e["seq"]

        def need(true, what):
            if not true:
                raise Damaged(f"{what} does not fit the entries before", name, 0, seq)

        need(e["at"] >= self.time, "time")
        self.time = e["at"]
        if subject is None:
            return
        need((e["back"], e["version"] - 1) == self.last.get(subject, (0, 0)), "version or back")
        self.last[subject], self.at[subject] = (seq, e["version"]), e["at"]
        before, after, kind = e.get("from"), e.get("to"), e["event"]
        if "note" in e:  # its state is whether it is there
            need(kind == "noted" or self.state.get(subject), "kind")
            self.state[subject] = kind == "noted"
        else:
            need(before == self.state.get(subject), "state")
            need((before is None) == (kind == "created") or kind == "observed", "kind")
            need((after is None) == (kind in ("updated", "removed")), "next state")
            need(kind != "created" or after[0] == 0, "next state")
            self.state[subject] = before if kind == "updated" else after
        if "key" in e:
            need(e["key_back"] == self.last_keyed.get(subject, 0), "key back")
            self.last_keyed[subject] = seq
            # The entry holds counted attempts, too, which are not a part of the request.
            requests = [canon(e, (1, 3, 4, 5, 8, *counted)) for counted in [(), (10,)]]
            need(e["digest"] in [siphash13(self.key, request) for request in requests], "digest")


def line(e):
    """One JSON object. An output or value is put in as it stands, so that no number in it changes."""
    out = ['"type":"taskledger.entry/1"']
    for name in (name for name in FIELDS if name in e):
        value = e[name][1] if isinstance(e[name], tuple) else e[name]
        if name == "metadata":
            value = dict(sorted(value.items(), key=lambda pair: pair[0].encode()))
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if name in DEPTHS and value is not None:
            text = re.sub(r"[\r\n]", " ", value).strip(" \t")  # a line break in JSON is white space
        out.append(f'"{name}":{text}')
    return "{" + ",".join(out) + "}"


def main(args):
    as_canon = args[:1] == ["--canon"]
    if len(args) != 1 + as_canon:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    directory = Path(args[-1])
    if not (directory / "LEDGER").exists():
        print("no ledger", file=sys.stderr)
        return 10
    entries = []
    try:
        summary, code = read_log(directory, entries), 0
    except Damaged as err:
        what, file, byte, seq = err.args
        summary, code = f"damaged: file={file} byte={byte} seq={seq}: {what}", 5
    except Unknown as err:
        summary, code = f"format: {err}", 12
    for e in entries:
        text = f"{e['seq']} {canon(e).hex()}" if as_canon else line(e)
        sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.flush()
    print(summary, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
