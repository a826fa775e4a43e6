//! Any bytes as JSON: the canonical form is its own, and the reader that takes only canonical text takes exactly that.

#![no_main]

use kms_passport::{canonical, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The strict reader refuses one name that the canonicaliser writes.
    let special = bytes.windows(9).any(|window| window == b"__proto__") || bytes.contains(&b'\\');
    match canonical(bytes) {
        Ok(form) => {
            assert_eq!(canonical(&form).as_deref(), Ok(&*form), "the form of a form is itself");
            if !special {
                assert!(fuzzing::is_canonical(&form), "what is written is taken");
                assert_eq!(fuzzing::is_canonical(bytes), form == bytes, "and nothing else");
            }
        }
        Err(_) => assert!(!fuzzing::is_canonical(bytes), "what is no JSON is not canonical"),
    }
});
