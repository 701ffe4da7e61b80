//! What a backup leaves out: patterns, caches, other file systems, the repository itself.

use std::{fs, path::Path, process::Command};

use crate::support::{
    Lab, Outcome, is_root,
    lab::{PASSWORD, binary},
};

fn lab_with(files: &[&str]) -> Lab {
    let lab = Lab::new();
    for file in files {
        lab.write(Path::new("source").join(file), file.as_bytes());
    }
    lab
}

/// Backs up with `args`, restores, and tells which of `files` came back.
fn kept<'a>(lab: &Lab, args: &[&str], files: &[&'a str]) -> Vec<&'a str> {
    lab.run(["backup", "--init"].iter().chain(args).chain(&["source"])).expect(0);
    let _ = fs::remove_dir_all(lab.path("target"));
    lab.restore("target").expect(0);
    files.iter().copied().filter(|file| lab.restored("target").join(file).exists()).collect()
}

#[test]
fn patterns_are_those_of_gitignore() {
    let files =
        ["a.log", "b.txt", "keep.log", "sub/c.log", "sub/d.txt", "build/out", "sub/build/x"];
    let lab = lab_with(&files);
    assert_eq!(
        kept(&lab, &["--exclude", "*.log", "-e", "!keep.log"], &files),
        ["b.txt", "keep.log", "sub/d.txt", "build/out", "sub/build/x"]
    );
    assert_eq!(
        kept(&lab, &["-e", "build/"], &files),
        ["a.log", "b.txt", "keep.log", "sub/c.log", "sub/d.txt"]
    );
    lab.write("patterns", b"# a comment\n\nsub/*.log\n*.txt\n");
    assert_eq!(
        kept(&lab, &["--exclude-file", "patterns"], &files),
        ["a.log", "keep.log", "build/out", "sub/build/x"]
    );
}

#[test]
fn marked_caches_are_left_out() {
    let files = ["cache/data", "cache/CACHEDIR.TAG", "false/data", "false/CACHEDIR.TAG", "data"];
    let lab = lab_with(&files);
    lab.write("source/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n#\n");
    let came_back = kept(&lab, &["--exclude-caches"], &files);
    assert!(!came_back.contains(&"cache/data"), "{came_back:?}");
    assert!(came_back.contains(&"false/data") && came_back.contains(&"data"), "{came_back:?}");
}

#[test]
fn the_repository_is_not_backed_up_into_itself() {
    let lab = Lab::new();
    lab.write("source/file", b"file");
    for _ in 0..2 {
        let mut command = lab.command();
        command
            .args(["backup", "--init", "source"])
            .env("STRONGROOM_REPOSITORY", lab.path("source/repository"));
        let outcome = Outcome::of(&mut command);
        assert!([0, 3].contains(&outcome.code), "{outcome}");
    }
    let mut command = lab.command();
    command.args(["ls", "latest"]).env("STRONGROOM_REPOSITORY", lab.path("source/repository"));
    let listed = Outcome::of(&mut command).expect(0).text();
    assert!(listed.contains("source/file"), "{listed}");
    assert!(!listed.contains("repository/packs"), "{listed}");
}

#[test]
fn other_file_systems_are_left_out_when_asked() {
    if !is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let lab = lab_with(&["file", "mounted/below the mount"]);
    let backup = |flag: &str| {
        let mut command = Command::new("unshare");
        lab.isolate(&mut command);
        command
            .env("STRONGROOM_REPOSITORY", lab.repository())
            .env("STRONGROOM_PASSWORD", PASSWORD)
            .env("strongroom", binary())
            .args(["-m", "sh", "-euc"])
            .arg(format!(
                "mount -t tmpfs none source/mounted\necho x >source/mounted/foreign\n\
                 \"$strongroom\" backup --init {flag} source"
            ));
        Outcome::of(&mut command).expect(0);
        lab.run(["ls", "latest"]).expect(0).text()
    };
    let all = backup("");
    assert!(all.contains("source/mounted/foreign"), "{all}");
    let one = backup("--one-file-system");
    assert!(!one.contains("source/mounted/foreign"), "{one}");
    assert!(one.contains("source/mounted") && one.contains("source/file"), "{one}");
}

#[test]
fn pipes_and_sockets_never_block() {
    let lab = Lab::new();
    crate::support::fixture::kinds(&lab.source());
    lab.backup_init();
    let listed = lab.run(["ls", "latest"]).expect(0).text();
    assert!(listed.contains("source/fifo") && listed.contains("source/socket"), "{listed}");
}
