//! What a service account proves itself with: an assertion, signed with its key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::failure::{Failure, Kind};

/// What the token may be used for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion is good for, in seconds; Google's most.
const LIFE: i64 = 3600;

/// A service account's key file.
#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    client_email: String,
    private_key: SecretString,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default = "super::token_uri")]
    pub(super) token_uri: String,
}

impl ServiceAccount {
    /// Checks that the key can sign.
    ///
    /// # Errors
    ///
    /// Says that it cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        self.key().map(drop)
    }

    /// Writes and signs an assertion; `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Kind::Auth`] if the key cannot sign.
    pub(super) fn assertion(&self, now: i64) -> Result<String, Failure> {
        let unusable = |message: String| Failure::new(Kind::Auth, format!("the service account {message}"));
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": self.private_key_id});
        let claims =
            json!({"iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + LIFE});
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{head}.{claims}");
        let key = self.key().map_err(unusable)?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| unusable("cannot sign".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn key(&self) -> Result<RsaKeyPair, String> {
        let unreadable = || "holds a private key that cannot be read".to_owned();
        let pem = self.private_key.expose_secret().as_bytes();
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| unreadable())?;
        RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unreadable())
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_assertion_says_who_asks_for_what_and_is_signed() {
        let key = include_str!("test-key.pem");
        let text = json!({"client_email": "a@b.iam", "private_key": key, "private_key_id": "k1"}).to_string();
        let account: ServiceAccount = serde_json::from_str(&text).unwrap();
        let assertion = account.assertion(1_000).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let public = account.key().unwrap().public().as_ref().to_vec();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        public.verify(signed.as_bytes(), &decode(signature)).unwrap();
        let parts: Vec<Value> = signed.split('.').map(|part| serde_json::from_slice(&decode(part)).unwrap()).collect();
        assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let claims =
            json!({"iss": "a@b.iam", "scope": SCOPE, "aud": super::super::TOKEN_URI, "iat": 1_000, "exp": 4_600});
        assert_eq!(parts[1], claims);
    }
}
