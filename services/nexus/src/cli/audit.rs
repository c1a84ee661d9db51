//! `nexus audit`: what the gateway tells of the audit log, and the proof that it is whole. The proof
//! talks to the servers itself: whoever verifies does not want to trust one more program.

use std::path::PathBuf;

use nexus_events::Tenant;
use nexus_projections::{
    AuditHash, AuditHead, ChainReport, Compared, Projections, Side, compare_audit,
};
use serde_json::{Value, json};

use super::ask::Asker;
use super::ask::audit::AuditVerb;
use super::audit_archive;
use super::endpoint::{Connection, Servers};
use super::error::CliError;
use super::exit::Exit;
use super::format::count;
use super::http::Gateway;
use super::print::{self, Output, hint};
use super::projections::{Teller, failed};
use super::servers;
use super::style::{Style, Tone, printable};
use super::table::{Align, Cell, Table};

/// The audit log.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Ask(AuditVerb),
    /// Where each tenant's chain ends: keep it elsewhere, and `verify --head` proves it later
    Head,
    /// Keep the chains as files, each entry a line: what is new is added. Retention takes away only
    /// what is archived; of one tenant with --tenant
    Archive {
        /// A folder that outlives the database
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Read what is there instead, and prove that the chains are whole
        #[arg(long)]
        check: bool,
    },
    /// Prove that no entry was changed, removed or reordered; of one tenant with --tenant
    Verify {
        /// Compare the entries with what the log gives, too; takes as long as a rebuild
        #[arg(long)]
        from_log: bool,
        /// A chain must pass through this, which `audit head` printed; may be repeated
        #[arg(long = "head", value_name = "SEQ:HASH", value_parser = parse_head)]
        heads: Vec<(u64, AuditHash)>,
    },
}

/// `nexus audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
///
/// # Errors
/// [`CliError`].
pub(crate) async fn run(args: AuditArgs) -> Result<Exit, CliError> {
    let (output, connection) = (args.output, &args.connection);
    match &args.verb {
        Verb::Ask(_) => {}
        Verb::Head => {
            let projections = servers::projections(&args.servers, connection).await?;
            let tenant = tenant(connection)?;
            let heads = projections.audit_heads(tenant.as_ref()).await;
            let heads = heads.map_err(CliError::server("Postgres"))?;
            return show_heads(output, &heads);
        }
        Verb::Archive { dir, check: true } => {
            return show_heads(output, &audit_archive::check(dir)?);
        }
        Verb::Archive { dir, check: false } => {
            let projections = servers::projections(&args.servers, connection).await?;
            let tenants = match tenant(connection)? {
                Some(tenant) => vec![tenant],
                None => (projections.audit_tenants().await)
                    .map_err(CliError::server("Postgres"))?
                    .iter()
                    .filter_map(|tenant| tenant.parse().ok())
                    .collect(),
            };
            let heads = audit_archive::archive(&projections, dir, &tenants).await?;
            return show_heads(output, &heads);
        }
        Verb::Verify { from_log, heads } => {
            let projections = servers::projections(&args.servers, connection).await?;
            let tenant = tenant(connection)?;
            let work = async {
                let chains = walk(&projections, tenant.as_ref(), heads).await?;
                let log = match from_log {
                    true => Some(compare(&args, &projections, tenant.as_ref()).await?),
                    false => None,
                };
                Ok(Proof::new(chains, heads, log))
            };
            let proof: Result<Proof, CliError> = tokio::select! {
                proof = work => proof,
                _ = tokio::signal::ctrl_c() => {
                    hint("stopped; nothing is proved");
                    return Ok(Exit::Cancelled);
                }
            };
            return show(output, &proof?);
        }
    }
    let Verb::Ask(verb) = args.verb else {
        return Ok(Exit::Done);
    };
    let gateway = Gateway::new(&args.connection)?;
    verb.run(&Asker { gateway, output }).await?;
    Ok(Exit::Done)
}

/// What was verified, and what was found.
struct Proof {
    chains: Vec<ChainReport>,
    /// Heads that no chain passes through.
    missed: Vec<(u64, AuditHash)>,
    log: Option<Compared>,
}

impl Proof {
    fn new(chains: Vec<ChainReport>, heads: &[(u64, AuditHash)], log: Option<Compared>) -> Self {
        let passed = |head| chains.iter().any(|chain| chain.passed.contains(head));
        let missed = heads.iter().filter(|head| !passed(head)).copied().collect();
        Self {
            chains,
            missed,
            log,
        }
    }

    fn is_whole(&self) -> bool {
        self.missed.is_empty()
            && self.chains.iter().all(|chain| chain.broken.is_none())
            && (self.log.as_ref()).is_none_or(|log| log.differences.is_empty())
    }
}

async fn walk(
    projections: &Projections,
    tenant: Option<&Tenant>,
    heads: &[(u64, AuditHash)],
) -> Result<Vec<ChainReport>, CliError> {
    let tenants = match tenant {
        Some(tenant) => vec![tenant.to_string()],
        None => projections
            .audit_tenants()
            .await
            .map_err(CliError::server("Postgres"))?,
    };
    let mut teller = Teller::new("verifying");
    let mut chains = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let mut tell = |entries| {
            teller.show(|| format!("verifying {tenant}: {} entries", count(entries)));
        };
        let report = projections.verify_audit(&tenant, heads, &mut tell).await;
        chains.push(report.map_err(CliError::server("Postgres"))?);
    }
    teller.end();
    Ok(chains)
}

async fn compare(
    args: &AuditArgs,
    projections: &Projections,
    tenant: Option<&Tenant>,
) -> Result<Compared, CliError> {
    let bus = servers::bus(&args.servers, &args.connection).await?;
    let mut teller = Teller::new("reading the log");
    let mut tell = |progress| teller.tell(progress);
    let (js, stream) = (bus.jetstream().clone(), nexus_bus::topology::EVENTS);
    let compared = compare_audit(projections, js, stream, tenant, &mut tell).await;
    teller.end();
    compared.map_err(failed)
}

fn show_heads(output: Output, heads: &[AuditHead]) -> Result<Exit, CliError> {
    if output.json {
        output.value(&json!({ "items": heads }))?;
        return Ok(Exit::Done);
    }
    let columns = [
        ("TENANT", Align::Left),
        ("ENTRIES", Align::Right),
        ("HEAD", Align::Left),
    ];
    let mut table = Table::new(columns);
    for head in heads {
        table.row(vec![
            Cell::plain(printable(&head.tenant)),
            Cell::plain(count(head.number)),
            Cell::plain(format!("{}:{}", head.seq, head.hash)),
        ]);
    }
    print::write(&table.render(Style::stdout()))?;
    Ok(Exit::Done)
}

fn show(output: Output, proof: &Proof) -> Result<Exit, CliError> {
    if output.json {
        output.value(&as_json(proof))?;
    } else {
        print::write(&render(proof, Style::stdout()))?;
    }
    Ok(match proof.is_whole() {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn as_json(proof: &Proof) -> Value {
    let missed: Vec<_> = (proof.missed.iter())
        .map(|(seq, hash)| format!("{seq}:{hash}"))
        .collect();
    json!({
        "whole": proof.is_whole(), "tenants": proof.chains, "missed_heads": missed,
        "log": proof.log,
    })
}

fn render(proof: &Proof, style: Style) -> String {
    let columns = [
        ("TENANT", Align::Left),
        ("ENTRIES", Align::Right),
        ("LAST SEQ", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(columns);
    for chain in &proof.chains {
        let (word, tone) = match chain.broken {
            None => ("whole", Tone::Good),
            Some(_) => ("broken", Tone::Bad),
        };
        let last = chain.head.as_ref().map(|head| count(head.seq));
        table.row(vec![
            Cell::plain(printable(&chain.tenant)),
            Cell::plain(count(chain.entries)),
            Cell::plain(last.unwrap_or_default()),
            Cell::toned(word, tone),
        ]);
    }
    let mut out = table.render(style);
    for line in faults(proof) {
        out.push_str(&format!("\n{}\n", printable(&line)));
    }
    if proof.is_whole() {
        out.push_str("\nNo entry was changed, removed or reordered.\n");
    }
    out
}

/// What is wrong, a sentence each.
fn faults(proof: &Proof) -> Vec<String> {
    let mut out = vec![];
    for chain in &proof.chains {
        if let Some(broken) = &chain.broken {
            let fault = serde_json::to_value(broken.fault).unwrap_or_default();
            out.push(format!(
                "{}: {} at sequence {}.{} (entry {}): {}",
                chain.tenant,
                fault.as_str().unwrap_or_default(),
                broken.seq,
                broken.position,
                broken.number,
                broken.detail
            ));
        }
    }
    for (seq, hash) in &proof.missed {
        out.push(format!(
            "no chain passes through {seq}:{hash}: it was hashed anew after that was printed, or is \
             of another tenant"
        ));
    }
    for found in proof.log.iter().flat_map(|log| &log.differences) {
        let what = match found.side {
            Side::Table => "is in the table and not in the log",
            Side::Log => "is in the log and not in the table",
            Side::Both => "is not in the table as the log gives it",
        };
        out.push(format!(
            "{}: the first entry that differs, at sequence {}.{}, {what}",
            found.tenant, found.seq, found.position
        ));
    }
    out
}

fn tenant(connection: &Connection) -> Result<Option<Tenant>, CliError> {
    let tenant = connection.tenant.as_deref().map(str::parse).transpose();
    tenant.map_err(|error: nexus_events::ids::InvalidId| CliError::Usage(error.to_string()))
}

/// `SEQ:HASH`.
fn parse_head(text: &str) -> Result<(u64, AuditHash), String> {
    let wrong = || format!("{text:?} is not SEQ:HASH, as `nexus audit head` prints it");
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let seq = seq.parse().map_err(|_| wrong())?;
    let hash = hash.parse().map_err(|_| wrong())?;
    Ok((seq, hash))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_projections::{AuditDifference, ChainBreak, Fault};

    use super::*;

    fn chain(tenant: &str, broken: Option<ChainBreak>) -> ChainReport {
        let head = AuditHead {
            tenant: tenant.to_owned(),
            number: 1_200,
            seq: 4_711,
            position: 1,
            hash: AuditHash::ZERO,
        };
        ChainReport {
            tenant: tenant.to_owned(),
            entries: 1_200,
            head: broken.is_none().then_some(head),
            broken,
            archived: 0,
            passed: vec![(4_711, AuditHash::ZERO)],
        }
    }

    #[test]
    fn a_whole_chain_says_so() {
        let passed = (4_711, AuditHash::ZERO);
        let proof = Proof::new(vec![chain("acme", None)], &[passed], None);
        let expected = "\
TENANT  ENTRIES  LAST SEQ
acme      1,200     4,711  whole

No entry was changed, removed or reordered.
";
        assert_eq!(render(&proof, Style::PLAIN), expected);
        assert_eq!(as_json(&proof)["whole"], true);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let broken = ChainBreak {
            fault: Fault::Changed,
            seq: 4_000,
            position: 2,
            number: 1_201,
            detail: "its hash is not the hash of what it holds".to_owned(),
        };
        let log = Compared {
            from_seq: 1,
            to_seq: 5_000,
            entries: 9,
            differences: vec![AuditDifference {
                tenant: "acme".to_owned(),
                seq: 4_000,
                position: 2,
                side: Side::Both,
            }],
        };
        let missed = (7, AuditHash::ZERO);
        let chains = vec![chain("acme", Some(broken)), chain("globex", None)];
        let proof = Proof::new(chains, &[missed], Some(log));
        let zeros = AuditHash::ZERO;
        let expected = format!(
            "\
TENANT  ENTRIES  LAST SEQ
acme      1,200            broken
globex    1,200     4,711  whole

acme: changed at sequence 4000.2 (entry 1201): its hash is not the hash of what it holds

no chain passes through 7:{zeros}: it was hashed anew after that was printed, or is of another tenant

acme: the first entry that differs, at sequence 4000.2, is not in the table as the log gives it
"
        );
        assert_eq!(render(&proof, Style::PLAIN), expected);
        let shown = as_json(&proof);
        assert_eq!(shown["tenants"][0]["broken"]["fault"], "changed");
        assert_eq!(shown["log"]["differences"][0]["side"], "both");
        assert_eq!(shown["whole"], false);
    }

    #[test]
    fn a_head_is_read_as_it_was_printed() {
        let text = format!("12:{}", AuditHash::ZERO);
        assert_eq!(parse_head(&text).unwrap(), (12, AuditHash::ZERO));
        for bad in ["", "12", "12:abc", &format!("x:{}", AuditHash::ZERO)] {
            assert!(parse_head(bad).is_err(), "{bad}");
        }
    }
}
