//! What the httpd parent, the supervisor and the workers tell each other.
//!
//! The parent describes process groups ([`GroupSpec`]) to the supervisor, which starts workers and
//! hands each the description of its own group. Both links are [`Channel`]s, which carry
//! messages together with file descriptors. What httpd's children need to know at
//! every request, which workers are up and how busy, lies in memory they all map: a [`Table`] for
//! each group.
//!
//! Large data lies in a [`Window`], which a worker shares with a child.
//!
//! A worker that may know what httpd's processes are doing asks them over a [`scoreboard_link`].
//!
//! Requests themselves travel otherwise: in the frames of the crate `wire`.

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
