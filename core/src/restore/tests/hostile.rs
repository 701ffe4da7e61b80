//! Tables that no backup of ours writes: refused entry by entry, and never a panic.

use bytes::Bytes;

use super::*;
use crate::{
    compress::Algorithm,
    entry::{ChunkRef, Content, Details, Entry, PackRef, Piece, Stat, TreePath},
    format::{
        pack::{Directory, PackSealer, SegmentRow},
        page::{Counts, Page, PieceList, TableRoot},
    },
    id::{PackId, SessionId},
    packset::PackSet,
    repository::layout,
    target::{Payload, PutMode},
    testing::{stat, world::path},
};

/// A pack in the making, one segment a chunk.
struct Forge {
    scene: Scene,
    sealer: PackSealer,
    pack: PackRef,
    rows: Vec<SegmentRow>,
    segments: Vec<Bytes>,
}

impl Forge {
    async fn new() -> Self {
        let scene = Scene::of(MemorySource::default()).await;
        let repository = &scene.world.repository;
        let id = PackId { session: SessionId([0xab; 16]), counter: 3 };
        let sealer = PackSealer::new(repository.keys(), id, &*repository.runtime().randomness);
        let pack = PackRef { id, epoch: sealer.epoch(), salt: *sealer.salt() };
        Self { scene, sealer, pack, rows: Vec::new(), segments: Vec::new() }
    }

    fn add(&mut self, plain: &[u8]) -> ChunkRef {
        let id = self.scene.world.repository.keys().chunk_keys().chunk_id(plain);
        let segment = self.rows.len() as u32;
        let len_bytes = plain.len() as u32;
        let chunks = vec![(id, len_bytes)];
        let mut sealed = plain.to_vec();
        let algorithm = Algorithm::Stored;
        self.sealer.seal_segment(segment, &chunks, algorithm, len_bytes, &mut sealed).unwrap();
        let stored_len = sealed.len() as u32;
        self.rows.push(SegmentRow { algorithm, plain_len: len_bytes, stored_len, chunks });
        self.segments.push(Bytes::from(sealed));
        ChunkRef { id, pack: self.pack, segment, len_bytes }
    }

    fn list(&mut self, pieces: Vec<Piece>) -> ChunkRef {
        self.add(&PieceList { pieces }.encode())
    }

    /// A file with this content.
    fn file(name: &str, size: u64, pieces: Vec<Piece>) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            stat: stat(EntryKind::File, 1, size),
            details: Details::default(),
            content: Content::Inline(pieces),
            is_torn: false,
        }
    }

    /// Something without content.
    fn other(name: &str, kind: EntryKind) -> Entry {
        Entry { stat: stat(kind, 2, 0), ..Self::file(name, 0, Vec::new()) }
    }

    /// Stores the pack and makes a snapshot of a single page of these entries.
    async fn finish(mut self, entries: Vec<(&str, Entry)>) -> Scene {
        let mut page = Page::default();
        entries.into_iter().for_each(|(folder, entry)| page.push(&path(folder), entry));
        let root = self.add(&page.encode());
        let directory = Directory { segments: self.rows };
        let sealed = self.sealer.finish(&directory, self.segments).unwrap();
        let payload = Payload::from(Bytes::from(sealed.parts.concat()));
        let key = layout::pack_key(self.pack.id).unwrap();
        self.scene.world.target.put(&key, payload, PutMode::Create).await.unwrap();
        let counts = Counts::default();
        self.scene.snapshot.root = TableRoot { level: 0, chunk: Some(root), counts };
        self.scene
    }
}

async fn restore_hostile(scene: &Scene) -> RestoreReport {
    let options = RestoreOptions { verify: true, ..Default::default() };
    scene.try_restore(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_files_are_refused_one_by_one() {
    let mut forge = Forge::new().await;
    let chunk = forge.add(&noise(1, 5_000));
    let good = Piece::Chunk(chunk);
    let lying = |change: &dyn Fn(&mut ChunkRef)| {
        let mut chunk = chunk;
        change(&mut chunk);
        vec![Piece::Chunk(chunk)]
    };
    let elsewhere = PackRef { id: PackId { counter: 9, ..chunk.pack.id }, ..chunk.pack };
    let listed = |lists: Vec<ChunkRef>, size: u64| Entry {
        content: Content::Listed { lists, packs: PackSet::default() },
        ..Forge::file("", size, Vec::new())
    };
    let good_list = forge.list(vec![good; 3]);
    let no_list = forge.add(b"not a list");
    let endless = forge.list(vec![Piece::Hole(u64::MAX), Piece::Hole(u64::MAX), good]);
    // lists of their own: one page can give a pack only one salt
    let other_salt = forge.list(lying(&|chunk| chunk.pack.salt[0] ^= 1));
    let other_epoch = forge.list(lying(&|chunk| chunk.pack.epoch = 7));
    let wrong = [
        Forge::file("", 5_001, vec![good]),
        Forge::file("", 4_999, vec![good]),
        Forge::file("", 5_000, vec![]),
        Forge::file("", u64::MAX, vec![Piece::Hole(u64::MAX)]),
        Forge::file("", 5_000, vec![Piece::Hole(u64::MAX), Piece::Hole(5_001)]),
        Forge::file("", 5_000, lying(&|chunk| chunk.id.0[0] ^= 1)),
        Forge::file("", 4_000, lying(&|chunk| chunk.len_bytes = 4_000)),
        Forge::file("", u64::from(u32::MAX), lying(&|chunk| chunk.len_bytes = u32::MAX)),
        Forge::file("", 5_000, lying(&|chunk| chunk.segment = u32::MAX)),
        Forge::file("", 5_000, lying(&|chunk| chunk.segment = 1)),
        Forge::file("", 5_000, lying(&|chunk| chunk.pack = elsewhere)),
        listed(vec![other_salt], 5_000),
        listed(vec![other_epoch], 5_000),
        listed(vec![good_list], 15_001),
        listed(vec![good_list], 14_999),
        listed(vec![good_list, no_list], 15_000),
        listed(vec![endless], 15_000),
        listed(vec![], 1),
    ];
    let count = wrong.len();
    let mut entries: Vec<(&str, Entry)> = Vec::new();
    for (number, mut entry) in wrong.into_iter().enumerate() {
        entry.name = format!("{number:02} wrong").into_bytes();
        entries.push(("", entry));
    }
    entries.push(("", Forge::file("right", 5_000, vec![good])));
    entries
        .push(("", Entry { name: b"right, listed".to_vec(), ..listed(vec![good_list], 15_000) }));
    let scene = forge.finish(entries).await;
    let report = restore_hostile(&scene).await;
    let items: Vec<&str> = report.problems.iter().map(|problem| &problem.item[..]).collect();
    for number in 0..count {
        let name = format!("{number:02} wrong");
        assert!(items.contains(&name.as_str()), "{name}");
        assert!(scene.sink.at(&name).is_none(), "{name}");
    }
    assert_eq!(report.problem_count, count as u64);
    assert_eq!((report.files_restored, report.files_verified), (2, 2));
    assert_eq!(scene.sink.at("right").unwrap().content(), noise(1, 5_000));
    assert_eq!(scene.sink.see().len(), 2);
}

#[tokio::test]
async fn folders_that_are_no_folders_take_nothing() {
    let mut forge = Forge::new().await;
    let file = |name: &str, chunk| Forge::file(name, 10, vec![Piece::Chunk(chunk)]);
    let chunk = forge.add(&noise(1, 10));
    let mut link = Forge::other("link", EntryKind::Symlink);
    link.details.link_target = Some(b"real".to_vec());
    let scene = forge
        .finish(vec![
            ("", link),
            ("", Forge::other("real", EntryKind::Dir)),
            ("", Forge::other("socket", EntryKind::Socket)),
            ("link", file("escaped", chunk)),
            ("real", file("file", chunk)),
            ("socket", file("escaped", chunk)),
            ("unlisted/far/away", file("file", chunk)),
        ])
        .await;
    let report = restore_hostile(&scene).await;
    let names: Vec<_> = scene.sink.see().into_keys().map(|path| path.display()).collect();
    let expected = [
        "link",
        "real",
        "real/file",
        "socket",
        "unlisted",
        "unlisted/far",
        "unlisted/far/away",
        "unlisted/far/away/file",
    ];
    assert_eq!(names, expected);
    let items: Vec<&str> = report.problems.iter().map(|problem| &problem.item[..]).collect();
    assert_eq!(items, ["link/escaped", "socket/escaped"]);
}

#[tokio::test]
async fn content_of_things_that_have_none_is_ignored() {
    let mut forge = Forge::new().await;
    let chunk = forge.add(&noise(1, 10));
    let content = Content::Inline(vec![Piece::Chunk(chunk)]);
    let pipe = Entry { content: content.clone(), ..Forge::other("pipe", EntryKind::Fifo) };
    let stat = Stat { size: u64::MAX, links: u64::MAX, ..stat(EntryKind::Dir, 3, 0) };
    let folder = Entry { content, stat, ..Forge::other("folder", EntryKind::Dir) };
    let scene = forge.finish(vec![("", folder), ("", pipe)]).await;
    let report = restore_hostile(&scene).await;
    assert_eq!((report.dirs, report.others, report.bytes_fetched), (1, 1, 0));
    assert_eq!(report.problems, []);
}

#[tokio::test]
async fn folders_nested_beyond_reason_are_refused() {
    let mut forge = Forge::new().await;
    let chunk = forge.add(&noise(1, 10));
    let deep = TreePath::parse("d/".repeat(150_000).trim_end_matches('/').as_bytes()).unwrap();
    let deep = deep.as_bytes().to_vec();
    let deep = std::str::from_utf8(&deep).unwrap();
    let file = Forge::file("file", 10, vec![Piece::Chunk(chunk)]);
    let scene = forge.finish(vec![("", file.clone()), (deep, file)]).await;
    let report = restore_hostile(&scene).await;
    assert_eq!((report.problem_count, report.files_restored), (1, 1));
}
