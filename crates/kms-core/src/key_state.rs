//! The life cycle of keys and versions: which states there are and which transitions are legal. Pure, and the one
//! place that knows.
//!
//! | from \ transition | disable | enable | schedule destroy | cancel destroy | destroy |
//! | --- | --- | --- | --- | --- | --- |
//! | enabled | disabled | – | destroy scheduled | – | – |
//! | disabled | – | enabled | destroy scheduled | – | – |
//! | destroy scheduled, not due | – | – | – | disabled | – |
//! | destroy scheduled, due | – | – | – | – | destroyed |
//! | destroyed | – | – | – | – | – |
//!
//! What is not in the table is `Conflict`. A cancelled destruction leaves the key disabled, so that using it again is
//! a decision of its own. A key has a state and so has each of its versions; a version is used for anything only
//! where both are enabled.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{KmsError, Result};
use crate::key_id::Version;

/// When something is to be destroyed. The earlier moment is the stricter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestroyAt {
    /// In milliseconds on the monotonic clock, which decides: setting the wall clock moves nothing.
    pub due_ms: u64,
    /// The same moment in Unix milliseconds, which is shown.
    pub unix_ms: u64,
}

/// The state of a key, or of one of its versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// In use.
    #[default]
    Enabled,
    /// Out of use, and may be enabled again.
    Disabled,
    /// Out of use, and destroyed when its time comes unless that is cancelled before.
    DestroyScheduled(DestroyAt),
    /// The private half is gone for good; the public half and the history are kept.
    Destroyed,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Takes out of use.
    Disable,
    /// Takes into use again.
    Enable,
    /// Takes out of use and sets the time of destruction.
    ScheduleDestroy(DestroyAt),
    /// Keeps what was to be destroyed, disabled.
    CancelDestroy,
    /// Destroys what is due.
    Destroy,
}

impl KeyState {
    /// The name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
            KeyState::DestroyScheduled(_) => "destroy_scheduled",
            KeyState::Destroyed => "destroyed",
        }
    }

    /// The time of destruction, while one is set.
    pub const fn destroy_at(self) -> Option<DestroyAt> {
        match self {
            KeyState::DestroyScheduled(at) => Some(at),
            _ => None,
        }
    }

    /// Whether it is to be destroyed now.
    pub const fn is_due(self, now_ms: u64) -> bool {
        matches!(self, KeyState::DestroyScheduled(at) if now_ms >= at.due_ms)
    }

    /// The stricter of two states, the later in the order of [`KeyState`]; of two scheduled ones the earlier due.
    #[must_use]
    pub fn stricter(self, other: KeyState) -> KeyState {
        let rank = |state| match state {
            KeyState::Enabled => 0,
            KeyState::Disabled => 1,
            KeyState::DestroyScheduled(_) => 2,
            KeyState::Destroyed => 3,
        };
        match (self, other) {
            (KeyState::DestroyScheduled(a), KeyState::DestroyScheduled(b)) => {
                KeyState::DestroyScheduled(a.min(b))
            }
            _ if rank(other) > rank(self) => other,
            _ => self,
        }
    }

    /// The state after a transition, by the table above.
    ///
    /// # Errors
    /// `Conflict`, field `kid`, for a transition that is not legal now.
    pub fn after(self, transition: Transition, now_ms: u64) -> Result<KeyState> {
        use KeyState::{Destroyed, Disabled, Enabled};
        let due = self.is_due(now_ms);
        Ok(match (self, transition) {
            (Enabled, Transition::Disable) => Disabled,
            (Disabled, Transition::Enable) => Enabled,
            (Enabled | Disabled, Transition::ScheduleDestroy(at)) => KeyState::DestroyScheduled(at),
            (KeyState::DestroyScheduled(_), Transition::CancelDestroy) if !due => Disabled,
            (KeyState::DestroyScheduled(_), Transition::Destroy) if due => Destroyed,
            _ => return Err(self.conflict()),
        })
    }

    /// Refuses what is not in use.
    ///
    /// # Errors
    /// `Conflict`, field `kid`.
    pub fn check(self) -> Result<()> {
        if self == KeyState::Enabled { Ok(()) } else { Err(self.conflict()) }
    }

    fn conflict(self) -> KmsError {
        let why = match self {
            KeyState::Enabled => "the key or version is enabled",
            KeyState::Disabled => "the key or version is disabled",
            KeyState::DestroyScheduled(_) => "the key or version is scheduled to be destroyed",
            KeyState::Destroyed => "the key or version is destroyed",
        };
        KmsError::conflict(why).field("kid")
    }
}

/// The states of one key and of its versions at one moment. Immutable; clones share the versions' states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    key: KeyState,
    /// Versions that are not enabled; all others are.
    versions: Arc<BTreeMap<Version, KeyState>>,
}

impl Life {
    /// The states of a key as they were kept.
    pub fn restored(key: KeyState, versions: impl Iterator<Item = (Version, KeyState)>) -> Life {
        let versions = versions.filter(|(_, state)| *state != KeyState::Enabled).collect();
        Life { key, versions: Arc::new(versions) }
    }

    /// The key's own state.
    pub fn key(&self) -> KeyState {
        self.key
    }

    /// A version's own state.
    pub fn version(&self, version: Version) -> KeyState {
        if self.versions.is_empty() {
            return KeyState::Enabled;
        }
        self.versions.get(&version).copied().unwrap_or_default()
    }

    /// The stricter of the key's state and the version's.
    pub fn effective(&self, version: Version) -> KeyState {
        self.key.stricter(self.version(version))
    }

    /// Refuses a version that is not in use, by its own state or by the key's.
    ///
    /// # Errors
    /// `Conflict`, field `kid`.
    pub fn check(&self, version: Version) -> Result<()> {
        self.effective(version).check()
    }

    /// The states after a transition of one version, or of the key where there is none. Nothing of a destroyed key
    /// changes any more. Whether the version exists is the caller's to know.
    ///
    /// # Errors
    /// `Conflict`, field `kid`.
    pub fn after(
        &self,
        target: Option<Version>,
        transition: Transition,
        now_ms: u64,
    ) -> Result<Life> {
        let Some(version) = target else {
            return Ok(Life { key: self.key.after(transition, now_ms)?, ..self.clone() });
        };
        if self.key == KeyState::Destroyed {
            return Err(self.key.conflict());
        }
        let next = self.version(version).after(transition, now_ms)?;
        let mut versions = BTreeMap::clone(&self.versions);
        match next {
            KeyState::Enabled => versions.remove(&version),
            state => versions.insert(version, state),
        };
        Ok(Life { key: self.key, versions: Arc::new(versions) })
    }

    /// What is to be destroyed now: `None` for the key as a whole, which alone is named then.
    pub fn due(&self, now_ms: u64) -> Vec<Option<Version>> {
        match self.key {
            KeyState::Destroyed => vec![],
            state if state.is_due(now_ms) => vec![None],
            _ => {
                let due = self.versions.iter().filter(|(_, state)| state.is_due(now_ms));
                due.map(|(version, _)| Some(*version)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KeyState::{Destroyed, Disabled, Enabled};
    use super::*;
    use crate::error::ErrorCode;

    const AT: DestroyAt = DestroyAt { due_ms: 100, unix_ms: 5_100 };
    const LATER: DestroyAt = DestroyAt { due_ms: 200, unix_ms: 5_200 };
    const SCHEDULED: KeyState = KeyState::DestroyScheduled(AT);
    const STATES: [KeyState; 4] = [Enabled, Disabled, SCHEDULED, Destroyed];
    const TRANSITIONS: [Transition; 5] = [
        Transition::Disable,
        Transition::Enable,
        Transition::ScheduleDestroy(AT),
        Transition::CancelDestroy,
        Transition::Destroy,
    ];

    fn version(n: u32) -> Version {
        Version::new(n).unwrap()
    }

    #[test]
    fn the_table_is_this_and_no_other() {
        let row = |state: KeyState, now_ms| {
            TRANSITIONS.map(|transition| state.after(transition, now_ms).ok())
        };
        for now_ms in [0, 99, 100, u64::MAX] {
            assert_eq!(row(Enabled, now_ms), [Some(Disabled), None, Some(SCHEDULED), None, None]);
            assert_eq!(row(Disabled, now_ms), [None, Some(Enabled), Some(SCHEDULED), None, None]);
            assert_eq!(row(Destroyed, now_ms), [None; 5]);
        }
        for now_ms in [0, 99] {
            assert_eq!(row(SCHEDULED, now_ms), [None, None, None, Some(Disabled), None]);
        }
        for now_ms in [100, 101, u64::MAX] {
            assert_eq!(row(SCHEDULED, now_ms), [None, None, None, None, Some(Destroyed)]);
        }
    }

    #[test]
    fn a_refusal_is_a_conflict_that_is_not_tried_again() {
        for state in STATES {
            for transition in TRANSITIONS {
                let Err(error) = state.after(transition, 0) else { continue };
                assert_eq!((error.code, error.retryable), (ErrorCode::Conflict, false));
                assert_eq!(error.field.as_deref(), Some("kid"));
            }
        }
    }

    #[test]
    fn only_what_is_enabled_is_used() {
        assert_eq!(STATES.map(|state| state.check().is_ok()), [true, false, false, false]);
        for key in STATES {
            for own in STATES {
                let versions = Arc::new(BTreeMap::from([(version(2), own)]));
                let life = Life { key, versions };
                assert_eq!(life.check(version(1)).is_ok(), key == Enabled);
                assert_eq!(life.check(version(2)).is_ok(), (key, own) == (Enabled, Enabled));
            }
        }
    }

    #[test]
    fn the_stricter_of_two_states_is_the_later_in_the_order() {
        for (i, a) in STATES.into_iter().enumerate() {
            for (j, b) in STATES.into_iter().enumerate() {
                assert_eq!(a.stricter(b), STATES[i.max(j)], "{a:?} {b:?}");
            }
        }
        let later = KeyState::DestroyScheduled(LATER);
        assert_eq!(later.stricter(SCHEDULED), SCHEDULED);
        assert_eq!(SCHEDULED.stricter(later), SCHEDULED);
    }

    #[test]
    fn versions_change_alone_and_the_key_is_over_them() {
        let life = Life::default();
        let disabled = life.after(Some(version(2)), Transition::Disable, 0).unwrap();
        assert_eq!(disabled.key(), Enabled);
        assert_eq!([1, 2].map(|n| disabled.effective(version(n))), [Enabled, Disabled]);
        assert_eq!(life.effective(version(2)), Enabled, "what readers hold stays as it was");

        let scheduled = disabled.after(None, Transition::ScheduleDestroy(AT), 0).unwrap();
        assert_eq!([1, 2].map(|n| scheduled.effective(version(n))), [SCHEDULED; 2]);
        assert_eq!(scheduled.version(version(2)), Disabled, "its own");
        let enabled = scheduled.after(Some(version(2)), Transition::Enable, 0).unwrap();
        assert_eq!(enabled.effective(version(2)), SCHEDULED);

        let destroyed = enabled.after(None, Transition::Destroy, 100).unwrap();
        for transition in TRANSITIONS {
            for target in [None, Some(version(1)), Some(version(2))] {
                assert!(destroyed.after(target, transition, 100).is_err(), "{transition:?}");
            }
        }
        assert!(destroyed.due(u64::MAX).is_empty());
    }

    #[test]
    fn an_enabled_version_leaves_no_trace() {
        let life = Life::default();
        let disabled = life.after(Some(version(7)), Transition::Disable, 0).unwrap();
        assert_ne!(disabled, life);
        assert_eq!(disabled.after(Some(version(7)), Transition::Enable, 0).unwrap(), life);
    }

    #[test]
    fn what_is_due_is_the_key_or_each_version_whose_time_has_come() {
        let mut life = Life::default();
        for (n, at) in [(1, AT), (2, LATER), (3, AT)] {
            life = life.after(Some(version(n)), Transition::ScheduleDestroy(at), 0).unwrap();
        }
        assert_eq!(life.due(99), []);
        assert_eq!(life.due(100), [Some(version(1)), Some(version(3))]);
        assert_eq!(life.due(200).len(), 3);
        let key = life.after(None, Transition::ScheduleDestroy(LATER), 0).unwrap();
        assert_eq!(key.due(100), [Some(version(1)), Some(version(3))]);
        assert_eq!(key.due(200), [None], "the key as a whole");
    }
}
