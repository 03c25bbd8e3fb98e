//! A worker that does not keep to the protocol hurts no child of httpd, and nobody else's requests.

use std::fs::{self, File};
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use control::Window;
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use nix::unistd::{Uid, chown};
use rstest::rstest;
use testkit::{Httpd, Mark, Request, Site, ours, wait_until};
use wire::{End, FileRegion, Greeting, LogLine, Place, Rejection, ResponseHead, ToChild, ToWorker};

use crate::apps::answering;

/// What a hostile worker does with a connection.
type Conduct = fn(UnixStream) -> std::io::Result<()>;

fn site() -> Site {
    Site::new().script("a.wsgi", &answering("ran")).config(
        "WSGISocketPrefix ${DATA}/socket
         WSGIDaemonProcess bad connect-timeout=1 socket-timeout=1
         WSGIDaemonProcess good
         WSGIScriptAlias /bad ${WSGI}/a.wsgi process-group=bad
         WSGIScriptAlias /good ${WSGI}/a.wsgi process-group=good",
    )
}

/// Where the group `bad` listens: it was defined first.
fn socket(server: &Httpd) -> PathBuf {
    let name = format!("data/socket.{}.1.sock", server.process().pid);
    server.site().path(&name)
}

/// Takes the place of the group's workers. Only the user of httpd's parent can do that. Returns how
/// many connections there were so far.
fn usurp(server: &Httpd, conduct: Conduct) -> Arc<AtomicUsize> {
    let path = socket(server);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&path).expect("a socket"));
    fs::remove_file(&path).expect("it was there");
    let listener = UnixListener::bind(&path).expect("a place for another");
    chown(&path, Some(Uid::from_raw(owner)), None).expect("an owner");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // Ends with the process of the tests.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            // A child that hangs up is what is wanted.
            thread::spawn(move || drop(conduct(stream)));
        }
    });
    connections
}

/// A greeting and what `encode` appends.
fn greeted(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let greeting = Greeting {
        pid: 1,
        slot: 77,
        incarnation: 77,
        ticket: 77,
    };
    ToChild::encode_hello(&mut out, greeting);
    encode(&mut out);
    out
}

fn head(out: &mut Vec<u8>, status: u16, headers: &[(&[u8], &[u8])]) {
    let head = ResponseHead {
        status,
        status_line: b"200 OK",
        headers: None,
    };
    let headers = headers.iter().map(|(name, value)| (*name, Some(*value)));
    ToChild::encode_head(out, 1, &head, headers).expect("it fits");
}

/// Sends this, reads what the child sends, and waits for its end.
fn say(mut stream: UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Reads the request first, so that the end is not one that lost it.
fn listen(stream: &mut UnixStream) -> std::io::Result<()> {
    stream.read(&mut [0; 65536]).map(drop)
}

fn truncated(mut stream: UnixStream) -> std::io::Result<()> {
    let whole = greeted(|out| head(out, 200, &[]));
    listen(&mut stream)?;
    stream.write_all(&whole[..whole.len() - 3])
}

fn oversized(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| out.extend([0xff, 0xff, 0xff, 0xff, 0x84, 0, 0, 0, 0, 0, 0, 1])),
    )
}

fn other_direction(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| out.extend([0, 0, 0, 0, 0x03, 0, 0, 0, 0, 0, 0, 1])),
    )
}

fn data_first(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| ToChild::encode_data(out, 1, b"data", true)),
    )
}

fn end_first(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| ToChild::encode_end(out, 1, End::Complete)),
    )
}

fn two_heads(stream: UnixStream) -> std::io::Result<()> {
    let heads = |out: &mut Vec<u8>| {
        head(out, 404, &[(b"Status", b"404")]);
        head(out, 200, &[]);
    };
    say(stream, &greeted(heads))
}

fn two_greetings(stream: UnixStream) -> std::io::Result<()> {
    say(stream, &greeted(|out| out.extend(greeted(|_| ()))))
}

fn another_request(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| ToChild::encode_end(out, 2, End::Complete)),
    )
}

fn splitting(stream: UnixStream) -> std::io::Result<()> {
    let split = |out: &mut Vec<u8>| {
        head(out, 200, &[(b"X", b"a\r\nSet-Cookie: b")]);
        ToChild::encode_end(out, 1, End::Complete);
    };
    say(stream, &greeted(split))
}

fn interim(stream: UnixStream) -> std::io::Result<()> {
    let interim = |out: &mut Vec<u8>| {
        head(out, 101, &[]);
        ToChild::encode_end(out, 1, End::Complete);
    };
    say(stream, &greeted(interim))
}

/// A response with these headers and this body, in one piece.
fn respond(
    stream: UnixStream,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
    flush: bool,
) -> std::io::Result<()> {
    let response = |out: &mut Vec<u8>| {
        head(out, 200, headers);
        ToChild::encode_data(out, 1, body, flush);
        ToChild::encode_end(out, 1, End::Complete);
    };
    say(stream, &greeted(response))
}

/// As if it framed the body itself.
fn framing(stream: UnixStream) -> std::io::Result<()> {
    let body = b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    respond(stream, &[(b"Transfer-Encoding", b"chunked")], body, false)
}

fn two_lengths(stream: UnixStream) -> std::io::Result<()> {
    let lengths: [(&[u8], &[u8]); 2] = [(b"Content-Length", b"5"), (b"content-length", b"4")];
    respond(stream, &lengths, b"hello", false)
}

fn no_length(stream: UnixStream) -> std::io::Result<()> {
    respond(stream, &[(b"Content-Length", b"+5")], b"hello", false)
}

fn random(stream: UnixStream) -> std::io::Result<()> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes().first().copied()
    });
    say(stream, &greeted(|out| out.extend(bytes.take(100_000))))
}

fn file_without_descriptor(stream: UnixStream) -> std::io::Result<()> {
    let file = |out: &mut Vec<u8>| {
        head(out, 200, &[]);
        ToChild::encode_file(
            out,
            1,
            FileRegion {
                offset: 0,
                length: 9,
            },
        );
    };
    say(stream, &greeted(file))
}

fn window_without_descriptor(stream: UnixStream) -> std::io::Result<()> {
    say(stream, &greeted(|out| ToChild::encode_window(out, 1)))
}

/// What somebody could cut short.
fn window_without_seals(stream: UnixStream) -> std::io::Result<()> {
    let file = tempfile::tempfile()?;
    file.set_len(Window::SIZE as u64)?;
    send_windows(
        &stream,
        &file.into(),
        1,
        Place {
            offset: 0,
            length: 1,
        },
    )?;
    say(stream, &[])
}

fn two_windows(stream: UnixStream) -> std::io::Result<()> {
    let (_, window) = Window::new()?;
    send_windows(
        &stream,
        &window,
        2,
        Place {
            offset: 0,
            length: 1,
        },
    )?;
    say(stream, &[])
}

fn outside_of_the_window(stream: UnixStream) -> std::io::Result<()> {
    let (_, window) = Window::new()?;
    let place = Place {
        offset: 1,
        length: Window::SIZE as u32,
    };
    send_windows(&stream, &window, 1, place)?;
    say(stream, &[])
}

fn no_window(stream: UnixStream) -> std::io::Result<()> {
    let placed = |out: &mut Vec<u8>| {
        head(out, 200, &[]);
        ToChild::encode_placed(
            out,
            1,
            Place {
                offset: 0,
                length: 1,
            },
        );
    };
    say(stream, &greeted(placed))
}

/// Sends so many times the same window, and then a response of which a part lies there.
fn send_windows(
    stream: &UnixStream,
    window: &OwnedFd,
    times: usize,
    place: Place,
) -> std::io::Result<()> {
    let bytes = greeted(|out| {
        (0..times).for_each(|_| ToChild::encode_window(out, 1));
        head(out, 200, &[]);
        ToChild::encode_placed(out, 1, place);
        ToChild::encode_end(out, 1, End::Complete);
    });
    send_descriptors(stream, &bytes, &vec![window.as_raw_fd(); times])
}

/// A device without an end, and nothing that a file has.
fn endless_file(stream: UnixStream) -> std::io::Result<()> {
    send_file(&stream, &File::open("/dev/zero")?, 1, u64::MAX >> 1)?;
    say(stream, &[])
}

/// More of a file than there is.
fn long_file(stream: UnixStream) -> std::io::Result<()> {
    send_file(&stream, &tempfile::tempfile()?, 1, 1 << 20)?;
    say(stream, &[])
}

/// As many descriptors as can be sent.
fn descriptors(mut stream: UnixStream) -> std::io::Result<()> {
    listen(&mut stream)?;
    send_file(&stream, &tempfile::tempfile()?, 253, 0)
}

/// A file that is cut short while the child has it.
fn shrinking_file(mut stream: UnixStream) -> std::io::Result<()> {
    let file = tempfile::tempfile()?;
    file.set_len(1 << 20)?;
    listen(&mut stream)?;
    send_file(&stream, &file, 1, 1 << 20)?;
    // Some of the body comes when the child has read what asks for it, and the file before that.
    let mut wish = Vec::new();
    ToChild::encode_want_body(&mut wish, 1);
    stream.write_all(&wish)?;
    stream.read_exact(&mut [0])?;
    file.set_len(0)?;
    let mut end = Vec::new();
    ToChild::encode_end(&mut end, 1, End::Complete);
    say(stream, &end)
}

/// Sends a response with a file of such a length, and its descriptor so many times.
fn send_file(stream: &UnixStream, file: &File, times: usize, length: u64) -> std::io::Result<()> {
    let bytes = greeted(|out| {
        head(out, 200, &[]);
        ToChild::encode_file(out, 1, FileRegion { offset: 0, length });
    });
    send_descriptors(stream, &bytes, &vec![file.as_raw_fd(); times])
}

fn send_descriptors(stream: &UnixStream, bytes: &[u8], rights: &[RawFd]) -> std::io::Result<()> {
    let control = [ControlMessage::ScmRights(rights)];
    let parts = [IoSlice::new(bytes)];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &parts,
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

fn endless_log(mut stream: UnixStream) -> std::io::Result<()> {
    let line = LogLine {
        level: 7,
        id: 0,
        names_script: false,
        file: b"",
        line: 0,
        text: &[b'x'; 30_000],
    };
    stream.write_all(&greeted(|_| ()))?;
    loop {
        let mut out = Vec::new();
        ToChild::encode_log(&mut out, 1, &line);
        stream.write_all(&out)?;
    }
}

fn always_leaving(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| ToChild::encode_rejected(out, 1, Rejection::Draining)),
    )
}

fn always_asking_for_the_body(stream: UnixStream) -> std::io::Result<()> {
    say(
        stream,
        &greeted(|out| ToChild::encode_rejected(out, 1, Rejection::BodyFirst)),
    )
}

fn hanging_up(stream: UnixStream) -> std::io::Result<()> {
    drop(stream);
    Ok(())
}

fn mute(stream: UnixStream) -> std::io::Result<()> {
    say(stream, &[])
}

fn never_reading(mut stream: UnixStream) -> std::io::Result<()> {
    stream.write_all(&greeted(|out| ToChild::encode_want_body(out, 1)))?;
    thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// Says something all the time, but never comes to the end of a frame.
fn dripping(mut stream: UnixStream) -> std::io::Result<()> {
    stream.write_all(&greeted(|out| {
        out.extend([0, 0, 0xff, 0, 0x83, 0, 0, 0, 0, 0, 0, 1])
    }))?;
    loop {
        stream.write_all(b"x")?;
        thread::sleep(Duration::from_millis(50));
    }
}

#[rstest]
#[case::truncated(truncated, 502, "WSGI0146")]
#[case::oversized(oversized, 502, "WSGI0147")]
#[case::other_direction(other_direction, 502, "WSGI0147")]
#[case::data_first(data_first, 502, "WSGI0147")]
#[case::end_first(end_first, 502, "WSGI0147")]
#[case::two_heads(two_heads, 502, "WSGI0119")]
#[case::two_greetings(two_greetings, 502, "WSGI0147")]
#[case::another_request(another_request, 502, "WSGI0147")]
#[case::splitting(splitting, 502, "WSGI1221")]
#[case::interim(interim, 502, "WSGI1221")]
#[case::framing(framing, 502, "WSGI1221")]
#[case::two_lengths(two_lengths, 502, "WSGI1221")]
#[case::no_length(no_length, 502, "WSGI1221")]
#[case::random(random, 502, "WSGI0147")]
#[case::file_without_descriptor(file_without_descriptor, 502, "WSGI0119")]
#[case::window_without_descriptor(window_without_descriptor, 502, "WSGI0147")]
#[case::window_without_seals(window_without_seals, 502, "WSGI0147")]
#[case::two_windows(two_windows, 502, "WSGI0147")]
#[case::outside_of_the_window(outside_of_the_window, 502, "WSGI0119")]
#[case::no_window(no_window, 502, "WSGI0119")]
#[case::endless_file(endless_file, 502, "WSGI0119")]
#[case::long_file(long_file, 502, "WSGI0119")]
#[case::endless_log(endless_log, 502, "WSGI0147")]
#[case::always_leaving(always_leaving, 503, "WSGI0116")]
#[case::always_asking_for_the_body(always_asking_for_the_body, 502, "WSGI0147")]
#[case::hanging_up(hanging_up, 503, "WSGI0116")]
#[case::mute(mute, 504, "WSGI0145")]
#[case::never_reading(never_reading, 504, "WSGI0145")]
#[case::dripping(dripping, 504, "WSGI0145")]
fn a_worker_that_breaks_the_protocol_costs_its_own_request(
    #[case] conduct: Conduct,
    #[case] status: u16,
    #[case] id: &str,
) {
    // The protocol is ours.
    if !ours("D92") {
        return;
    }
    let server = site().start();
    assert_eq!(server.get("/good").text(), "ran");
    let children = server.children();
    usurp(&server, conduct);
    let request = Request::post("/bad", vec![b'b'; 1_000_000]);
    for _ in 0..2 {
        let mut client = server.connect();
        client.send(&request.clone().header("Connection", "close").to_bytes());
        let response = client.read_response();
        assert_eq!(response.head.status, status);
        assert_eq!(response.head.header("Set-Cookie"), None);
        assert_eq!(server.get("/good").text(), "ran");
    }
    assert!(!server.log().matching(Mark::START, id).is_empty());
    assert_eq!(server.children(), children, "none has died");
}

#[rstest]
#[case::sent_by_the_kernel("")]
#[case::read_by_a_filter("SetOutputFilter DEFLATE")]
fn a_file_that_shrinks_costs_no_child(#[case] filter: &str) {
    if !ours("D92") {
        return;
    }
    let server = site().module("deflate").config(filter).start();
    assert_eq!(server.get("/good").text(), "ran");
    let children = server.children();
    usurp(&server, shrinking_file);
    let mut client = server.connect();
    // A body that is too long to be sent before it is asked for.
    client.send(
        b"POST /bad HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\
          Content-Length: 99000000\r\n\r\nbody",
    );
    client.half_close();
    client.read_to_end();
    let refused = server
        .log()
        .matching(Mark::START, "of a file than there is");
    assert!(refused.is_empty(), "it has shrunk too soon: {refused:?}");
    assert_eq!(server.get("/good").text(), "ran");
    assert_eq!(server.children(), children, "none has died");
}

#[test]
fn a_child_keeps_none_of_the_descriptors_that_it_did_not_ask_for() {
    if !ours("D92") {
        return;
    }
    let server = site().start();
    server.get("/bad");
    usurp(&server, descriptors);
    let open = || -> usize {
        let children = server.children();
        children.iter().map(|child| child.open_files()).sum()
    };
    server.get("/bad");
    let before = open();
    for _ in 0..8 {
        server.get("/bad");
    }
    wait_until("the descriptors to be closed", || {
        (open() < before + 8).then_some(())
    });
}

/// Asks for the body, and ends when there is some, which it does not read.
fn wanting_in_vain(mut stream: UnixStream) -> std::io::Result<()> {
    listen(&mut stream)?;
    stream.write_all(&greeted(|out| ToChild::encode_want_body(out, 1)))?;
    recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK)?;
    Ok(())
}

/// The same, but says that it is leaving when it has read some of the body.
fn leaving_with_the_body(mut stream: UnixStream) -> std::io::Result<()> {
    listen(&mut stream)?;
    stream.write_all(&greeted(|out| ToChild::encode_want_body(out, 1)))?;
    stream.read_exact(&mut [0])?;
    let mut rejection = Vec::new();
    ToChild::encode_rejected(&mut rejection, 1, Rejection::Draining);
    say(stream, &rejection)
}

#[rstest]
#[case::that_hangs_up(wanting_in_vain, 502, "WSGI0146")]
#[case::that_leaves(leaving_with_the_body, 503, "WSGI0116")]
fn what_a_worker_has_begun_to_run_no_other_runs(
    #[case] conduct: Conduct,
    #[case] status: u16,
    #[case] id: &str,
) {
    if !ours("D92") {
        return;
    }
    let server = site().start();
    let connections = usurp(&server, conduct);
    let mut client = server.connect();
    // The beginning of a body that is too long to be held.
    client.send(
        b"POST /bad HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99000000\r\n\r\nbody",
    );
    client.half_close();
    assert_eq!(client.read_response().head.status, status);
    assert_eq!(server.log().matching(Mark::START, id).len(), 1);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// Answers before it has read all of the request, and hangs up.
fn answering_early(mut stream: UnixStream) -> std::io::Result<()> {
    stream.write_all(&greeted(|out| ToChild::encode_want_body(out, 1)))?;
    // More than a socket holds: the child has read the greeting before it could send so much.
    std::io::copy(&mut (&stream).take(2_000_000), &mut std::io::sink())?;
    let mut answer = Vec::new();
    head(&mut answer, 413, &[(b"Content-Length", b"8")]);
    ToChild::encode_data(&mut answer, 1, b"too much", false);
    ToChild::encode_end(&mut answer, 1, End::Complete);
    stream.write_all(&answer)
}

#[test]
fn an_answer_counts_though_the_worker_takes_no_more_of_the_body() {
    if !ours("D92") {
        return;
    }
    let server = site().start();
    usurp(&server, answering_early);
    for _ in 0..5 {
        let response = server.send(&Request::post("/bad", vec![b'b'; 4_000_000]));
        assert_eq!(response.status, 413);
        assert_eq!(response.text(), "too much");
    }
}

/// A body of `hello` and more, in as many pieces as can be.
fn saying_more(stream: UnixStream) -> std::io::Result<()> {
    let more = |out: &mut Vec<u8>| {
        head(out, 200, &[(b"Content-Length", b"5")]);
        ToChild::encode_data(out, 1, b"hello", true);
        ToChild::encode_data(
            out,
            1,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
        );
        ToChild::encode_end(out, 1, End::Complete);
    };
    say(stream, &greeted(more))
}

fn saying_less(stream: UnixStream) -> std::io::Result<()> {
    respond(stream, &[(b"Content-Length", b"6")], b"hello", false)
}

/// Has the head sent, and then nothing.
fn saying_nothing(stream: UnixStream) -> std::io::Result<()> {
    respond(stream, &[(b"Content-Length", b"6")], b"", true)
}

#[rstest]
#[case::more(saying_more)]
#[case::less(saying_less)]
#[case::nothing(saying_nothing)]
fn nobody_takes_what_a_worker_says_for_the_next_response(#[case] conduct: Conduct) {
    if !ours("D92") {
        return;
    }
    let server = site().start();
    usurp(&server, conduct);
    let mut client = server.connect();
    client.send(&Request::get("/bad").to_bytes());
    let said = client.read_to_end();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    let line = server.log().wait_for(Mark::START, "WSGI0119");
    assert!(line.contains("of a body than it announced"), "{line}");
}

#[test]
fn without_connect_timeout_nobody_waits_for_ever() {
    if !ours("D92") {
        return;
    }
    let server = Site::new()
        .script("a.wsgi", &answering("ran"))
        .config(
            "WSGISocketPrefix ${DATA}/socket
             WSGIDaemonProcess bad connect-timeout=0 socket-timeout=1
             WSGIScriptAlias /bad ${WSGI}/a.wsgi process-group=bad",
        )
        .start();
    usurp(&server, always_leaving);
    assert_eq!(server.get("/bad").head.status, 503);
    fs::remove_file(socket(&server)).expect("it was there");
    assert_eq!(server.get("/bad").head.status, 503);
}

#[test]
fn nothing_but_a_request_begins_a_connection() {
    if !ours("D92") {
        return;
    }
    let server = site().start();
    // The first request may have no answer in time, as it waits for the start.
    wait_until("a worker that serves", || {
        (server.get("/bad").text() == "ran").then_some(())
    });
    let mut stream = UnixStream::connect(socket(&server)).expect("a worker");
    let mut body = Vec::new();
    ToWorker::encode_body_end(&mut body, 0, Ok(()));
    ToWorker::encode_body_end(&mut body, 1, Ok(()));
    stream.write_all(&body).expect("somebody listens");
    let timeout = Some(Duration::from_secs(30));
    stream.set_read_timeout(timeout).expect("a timeout");
    let mut said = Vec::new();
    // The connection is reset if not all was read.
    let end = stream.read_to_end(&mut said).map_err(|error| error.kind());
    assert!(
        matches!(end, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)),
        "{end:?}"
    );
}
