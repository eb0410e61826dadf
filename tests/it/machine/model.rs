//! The reference: what the rows, the stream and each answer should be, in plain memory and in
//! words of its own. It knows nothing of statements; what it says of the order of things stands
//! in the table of moves and in the protocol.

use super::moves::{Carried, How, Move, New, Nth, Said, Way, Worker, next, possible};
use super::task::{HOUR, Loss, Task, word};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use std::collections::{BTreeMap, VecDeque};
use taskrunnerx::store::tasks::LostClaim;
use taskrunnerx::task::{Reason, Status};

/// What the one who made a move is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Nothing,
    /// This many tasks.
    Count(usize),
    Entries(Vec<Carried>),
    /// Of those offered, the ones that were won.
    Won {
        offered: Vec<Carried>,
        won: Vec<Nth>,
    },
    Lost(BTreeMap<Nth, LostClaim>),
    /// It counts as this; None: fenced.
    Counted(Option<&'static str>),
    /// Whether it was this request that did it.
    Asked {
        changed: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    now: i64,
    pub(super) tasks: Vec<Task>,
    pub(super) unread: VecDeque<Carried>,
    pub(super) inbox: [Vec<Carried>; 2],
    pub(super) workers: [Worker; 2],
    /// Workers that there have been.
    pub(super) hired: usize,
    /// What the dispatcher has put into the stream, each with the visit to the backlog during which.
    sent: BTreeMap<Nth, u32>,
    /// Outcomes that were said.
    pub(super) said: Vec<Said>,
    /// To the last move.
    pub(super) answer: Answer,
}

impl Model {
    /// What runs, under whom, in which attempt.
    pub(super) fn owned(&self) -> impl Iterator<Item = (Nth, Worker, u32)> {
        let rows = self.tasks.iter().map(|task| &task.row).enumerate();
        rows.filter(|(_, row)| row.status == Status::Running).map(|(nth, row)| (nth, row.worker.unwrap(), row.attempt))
    }

    fn submit(&mut self, new: &New) {
        let task = Task::new(new, self.now);
        if task.row.dispatched && new.entry == Way::Open {
            self.unread.push_back((self.tasks.len(), 0));
        }
        self.tasks.push(task);
    }

    fn promote(&mut self) {
        let now = self.now;
        for task in self.tasks.iter_mut().filter(|task| task.row.lane == 1 && task.age <= now) {
            task.become_(Status::Queued, 2);
        }
    }

    /// What of the backlog is not in the stream, by priority and then by age.
    fn fresh(&self, room: usize) -> Vec<Nth> {
        let task = |nth: &Nth| &self.tasks[*nth];
        let is_fresh = |nth: &Nth| task(nth).row.lane == 2 && self.sent.get(nth) != Some(&task(nth).visits);
        let mut backlog: Vec<Nth> = (0..self.tasks.len()).filter(is_fresh).collect();
        backlog.sort_by_key(|nth| (9 - task(nth).priority, task(nth).age, task(nth).steps, *nth));
        backlog.truncate(room);
        backlog
    }

    fn dispatch(&mut self, room: usize) -> usize {
        let fresh = self.fresh(room);
        for nth in &fresh {
            self.sent.insert(*nth, self.tasks[*nth].visits);
            self.unread.push_back((*nth, self.tasks[*nth].row.attempt));
        }
        fresh.len()
    }

    /// An entry of each task, the first; nothing that this worker runs.
    fn claim(&mut self, slot: usize) -> Answer {
        let worker = self.workers[slot];
        let mut offered: Vec<Carried> = Vec::new();
        for (nth, attempt) in std::mem::take(&mut self.inbox[slot]) {
            let held = self.owned().any(|(task, owner, _)| task == nth && owner == worker);
            if !held && offered.iter().all(|(task, _)| *task != nth) {
                offered.push((nth, attempt));
            }
        }
        let now = self.now;
        let wins = |(nth, attempt): &Carried| self.tasks[*nth].claim(worker, *attempt, now).is_none().then_some(*nth);
        let won = offered.iter().filter_map(wins).collect();
        Answer::Won { offered, won }
    }

    fn finish(&mut self, said: &Said) -> Option<&'static str> {
        let task = &mut self.tasks[said.task];
        let next = task.judge(said.how, said.attempt);
        if task.gone || task.row.attempt != said.attempt || task.row.worker != Some(said.worker) {
            return None;
        }
        if task.row.status == Status::Running {
            return Some(task.settle(&next, self.now, word(said.how)));
        }
        // Said before: it stands already, or has been dispatched since.
        let (is, was) = (task.row.status, next.status());
        (is == was || (is, was) == (Status::Queued, Status::Scheduled)).then(|| next.word())
    }

    fn lose(&mut self, loss: Loss, whose: impl Fn(Worker) -> bool) {
        let lost: Vec<Nth> = self.owned().filter(|(_, owner, _)| whose(*owner)).map(|(nth, _, _)| nth).collect();
        for nth in lost {
            self.tasks[nth].lose(loss, self.now);
        }
    }

    /// Another worker takes this one's place; nobody reads what was delivered to it.
    fn replace(&mut self, slot: usize) {
        self.inbox[slot].clear();
        self.workers[slot] = self.hired;
        self.hired += 1;
    }

    fn cancel(&mut self, nth: Nth) -> Answer {
        let task = &mut self.tasks[nth];
        match task.row.status {
            _ if task.gone => return Answer::Asked { changed: false },
            Status::Running => task.row.cancel = true,
            Status::Scheduled | Status::Queued => {
                task.back(Status::Cancelled, 0);
                task.row.reason = Some(Reason::Cancelled);
                task.row.cancel = true;
            }
            Status::Completed | Status::Failed | Status::Cancelled => return Answer::Asked { changed: false },
        }
        Answer::Asked { changed: true }
    }

    /// By hand: an operator queues again what has ended without success, or makes due what waits.
    fn by_hand(&mut self, nth: Nth, again: bool) -> Answer {
        let (now, task) = (self.now, &mut self.tasks[nth]);
        let from: &[Status] = if again { &[Status::Failed, Status::Cancelled] } else { &[Status::Scheduled] };
        let changed = !task.gone && from.contains(&task.row.status);
        if changed {
            task.back(Status::Queued, 2);
            (task.age, task.steps) = (now, 0);
            if again {
                task.again(now);
            }
        }
        Answer::Asked { changed }
    }

    fn delete(&mut self, nth: Nth) -> Answer {
        let task = &mut self.tasks[nth];
        let changed = !task.gone && task.row.status.is_terminal();
        task.gone |= changed;
        Answer::Asked { changed }
    }

    fn hand_back(&mut self, tasks: &[Nth], later: bool) -> usize {
        let due = self.now + if later { HOUR } else { 0 };
        let mut moved = 0;
        for nth in tasks {
            let task = &mut self.tasks[*nth];
            if task.row.status == Status::Queued {
                task.back(Status::Queued, 1);
                (task.age, task.steps) = (due, 0);
                moved += 1;
            }
        }
        moved
    }

    /// Nothing while there is something unread: it is younger than all of them.
    fn sweep(&mut self) -> usize {
        if !self.unread.is_empty() {
            return 0;
        }
        self.sent.clear();
        let stale = |task: &&mut Task| task.row.status == Status::Queued && task.row.lane == 3;
        self.tasks.iter_mut().filter(stale).map(|task| task.back(Status::Queued, 2)).count()
    }

    fn hours(&mut self) {
        for task in &mut self.tasks {
            if task.row.lane == 1 {
                task.age -= 2 * HOUR;
            }
            task.expires = task.expires.map(|at| at - 2 * HOUR);
        }
    }

    fn make(&mut self, a_move: &Move) -> Answer {
        match a_move {
            Move::Submit(new) => self.submit(new),
            Move::Dispatch { room } => {
                self.promote();
                return Answer::Count(self.dispatch(*room));
            }
            // Nothing has happened.
            Move::Refused { .. } => {}
            Move::Anew => self.sent.clear(),
            Move::Read { slot, count } => {
                let read: Vec<Carried> = self.unread.drain(..self.unread.len().min(*count)).collect();
                self.inbox[*slot].extend(&read);
                return Answer::Entries(read);
            }
            Move::Claim { slot } => return self.claim(*slot),
            Move::Stray { worker, claims } => {
                let now = self.now;
                let lost = |(nth, attempt): &Carried| Some((*nth, self.tasks[*nth].claim(*worker, *attempt, now)?));
                return Answer::Lost(claims.iter().filter_map(lost).collect());
            }
            Move::Finish(said) => {
                if !self.said.contains(said) {
                    self.said.push(said.clone());
                }
                return Answer::Counted(self.finish(said));
            }
            Move::Release { task } => {
                let (now, task) = (self.now, &mut self.tasks[*task]);
                let runs = task.row.status == Status::Running;
                if runs {
                    // What was to be cancelled is: a release moves nothing back that was asked to end.
                    let next = task.judge(How::Interrupted, task.row.attempt);
                    task.settle(&next, now, Some("interrupted"));
                }
                return Answer::Count(runs.into());
            }
            Move::Die { slot } | Move::HandOver { slot } => {
                let (worker, died) = (self.workers[*slot], matches!(a_move, Move::Die { .. }));
                self.lose(if died { Loss::Died } else { Loss::HandedOver }, |owner| owner == worker);
                self.replace(*slot);
            }
            Move::Orphans => {
                let live = self.workers;
                self.lose(Loss::Died, |owner| !live.contains(&owner));
            }
            Move::Cancel { task } => return self.cancel(*task),
            Move::Retry { task } => return self.by_hand(*task, true),
            Move::Run { task } => return self.by_hand(*task, false),
            Move::Delete { task } => return self.delete(*task),
            Move::HandBack { tasks, later } => return Answer::Count(self.hand_back(tasks, *later)),
            Move::Again { task } => self.unread.push_back((*task, self.tasks[*task].row.attempt)),
            Move::Flush { seen } => {
                self.unread.clear();
                if *seen {
                    self.sent.clear();
                }
            }
            Move::Lose { unread } => _ = self.unread.remove(*unread),
            Move::Sweep => return Answer::Count(self.sweep()),
            Move::Hours => self.hours(),
        }
        Answer::Nothing
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Move;

    fn init_state() -> BoxedStrategy<Self> {
        let (unread, inbox) = (VecDeque::new(), [Vec::new(), Vec::new()]);
        let (tasks, said, answer) = (Vec::new(), Vec::new(), Answer::Nothing);
        let (workers, hired, sent) = ([0, 1], 2, BTreeMap::new());
        Just(Self { now: 0, tasks, unread, inbox, workers, hired, sent, said, answer }).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Move> {
        next(model)
    }

    fn preconditions(model: &Self, a_move: &Move) -> bool {
        possible(model, a_move)
    }

    fn apply(mut model: Self, a_move: &Move) -> Self {
        model.now += 1;
        model.answer = model.make(a_move);
        model
    }
}
