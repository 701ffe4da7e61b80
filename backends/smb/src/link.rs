//! One connection: dialled, signed in, tied to the share, protected as the configuration asks.
//!
//! Many requests run on it at once. It is never revived: once broken, it is replaced by a new
//! one, as open files and locks of the old session are gone anyway. Knows no object.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use smb2::{
    Session, Tree,
    client::connection::Connection,
    transport::{ConnectOptions, TcpTransport},
    types::{Dialect, status::NtStatus},
};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{
    config::{Protection, SmbConfig},
    error::{ends_link, failed, has_status, refused},
    wire::Wire,
};

/// How long dialling may take, all addresses of the name together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A signed-in connection to the share.
pub(crate) struct Link {
    connection: Connection,
    tree: Arc<Tree>,
    is_broken: AtomicBool,
    request_time_max: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?}, broken: {})", self.tree, !self.is_usable())
    }
}

impl Link {
    /// Dials, signs in and opens the share; messages are counted in `sent`.
    pub(crate) async fn open(config: &SmbConfig, sent: Arc<AtomicU64>) -> TargetResult<Self> {
        let opening = Self::dial_and_sign_in(config, sent);
        match tokio::time::timeout(config.request_time_max, opening).await {
            Ok(result) => result.map_err(|error| error.at(config)),
            Err(_) => Err(failed(Operation::Open, "sign in", smb2::Error::Timeout).at(config)),
        }
    }

    async fn dial_and_sign_in(config: &SmbConfig, sent: Arc<AtomicU64>) -> TargetResult<Self> {
        let step = |step| move |error| failed(Operation::Open, step, error);
        let options = ConnectOptions::with_timeout(CONNECT_TIME_MAX);
        let socket = TcpTransport::connect_with(config.address(), options).await;
        let wire = Wire::new(socket.map_err(step("connect"))?, sent);
        let host = config.host.trim_start_matches('[').trim_end_matches(']');
        let (sender, receiver) = (Box::new(wire.clone()), Box::new(wire.clone()));
        let mut connection = Connection::from_transport(sender, receiver, host);
        // What is stored is encrypted, so it cannot be compressed any further.
        connection.set_compression_requested(false);
        connection.set_response_timeout(Some(config.request_time_max));
        wire.negotiate(&mut connection).await.map_err(step("negotiate"))?;
        let password = config.password.as_ref().map_or("", |password| password.expose());
        let session = Session::setup(&mut connection, &config.user, password, &config.domain);
        let session = session.await.map_err(|error| not_signed_in(config, error))?;
        if config.signing == Protection::Required && !session.should_sign {
            let why = "the server signs nothing in this session";
            return Err(refused(Operation::Open, TargetErrorKind::Denied, why)
                .hint("name a user, or allow it with signing=optional in the URL"));
        }
        let tree = Tree::connect(&mut connection, &config.share).await;
        let tree = tree.map_err(|error| no_share(config, error))?;
        if tree.encrypt_data || config.encryption == Protection::Required {
            encrypt(&mut connection, &session)?;
        }
        Ok(Self {
            connection,
            tree: Arc::new(tree),
            is_broken: AtomicBool::new(false),
            request_time_max: config.request_time_max,
        })
    }

    /// A handle to send requests with.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// The share.
    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Whether requests may succeed.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_broken.load(Ordering::Acquire) && !self.connection.is_disconnected()
    }

    /// Waits for the answer to one request, for a limited time; takes note of what ends the link.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = smb2::Result<T>>,
    ) -> smb2::Result<T> {
        let answer = tokio::time::timeout(self.request_time_max, request).await;
        let answer = answer.unwrap_or(Err(smb2::Error::Timeout));
        if let Err(error) = &answer
            && ends_link(error)
        {
            self.is_broken.store(true, Ordering::Release);
        }
        answer
    }

    /// The same for what opens a file: goes on in the background if nobody waits for it any
    /// more, as an answer that nobody takes would leave the file open for as long as the link.
    pub(crate) async fn ask_to_the_end<T: Send + 'static>(
        self: &Arc<Self>,
        request: impl Future<Output = smb2::Result<T>> + Send + 'static,
    ) -> smb2::Result<T> {
        let link = self.clone();
        let task = tokio::spawn(async move { link.ask(request).await });
        task.await.unwrap_or(Err(smb2::Error::Cancelled))
    }
}

/// Encrypts all that follows.
fn encrypt(connection: &mut Connection, session: &Session) -> TargetResult<()> {
    if connection.should_encrypt() {
        return Ok(());
    }
    let cipher = connection.params().and_then(|params| match params.dialect {
        // Before ciphers were negotiated, there was this one.
        Dialect::Smb3_0 | Dialect::Smb3_0_2 => Some(smb2::crypto::encryption::Cipher::Aes128Ccm),
        _ => params.cipher,
    });
    match (cipher, &session.encryption_key, &session.decryption_key) {
        (Some(cipher), Some(ours), Some(theirs)) => {
            connection.activate_encryption(ours.clone(), theirs.clone(), cipher);
            Ok(())
        }
        _ => {
            let why = "encryption is required, and no cipher was agreed on with the server";
            Err(refused(Operation::Open, TargetErrorKind::Unsupported, why)
                .hint("let the server speak SMB 3.1.1, or mount the share and name its folder"))
        }
    }
}

fn not_signed_in(config: &SmbConfig, error: smb2::Error) -> TargetError {
    let who = if config.user.is_empty() { "a guest" } else { &config.user };
    let is_refused = has_status(&error, NtStatus::ACCESS_DENIED);
    let mapped = failed(Operation::Open, &format!("sign in as {who}"), error);
    if is_refused {
        return mapped.hint("the server lets this user in only otherwise: ask who runs it");
    }
    mapped
}

fn no_share(config: &SmbConfig, error: smb2::Error) -> TargetError {
    let is_missing = has_status(&error, NtStatus::BAD_NETWORK_NAME);
    let mapped = failed(Operation::Open, &format!("open the share {}", config.share), error);
    if is_missing {
        return mapped.hint("the server has no such share: check its name (smbclient -L HOST)");
    }
    mapped
}
