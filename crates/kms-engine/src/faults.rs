//! Panics and flipped bits on demand, compiled in with the feature `fault-injection` only.

#[cfg(feature = "fault-injection")]
static ARMED: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// Makes the next [`point`] or [`flip`] of this name fail, once.
#[cfg(feature = "fault-injection")]
pub fn arm(name: &str) {
    *ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name.to_owned());
}

/// Whether this place is to fail now. Always false, and nothing at run time, without the feature.
#[cfg_attr(not(feature = "fault-injection"), inline(always))]
fn due(name: &'static str) -> bool {
    #[cfg(feature = "fault-injection")]
    {
        let mut armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = armed.as_deref() == Some(name);
        if due {
            *armed = None;
        }
        due
    }
    #[cfg(not(feature = "fault-injection"))]
    {
        let _ = name;
        false
    }
}

/// A place that can be made to panic.
#[cfg_attr(not(feature = "fault-injection"), inline(always))]
pub fn point(name: &'static str) {
    assert!(!due(name), "injected fault at {name}");
}

/// A byte in which a bit can be made to flip, as in a faulty machine.
#[cfg_attr(not(feature = "fault-injection"), inline(always))]
pub fn flip(name: &'static str, byte: &mut u8) {
    *byte ^= u8::from(due(name));
}
