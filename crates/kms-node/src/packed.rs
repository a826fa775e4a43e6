//! Batches as JavaScript packs them: a few buffers with offsets instead of an object an item.

use kms_core::{Context, KmsError, Result};
use kms_crypto::ed25519::SIGNATURE_LEN;
use kms_engine::{BatchItem, Engine, ItemKid, SignItem, Signature, wire};

use crate::known::KnownKids;

/// The kid of each item: by its number, or the next of the named ones where the number is 0.
pub(crate) fn kids<'a>(
    known: &'a KnownKids,
    numbers: &[u32],
    named: &'a [String],
) -> Result<Vec<ItemKid<'a>>> {
    let mut named = named.iter();
    let kid = |number: &u32| match number {
        0 => {
            let next = named.next().ok_or_else(|| fault("kids", "must name each item of number 0"));
            next.map(|kid| ItemKid::Named(kid))
        }
        number => known.get(*number).map(ItemKid::Known),
    };
    numbers.iter().map(kid).collect()
}

/// Kids of items, to take to another thread.
pub(crate) struct OwnedKids {
    pub(crate) known: KnownKids,
    pub(crate) numbers: Vec<u32>,
    pub(crate) named: Vec<String>,
}

impl OwnedKids {
    /// As [`kids`].
    pub(crate) fn kids(&self) -> Result<Vec<ItemKid<'_>>> {
        kids(&self.known, &self.numbers, &self.named)
    }
}

/// Items of messages that lie end to end.
pub(crate) fn messages<'a>(
    kids: &[ItemKid<'a>],
    messages: &'a [u8],
    offsets: &[u32],
) -> Result<Vec<SignItem<'a>>> {
    if offsets.len() != kids.len() + 1 {
        return Err(fault("offsets", "length must be one more than the number of items"));
    }
    let items = kids.iter().zip(offsets.windows(2));
    let item = |(kid, ends): (&ItemKid<'a>, &[u32])| {
        let message = messages.get(ends[0] as usize..ends[1] as usize);
        let message = message.ok_or_else(|| fault("offsets", "must ascend within messages"))?;
        Ok(SignItem { kid: *kid, message })
    };
    items.map(item).collect()
}

/// The same with the signatures to check: of 64 bytes each, or as `offsets` says.
pub(crate) fn signed<'a>(
    items: &[SignItem<'a>],
    signatures: &'a [u8],
    offsets: &[u32],
) -> Result<Vec<BatchItem<'a>>> {
    let item = |(item, signature): (&SignItem<'a>, &'a [u8])| BatchItem {
        kid: item.kid,
        message: item.message,
        signature,
    };
    if offsets.is_empty() {
        let (signatures, rest) = signatures.as_chunks::<SIGNATURE_LEN>();
        if !rest.is_empty() || signatures.len() != items.len() {
            return Err(fault("signatures", "length must be 64 bytes an item"));
        }
        return Ok(items.iter().zip(signatures.iter().map(|it| &it[..])).map(item).collect());
    }
    if offsets.len() != items.len() + 1 {
        let why = "length must be one more than the number of items";
        return Err(fault("signatureOffsets", why));
    }
    let within = || fault("signatureOffsets", "must ascend within signatures");
    items
        .iter()
        .zip(offsets.windows(2))
        .map(|(signed, ends)| {
            let signature = signatures.get(ends[0] as usize..ends[1] as usize);
            Ok(item((signed, signature.ok_or_else(within)?)))
        })
        .collect()
}

/// What became of a batch to sign.
#[derive(Default)]
pub(crate) struct Signed {
    /// Ed25519's signatures; zeros where there is none.
    pub(crate) packed: Vec<[u8; SIGNATURE_LEN]>,
    /// Those of other algorithms, by item.
    pub(crate) long: Vec<(u32, Vec<u8>)>,
    /// The errors as JSON.
    pub(crate) errors: Option<String>,
}

/// Signs items.
pub(crate) fn sign(
    engine: &Engine,
    context: &Context,
    items: &[SignItem<'_>],
    parallel: bool,
) -> Result<Signed> {
    let mut signed = Signed { packed: vec![[0; SIGNATURE_LEN]; items.len()], ..Signed::default() };
    let mut errors = Vec::new();
    let results = engine.sign_items(context, items, parallel)?;
    for (i, (result, out)) in results.into_iter().zip(&mut signed.packed).enumerate() {
        match result {
            Ok(Signature::Ed25519(signature)) => *out = signature,
            Ok(Signature::Long(signature)) => {
                signed.long.push((u32::try_from(i).unwrap_or(u32::MAX), signature));
            }
            Err(error) => errors.push((i, error)),
        }
    }
    signed.errors = errors_json(&errors);
    Ok(signed)
}

/// Verdicts, 2 where there is none, and the errors as JSON.
pub(crate) fn verify(
    engine: &Engine,
    context: &Context,
    items: &[BatchItem<'_>],
    parallel: bool,
) -> Result<(Vec<u8>, Option<String>)> {
    let mut verdicts = vec![0; items.len()];
    let errors = engine.verify_items(context, items, parallel, &mut verdicts)?;
    Ok((verdicts, errors_json(&errors)))
}

/// A JSON array of `[item, error]`, or nothing where there is no error.
fn errors_json(errors: &[(usize, KmsError)]) -> Option<String> {
    let mut json = String::new();
    for (item, error) in errors {
        json.push(if json.is_empty() { '[' } else { ',' });
        json.push_str(&format!("[{item},{}]", wire::error_json(error)));
    }
    (!json.is_empty()).then(|| json + "]")
}

fn fault(field: &'static str, why: &'static str) -> KmsError {
    KmsError::bad_request(why).field(field)
}
