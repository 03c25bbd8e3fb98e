//! The forms of the page: lines for programs, HTML with tables, HTML without.

use std::fmt::{self, Display, Write as _};

use super::rows::{Field, Group, Row};

/// The title of the section.
const TITLE: &str = "WSGI process groups";

/// Lines like those of mod_proxy: `WSGIGroup[0]Name: app`. Keys contain numbers instead of names,
/// since names may have any characters.
pub(super) fn lines(groups: &[Group]) -> String {
    let mut out = format!("WSGIGroups: {}\n", groups.len());
    for (number, group) in groups.iter().enumerate() {
        let prefix = format!("WSGIGroup[{number}]");
        write_lines(&mut out, &prefix, &group.row);
        for (process, row) in group.processes.iter().enumerate() {
            write_lines(&mut out, &format!("{prefix}Process[{process}]"), row);
        }
    }
    out
}

fn write_lines(out: &mut String, prefix: &str, row: &Row) {
    for field in row {
        if let Some(value) = &field.value {
            // Writing to a string does not fail, here and below.
            let _ = writeln!(out, "{prefix}{}: {}", field.key, Line(value));
        }
    }
}

/// Two tables: one of the groups, and one of all their processes.
pub(super) fn tables(groups: &[Group]) -> String {
    let mut out = format!("<hr />\n<h3>{TITLE}</h3>\n");
    let rows: Vec<_> = groups.iter().map(|group| (None, &group.row)).collect();
    write_table(&mut out, &rows);
    let of_group = |group| processes(group).map(|row| (Some(Group::name(group)), row));
    let rows: Vec<_> = groups.iter().flat_map(of_group).collect();
    write_table(&mut out, &rows);
    out
}

/// A table of rows, each with the name of its group first if there is one.
fn write_table(out: &mut String, rows: &[(Option<&str>, &Row)]) {
    let Some((group, first)) = rows.first() else {
        return;
    };
    out.push_str("<table rules=\"all\" cellpadding=\"1%\">\n<tr>");
    let headings = first.iter().map(|field| field.heading);
    for heading in group.map(|_| "Group").into_iter().chain(headings) {
        let _ = write!(out, "<th>{heading}</th>");
    }
    out.push_str("</tr>\n");
    for (group, row) in rows {
        let values = row.iter().map(|field| field.value.as_deref());
        out.push_str("<tr>");
        for value in group.map(Some).into_iter().chain(values) {
            let _ = write!(out, "<td>{}</td>", Html(value.unwrap_or_default()));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

/// A paragraph for each group, with a line for each of its processes.
pub(super) fn paragraphs(groups: &[Group]) -> String {
    let mut out = format!("<hr />\n<h3>{TITLE}</h3>\n");
    for group in groups {
        out.push_str("<p>");
        write_values(&mut out, &group.row);
        for row in processes(group) {
            out.push_str("<br />\n");
            write_values(&mut out, row);
        }
        out.push_str("</p>\n");
    }
    out
}

fn write_values(out: &mut String, row: &Row) {
    let told = row
        .iter()
        .filter_map(|Field { heading, value, .. }| Some((heading, value.as_ref()?)));
    for (number, (heading, value)) in told.enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        let _ = write!(out, "{separator}{heading}: <b>{}</b>", Html(value));
    }
}

fn processes(group: &Group) -> impl Iterator<Item = &Row> {
    group.processes.iter()
}

/// Displays a text on one line.
struct Line<'t>(&'t str);

/// Displays a text inside HTML, independent of its encoding.
struct Html<'t>(&'t str);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|char| f.write_char(visible(char)))
    }
}

impl Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().map(visible).try_for_each(|char| match char {
            '<' | '>' | '&' | '"' | '\'' => write!(f, "&#{};", u32::from(char)),
            ascii if ascii.is_ascii() => f.write_char(ascii),
            // mod_status declares its page as ISO-8859-1.
            other => write!(f, "&#{};", u32::from(other)),
        })
    }
}

fn visible(char: char) -> char {
    if char.is_control() { '?' } else { char }
}
