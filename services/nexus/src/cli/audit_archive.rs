//! `nexus audit archive`: the chains as files, so that retention may take entries out of the tables.
//! A tenant has a folder, an archiving a file or more of at most a hundred thousand entries, a line
//! each as an export has it; names say which. Files are never changed: what is new is in new ones.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use nexus_events::Tenant;
use nexus_projections::query::{AuditFilter, AuditRow};
use nexus_projections::{AuditChain, AuditHead, Projections};

use super::error::CliError;

const SEGMENT: usize = 100_000;
const PAGE: u32 = 1_000;
/// An entry has some 600 bytes; a line that is longer than this is none of ours.
const LONGEST_LINE: usize = 16 << 20;
const ENDING: &str = ".jsonl";

/// Archives what is new of these tenants; gives where each chain ends now.
pub(super) async fn archive(
    projections: &Projections,
    dir: &Path,
    tenants: &[Tenant],
) -> Result<Vec<AuditHead>, CliError> {
    let mut heads = vec![];
    for tenant in tenants {
        let folder = dir.join(tenant.as_str());
        let mut chain = end_of(&folder)?;
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        while segment(projections, tenant, &folder, &mut chain).await? {}
        let head = chain.head(tenant.as_str());
        if head.number > 0 {
            let noted = projections.note_archived(&head).await;
            noted.map_err(CliError::server("Postgres"))?;
            heads.push(head);
        }
    }
    Ok(heads)
}

/// Reads every file of these folders and follows the chains; gives where each ends.
pub(super) fn check(dir: &Path) -> Result<Vec<AuditHead>, CliError> {
    let mut heads = vec![];
    let mut folders: Vec<PathBuf> = (fs::read_dir(dir).map_err(at(dir))?.flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    for folder in folders {
        let mut chain = AuditChain::default();
        for file in files(&folder)? {
            each_line(&file, |row| chain.take(&row).map_err(|gap| gap.to_string()))?;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        heads.push(chain.head(&name));
    }
    Ok(heads)
}

/// Writes the next file; false where nothing was left to write.
async fn segment(
    projections: &Projections,
    tenant: &Tenant,
    folder: &Path,
    chain: &mut AuditChain,
) -> Result<bool, CliError> {
    let filter = AuditFilter::default();
    let temporary = folder.join("unfinished");
    let mut file: Option<BufWriter<File>> = None;
    let first = chain.head(tenant.as_str()).number + 1;
    let mut written = 0;
    while written < SEGMENT {
        let page = projections.audit_after(tenant, &filter, chain.last(), PAGE);
        let page = page.await.map_err(CliError::server("Postgres"))?;
        for row in &page {
            chain.take(row).map_err(|gap| {
                CliError::Archive(format!(
                    "{tenant}: {gap}: this folder is not the archive that the table goes on from, or \
                     the table was changed (`nexus audit verify`)"
                ))
            })?;
            let out = match &mut file {
                Some(out) => out,
                None => {
                    let new = File::create(&temporary).map_err(at(&temporary))?;
                    file.insert(BufWriter::new(new))
                }
            };
            let line = serde_json::to_string(row).map_err(|error| at(&temporary)(error.into()))?;
            writeln!(out, "{line}").map_err(at(&temporary))?;
        }
        written += page.len();
        if page.len() < PAGE as usize {
            break;
        }
    }
    let Some(file) = file else { return Ok(false) };
    let file = (file.into_inner()).map_err(|error| at(&temporary)(error.into_error()))?;
    file.sync_all().map_err(at(&temporary))?;
    let last = chain.head(tenant.as_str()).number;
    let place = folder.join(format!("{first:012}-{last:012}{ENDING}"));
    fs::rename(&temporary, &place).map_err(at(&place))?;
    // The name is on the disk when its folder is.
    let folder_file = File::open(folder).map_err(at(folder))?;
    folder_file.sync_all().map_err(at(folder))?;
    Ok(written >= SEGMENT)
}

/// Where the last file of a folder ends.
fn end_of(folder: &Path) -> Result<AuditChain, CliError> {
    let Some(file) = files(folder)?.pop() else {
        return Ok(AuditChain::default());
    };
    let mut end: Option<AuditRow> = None;
    each_line(&file, |row| {
        end = Some(row);
        Ok(())
    })?;
    Ok(end.as_ref().map(AuditChain::after).unwrap_or_default())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(at(folder))?,
    };
    let ours = |path: &PathBuf| path.to_string_lossy().ends_with(ENDING);
    let mut files: Vec<PathBuf> = read
        .flatten()
        .map(|entry| entry.path())
        .filter(ours)
        .collect();
    files.sort();
    Ok(files)
}

fn each_line(
    path: &Path,
    mut take: impl FnMut(AuditRow) -> Result<(), String>,
) -> Result<(), CliError> {
    let mut reader = BufReader::new(File::open(path).map_err(at(path))?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let mut bounded = io::Read::take(&mut reader, LONGEST_LINE as u64);
        if bounded.read_line(&mut line).map_err(at(path))? == 0 {
            break;
        }
        let row = serde_json::from_str(&line).map_err(|error| error.to_string());
        row.and_then(&mut take).map_err(|why| {
            CliError::Archive(format!("{}, line {number}: {why}", path.display()))
        })?;
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    CliError::io(path.display().to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_projections::AuditHash;
    use serde_json::json;

    use super::*;

    fn entry(number: u64, prev_hash: AuditHash) -> AuditRow {
        let mut row: AuditRow = serde_json::from_value(json!({
            "v": 1, "tenant": "acme", "number": number, "seq": number * 3, "position": 1,
            "id": "00000000-0003-8000-8000-000000000001", "user_id": "ada",
            "action": "run.started", "resource_type": "run", "resource_id": null,
            "reason": "so", "details": { "n": number }, "ip_address": "203.0.113.7",
            "user_agent": null, "created_at": "2026-11-23T01:02:03.004Z",
            "prev_hash": prev_hash, "hash": AuditHash::ZERO,
        }))
        .unwrap();
        row.hash = row.hash_after(prev_hash);
        row
    }

    /// Two files of three entries each.
    fn archived(dir: &Path) -> Vec<PathBuf> {
        let folder = dir.join("acme");
        fs::create_dir_all(&folder).unwrap();
        let mut prev = AuditHash::ZERO;
        let mut paths = vec![];
        for first in [1, 4] {
            let mut text = String::new();
            for number in first..first + 3 {
                let row = entry(number, prev);
                prev = row.hash;
                text.push_str(&format!("{}\n", serde_json::to_string(&row).unwrap()));
            }
            let path = folder.join(format!("{first:012}-{:012}{ENDING}", first + 2));
            fs::write(&path, text).unwrap();
            paths.push(path);
        }
        paths
    }

    #[test]
    fn an_archive_is_followed_from_file_to_file() {
        let dir = tempfile::tempdir().unwrap();
        let paths = archived(dir.path());
        let heads = check(dir.path()).unwrap();
        let ends: Vec<_> = heads.iter().map(|head| (head.number, head.seq)).collect();
        assert_eq!(ends, [(6, 18)]);
        let end = end_of(&dir.path().join("acme")).unwrap().head("acme");
        assert_eq!(Some(&end), heads.first());

        let text = fs::read_to_string(&paths[1]).unwrap();
        fs::write(&paths[1], text.replacen("ada", "eve", 1)).unwrap();
        let error = check(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("line 1: entry 4 is not what was recorded"),
            "{error}"
        );

        fs::remove_file(&paths[0]).unwrap();
        let error = check(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("entry 4 comes where entry 1 should be"),
            "{error}"
        );
    }

    #[test]
    fn an_archive_that_is_not_there_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let end = end_of(&dir.path().join("acme")).unwrap();
        assert_eq!(end.head("acme").number, 0);
        assert!(check(dir.path()).unwrap().is_empty());
    }
}
