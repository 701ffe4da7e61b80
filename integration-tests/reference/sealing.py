#!/usr/bin/env python3
"""Writes and opens sealed objects of repository format 1, from docs/format.md alone.

An independent second implementation: it shares no code with the engine, so that an object that
both agree on is what the document says. `vectors` prints the vectors that the engine's tests
check; the `open-*` commands open objects that the engine wrote.
"""

import argparse
import hmac
import json
import os
import struct
import sys

import blake3
import zstandard
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HEADER = 96
TAG = 16
FRAME = 65536
STREAM, PACK, INDEX, COMMIT, HEAD, SESSION, PARITY, TOMBSTONE, REFERENCES, SETTINGS = range(1, 11)
LABEL, NOTE, EPOCH = range(11, 14)
STORED, ZSTD, PADDING = 0, 1, 255
PASSWORD, RECOVERY_KEY, KEY_FILE = 1, 2, 3


class Refused(Exception):
    """The bytes are not what a writer of this format wrote."""


def require(condition, why):
    if not condition:
        raise Refused(why)


# Primitives


def extract(salt, key):
    return hmac.new(salt, key, "sha256").digest()


def expand(key, info, length):
    return HKDFExpand(hashes.SHA256(), length, info).derive(key)


def keyed(key, *parts):
    hasher = blake3.blake3(key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def gcm_seal(key, nonce, plain, aad=b""):
    return AESGCM(key).encrypt(nonce, plain, aad)


def gcm_open(key, nonce, sealed, aad, what):
    require(len(sealed) >= TAG, f"{what}: truncated")
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Refused(f"{what}: authentication failed") from None


def nonce_at(base, counter):
    return (int.from_bytes(base, "big") ^ counter).to_bytes(12, "big")


def padme(length):
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << max(exponent - kept, 0)) - 1
    return (length + mask) & ~mask


def le32(number):
    return struct.pack("<I", number)


def le64(number):
    return struct.pack("<Q", number)


# Keys and headers


class Keys:
    """The keys of one epoch of one repository."""

    def __init__(self, repository, epoch, master):
        self.repository, self.epoch = repository, epoch
        root = extract(b"strongroom/1 root" + repository + le32(epoch), master)
        self.sub = {
            name: expand(root, b"strongroom/1 sub " + name.encode(), 32)
            for name in ("chunk-id", "chunker", "object", "index", "hedge")
        }

    def chunk_id(self, plain):
        return keyed(self.sub["chunk-id"], plain)

    def object(self, kind, name, salt):
        """Key, nonce base and commitment of one object."""
        parent = self.sub["index" if kind == REFERENCES else "object"]
        name = name.encode()
        info = b"strongroom/1 object" + self.repository + bytes([1, kind, 1, 0])
        info += le32(self.epoch) + struct.pack("<H", len(name)) + name + salt
        derived = expand(parent, info, 76)
        return derived[:32], derived[32:44], derived[44:]

    def fresh_salt(self, random, kind, name, content):
        """What the engine does for a salt; readers do not care."""
        parts = [bytes([kind]), name.encode(), content]
        return keyed(self.sub["hedge"], random, *(le64(len(part)) + part for part in parts))

    def header(self, kind, salt, commitment):
        return b"SRM1" + bytes([1, kind, 1, 0]) + le32(self.epoch) + bytes(4) + salt + commitment + bytes(16)

    def open_header(self, kind, name, header):
        require(len(header) >= HEADER, "header: truncated")
        require(header[:4] == b"SRM1", "header: magic")
        require(header[4:8] == bytes([1, kind, 1, 0]), "header: version, type, suite or flags")
        require(header[8:12] == le32(self.epoch), "header: key epoch")
        require(header[12:16] == bytes(4) and header[80:96] == bytes(16), "header: reserved bytes")
        key, base, commitment = self.object(kind, name, header[16:48])
        require(hmac.compare_digest(commitment, header[48:80]), "header: commitment")
        return key, base


# Streams and records


def seal_stream(keys, kind, name, plain, salt):
    key, base, commitment = keys.object(kind, name, salt)
    sealed = [keys.header(kind, salt, commitment)]
    for index in range(len(plain) // FRAME + 1):
        frame = plain[index * FRAME : (index + 1) * FRAME]
        sealed.append(gcm_seal(key, nonce_at(base, index), frame))
    return b"".join(sealed)


def open_stream(keys, kind, name, sealed):
    key, base = keys.open_header(kind, name, sealed[:HEADER])
    body = sealed[HEADER:]
    full, last = divmod(len(body), FRAME + TAG)
    require(last >= TAG, "stream: truncated")
    plain = []
    for index in range(full + 1):
        frame = body[index * (FRAME + TAG) : (index + 1) * (FRAME + TAG)]
        plain.append(gcm_open(key, nonce_at(base, index), frame, b"", f"frame {index}"))
    return b"".join(plain)


def stream_size(plain_length):
    return HEADER + plain_length + TAG * (plain_length // FRAME + 1)


def seal_record(keys, kind, name, content, salt):
    plain = le64(len(content)) + content
    target = padme(stream_size(len(plain)))
    length = target - HEADER - TAG * (target // (FRAME + TAG) + 2)
    while length < len(plain) or stream_size(length) < target:
        length += 1
    return seal_stream(keys, kind, name, plain.ljust(length, b"\0"), salt)


def open_record(keys, kind, name, sealed):
    plain = open_stream(keys, kind, name, sealed)
    require(len(plain) >= 8, "record: no length")
    (length,) = struct.unpack("<Q", plain[:8])
    require(length <= len(plain) - 8, "record: length")
    require(not any(plain[8 + length :]), "record: padding")
    return plain[8 : 8 + length]


# Packs


def pack_name(session, counter):
    return f"packs/{session.hex()}/{counter}"


def segment_key(pack_key, chunks, algorithm, plain_length):
    ids = blake3.blake3(b"".join(chunk_id for chunk_id, _ in chunks)).digest()
    return keyed(pack_key, b"strongroom/1 segment", ids, bytes([algorithm]), le32(plain_length))


def encode_directory(rows):
    out = le32(len(rows))
    for algorithm, plain_length, stored_length, chunks in rows:
        out += bytes([algorithm]) + struct.pack("<III", plain_length, stored_length, len(chunks))
    for row in rows:
        out += b"".join(chunk_id + le32(length) for chunk_id, length in row[3])
    return out.ljust(padme(len(out)), b"\0")


def decode_directory(plain):
    require(len(plain) >= 4, "directory: truncated")
    (count,) = struct.unpack("<I", plain[:4])
    position, rows, used = 4 + 13 * count, [], 4 + 13 * count
    require(position <= len(plain), "directory: truncated")
    for index in range(count):
        algorithm, plain_length, stored_length, chunk_count = struct.unpack_from("<BIII", plain, 4 + 13 * index)
        require(position + 36 * chunk_count <= len(plain), "directory: truncated")
        chunks = []
        for _ in range(chunk_count):
            chunks.append((plain[position : position + 32], struct.unpack_from("<I", plain, position + 32)[0]))
            position += 36
        require(algorithm in (STORED, ZSTD, PADDING), "directory: algorithm")
        require(plain_length <= 16 << 20, "directory: segment over 16 MiB")
        require((algorithm == PADDING) == (index == count - 1) == (not chunks), "directory: padding")
        if algorithm == ZSTD:
            require(TAG < stored_length < plain_length + TAG, "directory: stored length")
        else:
            require(stored_length == plain_length + TAG, "directory: stored length")
        if algorithm != PADDING:
            require(sum(length for _, length in chunks) == plain_length, "directory: chunk lengths")
        rows.append((algorithm, plain_length, stored_length, chunks))
    require(count > 0 and len(plain) == padme(position) and not any(plain[position:]), "directory: padding")
    return rows


def seal_pack(keys, name, segments, salt):
    """segments: (algorithm, chunks as (id, length), payload as the algorithm made it)"""
    key, base, commitment = keys.object(PACK, name, salt)
    rows, sealed = [], []

    def add(algorithm, chunks, plain_length, payload):
        segment = segment_key(key, chunks, algorithm, plain_length)
        sealed.append(gcm_seal(segment, nonce_at(base, len(rows)), payload))
        rows.append((algorithm, plain_length, len(sealed[-1]), chunks))

    for algorithm, chunks, payload in segments:
        add(algorithm, chunks, sum(length for _, length in chunks), payload)
    directory_length = len(encode_directory(rows + [(PADDING, 0, TAG, [])])) + TAG
    size = HEADER + 4 + directory_length + sum(map(len, sealed)) + TAG
    padding = padme(size) - size
    add(PADDING, [], padding, bytes(padding))
    directory_key = expand(key, b"strongroom/1 directory", 32)
    length = le32(directory_length)
    directory = gcm_seal(directory_key, nonce_at(base, 1 << 63), encode_directory(rows), length)
    return keys.header(PACK, salt, commitment) + length + directory + b"".join(sealed)


def open_pack(keys, name, sealed):
    """The segments as seal_pack takes them, without the padding."""
    key, base = keys.open_header(PACK, name, sealed[:HEADER])
    require(len(sealed) >= HEADER + 4, "pack: truncated")
    length = sealed[HEADER : HEADER + 4]
    (directory_length,) = struct.unpack("<I", length)
    require(directory_length <= len(sealed) - HEADER - 4, "pack: truncated directory")
    position = HEADER + 4 + directory_length
    directory_key = expand(key, b"strongroom/1 directory", 32)
    plain = gcm_open(directory_key, nonce_at(base, 1 << 63), sealed[HEADER + 4 : position], length, "directory")
    segments = []
    for index, (algorithm, plain_length, stored_length, chunks) in enumerate(decode_directory(plain)):
        stored = sealed[position : position + stored_length]
        position += stored_length
        require(len(stored) == stored_length, f"segment {index}: truncated")
        segment = segment_key(key, chunks, algorithm, plain_length)
        payload = gcm_open(segment, nonce_at(base, index), stored, b"", f"segment {index}")
        if algorithm == PADDING:
            require(not any(payload), "padding is not zero")
        else:
            segments.append((algorithm, chunks, payload))
    require(position == len(sealed), "pack: bytes after the last segment")
    return segments


def unfold(algorithm, payload, plain_length):
    if algorithm == STORED:
        return payload
    plain = zstandard.ZstdDecompressor().decompress(payload, max_output_size=plain_length)
    require(len(plain) == plain_length, "segment: plain length")
    return plain


# Key slots


def seal_slot(repository, secret, masters, salt, cost=None, kind=RECOVERY_KEY, note=b""):
    """secret: a password with its cost (memory in KiB, passes, lanes), or without a recovery key or,
    with its kind, the content of a key file. note: a record of type 12, sealed."""
    head = b"SRKS" + bytes([1, PASSWORD if cost else kind, 1 if note else 0, 0])
    head += struct.pack("<III", *(cost or (0, 0, 0))) + repository + salt
    key, commitment = slot_keys(head, secret, cost)
    body = b"".join(le32(epoch) + master for epoch, master in sorted(masters.items()))
    slot = head + commitment + gcm_seal(key, bytes(12), body, head + commitment)
    if note:
        slot += note + le32(len(note))
    return slot + blake3.blake3(slot).digest()[:16]


def slot_keys(head, secret, cost):
    if cost:
        memory, passes, lanes = cost
        secret = hash_secret_raw(secret, head[36:52], passes, memory, lanes, 32, Type.ID)
    expanded = expand(extract(b"strongroom/1 slot", secret), head, 64)
    return expanded[:32], expanded[32:]


def split_slot(slot):
    """What stands behind the commitment of a slot: its wrapped keys, and its note, which may be
    empty."""
    require(len(slot) > 52 + 32 + TAG + 16, "slot: truncated")
    require(slot[:4] == b"SRKS", "slot: magic")
    require(blake3.blake3(slot[:-16]).digest()[:16] == slot[-16:], "slot: checksum")
    require(slot[6] in (0, 1) and slot[7] == 0, "slot: reserved bytes")
    wrapped, note = slot[84:-16], b""
    if slot[6] == 1:
        length = struct.unpack("<I", wrapped[-4:])[0]
        require(length <= min(4096, len(wrapped) - 4), "slot: length of the note")
        wrapped, note = wrapped[: -4 - length], wrapped[-4 - length : -4]
    keys, rest = divmod(len(wrapped) - TAG, 36)
    require(rest == 0 and 1 <= keys <= 1024, "slot: length")
    return wrapped, note


def open_slot(repository, secret, slot, kind=PASSWORD):
    wrapped, _ = split_slot(slot)
    require(slot[4:6] == bytes([1, kind]), "slot: version or kind")
    memory, passes, lanes = cost = struct.unpack("<III", slot[8:20])
    if kind == PASSWORD:
        bounded = 8 <= memory <= 4 << 20 and 1 <= passes <= 64 and 1 <= lanes <= 64
        require(bounded and memory >= 8 * lanes and memory * passes <= 64 << 20, "slot: cost")
    else:
        require(cost == (0, 0, 0), "slot: cost")
    if kind == KEY_FILE:
        require(32 <= len(secret) <= 65536, "key file: length")
    require(slot[20:36] == repository, "slot: repository")
    key, commitment = slot_keys(slot[:52], secret, cost if kind == PASSWORD else None)
    require(hmac.compare_digest(commitment, slot[52:84]), "slot: wrong password or key")
    body = gcm_open(key, bytes(12), wrapped, slot[:84], "slot")
    entries = [(struct.unpack_from("<I", body, at)[0], body[at + 4 : at + 36]) for at in range(0, len(body), 36)]
    require(all(left[0] < right[0] for left, right in zip(entries, entries[1:])), "slot: order")
    return dict(entries)


def open_note(repository, masters, name, slot):
    """The content of a slot's note; None if it has none."""
    _, note = split_slot(slot)
    if not note:
        return None
    require(len(note) >= HEADER, "note: truncated")
    (epoch,) = struct.unpack("<I", note[8:12])
    require(epoch in masters, "note: key epoch")
    return open_record(Keys(repository, epoch, masters[epoch]), NOTE, name, note)


SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def gf32(left, right):
    product = 0
    for bit in range(5):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(9, 4, -1):
        if product >> bit & 1:
            product ^= 0b100101 << (bit - 5)
    return product


def check_symbol(group, values):
    check = group + 1
    for weight, value in enumerate(values, 1):
        check ^= gf32(value, weight)
    return check


def recovery_text(key):
    number = int.from_bytes(key, "big") << 4 | blake3.blake3(key).digest()[0] >> 4
    values = [number >> shift & 31 for shift in range(255, -1, -5)]
    groups = []
    for group in range(13):
        four = values[4 * group : 4 * group + 4]
        groups.append("".join(SYMBOLS[value] for value in four + [check_symbol(group, four)]))
    return "-".join(groups)


def recovery_key(text):
    symbols = "".join(text.upper().replace("-", " ").split())
    symbols = symbols.replace("O", "0").replace("I", "1").replace("L", "1")
    require(len(symbols) == 65 and all(symbol in SYMBOLS for symbol in symbols), "recovery key: symbols")
    number = 0
    for group in range(13):
        *four, check = (SYMBOLS.index(symbol) for symbol in symbols[5 * group : 5 * group + 5])
        require(check_symbol(group, four) == check, f"recovery key: group {group + 1}")
        for value in four:
            number = number << 5 | value
    key = (number >> 4).to_bytes(32, "big")
    require(blake3.blake3(key).digest()[0] >> 4 == number & 15, "recovery key: checksum")
    return key


# The chunker


def gear_table(key):
    hasher = blake3.blake3(b"strongroom/1 gear", key=key)
    return struct.unpack("<256Q", hasher.digest(length=2048))


def cut(table, sizes, data):
    """The length of the first chunk of data, which is all that is left."""
    minimum, average, maximum = sizes
    bits = average.bit_length() - 1
    end = min(len(data), maximum)
    value = 0
    for position in range(max(minimum - 63, 0), end):
        value = (value << 1) + table[data[position - 1]] & (1 << 64) - 1
        if position >= minimum and value < 1 << 64 - (bits + 2 if position < average else bits - 2):
            return position
    return end


# The command line


def vectors():
    master, repository = bytes(range(32)), bytes(range(100, 116))
    random, session = bytes([9]) * 32, bytes(range(16))
    keys = Keys(repository, 3, master)
    out = {"master": master, "repository": repository, "epoch": 3, "random_byte": 9, "session": session}
    out["chunk_id_of_abc"] = keys.chunk_id(b"abc")
    out["chunker_key"] = keys.sub["chunker"]
    out["streams"] = []
    for length in (0, 1, 65535, 65536, 65537, 131072):
        name, plain = f"streams/{length}", bytes(i * 7 % 251 for i in range(length))
        sealed = seal_stream(keys, STREAM, name, plain, keys.fresh_salt(random, STREAM, name, b""))
        assert open_stream(keys, STREAM, name, sealed) == plain
        out["streams"].append(
            {"name": name, "length": length, "header": sealed[:96], "blake3": blake3.blake3(sealed).digest(), "sealed": sealed if length < 100 else None}
        )
    out["records"] = []
    for kind, name, content in ((COMMIT, "snapshots/x", b"content" * 20), (REFERENCES, "snapshots/x.list", b"")):
        sealed = seal_record(keys, kind, name, content, keys.fresh_salt(random, kind, name, content))
        assert open_record(keys, kind, name, sealed) == content
        out["records"].append({"type": kind, "name": name, "content": content, "sealed": sealed})
    big = bytes(i * 7 % 251 for i in range(65600))
    sealed = seal_record(keys, COMMIT, "snapshots/big", big, keys.fresh_salt(random, COMMIT, "snapshots/big", big))
    out["big_record"] = {"name": "snapshots/big", "length": len(big), "size": len(sealed), "blake3": blake3.blake3(sealed).digest()}
    name = pack_name(session, 7)
    plains = [[b"hello"], [b"one", b"two", b"three"], [b"z" * 300]]
    folded = zstandard.ZstdCompressor(level=3).compress(plains[2][0])
    segments = []
    for algorithm, chunk_plains, payload in zip((STORED, STORED, ZSTD), plains, (b"hello", b"onetwothree", folded)):
        segments.append((algorithm, [(keys.chunk_id(plain), len(plain)) for plain in chunk_plains], payload))
    sealed = seal_pack(keys, name, segments, keys.fresh_salt(random, PACK, name, b""))
    assert open_pack(keys, name, sealed) == segments
    rows = [{"algorithm": a, "chunks": [[i, n] for i, n in c], "payload": p} for a, c, p in segments]
    out["pack"] = {"name": name, "counter": 7, "segments": rows, "sealed": sealed}
    masters = {3: master, 8: bytes(32)}
    cost = (64, 2, 2)
    slot = seal_slot(repository, b"p\xc3\xa4ssword", masters, random[:16], cost)
    assert open_slot(repository, b"p\xc3\xa4ssword", slot) == masters
    out["password_slot"] = {"password": "p\u00e4ssword", "memory_kib": 64, "passes": 2, "lanes": 2, "epochs": [3, 8], "sealed": slot}
    recovery = bytes(range(200, 232))
    slot = seal_slot(repository, recovery, {3: master}, random[:16])
    assert open_slot(repository, recovery, slot, RECOVERY_KEY) == {3: master}
    assert recovery_key(recovery_text(recovery)) == recovery
    out["recovery_slot"] = {"key": recovery, "text": recovery_text(recovery), "sealed": slot}
    name, note = "meta/keys/" + "5a" * 16, bytes.fromhex("a2001a000f42400165") + b"label"
    sealed = seal_record(keys, NOTE, name, note, keys.fresh_salt(random, NOTE, name, note))
    content = bytes(range(64))
    slot = seal_slot(repository, content, {3: master}, random[:16], kind=KEY_FILE, note=sealed)
    assert open_slot(repository, content, slot, KEY_FILE) == {3: master}
    assert open_note(repository, {3: master}, name, slot) == note
    out["key_file_slot"] = {"name": name, "content": content, "created": 1000000, "label": "label", "sealed": slot}
    table, sizes = gear_table(keys.sub["chunker"]), (1000, 5000, 20000)
    content, ends, position = blake3.blake3(b"content").digest(length=200000), [], 0
    while position < len(content):
        position += cut(table, sizes, content[position : position + sizes[2]])
        ends.append(position)
    out["chunker"] = {"sizes": sizes, "content_seed": "content", "content_length": len(content), "ends": ends}
    out["padme"] = [[length, padme(length)] for length in (0, 1, 9, 100, 1025, 65537, 10**7, 10**12)]
    return out


def hexed(value):
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {key: hexed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hexed(item) for item in value]
    return value


def pack_report(keys, session, counter, sealed):
    segments = []
    for algorithm, chunks, payload in open_pack(keys, pack_name(session, counter), sealed):
        plain, position = unfold(algorithm, payload, sum(length for _, length in chunks)), 0
        for chunk_id, length in chunks:
            require(keys.chunk_id(plain[position : position + length]) == chunk_id, "a chunk does not have its id")
            position += length
        segments.append({"algorithm": algorithm, "chunks": [{"id": i, "length": n} for i, n in chunks]})
    return hexed({"segments": segments})


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("vectors", help="print the vectors as JSON")
    for command, what in (
        ("open-stream", "write a stream's content to stdout"),
        ("open-record", "write a record's content to stdout"),
        ("open-pack", "check a pack and all its chunks; print its directory as JSON"),
        ("open-slot", "print the master keys in a slot as JSON"),
    ):
        parser_of = commands.add_parser(command, help=what)
        parser_of.add_argument("--repository", type=bytes.fromhex, required=True, help="repository id, hex")
        parser_of.add_argument("file", help="the object; - for stdin")
        if command == "open-slot":
            secret = parser_of.add_mutually_exclusive_group(required=True)
            secret.add_argument("--password")
            secret.add_argument("--recovery-key")
            secret.add_argument("--key-file")
            parser_of.add_argument("--name", help="object key of the slot: open its note as well")
            continue
        parser_of.add_argument("--master", type=bytes.fromhex, required=True, help="master key, hex")
        parser_of.add_argument("--epoch", type=int, default=0, help="key epoch of the master key")
        if command == "open-pack":
            parser_of.add_argument("--session", type=bytes.fromhex, required=True, help="session id, hex")
            parser_of.add_argument("--counter", type=int, required=True, help="number of the pack")
        else:
            parser_of.add_argument("--name", required=True, help="object key")
        if command == "open-record":
            parser_of.add_argument("--type", type=int, required=True, help="object type, 3 to 13")
    return parser.parse_args()


def open_with(args, slot):
    """The master keys in a slot, for the secret that was given."""
    if args.password is not None:
        return open_slot(args.repository, os.fsencode(args.password), slot, PASSWORD)
    if args.key_file is not None:
        with open(args.key_file, "rb") as file:
            return open_slot(args.repository, file.read(), slot, KEY_FILE)
    return open_slot(args.repository, recovery_key(args.recovery_key), slot, RECOVERY_KEY)


def run(args):
    if args.command == "vectors":
        print(json.dumps(hexed(vectors()), indent=1))
        return
    sealed = sys.stdin.buffer.read() if args.file == "-" else open(args.file, "rb").read()
    if args.command == "open-slot":
        masters = open_with(args, sealed)
        report = {str(epoch): master for epoch, master in masters.items()}
        if args.name is not None:
            report["note"] = open_note(args.repository, masters, args.name, sealed)
        print(json.dumps(hexed(report)))
        return
    keys = Keys(args.repository, args.epoch, args.master)
    if args.command == "open-pack":
        print(json.dumps(pack_report(keys, args.session, args.counter, sealed)))
    elif args.command == "open-record":
        sys.stdout.buffer.write(open_record(keys, args.type, args.name, sealed))
    else:
        sys.stdout.buffer.write(open_stream(keys, STREAM, args.name, sealed))


if __name__ == "__main__":
    try:
        run(arguments())
    except Refused as refused:
        sys.exit(f"refused: {refused}")
