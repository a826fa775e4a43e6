//! Keys in a token: how versions are made there, found again and destroyed, and what may be done while it is away.
//!
//! A version is made in the token first and committed to the store second. What lies between is found again: of a
//! first version the store has a note of the intention, made before, so that a start knows whose a key on the token is
//! that no store knows; a later version has a number that only this store gives, and the next rotation takes up
//! what an interrupted one left. Destruction goes the other way round: recorded, carried out in the token, committed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_core::signer::{AgreeKeys, Signer};
use kms_core::{
    Algorithm, Context, ErrorCode, KeyState, Kid, KidRef, KmsError, Result, Secret, Version,
};
use kms_crypto::ed25519::{self, KeyRef, VerifyLane};
use kms_crypto::wrap::Envelope;

use crate::deadlines::Target;
use crate::engine::Engine;
use crate::evidence::{AttestPolicy, Evidence};
use crate::key::{Key, KeyVersion};
use crate::maker::Maker;
use crate::material::{PublicHalf, SecretHalf};
use crate::pool::Pool;
use crate::suite::Suite;

/// A token beside an engine.
pub struct Remote {
    /// The token.
    pub signer: Arc<dyn Signer>,
    /// Longest that one operation waits for it.
    pub deadline: Duration,
    /// Whether evidence of where keys are is asked for, and needed.
    pub attest: AttestPolicy,
    /// Whether the store's own root key is in the token.
    pub seals: bool,
    /// For how long keys are verified with while the token is away; after twice this they are not.
    pub verify_ttl: Duration,
}

/// What a start found on the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Versions in use that are on the token.
    pub present: usize,
    /// Versions in use that are not.
    pub missing: Vec<Kid>,
    /// Keys that were made and never committed, now destroyed.
    pub cleaned: usize,
    /// Keys of the form of ours that this store has nothing to do with.
    pub strangers: usize,
}

/// What each new key signs before it is shown. No sign API signs it, by its prefix.
const PROBE: &[u8] = b"ron-kms/key-check/v1\0";

impl Engine {
    /// The token.
    ///
    /// # Errors
    /// `StoreUnavailable` where there is none.
    pub(crate) fn remote(&self) -> Result<&Remote> {
        self.config.remote.as_ref().ok_or_else(|| {
            let why = "the private half is in a token, and this service has none";
            KmsError::new(ErrorCode::StoreUnavailable, why).retryable(false)
        })
    }

    /// Who makes versions here, and signs.
    pub(crate) fn authority(&self) -> Maker {
        if self.config.remote.is_some() { Maker::Token } else { Maker::Software }
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.config.remote.is_some()
    }

    /// How much time there is for the token.
    ///
    /// # Errors
    /// `Timeout` where there is none left.
    pub(crate) fn within(&self, remote: &Remote, context: &Context) -> Result<Duration> {
        let Some(deadline_ms) = context.deadline_ms else { return Ok(remote.deadline) };
        context.check_deadline(self.now_ms())?;
        let left = Duration::from_millis(deadline_ms.saturating_sub(self.now_ms()).max(1));
        Ok(left.min(remote.deadline))
    }

    /// Who makes a version of this suite.
    ///
    /// # Errors
    /// Those of the token, where it is not known whether it agrees on secrets: a key must not land in the store because a
    /// token was away.
    pub(crate) fn maker_of(&self, context: &Context, suite: Suite) -> Result<Maker> {
        let Some(remote) = &self.config.remote else { return Ok(Maker::Software) };
        match remote.signer.agreer() {
            Some(agreer) if suite.named_by() == Algorithm::X25519 => {
                let agrees = agreer.agrees(self.within(remote, context)?)?;
                Ok(if agrees { Maker::TokenAgrees } else { Maker::Token })
            }
            _ => Ok(Maker::Token),
        }
    }

    /// Remembers that there are versions that only a token opens envelopes of.
    pub(crate) fn note_maker(&self, maker: Maker) {
        if maker == Maker::TokenAgrees {
            self.agrees.store(true, Ordering::Relaxed);
        }
    }

    /// Whether envelopes may have to wait for a token.
    pub fn agrees_in_token(&self) -> bool {
        self.has_token() && self.agrees.load(Ordering::Relaxed)
    }

    /// Whether an envelope is for a version whose X25519 half is in a token.
    pub fn opens_in_token(&self, envelope: &[u8]) -> bool {
        let is_remote = || {
            let kid = KidRef::parse(Envelope::parse(envelope).ok()?.kid).ok()?;
            let key = self.keys.get(&kid.uuid)?;
            Some(key.published(kid.version?).ok()?.is_remote())
        };
        self.agrees_in_token() && is_remote().unwrap_or(false)
    }

    /// The secret that the X25519 half of a version agrees on with a point, which is not of small order.
    pub(crate) fn agree_in_token(
        &self,
        context: &Context,
        kid: &Kid,
        point: &[u8; 32],
    ) -> Result<Secret<32>> {
        let remote = self.remote()?;
        let within = self.within(remote, context)?;
        agreer(remote)?.agree(kid, kid.key.alg, point, within)
    }

    /// Makes a version with its classical half in the token, and checks one use of it.
    pub(crate) fn fresh_remote(
        &self,
        context: &Context,
        kid: &Kid,
        suite: Suite,
        maker: Maker,
    ) -> Result<KeyVersion> {
        let remote = self.remote()?;
        let until = Until::new(self.within(remote, context)?);
        let made = self.make_in_token(remote, kid, &until)?;
        let checked = self.check_fresh(remote, kid, made, &until).and_then(|evidence| {
            let mut tracks = vec![made.to_vec()];
            let companion = maker.sealed(suite).map(|sealed| {
                SecretHalf::generate_sealed(sealed, self.lanes(), &*self.config.entropy)
            });
            let secret = match companion.transpose()? {
                None => self.arena.reserve(),
                Some((secret, public)) => {
                    tracks.extend(public.iter().flat_map(PublicHalf::encoded));
                    self.arena.insert(secret)?
                }
            };
            let public = PublicHalf::from_encoded(suite, &tracks)
                .inspect_err(|_| self.arena.remove(secret))?;
            self.note_maker(maker);
            let created = self.config.clock.unix_ms();
            Ok(KeyVersion::new(suite, public, secret, created, maker, evidence))
        });
        // It was shown to nobody.
        checked.inspect_err(|_| self.abandon(kid))
    }

    /// The public half of a key that is in the token now. One that an interrupted rotation left is taken up.
    fn make_in_token(&self, remote: &Remote, kid: &Kid, until: &Until) -> Result<[u8; 32]> {
        let signer = &remote.signer;
        let Some(generator) = signer.generator() else {
            signer.health()?;
            let why = "the token makes no such keys, or is write-protected";
            return Err(KmsError::unsupported(why).field("alg"));
        };
        if kid.version == Version::MIN {
            self.note_intent(kid)?;
        }
        let made = match generator.generate(kid, kid.key.alg, until.left()) {
            Err(error) if error.code == ErrorCode::Conflict && kid.version > Version::MIN => {
                self.take_up(remote, kid, until)?
            }
            Err(error) if error.code == ErrorCode::Conflict => {
                return Err(KmsError::internal("a fresh UUID is on the token already"));
            }
            made => made.inspect_err(|_| self.abandon(kid))?,
        };
        made.try_into().map_err(|_| KmsError::internal("the token gave no public key"))
    }

    /// What an interrupted rotation left: a version that was made in the token, and that nobody has seen. One that was
    /// left half made is made anew.
    fn take_up(&self, remote: &Remote, kid: &Kid, until: &Until) -> Result<Vec<u8>> {
        let (signer, alg) = (&remote.signer, kid.key.alg);
        let conflict = || KmsError::conflict("the token has another key of this name").field("kid");
        let finder = signer.finder().ok_or_else(conflict)?;
        let attester = signer.attester().ok_or_else(conflict)?;
        let public = match finder.find(&kid.key, alg, until.left()) {
            Ok(found) => found.into_iter().find(|(version, _)| *version == kid.version),
            // A half without the other.
            Err(error) if error.code == ErrorCode::Internal => None,
            Err(error) => return Err(error),
        };
        // A token that works with the version before, and not with this one, has no whole key there.
        let works = |version: Version| probe(remote, &kid.key.at(version), PROBE, until).is_ok();
        let before = Version::new(kid.version.get() - 1);
        let is_whole = works(kid.version) || !before.is_some_and(works);
        match public {
            // What did not come to be there by being made there is not ours.
            Some((_, public)) if is_whole => {
                match attester.attest(kid, alg, until.left())?.complete {
                    true => Ok(public),
                    false => Err(conflict()),
                }
            }
            _ => {
                let destroyer = signer.destroyer().ok_or_else(conflict)?;
                let generator = signer.generator().ok_or_else(conflict)?;
                destroyer.destroy(kid, alg, until.left())?;
                generator.generate(kid, alg, until.left())
            }
        }
    }

    /// One use of a new key, and the evidence for it.
    fn check_fresh(
        &self,
        remote: &Remote,
        kid: &Kid,
        public: [u8; 32],
        until: &Until,
    ) -> Result<Option<Evidence>> {
        let message = [PROBE, kid.to_string().as_bytes()].concat();
        let holds = match probe(remote, kid, &message, until)? {
            Probed::Signature(signature) => {
                <&[u8; 64]>::try_from(signature.as_slice()).is_ok_and(|signature| {
                    ed25519::verify(VerifyLane::Auto, KeyRef::Bytes(&public), &message, signature)
                })
            }
            Probed::Public(agreed) => agreed == public,
        };
        if !holds {
            return Err(crate::sign::faulty());
        }
        if remote.attest == AttestPolicy::Never {
            return Ok(None);
        }
        let asked = self.ask_evidence(remote, kid, until.left());
        match (remote.attest, asked) {
            (AttestPolicy::Required, Ok(evidence)) if !evidence.complete => {
                Err(crate::evidence::missing())
            }
            (AttestPolicy::Required, asked) => asked.map(Some),
            (_, asked) => Ok(asked.ok()),
        }
    }

    /// A key that was made in the token and comes to nothing: it is destroyed as soon as that is possible. What has a
    /// later version stays, for the next rotation.
    pub(crate) fn abandon(&self, kid: &Kid) {
        let Some(remote) = self.config.remote.as_ref().filter(|_| kid.version == Version::MIN)
        else {
            return;
        };
        let (signer, kid, within) = (Arc::clone(&remote.signer), kid.clone(), remote.deadline);
        // If this fails, the next start does it, by the note of the intention.
        let _ = self.slow.spawn(move || {
            if let Some(destroyer) = signer.destroyer() {
                let _ = destroyer.destroy(&kid, kid.key.alg, within);
            }
        });
    }

    /// Whether the token can destroy what is asked of it.
    ///
    /// # Errors
    /// `Unsupported` where it is write-protected, or is not there at all.
    pub(crate) fn check_destroyable(&self, key: &Key, target: Option<Version>) -> Result<()> {
        if remote_kids(key, target).is_empty() {
            return Ok(());
        }
        let remote = self.config.remote.as_ref();
        if remote.is_some_and(|remote| remote.signer.destroyer().is_some()) {
            return Ok(());
        }
        let why = "its private half is in a token that this service cannot change";
        Err(KmsError::unsupported(why).field("kid"))
    }

    /// Has the token destroy what is due, on another thread; `true` once that is done.
    pub(crate) fn destroyed_in_token(&self, key: &Key, target: Option<Version>) -> Result<bool> {
        let kids = remote_kids(key, target);
        if kids.is_empty() {
            return Ok(true);
        }
        let remote = self.remote()?;
        // With a whole key goes what an interrupted rotation left of it.
        let next = key.load().newest.checked_add(1).filter(|_| target.is_none());
        let left = next.map(|version| key.id().at(version));
        let signer = Arc::clone(&remote.signer);
        let within = remote.deadline;
        let work = move || -> Result<()> {
            let unable = || KmsError::unsupported("the token is write-protected");
            let destroyer = signer.destroyer().ok_or_else(unable)?;
            let mut all = kids.iter().chain(&left);
            all.try_for_each(|kid| destroyer.destroy(kid, kid.key.alg, within))
        };
        Ok(self.destroyer.is_done((key.id().uuid, target), &self.slow, work))
    }

    /// Compares the token with the keys that were adopted, and destroys what was made and never committed.
    ///
    /// # Errors
    /// Those of the token; nothing depends on its being carried out.
    pub fn reconcile(&self, within: Duration) -> Result<Reconciled> {
        let remote = self.remote()?;
        let Some(lister) = remote.signer.lister() else { return Ok(Reconciled::default()) };
        let until = Until::new(within);
        let listed: HashSet<Kid> = lister.list(until.left())?.into_iter().collect();
        let mut found = Reconciled::default();
        let mut known = HashSet::new();
        for key in self.keys.all() {
            let head = key.load();
            for version in (1..=head.newest.get()).filter_map(Version::new) {
                let held = key.published(version)?;
                let gone = head.life.effective(version) == KeyState::Destroyed;
                if !held.is_remote() || gone {
                    continue;
                }
                let kid = key.id().at(version);
                match listed.contains(&kid) {
                    true => found.present += 1,
                    false => found.missing.push(kid.clone()),
                }
                known.insert(kid);
            }
        }
        for kid in listed.difference(&known) {
            if self.keys.get(&kid.key.uuid).is_some() {
                // Of an interrupted rotation, which the next one takes up.
                continue;
            }
            match (self.has_intent(kid)?, remote.signer.destroyer()) {
                (true, Some(destroyer)) => {
                    destroyer.destroy(kid, kid.key.alg, until.left())?;
                    found.cleaned += 1;
                }
                _ => found.strangers += 1,
            }
        }
        Ok(found)
    }

    /// How long the token has been away, for what is verified meanwhile.
    ///
    /// # Errors
    /// `StoreUnavailable` when that is too long.
    pub(crate) fn cache_age_ms(&self, held: &KeyVersion) -> Result<Option<u64>> {
        let Some(remote) = self.config.remote.as_ref().filter(|_| held.is_remote()) else {
            return Ok(None);
        };
        let Some(away) = remote.signer.outage() else { return Ok(None) };
        if away > remote.verify_ttl * 2 {
            let why = "the token has been away for too long to verify with what was known of it";
            let error = KmsError::new(ErrorCode::StoreUnavailable, why);
            return Err(error.retry_after_ms(5_000));
        }
        Ok(Some(u64::try_from(away.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Refuses to make something with a version that another backend made: those only verify here.
    ///
    /// # Errors
    /// `Unsupported`, field `kid`.
    pub(crate) fn check_authority(&self, held: &KeyVersion) -> Result<()> {
        if held.maker.has_token() == self.has_token() {
            return Ok(());
        }
        // The private half is at hand; whether it may stand in is a question of what the two claim.
        let here = held.maker == Maker::Software;
        let claims = self.config.remote.as_ref().map(|remote| remote.signer.class());
        let same = claims.is_some_and(|claims| claims == self.class_of(held));
        if self.config.allow_sign_fallback && here && same {
            return Ok(());
        }
        let why = "this version is of another backend, which only verifies here: rotate the key";
        Err(KmsError::unsupported(why).field("kid"))
    }
}

/// What a key in a token did with [`probe`].
enum Probed {
    Signature(Vec<u8>),
    /// Where it agrees: with the base point, which gives its public half (RFC 7748, section 6.1).
    Public([u8; 32]),
}

/// u = 9.
const BASE_POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// Uses a key in a token once.
fn probe(remote: &Remote, kid: &Kid, message: &[u8], until: &Until) -> Result<Probed> {
    if kid.key.alg == Algorithm::X25519 {
        let agreed = agreer(remote)?.agree(kid, kid.key.alg, &BASE_POINT, until.left())?;
        return Ok(Probed::Public(*agreed.expose()));
    }
    remote.signer.sign(kid, kid.key.alg, message, until.left()).map(Probed::Signature)
}

fn agreer(remote: &Remote) -> Result<&dyn AgreeKeys> {
    remote.signer.agreer().ok_or_else(|| {
        let why = "the private half is in a token, and this one agrees on no secrets";
        KmsError::new(ErrorCode::StoreUnavailable, why).retryable(false)
    })
}

/// Whether a token has to be told when this is destroyed.
pub(crate) fn is_in_token(key: &Key, target: Option<Version>) -> bool {
    !remote_kids(key, target).is_empty()
}

/// The versions of a key, or the one, whose private half is in a token and not destroyed.
fn remote_kids(key: &Key, target: Option<Version>) -> Vec<Kid> {
    let head = key.load();
    let all = (1..=head.newest.get()).filter_map(Version::new);
    all.filter(|version| target.is_none_or(|target| target == *version))
        .filter(|version| head.life.version(*version) != KeyState::Destroyed)
        .filter(|version| key.published(*version).is_ok_and(KeyVersion::is_remote))
        .map(|version| key.id().at(version))
        .collect()
}

/// The end of an operation of several calls.
pub(crate) struct Until(Instant);

impl Until {
    pub(crate) fn new(within: Duration) -> Until {
        Until(Instant::now() + within)
    }

    pub(crate) fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Destructions in a token, which take longer than a thread that meets one may wait.
#[derive(Default)]
pub(crate) struct Destroyer(Arc<Mutex<HashMap<Target, bool>>>);

impl Destroyer {
    /// Whether it is done. If not it is begun, unless it is under way.
    fn is_done(
        &self,
        target: Target,
        pool: &Pool,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> bool {
        let mut targets = lock(&self.0);
        match targets.get(&target).copied() {
            Some(true) => {
                targets.remove(&target);
                return true;
            }
            Some(false) => return false,
            None => targets.insert(target, false),
        };
        drop(targets);
        let shared = Arc::clone(&self.0);
        let begun = pool.spawn(move || {
            let done = crate::engine::contain(std::panic::AssertUnwindSafe(work)).is_ok();
            let mut targets = lock(&shared);
            match done {
                true => targets.insert(target, true),
                // Whoever meets it next tries again.
                false => targets.remove(&target),
            };
        });
        if begun.is_err() {
            lock(&self.0).remove(&target);
        }
        false
    }
}

fn lock(targets: &Mutex<HashMap<Target, bool>>) -> MutexGuard<'_, HashMap<Target, bool>> {
    // Each critical section is an operation of a map.
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}
