//! What the module knows of its sessions, and what it saw that must not be.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::{Fault, Plan, X25519};

/// The environment variable with the path of the plan. No file is an empty plan; a plan is replaced by renaming.
const PLAN: &str = "KMS_FAULT_PLAN";

/// What was seen since the module was loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions open now.
    pub open: u64,
    /// Most sessions open at once.
    pub most_open: u64,
    /// Times that two threads were inside one session.
    pub shared: u64,
    /// Calls of C_Login.
    pub logins: u64,
    /// Calls of C_Initialize that succeeded.
    pub initialized: u64,
    /// Calls of C_Finalize.
    pub finalized: u64,
    /// Calls of C_Finalize while another call was under way.
    pub finalized_inside: u64,
    /// All calls.
    pub calls: u64,
}

#[derive(Default)]
struct Session {
    used: Option<Instant>,
    inside: u32,
    /// Lost while a call was inside it: closed when that ends, since no module stands it before.
    doomed: bool,
}

#[derive(Default)]
pub(crate) struct State {
    plan: Plan,
    /// Of the plan's file when it was read.
    stamp: Option<(u64, u64)>,
    sessions: HashMap<u64, Session>,
    inside: u64,
    report: Report,
    /// Whether the loss of all sessions, which `gone` brings, has happened.
    away: bool,
}

/// What to do with a call.
pub(crate) struct Verdict {
    pub(crate) fault: Option<Fault>,
    /// Sessions to close below before anything else.
    pub(crate) lose: Vec<u64>,
    /// Returned instead of anything else.
    pub(crate) instead: Option<u64>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

struct Locked(MutexGuard<'static, Option<State>>);

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().expect("made when it is locked")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("made when it is locked")
    }
}

fn lock() -> Locked {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.get_or_insert_default();
    Locked(state)
}

fn plan_file() -> Option<(PathBuf, (u64, u64))> {
    let path = PathBuf::from(std::env::var_os(PLAN)?);
    let file = std::fs::metadata(&path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&file);
    #[cfg(not(unix))]
    let inode = 0;
    let modified = file.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((path, (inode, modified.as_nanos() as u64)))
}

impl State {
    /// Loses every session; gives those to be closed below at once.
    fn lose_all(&mut self) -> Vec<u64> {
        let mut lost = Vec::new();
        for (number, session) in &mut self.sessions {
            if session.inside == 0 {
                lost.push(*number);
            }
            session.doomed = true;
        }
        lost
    }

    fn refresh(&mut self) {
        let found = plan_file();
        let stamp = found.as_ref().map(|(_, stamp)| *stamp);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let text = found.map(|(path, _)| std::fs::read_to_string(path).unwrap_or_default());
        self.plan = Plan::parse(&text.unwrap_or_default());
        self.away = false;
    }
}

const CKR_DEVICE_REMOVED: u64 = 0x32;
const CKR_SESSION_COUNT: u64 = 0xb1;

/// A call begins.
pub(crate) fn begin(function: &'static str, session: Option<u64>) -> Verdict {
    let mut state = lock();
    state.refresh();
    state.report.calls += 1;
    state.inside += 1;
    if function == "C_Login" {
        state.report.logins += 1;
    }
    if function == "C_Finalize" {
        state.report.finalized += 1;
        if state.inside > 1 {
            state.report.finalized_inside += 1;
        }
    }
    let mut verdict = Verdict { fault: state.plan.next(function), lose: Vec::new(), instead: None };
    let of_module = matches!(function, "C_Initialize" | "C_Finalize" | "C_GetInfo");
    if state.plan.gone {
        if !std::mem::replace(&mut state.away, true) {
            verdict.lose = state.lose_all();
        }
        if !of_module {
            verdict.instead = Some(CKR_DEVICE_REMOVED);
        }
    }
    if let (Some(code), false) = (state.plan.until_restart, of_module) {
        verdict.instead = Some(code);
    }
    if function == "C_Finalize" {
        state.plan.until_restart = None;
    }
    if matches!(verdict.fault, Some(Fault::Drop)) {
        verdict.lose.extend(state.lose_all());
    }
    let (idle, most, open) = (state.plan.idle, state.plan.sessions, state.sessions.len());
    if function == "C_OpenSession" && most.is_some_and(|most| open >= most) {
        verdict.instead = Some(CKR_SESSION_COUNT);
    }
    if let Some((number, known)) = session.and_then(|it| Some((it, state.sessions.get_mut(&it)?))) {
        let since = known.used.map(|used| used.elapsed());
        let shared = known.inside > 0;
        known.inside += 1;
        if idle.is_some_and(|idle| since.is_some_and(|since| since > idle)) && !shared {
            verdict.lose.push(number);
        }
        if shared {
            state.report.shared += 1;
        }
    }
    for lost in &verdict.lose {
        state.sessions.remove(lost);
    }
    verdict
}

/// A call ends. Says which session is to be closed below, if one was lost meanwhile.
pub(crate) fn end(function: &'static str, session: Option<u64>, code: u64) -> Option<u64> {
    let mut state = lock();
    state.inside -= 1;
    let mut lost = None;
    if let Some((number, known)) = session.and_then(|it| Some((it, state.sessions.get_mut(&it)?))) {
        known.inside = known.inside.saturating_sub(1);
        known.used = Some(Instant::now());
        lost = Some(number).filter(|_| known.doomed && known.inside == 0);
    }
    if let Some(lost) = lost {
        state.sessions.remove(&lost);
    }
    match function {
        "C_CloseSession" if code == 0 => {
            session.map(|it| state.sessions.remove(&it));
        }
        "C_Initialize" if code == 0 => state.report.initialized += 1,
        "C_Finalize" if code == 0 => state.sessions.clear(),
        _ => {}
    }
    lost
}

/// In which words X25519 keys are made now.
pub(crate) fn x25519() -> X25519 {
    let mut state = lock();
    state.refresh();
    state.plan.x25519
}

/// What the token says of its PIN now, besides what it says by itself.
pub(crate) fn pin_flags() -> u64 {
    let mut state = lock();
    state.refresh();
    state.plan.pin_flags
}

/// Whether Ed25519 is kept back now.
pub(crate) fn no_eddsa() -> bool {
    let mut state = lock();
    state.refresh();
    state.plan.no_eddsa
}

/// A session was opened.
pub(crate) fn opened(session: u64) {
    let mut state = lock();
    state.sessions.insert(session, Session { used: Some(Instant::now()), ..Session::default() });
    let open = state.sessions.len() as u64;
    state.report.most_open = state.report.most_open.max(open);
}

/// Waits that long, or until the plan is another one.
pub(crate) fn hang(time: Option<Duration>) {
    let stamp = lock().stamp;
    let start = Instant::now();
    while time.is_none_or(|time| start.elapsed() < time) {
        if plan_file().map(|(_, stamp)| stamp) != stamp {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What was seen.
pub(crate) fn report() -> Report {
    let state = lock();
    Report { open: state.sessions.len() as u64, ..state.report }
}
