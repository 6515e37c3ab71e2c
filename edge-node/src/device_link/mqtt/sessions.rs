//! Who is connected: a client that connects again takes over from its old connection, which is often dead.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// All sessions of this edge node.
#[derive(Debug, Default, Clone)]
pub struct Sessions {
    live: Arc<Mutex<HashMap<SessionKey, (u64, CancellationToken)>>>,
}

/// User name and client id: two users cannot push each other out.
type SessionKey = (String, String);

/// A live session; leaves the list when dropped.
#[derive(Debug)]
pub(super) struct SessionGuard {
    sessions: Sessions,
    key: SessionKey,
    number: u64,
    /// Cancelled when the client has connected again.
    pub(super) taken_over: CancellationToken,
}

impl Sessions {
    /// Enters a session; the one with the same name ends.
    pub(super) fn enter(&self, username: &str, client_id: &str) -> SessionGuard {
        let key = (username.to_owned(), client_id.to_owned());
        let taken_over = CancellationToken::new();
        let mut live = self.live.lock();
        let number = match live.get(&key) {
            Some((number, old)) => {
                old.cancel();
                number + 1
            }
            None => 0,
        };
        live.insert(key.clone(), (number, taken_over.clone()));
        SessionGuard { sessions: self.clone(), key, number, taken_over }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut live = self.sessions.live.lock();
        if live.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            live.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_of_a_client_stays() {
        let sessions = Sessions::default();
        let first = sessions.enter("user", "box");
        let other = sessions.enter("other", "box");
        let second = sessions.enter("user", "box");
        assert!(first.taken_over.is_cancelled());
        assert!(!other.taken_over.is_cancelled() && !second.taken_over.is_cancelled());
        drop(first);
        let third = sessions.enter("user", "box");
        assert!(second.taken_over.is_cancelled(), "the end of the first did not remove the second");
        drop((second, third, other));
        assert!(sessions.live.lock().is_empty());
    }
}
