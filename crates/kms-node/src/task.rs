//! How work runs: on the JS thread behind a guard, or on our threads behind a promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use kms_core::Context;
use kms_core::{KmsError, Result};
use kms_engine::{Engine, Need, Pool, faults, is_moved};
use napi::Env;
use napi::bindgen_prelude::{Either, Object, ToNapiValue};

use crate::error::to_js;
use crate::promise::Deferred;
use crate::times::{Moment, Times, mark};

/// Runs an export on the JS thread. A panic in it becomes an `Internal` error.
pub(crate) fn guard<T>(name: &'static str, work: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    contained(name, work).map_err(|error| to_js(&error))
}

fn contained<T>(name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What `work` captured is dropped by the unwinding; the engine's own state survives panics (a lock
    // that was held poisons its key).
    catch_unwind(AssertUnwindSafe(|| {
        faults::point(name);
        work()
    }))
    .unwrap_or_else(|payload| Err(KmsError::of_panic(payload)))
}

/// Threads for work that belongs to no key service; started by the first asynchronous call.
pub(crate) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(Pool::default)
}

/// Runs `work` on the pool and returns a promise. `finish` turns its result into a JavaScript value on
/// the JS thread. `work` must own all that it needs.
pub(crate) fn spawn<'env, T, J>(
    env: &'env Env,
    pool: &Pool,
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    finish: impl FnOnce(Env, T) -> napi::Result<J> + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    // Asked first, so that no promise is left behind where there are no threads to keep it.
    pool.threads().map_err(|error| to_js(&error))?;
    let (deferred, promise) = Deferred::new(env)?;
    let job = move || match contained(name, work) {
        Ok(result) => deferred.resolve(move |env| finish(env, result)),
        Err(error) => deferred.reject(&error),
    };
    pool.spawn(job).map_err(|error| to_js(&error))?;
    Ok(promise)
}

/// As [`guard`], for what the audit log has a record of: the value at once, or a promise of it where the record must
/// reach a disk first. No thread waits for that.
pub(crate) fn guard_recorded<'env, T, J>(
    env: &'env Env,
    engine: &Engine,
    name: &'static str,
    work: impl FnOnce() -> Result<T>,
    finish: impl FnOnce(T) -> J + Send + 'static,
) -> napi::Result<Either<J, Object<'env>>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    let result = guard(name, work)?;
    if !engine.is_slow_to_settle() {
        guard(name, || engine.settle_records())?;
        return Ok(Either::A(finish(result)));
    }
    let (deferred, promise) = Deferred::new(env)?;
    keep(deferred, engine, Ok(result), |_, result| Ok(finish(result)));
    Ok(Either::B(promise))
}

/// Keeps a promise as soon as the records are as durable as the log promises.
fn keep<T, J>(
    deferred: Deferred,
    engine: &Engine,
    result: Result<T>,
    finish: impl FnOnce(Env, T) -> napi::Result<J> + Send + 'static,
) where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    match result {
        Ok(result) => engine.when_settled(Box::new(move |settled| match settled {
            Ok(()) => deferred.resolve(move |env| finish(env, result)),
            Err(error) => deferred.reject(&error),
        })),
        Err(error) => deferred.reject(&error),
    }
}

/// As [`spawn`] on an engine's threads, for what its audit log has a record of: the promise is kept when that is as
/// durable as the log promises. No thread waits for it.
pub(crate) fn spawn_recorded<'env, T, J>(
    env: &'env Env,
    engine: &Arc<Engine>,
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    finish: impl FnOnce(Env, T) -> napi::Result<J> + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    spawn_recorded_on(env, engine, engine.pool(), name, work, finish)
}

/// As [`spawn_recorded`], on other threads of the engine.
pub(crate) fn spawn_recorded_on<'env, T, J>(
    env: &'env Env,
    engine: &Arc<Engine>,
    pool: &Pool,
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    finish: impl FnOnce(Env, T) -> napi::Result<J> + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    pool.threads().map_err(|error| to_js(&error))?;
    let (deferred, promise) = Deferred::new(env)?;
    let recorder = Arc::clone(engine);
    let job = move || keep(deferred, &recorder, contained(name, work), finish);
    pool.spawn(job).map_err(|error| to_js(&error))?;
    Ok(promise)
}

/// What signs, and may need a token for it.
pub(crate) struct Signing<N, W> {
    /// Who asks.
    pub(crate) context: Context,
    /// What the token has to make.
    pub(crate) needs: N,
    /// The use case, with a context that has what the token made.
    pub(crate) work: W,
    /// Whether the use case takes microseconds once that is there: then it runs on the token's thread.
    pub(crate) is_short: bool,
    /// Told when a token was asked and when it had answered, where somebody wants to know.
    pub(crate) times: Option<Arc<Times>>,
}

/// As [`spawn_recorded`] for what signs: where a token has to, it is asked first, and no thread waits for it.
pub(crate) fn spawn_signing<'env, T, J, N, W>(
    env: &'env Env,
    engine: &Arc<Engine>,
    name: &'static str,
    signing: Signing<N, W>,
    finish: impl FnOnce(Env, T) -> napi::Result<J> + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
    N: Fn(&Engine, &Context) -> Result<Vec<Need>> + Send + Sync + 'static,
    W: Fn(&Engine, &Context) -> Result<T> + Send + Sync + 'static,
{
    let needs = || contained("needs", || (signing.needs)(engine, &signing.context));
    // What is at fault is said by the use case.
    let needs = if engine.has_token() { needs().unwrap_or_default() } else { Vec::new() };
    if needs.is_empty() {
        let (own, Signing { context, work, .. }) = (Arc::clone(engine), signing);
        return spawn_recorded(env, engine, name, move || work(&own, &context), finish);
    }
    engine.pool().threads().map_err(|error| to_js(&error))?;
    let (deferred, promise) = Deferred::new(env)?;
    let recorder = Arc::clone(engine);
    let done = move |result: Result<T>| keep(deferred, &recorder, result, finish);
    let (engine, signing) = (Arc::clone(engine), Arc::new(signing));
    go_on(Begun { engine, name, signing, tries: 0, done: Box::new(done) }, needs);
    Ok(promise)
}

/// A request whose signatures a token makes.
struct Begun<T, N, W> {
    engine: Arc<Engine>,
    name: &'static str,
    signing: Arc<Signing<N, W>>,
    tries: u32,
    done: Box<dyn FnOnce(Result<T>) + Send>,
}

/// How often a request is begun anew because the head of its key changed while the token signed.
const MOST_TRIES: u32 = 3;

fn go_on<T, N, W>(begun: Begun<T, N, W>, needs: Vec<Need>)
where
    T: Send + 'static,
    N: Fn(&Engine, &Context) -> Result<Vec<Need>> + Send + Sync + 'static,
    W: Fn(&Engine, &Context) -> Result<T> + Send + Sync + 'static,
{
    let engine = Arc::clone(&begun.engine);
    let inline = begun.signing.is_short && !needs.is_empty();
    let context = begun.signing.context.clone();
    let times = begun.signing.times.clone();
    let carry_on = move |context: Context| {
        let Begun { engine, name, signing, tries, done } = begun;
        match contained(name, || (signing.work)(&engine, &context)) {
            Err(error) if is_moved(&error) && tries < MOST_TRIES => {
                let needs = contained("needs", || (signing.needs)(&engine, &signing.context));
                let begun = Begun { engine, name, signing, tries: tries + 1, done };
                go_on(begun, needs.unwrap_or_default());
            }
            result => done(result),
        }
    };
    let pool_engine = Arc::clone(&engine);
    let made = times.clone();
    let go = move |context: Context| {
        mark(made.as_ref(), Moment::Made);
        if inline {
            return carry_on(context);
        }
        // The threads are there: they were asked for before.
        let _ = pool_engine.pool().spawn(move || carry_on(context));
    };
    mark(times.as_ref(), Moment::Asked);
    engine.presign(context, needs, Box::new(go));
}
