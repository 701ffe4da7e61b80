//! The socket under a connection: counts what is sent, and says in the first message that we can
//! encrypt.
//!
//! The client library encrypts, but its NEGOTIATE leaves the capability bit out, and Samba then
//! takes no cipher into account: a share that requires encryption refuses us. So the bit is set
//! on the way out, and the hash over the handshake, which the keys are derived from, is made
//! anew over what really was sent. `docs/decisions/0006-smb-client.md` has the story.
//! Knows no user, no share and no file.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use smb2::{
    client::connection::Connection,
    crypto::kdf::PreauthHasher,
    transport::{ReceiveProgress, TcpTransport, TransportReceive, TransportSend},
    types::flags::Capabilities,
};

/// Where a NEGOTIATE request holds its capabilities: after the header and four short fields.
const CAPABILITIES_AT: usize = 64 + 8;
/// Where a header holds the command, and the one of NEGOTIATE.
const COMMAND_AT: usize = 12;
const NEGOTIATE: [u8; 2] = [0, 0];

/// A socket that remembers the first exchange.
pub(crate) struct Wire {
    socket: TcpTransport,
    sent: Arc<AtomicU64>,
    /// What the library asked for, what was sent instead, and the answer.
    handshake: Mutex<Handshake>,
}

#[derive(Default)]
struct Handshake {
    asked: Option<Vec<u8>>,
    sent: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
}

impl Wire {
    /// Counts every message on `socket` in `sent`.
    pub(crate) fn new(socket: TcpTransport, sent: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { socket, sent, handshake: Mutex::default() })
    }

    /// Makes the handshake on `connection`, which runs over this wire.
    pub(crate) async fn negotiate(&self, connection: &mut Connection) -> smb2::Result<()> {
        connection.negotiate().await?;
        let handshake = std::mem::take(&mut *self.lock());
        let (Some(asked), Some(sent), Some(answer)) =
            (handshake.asked, handshake.sent, handshake.answer)
        else {
            return Ok(());
        };
        connection.with_preauth_hasher_mut(|hasher| {
            // If the library ever hashes something else, better fail to sign in than hash that.
            if *hasher.value() == *hash_of(&asked, &answer).value() {
                *hasher = hash_of(&sent, &answer);
            }
        });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Handshake> {
        self.handshake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message to send in place of `message`, if it is the first one and a NEGOTIATE.
    fn rewritten(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut handshake = self.lock();
        if handshake.asked.is_some() || handshake.answer.is_some() {
            return None;
        }
        let rewritten = with_encryption(message)?;
        handshake.asked = Some(message.to_vec());
        handshake.sent = Some(rewritten.clone());
        Some(rewritten)
    }
}

/// A NEGOTIATE request that says that we can encrypt; `None` if `message` is something else.
fn with_encryption(message: &[u8]) -> Option<Vec<u8>> {
    if message.get(COMMAND_AT..COMMAND_AT + 2)? != NEGOTIATE {
        return None;
    }
    let mut rewritten = message.to_vec();
    let field = rewritten.get_mut(CAPABILITIES_AT..CAPABILITIES_AT + 4)?;
    let bits = u32::from_le_bytes(field.try_into().ok()?) | Capabilities::ENCRYPTION;
    field.copy_from_slice(&bits.to_le_bytes());
    Some(rewritten)
}

fn hash_of(request: &[u8], answer: &[u8]) -> PreauthHasher {
    let mut hasher = PreauthHasher::new();
    hasher.update(request);
    hasher.update(answer);
    hasher
}

#[async_trait]
impl TransportSend for Wire {
    async fn send(&self, data: &[u8]) -> smb2::Result<()> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let rewritten = self.rewritten(data);
        self.socket.send(rewritten.as_deref().unwrap_or(data)).await
    }
}

#[async_trait]
impl TransportReceive for Wire {
    async fn receive(&self) -> smb2::Result<Vec<u8>> {
        let message = self.socket.receive().await?;
        let mut handshake = self.lock();
        if handshake.asked.is_some() && handshake.answer.is_none() {
            handshake.answer = Some(message.clone());
        }
        Ok(message)
    }

    fn receive_progress(&self) -> Option<Arc<ReceiveProgress>> {
        self.socket.receive_progress()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_negotiate_is_rewritten_and_only_in_one_bit() {
        let mut message = vec![7; 120];
        message[COMMAND_AT..COMMAND_AT + 2].copy_from_slice(&NEGOTIATE);
        message[CAPABILITIES_AT..CAPABILITIES_AT + 4].copy_from_slice(&[0x07, 0, 0, 0]);
        let rewritten = with_encryption(&message).unwrap();
        assert_eq!(rewritten[CAPABILITIES_AT], 0x47);
        let differ = message.iter().zip(&rewritten).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 1);
        message[COMMAND_AT] = 1;
        assert_eq!(with_encryption(&message), None);
        assert_eq!(with_encryption(&[0; 70]), None);
    }
}
