//! What the functions of hook scripts return, and what that means for a request.
//!
//! Whatever is not one of the results a function may have is trouble, and in trouble nobody is let
//! in. The ids are those of the messages in the error log.

#[cfg(test)]
mod tests;

use crate::words::{Words, lossy};

/// What a function returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The script has no such function.
    Missing,
    /// It raised an exception, which is in the log.
    Failed,
    /// `None`
    None,
    /// `False`
    False,
    /// `True`
    True,
    /// A `str`.
    Text(String),
    /// A `str` that cannot be encoded.
    BrokenText,
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// What was iterated over: its items, and whether these are all that there were to be. If not,
    /// the reason is in the log.
    Items {
        /// The items.
        items: Vec<Self>,
        /// Whether the iteration came to its end.
        complete: bool,
    },
    /// What was to be iterated over and cannot be; the reason is in the log.
    NotIterable(String),
    /// Anything else, by the name of its type.
    Other(String),
}

/// Why a result is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The log says it already.
    Logged,
    /// This is to be logged.
    Said {
        /// The id of the message.
        id: u16,
        /// The message.
        text: String,
    },
}

/// What `allow_access` says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may enter, as far as that is for this function to say.
    Allowed,
    /// Others shall decide.
    Declined,
    /// It may not.
    Denied,
}

/// What `check_password` says of a user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// They belong together.
    Right,
    /// They do, and the user is to be known by this name.
    RightFor(String),
    /// They do not.
    Wrong,
    /// There is no such user.
    Unknown,
}

/// Whether a user is in one of the groups that are required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is.
    Member,
    /// It is in none of them, but in others.
    OfOthers,
    /// It is in no group at all.
    OfNone,
    /// It is in none of those groups that became known before the iteration failed.
    Unclear {
        /// Whether any did.
        of_others: bool,
    },
}

/// What `allow_access` of a script says.
///
/// # Errors
///
/// When it says nothing that could be understood.
pub fn access(answer: &Answer, script: &str) -> Result<Access, Trouble> {
    match answer {
        Answer::True => Ok(Access::Allowed),
        Answer::None => Ok(Access::Declined),
        Answer::False => Ok(Access::Denied),
        Answer::Failed => Err(Trouble::Logged),
        Answer::Missing => Err(missing(56, "allow_access", script, "WSGIAccessScript")),
        other => Err(wrong(
            55,
            "allow_access",
            script,
            "a boolean or None",
            other,
        )),
    }
}

/// What `check_password` of a script says.
///
/// # Errors
///
/// When it says nothing that could be understood.
pub fn password(answer: &Answer, script: &str) -> Result<Password, Trouble> {
    const FUNCTION: &str = "check_password";
    match answer {
        Answer::True => Ok(Password::Right),
        Answer::False => Ok(Password::Wrong),
        Answer::None => Ok(Password::Unknown),
        Answer::Text(name) if name.is_empty() => Err(empty(176, FUNCTION, script, "user name")),
        Answer::Text(name) if name.contains('\0') => Err(with_nul(FUNCTION, script)),
        Answer::Text(name) => Ok(Password::RightFor(name.clone())),
        Answer::Failed => Err(Trouble::Logged),
        Answer::Missing => Err(missing(43, FUNCTION, script, "AuthType Basic")),
        other => {
            let right = "True, False, None or a user name as a str";
            match other {
                Answer::BrokenText => Err(wrong_type(FUNCTION, script, right, other)),
                _ => Err(wrong(177, FUNCTION, script, right, other)),
            }
        }
    }
}

/// The hash that `get_realm_hash` of a script returns; `None` if there is no such user.
///
/// # Errors
///
/// When it returns nothing that could be a hash.
pub fn realm_hash(answer: &Answer, script: &str) -> Result<Option<Vec<u8>>, Trouble> {
    const FUNCTION: &str = "get_realm_hash";
    match answer {
        Answer::None => return Ok(None),
        Answer::Failed => return Err(Trouble::Logged),
        Answer::Missing => return Err(missing(46, FUNCTION, script, "AuthType Digest")),
        _ => {}
    }
    match byte_string(answer) {
        Some(hash) if hash.is_empty() => Err(empty(178, FUNCTION, script, "hash")),
        Some(hash) if hash.contains(&0) => Err(with_nul(FUNCTION, script)),
        Some(hash) => Ok(Some(hash)),
        None => {
            let right = "None or a hash as a str or bytes";
            match answer {
                Answer::Text(_) | Answer::BrokenText => {
                    Err(wrong_type(FUNCTION, script, right, answer))
                }
                _ => Err(wrong(179, FUNCTION, script, right, answer)),
            }
        }
    }
}

/// What `groups_for_user` of a script says of the groups in `required`, words of a `Require`.
///
/// # Errors
///
/// When it does not say groups.
pub fn membership(answer: &Answer, required: &[u8], script: &str) -> Result<Membership, Trouble> {
    const FUNCTION: &str = "groups_for_user";
    let (items, complete) = match answer {
        Answer::Items { items, complete } => (items, *complete),
        Answer::Failed => return Err(Trouble::Logged),
        Answer::Missing => return Err(missing(52, FUNCTION, script, "WSGIAuthGroupScript")),
        other => {
            let right = "an iterable of group names";
            return Err(wrong(51, FUNCTION, script, right, other));
        }
    };
    let groups: Result<Vec<_>, _> = items.iter().map(|item| group_name(item, script)).collect();
    let groups = groups?;
    // No name is no group, and the end of the list: an unset variable in a `Require` lets nobody
    // in.
    let is_member = Words::new(required)
        .take_while(|name| !name.is_empty())
        .any(|name| groups.iter().any(|group| group.eq_ignore_ascii_case(&name)));
    Ok(match (is_member, complete) {
        (true, _) => Membership::Member,
        (false, false) => Membership::Unclear {
            of_others: !groups.is_empty(),
        },
        (false, true) if groups.is_empty() => Membership::OfNone,
        (false, true) => Membership::OfOthers,
    })
}

fn group_name(item: &Answer, script: &str) -> Result<Vec<u8>, Trouble> {
    byte_string(item).ok_or_else(|| {
        let (id, what) = match item {
            Answer::Text(_) | Answer::BrokenText => (49, "a str beyond Latin-1".to_owned()),
            other => (50, described(other)),
        };
        let text = format!(
            "An item returned from 'groups_for_user' in '{script}' is {what}; a group's name must \
             be bytes or a Latin-1 str."
        );
        Trouble::Said { id, text }
    })
}

/// What a function of a dispatch script wants a setting to be; `None` leaves it as it is.
///
/// # Errors
///
/// When it wants what no setting can be.
pub fn setting(answer: &Answer, function: &str, script: &str) -> Result<Option<Vec<u8>>, Trouble> {
    match answer {
        Answer::None | Answer::Missing => return Ok(None),
        Answer::Failed => return Err(Trouble::Logged),
        _ => {}
    }
    match byte_string(answer) {
        Some(name) if name.contains(&0) => Err(with_nul(function, script)),
        Some(name) => Ok(Some(name)),
        None => {
            let right = "None, or a name as bytes or a Latin-1 str";
            Err(wrong_type(function, script, right, answer))
        }
    }
}

/// The bytes of a `bytes` or of a `str` that is Latin-1.
fn byte_string(answer: &Answer) -> Option<Vec<u8>> {
    match answer {
        Answer::Bytes(bytes) => Some(bytes.clone()),
        Answer::Text(text) => text.chars().map(|char| u8::try_from(char).ok()).collect(),
        _ => None,
    }
}

fn missing(id: u16, function: &str, script: &str, asked_by: &str) -> Trouble {
    Trouble::Said {
        id,
        text: format!(
            "Target WSGI script '{script}' does not provide '{function}', which {asked_by} calls."
        ),
    }
}

fn wrong(id: u16, function: &str, script: &str, right: &str, found: &Answer) -> Trouble {
    Trouble::Said {
        id,
        text: format!(
            "Result returned from '{function}' in '{script}' must be {right}, not {}.",
            described(found)
        ),
    }
}

/// The same in the form of an exception.
fn wrong_type(function: &str, script: &str, right: &str, found: &Answer) -> Trouble {
    let exception = match found {
        Answer::Text(_) | Answer::BrokenText => "UnicodeEncodeError",
        _ => "TypeError",
    };
    Trouble::Said {
        id: 174,
        text: format!(
            "{exception} exception raised processing WSGI script '{script}': '{function}' must \
             return {right}, not {}.",
            described(found)
        ),
    }
}

fn empty(id: u16, function: &str, script: &str, what: &str) -> Trouble {
    Trouble::Said {
        id,
        text: format!("Result returned from '{function}' in '{script}' is an empty {what}."),
    }
}

/// Whatever follows a NUL would be lost on the way through httpd, and another name arrive.
fn with_nul(function: &str, script: &str) -> Trouble {
    Trouble::Said {
        id: 1300,
        text: format!("Result returned from '{function}' in '{script}' has a NUL byte in it."),
    }
}

/// What was found, for messages; never its content, which may be secret.
fn described(answer: &Answer) -> String {
    match answer {
        Answer::Missing | Answer::Failed => "nothing".to_owned(),
        Answer::None => "None".to_owned(),
        Answer::True | Answer::False => "a bool".to_owned(),
        Answer::Text(text) if text.chars().all(|char| u8::try_from(char).is_ok()) => {
            "a str".to_owned()
        }
        Answer::Text(_) => "a str beyond Latin-1".to_owned(),
        Answer::BrokenText => "a str with lone surrogates".to_owned(),
        Answer::Bytes(_) => "bytes".to_owned(),
        Answer::Items { .. } => "an iterable".to_owned(),
        Answer::NotIterable(kind) | Answer::Other(kind) => {
            format!("an object of type {}", lossy(kind.as_bytes()))
        }
    }
}
