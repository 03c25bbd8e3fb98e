//! What the httpd parent, its children, the supervisor and the workers must agree on.
//!
//! The parent describes process groups ([`GroupSpec`]) to the supervisor, which starts workers and
//! hands each the description of its own group. Both links are [`Channel`]s, which carry messages
//! together with file descriptors. Children need to know at every request which workers serve, and
//! how busy they are. This is in memory that all of them map: a [`Table`] for each group.
//!
//! Large data is put into a [`Window`], which a worker shares with a child.
//!
//! Workers of a group with `server-metrics` ask for a copy of httpd's scoreboard over a
//! [`scoreboard_link`].
//!
//! Requests and responses are not sent over these links, but as frames of the crate `wire`.

mod channel;
mod clock;
mod exit;
mod messages;
mod queue;
mod rights;
mod roster;
pub mod schedule;
mod scoreboard;
mod sealed;
mod secret;
mod spec;
mod table;
mod window;

pub use channel::{Arrival, Channel, ChannelError, LINK_FD, MAX_PACKET};
pub use clock::now;
pub use exit::describe_exit;
pub use messages::{Failure, FromWorker, Replacement, ToSupervisor, ToWorker};
pub use queue::{Queue, Waiting, Waits};
pub use rights::{Received, receive_with_descriptors};
pub use roster::{Ending, Member, Setback, Stage};
pub use scoreboard::{
    Scoreboard, ScoreboardProcess, ScoreboardReader, ScoreboardSource, ScoreboardWorker,
    scoreboard_link,
};
pub use secret::Secret;
pub use spec::{
    GroupSpec, Identity, InterpreterSection, Life, Limits, LogForm, PreloadScript, PythonSpec,
    ServerSpec, SocketBuffers,
};
pub use table::{MOST_SPARE, Slot, SlotState, Table};
pub use window::{Inbox, Placed, View, Window};
