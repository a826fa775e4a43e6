//! A process commits and is killed at random, again and again, on one store. `KMS_CRASH_ROUNDS` raises the 20 rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kms_core::custody::{Change, MetaStore, Recorded, StoredState};
use kms_store::Options;
use kms_testkit::cases::Random;
use kms_testkit::clock::ManualClock;
use kms_testkit::custody::{answer, create, done, secret, version_facts};
use uuid::Uuid;

use crate::support::{Place, all, open_at, root_key};

const CHILD: &str = "KMS_STORE_CRASH_CHILD";

/// What the child was told, line by line.
#[derive(Default)]
struct History {
    /// Acknowledged versions of each key.
    versions: BTreeMap<Uuid, u32>,
    disabled: BTreeSet<Uuid>,
    answers: BTreeSet<u128>,
}

impl History {
    fn take(&mut self, line: &str) {
        let parts: Vec<&str> = line.split(' ').collect();
        let ["ack", what, number] = parts[..] else { return };
        let number: u128 = number.parse().expect("a number");
        match what {
            "create" => drop(self.versions.insert(uuid(number), 1)),
            "rotate" => drop(self.versions.insert(uuid(number), 2)),
            "disable" => drop(self.disabled.insert(uuid(number))),
            "record" => drop(self.answers.insert(number)),
            other => panic!("{other}"),
        }
        self.answers.insert(number);
    }
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number << 120 | number)
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    let rounds = std::env::var("KMS_CRASH_ROUNDS").map_or(20, |it| it.parse().expect("a number"));
    let place = Place::new("crash");
    let mut history = History::default();
    let mut next = 1;
    for round in 0..rounds {
        let mut random = Random::new("crash", round);
        next = run_and_kill(&place, next, &mut random, &mut history);

        let (store, report) = place.open().unwrap_or_else(|error| panic!("round {round}: {error}"));
        let keys = all(&store);
        assert_eq!(report.keys, keys.len());
        for (key, versions) in &history.versions {
            let stored = store.load(key).expect("readable").expect("a key was lost");
            assert!(stored.versions.len() >= *versions as usize, "round {round}: a lost version");
            for facts in &stored.versions {
                let number = facts.version.get();
                let opened = store.unseal(key, facts.version).expect("a secret was lost");
                assert_eq!(opened.expose(), secret(number).expose());
                assert_eq!(facts, &version_facts(number));
            }
            let disabled = stored.state == StoredState::Disabled;
            assert!(disabled || !history.disabled.contains(key), "round {round}: a lost state");
        }
        for number in &history.answers {
            let found = store.answer(&answer(*number, 0).scope).expect("readable");
            assert_eq!(found, Some(answer(*number, 0)), "round {round}: a lost answer");
        }
        // An answer is there exactly where its change is.
        for key in keys {
            let number = key.facts.id.uuid.as_u128() & 0xffff_ffff;
            let found = store.answer(&answer(number, 0).scope).expect("readable");
            assert!(found.is_some(), "round {round}: a change without its answer");
        }
    }
    assert!(history.versions.len() > 5, "the child got somewhere");
    let checked = kms_store::check(&place.data(), &root_key(1)).expect("it can be checked");
    assert_eq!(checked.problems, []);
}

/// Runs a child until it is killed; answers the first number that no child used.
fn run_and_kill(place: &Place, first: u128, random: &mut Random, history: &mut History) -> u128 {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::a_process_that_commits", "--nocapture"])
        .env(CHILD, format!("{first} {}", place.temp.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = first;
    let mut killed = false;
    // Some acknowledgements first, then a moment that falls anywhere in a commit.
    let patience = random.below(12);
    for count in 0.. {
        let Some(Ok(line)) = lines.next() else { break };
        // The harness's own words may stand before the child's first.
        let line = &line[line.find("ack ").or(line.find("try ")).unwrap_or(0)..];
        history.take(line);
        if let Some(number) = line.strip_prefix("try ") {
            next = number.parse::<u128>().expect("a number") + 1;
        }
        if count >= patience && !killed {
            std::thread::sleep(Duration::from_micros(random.number() % 10_000));
            child.kill().expect("it runs");
            killed = true;
        }
    }
    child.wait().expect("it ended");
    assert!(killed, "the child ended by itself");
    next
}

/// Does nothing unless it is the child of the test above.
#[test]
fn a_process_that_commits() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (first, temp) = task.split_once(' ').expect("two parts");
    let temp = std::path::Path::new(temp);
    let clock: Arc<ManualClock> = Arc::default();
    let anchor = temp.join("anchor");
    let options = Options::default();
    let opened = open_at(&temp.join("data"), Some(&anchor), &root_key(1), options, &clock);
    let (store, _) = opened.expect("it opens");
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent listens");
    };
    for number in first.parse::<u128>().expect("a number").. {
        say(format!("try {number}"));
        assert_eq!(store.record(&answer(number, 0)).expect("recorded"), Recorded::Done);
        say(format!("ack record {number}"));
        let key = uuid(number);
        let revision = create(&store, key);
        say(format!("ack create {number}"));
        let (facts, secret) = (version_facts(2), secret(2));
        let change = Change::Rotate { version: &facts, secret: &secret };
        let revision = done(store.commit(&key, revision, &change, None));
        say(format!("ack rotate {number}"));
        let change = Change::SetKeyState(StoredState::Disabled);
        done(store.commit(&key, revision, &change, None));
        say(format!("ack disable {number}"));
    }
}
