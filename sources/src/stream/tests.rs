//! Streams are read once and to the end, and commands must succeed.

use std::io::Cursor;

use super::*;

fn open(source: &dyn Source) -> (Found, Box<dyn SourceFile>) {
    let mut scan = source.scan().unwrap();
    let batch = scan.next_batch().unwrap().unwrap();
    assert!(scan.next_batch().unwrap().is_none());
    let found = batch.entries[0].clone();
    let file = batch.folder.open(&found).unwrap();
    assert!(batch.folder.open(&found).is_err());
    (found, file)
}

fn read_all(file: &mut dyn SourceFile) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 7];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

#[test]
fn a_stream_is_one_file() {
    let source = StreamSource::new(b"db.sql", Box::new(Cursor::new(b"some content"))).unwrap();
    assert_eq!(source.roots(), ["/db.sql"]);
    let (found, mut file) = open(&source);
    assert_eq!((found.name.as_slice(), found.stat.kind), (b"db.sql".as_slice(), EntryKind::File));
    assert_eq!(read_all(&mut *file), b"some content");
    file.finish().unwrap();
    assert!(source.scan().is_err());
}

#[test]
fn names_of_files_only() {
    for bad in ["", "a/b", "..", "a\0b"] {
        assert!(StreamSource::new(bad.as_bytes(), Box::new(Cursor::new(b""))).is_err(), "{bad:?}");
    }
}

fn command(words: &[&str]) -> CommandSource {
    CommandSource::new(b"out", words.iter().map(Into::into).collect()).unwrap()
}

#[test]
fn a_command_that_succeeds_gives_its_output() {
    let source = command(&["printf", "%s", "a b; $HOME"]);
    let (_, mut file) = open(&source);
    assert_eq!(read_all(&mut *file), b"a b; $HOME");
    file.finish().unwrap();
}

#[test]
fn a_command_that_fails_fails_the_stream() {
    let source = command(&["sh", "-c", "echo partial; exit 7"]);
    let (_, mut file) = open(&source);
    assert_eq!(read_all(&mut *file), b"partial\n");
    assert!(file.finish().unwrap_err().to_string().contains("exit status: 7"));
    assert!(command(&["/no/such/program"]).scan().is_err());
    assert!(CommandSource::new(b"out", Vec::new()).is_err());
}

#[test]
fn a_command_nobody_reads_is_ended_with_its_children() {
    let (_, file) = open(&command(&["sh", "-c", "sleep 1000 & yes; wait"]));
    // returns only once the whole group is gone
    drop(file);
}
