//! Reads the tokens of Live subjects back into ids.

use drover_model::{Party, TenantId};

/// Tenant and party of a subject that ends in `.{tenant}.{party}`.
pub(crate) fn tenant_and_party(subject: &str) -> Option<(TenantId, Party)> {
    let (rest, party) = subject.rsplit_once('.')?;
    let (_, tenant) = rest.rsplit_once('.')?;
    Some((TenantId::parse(&decoded(tenant)?).ok()?, Party::parse(&decoded(party)?).ok()?))
}

/// Undoes the percent-encoding of [`drover_backbone::token`].
fn decoded(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were_made_tokens() {
        let subject =
            format!("downlink.{}.{}", drover_backbone::token("a.b"), drover_backbone::token("p:1.x"));
        let (tenant, party) = tenant_and_party(&subject).unwrap();
        assert_eq!((tenant.as_str(), party.to_string().as_str()), ("a.b", "p:1.x"));
        assert!(tenant_and_party("downlink.a").is_none());
        assert!(tenant_and_party("downlink.a.%2").is_none());
    }
}
