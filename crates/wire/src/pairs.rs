//! Names and values: an environ or the headers of a response.

use crate::cursor::Cursor;
use crate::error::PeerError;
use crate::frame::put_bytes;

/// Names and values as they lie in a payload, checked once when the frame was decoded.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    count: u32,
    cursor: Cursor<'a>,
}

impl<'a> Pairs<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The names and values, in the sender's order. An absent value is `None`.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut cursor = self.cursor;
        // `decode` has walked the same bytes, so no step of this walk fails.
        (0..self.count).map_while(move |_| pair(&mut cursor).ok())
    }

    /// The pairs at `cursor`, which must be the last field of their frame.
    pub(crate) fn decode(mut cursor: Cursor<'a>) -> Result<Self, PeerError> {
        let count = cursor.u32()?;
        let pairs = Self { count, cursor };
        for _ in 0..count {
            pair(&mut cursor)?;
        }
        cursor.end()?;
        Ok(pairs)
    }
}

impl std::fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(name, value)| (text(name), value.map(text))),
            )
            .finish()
    }
}

fn pair<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), PeerError> {
    Ok((cursor.bytes("name")?, cursor.optional()?))
}

/// Appends `pairs` behind their number.
pub(crate) fn put_pairs<'a>(
    out: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count: u32 = 0;
    for (name, value) in pairs {
        put_bytes(out, Some(name));
        put_bytes(out, value);
        count += 1;
    }
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&count.to_be_bytes());
    }
}
