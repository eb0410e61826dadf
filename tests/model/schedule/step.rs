//! What may happen next, and what it does.

use super::{
    AHEAD, DEFINITIONS, Firing, Guard, INSTANTS, Instants, Moment, PERSONS, Person, SCHEDULERS, SOMEBODY, Schedule,
    Step, Verdict, bit, first_after, until,
};

impl Moment {
    pub(super) fn instants(&self) -> Instants {
        DEFINITIONS[self.definition]
    }

    /// A person is about to change something of it, and needs this instant's row until then.
    fn is_needed(&self, instant: u8) -> bool {
        match self.person {
            Person::Defines { now, .. } | Person::Redefines { now, .. } => now < instant,
            Person::Backfills { instant: asked, .. }
            | Person::Fills { instant: asked, .. }
            | Person::Filled { instant: asked, .. } => asked == instant,
            Person::Idle | Person::FiresFirst { .. } | Person::Resumes => false,
        }
    }

    /// The row is another one than that which somebody else has judged.
    fn touched(&mut self, by: Option<usize>) {
        for (_, firing) in self.firing.iter_mut().enumerate().filter(|(i, _)| Some(*i) != by) {
            if let Firing::Judged(verdict) | Firing::Entered(verdict) | Firing::Submitted(verdict) = firing {
                verdict.stale = true;
            }
        }
        if by.is_some()
            && let Person::Redefines { stale, .. } = &mut self.person
        {
            *stale = true;
        }
    }

    /// New tasks: of a scheduler, or of a hand.
    fn submit(&mut self, instants: Instants) {
        for instant in (1..=INSTANTS).filter(|instant| instants & bit(*instant) != 0) {
            self.tasks[usize::from(instant)] += 1;
        }
    }
}

impl Schedule {
    /// Somebody else has the row locked. `by`: a transaction that fires; None: the person.
    fn is_locked(&self, at: &Moment, by: Option<usize>) -> bool {
        let locks = self.has(Guard::RowLock) && self.has(Guard::Transaction);
        let fires =
            |(i, firing): (usize, &Firing)| Some(i) != by && !matches!(firing, Firing::Idle | Firing::Looking { .. });
        let acts = matches!(at.person, Person::Redefines { .. } | Person::Fills { .. } | Person::Filled { .. });
        locks && at.firing.iter().enumerate().any(fires) || by.is_some() && self.has(Guard::HandLock) && acts
    }

    /// Somebody else has written a row of these instants, and has not committed it.
    fn key_is_held(&self, at: &Moment, instants: Instants, by: Option<usize>) -> bool {
        let enters = |(i, firing): (usize, &Firing)| match firing {
            Firing::Entered(verdict) => Some(i) != by && verdict.entries & instants != 0,
            _ => false,
        };
        let fills = matches!(at.person, Person::Filled { instant, fresh: true, .. } if instants & bit(instant) != 0);
        self.has(Guard::Key)
            && (self.has(Guard::Transaction) && at.firing.iter().enumerate().any(enters) || by.is_some() && fills)
    }

    /// What this one takes for the clock.
    fn clock(&self, at: &Moment, by: usize) -> u8 {
        at.now + u8::from(by == AHEAD && at.now < INSTANTS && !self.has(Guard::DatabaseTime))
    }

    /// Steps that are taken sooner or later.
    pub(super) fn progress(&self, at: &Moment, out: &mut Vec<Step>) {
        if at.now < INSTANTS {
            out.push(Step::Tick);
        }
        for (by, firing) in at.firing.iter().enumerate() {
            let step = match *firing {
                Firing::Idle if by != PERSONS && at.next <= self.clock(at, by) => Step::Look { by },
                Firing::Looking { .. } if !self.is_locked(at, Some(by)) => Step::Judge { by },
                Firing::Judged(verdict) if !self.key_is_held(at, verdict.entries, Some(by)) => Step::Enter { by },
                Firing::Entered(_) if !self.has(Guard::Transaction) => Step::Submit { by },
                Firing::Entered(_) | Firing::Submitted(_) if !self.is_locked(at, Some(by)) => Step::Commit { by },
                _ => continue,
            };
            out.push(step);
        }
        let acts = match at.person {
            Person::Idle => false,
            Person::FiresFirst { .. } => at.firing[PERSONS] == Firing::Idle,
            Person::Resumes => at.firing[PERSONS] == Firing::Idle && !self.is_locked(at, None),
            Person::Defines { .. } | Person::Backfills { .. } if !self.has(Guard::HandLock) => true,
            Person::Fills { instant, .. } => !self.key_is_held(at, bit(instant), None),
            Person::Defines { .. } | Person::Redefines { .. } | Person::Backfills { .. } | Person::Filled { .. } => {
                !self.is_locked(at, None)
            }
        };
        if acts {
            out.push(Step::Act);
        }
    }

    /// Steps that need not be taken.
    pub(super) fn world(&self, at: &Moment, out: &mut Vec<Step>) {
        if at.left.crashes > 0 {
            out.extend((0..SCHEDULERS).filter(|by| at.firing[*by] != Firing::Idle).map(|by| Step::Crash { by }));
            out.extend((at.person != Person::Idle).then_some(Step::Crash { by: PERSONS }));
        }
        let writes = matches!(at.person, Person::Redefines { .. } | Person::Filled { .. });
        if at.left.lost_answers > 0 && writes && !self.is_locked(at, None) {
            out.push(Step::LoseAnswer);
        }
        if at.left.pauses > 0 && !at.paused && !self.is_locked(at, Some(SOMEBODY)) {
            out.push(Step::Pause);
        }
        if at.person == Person::Idle {
            out.extend(at.paused.then_some(Step::Resume));
            let others = (0..DEFINITIONS.len()).filter(|one| at.left.definitions > 0 && *one != at.definition);
            out.extend(others.map(|definition| Step::Define { definition }));
            let asked = at.instants() & until(at.now) & !at.purged;
            let asked = (1..=INSTANTS).filter(|i| at.left.backfills > 0 && asked & bit(*i) != 0);
            out.extend(asked.map(|instant| Step::Backfill { instant }));
        }
        let stays = |instant: u8| self.has(Guard::Retention) && (instant >= at.next || at.is_needed(instant));
        let old = at.ledger & until(at.now);
        let purged = (1..=INSTANTS).filter(|i| at.left.purges > 0 && old & bit(*i) != 0 && !stays(*i));
        out.extend(purged.map(|instant| Step::Purge { instant }));
    }

    pub(super) fn take(&self, at: &mut Moment, step: Step) {
        match step {
            Step::Tick => {
                at.now += 1;
                if at.paused && at.person != Person::Resumes {
                    at.held |= bit(at.now);
                }
            }
            Step::Look { by } => at.firing[by] = Firing::Looking { now: self.clock(at, by) },
            Step::Judge { by } | Step::Enter { by } | Step::Submit { by } | Step::Commit { by } => {
                at.firing[by] = match at.firing[by] {
                    Firing::Looking { now } => self.judge(at, now),
                    Firing::Judged(verdict) => self.enter(at, by, verdict),
                    Firing::Entered(verdict) if !self.has(Guard::Transaction) => submitted(at, verdict),
                    Firing::Entered(verdict) => {
                        entered(at, verdict);
                        submitted(at, verdict);
                        advanced(at, by, verdict)
                    }
                    Firing::Submitted(verdict) => advanced(at, by, verdict),
                    Firing::Idle => Firing::Idle,
                };
            }
            Step::Act => self.act(at),
            Step::LoseAnswer => {
                at.left.lost_answers -= 1;
                let asked = at.person;
                self.act(at);
                at.person = match asked {
                    Person::Redefines { definition, now, .. } => Person::Defines { definition, now },
                    Person::Filled { instant, .. } => {
                        // Nobody has heard of it yet.
                        at.told &= !bit(instant);
                        Person::Backfills { instant, again: true }
                    }
                    other => other,
                };
            }
            Step::Crash { by } => {
                at.left.crashes -= 1;
                at.firing[by] = Firing::Idle;
                if by == PERSONS {
                    at.person = Person::Idle;
                    // There is nobody left to be told.
                    at.told |= at.made;
                }
            }
            Step::Pause => {
                at.left.pauses -= 1;
                at.paused = true;
                at.touched(Some(SOMEBODY));
            }
            Step::Resume => {
                at.person = Person::Resumes;
                if self.has(Guard::PausedFirst) {
                    at.firing[PERSONS] = Firing::Looking { now: at.now };
                }
            }
            Step::Define { definition } => {
                at.left.definitions -= 1;
                at.person = Person::Defines { definition, now: at.now };
            }
            Step::Backfill { instant } => {
                at.left.backfills -= 1;
                at.person = Person::Backfills { instant, again: false };
            }
            Step::Purge { instant } => {
                at.left.purges -= 1;
                at.ledger &= !bit(instant);
                at.named &= !bit(instant);
                at.purged |= bit(instant);
            }
        }
    }

    /// `DUE` or `THIS`, `FOUND`, and what is made of them.
    fn judge(&self, at: &Moment, now: u8) -> Firing {
        if at.next > now {
            return Firing::Idle;
        }
        let come = at.instants() & until(now) & !until(at.next - 1);
        let entries = if self.has(Guard::Found) { come & !at.ledger } else { come };
        Firing::Judged(Verdict { entries, fires: !at.paused, next: first_after(at.instants(), now), stale: false })
    }

    /// `RECORD`.
    fn enter(&self, at: &mut Moment, by: usize, verdict: Verdict) -> Firing {
        if self.has(Guard::Key) && at.ledger & verdict.entries != 0 {
            // Rolled back, and judged anew.
            return Firing::Looking { now: self.clock(at, by) };
        }
        if !self.has(Guard::Transaction) {
            entered(at, verdict);
        }
        Firing::Entered(verdict)
    }

    fn act(&self, at: &mut Moment) {
        at.person = match at.person {
            Person::Defines { definition, .. } if definition == at.definition => Person::Idle,
            Person::Defines { definition, .. } if at.next <= at.now && self.has(Guard::OldFirst) => {
                at.firing[PERSONS] = Firing::Looking { now: at.now };
                Person::FiresFirst { definition }
            }
            Person::Defines { definition, now } => Person::Redefines { definition, now, clock: at.now, stale: false },
            Person::FiresFirst { definition } => Person::Defines { definition, now: at.now },
            Person::Redefines { definition, now, clock, .. } => {
                at.owed |= at.instants() & until(clock) & !until(at.since);
                at.definition = definition;
                at.since = now;
                at.next = first_after(at.instants(), now);
                at.touched(None);
                Person::Idle
            }
            Person::Resumes => {
                at.paused = false;
                at.touched(None);
                Person::Idle
            }
            Person::Backfills { instant, again } => Person::Fills { instant, again },
            Person::Fills { instant, again } => {
                let own = again && self.has(Guard::Existing) && at.made & bit(instant) != 0;
                // `ADD`, and where there is a row, `FILL`.
                let taken = self.has(Guard::Key) && at.named & bit(instant) != 0;
                Person::Filled { instant, fresh: !own && !taken, told: own || !taken }
            }
            Person::Filled { instant, fresh, told } => {
                if fresh {
                    at.ledger |= bit(instant);
                    at.named |= bit(instant);
                    at.made |= bit(instant);
                    at.submit(bit(instant));
                    at.touched(None);
                }
                at.told |= if told { bit(instant) } else { 0 };
                Person::Idle
            }
            Person::Idle => Person::Idle,
        };
    }
}

fn entered(at: &mut Moment, verdict: Verdict) {
    at.ledger |= verdict.entries;
    at.named |= if verdict.fires { verdict.entries } else { 0 };
}

fn submitted(at: &mut Moment, verdict: Verdict) -> Firing {
    if verdict.fires {
        at.submit(verdict.entries);
        at.fired |= verdict.entries;
    }
    Firing::Submitted(verdict)
}

/// `ADVANCE`.
fn advanced(at: &mut Moment, by: usize, verdict: Verdict) -> Firing {
    at.next = verdict.next;
    at.touched(Some(by));
    Firing::Idle
}
