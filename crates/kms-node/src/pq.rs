//! The post-quantum policy, as JSON.

use std::collections::BTreeMap;

use kms_core::{KmsError, Result};
use kms_engine::{Mode, PqPolicy, PqRule};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyDto {
    service: RuleDto,
    #[serde(default)]
    tenants: BTreeMap<Box<str>, RuleDto>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDto {
    produce_hybrid: bool,
    verify_mode: String,
    rollout_percent: u8,
    legacy_grace_until_ms: Option<u64>,
}

/// Parses a policy.
///
/// # Errors
/// `BadRequest`, field `pq`.
pub(crate) fn policy(json: &str) -> Result<PqPolicy> {
    let fault = || KmsError::bad_request("not a post-quantum policy").field("pq");
    let dto: PolicyDto = serde_json::from_str(json).map_err(|_| fault())?;
    let rule = |dto: RuleDto| {
        let rule = PqRule {
            produce_hybrid: dto.produce_hybrid,
            verify_mode: Mode::parse(&dto.verify_mode).map_err(|_| fault())?,
            rollout_percent: dto.rollout_percent,
            legacy_grace_until_ms: dto.legacy_grace_until_ms,
        };
        // Such a rule would refuse what it makes.
        let contradicts = rule.verify_mode == Mode::And && !rule.produce_hybrid;
        if rule.rollout_percent > 100 || contradicts { Err(fault()) } else { Ok(rule) }
    };
    let tenants = dto.tenants.into_iter().map(|(name, dto)| Ok((name, rule(dto)?)));
    Ok(PqPolicy { tenants: tenants.collect::<Result<_>>()?, service: rule(dto.service)? })
}
