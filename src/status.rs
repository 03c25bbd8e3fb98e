//! The section on process groups on the page of mod_status.
//!
//! Runs on the thread of httpd that processes the request for the page. All data is in memory that
//! httpd's children share with the supervisor and the workers, so no other process has to answer,
//! and the page works while applications hang. A worker could write anything into that memory, but
//! only numbers are read from it.

mod forms;
mod rows;

use std::time::{SystemTime, UNIX_EPOCH};

use httpd::Request;
use httpd::server_status::{Form, Page};

use crate::remote::groups::{Group, Groups};

/// The text that is added to the page; empty if there are no groups.
pub(crate) fn page(_request: Request<'_>, page: Page) -> String {
    let groups = Groups::current();
    if groups.is_empty() {
        return String::new();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.unwrap_or_default().as_secs();
    let mut overviews: Vec<_> = groups.iter().map(Group::overview).collect();
    // Sorted for people, and so that the number of a group depends only on the names.
    overviews.sort_by_key(|overview| overview.name);
    let overviews = overviews.iter();
    let groups: Vec<_> = overviews
        .map(|overview| rows::Group::of(overview, page.is_extended, now))
        .collect();
    match page.form {
        Form::Lines => forms::lines(&groups),
        Form::Html => forms::tables(&groups),
        Form::HtmlWithoutTables => forms::paragraphs(&groups),
    }
}
