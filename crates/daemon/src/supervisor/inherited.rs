//! The workers of an earlier supervisor that has died.
//!
//! They serve until the workers of this supervisor do, and then end by themselves (see the worker's
//! `orphan`). This supervisor only reports them to mod_status while they exist. They are not its
//! children, so it has to poll whether they do.

use std::time::{Duration, Instant};

use control::{Member, Stage, Table};

use crate::held::HeldProcess;

/// How often to check whether they still exist.
const PERIOD: Duration = Duration::from_secs(1);

/// The inherited workers of a group.
#[derive(Debug)]
pub(super) struct Inherited {
    workers: Vec<InheritedWorker>,
    next_look: Instant,
}

#[derive(Debug)]
struct InheritedWorker {
    slot: usize,
    member: Member,
    process: HeldProcess,
}

impl Inherited {
    /// The workers that an earlier supervisor has recorded in the table.
    pub(super) fn of(table: &Table) -> Self {
        let slots = table.slots().iter().enumerate();
        let members = slots.flat_map(|(slot, it)| it.members().map(move |member| (slot, member)));
        let workers = members.filter_map(|(slot, member)| {
            // A worker may have written any number there.
            let pid = i32::try_from(member.pid).ok()?;
            Some(InheritedWorker {
                slot,
                member,
                process: HeldProcess::open(pid),
            })
        });
        Self {
            workers: workers.filter(|it| it.process.is_running()).collect(),
            next_look: Instant::now() + PERIOD,
        }
    }

    /// The inherited workers of a slot.
    pub(super) fn of_slot(&self, slot: usize) -> impl Iterator<Item = Member> {
        let workers = self.workers.iter().filter(move |it| it.slot == slot);
        workers.map(|it| it.member)
    }

    /// A worker of this supervisor now serves in a slot, so the inherited ones there drain.
    pub(super) fn succeed(&mut self, slot: usize) {
        for worker in self.workers.iter_mut().filter(|it| it.slot == slot) {
            worker.member.stage = Stage::Draining;
        }
    }

    /// When to check next; `None` if there are none.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.workers.is_empty()).then_some(self.next_look)
    }

    /// If it is time to check, forgets the workers that have ended. Returns their slots.
    pub(super) fn look(&mut self, now: Instant) -> Vec<usize> {
        if self.next_look().is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.next_look = now + PERIOD;
        let ended = self.workers.extract_if(.., |it| !it.process.is_running());
        ended.map(|it| it.slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn they_are_told_of_while_they_are_there() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let table = Table::new(2).unwrap();
        let serving = Member {
            pid: child.id(),
            stage: Stage::Serving,
            started: 5,
        };
        let nobody = Member {
            pid: u32::MAX,
            ..serving
        };
        table.slots()[1].set_members([nobody, serving].into_iter());

        let mut inherited = Inherited::of(&table);
        assert_eq!(inherited.of_slot(0).count(), 0);
        assert!(inherited.of_slot(1).eq([serving]));
        inherited.succeed(0);
        assert!(inherited.of_slot(1).eq([serving]));
        inherited.succeed(1);
        let draining = Member {
            stage: Stage::Draining,
            ..serving
        };
        assert!(inherited.of_slot(1).eq([draining]));

        let later = inherited.next_look().unwrap();
        assert_eq!(inherited.look(later), [0; 0]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(inherited.look(later), [0; 0], "it is too early");
        assert_eq!(inherited.look(later + PERIOD), [1]);
        assert_eq!(inherited.next_look(), None);
        assert_eq!(inherited.of_slot(1).count(), 0);
    }
}
