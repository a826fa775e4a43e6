//! Panics on demand, compiled in with the feature `fault-injection` only.

#[cfg(feature = "fault-injection")]
static ARMED: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// Makes the next [`point`] of this name panic, once.
#[cfg(feature = "fault-injection")]
pub fn arm(name: &str) {
    *ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name.to_owned());
}

/// A place that can be made to fail. Compiles to nothing without the feature.
#[cfg_attr(not(feature = "fault-injection"), inline(always))]
pub fn point(name: &'static str) {
    #[cfg(feature = "fault-injection")]
    {
        let mut armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if armed.as_deref() == Some(name) {
            *armed = None;
            drop(armed);
            panic!("injected fault at {name}");
        }
    }
    #[cfg(not(feature = "fault-injection"))]
    let _ = name;
}
