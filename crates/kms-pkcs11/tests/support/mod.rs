//! A token of one's own for each test: SoftHSM in a process of its own, with a private directory, behind the module
//! that fails on demand.

#![allow(dead_code, reason = "not every file of tests uses all of it")]
#![allow(clippy::allow_attributes, reason = "as above")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use kms_core::{Algorithm, KeyId, Kid, Name, SecretBytes, Version};
use kms_crypto::ed25519::{KeyRef, VerifyLane, verify};
use kms_pkcs11::{Backoff, Config, Token};
use kms_pkcs11_fault::Report;
use kms_testkit::temp_dir::TempDir;
use uuid::Uuid;

pub const PIN: &str = "1234";
pub const LABEL: &str = "ron-kms test";
/// Long enough for whatever is not meant to time out.
pub const LONG: Duration = Duration::from_secs(20);

/// Longest that one test may take. A hang is a failure, not a stuck build.
const TEST_LIMIT: Duration = Duration::from_secs(240);
const CHILD: &str = "KMS_PKCS11_TEST";
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The place of a test.
pub struct Hsm {
    dir: PathBuf,
}

/// Runs `body` in a process of its own with a fresh token; where SoftHSM is not installed, says what is skipped.
///
/// # Panics
/// When the test fails, or takes longer than [`TEST_LIMIT`]; without SoftHSM if `REQUIRE_ALL_PARTS` is 1.
pub fn with_token(name: &str, body: impl FnOnce(&Hsm)) {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        let dir = std::env::var_os("KMS_PKCS11_DIR").expect("set by the parent");
        end_with_parent();
        body(&Hsm { dir: dir.into() });
        return;
    }
    let Some(module) = MODULES.iter().find(|path| Path::new(path).exists()) else {
        return skip(name);
    };
    let dir = TempDir::new("pkcs11");
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = dir.path().join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&conf, text).unwrap();
    init_token(&conf, LABEL);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env("KMS_PKCS11_DIR", dir.path())
        .env("SOFTHSM2_CONF", &conf)
        .env("KMS_FAULT_MODULE", module)
        .env("KMS_FAULT_PLAN", dir.path().join("plan"))
        .stdout(std::fs::File::create(dir.path().join("stdout")).unwrap())
        .stderr(std::fs::File::create(dir.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let well = ended_well(&mut child);
    let said = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
    assert!(well, "in its own process:\n{}\n{}", said("stdout"), said("stderr"));
    // What a test prints is for whoever runs it with --nocapture.
    print!("{}", said("stderr"));
}

/// A test that hangs outlives neither its limit nor whoever started it.
fn end_with_parent() {
    let start = Instant::now();
    #[cfg(unix)]
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(50));
            #[cfg(unix)]
            let orphan = std::os::unix::process::parent_id() != parent;
            #[cfg(not(unix))]
            let orphan = false;
            if orphan || start.elapsed() > TEST_LIMIT {
                std::process::abort();
            }
        }
    });
}

fn ended_well(child: &mut Child) -> bool {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        if start.elapsed() > TEST_LIMIT {
            child.kill().unwrap();
            panic!("the test hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a token in the directory of `conf`.
pub fn init_token(conf: &Path, label: &str) {
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678"])
        .env("SOFTHSM2_CONF", conf)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn skip(name: &str) {
    let reason = "SoftHSM is not installed";
    let required = std::env::var("REQUIRE_ALL_PARTS").is_ok_and(|it| it == "1");
    assert!(!required, "REQUIRE_ALL_PARTS=1, but {reason}");
    // Not by the macros, which the test harness keeps to itself.
    let mut out = std::io::stderr().lock();
    writeln!(out, "skipped {name}: {reason} (apt-get install softhsm2 opensc)").unwrap();
    if let Some(target) = std::env::var_os("SKIPPED_PARTS_FILE") {
        let path = PathBuf::from(target);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let skips = "custody over PKCS#11, against a real module";
        writeln!(
            file,
            r#"{{"part":"softhsm","reason":"{reason}","skips":"{skips}","debian":"softhsm2 opensc"}}"#
        )
        .unwrap();
    }
}

/// The module that fails on demand, which Cargo builds beside the tests.
pub fn fault_module() -> PathBuf {
    let name =
        format!("{}kms_pkcs11_fault{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    std::env::current_exe().unwrap().with_file_name(name)
}

impl Hsm {
    /// The real module.
    pub fn module(&self) -> PathBuf {
        std::env::var_os("KMS_FAULT_MODULE").unwrap().into()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    /// What opens the token through the module that fails on demand, with short delays.
    pub fn config(&self) -> Config {
        let pin = SecretBytes::copy_of(PIN.as_bytes());
        let mut config = Config::new(fault_module(), LABEL.to_owned(), pin);
        config.backoff =
            Backoff { first: Duration::from_millis(2), most: Duration::from_millis(20) };
        config
    }

    /// Opens the token.
    pub fn open(&self) -> Token {
        Token::open(self.config()).unwrap()
    }

    /// What fails from now on. Counts begin again.
    pub fn plan(&self, text: &str) {
        let fresh = self.dir.join("plan.new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.dir.join("plan")).unwrap();
    }

    /// What the module has seen.
    #[expect(unsafe_code, reason = "a function of the module that the tests loaded")]
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        // SAFETY: the function has this type in `kms-pkcs11-fault`, and the library is loaded already.
        unsafe {
            let library = libloading::Library::new(fault_module()).unwrap();
            let read = library.get::<unsafe extern "C" fn(*mut Report)>(b"kms_fault_report\0");
            read.unwrap()(&raw mut report);
        }
        report
    }

    /// `pkcs11-tool` on the real module.
    pub fn pkcs11_tool(&self, args: &[&str]) -> String {
        let out = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(self.module())
            .args(["--token-label", LABEL, "--login", "--pin", PIN])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

pub fn key(number: u128) -> KeyId {
    KeyId {
        tenant: Name::parse("t1", "tenant").unwrap(),
        purpose: Name::parse("auth", "purpose").unwrap(),
        alg: Algorithm::Ed25519,
        uuid: Uuid::from_u128(number),
    }
}

pub fn kid(number: u128, version: u32) -> Kid {
    key(number).at(Version::new(version).unwrap())
}

/// A version of a key that wraps.
pub fn kem_kid(number: u128, version: u32) -> Kid {
    let key = KeyId { alg: Algorithm::X25519, ..key(number) };
    key.at(Version::new(version).unwrap())
}

/// The strict verdict.
pub fn holds(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    verify(VerifyLane::Auto, KeyRef::Bytes(public), message, signature)
}

/// Waits until `done` says so; the deadline is the test's.
pub fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
