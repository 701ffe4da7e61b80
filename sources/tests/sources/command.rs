//! Commands as sources: only those that succeed count.

use std::{io::Read, path::Path};

use strongroom_core::{entry::FileTime, error::ErrorKind};
use strongroom_sources::stream::{CommandOptions, CommandSource, CommandStderr, StreamOptions};

use crate::support::{Walked, run, scratch};

fn command(arguments: &[&str]) -> Walked {
    let stream = StreamOptions::new(b"out", FileTime::default()).unwrap();
    let arguments = arguments.iter().map(Into::into).collect();
    let options = CommandOptions { arguments, stderr: CommandStderr::Capture };
    // The walk's folders keep what they need of the source.
    Walked::of(&CommandSource::new(stream, options).unwrap())
}

fn output(arguments: &[&str]) -> std::io::Result<Vec<u8>> {
    command(arguments).read(Path::new("/out"))
}

#[test]
fn the_output_of_a_command_is_the_content() {
    assert_eq!(output(&["printf", "%s", "content"]).unwrap(), b"content");
    assert_eq!(output(&["true"]).unwrap(), b"");
    let large = output(&["head", "-c", "3000000", "/dev/zero"]).unwrap();
    assert_eq!(large.len(), 3_000_000);
}

#[test]
fn there_is_no_shell_and_nothing_to_read() {
    let literal = "$(id); * `id` && -rf\n'\"";
    assert_eq!(output(&["printf", "%s", literal]).unwrap(), literal.as_bytes());
    assert_eq!(output(&["cat"]).unwrap(), b"");
}

#[test]
fn a_command_that_fails_fails_the_file() {
    let message = |arguments: &[&str]| output(arguments).unwrap_err().to_string();
    let status = message(&["sh", "-c", "echo some; echo the cause >&2; exit 3"]);
    assert_eq!(status, "command `sh` failed with exit status 3: the cause");
    assert_eq!(message(&["false"]), "command `false` failed with exit status 1");
    assert_eq!(message(&["sh", "-c", "kill -TERM $$"]), "command `sh` was killed by signal 15");
    let missing = message(&["/no/such/program"]);
    assert!(missing.starts_with("command `/no/such/program` cannot be started: "), "{missing}");
}

#[test]
fn a_flood_of_messages_neither_blocks_nor_fills_memory() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo out; echo end >&2; exit 1";
    let message = output(&["sh", "-c", script]).unwrap_err().to_string();
    assert!(message.ends_with("end"), "{message}");
    assert!(message.len() < 4_096);
}

#[test]
fn a_failed_command_that_left_others_behind_is_not_waited_for() {
    // The other one has the standard error, but not the standard output.
    let script = "sleep 1000 >/dev/null & echo gone >&2; exit 1";
    let message = output(&["sh", "-c", script]).unwrap_err().to_string();
    assert!(message.ends_with(": gone"), "{message}");
}

#[test]
fn dropped_early_a_command_is_killed_with_all_it_started() {
    let (_guard, base) = scratch();
    let pipe = base.join("pipe");
    run(&["mkfifo", pipe.to_str().unwrap()]);
    // Two processes hold the pipe open for writing; the output never ends.
    let script = "exec 3>\"$0\"; sleep 1000 & cat /dev/zero";
    let walked = command(&["sh", "-c", script, pipe.to_str().unwrap()]);
    let seen = walked.seen(Path::new("/out"));
    let mut file = seen.folder.open(&seen.found).unwrap();
    let mut witness = std::fs::File::open(&pipe).unwrap();
    assert!(file.read(&mut [0; 100]).unwrap() > 0);
    drop(file);
    // Ends when the last one that holds it is dead.
    assert_eq!(witness.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_command_that_is_not_read_to_the_end_has_failed() {
    let walked = command(&["cat", "/dev/zero"]);
    let seen = walked.seen(Path::new("/out"));
    let mut file = seen.folder.open(&seen.found).unwrap();
    file.read(&mut [0; 100]).unwrap();
    assert!(file.finish().is_err());
}

#[test]
fn no_command_is_refused() {
    for arguments in [vec![], vec!["".into()]] {
        let stream = StreamOptions::new(b"out", FileTime::default()).unwrap();
        let options = CommandOptions { arguments, stderr: CommandStderr::Inherit };
        let error = CommandSource::new(stream, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
