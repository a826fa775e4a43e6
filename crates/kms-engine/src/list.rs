//! Listing the keys of a tenant, a page at a time.

use kms_core::{Context, KeyId, KeyState, Kid, KidRef, KmsError, Name, Result, Signs, Version};

use crate::engine::Engine;
use crate::op::Op;

/// Most keys in a page.
pub const MAX_PAGE: usize = 512;
/// Keys in a page where no number is named.
const PAGE: usize = 100;

/// A wish for a page of keys.
#[derive(Clone, Debug, Hash)]
pub struct ListKeys {
    /// Whose.
    pub tenant: String,
    /// How many, from 1 to [`MAX_PAGE`]; 100 unless said.
    pub limit: Option<usize>,
    /// The kid of the key before the first one: `next` of the page before.
    pub after: Option<String>,
}

/// A page of the keys that the caller may know of, in the order of their UUIDs: a key that was there before the first page is in exactly one, and one
/// that is made meanwhile may be left out.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The keys.
    pub keys: Vec<ListedKey>,
    /// What to ask for the next page with, where there is more.
    pub next: Option<KeyId>,
}

/// What a list says of a key.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// Its head.
    pub kid: Kid,
    /// What its signatures cover.
    pub signs: Signs,
    /// The newest published version.
    pub newest: Version,
    /// The key's own state.
    pub state: KeyState,
    /// When it was made, in Unix milliseconds.
    pub created_unix_ms: u64,
}

impl Engine {
    /// Shows the keys of a tenant, a page at a time; none where the tenant has none. Nothing is carried out on the way: a
    /// version whose time has come is shown as the head that the next call makes it, and a destruction that is due as
    /// scheduled still.
    ///
    /// # Errors
    /// `BadRequest` naming the field; `NotFound`, field `tenant`, for a tenant
    /// that is not the caller's.
    pub fn list(&self, context: &Context, wish: &ListKeys) -> Result<Listed> {
        self.run(Op::List, context, |_| {
            Name::parse(&wish.tenant, "tenant")?;
            context.permit(&wish.tenant).map_err(|error| error.field("tenant"))?;
            let limit = match wish.limit.unwrap_or(PAGE) {
                0 => return Err(KmsError::bad_request("must be at least 1").field("limit")),
                limit if limit > MAX_PAGE => {
                    return Err(KmsError::bad_request("must be at most 512").field("limit"));
                }
                limit => limit,
            };
            let after = wish.after.as_deref().map(|kid| cursor(kid, &wish.tenant)).transpose()?;
            // One more tells whether there is another page.
            let mut found = self.keys.page(context, &wish.tenant, after, limit + 1);
            let more = found.len() > limit;
            found.truncate(limit);
            let now_ms = self.now_ms();
            let shown = found.iter().map(|key| {
                let head = key.load();
                let due = head.pending.filter(|pending| now_ms >= pending.due_ms);
                ListedKey {
                    kid: key.id().at(due.map_or(head.active, |pending| pending.version)),
                    signs: key.facts.signs,
                    newest: head.newest,
                    state: head.life.key(),
                    created_unix_ms: key.facts.created_unix_ms,
                }
            });
            let next = found.last().filter(|_| more).map(|key| key.id().clone());
            Ok(Listed { keys: shown.collect(), next })
        })
    }
}

fn cursor(kid: &str, tenant: &str) -> Result<uuid::Uuid> {
    let fault = || KmsError::bad_request("must be `next` of a page of this tenant").field("after");
    let kid = KidRef::parse(kid).map_err(|_| fault())?;
    if kid.tenant == tenant { Ok(kid.uuid) } else { Err(fault()) }
}
