//! HTTPS. The files are looked at again and again, so that a certificate that was renewed is shown
//! without a restart; files that do not fit together are reported, and the one before stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::error::GatewayError;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that lead to its authority, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// What connections are accepted with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsConfig,
    current: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    digest: [u8; 32],
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`GatewayError::Tls`].
    pub(crate) async fn load(files: &TlsConfig) -> Result<Arc<Self>, GatewayError> {
        let (cert, key) = read(files).await?;
        let current = Loaded {
            digest: digest(&cert, &key),
            config: Arc::new(server_config(files, &cert, &key)?),
        };
        Ok(Arc::new(Self {
            files: files.clone(),
            current: Mutex::new(current),
        }))
    }

    /// As the files were when they were last good.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Looks at the files again and again.
    pub(crate) async fn renew(&self) {
        let mut complained = [0; 32];
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // A file that is away for a moment is being replaced.
            let Ok((cert, key)) = read(&self.files).await else {
                continue;
            };
            let found = digest(&cert, &key);
            let known = self
                .current
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .digest;
            if found == known || found == complained {
                continue;
            }
            match server_config(&self.files, &cert, &key) {
                Ok(config) => {
                    let config = Arc::new(config);
                    let digest = found;
                    let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                    *current = Loaded { digest, config };
                    info!("the certificate was renewed");
                }
                Err(error) => {
                    complained = found;
                    warn!(%error, "the new certificate cannot be used, the one before stays");
                }
            }
        }
    }
}

async fn read(files: &TlsConfig) -> Result<(Vec<u8>, Vec<u8>), GatewayError> {
    let read = |path: PathBuf| async move {
        let bytes = tokio::fs::read(&path).await;
        bytes.map_err(|error| wrong(&path, &error))
    };
    Ok((
        read(files.cert.clone()).await?,
        read(files.key.clone()).await?,
    ))
}

fn digest(cert: &[u8], key: &[u8]) -> [u8; 32] {
    let both = Sha256::new().chain_update(Sha256::digest(cert));
    both.chain_update(key).finalize().into()
}

fn server_config(files: &TlsConfig, cert: &[u8], key: &[u8]) -> Result<ServerConfig, GatewayError> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&files.cert, &error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| wrong(&files.cert, &error))?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|error| wrong(&files.cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn wrong(path: &Path, reason: &dyn std::fmt::Display) -> GatewayError {
    GatewayError::Tls {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
