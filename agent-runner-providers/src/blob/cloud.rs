//! S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

use std::sync::Arc;

use agent_runner_core::id::{IdSource as _, SystemIds};
use object_store::{ObjectStore, path::Path, signer::Signer};
use url::Url;

use super::ObjectBlobs;

/// A place for artifacts that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobUrlError {
    /// It is not a URL of a kind that this program has.
    #[error(
        "`{0}` is not a place for artifacts: use s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    )]
    Url(String),
    /// The store refuses its settings.
    #[error("the place for artifacts cannot be set up: {0}")]
    Settings(String),
}

type Parts = (Arc<dyn ObjectStore>, Arc<dyn Signer>);

impl ObjectBlobs {
    /// Keeps bytes at `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    /// `settings` are the store's own, by the names of its environment variables in lower case,
    /// such as `aws_access_key_id`; others are ignored.
    ///
    /// # Errors
    /// [`BlobUrlError`].
    pub fn cloud(
        url: &str,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BlobUrlError> {
        // Fails when the program has installed one already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shown = || url.split(['?', '@']).next().unwrap_or_default().chars().take(200).collect();
        let parsed = Url::parse(url).map_err(|_| BlobUrlError::Url(shown()))?;
        let bucket = parsed.host_str().filter(|host| !host.is_empty());
        let bucket = bucket.ok_or_else(|| BlobUrlError::Url(shown()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some()
        {
            return Err(BlobUrlError::Settings(
                "the URL holds a user name, a password or a query; put credentials into the \
                 environment"
                    .to_owned(),
            ));
        }
        let (store, signer) = match parsed.scheme() {
            #[cfg(feature = "s3")]
            "s3" => s3(url, settings)?,
            #[cfg(feature = "gcs")]
            "gs" => gcs(url, settings)?,
            #[cfg(feature = "azure")]
            "az" => azure(bucket, settings)?,
            _ => return Err(BlobUrlError::Url(shown())),
        };
        let prefix = Path::from(parsed.path());
        let place = format!("{}://{bucket}", parsed.scheme());
        let mut blobs = Self::new(store, prefix, place, SystemIds.next());
        blobs.signer = Some(signer);
        Ok(blobs)
    }
}

fn refused(error: &object_store::Error) -> BlobUrlError {
    BlobUrlError::Settings(error.to_string())
}

#[cfg(feature = "s3")]
fn s3(
    url: &str,
    settings: impl IntoIterator<Item = (String, String)>,
) -> Result<Parts, BlobUrlError> {
    let mut builder = object_store::aws::AmazonS3Builder::new().with_url(url);
    for (key, value) in settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|error| refused(&error))?);
    Ok((Arc::clone(&store) as _, store))
}

#[cfg(feature = "gcs")]
fn gcs(
    url: &str,
    settings: impl IntoIterator<Item = (String, String)>,
) -> Result<Parts, BlobUrlError> {
    let mut builder = object_store::gcp::GoogleCloudStorageBuilder::new().with_url(url);
    for (key, value) in settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|error| refused(&error))?);
    Ok((Arc::clone(&store) as _, store))
}

#[cfg(feature = "azure")]
fn azure(
    container: &str,
    settings: impl IntoIterator<Item = (String, String)>,
) -> Result<Parts, BlobUrlError> {
    let mut builder =
        object_store::azure::MicrosoftAzureBuilder::new().with_container_name(container);
    for (key, value) in settings {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|error| refused(&error))?);
    Ok((Arc::clone(&store) as _, store))
}
