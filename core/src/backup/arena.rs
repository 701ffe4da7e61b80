//! Memory of packs: a fixed number of buffers that go round.
//!
//! A pack's segments lie in one buffer. It comes back once the pack is stored, so that a backup
//! holds a known number of packs in memory and the system need not find new pages for each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// The buffers of one backup.
#[derive(Debug)]
pub(super) struct ArenaPool {
    arena_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: Vec<BytesMut>,
    /// Buffers that may still be made.
    unmade: usize,
    is_stopped: bool,
}

/// A buffer in use; goes back to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct Arena {
    buffer: BytesMut,
    pool: Arc<ArenaPool>,
}

impl ArenaPool {
    /// At most `count` buffers of `arena_bytes`.
    pub(super) fn new(count: usize, arena_bytes: usize) -> Arc<Self> {
        let state = State { free: Vec::new(), unmade: count, is_stopped: false };
        Arc::new(Self { arena_bytes, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// A buffer, as soon as there is one; `None` once the run was stopped.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arena> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            if let Some(buffer) = state.free.pop() {
                return Some(Arena { buffer, pool: self.clone() });
            }
            if state.unmade > 0 {
                state.unmade -= 1;
                let buffer = BytesMut::with_capacity(self.arena_bytes);
                return Some(Arena { buffer, pool: self.clone() });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody waits any more: the run is over.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arena {
    /// Copies `bytes` in and returns them as a part of the buffer.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Bytes {
        self.buffer.extend_from_slice(bytes);
        self.buffer.split().freeze()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // takes the whole allocation back if all parts are gone, else makes a new one: somebody
        // kept a part
        buffer.clear();
        buffer.reserve(self.pool.arena_bytes);
        self.pool.lock().free.push(buffer);
        self.pool.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_memory() {
        let pool = ArenaPool::new(1, 1024);
        let mut arena = pool.take().unwrap();
        let part = arena.add(&[1; 500]);
        let place = part.as_ptr();
        drop(part);
        drop(arena);
        let mut arena = pool.take().unwrap();
        assert_eq!(arena.add(&[2; 600]).as_ptr(), place);
    }

    #[test]
    fn a_part_that_is_kept_stays_as_it_is() {
        let pool = ArenaPool::new(1, 1024);
        let mut arena = pool.take().unwrap();
        let part = arena.add(&[1; 500]);
        drop(arena);
        pool.take().unwrap().add(&[2; 500]);
        assert_eq!(part, [1; 500].as_slice());
    }

    #[test]
    fn a_stop_ends_waiting() {
        let pool = ArenaPool::new(1, 16);
        let _only = pool.take();
        let waiting = pool.clone();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || waiting.take().is_none());
            pool.stop();
            assert!(waiter.join().unwrap());
        });
    }
}
