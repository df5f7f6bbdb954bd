//! S3, Google Cloud Storage and Azure, with the credentials that their own variables name.
//!
//! The library asks as if for files and waits; a thread with a runtime of its own answers, so that rows are read while the
//! run's own runtime is busy with requests.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use tidegate::call::pool::{Pool, PoolOptions, ProxyRules};
use tidegate::run::store::{Object, Store};
use tokio::sync::mpsc;

use super::http::Connector;
use super::web;
use crate::run::proxies;

/// Parts of an upload: at most this many, at least this large, and that many at once.
const MOST_PARTS: u64 = 9000;
const PART: u64 = 16 << 20;
const AT_ONCE: usize = 4;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every store there is.
pub(super) struct Stores {
    work: mpsc::UnboundedSender<Work>,
    pool: Arc<Pool>,
    /// The buckets that are open, by their address.
    open: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Stores {
    /// Starts the thread; nothing is opened before it is asked for.
    pub(super) fn start() -> anyhow::Result<Stores> {
        let (work, asked) = mpsc::unbounded_channel();
        let runtime = crate::runtime()?;
        let serve = move || runtime.block_on(serve(asked));
        std::thread::Builder::new().name("tidegate-stores".to_owned()).spawn(serve)?;
        let options = PoolOptions { proxy: ProxyRules::new(&proxies())?, ..PoolOptions::default() };
        Ok(Stores { work, pool: Arc::new(Pool::new(options)), open: Mutex::default() })
    }

    /// Does something on the thread and waits for it.
    fn wait<T: Send + 'static>(&self, doing: impl Future<Output = io::Result<T>> + Send + 'static) -> io::Result<T> {
        let (done, result) = blocking::sync_channel(1);
        let work: Work = Box::pin(async move { drop(done.send(doing.await)) });
        let gone = || io::Error::other("the thread of the stores has stopped");
        self.work.send(work).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }

    /// Returns the bucket of an address, and the key in it.
    fn bucket(&self, url: &str) -> io::Result<(Arc<dyn ObjectStore>, Key)> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| io::Error::other("is no address"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let key = Key::parse(key).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("{scheme}://{bucket}");
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&name) {
            return Ok((store.clone(), key));
        }
        let store = self.open_bucket(scheme, &name).map_err(|error| io::Error::other(error.to_string()))?;
        open.insert(name, store.clone());
        Ok((store, key))
    }

    fn open_bucket(&self, scheme: &str, name: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        let connector = Connector(self.pool.clone());
        let retry = RetryConfig { max_retries: 8, retry_timeout: Duration::from_secs(120), ..RetryConfig::default() };
        Ok(match scheme {
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(name);
                Arc::new(builder.with_retry(retry).with_http_connector(connector).build()?)
            }
            "az" | "azure" => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(name);
                Arc::new(builder.with_retry(retry).with_http_connector(connector).build()?)
            }
            _ => {
                let builder = AmazonS3Builder::from_env().with_url(name);
                Arc::new(builder.with_retry(retry).with_http_connector(connector).build()?)
            }
        })
    }
}

/// Does what is asked for, all at once.
async fn serve(mut asked: mpsc::UnboundedReceiver<Work>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            work = asked.recv() => match work {
                Some(work) => running.push(work),
                None => return,
            },
            Some(()) = running.next() => {}
        }
    }
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn object(prefix: &str, meta: &ObjectMeta) -> Object {
    Object { url: format!("{prefix}/{}", meta.location).into(), bytes: meta.size, version: meta.e_tag.clone() }
}

/// Returns the part of an address before its key.
fn bucket_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or(url, |end| &url[..start + end])
}

fn failed(error: &object_store::Error) -> io::Error {
    let message = match error {
        object_store::Error::NotFound { .. } => "there is no such object".to_owned(),
        object_store::Error::Precondition { .. } => "has been changed while it was read".to_owned(),
        other => other.to_string(),
    };
    io::Error::other(message)
}

impl Store for Stores {
    fn find(&self, url: &str) -> io::Result<Object> {
        if is_web(url) {
            let (pool, url) = (self.pool.clone(), url.to_owned());
            return self.wait(async move { web::find(&pool, &url).await });
        }
        let (store, key) = self.bucket(url)?;
        let bucket = bucket_of(url).to_owned();
        self.wait(
            async move { store.head(&key).await.map(|meta| object(&bucket, &meta)).map_err(|error| failed(&error)) },
        )
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Object>> {
        if is_web(prefix) {
            return Err(io::Error::other("a web server does not tell which files it has; name each"));
        }
        let (store, key) = self.bucket(prefix.trim_end_matches('/'))?;
        let bucket = bucket_of(prefix).to_owned();
        self.wait(async move {
            let found: Vec<ObjectMeta> = store.list(Some(&key)).try_collect().await.map_err(|error| failed(&error))?;
            Ok(found.iter().map(|meta| object(&bucket, meta)).collect())
        })
    }

    fn read(&self, of: &Object, range: Range<u64>) -> io::Result<Bytes> {
        if is_web(&of.url) {
            let (pool, of) = (self.pool.clone(), of.clone());
            return self.wait(async move { web::read(&pool, &of, range).await });
        }
        let (store, key) = self.bucket(&of.url)?;
        let options = GetOptions { range: Some(range.into()), if_match: of.version.clone(), ..GetOptions::default() };
        self.wait(async move {
            let found = store.get_opts(&key, options).await.map_err(|error| failed(&error))?;
            found.bytes().await.map_err(|error| failed(&error))
        })
    }

    fn upload(&self, file: &Path, url: &str) -> io::Result<()> {
        if is_web(url) {
            return Err(io::Error::other("a web server's files can only be read"));
        }
        let (store, key) = self.bucket(url)?;
        let file = File::open(file)?;
        self.wait(async move { upload(&*store, &key, file).await })
    }
}

/// Uploads a file: a small one at once, a larger one in parts that become an object when all are there.
async fn upload(store: &dyn ObjectStore, key: &Key, mut file: File) -> io::Result<()> {
    let size = file.metadata()?.len();
    if size <= PART {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return store.put(key, bytes.into()).await.map(drop).map_err(|error| failed(&error));
    }
    let part = PART.max(size.div_ceil(MOST_PARTS));
    let upload = store.put_multipart(key).await.map_err(|error| failed(&error))?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, part as usize);
    loop {
        upload.wait_for_capacity(AT_ONCE).await.map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        if (&mut file).take(part).read_to_end(&mut bytes)? == 0 {
            break;
        }
        upload.put(bytes.into());
    }
    upload.finish().await.map(drop).map_err(|error| failed(&error))
}
