//! Wrapping data keys.

use std::sync::Arc;

use kms_core::{Context, KmsError, Result, SecretBytes};
use kms_engine::{DataKey, Engine, KemMode, Unwrapped, Wrapped};
use napi::Env;
use napi::bindgen_prelude::{Either, Object, ToNapiValue, Uint8Array, Uint8ArraySlice};
use napi_derive::napi;

use crate::kms::NativeKms;
use crate::task::{guard, guard_recorded, spawn_recorded_on};

/// A data key in an envelope.
#[napi(object)]
pub struct WrappedKey {
    /// The envelope.
    pub wrapped: Uint8Array,
    /// `x25519`, `ml-kem` or `hybrid`.
    pub alg: String,
    /// The version that it is for.
    pub kid: String,
    /// The data key, where it was made here.
    pub data_key: Option<Uint8Array>,
}

/// A data key out of its envelope.
#[napi(object)]
pub struct UnwrappedKey {
    /// The data key.
    pub data_key: Uint8Array,
    /// `x25519`, `ml-kem` or `hybrid`.
    pub alg: String,
    /// The version that it was for.
    pub kid: String,
}

#[napi]
impl NativeKms {
    /// Wraps a data key, or one of `size` bytes that is made where `size` is not 0, under the head of `kid`. A promise where
    /// the audit log must reach a disk first, as for `unwrap` and `rewrap`.
    #[napi(ts_return_type = "WrappedKey | Promise<WrappedKey>")]
    pub fn wrap<'env>(
        &self,
        env: &'env Env,
        kid: String,
        size: u32,
        kem_mode: Option<String>,
        data_key: Uint8ArraySlice<'_>,
    ) -> napi::Result<Either<WrappedKey, Object<'env>>> {
        let work = || {
            let mode = kem_mode.as_deref().map(KemMode::parse).transpose()?;
            let given = SecretBytes::copy_of(data_key.as_ref());
            let data_key = match size {
                0 => DataKey::Given(given.expose()),
                size => DataKey::Fresh(size as usize),
            };
            self.engine.wrap(&self.library, &kid, data_key, mode).map_err(names)
        };
        guard_recorded(env, &self.engine, "wrap", work, to_js)
    }

    /// Unwraps a data key.
    #[napi(ts_return_type = "UnwrappedKey | Promise<UnwrappedKey>")]
    pub fn unwrap<'env>(
        &self,
        env: &'env Env,
        kid: Option<String>,
        envelope: Uint8ArraySlice<'_>,
    ) -> napi::Result<Either<UnwrappedKey, Object<'env>>> {
        let work = |engine: &Engine, context: &Context, kid: Option<&str>, envelope: &[u8]| {
            engine.unwrap(context, kid, envelope).map_err(names)
        };
        self.opening(env, "unwrap", kid, &envelope, work, |unwrapped: Unwrapped| UnwrappedKey {
            data_key: Uint8Array::from(unwrapped.data_key.expose()),
            alg: unwrapped.alg.to_owned(),
            kid: unwrapped.kid.to_string(),
        })
    }

    /// Wraps what is in an envelope anew, under the head of its key.
    #[napi(ts_return_type = "WrappedKey | Promise<WrappedKey>")]
    pub fn rewrap<'env>(
        &self,
        env: &'env Env,
        kid: Option<String>,
        envelope: Uint8ArraySlice<'_>,
    ) -> napi::Result<Either<WrappedKey, Object<'env>>> {
        let work = |engine: &Engine, context: &Context, kid: Option<&str>, envelope: &[u8]| {
            engine.rewrap(context, kid, envelope).map_err(names)
        };
        self.opening(env, "rewrap", kid, &envelope, work, to_js)
    }
}

impl NativeKms {
    /// Opens an envelope on this thread; and where a token has to, on one that may wait for it.
    fn opening<'env, T, J>(
        &self,
        env: &'env Env,
        name: &'static str,
        kid: Option<String>,
        envelope: &Uint8ArraySlice<'_>,
        work: impl Fn(&Engine, &Context, Option<&str>, &[u8]) -> Result<T> + Send + 'static,
        finish: impl FnOnce(T) -> J + Send + 'static,
    ) -> napi::Result<Either<J, Object<'env>>>
    where
        T: Send + 'static,
        J: ToNapiValue + 'static,
    {
        let envelope = envelope.to_vec();
        if !guard(name, || Ok(self.engine.opens_in_token(&envelope)))? {
            let here = || work(&self.engine, &self.library, kid.as_deref(), &envelope);
            return guard_recorded(env, &self.engine, name, here, finish);
        }
        let (engine, context) = (Arc::clone(&self.engine), self.library.clone());
        let there = move || work(&engine, &context, kid.as_deref(), &envelope);
        let pool = self.engine.slow_pool();
        let finish = move |_, done| Ok(finish(done));
        spawn_recorded_on(env, &self.engine, pool, name, there, finish).map(Either::B)
    }
}

fn to_js(wrapped: Wrapped) -> WrappedKey {
    WrappedKey {
        data_key: wrapped.fresh.as_ref().map(|key| Uint8Array::from(key.expose())),
        wrapped: wrapped.envelope.into(),
        alg: wrapped.alg.to_owned(),
        kid: wrapped.kid.to_string(),
    }
}

/// The engine names fields as HTTP does.
fn names(error: KmsError) -> KmsError {
    match error.field.as_deref() {
        Some("plaintext_key_b64") => error.field("dataKey"),
        Some("wrapped_b64") => error.field("envelope"),
        Some("kem_mode") => error.field("kemMode"),
        _ => error,
    }
}
