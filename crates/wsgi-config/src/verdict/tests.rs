//! Which results let somebody in, and which are trouble.

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
