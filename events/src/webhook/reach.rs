//! Where webhooks may go: `https` to public addresses, and beside that what the operator names. The
//! ranges are those of tools. A name is checked when it is resolved, each time, by whoever connects;
//! what can be told from the address alone is told when a webhook is created.

use std::net::IpAddr;

use url::Url;

use crate::error::DomainError;
use crate::tool::Host;
use crate::tool::address::{AddressPattern, special};

const MOST_URL_BYTES: usize = 2_048;

/// Where webhooks may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether `http` will do.
    pub http: bool,
    /// Addresses that may be called although they are not public.
    pub private: Vec<AddressPattern>,
}

/// An entry of `allow_private` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {reason}")]
pub struct UnknownAddress {
    entry: String,
    reason: &'static str,
}

impl Reach {
    /// Reads what the configuration says.
    ///
    /// # Errors
    /// [`UnknownAddress`].
    pub fn new(http: bool, private: &[String]) -> Result<Self, UnknownAddress> {
        let read = |entry: &String| {
            entry.parse().map_err(|reason| UnknownAddress {
                entry: entry.chars().take(64).collect(),
                reason,
            })
        };
        let private = private.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { http, private })
    }

    /// Whether an address may be called.
    ///
    /// # Errors
    /// Why not, and what would allow it.
    pub fn check(&self, address: IpAddr) -> Result<(), String> {
        match special(address) {
            Some(what) if !self.private.iter().any(|one| one.matches(address)) => Err(format!(
                "{address} is {what}: webhooks go there only where allow_private in [webhooks] \
                 names it"
            )),
            _ => Ok(()),
        }
    }

    /// Reads a receiver's address as the client that calls it does.
    ///
    /// # Errors
    /// [`DomainError`]: what is wrong with it.
    pub fn url(&self, text: &str) -> Result<(Url, Host), DomainError> {
        let wrong = |reason: &str| DomainError::invalid("url", reason);
        if text.len() > MOST_URL_BYTES {
            return Err(wrong("it is longer than 2,048 bytes"));
        }
        let url =
            Url::parse(text).map_err(|_| wrong("it is no address such as https://host/path"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => {
                return Err(wrong(
                    "it must begin with https://, unless allow_http in [webhooks] says otherwise",
                ));
            }
            _ => return Err(wrong("it must begin with https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must have no name and no password in it"));
        }
        if url.fragment().is_some() {
            return Err(wrong("it must have no fragment"));
        }
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        let host = Host::parse(host).map_err(|reason| wrong(&format!("its host {reason}")))?;
        let stands_for = match &host {
            Host::Address(address) => Some(*address),
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => {
                Some(IpAddr::from([127, 0, 0, 1]))
            }
            Host::Name(_) => None,
        };
        if let Some(address) = stands_for {
            self.check(address).map_err(|reason| wrong(&reason))?;
        }
        Ok((url, host))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn only_https_to_public_addresses_unless_said_otherwise() {
        let strict = Reach::default();
        for good in [
            "https://example.com/hook?a=1",
            "https://93.184.216.34:8443/",
        ] {
            strict.url(good).unwrap();
        }
        for bad in [
            "http://example.com/",
            "ftp://example.com/",
            "https://",
            "nonsense",
            "https://user:pass@example.com/",
            "https://example.com/#part",
            "https://127.0.0.1/",
            "https://localhost/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://192.168.0.7/",
            &format!("https://example.com/{}", "a".repeat(2_048)),
        ] {
            let error = strict.url(bad).unwrap_err().to_string();
            assert!(error.starts_with("url: "), "{bad}: {error}");
        }
        let error = strict.url("https://10.0.0.1/").unwrap_err().to_string();
        assert!(error.contains("allow_private"), "{error}");

        let open = Reach::new(true, &["127.0.0.0/8".to_owned()]).unwrap();
        open.url("http://127.0.0.1:9000/hook").unwrap();
        open.url("http://localhost:9000/hook").unwrap();
        assert!(open.url("http://10.0.0.1/").is_err());
        assert!(Reach::new(true, &["home".to_owned()]).is_err());
    }
}
