#!/usr/bin/env python3
"""A repository over years: many snapshots of one tree, then forget most of them and prune.

    bench/years.py --work scratch [--binary target/release/strongroom] [--repository URL]
        [--snapshots 1000] [--files 10000] [--changes 20] [--keep 30]

Makes a tree of small files, changes some before each backup (new content, a new file, one that
goes), then runs `forget --keep-last` and `prune`, and verifies and restores the newest snapshot.
Prints time, requests and peak memory of each step. The same seed makes the same tree.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

FOLDERS = 100


def fill(source, files, rng):
    """Files of 1 to 8 KiB, in folders of a hundred."""
    for number in range(files):
        folder = source / f"folder-{number % FOLDERS}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(rng.randbytes(rng.randrange(1 << 10, 8 << 10)))


def change(source, number, changes, files, rng):
    """One day: some files change, one comes, one goes."""
    for _ in range(changes):
        at = rng.randrange(files)
        path = source / f"folder-{at % FOLDERS}" / f"file-{at}"
        path.write_bytes(rng.randbytes(rng.randrange(1 << 10, 8 << 10)))
    (source / "folder-0" / f"day-{number}").write_bytes(rng.randbytes(2 << 10))
    (source / "folder-0" / f"day-{number - 10}").unlink(missing_ok=True)


class Runner:
    """The binary, with everything that it remembers below the scratch folder."""

    def __init__(self, binary, repository, work):
        self.binary = binary
        self.environment = dict(
            os.environ, STRONGROOM_REPOSITORY=repository, STRONGROOM_PASSWORD="years",
            STRONGROOM_STATE_DIR=str(work / "state"), STRONGROOM_CACHE_DIR=str(work / "cache"))

    def run(self, *arguments):
        """Seconds, peak MiB and the last line that was printed: as an object, if it is JSON."""
        with tempfile.NamedTemporaryFile("r") as peak:
            began = time.monotonic()
            done = subprocess.run(
                ["/usr/bin/time", "-f", "%M", "-o", peak.name, self.binary, *arguments],
                check=True, stdout=subprocess.PIPE, env=self.environment)
            seconds = time.monotonic() - began
            lines = done.stdout.decode().splitlines()
            summary = lines[-1] if lines else None
            if "--json" in arguments and lines:
                summary = json.loads(summary)
            return seconds, int(peak.read().split()[-1]) / 1024, summary


def say(what, seconds, peak, summary):
    requests = summary.get("requests") if isinstance(summary, dict) else None
    if isinstance(summary, str):
        requests = summary.removeprefix("requests: ")
    elif requests:
        requests = {kind: requests[kind] for kind in ("put", "get", "head", "list", "delete")}
    print(f"{what}: {seconds:.1f} s, peak {peak:.0f} MiB, requests {requests or '-'}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--binary", default="target/release/strongroom")
    parser.add_argument("--repository", help="default: a folder in --work")
    parser.add_argument("--snapshots", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--keep", type=int, default=30)
    args = parser.parse_args()
    work = args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    source = work / "source"
    if source.exists():
        sys.exit(f"{source} is there already")
    rng = random.Random(1)
    fill(source, args.files, rng)
    runner = Runner(args.binary, args.repository or str(work / "repository"), work)
    runner.run("init", "--json")
    times = []
    for number in range(args.snapshots):
        change(source, number, args.changes, args.files, rng)
        seconds, peak, summary = runner.run("backup", "--json", str(source))
        times.append(seconds)
        if number in (0, 1, args.snapshots // 2, args.snapshots - 1):
            say(f"backup {number + 1}", seconds, peak, summary)
    print(f"{args.snapshots} backups: {sum(times):.0f} s", flush=True)
    say("list", *runner.run("snapshots", "--json"))
    say("forget", *runner.run("forget", "--keep-last", str(args.keep), "-v"))
    plan = runner.run("prune", "--dry-run", "--json")
    say("prune --dry-run", *plan)
    done = runner.run("prune", "--json")
    say("prune", *done)
    print(json.dumps(done[2]))
    say("prune again", *runner.run("prune", "--json"))
    say("verify --read-data", *runner.run("verify", "--read-data", "--json"))
    target = work / "restored"
    say("restore", *runner.run("restore", "latest", "--target", str(target), "--json"))
    subprocess.run(["diff", "-r", str(source), str(target) + str(source)], check=True)
    print("the newest snapshot came back as it was")


if __name__ == "__main__":
    main()
