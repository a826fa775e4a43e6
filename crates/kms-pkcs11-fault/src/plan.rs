//! What fails, and when: lines of text.
//!
//! ```text
//! C_Sign 3 0x30            the third call of C_Sign returns CKR_DEVICE_ERROR and does nothing
//! C_Sign 3.. 0x30          the third and every later one
//! C_Sign %7 0x30           every seventh
//! C_Sign 1 after 0x30      is carried out, and returns that
//! C_Sign 1 hang 500        begins half a second later
//! C_Sign 1 hang            begins when the plan changes
//! C_Sign 1 drop            begins after all sessions were closed below it
//! gone                     there is no token, and its sessions are lost
//! restart 0x30             everything returns that until C_Finalize
//! idle 50                  a session that was idle for 50 ms is closed when it is used next
//! sessions 16              no more sessions than that
//! pin 0x20000              the token says that of its PIN: CKF_USER_PIN_FINAL_TRY
//! montgomery               X25519 keys are made as PKCS#11 v3.0 has it, and not as SoftHSM has it
//! no-x25519                they are offered, and not made
//! no-eddsa                 Ed25519 is not offered
//! ```

use std::collections::HashMap;
use std::time::Duration;

/// When a rule applies to the n-th call of its function, counted from 1 since the plan was read.
#[derive(Clone, Copy, Debug)]
enum When {
    At(u64),
    From(u64),
    Every(u64),
}

impl When {
    fn holds(self, call: u64) -> bool {
        match self {
            When::At(at) => call == at,
            When::From(from) => call >= from,
            When::Every(every) => call.is_multiple_of(every),
        }
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Returns this without doing anything.
    Fail(u64),
    /// Does it, and returns this.
    FailAfter(u64),
    /// Waits that long before it does it; `None` until the plan changes.
    Hang(Option<Duration>),
    /// Loses every session first.
    Drop,
}

/// A plan, and how often each function was called under it.
#[derive(Debug, Default)]
pub struct Plan {
    rules: Vec<(String, When, Fault)>,
    calls: HashMap<&'static str, u64>,
    /// Whether the token is away.
    pub gone: bool,
    /// What everything returns until the module is finalised.
    pub until_restart: Option<u64>,
    /// After how long an idle session is lost.
    pub idle: Option<Duration>,
    /// Most sessions.
    pub sessions: Option<usize>,
    /// Flags of CK_TOKEN_INFO that are set besides those of the token.
    pub pin_flags: u64,
    /// In which words X25519 keys are made.
    pub x25519: X25519,
    /// Whether Ed25519 is kept back.
    pub no_eddsa: bool,
}

/// In which words X25519 keys are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum X25519 {
    /// Those of the real module.
    #[default]
    AsIs,
    /// Those of PKCS#11 v3.0, over a module that has those of SoftHSM.
    Montgomery,
    /// None.
    Refused,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Panics
    /// On a line that means nothing: a test that does not say what it wants must not pass.
    pub fn parse(text: &str) -> Plan {
        let mut plan = Plan::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["gone"] => plan.gone = true,
                ["montgomery"] => plan.x25519 = X25519::Montgomery,
                ["no-x25519"] => plan.x25519 = X25519::Refused,
                ["no-eddsa"] => plan.no_eddsa = true,
                ["restart", code] => plan.until_restart = Some(number(code)),
                ["idle", ms] => plan.idle = Some(Duration::from_millis(number(ms))),
                ["pin", flags] => plan.pin_flags = number(flags),
                ["sessions", most] => plan.sessions = Some(number(most) as usize),
                [function, when, ref fault @ ..] => {
                    plan.rules.push((function.to_owned(), when_of(when), fault_of(fault)));
                }
                _ => panic!("no such fault: {line}"),
            }
        }
        plan
    }

    /// Counts a call, and says what becomes of it.
    pub fn next(&mut self, function: &'static str) -> Option<Fault> {
        let call = self.calls.entry(function).or_default();
        *call += 1;
        let fits = |rule: &&(String, When, Fault)| rule.0 == function && rule.1.holds(*call);
        self.rules.iter().find(fits).map(|rule| rule.2)
    }
}

fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

fn when_of(text: &str) -> When {
    if let Some(from) = text.strip_suffix("..") {
        When::From(number(from))
    } else if let Some(every) = text.strip_prefix('%') {
        When::Every(number(every))
    } else {
        When::At(number(text))
    }
}

fn fault_of(words: &[&str]) -> Fault {
    match words {
        ["after", code] => Fault::FailAfter(number(code)),
        ["hang"] => Fault::Hang(None),
        ["hang", ms] => Fault::Hang(Some(Duration::from_millis(number(ms)))),
        ["drop"] => Fault::Drop,
        [code] => Fault::Fail(number(code)),
        _ => panic!("no such fault: {words:?}"),
    }
}
