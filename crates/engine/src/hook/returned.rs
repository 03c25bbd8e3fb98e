//! What a function returned: classified while Python is at hand, handed over when it is not.

use engine_abi::{Bytes, Call, Returned, Slice};

use crate::python::{Exception, Object, Raised};

/// How many items are taken of what is iterated over. Nobody is in so many groups, and an iterator
/// may have no end.
const MOST_ITEMS: usize = 1 << 20;

/// What a function returned; [`Returned`] says what each means.
#[derive(Debug)]
pub(crate) enum Answer {
    Missing,
    Failed,
    None,
    False,
    True,
    Text(String),
    BrokenText,
    Bytes(Vec<u8>),
    Items { items: Vec<Self>, complete: bool },
    NotIterable(String),
    Other(String),
}

impl Answer {
    /// What an object is.
    pub(super) fn of(object: &Object<'_>) -> Self {
        let py = object.py();
        if object.is_none() {
            Self::None
        } else if object.is(py.bool(true)) {
            Self::True
        } else if object.is(py.bool(false)) {
            Self::False
        } else if object.is_str() {
            match object.as_text() {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::BrokenText,
            }
        } else if let Some(bytes) = object.as_bytes() {
            Self::Bytes(bytes.to_vec())
        } else {
            Self::Other(object.type_name())
        }
    }

    /// What an object gives when it is iterated over. `report` gets what it raises.
    pub(super) fn iterated<'py>(object: &Object<'py>, report: impl Fn(&Raised<'py>)) -> Self {
        let iterator = match object.iter() {
            Ok(iterator) => iterator,
            Err(raised) => {
                report(&raised);
                return Self::NotIterable(object.type_name());
            }
        };
        let mut items = Vec::new();
        let complete = loop {
            match iterator.next() {
                Ok(None) => break true,
                Ok(Some(item)) if items.len() < MOST_ITEMS => items.push(Self::of(&item)),
                Ok(Some(_)) => {
                    let message = format!("the result has more than {MOST_ITEMS} items");
                    report(&Raised::new(object.py(), Exception::ValueError, &message));
                    break false;
                }
                Err(raised) => {
                    report(&raised);
                    break false;
                }
            }
        };
        Self::Items { items, complete }
    }

    /// Whether the next function is called after this one: it has left a setting as it is, or named
    /// another.
    pub(super) fn lets_go_on(&self) -> bool {
        match self {
            Self::Missing | Self::None | Self::Bytes(_) => true,
            Self::Text(text) => text.chars().all(|char| u8::try_from(char).is_ok()),
            _ => false,
        }
    }

    /// Hands it over to the host.
    pub(crate) fn deliver(&self, call: &Call<'_>) {
        let (items, complete) = match self {
            Self::Items { items, complete } => (items.as_slice(), *complete),
            _ => (&[][..], true),
        };
        let items: Vec<Returned<'_>> = items.iter().map(Self::flat).collect();
        let returned = Returned {
            items: Slice::new(&items),
            complete,
            ..self.flat()
        };
        // SAFETY: the host passes a function and what it takes, both valid as long as the call.
        unsafe { (call.take)(call.taker, &raw const returned) };
    }

    /// In the form of the ABI, but for the items.
    fn flat(&self) -> Returned<'_> {
        let (kind, bytes) = match self {
            Self::Missing => (Returned::MISSING, Bytes::NONE),
            Self::Failed => (Returned::FAILED, Bytes::NONE),
            Self::None => (Returned::NONE, Bytes::NONE),
            Self::False => (Returned::FALSE, Bytes::NONE),
            Self::True => (Returned::TRUE, Bytes::NONE),
            Self::Text(text) => (Returned::TEXT, Bytes::from(text.as_str())),
            Self::BrokenText => (Returned::BROKEN_TEXT, Bytes::NONE),
            Self::Bytes(bytes) => (Returned::BYTES, Bytes::from(bytes.as_slice())),
            Self::Items { .. } => (Returned::ITEMS, Bytes::NONE),
            Self::NotIterable(kind) => (Returned::NOT_ITERABLE, Bytes::from(kind.as_str())),
            Self::Other(kind) => (Returned::OTHER, Bytes::from(kind.as_str())),
        };
        Returned {
            kind,
            bytes,
            items: Slice::new(&[]),
            complete: true,
        }
    }
}
