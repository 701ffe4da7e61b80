#!/usr/bin/env python3
"""Measures backup tools against one another on the same corpora. Python's standard library only.

    bench.py run --tools strongroom,restic --corpora small,random --rounds 2 \\
        --base CORPUS --work SCRATCH --out-dir TMPFS --out results.jsonl
    bench.py report results.jsonl

Each round copies a corpus afresh; in each scenario the tools run in turn, the order reversed every
other round, so that noise of the machine hits all of them alike. Scenarios, in order: init, first,
nochange, (the corpus is mutated once) incr, list, restore_one, restore_all, check, forget_prune.
A scenario that a tool cannot do is left out, and the report says so.

The cost of a run is CPU time (user and system, of the whole process tree), wall time, peak memory
of the largest process (by GNU time, if it is there) and the bytes stored afterwards. On a shared
machine quote CPU time: wall time is noise there.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PASSWORD = 'bench-password'
SCENARIOS = 'init first nochange incr list restore_one restore_all check forget_prune'.split()
BACKUPS = ('first', 'nochange', 'incr')
GNU_TIME = '/usr/bin/time'


class Tool:
    """One backup tool: what it runs in each scenario."""

    name = ''
    binary = ''

    def __init__(self, repo, work):
        self.repo = repo
        self.work = work
        self.backups = 0
        # Folders for binaries that are not on the path: BENCH_PATH=/opt/tools/bin.
        search = os.environ.get('BENCH_PATH', '') + os.pathsep + os.environ['PATH']
        self.program = shutil.which(self.binary, path=search)
        if self.program is None:
            sys.exit(f'{self.name}: no program {self.binary}; say in BENCH_PATH where it is')
        self.env = {**os.environ, **self.settings()}

    def settings(self):
        """Environment of the tool."""
        return {}

    def command(self, scenario, source, out, one):
        """The command line for a scenario, or None if the tool cannot do it.

        `source` is the folder to protect, `out` the folder to restore into, `one` a file of the
        source to restore alone.
        """
        if scenario in BACKUPS:
            self.backups += 1
            return self.backup(source)
        return self.commands(source, out, one).get(scenario)

    def backup(self, source):
        raise NotImplementedError

    def commands(self, source, out, one):
        raise NotImplementedError


class Strongroom(Tool):
    name = binary = 'strongroom'

    def settings(self):
        return {
            'STRONGROOM_REPOSITORY': self.repo,
            'STRONGROOM_PASSWORD': PASSWORD,
            'XDG_CACHE_HOME': self.work + '/cache',
            'XDG_STATE_HOME': self.work + '/state',
        }

    def backup(self, source):
        return [self.program, 'backup', source]

    def commands(self, source, out, one):
        restore = [self.program, 'restore', 'latest', '--target', out]
        # `forget` and `prune` are not built yet.
        return {
            'init': [self.program, 'init'],
            'list': [self.program, 'snapshots', '--json'],
            'restore_one': [*restore, '--include', one],
            'restore_all': restore,
            'check': [self.program, 'verify', '--read-data'],
        }


class Restic(Tool):
    name = binary = 'restic'

    def settings(self):
        return {
            'RESTIC_PASSWORD': PASSWORD,
            'RESTIC_REPOSITORY': self.repo,
            'RESTIC_CACHE_DIR': self.work + '/cache',
        }

    def backup(self, source):
        return [self.program, 'backup', '-q', source]

    def commands(self, source, out, one):
        restore = [self.program, 'restore', 'latest', '-q', '--target', out]
        forget = ['forget', '-q', '--keep-last', '1', '--prune', '--group-by', '']
        return {
            'init': [self.program, 'init', '-q'],
            'list': [self.program, 'snapshots', '--json'],
            'restore_one': [*restore, '--include', one],
            'restore_all': restore,
            'check': [self.program, 'check', '-q', '--read-data'],
            'forget_prune': [self.program, *forget],
        }


class Rustic(Tool):
    name = binary = 'rustic'

    def settings(self):
        return {
            'RUSTIC_PASSWORD': PASSWORD,
            'RUSTIC_REPOSITORY': self.repo,
            'RUSTIC_CACHE_DIR': self.work + '/cache',
            'RUSTIC_NO_PROGRESS': 'true',
            'RUSTIC_LOG_LEVEL': 'warn',
            'RUSTIC_USE_PROFILE': 'none',
        }

    def backup(self, source):
        return [self.program, 'backup', source]

    def commands(self, source, out, one):
        forget = ['forget', '--keep-last', '1', '--prune', '--group-by', '']
        return {
            'init': [self.program, 'init'],
            'list': [self.program, 'snapshots', '--json'],
            'restore_one': [self.program, 'restore', 'latest:' + one, out + '/one'],
            'restore_all': [self.program, 'restore', 'latest', out],
            'check': [self.program, 'check', '--read-data'],
            'forget_prune': [self.program, *forget, '--instant-delete', '--keep-delete', '0s'],
        }


class Borg(Tool):
    name = binary = 'borg'
    compression = 'lz4'

    def settings(self):
        return {
            'BORG_PASSPHRASE': PASSWORD,
            'BORG_BASE_DIR': self.work + '/borg',
            'BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK': 'yes',
            'BORG_RELOCATED_REPO_ACCESS_IS_OK': 'yes',
        }

    def backup(self, source):
        archive = f'{self.repo}::a{self.backups}'
        return [self.program, 'create', '-C', self.compression, archive, source]

    def commands(self, source, out, one):
        archive = f'{self.repo}::a{self.backups}'
        extract = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', out]
        extract += [self.program, 'extract', archive]
        prune = '"$1" prune --keep-last 1 "$2" && "$1" compact "$2"'
        return {
            'init': [self.program, 'init', '-e', 'repokey-blake2', self.repo],
            'list': [self.program, 'list', '--json', self.repo],
            'restore_one': [*extract, one.lstrip('/')],
            'restore_all': extract,
            'check': [self.program, 'check', '--verify-data', self.repo],
            'forget_prune': ['sh', '-c', prune, 'sh', self.program, self.repo],
        }


class BorgZstd(Borg):
    name = 'borg-zstd3'
    compression = 'zstd,3'


class Bupstash(Tool):
    name = binary = 'bupstash'

    def settings(self):
        return {
            'BUPSTASH_REPOSITORY': self.repo,
            'BUPSTASH_KEY': self.work + '/key',
            'BUPSTASH_SEND_LOG': self.work + '/sendlog',
            'BUPSTASH_QUERY_CACHE': self.work + '/query',
        }

    def backup(self, source):
        return [self.program, 'put', '-q', f'n={self.backups}', source]

    def commands(self, source, out, one):
        last = f'n={self.backups}'
        init = '"$1" new-key -o "$BUPSTASH_KEY" && "$1" init'
        pick = '"$1" get -q --pick "$2" "$3" >"$4"/one'
        below = os.path.relpath(one, source)
        forget = 'i=1; while [ $i -lt "$2" ]; do "$1" rm n=$i; i=$((i + 1)); done; "$1" gc -q'
        return {
            'init': ['sh', '-c', init, 'sh', self.program],
            'list': [self.program, 'list', '--format', 'jsonl1'],
            'restore_one': ['sh', '-c', pick, 'sh', self.program, below, last, out],
            'restore_all': [self.program, 'restore', '-q', '--into', out, last],
            'check': ['sh', '-c', '"$1" get -q "$2" >/dev/null', 'sh', self.program, last],
            'forget_prune': ['sh', '-c', forget, 'sh', self.program, str(self.backups)],
        }


class TarPipe(Tool):
    """tar | zstd | openssl: no deduplication, no authentication; every backup is full."""

    name = 'tar-zstd-aes'
    binary = 'tar'
    encrypt = f'openssl enc -aes-256-ctr -pass pass:{PASSWORD} -pbkdf2 -iter 1000'

    def shell(self, script, *args):
        return ['bash', '-o', 'pipefail', '-c', script, 'bash', *args]

    def backup(self, source):
        script = f'tar -C / -cf - "$1" | zstd -q -1 -T2 | {self.encrypt} >"$2"'
        return self.shell(script, source.lstrip('/'), f'{self.repo}/b{self.backups}')

    def commands(self, source, out, one):
        last = f'{self.repo}/b{self.backups}'
        read = f'{self.encrypt} -d -in "$1" | zstd -q -d'
        pick = f'{read} | tar -C "$2" -xf - "$3"'
        return {
            'init': ['mkdir', '-p', self.repo],
            'list': ['ls', self.repo],
            'restore_one': self.shell(pick, last, out, one.lstrip('/')),
            'restore_all': self.shell(f'{read} | tar -C "$2" -xf -', last, out),
            'check': self.shell(f'{read} >/dev/null', last),
            'forget_prune': self.shell('ls "$1"/b* | head -n -1 | xargs rm -f', self.repo),
        }


class Rsync(Tool):
    """A plain copy: what the file system alone costs."""

    name = binary = 'rsync'

    def backup(self, source):
        return [self.program, '-a', '--delete', source, self.repo + '/']

    def commands(self, source, out, one):
        return {
            'init': ['mkdir', '-p', self.repo],
            'list': ['ls', self.repo],
            'restore_all': [self.program, '-a', self.repo + '/', out],
        }


ALL = (Strongroom, Restic, Rustic, Borg, BorgZstd, Bupstash, TarPipe, Rsync)
TOOLS = {tool.name: tool for tool in ALL}


def files_below(folder):
    for path, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(path, name)


def bytes_below(folder):
    return sum(os.lstat(path).st_size for path in files_below(folder))


def has_same_sizes(source, out):
    """A quick look that a restore is whole; proofs of equality are the tests' business."""
    return sizes_below(source) == sizes_below(out)


def sizes_below(folder):
    return sorted((os.path.basename(path), os.lstat(path).st_size) for path in files_below(folder))


def measure(command, env, log):
    """Runs a command to its end; tells its exit code and what it cost."""
    # A fork of this Python would give its own memory to the child as a floor: GNU time forks the
    # tool itself and tells the true peak.
    peak = f'{log.name}.peak'
    if os.path.exists(GNU_TIME):
        command = [GNU_TIME, '-f', '%M', '-o', peak, *command]
    begin = time.monotonic()
    run = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _, status, usage = os.wait4(run.pid, 0)
    wall = time.monotonic() - begin
    run.returncode = os.waitstatus_to_exitcode(status)
    peak_kib = usage.ru_maxrss
    if os.path.exists(peak):
        with open(peak) as file:
            peak_kib = int(file.read().split()[-1])
    cpu = usage.ru_utime + usage.ru_stime
    return {'code': run.returncode, 'wall_s': wall, 'cpu_s': cpu, 'peak_kib': peak_kib}


def drop_caches():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as file:
        file.write('3')


def wait_for_quiet(load_max):
    for _ in range(60):
        if os.getloadavg()[0] < load_max:
            return
        time.sleep(1)


class Round:
    """One round over one corpus: a fresh copy, all tools, all scenarios."""

    def __init__(self, args, number, corpus, results):
        self.args, self.number, self.corpus, self.results = args, number, corpus, results
        self.work = f'{args.work}/{corpus}'
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work + '/src')
        self.source = f'{self.work}/src/{corpus}'
        base = f'{args.base}/{corpus}'
        subprocess.run(['cp', '-a', '--reflink=auto', base, self.source], check=True)
        self.tools = []
        for name in args.tools.split(','):
            work = f'{self.work}/{name}'
            os.makedirs(work)
            self.tools.append(TOOLS[name](work + '/repo', work))
        if number % 2:
            self.tools.reverse()
        self.failed = set()

    def run(self):
        wanted = self.args.scenarios.split(',')
        for scenario in SCENARIOS:
            if scenario == 'incr':
                self.mutate()
            if scenario not in wanted and scenario != 'init':
                continue
            if scenario in ('first', 'incr') and not self.args.cold:
                self.warm()
            for tool in self.tools:
                if tool.name not in self.failed:
                    self.run_tool(scenario, tool)
        shutil.rmtree(self.work)

    def mutate(self):
        command = [sys.executable, f'{HERE}/gen_corpus.py', 'mutate', self.work + '/src']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def warm(self):
        for path in files_below(self.source):
            with open(path, 'rb') as file:
                while file.read(1 << 20):
                    pass

    def one_file(self):
        files = sorted(files_below(self.source))
        return files[len(files) * 2 // 3]

    def run_tool(self, scenario, tool):
        out = f'{self.args.out_dir or tool.work}/out-{tool.name}'
        command = tool.command(scenario, self.source, out, self.one_file())
        if command is None:
            self.note(scenario, tool, {'code': None})
            return
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        if self.args.load_max:
            wait_for_quiet(self.args.load_max)
        if self.args.cold:
            drop_caches()
        else:
            os.sync()
        with open(f'{tool.work}/log-{scenario}.txt', 'w') as log:
            cost = measure(command, tool.env, log)
        cost['stored_bytes'] = bytes_below(tool.repo)
        cost['source_bytes'] = bytes_below(self.source)
        if cost['code'] == 0 and scenario == 'restore_all':
            cost['is_whole'] = has_same_sizes(self.source, out)
        shutil.rmtree(out)
        if cost['code'] != 0:
            with open(f'{tool.work}/log-{scenario}.txt') as log:
                print(log.read()[-2000:], file=sys.stderr)
            if scenario in ('init', 'first'):
                self.failed.add(tool.name)
        self.note(scenario, tool, cost)

    def note(self, scenario, tool, cost):
        row = {'round': self.number, 'corpus': self.corpus, 'scenario': scenario, 'tool': tool.name}
        row |= cost | {'load': os.getloadavg()[0]}
        self.results.write(json.dumps(row) + '\n')
        self.results.flush()
        print(json.dumps(row), flush=True)


def run(args):
    with open(args.out, 'a') as results:
        for number in range(args.rounds):
            for corpus in args.corpora.split(','):
                Round(args, number, corpus, results).run()


def report(args):
    rows = []
    for path in args.files:
        with open(path) as file:
            rows += [json.loads(line) for line in file]
    groups = {}
    for row in rows:
        key = (row['corpus'], SCENARIOS.index(row['scenario']), row['tool'])
        groups.setdefault(key, []).append(row)
    print('| corpus | scenario | tool | runs | CPU s | wall s | peak MiB | stored MiB |')
    print('|---|---|---|---|---|---|---|---|')
    for (corpus, scenario, tool), group in sorted(groups.items()):
        good = [row for row in group if row['code'] == 0]
        head = f'| {corpus} | {SCENARIOS[scenario]} | {tool} | {len(good)} '
        if not good:
            print(head + '| not done | | | |')
            continue
        cpu, wall, peak, stored = (
            statistics.median(row[key] for row in good)
            for key in ('cpu_s', 'wall_s', 'peak_kib', 'stored_bytes')
        )
        print(head + f'| {cpu:.2f} | {wall:.2f} | {peak / 1024:.0f} | {stored / 2**20:.0f} |')
    for row in rows:
        if row['code']:
            print(f"failed: {row['tool']} {row['corpus']} {row['scenario']}: {row['code']}")
        if row.get('is_whole') is False:
            print(f"restore is not whole: {row['tool']} {row['corpus']}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    one = commands.add_parser('run')
    one.add_argument('--tools', default='strongroom,restic', help=f'of {", ".join(TOOLS)}')
    one.add_argument('--corpora', default='small,random,vm,app')
    one.add_argument('--scenarios', default=','.join(SCENARIOS))
    one.add_argument('--rounds', type=int, default=2)
    one.add_argument('--base', required=True, help='where gen_corpus.py made the corpora')
    one.add_argument('--work', required=True, help='scratch folder for copies and repositories')
    one.add_argument('--out-dir', default='', help='where restores are written; best a tmpfs')
    one.add_argument('--out', required=True, help='results, one JSON object a line, appended')
    one.add_argument('--cold', action='store_true', help='drop the page cache before each run')
    one.add_argument('--load-max', type=float, default=0, help='wait for a quieter machine')
    two = commands.add_parser('report')
    two.add_argument('files', nargs='+')
    args = parser.parse_args()
    run(args) if args.command == 'run' else report(args)


if __name__ == '__main__':
    main()
