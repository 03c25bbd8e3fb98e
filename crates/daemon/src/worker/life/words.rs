//! What this worker tells the supervisor. On its main thread.
//!
//! Each word is said once, and what it is about does not come again: who was not heard would never
//! serve, or never be replaced. So a word that the system does not take, for want of memory say, is
//! kept and said later.

use std::collections::VecDeque;
use std::sync::Arc;

use control::{Channel, ChannelError, FromWorker};

/// What is said, in this order.
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

    /// Says a word, now or later.
    pub(super) fn say(&mut self, word: FromWorker) {
        self.unsaid.push_back(word);
        self.go_on();
    }

    /// Whether there is something to say later.
    pub(super) fn has_more(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Says what could not be said before. To be called now and then.
    pub(super) fn go_on(&mut self) {
        while let Some(word) = self.unsaid.front() {
            // If the supervisor is gone, that is an event of its own.
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
