//! Every storage, with its real server and through the binary: conformance, a repository of a
//! few thousand files, interruption, a server that dies in the middle, wrong credentials, a
//! missing place.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    Lab, Outcome,
    compare::assert_same_tree,
    matrix, pseudo_random,
    services::{Service, variable},
};

/// What tells a variable of a server.
type Get<'a> = &'a dyn Fn(&str) -> String;

/// A kind of storage, and how to reach the server that a set of variables describes.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// The script and its port, for a server of a test's own.
    service: (&'static str, &'static str),
    /// How the server's end is simulated: some emulators lose everything when they are killed.
    end: &'static str,
    /// URL and environment for a place that does not exist yet.
    reach: fn(Get<'_>, place: &str) -> Reach,
    /// What makes the credentials wrong.
    spoil: fn(&mut Reach),
    /// Exit code and a word of the message for wrong credentials.
    refusal: (i32, &'static str),
    /// Whether the storage decides atomically who creates, and if not, who says so.
    creates: Creates,
    /// Objects that the listing check writes.
    listed: u32,
}

/// What a storage makes of a create.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Creates {
    /// The storage decides.
    Atomically,
    /// The backend says that the storage cannot.
    Otherwise,
    /// The storage pretends to; the probe finds out.
    Falsely,
}

/// What leads to a place on a server.
struct Reach {
    url: String,
    variables: BTreeMap<&'static str, String>,
}

impl Reach {
    fn new<const N: usize>(url: String, variables: [(&'static str, String); N]) -> Self {
        Self { url, variables: variables.into() }
    }
}

fn s3(get: Get<'_>, place: &str, prefix: &str) -> Reach {
    let endpoint = get(&format!("{prefix}_ENDPOINT"));
    Reach::new(
        format!("s3://{place}/some/prefix?endpoint={endpoint}&region=us-east-1&path-style=true"),
        [
            ("AWS_ACCESS_KEY_ID", get(&format!("{prefix}_ACCESS_KEY"))),
            ("AWS_SECRET_ACCESS_KEY", get(&format!("{prefix}_SECRET_KEY"))),
        ],
    )
}

const S3: Kind = Kind {
    name: "s3",
    service: ("seaweedfs", "SEAWEEDFS_PORT"),
    end: "kill9",
    reach: |get, place| s3(get, place, "TEST_S3"),
    spoil: |reach| drop(reach.variables.insert("AWS_SECRET_ACCESS_KEY", "wrong".to_owned())),
    refusal: (14, "den"),
    creates: Creates::Atomically,
    listed: 1_500,
};

/// An S3 server that takes conditions and ignores them.
const WEAK_S3: Kind = Kind {
    name: "s3-without-conditions",
    service: ("rclone-s3", "RCLONE_S3_PORT"),
    reach: |get, place| s3(get, place, "TEST_S3_WEAK"),
    creates: Creates::Falsely,
    listed: 300,
    ..S3
};

const AZURE: Kind = Kind {
    name: "azure",
    service: ("azurite", "AZURITE_PORT"),
    end: "stop",
    reach: |get, place| {
        let (account, endpoint) = (get("TEST_AZURE_ACCOUNT"), get("TEST_AZURE_ENDPOINT"));
        Reach::new(
            format!("az://{place}/some/prefix?account={account}&endpoint={endpoint}"),
            [("AZURE_STORAGE_KEY", get("TEST_AZURE_KEY"))],
        )
    },
    spoil: |reach| drop(reach.variables.insert("AZURE_STORAGE_KEY", "d3Jvbmc=".to_owned())),
    refusal: (14, "den"),
    creates: Creates::Atomically,
    listed: 500,
};

const SMB: Kind = Kind {
    name: "smb",
    service: ("samba", "SAMBA_PORT"),
    end: "kill9",
    reach: |get, place| {
        let (user, host, port) = (get("TEST_SMB_USER"), get("TEST_SMB_HOST"), get("TEST_SMB_PORT"));
        let share = get("TEST_SMB_SHARE_SIGNED");
        Reach::new(
            format!("smb://{user}@{host}:{port}/{share}/{place}"),
            [("STRONGROOM_SMB_PASSWORD", get("TEST_SMB_PASSWORD"))],
        )
    },
    spoil: |reach| drop(reach.variables.insert("STRONGROOM_SMB_PASSWORD", "wrong".to_owned())),
    refusal: (14, "den"),
    creates: Creates::Atomically,
    listed: 500,
};

const SFTP: Kind = Kind {
    name: "sftp",
    service: ("sftp", "SFTP_PORT"),
    end: "kill9",
    reach: |get, place| {
        let (user, host, port) =
            (get("TEST_SFTP_USER"), get("TEST_SFTP_HOST"), get("TEST_SFTP_PORT"));
        let key = get("TEST_SFTP_KEY");
        let root = get("TEST_SFTP_ROOT");
        Reach::new(
            format!("sftp://{user}@{host}:{port}{root}/{place}?key-file={key}&known-hosts=accept"),
            [("WRONG", get("TEST_SFTP_WRONG_KEY")), ("RIGHT", key)],
        )
    },
    spoil: |reach| {
        reach.url = reach.url.replace(&reach.variables["RIGHT"], &reach.variables["WRONG"]);
    },
    refusal: (14, "den"),
    creates: Creates::Atomically,
    listed: 300,
};

const WEBDAV: Kind = Kind {
    name: "webdav",
    service: ("webdav", "WEBDAV_PORT"),
    end: "kill9",
    reach: |get, place| {
        let url = get("TEST_WEBDAV_URL").replace("http://", "");
        Reach::new(
            format!("webdav://{}@{url}{place}", get("TEST_WEBDAV_USER")),
            [("STRONGROOM_WEBDAV_PASSWORD", get("TEST_WEBDAV_PASSWORD"))],
        )
    },
    spoil: |reach| drop(reach.variables.insert("STRONGROOM_WEBDAV_PASSWORD", "wrong".to_owned())),
    refusal: (14, "den"),
    creates: Creates::Atomically,
    listed: 300,
};

const FTP: Kind = Kind {
    name: "ftp",
    service: ("ftp", "FTP_PORT"),
    end: "kill9",
    reach: |get, place| {
        let url = get("TEST_FTP_URL");
        let (login, host) = url.trim_start_matches("ftp://").split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        Reach::new(
            format!("ftp://{user}@{host}{place}"),
            [("STRONGROOM_FTP_PASSWORD", password.to_owned())],
        )
    },
    spoil: |reach| drop(reach.variables.insert("STRONGROOM_FTP_PASSWORD", "wrong".to_owned())),
    refusal: (14, "den"),
    creates: Creates::Otherwise,
    listed: 200,
};

/// A folder of this machine: no server, no credentials.
const LOCAL: Kind = Kind {
    name: "local",
    service: ("", ""),
    reach: |_, place| Reach::new(format!("{}/{place}", env!("CARGO_TARGET_TMPDIR")), []),
    listed: 5_000,
    ..S3
};

/// A place on a server, with a lab to work from.
struct Place {
    lab: Lab,
    reach: Reach,
}

impl Place {
    /// A new place on the common server.
    fn new(kind: Kind, purpose: &str) -> Self {
        Self::on(kind, purpose, &variable)
    }

    fn on(kind: Kind, purpose: &str, get: &dyn Fn(&str) -> String) -> Self {
        let name = format!("it-{purpose}-{:08x}", std::process::id());
        Self { lab: Lab::new(), reach: (kind.reach)(get, &name) }
    }

    fn command(&self) -> Command {
        let mut command = self.lab.command();
        command.env("STRONGROOM_REPOSITORY", &self.reach.url).envs(&self.reach.variables);
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command().args(args))
    }

    fn backup(&self) -> Value {
        self.run(&["backup", "--json", "source"]).expect(0).summary()
    }

    fn assert_comes_back(&self, target: &str) {
        self.run(&["verify", "--read-data"]).expect(0);
        self.run(&["restore", "latest", "--target", target]).expect(0);
        assert_same_tree(&self.lab.source(), &self.lab.restored(target));
    }
}

fn conformance(kind: Kind) {
    let place = Place::new(kind, "check");
    let listed = kind.listed.to_string();
    let outcome = Outcome::of(
        place
            .command()
            .args(["target", "check", "--create", "--objects", &listed, "--json"])
            .arg(&place.reach.url),
    );
    let report = outcome.json();
    let failed: Vec<&str> = report["conformance"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    match kind.creates {
        Creates::Falsely => {
            outcome.expect(1);
            assert_eq!(report["is_safe"], false);
            // it has no multipart either, and stumbles over races of any kind
            assert!(failed.contains(&"create-existing"), "{report:#}");
            matrix::cell(kind.name, "conformance", "fails, as it should");
            matrix::cell(kind.name, "conditional-create", "no: the probe finds it");
        }
        Creates::Otherwise => {
            outcome.expect(1);
            assert_eq!((&report["is_safe"], failed), (&false.into(), vec![]), "{report:#}");
            matrix::cell(kind.name, "conformance", "all but create-race");
            matrix::cell(kind.name, "conditional-create", "no: the backend says so");
        }
        Creates::Atomically => {
            assert_eq!(failed, [""; 0], "{report:#}");
            outcome.expect(0);
            matrix::cell(kind.name, "conformance", "all checks");
            matrix::cell(kind.name, "conditional-create", "atomic");
        }
    }
}

/// A few thousand files, in the sizes that people have.
fn fill(lab: &Lab) {
    for number in 0..2_500_u64 {
        let length = 200 + (number as usize * 37) % 6_000;
        let path = format!("source/folder-{}/file-{number}", number % 40);
        lab.write(path, &pseudo_random(length, number));
    }
    lab.write("source/large", &pseudo_random(40 << 20, 99));
}

fn repository(kind: Kind) {
    let place = Place::new(kind, "repository");
    fill(&place.lab);
    let missing = place.run(&["snapshots"]);
    missing.expect(10);
    let init = place.run(&["init"]).expect(0);
    assert_eq!(
        init.stderr.contains("not safe for prune"),
        kind.creates != Creates::Atomically,
        "{}",
        init.stderr
    );
    place.run(&["init"]).expect(1);
    let first = place.backup();
    assert_eq!(first["files_new"], 2_501);
    let second = place.backup();
    assert_eq!((&second["files_unmodified"], &second["data_blobs"]), (&2_501.into(), &0.into()));
    place.lab.write("source/folder-7/new", b"new");
    assert_eq!(place.backup()["files_new"], 1);
    forget_and_prune(&place, kind.creates == Creates::Atomically);
    place.assert_comes_back("target");
    // another machine, without copies of anything
    let _ = fs::remove_dir_all(place.lab.path("home/cache"));
    assert_eq!(place.run(&["snapshots", "--json"]).expect(0).objects().len(), 2);
    place.run(&["verify", "--restore"]).expect(0);
    matrix::cell(kind.name, "repository", "yes");
}

/// A prune gives the room back where the storage is safe for it, and is refused elsewhere.
fn forget_and_prune(place: &Place, is_safe: bool) {
    let path = place.lab.path("source/folder-7/file-7");
    fs::remove_file(path).unwrap();
    place.backup();
    let forget = ["forget", "--keep-last", "2", "--json", "--prune", "--max-unused", "0"];
    if is_safe {
        let said = place.run(&forget).expect(0).text();
        let pruned: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert!(pruned["packs_rewritten"].as_u64().unwrap() > 0, "{pruned}");
        let again = place.run(&["prune", "--json", "--max-unused", "0"]).expect(0).json();
        assert_eq!((&again["packs_removed"], &again["packs_rewritten"]), (&0.into(), &0.into()));
        return;
    }
    for verb in [&forget[..], &["prune"]] {
        let refused = place.run(verb).expect(1);
        assert!(refused.stderr.contains("refused on this storage"), "{}", refused.stderr);
    }
    assert_eq!(place.run(&["snapshots", "--json"]).expect(0).objects().len(), 4);
    place.run(&["prune", "--dry-run"]).expect(0);
    place.run(&["forget", "--keep-last", "2"]).expect(0);
}

/// A backup that is under way.
fn begin_backup(place: &Place) -> Child {
    let mut command = place.command();
    command.args(["backup", "--json", "source"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until some packs are stored.
fn await_packs(place: &Place, count: usize) {
    loop {
        let listed = Outcome::of(place.command().args(["target", "ls"]).arg(&place.reach.url));
        if listed.text().lines().filter(|line| line.contains(" packs/")).count() >= count {
            return;
        }
    }
}

fn large_source(lab: &Lab) {
    for number in 0..10 {
        lab.write(format!("source/{number}"), &pseudo_random(16 << 20, number));
    }
}

/// Killed in the middle, a backup goes on with what it had stored.
fn resume(kind: Kind) {
    let place = Place::new(kind, "resume");
    large_source(&place.lab);
    place.run(&["init"]).expect(0);
    let mut running = begin_backup(&place);
    await_packs(&place, 2);
    running.kill().unwrap();
    running.wait().unwrap();
    let summary = place.backup();
    let added = summary["data_added_packed"].as_u64().unwrap();
    assert!(added < 150 << 20, "sent {added} bytes again");
    place.assert_comes_back("target");
    matrix::cell(kind.name, "resume", "yes");
}

/// The server dies in the middle of a backup and comes back: the backup goes on by itself.
fn restart(kind: Kind) {
    let mut service = Service::start(kind.service.0, kind.service.1);
    let place = Place::on(kind, "restart", &|name| service.variable(name));
    large_source(&place.lab);
    place.run(&["init"]).expect(0);
    let running = begin_backup(&place);
    await_packs(&place, 2);
    service.end(kind.end);
    service.again();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    place.assert_comes_back("target");
}

fn wrong_credentials(kind: Kind) {
    let mut place = Place::new(kind, "denied");
    place.run(&["init"]).expect(0);
    (kind.spoil)(&mut place.reach);
    for command in [&["snapshots"][..], &["backup", "source"]] {
        let refused = place.run(command).expect(kind.refusal.0);
        let said = refused.stderr.to_lowercase();
        assert!(said.contains(kind.refusal.1), "{said}");
        assert!(said.contains("hint:"), "{said}");
    }
}

macro_rules! storages {
    ($($module:ident: $kind:ident;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn conforms() { conformance($kind) }
            #[test]
            fn holds_a_repository() { repository($kind) }
            #[test]
            fn resumes_what_was_killed() { resume($kind) }
            #[test]
            fn outlives_its_server() { restart($kind) }
            #[test]
            fn names_wrong_credentials() { wrong_credentials($kind) }
        }
    )*};
}

mod in_a_folder {
    use super::*;

    #[test]
    fn conforms() {
        conformance(LOCAL);
    }

    #[test]
    fn holds_a_repository() {
        repository(LOCAL);
    }

    #[test]
    fn resumes_what_was_killed() {
        resume(LOCAL);
    }
}

storages! {
    on_s3: S3;
    on_s3_without_conditions: WEAK_S3;
    on_azure: AZURE;
    on_smb: SMB;
    on_sftp: SFTP;
    on_webdav: WEBDAV;
    on_ftp: FTP;
}
