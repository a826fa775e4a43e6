//! What the threads share: the calls that wait, and what each thread is doing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

use crate::job::Work;
use crate::link::Link;
use crate::module::ModuleUse;

/// Behind the lock of the pool.
pub(super) struct State {
    pub(super) queue: VecDeque<Arc<dyn Work>>,
    pub(super) slots: Vec<Slot>,
    /// Threads that sleep, and their places. Whoever wakes one takes it out.
    asleep: Vec<(usize, Thread)>,
    /// Whether a thread looks out for the next call without sleeping.
    pub(super) looked_out: bool,
    pub(super) link: Link,
    /// Counts how often the link went down; sessions of before are not used after.
    pub(super) epoch: u64,
    /// Fewer sessions than configured, until then: the token has no more.
    pub(super) crowded: Option<(usize, Instant)>,
    /// `None` once the token is closed.
    pub(super) module: Option<Arc<ModuleUse>>,
}

/// What a thread is doing.
#[derive(Clone, Copy, Default)]
pub(super) enum Slot {
    /// There is none.
    #[default]
    Free,
    /// Waiting for work, with or without a session.
    Idle { session: bool },
    /// Inside the module, or about to be. It is stuck after this time.
    Busy { until: Instant, session: bool },
}

/// How many sessions there are, by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Open, waiting for work.
    pub idle: usize,
    /// In use by a call.
    pub busy: usize,
    /// Being opened.
    pub connecting: usize,
    /// In a call that has passed its deadline.
    pub stuck: usize,
}

impl State {
    /// Before the first thread.
    pub(super) fn new(module: ModuleUse, max_sessions: usize) -> State {
        State {
            queue: VecDeque::new(),
            slots: vec![Slot::Free; max_sessions],
            asleep: Vec::new(),
            looked_out: false,
            link: Link::start(Instant::now()),
            epoch: 0,
            crowded: None,
            module: Some(Arc::new(module)),
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Free)).count()
    }

    pub(super) fn idle(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Idle { .. })).count()
    }

    /// Threads that wait for work with a session.
    pub(super) fn idle_sessions(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Idle { session: true })).count()
    }

    pub(super) fn sessions(&self, now: Instant) -> Sessions {
        let mut sessions = Sessions::default();
        for slot in &self.slots {
            match slot {
                Slot::Busy { until, .. } if *until < now => sessions.stuck += 1,
                Slot::Busy { session: true, .. } => sessions.busy += 1,
                Slot::Busy { session: false, .. } => sessions.connecting += 1,
                Slot::Idle { session: true } => sessions.idle += 1,
                Slot::Idle { session: false } | Slot::Free => {}
            }
        }
        sessions
    }

    /// The thread at `place`, which is this one, is about to sleep.
    pub(super) fn falls_asleep(&mut self, place: usize) {
        self.asleep.push((place, std::thread::current()));
    }

    /// It is awake, whoever woke it.
    pub(super) fn is_awake(&mut self, place: usize) {
        self.asleep.retain(|(other, _)| *other != place);
    }

    /// The thread to wake for a call that was added; `None` where one that is awake will take it. The last one to fall
    /// asleep is the first: the others stay asleep while it is enough, and their sessions are closed in the end.
    pub(super) fn sleeper_for_call(&mut self) -> Option<Thread> {
        if self.looked_out && self.queue.len() == 1 {
            return None;
        }
        self.asleep.pop().map(|(_, thread)| thread)
    }

    /// There is something new for every thread.
    pub(super) fn wake_all(&mut self) {
        for (_, thread) in self.asleep.drain(..) {
            thread.unpark();
        }
    }

    pub(super) fn limit(&self, now: Instant) -> usize {
        match self.crowded {
            Some((limit, until)) if until > now => limit,
            _ => self.slots.len(),
        }
    }
}
