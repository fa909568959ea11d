//! The server's certificate: issued by the directory's own authority or given as files, renewed while listeners use it.

mod names;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use drover_model::Clock;
use drover_trust::{Authority, Renewable, ServerCertificate, SubjectName};
use serde::Deserialize;

pub use names::server_names;

use crate::config::Range;
use crate::{DataDir, Section, Stop};

/// Life of a certificate that is issued here.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// How often age, names and files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Section `[tls]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Names beyond those of this machine.
    pub names: Vec<String>,
    /// Chain to use instead of an issued one; empty for none.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl TlsSettings {
    /// The files of a certificate that was not issued here.
    fn files(&self) -> Option<(PathBuf, PathBuf)> {
        let given = !self.certificate_file.as_os_str().is_empty();
        given.then(|| (self.certificate_file.clone(), self.key_file.clone()))
    }
}

impl Section for TlsSettings {
    const RANGES: &'static [Range] = &[];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(error) = server_names(&self.names) {
            problems.push(("names", error.to_string()));
        }
        let is_given = |path: &PathBuf| !path.as_os_str().is_empty();
        if is_given(&self.certificate_file) != is_given(&self.key_file) {
            problems.push((
                "certificate_file",
                "it and tls.key_file belong together: give both or none".to_owned(),
            ));
        } else if let Some((certificate, key)) = self.files()
            && let Err(error) = read_files(&certificate, &key)
        {
            problems.push(("certificate_file", format!("{error:#}")));
        }
        problems
    }
}

/// The certificate in use and where the next one comes from.
pub struct Certificates {
    renewable: Arc<Renewable>,
    source: Source,
    clock: Clock,
    current: Mutex<ServerCertificate>,
}

enum Source {
    Issued {
        data_dir: Arc<DataDir>,
        authority: Box<Authority>,
        names: Box<dyn Fn() -> Vec<SubjectName> + Send + Sync>,
    },
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

impl Certificates {
    /// Loads the certificate, or issues the first. `names` is asked again at every check.
    ///
    /// # Errors
    /// Unreadable files, named.
    pub fn open(
        data_dir: &Arc<DataDir>,
        settings: &TlsSettings,
        clock: Clock,
        names: impl Fn() -> Vec<SubjectName> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let (source, current) = match settings.files() {
            None => {
                let authority = authority(data_dir, &clock)?;
                let names = Box::new(names);
                let current = kept_or_issued(data_dir, &authority, &names(), &clock)?;
                (
                    Source::Issued { data_dir: data_dir.clone(), authority: Box::new(authority), names },
                    current,
                )
            }
            Some((certificate, key)) => {
                let current = read_files(&certificate, &key)?;
                (Source::Files { certificate, key }, current)
            }
        };
        let renewable = Arc::new(Renewable::new(current.certified_key()?));
        Ok(Self { renewable, source, clock, current: Mutex::new(current) })
    }

    /// What listeners ask for the certificate.
    pub fn resolver(&self) -> Arc<Renewable> {
        self.renewable.clone()
    }

    /// Puts a new certificate in place when the old one is due, lacks a name, or its files changed. True when it did.
    ///
    /// # Errors
    /// The old certificate stays in use.
    pub fn check(&self) -> anyhow::Result<bool> {
        let old = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let new = match &self.source {
            Source::Issued { data_dir, authority, names } => {
                let names = names();
                if old.names == names && !old.is_due(self.clock.now()) {
                    return Ok(false);
                }
                issue(data_dir, authority, &names, &self.clock)?
            }
            Source::Files { certificate, key } => {
                let new = read_files(certificate, key)?;
                if new.chain_pem == old.chain_pem && new.key_pem == old.key_pem {
                    return Ok(false);
                }
                new
            }
        };
        self.renewable.set(new.certified_key()?);
        tracing::info!("the server's certificate is new and valid until {}", new.not_after);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// Checks now and then until the process stops. A failure is said once, not every minute.
    pub(crate) async fn keep(self, stop: Stop) -> anyhow::Result<()> {
        let mut failing = false;
        while tokio::time::timeout(CHECK_INTERVAL, stop.finish()).await.is_err() {
            match self.check() {
                Ok(_) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!("the server's certificate stays the old one: {error:#}");
                    }
                    failing = true;
                }
            }
        }
        Ok(())
    }
}

/// The directory's authority, which the first start makes.
fn authority(data_dir: &DataDir, clock: &Clock) -> anyhow::Result<Authority> {
    match (data_dir.read("ca.crt")?, data_dir.read("ca.key")?) {
        (Some(certificate), Some(key)) => Authority::from_pem(certificate, &key)
            .map_err(|error| data_dir.damaged("ca.crt", &error.to_string()).into()),
        // A key alone is what a first start leaves that was killed between the two files.
        (None, _) => {
            let authority = Authority::generate("Drover CA", clock.now())?;
            data_dir.write_secret("ca.key", &authority.key_pem())?;
            data_dir.write_public("ca.crt", authority.certificate_pem())?;
            Ok(authority)
        }
        (Some(_), None) => Err(data_dir.damaged("ca.key", "the key of ca.crt is missing").into()),
    }
}

fn kept_or_issued(
    data_dir: &DataDir,
    authority: &Authority,
    names: &[SubjectName],
    clock: &Clock,
) -> anyhow::Result<ServerCertificate> {
    if let (Some(chain), Some(key)) = (data_dir.read("server.crt")?, data_dir.read("server.key")?)
        && chain.ends_with(authority.certificate_pem())
        && let Ok(kept) = ServerCertificate::from_pem(chain, key)
        && kept.names == names
        && !kept.is_due(clock.now())
    {
        return Ok(kept);
    }
    issue(data_dir, authority, names, clock)
}

fn issue(
    data_dir: &DataDir,
    authority: &Authority,
    names: &[SubjectName],
    clock: &Clock,
) -> anyhow::Result<ServerCertificate> {
    let certificate = authority.issue_server(names, clock.now(), LIFETIME)?;
    data_dir.write_secret("server.key", &certificate.key_pem)?;
    data_dir.write_public("server.crt", &certificate.chain_pem)?;
    Ok(certificate)
}

fn read_files(certificate: &PathBuf, key: &PathBuf) -> anyhow::Result<ServerCertificate> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let pair = || format!("{} and {}", certificate.display(), key.display());
    let pair_of = ServerCertificate::from_pem(read(certificate)?, read(key)?).with_context(pair)?;
    pair_of.certified_key().with_context(pair)?;
    Ok(pair_of)
}
