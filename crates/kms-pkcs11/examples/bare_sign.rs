//! A bare loop of C_SignInit and C_Sign, which a benchmark takes turns with.
//!
//!     SOFTHSM2_CONF=… cargo run --release -p kms-pkcs11 --example bare_sign -- MODULE LABEL KEY-LABEL
//!
//! The PIN is read from `KMS_PKCS11_PIN`. Each line of input, `THREADS MILLISECONDS`, is answered with signatures a
//! second. Every thread has a session of its own; the module is initialised and logged in to once.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

const MESSAGE: [u8; 32] = [7; 32];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(label), Some(key)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: bare_sign MODULE LABEL KEY-LABEL".into());
    };
    let module = Pkcs11::new(&path)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = module.get_slots_with_token()?;
    let ours = |slot: &_| module.get_token_info(*slot).is_ok_and(|info| info.label() == label);
    let slot = slots.into_iter().find(ours).ok_or("no such token")?;
    let login = module.open_ro_session(slot)?;
    let pin = AuthPin::new(std::env::var("KMS_PKCS11_PIN")?.into());
    login.login(UserType::User, Some(&pin))?;
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(key.into_bytes())];
    for line in std::io::stdin().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let threads: usize = words.next().unwrap_or_default().parse()?;
        let round = Duration::from_millis(words.next().unwrap_or_default().parse()?);
        let begin = Instant::now();
        let sign = || -> Result<u64, cryptoki::error::Error> {
            let session = module.open_ro_session(slot)?;
            let key = session.find_objects(&template)?[0];
            let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            let mut done = 0;
            while begin.elapsed() < round {
                session.sign(&mechanism, key, &MESSAGE)?;
                done += 1;
            }
            Ok(done)
        };
        let done: Result<u64, _> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(sign)).collect();
            all.into_iter().map(|it| it.join().unwrap_or(Ok(0))).sum()
        });
        println!("{}", done? as f64 / begin.elapsed().as_secs_f64());
        std::io::stdout().flush()?;
    }
    Ok(())
}
