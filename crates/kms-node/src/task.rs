//! How work runs: on the JS thread behind a guard, or on our threads behind a promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use kms_core::{KmsError, Result};
use kms_engine::{Engine, Pool, faults};
use napi::Env;
use napi::bindgen_prelude::{Either, Object, ToNapiValue};

use crate::error::to_js;

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

type Finish<J> = Box<dyn FnOnce(Env) -> napi::Result<J> + Send>;

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
    let (deferred, promise) = env.create_deferred::<J, Finish<J>>()?;
    let job = move || match contained(name, work) {
        Ok(result) => deferred.resolve(Box::new(move |env| finish(env, result))),
        Err(error) => deferred.reject(to_js(&error)),
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
    let (deferred, promise) = env.create_deferred::<J, Finish<J>>()?;
    engine.when_settled(Box::new(move |settled| match settled {
        Ok(()) => deferred.resolve(Box::new(move |_| Ok(finish(result)))),
        Err(error) => deferred.reject(to_js(&error)),
    }));
    Ok(Either::B(promise))
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
    engine.pool().threads().map_err(|error| to_js(&error))?;
    let (deferred, promise) = env.create_deferred::<J, Finish<J>>()?;
    let recorder = Arc::clone(engine);
    let job = move || match contained(name, work) {
        Ok(result) => recorder.when_settled(Box::new(move |settled| match settled {
            Ok(()) => deferred.resolve(Box::new(move |env| finish(env, result))),
            Err(error) => deferred.reject(to_js(&error)),
        })),
        Err(error) => deferred.reject(to_js(&error)),
    };
    engine.pool().spawn(job).map_err(|error| to_js(&error))?;
    Ok(promise)
}
