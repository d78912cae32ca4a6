//! The queue before the threads. Tenants take turns, however many jobs each has brought; within a tenant it is first
//! come, first served.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{Tag, Work};
use crate::domain::{Result, Uid};

/// A job that waits.
pub(super) struct Job {
    pub(super) tenant: Uid,
    /// Tells jobs apart.
    pub(super) number: u64,
    pub(super) since: Instant,
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Tag>>,
}

/// Jobs that wait, in a line for each tenant.
#[derive(Default)]
pub(super) struct Queue {
    /// None of them empty.
    lines: HashMap<Uid, VecDeque<Job>>,
    /// The tenants that have a line, the one whose turn it is first.
    turns: VecDeque<Uid>,
    length: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many jobs will have their turn before one that this tenant brings now. Others that come later do not count,
    /// though one of a tenant without a line may still be earlier.
    pub(super) fn ahead(&self, tenant: &Uid) -> usize {
        let own = self.waiting(tenant);
        let mut passed_own = false;
        let of_others = self.turns.iter().map(|turn| {
            passed_own |= turn == tenant;
            // One job in each round, and one more in the last of them where the tenant's turn comes first.
            let rounds = if passed_own { own } else { own + 1 };
            if turn == tenant { 0 } else { self.waiting(turn).min(rounds) }
        });
        own + of_others.sum::<usize>()
    }

    pub(super) fn push(&mut self, job: Job) {
        let line = self.lines.entry(job.tenant.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(job.tenant.clone());
        }
        line.push_back(job);
        self.length += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        let tenant = self.turns.pop_front()?;
        let line = self.lines.get_mut(&tenant)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.length -= usize::from(job.is_some());
        job
    }

    /// Who has to give a place to this tenant: whoever has the longest line, where it stays no shorter than this tenant's
    /// will be, so that places go to and fro between no two tenants.
    pub(super) fn debtor(&self, tenant: &Uid) -> Option<Uid> {
        let longest = self.turns.iter().max_by_key(|turn| self.waiting(turn))?;
        (self.waiting(longest) >= self.waiting(tenant) + 2).then(|| longest.clone())
    }

    /// Takes a debtor's newest job out. The line stays: it had two at least.
    pub(super) fn displace(&mut self, debtor: &Uid) -> Option<Job> {
        let job = self.lines.get_mut(debtor)?.pop_back();
        self.length -= usize::from(job.is_some());
        job
    }

    /// Takes a job out that is not wanted any more; `None` where its turn has come.
    pub(super) fn remove(&mut self, tenant: &Uid, number: u64) -> Option<Job> {
        let line = self.lines.get_mut(tenant)?;
        let position = line.iter().position(|job| job.number == number)?;
        let job = line.remove(position);
        if line.is_empty() {
            self.lines.remove(tenant);
            self.turns.retain(|turn| turn != tenant);
        }
        self.length -= usize::from(job.is_some());
        job
    }

    /// Everything, unanswered.
    pub(super) fn clear(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Those that have a line.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &Uid> {
        self.turns.iter()
    }

    pub(super) fn waiting(&self, tenant: &Uid) -> usize {
        self.lines.get(tenant).map_or(0, VecDeque::len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uid(tenant: u8) -> Uid {
        Uid::from_stored(format!("{tenant:024x}"))
    }

    #[expect(clippy::disallowed_methods, reason = "nobody asks")]
    fn job(tenant: u8, number: u64) -> Job {
        let work: Work = Box::new(|_memory| Ok(Tag::default()));
        Job { tenant: uid(tenant), number, since: Instant::now(), work, reply: oneshot::channel().0 }
    }

    fn queue(tenants: &[u8]) -> Queue {
        let mut queue = Queue::default();
        for (tenant, number) in tenants.iter().zip(0..) {
            queue.push(job(*tenant, number));
        }
        queue
    }

    fn numbers(mut queue: Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).map(|job| job.number).collect()
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_own_order() {
        assert_eq!(numbers(queue(&[1, 1, 1, 1, 2, 2, 3])), [0, 4, 6, 1, 5, 2, 3]);
    }

    fn displace(queue: &mut Queue, tenant: u8) -> Option<u64> {
        let debtor = queue.debtor(&uid(tenant))?;
        queue.displace(&debtor).map(|job| job.number)
    }

    #[test]
    fn the_longest_line_gives_way_until_the_lines_are_even() {
        let mut queue = queue(&[1, 1, 1, 1, 2]);
        assert_eq!(displace(&mut queue, 2), Some(3));
        queue.push(job(2, 5));
        assert_eq!(displace(&mut queue, 2), None, "three and two are as even as five can be");
        assert_eq!(displace(&mut queue, 1), None, "nobody gives way to the longest line");
        assert_eq!(displace(&mut queue, 3), Some(2));
        assert_eq!(queue.len(), 4);
        assert_eq!(numbers(queue), [0, 4, 1, 5]);
    }

    #[test]
    fn what_is_taken_out_leaves_no_trace() {
        let mut queue = queue(&[1, 2, 1]);
        assert_eq!(queue.remove(&uid(2), 1).unwrap().number, 1);
        assert!(queue.remove(&uid(2), 1).is_none());
        assert!(queue.remove(&uid(1), 1).is_none());
        assert_eq!((queue.len(), queue.turns.len(), queue.lines.len()), (2, 1, 1));
        assert_eq!(numbers(queue), [0, 2]);
    }

    proptest! {
        #[test]
        fn a_job_has_its_turn_when_it_was_said(tenants in prop::collection::vec(0..5_u8, 0..30), popped in 0..10_usize, new in 0..6_u8) {
            let mut queue = queue(&tenants);
            for _ in 0..popped {
                queue.pop();
            }
            let ahead = queue.ahead(&uid(new));
            queue.push(job(new, u64::MAX));
            let length = queue.len();
            let order = numbers(queue);
            prop_assert_eq!(order.len(), length);
            prop_assert_eq!(order.iter().position(|number| *number == u64::MAX), Some(ahead));
        }

        #[test]
        fn no_flood_keeps_a_place_that_another_has_a_right_to(tenants in prop::collection::vec(0..4_u8, 0..200), capacity in 4..20_usize) {
            let mut queue = Queue::default();
            for (tenant, number) in tenants.iter().zip(0..) {
                if queue.len() < capacity || displace(&mut queue, *tenant).is_some() {
                    queue.push(job(*tenant, number));
                }
                prop_assert!(queue.len() <= capacity);
            }
            // Whoever brought as much as an equal share has at least that, less one for what does not divide.
            let tenants_seen = (0..4_u8).filter(|tenant| tenants.contains(tenant)).count().max(1);
            for tenant in 0..4_u8 {
                let fair = tenants.iter().filter(|other| **other == tenant).take(capacity / tenants_seen);
                prop_assert!(queue.waiting(&uid(tenant)) >= fair.map(|_| 1).sum());
            }
        }
    }
}
