#!/usr/bin/env python3
"""Makes the corpora that backup tools are measured on: the same bytes for the same seed.

    gen_corpus.py create FOLDER [--scale 1.0] [--source real|synthetic] [--only small,random,vm,app]
    gen_corpus.py mutate FOLDER [--step N]      changes the corpora in place, as a day would
    gen_corpus.py digest FOLDER                 says what is there

At scale 1:
    small    60,000 files, 800 MB: files of this machine (real), or source-like text (synthetic)
    random   3 files, 1 GiB, that nothing can compress
    vm       1 GiB: a disk image (zeros, repeated blocks, text) and a SQLite database
    app      290 MB: a database with a live write-ahead log, logs, JSON lines, configuration

A mutation rewrites 0.5 % of the small files, appends to 0.5 %, deletes 0.2 % and adds 0.2 %;
inserts 64 KiB at the start of the first random file; overwrites 20 places of 64 KiB in the image;
lengthens the logs by 2 % and updates rows of the database.

Corpora of real files are the same on one machine image only; `app` holds random salts in its log.
"""

import argparse
import hashlib
import os
import random
import shutil
import sqlite3
import struct
import sys
import zlib
from functools import cache

SEED = 20260101
CORPORA = ('small', 'random', 'vm', 'app')
MIB = 1 << 20
WRITE_BYTES = 8 * MIB

SYLLABLES = (
    'ba co de fi gu ha in jo ka le mo na op pre qu re si tra un ver wi ex yo zed con str get set'
    ' err buf len ptr'
).split()
POOL_ENDINGS = ('.py', '.h', '.txt', '.c', '.json', '.so', '.pyc')
CODE_LINES = (
    '    let {} = {}.{}({}, {})?;\n',
    '        if {} != {} {{ return Err({}::{}({})); }}\n',
    '    // {} {} {} {} {}\n',
    'pub fn {}({}: &{}) -> {}<{}> {{\n',
    '        self.{}.{}(&{}, {} as {});\n',
    '    }}\n',
    '\n',
    'use {}::{}::{}; // {} {}\n',
)


def real_roots():
    """Folders of real files on this machine."""
    prefix = sys.base_prefix
    python = os.path.dirname(prefix) if 'versions' in prefix else os.path.join(prefix, 'lib')
    return [python, '/usr/lib/python3', '/usr/share/doc', '/usr/include']


@cache
def words():
    rng = random.Random(SEED)
    made = (
        ''.join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(9000)
    )
    return sorted(set(made))


def code_text(rng, size):
    """Source-like text: indented lines, few names that occur often, punctuation."""
    names = words()
    last = len(names) - 1
    frequent = [names[min(last, int(rng.paretovariate(0.7)))] for _ in range(40)]
    local = frequent + [rng.choice(names) for _ in range(40)]
    lines, total = [], 0
    while total < size:
        line = rng.choice(CODE_LINES)
        if '{}' in line:
            line = line.format(*[rng.choice(local) for _ in range(5)])
        else:
            line = line.replace('}}', '}')
        lines.append(line)
        total += len(line)
    return ''.join(lines)[:size].encode()


def files_below(folder):
    """Every file below `folder`, in an order that does not depend on the file system."""
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield os.path.join(path, name)


def real_files(bytes_max=256 * 1024):
    for root in real_roots():
        for path in files_below(root):
            try:
                size = os.lstat(path).st_size
            except OSError:
                continue
            if os.path.isfile(path) and not os.path.islink(path) and 0 < size <= bytes_max:
                yield path, size


def make_small(folder, count, source):
    rng = random.Random(SEED + 1)
    os.makedirs(folder, exist_ok=True)
    made = copy_real_files(rng, folder, count) if source == 'real' else 0
    for i in range(count - made):
        below = f'{folder}/syn/m{i % 97:03d}/s{(i // 97) % 31:02d}'
        os.makedirs(below, exist_ok=True)
        path = f'{below}/f{i:06d}.rs'
        with open(path, 'wb') as file:
            file.write(code_text(rng, min(200_000, int(rng.lognormvariate(8.4, 1.2)) + 30)))
        os.utime(path, (1.7e9 + i, 1.7e9 + i))


def copy_real_files(rng, folder, count):
    found = [path for path, _ in real_files()]
    if len(found) > count:
        found = [found[i] for i in sorted(rng.sample(range(len(found)), count))]
    for path in found:
        copy = folder + '/' + path.lstrip('/')
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (1.7e9 + zlib.crc32(path.encode()) % 10**6,) * 2)
    return len(found)


def make_random(folder, total):
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(SEED + 2)
    for name, part in (('a.bin', 0.6), ('b.bin', 0.3), ('c.bin', 0.1)):
        left = int(total * part)
        with open(f'{folder}/{name}', 'wb') as file:
            while left > 0:
                size = min(left, WRITE_BYTES)
                file.write(rng.randbytes(size))
                left -= size


def text_pool(total):
    """Real text to fill a disk image with, or source-like text where there is too little."""
    rng = random.Random(SEED + 7)
    texts, size = [], 0
    for path, _ in real_files():
        if path.endswith(POOL_ENDINGS) and rng.random() < 0.2:
            with open(path, 'rb') as file:
                texts.append(file.read())
            size += len(texts[-1])
            if size >= total:
                break
    return b''.join(texts) if size >= total // 2 else code_text(rng, total)


def make_vm(folder, total):
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(SEED + 3)
    pool = text_pool(64 * MIB)
    written = []  # (offset, length) of regions that may be repeated
    offset = 0
    with open(f'{folder}/disk.img', 'w+b') as file:
        while offset < int(total * 0.8):
            size = 4096 << rng.randint(0, 8)
            kind = rng.random()
            if kind < 0.22:
                block = bytes(size * 2)
            elif kind < 0.52 and written:
                start, length = rng.choice(written)
                file.seek(start)
                block = file.read(length)
                file.seek(offset)
            else:
                if kind < 0.88:
                    start = rng.randrange(0, len(pool) - size)
                    block = bytearray(pool[start : start + size])
                    for at in range(0, size, 4096):  # each page unique: records have ids
                        block[at : at + 16] = struct.pack('<QQ', offset + at, rng.getrandbits(64))
                    block = block[:size]
                else:
                    block = rng.randbytes(size)
                written.append((offset, len(block)))
            file.write(block)
            offset += len(block)
    make_sqlite(f'{folder}/big.db', int(total * 0.2), SEED + 4)


def make_sqlite(path, total, seed, wal=False):
    rng = random.Random(seed)
    database = sqlite3.connect(path)
    database.execute('pragma page_size=4096')
    database.execute('pragma journal_mode=' + ('wal' if wal else 'delete'))
    database.execute('pragma synchronous=off')
    database.execute(
        'create table t(id integer primary key, name text, email text, amount real, note text,'
        ' blob_ blob)'
    )
    database.execute('create index ti on t(name)')
    row_id = size = 0
    while size < total:
        rows = []
        for _ in range(4000):
            row_id += 1
            first, last = rng.choice(words()), rng.choice(words())
            email = f'{first}.{last}{row_id}@example.org'
            amount = rng.random() * 1e4
            note = ' '.join(rng.choice(words()) for _ in range(20))
            rows.append((row_id, f'{first} {last}', email, amount, note, rng.randbytes(48)))
        database.executemany('insert into t values(?,?,?,?,?,?)', rows)
        database.commit()
        size = sum(os.path.getsize(p) for p in (path, path + '-wal') if os.path.exists(p))
    if wal:
        database.execute('pragma wal_checkpoint(truncate)')
    return database, rng


def log_lines(rng, count, start):
    lines = []
    for second in range(start, start + count):
        day, hour = 1 + second // 86400 % 28, second // 3600 % 24
        time = f'2026-01-{day:02d}T{hour:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z'
        line = f'{time} INFO [{rng.choice(words())}] req={rng.getrandbits(48):012x}'
        line += f' ip=10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}'
        line += f' path=/{rng.choice(words())}/{rng.choice(words())}'
        line += f' status={rng.choice((200, 200, 200, 304, 404, 500))} ms={rng.randrange(900)}\n'
        lines.append(line)
    return ''.join(lines).encode()


def json_lines(rng, count):
    lines = []
    for _ in range(count):
        number, user, value = rng.getrandbits(32), rng.choice(words()), rng.random()
        tags = f'["{rng.choice(words())}","{rng.choice(words())}"]'
        lines.append(f'{{"id":{number},"user":"{user}","v":{value:.6f},"tags":{tags}}}\n')
    return ''.join(lines).encode()


def close_keeping_wal(database):
    """Leaves the log on disk, as a running or crashed process does; closing would merge it."""
    path = database.execute('pragma database_list').fetchone()[2]
    kept = [name for name in (path, path + '-wal') if os.path.exists(name)]
    for name in kept:
        shutil.copyfile(name, name + '.keep')
    database.close()
    for name in kept:
        os.replace(name + '.keep', name)


def make_app(folder, total):
    for below in ('logs', 'etc', 'data'):
        os.makedirs(f'{folder}/{below}', exist_ok=True)
    rng = random.Random(SEED + 5)
    database, rows = make_sqlite(f'{folder}/data/app.db', int(total * 0.5), SEED + 6, wal=True)
    database.execute('pragma wal_autocheckpoint=0')
    for k in range(2000):
        change = (rows.random(), f'touched {k}', 1 + rows.randrange(100000))
        database.execute('update t set amount=?, note=? where id=?', change)
    database.commit()
    close_keeping_wal(database)
    for i in range(8):
        first = i * 100000
        path = f'{folder}/logs/app-{i}.log'
        fill(path, total * 0.05, lambda at, first=first: log_lines(rng, 20000, first + at))
    for i in range(500):
        with open(f'{folder}/etc/svc{i}.conf', 'wb') as file:
            file.write(code_text(rng, rng.randint(200, 6000)))
    fill(f'{folder}/data/events.jsonl', total * 0.1, lambda _: json_lines(rng, 5000))


def fill(path, total, part):
    """Writes parts until the file has `total` bytes; a part may depend on where it begins."""
    size = 0
    with open(path, 'wb') as file:
        while size < total:
            size += file.write(part(size))


def mutate(folder, step):
    rng = random.Random(SEED + 1000 + step)
    mutate_small(rng, folder + '/small', step)
    path = folder + '/random/a.bin'
    if os.path.exists(path):
        with open(path, 'rb') as old, open(path + '.tmp', 'wb') as new:
            new.write(rng.randbytes(65536))
            shutil.copyfileobj(old, new, WRITE_BYTES)
        os.replace(path + '.tmp', path)
    path = folder + '/vm/disk.img'
    if os.path.exists(path):
        pages = os.path.getsize(path) // 4096
        with open(path, 'r+b') as file:
            for _ in range(20):
                file.seek(rng.randrange(0, pages - 16) * 4096)
                file.write(rng.randbytes(65536))
    if os.path.isdir(folder + '/app/logs'):
        mutate_app(rng, folder + '/app', step)


def mutate_small(rng, folder, step):
    files = list(files_below(folder))
    count = len(files)
    for j, path in enumerate(rng.sample(files, count * 14 // 1000)):
        if j < count * 5 // 1000:
            with open(path, 'wb') as file:
                file.write(code_text(rng, rng.randint(300, 20000)))
        elif j < count * 10 // 1000:
            with open(path, 'ab') as file:
                file.write(code_text(rng, rng.randint(20, 500)))
        elif j < count * 12 // 1000:
            os.unlink(path)
        else:
            with open(f'{path}.new{step}', 'wb') as file:
                file.write(code_text(rng, rng.randint(300, 9000)))


def mutate_app(rng, folder, step):
    for i in range(8):
        path = f'{folder}/logs/app-{i}.log'
        with open(path, 'ab') as file:
            file.write(log_lines(rng, os.path.getsize(path) // 50 // 130, step * 7))
    database = sqlite3.connect(f'{folder}/data/app.db')
    database.execute('pragma wal_autocheckpoint=0')
    database.execute('pragma synchronous=off')
    rows = database.execute('select max(id) from t').fetchone()[0]
    for k in range(3000):
        change = (rng.random(), f'm{step} {k}', 1 + rng.randrange(rows))
        database.execute('update t set amount=?, note=? where id=?', change)
    database.commit()
    close_keeping_wal(database)


def digest(folder):
    state = hashlib.blake2b(digest_size=12)
    files = size = 0
    for path in files_below(folder):
        state.update(os.path.relpath(path, folder).encode() + b'\0')
        with open(path, 'rb') as file:
            while part := file.read(WRITE_BYTES):
                state.update(part)
                size += len(part)
        files += 1
    return files, size, state.hexdigest()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('command', choices=['create', 'mutate', 'digest'])
    parser.add_argument('folder')
    parser.add_argument('--scale', type=float, default=1.0)
    parser.add_argument('--source', choices=['real', 'synthetic'], default='real')
    parser.add_argument('--step', type=int, default=1)
    parser.add_argument('--only', default=','.join(CORPORA))
    args = parser.parse_args()
    makers = {
        'small': lambda path: make_small(path, int(60000 * args.scale), args.source),
        'random': lambda path: make_random(path, int(1024 * MIB * args.scale)),
        'vm': lambda path: make_vm(path, int(1024 * MIB * args.scale)),
        'app': lambda path: make_app(path, int(256 * MIB * args.scale)),
    }
    if args.command == 'create':
        for corpus in args.only.split(','):
            makers[corpus](f'{args.folder}/{corpus}')
    elif args.command == 'mutate':
        mutate(args.folder, args.step)
    for corpus in CORPORA:
        if os.path.isdir(f'{args.folder}/{corpus}'):
            files, size, state = digest(f'{args.folder}/{corpus}')
            print(f'{corpus:7s} files={files} bytes={size} blake2b={state}')


if __name__ == '__main__':
    main()
