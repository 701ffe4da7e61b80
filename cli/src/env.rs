//! What the program takes from its surroundings: variables, host and user name.

use std::{ffi::OsString, path::PathBuf};

use nix::unistd::{Uid, User};

/// The password itself.
pub const PASSWORD: &str = "STRONGROOM_PASSWORD";
/// The password of the repository that `copy` reads.
pub const FROM_PASSWORD: &str = "STRONGROOM_FROM_PASSWORD";
/// A file with the password.
pub const PASSWORD_FILE: &str = "STRONGROOM_PASSWORD_FILE";
/// A command that prints the password.
pub const PASSWORD_COMMAND: &str = "STRONGROOM_PASSWORD_COMMAND";
/// A key file.
pub const KEY_FILE: &str = "STRONGROOM_KEY_FILE";
/// What the engine logs, in the syntax of `tracing` filters.
pub const LOG: &str = "STRONGROOM_LOG";

/// Reads a variable; tests put their own in its place.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A variable of the process; an empty one counts as not set.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Takes the passwords out of the environment, so that commands that we start do not inherit it.
///
/// # Safety
/// No other thread may run: reading the environment meanwhile is undefined behaviour.
pub unsafe fn forget_password() {
    // SAFETY: as the caller promises.
    unsafe {
        std::env::remove_var(PASSWORD);
        std::env::remove_var(FROM_PASSWORD);
    }
}

/// The name of this machine.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The name of the user who runs the program; the number if it has none.
pub fn user_name() -> String {
    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// The folder for what the program remembers between runs, by the XDG base directory rules;
/// `None` if the surroundings do not say where.
pub fn state_dir(lookup: Lookup<'_>) -> Option<PathBuf> {
    base_dir(lookup, "XDG_STATE_HOME", ".local/state")
}

/// The folder for copies of what storages hold, by the XDG base directory rules; `None` if the
/// surroundings do not say where.
pub fn cache_dir(lookup: Lookup<'_>) -> Option<PathBuf> {
    base_dir(lookup, "XDG_CACHE_HOME", ".cache")
}

/// Our folder in the one that `variable` names, or else in `below_home`. Relative paths count as
/// not set.
fn base_dir(lookup: Lookup<'_>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| lookup(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("strongroom"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_state_folder_follows_the_rules() {
        let with = |state: &'static str, home: &'static str| {
            state_dir(&move |name: &str| match name {
                "XDG_STATE_HOME" => Some(state.into()),
                "HOME" => Some(home.into()),
                _ => None,
            })
        };
        assert_eq!(with("/state", "/users/a").unwrap(), Path::new("/state/strongroom"));
        // the rules say that relative paths are to be ignored
        assert_eq!(
            with("state", "/users/a").unwrap(),
            Path::new("/users/a/.local/state/strongroom")
        );
        assert_eq!(with("", ""), None);
    }

    #[test]
    fn machine_and_user_have_names() {
        assert!(!host_name().is_empty());
        assert!(!user_name().is_empty());
    }
}
