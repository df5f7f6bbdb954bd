//! Hiding secrets in settings that are shown.

use toml::{Table, Value};

const MASK: &str = "***";

/// Parts of names whose values are secrets.
const SECRET: [&str; 7] = ["authorization", "cookie", "key", "token", "secret", "password", "credential"];

/// Masks secret headers and parameters, and what addresses carry of user names, passwords and keys.
pub(super) fn mask(settings: &mut Table) {
    for (name, value) in settings.iter_mut() {
        match value {
            Value::Table(named) if name == "headers" || name == "extra" => mask_named(named),
            Value::Table(inner) => mask(inner),
            Value::String(address) if name == "base_url" => *address = mask_address(address),
            _ => {}
        }
    }
}

/// Takes out sections in which nothing is set.
pub(super) fn prune(table: &mut Table) {
    table.iter_mut().filter_map(|(_, value)| value.as_table_mut()).for_each(prune);
    table.retain(|_, value| value.as_table().is_none_or(|section| !section.is_empty()));
}

fn mask_named(values: &mut Table) {
    for (name, value) in values.iter_mut() {
        match value {
            Value::Table(inner) => mask_named(inner),
            // "max_tokens" and the like are numbers, never secrets.
            Value::String(text) if is_secret(name) => *text = MASK.to_owned(),
            _ => {}
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// Masks `user:password@` and the values of a query, any of which may be a key.
fn mask_address(address: &str) -> String {
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let masked = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{path}"),
        None => address.to_owned(),
    };
    if query.is_empty() { masked } else { format!("{masked}?{MASK}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let mut settings: Table = "base_url = 'https://me:pw@host:1/v1?key=abc'\n\
             [headers]\nAuthorization = 'Bearer abc'\nx-title = 'seen'\n\
             [endpoints.'a/b'.headers]\nX-Api-Key = 'abc'\ncookie = 'abc'\n\
             [params.extra]\nmax_tokens = 5\nprovider = { access_token = 'abc', order = ['seen'] }\n\
             [providers.a]\nkey_command = 'pass show a'\nbase_url = 'https://me@host'"
            .parse()
            .unwrap();
        mask(&mut settings);
        let shown = settings.to_string();
        for secret in ["abc", "pw", "me@"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for kept in ["https://***@host:1/v1?***", "x-title = \"seen\"", "max_tokens = 5", "pass show a", "[\"seen\"]"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn an_address_without_secrets_is_unchanged() {
        assert_eq!(mask_address("http://127.0.0.1:8000/v1"), "http://127.0.0.1:8000/v1");
    }
}
