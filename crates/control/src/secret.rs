//! The secret by which workers recognise httpd's children.

use std::fmt;
use std::hint::black_box;
use std::io;

use serde::{Deserialize, Serialize};

/// The secret of a group: random bytes that httpd's children send with every request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether these are the same bytes. The comparison takes constant time, so that its duration
    /// does not reveal where they differ.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let differences = self
            .0
            .iter()
            .zip(bytes)
            .fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        bytes.len() == self.0.len() && black_box(differences) == 0
    }
}

impl fmt::Debug for Secret {
    /// Shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_it() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert!(one.is(one.as_bytes()));
        assert!(!one.is(other.as_bytes()));
        assert!(!one.is(b""));
        assert!(!one.is(&one.as_bytes()[..31]));
        assert!(!one.is(&[one.as_bytes(), &[0]].concat()));
    }

    #[test]
    fn it_does_not_show() {
        assert_eq!(format!("{:?}", Secret::random().unwrap()), "Secret");
    }
}
