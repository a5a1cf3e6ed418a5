//! TLS to the broker: the trusted authorities, and the client certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_console::{Failure, read_input};
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, RootCertStore};
use thiserror::Error;

/// The files for a TLS connection, all PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// CA certificates; `None` for those of the system.
    pub authorities: Option<PathBuf>,
    /// The client certificate chain, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why the files do not form valid TLS settings.
#[derive(Debug, Error)]
pub enum TlsFilesError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file has other content.
    #[error("{} holds no {what} in PEM", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The system has no CA certificates.
    #[error("this system has no certificate authorities")]
    NoAuthorities,
    /// The files' content cannot be used, or not together.
    #[error("the certificates cannot be used")]
    Unfit(#[from] rustls::Error),
}

impl From<TlsFilesError> for Failure {
    fn from(error: TlsFilesError) -> Self {
        let next = match error {
            TlsFilesError::Io { .. } => "give an existing file that this user can read",
            TlsFilesError::Empty { .. } => {
                "--ca and --cert expect PEM certificates, --key an unencrypted PEM key"
            }
            TlsFilesError::NoAuthorities => "give the broker's CA with --ca",
            TlsFilesError::Unfit(_) => "give the private key of the --cert certificate with --key",
        };
        Self::usage(error, next)
    }
}

impl TlsFiles {
    /// Whether any file is named.
    pub const fn is_named(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some()
    }

    /// Reads them into TLS settings.
    ///
    /// # Errors
    /// [`TlsFilesError`].
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsFilesError> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(path) => certificates(path)?.into_iter().try_for_each(|root| roots.add(root))?,
            None => {
                // Those of the system's that cannot be used are not needed, where others can.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsFilesError::NoAuthorities);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(Arc::new(match &self.identity {
            Some((certificate, key)) => {
                config.with_client_auth_cert(certificates(certificate)?, secret_key(key)?)?
            }
            None => config.with_no_client_auth(),
        }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFilesError> {
    read_input(path).map_err(|source| TlsFilesError::Io { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsFilesError::Empty { path: path.to_owned(), what: "certificate" }),
    }
}

fn secret_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFilesError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| TlsFilesError::Empty { path: path.to_owned(), what: "secret key" })
}

/// Why one side does not trust the other.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TlsTrustError {
    /// No trusted authority has signed the broker's certificate.
    #[error("its certificate is not signed by a CA that this host trusts")]
    UnknownAuthority,
    /// The certificate has another name.
    #[error("its certificate is for another name")]
    OtherName,
    /// The certificate has expired, or is not yet valid.
    #[error("its certificate is not valid now")]
    Expired,
    /// The broker does not trust this host.
    #[error("it does not trust this host: {0}")]
    Refused(String),
    /// Anything else.
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

impl TlsTrustError {
    /// The trust error among the causes of `error`, if there is one.
    pub fn behind(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let within = within.and_then(|error| error.downcast_ref::<rustls::Error>());
            if let Some(error) = error.downcast_ref().or(within) {
                return Some(Self::of(error));
            }
            cause = error.source();
        }
        None
    }

    fn of(error: &rustls::Error) -> Self {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        match error {
            InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UnknownAuthority
            }
            InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName,
            InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::Expired,
            AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }

    /// What to do about it.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::UnknownAuthority => "give the CA that signed the broker's certificate with --ca",
            Self::OtherName => "use the host name in the broker's certificate with --broker",
            Self::Expired => "renew the broker's certificate, or set this machine's clock",
            Self::Refused(_) => "give a certificate that the broker trusts with --cert and --key",
            Self::Other(_) => "check that this is the broker's TLS port; for the plain port use mqtt://",
        }
    }
}
