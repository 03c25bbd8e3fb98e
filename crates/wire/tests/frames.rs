//! What is encoded is what is decoded, in whatever pieces it arrives; and nothing that arrives
//! makes the decoder panic or hold more than its limits.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::{
    BodyError, Decoder, Direction, End, FRAME_HEAD, FileRegion, Greeting, LogLine, PeerError,
    Place, Rejection, RequestHead, ResponseHead, ToChild, ToWorker,
};

type OwnedPairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn borrowed(pairs: &OwnedPairs) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_deref()))
}

/// The `Debug` text of every frame in `bytes`, fed in pieces of `step` bytes: an owned form that
/// tells all fields.
fn decoded<F>(bytes: &[u8], step: usize) -> Result<Vec<String>, PeerError>
where
    for<'a> F: Family<'a>,
{
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        decoder.feed(piece);
        while let Some((number, frame)) = decoder.next::<<F as Family<'_>>::Frame>()? {
            frames.push(format!("{number}: {frame:?}"));
        }
    }
    Ok(frames)
}

/// Names a direction without a lifetime.
trait Family<'a> {
    type Frame: Direction<'a> + std::fmt::Debug;
}
struct Worker;
impl<'a> Family<'a> for Worker {
    type Frame = ToWorker<'a>;
}
struct Child;
impl<'a> Family<'a> for Child {
    type Frame = ToChild<'a>;
}

fn request_head() -> RequestHead<'static> {
    RequestHead {
        https: true,
        reload: false,
        body_on_demand: true,
        has_place: true,
        has_window: true,
        asks_first: true,
        body_is_whole: false,
        ignore_activity: true,
        content_length: Some(17),
        request_start: 1_795_409_524_773_062,
        queue_start: -1,
        script_mtime: 1_795_409_524_000_001,
        connects: 2,
        restarts: 1,
        log_level: 6,
        secret: b"secret",
        script: b"/srv/app.wsgi",
        application_group: b"",
        callable: b"application",
        resource: b"/srv/app.wsgi/x",
        environ: None,
    }
}

#[test]
fn a_request_keeps_every_field() {
    let environ: OwnedPairs = vec![
        (b"PATH_INFO".to_vec(), Some(b"/\xff".to_vec())),
        (b"EMPTY".to_vec(), Some(Vec::new())),
        (b"NONE".to_vec(), None),
    ];
    let mut bytes = Vec::new();
    ToWorker::encode_request(&mut bytes, 7, &request_head(), borrowed(&environ)).unwrap();
    let mut decoder = Decoder::new();
    decoder.feed(&bytes);
    let Some((7, ToWorker::Request(head))) = decoder.next::<ToWorker<'_>>().unwrap() else {
        panic!("not the request");
    };
    assert!(head.https && !head.reload && head.body_on_demand && !head.body_is_whole);
    assert!(head.ignore_activity && head.has_place && head.has_window && head.asks_first);
    assert_eq!(head.content_length, Some(17));
    assert_eq!(
        (head.request_start, head.queue_start, head.script_mtime),
        (1_795_409_524_773_062, -1, 1_795_409_524_000_001)
    );
    assert_eq!((head.connects, head.restarts, head.log_level), (2, 1, 6));
    assert_eq!(
        (head.script, head.callable),
        (&b"/srv/app.wsgi"[..], &b"application"[..])
    );
    assert_eq!(
        (head.application_group, head.resource),
        (&b""[..], &b"/srv/app.wsgi/x"[..])
    );
    let pairs: Vec<_> = head.environ.unwrap().iter().collect();
    assert_eq!(pairs, borrowed(&environ).collect::<Vec<_>>());
}

#[test]
fn a_frame_that_was_taken_out_lets_its_decoder_go_on() {
    let mut bytes = Vec::new();
    ToWorker::encode_request(&mut bytes, 3, &request_head(), std::iter::empty()).unwrap();
    ToWorker::encode_body_end(&mut bytes, 3, Ok(()));
    let mut decoder = Decoder::new();
    decoder.feed(&bytes);
    let frame = decoder.take::<ToWorker<'_>>().unwrap().unwrap();
    assert!(matches!(
        decoder.next::<ToWorker<'_>>(),
        Ok(Some((3, ToWorker::BodyEnd)))
    ));
    assert_eq!(frame.request(), 3);
    let Ok(ToWorker::Request(head)) = frame.decode() else {
        panic!("not the request")
    };
    assert_eq!(head.script, b"/srv/app.wsgi");
}

#[test]
fn data_is_split_into_frames_and_only_the_last_one_flushes() {
    let data = vec![b'x'; 2 * wire::MAX_DATA + 1];
    let mut bytes = Vec::new();
    ToChild::encode_data(&mut bytes, 1, &data, true);
    let mut decoder = Decoder::new();
    decoder.feed(&bytes);
    let mut seen = Vec::new();
    while let Some((_, ToChild::Data { data, flush })) = decoder.next::<ToChild<'_>>().unwrap() {
        seen.push((data.len(), flush));
    }
    assert_eq!(
        seen,
        [(wire::MAX_DATA, false), (wire::MAX_DATA, false), (1, true)]
    );
}

#[test]
fn a_head_that_is_too_long_leaves_the_buffer_as_it_was() {
    let huge = vec![b'x'; wire::MAX_HEAD];
    let mut bytes = b"before".to_vec();
    let head = ResponseHead {
        status: 200,
        status_line: &huge,
        headers: None,
    };
    let error = ToChild::encode_head(&mut bytes, 1, &head, std::iter::empty()).unwrap_err();
    assert!(error.length > error.limit);
    assert_eq!(bytes, b"before");
}

#[test]
fn a_log_line_of_any_length_fits() {
    let text = vec![b'x'; 1 << 20];
    let line = LogLine {
        level: 3,
        id: 174,
        names_script: true,
        file: &text,
        line: 9,
        text: &text,
    };
    let mut bytes = Vec::new();
    ToChild::encode_log(&mut bytes, 1, &line);
    let frames = decoded::<Child>(&bytes, usize::MAX).unwrap();
    assert_eq!(frames.len(), 1);
}

/// A frame with this head and payload.
fn raw(length: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn what_is_no_frame_is_refused_before_its_payload_is_waited_for() {
    let rows: [(&str, Vec<u8>, PeerError); 7] = [
        ("unknown kind", raw(0, 0x7f, 0, b""), PeerError::Kind(0x7f)),
        (
            "wrong direction",
            raw(0, 0x02, 0, b""),
            PeerError::Kind(0x02),
        ),
        (
            "too long",
            raw(u32::MAX, 0x84, 0, b""),
            PeerError::Length {
                kind: 0x84,
                length: u32::MAX,
                limit: wire::MAX_DATA,
            },
        ),
        (
            "flag of another kind",
            raw(0, 0x82, 1, b""),
            PeerError::Value {
                kind: 0x82,
                field: "flags",
            },
        ),
        (
            "status",
            raw(10, 0x83, 0, &[0; 10]),
            PeerError::Value {
                kind: 0x83,
                field: "status",
            },
        ),
        (
            "refused with a success",
            raw(3, 0x87, 0, &[1, 0, 200]),
            PeerError::Value {
                kind: 0x87,
                field: "outcome",
            },
        ),
        (
            "file beyond off_t",
            raw(16, 0x85, 0, &[0xff; 16]),
            PeerError::Value {
                kind: 0x85,
                field: "region",
            },
        ),
    ];
    for (what, bytes, error) in rows {
        assert_eq!(decoded::<Child>(&bytes, usize::MAX), Err(error), "{what}");
    }
}

#[test]
fn reserved_bits_and_other_versions_are_refused() {
    let mut reserved = raw(0, 0x82, 0, b"");
    reserved[6] = 1;
    assert_eq!(decoded::<Child>(&reserved, 1), Err(PeerError::Reserved));

    let mut bytes = Vec::new();
    ToWorker::encode_request(&mut bytes, 1, &request_head(), std::iter::empty()).unwrap();
    bytes[FRAME_HEAD + 1] = 99;
    assert_eq!(
        decoded::<Worker>(&bytes, usize::MAX),
        Err(PeerError::Version(99))
    );
}

#[test]
fn a_count_of_pairs_that_the_payload_does_not_hold_is_refused() {
    let mut bytes = Vec::new();
    let head = ResponseHead {
        status: 200,
        status_line: b"200 OK",
        headers: None,
    };
    ToChild::encode_head(&mut bytes, 1, &head, std::iter::empty()).unwrap();
    let count = bytes.len() - 4;
    bytes[count..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        decoded::<Child>(&bytes, usize::MAX),
        Err(PeerError::Payload(0x83))
    );
}

fn pairs() -> impl Strategy<Value = OwnedPairs> {
    vec(
        (
            vec(any::<u8>(), 0..12),
            proptest::option::of(vec(any::<u8>(), 0..40)),
        ),
        0..8,
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same_requests(
        environ in pairs(),
        body in vec(any::<u8>(), 0..200),
        error in prop_oneof![
            Just(Ok(())),
            Just(Err(BodyError::Disconnected)),
            Just(Err(BodyError::TooLarge)),
        ],
        step in 1_usize..64,
    ) {
        let mut bytes = Vec::new();
        ToWorker::encode_request(&mut bytes, 1, &request_head(), borrowed(&environ)).unwrap();
        ToWorker::encode_body(&mut bytes, 1, &body);
        ToWorker::encode_body_placed(&mut bytes, 1, 4711);
        ToWorker::encode_body_end(&mut bytes, 1, error);
        let whole = decoded::<Worker>(&bytes, usize::MAX).unwrap();
        prop_assert_eq!(whole.len(), 3 + usize::from(!body.is_empty()));
        prop_assert_eq!(decoded::<Worker>(&bytes, step).unwrap(), whole);
    }

    #[test]
    fn any_split_gives_the_same_responses(
        headers in pairs(),
        status in 100_u16..1000,
        data in vec(any::<u8>(), 0..200),
        flush: bool,
        offset in 0..i64::MAX as u64 / 2,
        length in 0..i64::MAX as u64 / 2,
        seen: u32,
        end in prop_oneof![
            Just(End::Complete),
            (400_u16..600).prop_map(End::Refused),
            Just(End::Truncated),
        ],
        step in 1_usize..64,
    ) {
        let head = ResponseHead { status, status_line: &data, headers: None };
        let mut bytes = Vec::new();
        ToChild::encode_hello(
            &mut bytes,
            Greeting {
                pid: 4711,
                slot: 0,
                incarnation: 1,
                ticket: 5,
            },
        );
        ToChild::encode_rejected(&mut bytes, 1, Rejection::Draining);
        ToChild::encode_want_body(&mut bytes, 2);
        ToChild::encode_head(&mut bytes, 2, &head, borrowed(&headers)).unwrap();
        ToChild::encode_data(&mut bytes, 2, &data, flush);
        ToChild::encode_window(&mut bytes, 2);
        ToChild::encode_placed(&mut bytes, 2, Place { offset: seen, length: !seen });
        ToChild::encode_file(&mut bytes, 2, FileRegion { offset, length });
        ToChild::encode_end(&mut bytes, 2, end);
        let whole = decoded::<Child>(&bytes, usize::MAX).unwrap();
        prop_assert_eq!(whole.len(), 8 + usize::from(flush || !data.is_empty()));
        prop_assert_eq!(whole.last().unwrap(), &format!("2: End({end:?})"));
        prop_assert_eq!(decoded::<Child>(&bytes, step).unwrap(), whole);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400), step in 1_usize..64) {
        let _ = decoded::<Worker>(&bytes, step);
        let _ = decoded::<Child>(&bytes, step);
    }

    /// Bytes that begin like a frame, so that the payloads' decoders are reached too.
    #[test]
    fn no_payload_panics(kind: u8, flags: u8, payload in vec(any::<u8>(), 0..100)) {
        let bytes = raw(u32::try_from(payload.len()).unwrap(), kind, flags, &payload);
        let _ = decoded::<Worker>(&bytes, usize::MAX);
        let _ = decoded::<Child>(&bytes, usize::MAX);
    }
}
