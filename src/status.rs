//! What the page of mod_status tells of process groups.
//!
//! On a thread of httpd, when somebody asks for that page. All that is told lies in memory which
//! httpd's children share with the supervisor and the workers, so nobody has to answer, and the
//! page is there while applications hang. A worker could write anything into that memory; but it
//! has only numbers, and the words are ours.

mod forms;
mod rows;

use std::time::{SystemTime, UNIX_EPOCH};

use httpd::Request;
use httpd::server_status::{Form, Page};

use crate::remote::groups::{Group, Groups};

/// What is added to the page: nothing where there are no groups.
pub(crate) fn page(_request: Request<'_>, page: Page) -> String {
    let groups = Groups::current();
    if groups.is_empty() {
        return String::new();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.unwrap_or_default().as_secs();
    let mut overviews: Vec<_> = groups.iter().map(Group::overview).collect();
    // For people, and so that the numbers of groups depend on nothing but their names.
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
