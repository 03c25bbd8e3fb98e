//! Whether a user may open a file, by its mode bits.

/// A user, as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user's number.
    pub uid: u32,
    /// The numbers of all groups the user is in.
    pub groups: Vec<u32>,
}

/// What the kernel knows of a file when it decides who may open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode.
    pub mode: u32,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To read it.
    Read,
    /// To go through it to what is in it, if it is a directory.
    Search,
}

impl Want {
    /// The bit of it in each of the three digits of a mode.
    fn bit(self) -> u32 {
        match self {
            Self::Read => 4,
            Self::Search => 1,
        }
    }
}

impl Credentials {
    /// Whether this user gets what is wanted. The most specific digit of the mode decides alone:
    /// an owner who is denied something does not get it as "others" do.
    pub fn allow(&self, file: Ownership, want: Want) -> bool {
        let shift = if self.uid == file.uid {
            6
        } else if self.groups.contains(&file.gid) {
            3
        } else {
            0
        };
        self.uid == 0 || (file.mode >> shift) & want.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_digit_decides() {
        let user = |uid, groups: &[u32]| Credentials {
            uid,
            groups: groups.to_vec(),
        };
        let cases = [
            (user(33, &[33]), 0o100_644, Want::Read, true),
            (user(33, &[33]), 0o100_640, Want::Read, false),
            (user(33, &[33, 7]), 0o100_640, Want::Read, true),
            (user(33, &[33, 7]), 0o100_604, Want::Read, false),
            (user(5, &[5]), 0o100_044, Want::Read, false),
            (user(5, &[5]), 0o100_400, Want::Read, true),
            (user(0, &[0]), 0o100_000, Want::Read, true),
            (user(33, &[33]), 0o040_754, Want::Search, false),
            (user(33, &[33]), 0o040_755, Want::Search, true),
            (user(33, &[7]), 0o040_710, Want::Search, true),
        ];
        for (user, mode, want, allowed) in cases {
            let file = Ownership {
                uid: 5,
                gid: 7,
                mode,
            };
            assert_eq!(
                user.allow(file, want),
                allowed,
                "{user:?} {mode:o} {want:?}"
            );
        }
    }
}
