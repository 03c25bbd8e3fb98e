//! What the functions of hook scripts return, and what that means for a request.
//!
//! Whatever is not one of the results a function may have is trouble, and in trouble nobody is let
//! in. The ids are those of the messages in the error log.

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
    // No name is no group: an unset variable in a `Require` lets nobody in.
    let is_member = Words::new(required)
        .filter(|name| !name.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Answer {
        Answer::Text(text.to_owned())
    }

    fn bytes(bytes: &[u8]) -> Answer {
        Answer::Bytes(bytes.to_vec())
    }

    fn other() -> Answer {
        Answer::Other("int".to_owned())
    }

    fn items(items: &[Answer], complete: bool) -> Answer {
        Answer::Items {
            items: items.to_vec(),
            complete,
        }
    }

    /// The id of the message, or 0 if the log has the cause already.
    fn id<T: std::fmt::Debug>(result: Result<T, Trouble>) -> u16 {
        match result {
            Err(Trouble::Said { id, text }) => {
                assert!(text.contains("/s.py") && text.ends_with('.'), "{text}");
                id
            }
            Err(Trouble::Logged) => 0,
            Ok(result) => panic!("{result:?}"),
        }
    }

    #[test]
    fn only_the_three_results_let_allow_access_decide() {
        assert_eq!(access(&Answer::True, "/s.py"), Ok(Access::Allowed));
        assert_eq!(access(&Answer::None, "/s.py"), Ok(Access::Declined));
        assert_eq!(access(&Answer::False, "/s.py"), Ok(Access::Denied));
        for (answer, expected) in [
            (other(), 55),
            (text("True"), 55),
            (bytes(b""), 55),
            (Answer::Missing, 56),
            (Answer::Failed, 0),
        ] {
            assert_eq!(id(access(&answer, "/s.py")), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_password_is_right_only_if_the_function_says_so() {
        assert_eq!(password(&Answer::True, "/s.py"), Ok(Password::Right));
        assert_eq!(password(&Answer::False, "/s.py"), Ok(Password::Wrong));
        assert_eq!(password(&Answer::None, "/s.py"), Ok(Password::Unknown));
        assert_eq!(
            password(&text("b\u{20ac}b"), "/s.py"),
            Ok(Password::RightFor("b\u{20ac}b".to_owned()))
        );
        for (answer, expected) in [
            (text(""), 176),
            (text("root\0x"), 1300),
            (Answer::BrokenText, 174),
            (other(), 177),
            (bytes(b"bob"), 177),
            (Answer::Missing, 43),
            (Answer::Failed, 0),
        ] {
            assert_eq!(id(password(&answer, "/s.py")), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_group_without_a_name_has_no_members() {
        let nameless = items(&[text("")], true);
        for required in [&b"\"\""[..], b"", b"\"\" staff"] {
            assert_eq!(
                membership(&nameless, required, "/s.py"),
                Ok(Membership::OfOthers)
            );
        }
    }

    #[test]
    fn a_hash_is_a_byte_string() {
        assert_eq!(realm_hash(&Answer::None, "/s.py"), Ok(None));
        for answer in [text("caf\u{e9}"), bytes(b"caf\xe9")] {
            let hash = realm_hash(&answer, "/s.py");
            assert_eq!(hash, Ok(Some(b"caf\xe9".to_vec())));
        }
        for (answer, expected) in [
            (text(""), 178),
            (bytes(b""), 178),
            (bytes(b"a\0"), 1300),
            (text("\u{20ac}"), 174),
            (Answer::BrokenText, 174),
            (Answer::True, 179),
            (other(), 179),
            (Answer::Missing, 46),
            (Answer::Failed, 0),
        ] {
            assert_eq!(id(realm_hash(&answer, "/s.py")), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_member_is_in_one_of_the_groups_that_are_required() {
        let required = b"nope \"my group\" staff";
        for (groups, complete, expected) in [
            (&[text("staff")][..], true, Membership::Member),
            (&[bytes(b"STAFF")], true, Membership::Member),
            (&[text("x"), text("My Group")], true, Membership::Member),
            (&[text("staff")], false, Membership::Member),
            (&[text("my")], true, Membership::OfOthers),
            (&[text("")], true, Membership::OfOthers),
            (&[text("staff\0x")], true, Membership::OfOthers),
            (&[], true, Membership::OfNone),
            (&[text("x")], false, Membership::Unclear { of_others: true }),
            (&[], false, Membership::Unclear { of_others: false }),
        ] {
            let answer = items(groups, complete);
            let found = membership(&answer, required, "/s.py");
            assert_eq!(found, Ok(expected), "{answer:?}");
        }
        let of_nobody = membership(&items(&[text("staff")], true), b"", "/s.py");
        assert_eq!(of_nobody, Ok(Membership::OfOthers));
    }

    #[test]
    fn what_is_no_group_is_trouble_even_beside_the_right_one() {
        for (answer, expected) in [
            (items(&[text("staff"), text("\u{20ac}")], true), 49),
            (items(&[text("staff"), Answer::BrokenText], true), 49),
            (items(&[text("staff"), other()], true), 50),
            (Answer::NotIterable("NoneType".to_owned()), 51),
            (Answer::Missing, 52),
            (Answer::Failed, 0),
        ] {
            let found = membership(&answer, b"staff", "/s.py");
            assert_eq!(id(found), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_setting_is_a_name_or_left_alone() {
        for answer in [Answer::None, Answer::Missing] {
            assert_eq!(setting(&answer, "process_group", "/s.py"), Ok(None));
        }
        for (answer, name) in [
            (text("blog"), &b"blog"[..]),
            (bytes(b"blog"), b"blog"),
            (text("\u{e9}"), b"\xe9"),
            (text(""), b""),
        ] {
            let found = setting(&answer, "process_group", "/s.py");
            assert_eq!(found, Ok(Some(name.to_vec())));
        }
        for (answer, expected) in [
            (Answer::False, 174),
            (other(), 174),
            (text("\u{20ac}"), 174),
            (text("blog\0x"), 1300),
            (Answer::Failed, 0),
        ] {
            let found = setting(&answer, "process_group", "/s.py");
            assert_eq!(id(found), expected, "{answer:?}");
        }
    }
}
