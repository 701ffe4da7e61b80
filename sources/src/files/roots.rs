//! The roots of a file source: made absolute, merged, and arranged as the tree that leads to
//! them.
//!
//! Resolves links only where `..` makes that necessary.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use strongroom_core::{
    entry::display_name,
    error::{Error, ErrorKind, Result},
};

use super::invalid;

/// A folder or file on the way to a root, or a root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// A root: all of it.
    Whole,
    /// A folder above roots: only what leads to them, by name.
    Towards(BTreeMap<Vec<u8>, Branch>),
}

/// All roots.
#[derive(Debug)]
pub(super) struct Roots {
    paths: Vec<Vec<u8>>,
    top: Branch,
}

impl Roots {
    /// Arranges `roots`; a root within another one is dropped.
    pub(super) fn new(roots: &[PathBuf]) -> Result<Self> {
        if roots.is_empty() {
            return Err(invalid("nothing to back up: no path was given"));
        }
        let mut top = Branch::Towards(BTreeMap::new());
        for root in roots {
            top.insert(names(&absolute(root)?));
        }
        let mut paths = Vec::new();
        top.collect(&mut Vec::new(), &mut paths);
        Ok(Self { paths, top })
    }

    /// The absolute paths, sorted, none within another.
    pub(super) fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// The root folder of the machine, as the start of the way to all roots.
    pub(super) fn top(&self) -> &Branch {
        &self.top
    }
}

impl Branch {
    fn insert(&mut self, names: Vec<Vec<u8>>) {
        let mut branch = self;
        for name in names {
            match branch {
                Self::Whole => return,
                Self::Towards(children) => {
                    branch = children.entry(name).or_insert_with(|| Self::Towards(BTreeMap::new()));
                }
            }
        }
        *branch = Self::Whole;
    }

    fn collect(&self, path: &mut Vec<u8>, paths: &mut Vec<Vec<u8>>) {
        match self {
            Self::Whole if path.is_empty() => paths.push(b"/".to_vec()),
            Self::Whole => paths.push(path.clone()),
            Self::Towards(children) => {
                for (name, child) in children {
                    let length = path.len();
                    path.push(b'/');
                    path.extend_from_slice(name);
                    child.collect(path, paths);
                    path.truncate(length);
                }
            }
        }
    }
}

/// Makes `root` absolute. Links are left alone, except before a `..`: what that means depends on
/// where the link before it leads.
fn absolute(root: &Path) -> Result<PathBuf> {
    if root.as_os_str().is_empty() {
        return Err(invalid("the path to back up is empty"));
    }
    let shown = || display_name(root.as_os_str().as_bytes());
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Invalid, "cannot be made an absolute path").on(shown()).because(error)
    };
    let path = std::path::absolute(root).map_err(failed)?;
    let components: Vec<Component<'_>> = path.components().collect();
    let Some(last) = components.iter().rposition(|part| *part == Component::ParentDir) else {
        return Ok(path);
    };
    let resolved = components[..=last].iter().collect::<PathBuf>();
    let mut resolved = std::fs::canonicalize(resolved).map_err(failed)?;
    resolved.extend(&components[last + 1..]);
    Ok(resolved)
}

fn names(path: &Path) -> Vec<Vec<u8>> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(OsStr::to_os_string(name).into_vec()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(roots: &[&str]) -> Vec<String> {
        let roots: Vec<PathBuf> = roots.iter().map(PathBuf::from).collect();
        let roots = Roots::new(&roots).unwrap();
        roots.paths().iter().map(|path| String::from_utf8(path.clone()).unwrap()).collect()
    }

    #[test]
    fn overlapping_roots_are_merged_whatever_their_order() {
        assert_eq!(paths(&["/a/b", "/a"]), ["/a"]);
        assert_eq!(paths(&["/a", "/a/b"]), ["/a"]);
        assert_eq!(paths(&["/a/b", "/a/c", "/a/b"]), ["/a/b", "/a/c"]);
        assert_eq!(paths(&["/a/bc", "/a/b"]), ["/a/b", "/a/bc"]);
        assert_eq!(paths(&["/a", "/"]), ["/"]);
    }

    #[test]
    fn slashes_and_single_dots_do_not_matter() {
        assert_eq!(paths(&["//a/./b//", "/a/b/."]), ["/a/b"]);
    }

    #[test]
    fn relative_roots_start_at_the_current_folder() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(paths(&["x"]), [here.join("x").to_str().unwrap()]);
        assert_eq!(paths(&["."]), [here.to_str().unwrap()]);
    }

    #[test]
    fn two_dots_mean_what_they_mean_to_the_system() {
        let scratch = tempfile::tempdir().unwrap();
        let base = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("real/deep")).unwrap();
        symlink("real/deep", base.join("link")).unwrap();
        let root = base.join("link/../other");
        assert_eq!(paths(&[root.to_str().unwrap()]), [base.join("real/other").to_str().unwrap()]);
        let link = base.join("link");
        assert_eq!(paths(&[link.to_str().unwrap()]), [link.to_str().unwrap()]);
    }

    #[test]
    fn what_is_no_root_is_refused_by_name() {
        assert_eq!(Roots::new(&[]).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(Roots::new(&[PathBuf::new()]).unwrap_err().kind(), ErrorKind::Invalid);
        let error = Roots::new(&[PathBuf::from("/no such folder/../x")]).unwrap_err();
        assert!(error.to_string().starts_with("/no such folder/../x: "), "{error}");
    }
}
