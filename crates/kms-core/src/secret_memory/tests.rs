//! Secret memory against the kernel's own view of it, in processes of their own where they do not survive.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::{ErrorCode, Secret, SecretBytes};

const LENGTHS: [usize; 9] = [1, 32, 33, 64, 200, 2400, 4896, 40_000, 1_000_000];

/// A mapping of this process: its bounds, permissions and `VmFlags`.
struct Mapping {
    start: usize,
    end: usize,
    permissions: String,
    flags: Vec<String>,
}

fn mappings() -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").expect("smaps").lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().expect("a word");
        if let Some((start, end)) = first.split_once('-') {
            let address = |text| usize::from_str_radix(text, 16).expect("an address");
            mappings.push(Mapping {
                start: address(start),
                end: address(end),
                permissions: words.next().expect("permissions").into(),
                flags: Vec::new(),
            });
        } else if first == "VmFlags:" {
            mappings.last_mut().expect("a mapping").flags = words.map(String::from).collect();
        }
    }
    mappings
}

/// The signal that ends a fork of this process which runs `work`, or the value that it returns.
fn forked(work: impl FnOnce() -> i32) -> Result<i32, i32> {
    // SAFETY: the child only reads memory and ends, without any lock or destructor of this process.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork");
        if child == 0 {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::_exit(work());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        if libc::WIFSIGNALED(status) {
            return Err(libc::WTERMSIG(status));
        }
        Ok(libc::WEXITSTATUS(status))
    }
}

#[test]
fn every_region_is_locked_not_dumped_wiped_on_fork_and_guarded() {
    for len in LENGTHS {
        let secret = SecretBytes::fill(len, |out| out.fill(0xa5));
        let address = secret.expose().as_ptr() as usize;
        let all_locked = report().unlocked_bytes == 0;
        let mappings = mappings();
        let at = mappings
            .iter()
            .position(|mapping| (mapping.start..mapping.end).contains(&address))
            .expect("a mapping");
        let has = |flag: &str| mappings[at].flags.iter().any(|it| it == flag);
        assert!(has("dd") && has("wf"), "{len} bytes: {:?}", mappings[at].flags);
        assert!(has("lo") || !all_locked, "{len} bytes: {:?}", mappings[at].flags);
        assert!(address + len <= mappings[at].end);
        for (guard, meets) in [
            (&mappings[at - 1], mappings[at - 1].end == mappings[at].start),
            (&mappings[at + 1], mappings[at + 1].start == mappings[at].end),
        ] {
            assert!(meets && guard.permissions == "---p", "{len} bytes");
        }
    }
}

#[test]
fn running_off_either_end_of_a_region_ends_the_process() {
    let secret = SecretBytes::fill(32, |out| out.fill(1));
    let address = secret.expose().as_ptr() as usize;
    let mappings = mappings();
    let region = mappings
        .iter()
        .find(|mapping| (mapping.start..mapping.end).contains(&address))
        .expect("a mapping");
    for outside in [region.start - 1, region.end] {
        // SAFETY: in a child, whose end this is.
        let read = move || unsafe { (outside as *const u8).read_volatile() }.into();
        assert_eq!(forked(read), Err(libc::SIGSEGV));
    }
    assert_eq!(forked(|| 7), Ok(7));
}

#[test]
fn a_forked_child_sees_zeros_and_is_refused() {
    let secret = Secret::<32>::fill(|out| out.fill(0xa5));
    let large = SecretBytes::fill(200_000, |out| out.fill(0xa5));
    assert_eq!(check_process(), Ok(()));
    let wiped = || secret.expose().iter().chain(large.expose()).all(|byte| *byte == 0);
    assert!(!wiped());
    let child = forked(|| i32::from(wiped()) + 2 * i32::from(check_process().is_err()));
    assert_eq!(child, Ok(3));
    let error = canary::forked();
    assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false));
    assert!(secret.expose().iter().all(|byte| *byte == 0xa5), "the parent keeps its own");
}

#[test]
fn a_slot_that_is_freed_is_zero_and_is_the_next_one_taken() {
    // A size that no other test uses, so that no other thread takes the slot.
    const LEN: usize = 9000;
    let keep = SecretBytes::fill(LEN, |out| out.fill(1));
    let secret = SecretBytes::fill(LEN, |out| out.fill(0xa5));
    let at = secret.expose().as_ptr();
    drop(secret);
    // SAFETY: `keep` is in the same region, which is mapped therefore.
    let freed = unsafe { std::slice::from_raw_parts(at, LEN) };
    assert!(freed.iter().all(|byte| *byte == 0));
    let again = SecretBytes::fill(LEN, |out| assert!(out.iter().all(|byte| *byte == 0)));
    assert_eq!(again.expose().as_ptr(), at);
    assert_eq!(keep.expose(), [1; LEN]);
}

#[test]
fn a_box_wipes_what_its_value_does_not() {
    const LEN: usize = 100_000;
    let keep = SecretBytes::fill(LEN, |_| {});
    let boxed = SecretBox::new([0xa5_u8; LEN]);
    let at = boxed.as_ptr();
    drop(boxed);
    // SAFETY: `keep` keeps the region: the size is no other test's.
    let freed = unsafe { std::slice::from_raw_parts(at, LEN) };
    assert!(freed.iter().all(|byte| *byte == 0));
    drop(keep);
}

#[test]
fn a_box_in_a_forked_child_is_refused_and_not_dropped() {
    let boxed = SecretBox::new(vec![1, 2, 3]);
    let child = forked(move || {
        let read = std::panic::AssertUnwindSafe(|| boxed.len());
        let payload = std::panic::catch_unwind(read).err();
        // Dropping the zeros that a vector was would end the child.
        drop(boxed);
        i32::from(payload.is_some())
    });
    assert_eq!(child, Ok(1));
}

#[test]
fn a_panic_while_a_secret_is_filled_wipes_it() {
    const LEN: usize = 20_000;
    let keep = SecretBytes::fill(LEN, |_| {});
    let mut at = std::ptr::null();
    let fill = std::panic::AssertUnwindSafe(|| {
        SecretBytes::fill(LEN, |out| {
            out.fill(0xa5);
            at = out.as_ptr();
            std::panic::resume_unwind(Box::new(()));
        })
    });
    assert!(std::panic::catch_unwind(fill).is_err());
    // SAFETY: `keep` keeps the region.
    let freed = unsafe { std::slice::from_raw_parts(at, LEN) };
    assert!(freed.iter().all(|byte| *byte == 0));
    drop(keep);
}

#[test]
fn secrets_of_many_threads_never_overlap() {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let work = || {
        let mut held: Vec<(u64, SecretBytes)> = Vec::new();
        for round in 0..4000_usize {
            let mark = NEXT.fetch_add(1, Ordering::Relaxed);
            let len = 8 * (1 + round * 7 % 90);
            held.push((
                mark,
                SecretBytes::fill(len, |out| {
                    assert!(out.iter().all(|byte| *byte == 0));
                    out.chunks_mut(8).for_each(|word| word.copy_from_slice(&mark.to_le_bytes()));
                }),
            ));
            if round % 3 != 0 {
                let (mark, secret) = held.swap_remove(round * 31 % held.len());
                assert!(secret.expose().chunks(8).all(|word| word == mark.to_le_bytes()));
            }
        }
        for (mark, secret) in held {
            assert!(secret.expose().chunks(8).all(|word| word == mark.to_le_bytes()));
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
}

/// Runs a test of this file in a process of its own.
fn alone(name: &str) {
    let program = std::env::current_exe().expect("this program");
    let path = format!("secret_memory::tests::{name}");
    let output = Command::new(program)
        .args(["--exact", &path, "--ignored", "--nocapture"])
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Takes from this process what lets it lock memory.
fn forbid_locking() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: of this process, which runs nothing else.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none), 0);
        if libc::geteuid() == 0 {
            // The superuser may lock without a limit.
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
    }
}

#[test]
#[ignore = "run by refused_locks_are_reported_and_fatal_where_required"]
fn without_locked_memory() {
    forbid_locking();
    // Before any secret: an error, and not a panic.
    let error = require_locked().expect_err("nothing can be locked");
    assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false));
    let secret = Secret::<32>::fill(|out| out.fill(1));
    let found = report();
    assert_eq!(found.locked_bytes, 0);
    assert!(found.unlocked_bytes >= 16 * 1024 && found.dontdump && found.wipeonfork);
    assert!(found.last_errors.iter().any(|it| it.starts_with("mlock: ")), "{found:?}");
    assert!(require_locked().is_err());
    // The wish was taken back with the refusal: growth goes on unlocked.
    assert_eq!(SecretBytes::fill(70_000, |_| {}).len(), 70_000);
    assert_eq!(secret.expose(), &[1; 32]);
}

#[test]
#[ignore = "run by refused_locks_are_reported_and_fatal_where_required"]
fn growth_beyond_the_limit() {
    let Ok(required) = require_locked() else { return };
    forbid_locking();
    let grow = || SecretBytes::fill(70_000, |_| {});
    let error = crate::KmsError::of_panic(std::panic::catch_unwind(grow).err().expect("refused"));
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
    assert!(error.message.contains("LimitMEMLOCK"));
    assert_eq!(report().unlocked_bytes, 0);
    drop(required);
    assert_eq!(grow().len(), 70_000);
}

#[test]
fn refused_locks_are_reported_and_fatal_where_required() {
    alone("without_locked_memory");
    alone("growth_beyond_the_limit");
}

#[test]
#[ignore = "run by a_hundred_thousand_keys_take_tens_of_mebibytes_and_give_them_back"]
fn a_hundred_thousand_keys() {
    let before = report();
    let keys: Vec<(Secret<32>, SecretBytes)> = (0..100_000)
        .map(|i| (Secret::fill(|_| {}), SecretBytes::fill(32 + i % 169, |_| {})))
        .collect();
    let held = report();
    let bytes = held.locked_bytes + held.unlocked_bytes;
    assert!(bytes < 28 << 20 && held.regions < 100, "{held:?}");
    drop(keys);
    let after = report();
    assert!(after.locked_bytes + after.unlocked_bytes <= 6 << 20, "{before:?} {after:?}");
}

#[test]
fn a_hundred_thousand_keys_take_tens_of_mebibytes_and_give_them_back() {
    alone("a_hundred_thousand_keys");
}
