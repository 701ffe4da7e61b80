//! What has to be known about a store that its type does not tell.
//!
//! Opens nothing and holds no secret.

use object_store::PutMultipartOptions;

/// How a store is used as a target, and what it is trusted to do.
#[derive(Debug, Clone)]
pub struct ObjectStoreConfig {
    /// How the target is shown: a URL without secrets.
    pub name: String,
    /// The folders below which all objects lie; empty for the whole store.
    pub path: Vec<String>,
    /// True if the store decides `PutMode::Create` atomically, and does not repeat it by itself
    /// after an answer was lost: a store that does reports its own success as a conflict. Else
    /// the target says that it has no atomic create, and its users do without what needs one.
    pub atomic_create: bool,
    /// True if `copy_if_not_exists` of the store is as atomic. No store creates by parts, so a
    /// stream that is longer than one part is created under another name and copied. Where this
    /// is false such a put is refused.
    pub atomic_copy: bool,
    /// How many transfers at once are worth while.
    pub concurrency: usize,
    /// How many keys the store deletes well at once; 1 where there is nothing to gain.
    pub delete_batch_max: usize,
    /// The size of the parts of streams, in bytes. Stores want 5 MiB at least.
    pub part_bytes: usize,
    /// Passed to the store with each upload in parts: this is where a store that talks HTTP takes
    /// a policy for repeating single parts.
    pub multipart: PutMultipartOptions,
}

impl ObjectStoreConfig {
    /// A store that is shown as `name` and trusted with nothing.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: Vec::new(),
            atomic_create: false,
            atomic_copy: false,
            concurrency: 16,
            delete_batch_max: 1,
            part_bytes: 8 << 20,
            multipart: PutMultipartOptions::default(),
        }
    }

    /// Trusts the store to decide every create and every copy atomically.
    #[must_use]
    pub fn with_atomic_create(self) -> Self {
        Self { atomic_create: true, atomic_copy: true, ..self }
    }

    /// Keeps all objects below `path`.
    #[must_use]
    pub fn below(self, path: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), ..self }
    }
}
