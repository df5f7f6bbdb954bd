//! What accounts really have at Bedrock: asked of the control plane, and kept on disk for a day.
//!
//! Nothing needs this. Without it the bundled table is used, and whatever a reply says is heeded. What was found decides
//! which ways lead to a model, and knows names that the table does not. It cannot fail: what is not answered is a warning,
//! and older answers, or else the table, serve.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::transports::Transports;
use super::{Bedrock, ClientBuilder};
use crate::call::auth::Identity;
use crate::call::aws::{Account, control};
use crate::call::transport::Transport;
use crate::catalog::inventory::Inventory;
use crate::failure::{Failure, Kind};
use crate::json;

/// How often one list is asked for, and the first and the longest wait in between.
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How many regions and accounts are asked at once.
const AT_ONCE: usize = 10;

/// Where it is asked what accounts have, and how long the answers are good.
///
/// ```
/// use tidegate::{Bedrock, Client, Refresh, Target};
/// # async fn ask() -> tidegate::Result<()> {
/// let regions = ["us-east-1", "eu-west-1"].map(str::to_owned).to_vec();
/// let target = Target::new("bedrock/Claude 3 Haiku")?.bedrock(Bedrock { regions, ..Bedrock::default() });
/// let mut builder = Client::builder().target(target);
/// let refreshed = builder.refresh(&Refresh { folder: Some("inventory".into()), ..Refresh::default() }).await;
/// for warning in &refreshed.warnings {
///     eprintln!("{warning}");
/// }
/// let client = builder.build()?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The folder in which answers are kept; default: none, they are forgotten with the process.
    pub folder: Option<PathBuf>,
    /// How old a kept answer may be; at zero it is asked in any case. Default: 24 hours.
    pub age: Duration,
    /// The control plane's address, in which `{region}` stands for the region. Default: AWS's own.
    pub address: String,
}

impl Default for Refresh {
    fn default() -> Refresh {
        Refresh { folder: None, age: Duration::from_secs(24 * 3600), address: control::ADDRESS.to_owned() }
    }
}

/// What came of asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refreshed {
    /// How many lists of an account in a region were asked for and came.
    pub asked: usize,
    /// How many were kept from before.
    pub kept: usize,
    /// What was not answered, and what is used in its place.
    pub warnings: Vec<String>,
}

impl ClientBuilder {
    /// Asks what the accounts of all targets have at Bedrock, and lets the targets use it: the client that is built next
    /// has an endpoint for every way that was found. A client's endpoints never change, so one that lives for days is
    /// built anew to take notice.
    pub async fn refresh(&mut self, refresh: &Refresh) -> Refreshed {
        let transport = Transports::new(self).network;
        // Targets mostly share accounts and regions: each is asked about once.
        let mut all = Bedrock::default();
        for bedrock in self.targets.iter().filter_map(|target| target.bedrock.as_ref()) {
            all.regions.extend(
                bedrock.regions.iter().filter(|region| !all.regions.contains(region)).cloned().collect::<Vec<_>>(),
            );
            for account in &bedrock.accounts {
                if !all.accounts.iter().any(|known| known.number() == account.number()) {
                    all.accounts.push(account.clone());
                }
            }
        }
        let mut keys: Vec<SecretString> = Vec::new();
        for key in self.targets.iter().filter(|target| target.bedrock.is_some()).flat_map(|target| &target.keys) {
            if !keys.iter().any(|known| known.expose_secret() == key.expose_secret()) {
                keys.push(key.clone());
            }
        }
        let refreshed = all.refresh(refresh, &keys, &*transport).await;
        for bedrock in self.targets.iter_mut().filter_map(|target| target.bedrock.as_mut()) {
            bedrock.found = all.found.clone();
        }
        refreshed
    }
}

impl Bedrock {
    /// Asks what the accounts have in the regions (ListFoundationModels, ListInferenceProfiles), where no kept answer is
    /// young enough, and uses it from now on. Where no account is named, it is asked with each bearer key, and what any
    /// of them has is used.
    pub async fn refresh(&mut self, refresh: &Refresh, keys: &[SecretString], transport: &dyn Transport) -> Refreshed {
        let mut refreshed = Refreshed::default();
        if self.accounts.is_empty() && keys.is_empty() {
            refreshed.warnings.push("no AWS account or key is named whose models could be asked for".to_owned());
            return refreshed;
        }
        let wanted: Vec<(Option<Account>, String)> =
            self.asked().map(|(account, region)| (account.cloned(), region.clone())).collect();
        let answers = stream::iter(wanted).map(|(account, region)| async move {
            let answer = answer(refresh, (account.as_ref(), keys), &region, transport).await;
            (account, region, answer)
        });
        let mut answers = answers.buffered(AT_ONCE);
        while let Some((account, region, answer)) = answers.next().await {
            refreshed.asked += answer.asked;
            refreshed.kept += usize::from(answer.asked == 0 && answer.inventory.is_some());
            let label = account.as_ref().and_then(Account::label);
            refreshed.warnings.extend(answer.warnings);
            if let Some(inventory) = answer.inventory {
                self.found.insert(label, &region, inventory);
            }
        }
        refreshed
    }

    /// Uses answers that were kept and are young enough; asks nobody. Returns how many there were.
    pub fn recall(&mut self, refresh: &Refresh) -> usize {
        let kept = self.asked().filter_map(|(account, region)| {
            let (inventory, age) = kept(&refresh.file(account, region)?)?;
            let label = account.and_then(Account::label);
            (age < refresh.age).then(|| (label.map(str::to_owned), region.clone(), inventory))
        });
        let kept: Vec<_> = kept.collect();
        let count = kept.len();
        for (account, region, inventory) in kept {
            self.found.insert(account.as_deref(), &region, inventory);
        }
        count
    }

    /// Yields who is asked about which regions: the accounts, or else whoever has the key.
    fn asked(&self) -> impl Iterator<Item = (Option<&Account>, &String)> {
        let key = self.accounts.is_empty().then_some(None);
        let who = self.accounts.iter().map(Some).chain(key);
        who.flat_map(|account| self.regions.iter().map(move |region| (account, region)))
    }
}

impl Refresh {
    fn file(&self, account: Option<&Account>, region: &str) -> Option<PathBuf> {
        let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let who = account.map_or("key", |account| account.label().unwrap_or("default"));
        let name = format!("{}.{}.json", plain(who), plain(region));
        Some(self.folder.as_ref()?.join(name))
    }
}

/// What is known of an account, or of all keys, in a region.
#[derive(Default)]
struct Answer {
    inventory: Option<Inventory>,
    /// How many lists came.
    asked: usize,
    warnings: Vec<String>,
}

async fn answer(
    refresh: &Refresh,
    (account, keys): (Option<&Account>, &[SecretString]),
    region: &str,
    transport: &dyn Transport,
) -> Answer {
    let file = refresh.file(account, region);
    let kept = file.as_deref().and_then(kept);
    if let Some((inventory, _)) = kept.as_ref().filter(|(_, age)| *age < refresh.age) {
        return Answer { inventory: Some(inventory.clone()), ..Answer::default() };
    }
    let (mut all, mut failed) = (Answer::default(), Vec::new());
    for (name, who) in identities(account, keys, region) {
        match ask(refresh, &who, region, transport).await {
            Ok(inventory) => {
                all.asked += 1;
                all.inventory.get_or_insert_default().join(inventory);
            }
            Err(failure) => failed.push((name, failure)),
        }
    }
    if let (Some(file), Some(inventory), true) = (&file, &all.inventory, failed.is_empty()) {
        // Without it the next start asks again.
        let _ = file.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(file, serde_json::to_vec(inventory).unwrap_or_default());
    }
    let used = match (&all.inventory, &kept) {
        (Some(_), _) => "what the other keys have is used".to_owned(),
        (None, Some((_, age))) => format!("what was found {} hours ago is used", age.as_secs() / 3600),
        (None, None) => "the bundled list is used".to_owned(),
    };
    let warning = |(name, failure): (String, Failure)| match failure.kind {
        Kind::Permission => format!("{name}, {region}: it may not list models ({}); {used}", failure.message),
        _ => format!("{name}, {region}: {}; {used}", failure.message),
    };
    all.warnings = failed.into_iter().map(warning).collect();
    all.inventory = all.inventory.or(kept.map(|(inventory, _)| inventory));
    all
}

/// Returns who is asked, and what to call them: an account, or else whoever has the keys.
fn identities(account: Option<&Account>, keys: &[SecretString], region: &str) -> Vec<(String, Identity)> {
    if let Some(account) = account {
        let name = format!("account {}", account.label().unwrap_or("default"));
        return vec![(name, Identity::Aws(account.clone(), region.to_owned()))];
    }
    let name = |place: usize| if keys.len() == 1 { "key".to_owned() } else { format!("key {place}") };
    (1..).zip(keys).map(|(place, key)| (name(place), Identity::Key(key.clone()))).collect()
}

/// Asks until it is answered, or there is no sense in asking again. The waits grow and are of random length, so that
/// many who start at once do not come back at once.
async fn ask(refresh: &Refresh, who: &Identity, region: &str, transport: &dyn Transport) -> Result<Inventory, Failure> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match control::inventory(&refresh.address, region, who.clone(), transport).await {
            Err(failure) if failure.kind.is_transient() && failure.kind != Kind::Connect => {}
            answered => return answered,
        }
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    control::inventory(&refresh.address, region, who.clone(), transport).await
}

/// Returns what was kept, and how old it is.
fn kept(file: &Path) -> Option<(Inventory, Duration)> {
    let written = std::fs::metadata(file).ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    Some((json::from_slice(&std::fs::read(file).ok()?).ok()?, age))
}
