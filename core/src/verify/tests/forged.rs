//! Repositories written by somebody who has the keys and lies: everything opens, but what it says
//! does not hold together.

use minicbor::{Decoder, Encoder};

use super::*;
use crate::{
    compress::Algorithm,
    entry::{ChunkRef, EntryKind, PackRef, TreePath},
    format::{
        commit::WrittenObject,
        pack::{Directory, PackSealer, SegmentRow},
        page::{Counts, EntryKey, Node, NodeRow, Page, PieceList, TableRoot},
    },
    packset::PackSet,
    testing::stat,
};

/// The session of everything forged.
const SESSION: SessionId = SessionId([0xf0; 16]);

/// A repository with a true snapshot, and packs to refer to.
struct Forgery {
    world: World,
    packs: Vec<WrittenObject>,
}

impl Forgery {
    async fn new() -> Self {
        let world = World::new().await;
        world.backup(&Arc::default()).await;
        Self { world, packs: Vec::new() }
    }

    /// Stores chunks in a pack of their own, in one segment.
    async fn pack(&mut self, chunks: &[Vec<u8>]) -> Vec<ChunkRef> {
        let (keys, counter) = (self.world.repository.keys(), self.packs.len() as u32);
        let id = PackId { session: SESSION, counter };
        let randomness = &*self.world.repository.runtime().randomness;
        let sealer = PackSealer::new(keys, id, randomness);
        let id_of = |chunk: &Vec<u8>| keys.chunk_keys().chunk_id(chunk);
        let rows: Vec<_> = chunks.iter().map(|chunk| (id_of(chunk), chunk.len() as u32)).collect();
        let mut payload = chunks.concat();
        let (plain_len, algorithm) = (payload.len() as u32, Algorithm::Stored);
        sealer.seal_segment(0, &rows, algorithm, plain_len, &mut payload).unwrap();
        let stored_len = payload.len() as u32;
        let row = SegmentRow { algorithm, plain_len, stored_len, chunks: rows.clone() };
        let directory = Directory { segments: vec![row] };
        let sealed = sealer.finish(&directory, vec![payload.into()]).unwrap();
        put(&self.world, &format!("packs/{id}"), sealed.parts.concat()).await;
        let (size_bytes, hash) = (sealed.size, sealed.blake3);
        self.packs.push(WrittenObject { counter, size_bytes, hash });
        let pack = PackRef { id, epoch: sealer.epoch(), salt: *sealer.salt() };
        let reference = |(id, len_bytes)| ChunkRef { id, pack, segment: 0, len_bytes };
        rows.into_iter().map(reference).collect()
    }

    /// Commits a table and verifies; the commit's name is `meta/snapshots/f0...`.
    async fn verify(&self, root: TableRoot, references: PackSet) -> Vec<Damage> {
        let repository = &self.world.repository;
        let snapshot = repository.snapshots().await.unwrap().snapshots[0].id;
        let mut commit = repository.load_commit(snapshot).await.unwrap().commit;
        (commit.session, commit.packs, commit.root) = (SESSION, self.packs.clone(), Some(root));
        commit.indexes = Vec::new();
        let randomness = &*repository.runtime().randomness;
        let sealed = repository.seal_commit(&mut commit, &references, randomness).unwrap();
        put(&self.world, &commit_name(), sealed).await;
        verify_with(&self.world, ReadData::All).await.damage
    }

    /// As [`Self::verify`], with all packs on the reference list.
    async fn verify_root(&self, level: u8, chunk: ChunkRef, counts: Counts) -> Vec<Damage> {
        let root = TableRoot { level, chunk: Some(chunk), counts };
        self.verify(root, self.all_packs()).await
    }

    fn all_packs(&self) -> PackSet {
        let id = |pack: &WrittenObject| PackId { session: SESSION, counter: pack.counter };
        self.packs.iter().map(id).collect()
    }
}

fn commit_name() -> String {
    format!("meta/snapshots/{SESSION}")
}

fn file(name: &str, content: Content, size: u64) -> Entry {
    let (name, stat) = (name.as_bytes().to_vec(), stat(EntryKind::File, 1, size));
    Entry { name, stat, details: Default::default(), content, is_torn: false }
}

fn inline(chunks: &[ChunkRef]) -> Content {
    Content::Inline(chunks.iter().copied().map(Piece::Chunk).collect())
}

/// A page of empty files in the root.
fn page(names: &[&str]) -> Page {
    let mut page = Page::default();
    let entries = names.iter().map(|name| file(name, Content::default(), 0));
    entries.for_each(|entry| page.push(&TreePath::root(), entry));
    page
}

fn row(chunk: ChunkRef, page: &Page) -> NodeRow {
    let mut packs = page.packs();
    packs.insert(chunk.pack.id);
    NodeRow { first: page.first_key().unwrap(), chunk, counts: page.counts(), packs }
}

fn only<'d>(damage: &'d [Damage], object: &str, message: &str) -> &'d Damage {
    let [only] = damage else { panic!("one object: {damage:?}") };
    assert_eq!(only.object, object);
    assert!(only.message.contains(message), "{only:?}");
    only
}

/// Forges one file of two chunks after `lie` has changed its entry.
async fn lying_entry(lie: impl FnOnce(&mut Entry)) -> (Vec<Damage>, Counts) {
    let mut forgery = Forgery::new().await;
    let chunks = forgery.pack(&[noise(1, 100), noise(2, 50)]).await;
    let mut entry = file("name", inline(&chunks), 150);
    lie(&mut entry);
    let mut page = Page::default();
    page.push(&TreePath::root(), entry);
    let root = forgery.pack(&[page.encode()]).await[0];
    (forgery.verify_root(0, root, page.counts()).await, page.counts())
}

fn first_chunk(entry: &mut Entry) -> &mut ChunkRef {
    match &mut entry.content {
        Content::Inline(pieces) => match &mut pieces[0] {
            Piece::Chunk(chunk) => chunk,
            Piece::Hole(_) => panic!("a chunk"),
        },
        Content::Listed { .. } => panic!("pieces"),
    }
}

#[tokio::test]
async fn files_must_have_their_size_and_their_chunks() {
    let contents = format!("packs/{}", PackId { session: SESSION, counter: 0 });
    let table = format!("packs/{}", PackId { session: SESSION, counter: 1 });
    assert_eq!(lying_entry(|_| {}).await.0, []);
    let (damage, _) = lying_entry(|entry| entry.stat.size = 151).await;
    only(&damage, &table, "name has content of 150 bytes instead of 151");
    let (damage, _) = lying_entry(|entry| entry.stat.kind = EntryKind::Dir).await;
    only(&damage, &table, "150 bytes instead of 0");
    let lies: [fn(&mut ChunkRef); 4] = [
        |chunk| chunk.id.0[0] ^= 1,
        |chunk| chunk.segment = 9,
        |chunk| chunk.pack.salt[0] ^= 1,
        |chunk| chunk.pack.epoch = 5,
    ];
    for lie in lies {
        let (damage, _) = lying_entry(|entry| lie(first_chunk(entry))).await;
        let damage = only(&damage, &contents, "");
        assert_eq!(damage.snapshots, [SESSION.to_string()]);
        assert_eq!(damage.files, ["name"]);
    }
    let (damage, _) = lying_entry(|entry| {
        (first_chunk(entry).len_bytes, entry.stat.size) = (u32::MAX, u64::from(u32::MAX) + 50);
    })
    .await;
    only(&damage, &contents, "lacks chunk");
}

#[tokio::test]
async fn a_commit_must_count_and_list_what_its_table_needs() {
    let mut forgery = Forgery::new().await;
    let chunks = forgery.pack(&[noise(1, 100)]).await;
    let mut page = Page::default();
    page.push(&TreePath::root(), file("name", inline(&chunks), 100));
    let chunk = Some(forgery.pack(&[page.encode()]).await[0]);
    let root = TableRoot { level: 0, chunk, counts: page.counts() };
    assert_eq!(forgery.verify(root.clone(), forgery.all_packs()).await, []);

    let counts = Counts { files: 2, ..page.counts() };
    let damage = forgery.verify(TableRoot { counts, ..root.clone() }, forgery.all_packs()).await;
    only(&damage, &commit_name(), "does not count");
    let without = PackSet::from_iter([PackId { session: SESSION, counter: 1 }]);
    let damage = forgery.verify(root.clone(), without).await;
    only(&damage, &commit_name(), "does not list pack");
    let no_table = TableRoot { chunk: None, ..root };
    let damage = forgery.verify(no_table, forgery.all_packs()).await;
    only(&damage, &commit_name(), "entries of no table");
}

#[tokio::test]
async fn a_reference_list_of_billions_is_bounded_work() {
    let forgery = Forgery::new().await;
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    encoder.array(1).unwrap().array(2).unwrap().bytes(SESSION.as_bytes()).unwrap();
    encoder.array(2).unwrap().u32(0).unwrap().u32(u32::MAX).unwrap();
    let references = PackSet::decode(&mut Decoder::new(&bytes)).unwrap();
    let root = TableRoot { level: 0, chunk: None, counts: Counts::default() };
    let damage = forgery.verify(root, references).await;
    assert_eq!(damage.len(), 1_000);
    assert!(damage.iter().all(|damage| damage.message == "is missing"));
}

/// Forges a node over two pages, `a` to `c` and `d`, after `lie` has changed rows and level.
async fn lying_node(level: u8, lie: impl FnOnce(&mut Node)) -> Vec<Damage> {
    let mut forgery = Forgery::new().await;
    let pages = [page(&["a", "c"]), page(&["d"])];
    let chunks = forgery.pack(&pages.each_ref().map(Page::encode)).await;
    let rows = chunks.iter().zip(&pages).map(|(chunk, page)| row(*chunk, page)).collect();
    let mut node = Node { level: 1, rows };
    lie(&mut node);
    let root = forgery.pack(&[node.encode()]).await[0];
    forgery.verify_root(level, root, node.counts()).await
}

#[tokio::test]
async fn nodes_must_describe_their_pages() {
    let pages = format!("packs/{}", PackId { session: SESSION, counter: 0 });
    let table = format!("packs/{}", PackId { session: SESSION, counter: 1 });
    assert_eq!(lying_node(1, |_| {}).await, []);
    let damage = lying_node(1, |node| node.rows[1].counts.files = 7).await;
    only(&damage, &pages, "holds other entries than its node counts");
    let damage = lying_node(1, |node| node.rows[1].packs = PackSet::default()).await;
    only(&damage, &pages, "its node does not list");
    let damage = lying_node(1, |node| node.rows[1].first.name = b"e".to_vec()).await;
    only(&damage, &pages, "begins with another entry");
    let damage = lying_node(2, |_| {}).await;
    only(&damage, &table, "another level");
    let damage = lying_node(0, |_| {}).await;
    only(&damage, &table, "malformed page");
    let damage = lying_node(1, |node| node.rows[1].chunk = node.rows[0].chunk).await;
    only(&damage, &pages, "begins with another entry");
}

#[tokio::test]
async fn pages_must_follow_each_other() {
    let mut forgery = Forgery::new().await;
    let pages = [page(&["a", "z"]), page(&["m"])];
    let chunks = forgery.pack(&pages.each_ref().map(Page::encode)).await;
    let rows = chunks.iter().zip(&pages).map(|(chunk, page)| row(*chunk, page)).collect();
    let node = Node { level: 1, rows };
    let root = forgery.pack(&[node.encode()]).await[0];
    let damage = forgery.verify_root(1, root, node.counts()).await;
    let name = format!("packs/{}", chunks[1].pack.id);
    let damage = only(&damage, &name, "not in order");
    assert_eq!(damage.snapshots, [SESSION.to_string()]);
}

#[tokio::test]
async fn lists_of_pieces_must_add_up() {
    let mut forgery = Forgery::new().await;
    let chunks = forgery.pack(&[noise(1, 100), noise(2, 50)]).await;
    let pieces = vec![Piece::Chunk(chunks[0]), Piece::Hole(1 << 40), Piece::Chunk(chunks[1])];
    let lists = forgery.pack(&[PieceList { pieces }.encode()]).await;
    let packs = PackSet::from_iter([chunks[0].pack.id]);
    let entry = |packs: PackSet, size: u64| {
        let mut page = Page::default();
        let content = Content::Listed { lists: lists.clone(), packs };
        page.push(&TreePath::root(), file("sparse", content, size));
        page
    };
    let size = (1 << 40) + 150;
    for (page, wrong) in [
        (entry(packs.clone(), size), None),
        (entry(packs, size + 1), Some("instead of")),
        (entry(PackSet::default(), size), Some("its entry does not list")),
    ] {
        let root = forgery.pack(&[page.encode()]).await[0];
        let damage = forgery.verify_root(0, root, page.counts()).await;
        match wrong {
            None => assert_eq!(damage, []),
            Some(message) => {
                assert_eq!(damage.len(), 1, "{damage:?}");
                assert!(damage[0].message.contains(message), "{damage:?}");
            }
        }
    }
}

/// Every node lists the one below twice: 2^12 pages, if anybody believed it.
#[tokio::test]
async fn a_table_that_multiplies_is_bounded_work() {
    let mut forgery = Forgery::new().await;
    let lowest = page(&["a"]);
    let chunk = forgery.pack(&[lowest.encode()]).await[0];
    let mut below = row(chunk, &lowest);
    let mut root = None;
    for level in 1..=12 {
        let mut again = below.clone();
        again.first = EntryKey { folder: TreePath::root(), name: vec![b'a' + level] };
        let node = Node { level, rows: vec![below.clone(), again] };
        let chunk = forgery.pack(&[node.encode()]).await[0];
        let mut packs = node.packs();
        packs.insert(chunk.pack.id);
        below = NodeRow { first: below.first, chunk, counts: node.counts(), packs };
        root = Some((chunk, node.counts()));
    }
    let (chunk, counts) = root.unwrap();
    let damage = forgery.verify_root(12, chunk, counts).await;
    assert_eq!(damage.len(), 12, "each level lies once: {damage:?}");
}
