//! Messages to the supervisor, from the main thread.
//!
//! Each message is sent once. If one were lost, the worker would never serve, or never be replaced.
//! So a message that cannot be sent, for lack of memory for example, is kept and sent later.

use std::collections::VecDeque;
use std::sync::Arc;

use control::{Channel, ChannelError, FromWorker};

/// The messages to send, in order.
pub(super) struct Words {
    control: Arc<Channel>,
    unsaid: VecDeque<FromWorker>,
}

impl Words {
    pub(super) fn new(control: Arc<Channel>) -> Self {
        Self {
            control,
            unsaid: VecDeque::new(),
        }
    }

    /// Sends a message, now or later.
    pub(super) fn say(&mut self, word: FromWorker) {
        self.unsaid.push_back(word);
        self.go_on();
    }

    /// Whether there are messages to send later.
    pub(super) fn has_more(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Sends messages that could not be sent before. To be called at intervals.
    pub(super) fn go_on(&mut self) {
        while let Some(word) = self.unsaid.front() {
            // If the supervisor has died, the message is dropped; its end is an event of its own.
            if let Err(ChannelError::Io(_)) = self.control.send(word, &[]) {
                return;
            }
            self.unsaid.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use control::Replacement;

    use super::*;

    #[test]
    fn what_cannot_be_said_is_said_later() {
        let (ours, theirs) = Channel::pair().unwrap();
        while ours.send(&FromWorker::Prepare, &[]).is_ok() {}
        let mut words = Words::new(Arc::new(ours));
        let reason = Replacement::MaximumRequests;
        let all = [FromWorker::Ready, FromWorker::Replace(reason)];
        all.iter().for_each(|word| words.say(word.clone()));
        assert!(words.has_more());

        while let Ok(Some(word)) = theirs.try_receive::<FromWorker>() {
            assert_eq!(word, FromWorker::Prepare);
        }
        words.go_on();
        assert!(!words.has_more());
        for word in all {
            assert_eq!(theirs.receive::<FromWorker>().unwrap().0, word);
        }
        drop(theirs);
        words.say(FromWorker::Prepare);
        assert!(!words.has_more(), "nobody is there who could hear it");
    }
}
