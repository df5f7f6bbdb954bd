use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use secrecy::ExposeSecret;

use super::*;
use crate::call::transport::{HttpReply, HttpRequest};

/// Answers the services of the chain, and notes whom it was asked for.
struct Services(Mutex<Vec<String>>);

impl Transport for Services {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpReply, Failure>> {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let signed = request.headers().get("authorization").map(|v| v.to_str().unwrap_or("").to_owned());
        self.0.lock().unwrap().push(format!(
            "{} {} {body} {}",
            request.method(),
            request.uri(),
            signed.unwrap_or_default()
        ));
        let role = body.split("RoleArn=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default();
        let json = r#"{"AccessKeyId":"LOCAL","SecretAccessKey":"s","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#;
        let reply = match request.uri().path() {
            "/" => format!(
                "<r><AccessKeyId>{}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2030-01-01T00:00:00Z</Expiration></r>",
                role.rsplit("%2F").next().unwrap_or_default()
            ),
            "/federation/credentials" => {
                r#"{"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"s","sessionToken":"t","expiration":1}}"#
                    .to_owned()
            }
            "/token" if body.contains(r#""refreshToken":"old""#) => {
                r#"{"accessToken":"fresh","expiresIn":28800,"refreshToken":"new","tokenType":"Bearer"}"#.to_owned()
            }
            "/token" => r#"{"error":"invalid_grant"}"#.to_owned(),
            "/latest/api/token" => "session".to_owned(),
            "/latest/meta-data/iam/security-credentials/" => "my-role".to_owned(),
            _ => json.to_owned(),
        };
        Box::pin(std::future::ready(Ok(HttpReply::new(Bytes::from(reply)))))
    }
}

const FILES: &str = "
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key = s
[profile other]
region = eu-west-1
credential_process = echo '{\"Version\":1,\"AccessKeyId\":\"PROCESS\",\"SecretAccessKey\":\"s\"}'
[profile deputy]
role_arn = arn:aws:iam::1:role/boss
source_profile = other
[profile loop]
role_arn = arn:aws:iam::1:role/x
source_profile = pool
[profile pool]
role_arn = arn:aws:iam::1:role/x
source_profile = loop
[profile signed-on]
sso_session = corp
sso_account_id = 42
sso_role_name = dev
[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://x
";

struct World {
    home: tempfile::TempDir,
    services: Services,
    variables: BTreeMap<String, String>,
}

impl World {
    fn new(variables: &[(&str, &str)], files: &str) -> World {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        std::fs::write(home.path().join(".aws/config"), files).unwrap();
        let mut known: BTreeMap<_, _> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        known.insert("HOME".to_owned(), home.path().display().to_string());
        World { home, services: Services(Mutex::default()), variables: known }
    }

    fn chain(&self) -> Chain {
        let variables = self.variables.clone();
        Chain::new(Environment::new(move |name| variables.get(name).cloned()))
    }

    async fn find(&self, chain: Chain) -> Result<String, String> {
        let found = chain.resolve(&self.services).await;
        found.map(|credentials| credentials.access_key_id).map_err(|failure| failure.message)
    }

    fn asked(&self) -> String {
        self.services.0.lock().unwrap().join("\n")
    }
}

#[tokio::test]
async fn variables_come_first_unless_a_profile_is_named() {
    let keys = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
    let world = World::new(&keys, FILES);
    assert_eq!(world.find(world.chain()).await.unwrap(), "ENV");
    assert_eq!(world.find(world.chain().profile("default")).await.unwrap(), "DEFAULT");
    let credentials = world.chain().resolve(&world.services).await.unwrap();
    assert_eq!(credentials.session_token.unwrap().expose_secret(), "t");
    let world = World::new(&[("AWS_PROFILE", "other")], FILES);
    assert_eq!(world.find(world.chain()).await.unwrap(), "PROCESS");
    assert_eq!(world.chain().region().as_deref(), Some("eu-west-1"));
}

#[tokio::test]
async fn roles_are_assumed_with_what_stands_below() {
    let world = World::new(&[], FILES);
    assert_eq!(world.find(world.chain().profile("deputy")).await.unwrap(), "boss");
    assert!(
        world.asked().contains("Credential=PROCESS/") && world.asked().contains("/sts/aws4_request"),
        "{}",
        world.asked()
    );
    assert_eq!(world.find(world.chain().role("arn:aws:iam::1:role/mine")).await.unwrap(), "mine");
    assert!(world.find(world.chain().profile("loop")).await.unwrap_err().contains("stands on itself"));
    let token = world.home.path().join("token");
    std::fs::write(&token, "jwt").unwrap();
    let token = token.display().to_string();
    let world = World::new(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web")], "");
    assert_eq!(world.find(world.chain()).await.unwrap(), "web");
    assert!(
        world.asked().contains("Action=AssumeRoleWithWebIdentity") && world.asked().contains("WebIdentityToken=jwt")
    );
}

#[tokio::test]
async fn a_sign_on_is_used_while_it_lasts() {
    let world = World::new(&[], FILES);
    let chain = world.chain().profile("signed-on");
    assert!(world.find(chain.clone()).await.unwrap_err().contains("aws sso login --profile signed-on"));
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"corp");
    let file = world.home.path().join(format!(".aws/sso/cache/{}.json", hex(digest.as_ref())));
    std::fs::write(file, r#"{"accessToken":"x","expiresAt":"2099-01-01T00:00:00Z"}"#).unwrap();
    assert_eq!(world.find(chain).await.unwrap(), "SSO");
    assert!(
        world.asked().contains("portal.sso.eu-west-1.amazonaws.com/federation/credentials?role_name=dev&account_id=42")
    );
}

/// Writes a token of the sign-on `corp` that ends in so many seconds, and returns its file.
fn signed_on(world: &World, ends_in: i64, more: &str) -> std::path::PathBuf {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, b"corp");
    let file = world.home.path().join(format!(".aws/sso/cache/{}.json", hex(digest.as_ref())));
    let end = Timestamp::now() + jiff::SignedDuration::from_secs(ends_in);
    std::fs::write(&file, format!(r#"{{"accessToken":"x","expiresAt":"{end}","startUrl":"https://x"{more}}}"#))
        .unwrap();
    file
}

const RENEWABLE: &str = r#","refreshToken":"old","clientId":"id","clientSecret":"hush","region":"eu-north-1","registrationExpiresAt":"2099-01-01T00:00:00Z""#;

#[tokio::test]
async fn a_sign_on_that_ends_soon_is_renewed_and_written_back() {
    for ends_in in [-3600, 300] {
        let world = World::new(&[], FILES);
        let file = signed_on(&world, ends_in, RENEWABLE);
        assert_eq!(world.find(world.chain().profile("signed-on")).await.unwrap(), "SSO");
        let asked = world.asked();
        assert!(asked.starts_with("POST https://oidc.eu-north-1.amazonaws.com/token {"), "{asked}");
        assert!(asked.contains(r#""grantType":"refresh_token","clientId":"id","clientSecret":"hush""#), "{asked}");
        let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((&kept["accessToken"], &kept["refreshToken"]), (&"fresh".into(), &"new".into()));
        assert_eq!((&kept["clientSecret"], &kept["startUrl"]), (&"hush".into(), &"https://x".into()));
        let end = time(kept["expiresAt"].as_str().unwrap()).unwrap();
        assert!(end > SystemTime::now() + std::time::Duration::from_secs(28_000));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        // The new one lasts: nobody asks for another.
        assert_eq!(world.find(world.chain().profile("signed-on")).await.unwrap(), "SSO");
        assert_eq!(world.asked().matches("/token").count(), 1);
    }
}

#[tokio::test]
async fn a_sign_on_that_cannot_be_renewed_serves_to_its_end() {
    let gone = RENEWABLE.replace("old", "used before");
    let over = RENEWABLE.replace("2099", "2001");
    for (ends_in, more, asks) in [(300, gone.as_str(), 1), (300, "", 0), (300, &over, 0), (7200, RENEWABLE, 0)] {
        let world = World::new(&[], FILES);
        let file = signed_on(&world, ends_in, more);
        assert_eq!(world.find(world.chain().profile("signed-on")).await.unwrap(), "SSO", "{more}");
        assert_eq!(world.asked().matches("/token").count(), asks, "{more}");
        assert!(std::fs::read_to_string(&file).unwrap().contains(r#""accessToken":"x""#));
    }
    let world = World::new(&[("AWS_ENDPOINT_URL_SSO_OIDC", "http://127.0.0.1:1/")], FILES);
    signed_on(&world, -5, &gone);
    let message = world.find(world.chain().profile("signed-on")).await.unwrap_err();
    assert!(message.contains("aws sso login --profile signed-on"), "{message}");
    assert!(world.asked().starts_with("POST http://127.0.0.1:1/token"));
}

#[tokio::test]
async fn containers_and_instances_come_last() {
    let world = World::new(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/creds")], "");
    assert_eq!(world.find(world.chain()).await.unwrap(), "LOCAL");
    assert!(world.asked().starts_with("GET http://169.254.170.2/creds"));
    let world = World::new(&[], "");
    assert_eq!(world.find(world.chain()).await.unwrap(), "LOCAL");
    assert!(world.asked().ends_with("security-credentials/my-role  "), "{}", world.asked());
    let world = World::new(&[("AWS_EC2_METADATA_DISABLED", "true")], "");
    assert!(world.find(world.chain()).await.unwrap_err().starts_with("no AWS credentials: set AWS_ACCESS_KEY_ID"));
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_an_error_and_not_another_account() {
    let world = World::new(&[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")], FILES);
    let message = world.find(world.chain().profile("othr")).await.unwrap_err();
    assert_eq!(message, "there is no AWS profile 'othr'; did you mean 'other'?");
}
