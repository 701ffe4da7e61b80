#!/usr/bin/env python3
"""Throughput and memory on real servers: strongroom beside a plain client of each protocol.

    eval "$(integration-tests/services/all.sh start seaweedfs azurite samba sftp webdav ftp)"
    bench/storages.py [--binary target/release/strongroom] [--mib 2048] [STORAGE...]

Sends random data through `strongroom target put`, fetches it with `target get`, compares, and
does the same with a plain client, which neither encrypts nor checks. One run, interleaved; each
figure is wall time. Peak memory is that of the strongroom process. Needs boto3 and
azure-storage-blob (pip), smbclient, sftp, curl and time.
"""
import argparse
import filecmp
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse

MIB = 1 << 20


def measured(command, environment, source=None, sink=None):
    """Seconds and peak MiB of a command; its exit code must be 0.

    time(1) starts it: a child of this process would inherit the peak of this process.
    """
    with tempfile.NamedTemporaryFile("r") as peak, open(source or os.devnull, "rb") as given, \
            open(sink or os.devnull, "wb") as taken:
        began = time.monotonic()
        subprocess.run(["/usr/bin/time", "-f", "%M", "-o", peak.name, *command], check=True,
                       stdin=given, stdout=taken, env=environment)
        seconds = time.monotonic() - began
        return seconds, int(peak.read()) / 1024


def need(name):
    value = os.environ.get(name)
    if value is None:
        sys.exit(f"{name} is not set: start the servers first")
    return value


class Plain:
    """A plain client: `put` and `get` give seconds."""

    def timed(self, work):
        began = time.monotonic()
        work()
        return time.monotonic() - began

    def run(self, *command, **options):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, **options)


class S3(Plain):
    name, client = "s3", "boto3"

    def __init__(self):
        import boto3
        import botocore.config

        self.endpoint = need("TEST_S3_ENDPOINT")
        self.key, self.secret = need("TEST_S3_ACCESS_KEY"), need("TEST_S3_SECRET_KEY")
        self.s3 = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=self.key, aws_secret_access_key=self.secret,
            config=botocore.config.Config(s3={"addressing_style": "path"}))

    def url(self, place):
        return f"s3://{place}?endpoint={self.endpoint}&region=us-east-1&path-style=true"

    def variables(self):
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    def prepare(self, place):
        self.place = place
        self.s3.create_bucket(Bucket=place)

    def put(self, path):
        return self.timed(lambda: self.s3.upload_file(path, self.place, "plain"))

    def get(self, path):
        return self.timed(lambda: self.s3.download_file(self.place, "plain", path))


class Azure(Plain):
    name, client = "azure", "azure-storage-blob"

    def __init__(self):
        import azure.storage.blob

        self.endpoint, self.account = need("TEST_AZURE_ENDPOINT"), need("TEST_AZURE_ACCOUNT")
        self.key = need("TEST_AZURE_KEY")
        self.service = azure.storage.blob.BlobServiceClient(
            self.endpoint, credential={"account_name": self.account, "account_key": self.key})

    def url(self, place):
        return f"az://{place}?account={self.account}&endpoint={self.endpoint}"

    def variables(self):
        return {"AZURE_STORAGE_KEY": self.key}

    def prepare(self, place):
        self.blob = self.service.create_container(place).get_blob_client("plain")

    def put(self, path):
        def work():
            with open(path, "rb") as file:
                self.blob.upload_blob(file, max_concurrency=4)
        return self.timed(work)

    def get(self, path):
        def work():
            with open(path, "wb") as file:
                self.blob.download_blob(max_concurrency=4).readinto(file)
        return self.timed(work)


class Smb(Plain):
    name, client = "smb", "smbclient"

    def __init__(self):
        self.host, self.port = need("TEST_SMB_HOST"), need("TEST_SMB_PORT")
        self.user, self.password = need("TEST_SMB_USER"), need("TEST_SMB_PASSWORD")
        self.share = need("TEST_SMB_SHARE_SIGNED")

    def url(self, place):
        return f"smb://{self.user}@{self.host}:{self.port}/{self.share}/{place}"

    def variables(self):
        return {"STRONGROOM_SMB_PASSWORD": self.password}

    def prepare(self, place):
        self.place = place
        self.smbclient(f"mkdir {place}")

    def smbclient(self, command):
        self.run("smbclient", f"//{self.host}/{self.share}", "-p", self.port,
                 "-U", f"{self.user}%{self.password}", "-m", "SMB3", "-c", command)

    def put(self, path):
        return self.timed(lambda: self.smbclient(f"put {path} {self.place}/plain"))

    def get(self, path):
        return self.timed(lambda: self.smbclient(f"get {self.place}/plain {path}"))


class Sftp(Plain):
    name, client = "sftp", "sftp"

    def __init__(self):
        self.host, self.port = need("TEST_SFTP_HOST"), need("TEST_SFTP_PORT")
        self.user, self.root = need("TEST_SFTP_USER"), need("TEST_SFTP_ROOT")
        self.key, self.known = need("TEST_SFTP_KEY"), need("TEST_SFTP_KNOWN_HOSTS")
        self.config = tempfile.NamedTemporaryFile("w", suffix=".ssh")
        self.config.write(f"Host *\n  UserKnownHostsFile {self.known}\n  IdentityFile {self.key}\n")
        self.config.flush()

    def url(self, place):
        return (f"sftp://{self.user}@{self.host}:{self.port}{self.root}/{place}"
                f"?key-file={self.key}&known-hosts=accept")

    def variables(self):
        return {}

    def prepare(self, place):
        self.place = f"{self.root}/{place}"
        self.sftp(f"mkdir {self.place}\n")

    def sftp(self, commands):
        self.run("sftp", "-q", "-b", "-", "-F", self.config.name, "-P", self.port,
                 f"{self.user}@{self.host}", input=commands.encode())

    def put(self, path):
        return self.timed(lambda: self.sftp(f"put {path} {self.place}/plain\n"))

    def get(self, path):
        return self.timed(lambda: self.sftp(f"get {self.place}/plain {path}\n"))


class WebDav(Plain):
    name, client = "webdav", "curl"

    def __init__(self):
        self.base, self.user = need("TEST_WEBDAV_URL"), need("TEST_WEBDAV_USER")
        self.password = need("TEST_WEBDAV_PASSWORD")

    def url(self, place):
        return f"webdav://{self.user}@{urllib.parse.urlsplit(self.base).netloc}/{place}"

    def variables(self):
        return {"STRONGROOM_WEBDAV_PASSWORD": self.password}

    def curl(self, *arguments):
        self.run("curl", "-sSf", "-u", f"{self.user}:{self.password}", *arguments)

    def prepare(self, place):
        self.place = f"{self.base}{place}"
        self.curl("-X", "MKCOL", self.place)

    def put(self, path):
        return self.timed(lambda: self.curl("-T", path, f"{self.place}/plain"))

    def get(self, path):
        return self.timed(lambda: self.curl("-o", path, f"{self.place}/plain"))


class Ftp(WebDav):
    name, client = "ftp", "curl"

    def __init__(self):
        found = urllib.parse.urlsplit(need("TEST_FTP_URL"))
        self.user, self.password = found.username, found.password
        self.netloc = f"{found.hostname}:{found.port}"

    def url(self, place):
        return f"ftp://{self.user}@{self.netloc}/{place}"

    def variables(self):
        return {"STRONGROOM_FTP_PASSWORD": self.password}

    def prepare(self, place):
        self.place = f"ftp://{self.netloc}/{place}"

    def put(self, path):
        return self.timed(lambda: self.curl("--ftp-create-dirs", "-T", path, f"{self.place}/plain"))


STORAGES = [S3, Azure, Smb, Sftp, WebDav, Ftp]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/strongroom")
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("storages", nargs="*")
    options = parser.parse_args()
    binary = str(pathlib.Path(options.binary).resolve())
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as scratch:
        given, back = os.path.join(scratch, "given"), os.path.join(scratch, "back")
        with open(given, "wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(MIB))
        print(f"{options.mib} MiB, MiB/s (peak MiB)")
        print(f"{'':8} {'put':>14} {'get':>14}   {'plain put':>10} {'get':>7}")
        for kind in STORAGES:
            if options.storages and kind.name not in options.storages:
                continue
            storage = kind()
            place = f"bench-{os.getpid()}"
            environment = {
                "PATH": os.environ["PATH"], "HOME": scratch, "STRONGROOM_PASSWORD": "bench",
                **storage.variables()}
            storage.prepare(place)
            path, _, settings = storage.url(place).partition("?")
            url = f"{path}/stream" + (f"?{settings}" if settings else "")
            plain_put = storage.put(given)
            put = measured([binary, "target", "put", url], environment, source=given)
            plain_get = storage.get(back)
            os.unlink(back)
            get = measured([binary, "target", "get", url], environment, sink=back)
            if not filecmp.cmp(given, back, shallow=False):
                sys.exit(f"{storage.name}: what came back differs")
            os.unlink(back)
            subprocess.run([binary, "target", "rm", url], env=environment, check=True)
            rate = lambda seconds: options.mib / seconds
            print(f"{storage.name:8} {rate(put[0]):7.0f} ({put[1]:3.0f}) {rate(get[0]):8.0f} ({get[1]:3.0f})"
                  f"   {rate(plain_put):10.0f} {rate(plain_get):7.0f}   {storage.client}", flush=True)


if __name__ == "__main__":
    main()
