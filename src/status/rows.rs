//! The data of a group and of its processes, independent of the form of the page.

use control::{Ending, Member, Stage};
use nix::unistd::{SysconfVar, sysconf};

use crate::remote::overview::{Overview, Place};

/// The rows of a group.
pub(super) struct Group {
    pub(super) row: Row,
    /// The rows of its processes.
    pub(super) processes: Vec<Row>,
}

/// The fields of a group or a process.
pub(super) type Row = Vec<Field>;

/// A field.
pub(super) struct Field {
    /// Its key, for programs.
    pub(super) key: &'static str,
    /// Its heading, for people.
    pub(super) heading: &'static str,
    /// Its value, if it has one.
    pub(super) value: Option<String>,
}

impl Group {
    /// The rows of a group at the time `now`, in seconds since the epoch. Those of processes only
    /// if `is_extended`.
    pub(super) fn of(overview: &Overview<'_>, is_extended: bool, now: u64) -> Self {
        let places = overview.places.iter().zip(0..);
        let processes = places
            .filter(|_| is_extended)
            .flat_map(|(place, number)| processes(overview, place, number, now))
            .collect();
        Self {
            row: group(overview, now),
            processes,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        let name = self.row.first().and_then(|field| field.value.as_deref());
        name.unwrap_or_default()
    }
}

/// The row of a group. Its first field is the name.
fn group(overview: &Overview<'_>, now: u64) -> Row {
    let places = &overview.places;
    let serving = places.iter().filter(|place| place.is_serving());
    let busy: u64 = serving.clone().map(|place| u64::from(place.busy)).sum();
    let serving = u64::try_from(serving.count()).unwrap_or(u64::MAX);
    let threads = serving.saturating_mul(overview.threads.into());
    let requests = places.iter().map(|place| place.all_requests);
    let requests = requests.fold(0, u64::saturating_add);
    let restarts: u64 = places.iter().map(|place| u64::from(place.restarts)).sum();
    let longest = overview.waits.longest;
    let longest = longest.map(|wait| format!("{:.3}", wait.as_secs_f64()));
    let ending = places.iter().filter_map(|place| place.ending);
    let ending = ending.max_by_key(|ending| ending.at);
    let reason = ending.and_then(|ending| ending.reason);
    let of_requests = |number: u64| (!overview.is_service).then_some(number);
    vec![
        field(
            "Name",
            "Group",
            Some(String::from_utf8_lossy(overview.name)),
        ),
        field("User", "User", Some(overview.user)),
        field("State", "State", Some(state(overview))),
        field("Processes", "Processes", Some(places.len())),
        field("ServingProcesses", "Serving", Some(serving)),
        field("BusyThreads", "Busy threads", of_requests(busy)),
        field(
            "IdleThreads",
            "Idle threads",
            of_requests(threads.saturating_sub(busy)),
        ),
        field(
            "Waiting",
            "Waiting",
            of_requests(overview.waits.count.into()),
        ),
        field("LongestWait", "Longest wait (s)", longest),
        field("Requests", "Requests", of_requests(requests)),
        field("Restarts", "Restarts", Some(restarts)),
        field("LastEnd", "Last end", ending.map(fate)),
        field("LastEndPID", "of PID", ending.map(|it| it.pid)),
        field("LastEndReason", "because of", reason.map(|it| it.as_str())),
        field(
            "LastEndAge",
            "ago (s)",
            ending.map(|it| now.saturating_sub(it.at)),
        ),
    ]
}

/// A row for each worker in a slot, and one for the worker that cannot be started.
fn processes(overview: &Overview<'_>, place: &Place, number: u32, now: u64) -> Vec<Row> {
    let members = place.members.iter();
    let mut rows: Vec<_> = members
        .map(|member| member_row(overview, place, *member, number, now))
        .collect();
    let retry = place.setback.retry;
    if retry.is_some() || rows.is_empty() {
        let state = match retry.is_some() {
            true => BACKING_OFF,
            false if place.is_down => "down",
            false => STARTING,
        };
        let wait = retry.map(|at| at.saturating_sub(now));
        rows.push(vec![
            field("Slot", "Slot", Some(number)),
            field("PID", "PID", None::<u32>),
            field("State", "State", Some(state)),
            field("Age", "Age (s)", None::<u64>),
            field("BusyThreads", "Busy threads", None::<u32>),
            field("Requests", "Requests", None::<u64>),
            field("RSS", "RSS (KiB)", None::<u64>),
            field("FailedStarts", "Failed starts", failures(place)),
            field("NextStart", "Next start in (s)", wait),
        ]);
    }
    rows
}

fn member_row(
    overview: &Overview<'_>,
    place: &Place,
    member: Member,
    number: u32,
    now: u64,
) -> Row {
    let is_serving = member.stage == Stage::Serving && !overview.is_service;
    let is_starting = member.stage == Stage::Starting;
    let state = stage(member.stage, overview.is_service);
    vec![
        field("Slot", "Slot", Some(number)),
        field("PID", "PID", Some(member.pid)),
        field("State", "State", Some(state)),
        field("Age", "Age (s)", Some(now.saturating_sub(member.started))),
        field(
            "BusyThreads",
            "Busy threads",
            is_serving.then_some(place.busy),
        ),
        field("Requests", "Requests", is_serving.then_some(place.requests)),
        field("RSS", "RSS (KiB)", resident(member.pid)),
        field(
            "FailedStarts",
            "Failed starts",
            failures(place).filter(|_| is_starting),
        ),
        field("NextStart", "Next start in (s)", None::<u64>),
    ]
}

fn fate(ending: Ending) -> String {
    control::describe_exit(ending.status)
}

fn failures(place: &Place) -> Option<u32> {
    Some(place.setback.failures).filter(|failures| *failures > 0)
}

/// A worker is on its way.
const STARTING: &str = "starting";

/// Workers fail to start, and it is not yet time to try again.
const BACKING_OFF: &str = "backing off";

/// The state of a group.
fn state(overview: &Overview<'_>) -> &'static str {
    let mut places = overview.places.iter();
    if places.clone().any(Place::is_serving) {
        stage(Stage::Serving, overview.is_service)
    } else if places.any(|place| place.setback.retry.is_some()) {
        BACKING_OFF
    } else {
        STARTING
    }
}

/// The state of a worker.
fn stage(stage: Stage, is_service: bool) -> &'static str {
    match stage {
        Stage::Starting => STARTING,
        Stage::Standby => "standby",
        Stage::Serving if is_service => "running",
        Stage::Serving => "serving",
        Stage::Draining => "draining",
    }
}

fn field(key: &'static str, heading: &'static str, value: Option<impl ToString>) -> Field {
    Field {
        key,
        heading,
        value: value.map(|value| value.to_string()),
    }
}

/// The resident memory of a process, in KiB, unless the system hides it (`hidepid` of /proc).
fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages.saturating_mul(u64::try_from(page).ok()?) / 1024)
}
