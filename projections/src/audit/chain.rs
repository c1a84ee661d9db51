//! The end of each tenant's chain, in the table `audit_heads` and in the projector's memory. In
//! memory it is a cache: read when a tenant first has an entry, and thrown away whenever a
//! transaction fails.

use std::collections::{BTreeSet, HashMap, HashSet};

use nexus_events::{RunId, Tenant};
use sqlx::PgConnection;
use uuid::Uuid;

use super::draft::Draft;
use super::entry::{AuditHash, AuditRow};
use crate::fold::col;
use crate::query::{unsigned, unsigned32};
use crate::text;

/// Tenants that are remembered. More are read again.
const MOST: usize = 65_536;

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    number: u64,
    seq: u64,
    position: u32,
    hash: AuditHash,
}

impl Head {
    const NONE: Self = Self {
        number: 0,
        seq: 0,
        position: 0,
        hash: AuditHash::ZERO,
    };
}

/// The ends of the chains.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    heads: HashMap<Tenant, Head>,
}

/// Who started a run.
pub(crate) type Owners = HashMap<(Tenant, RunId), String>;

impl Chains {
    /// Gives drafts their places, in their order. What a chain has passed is left out.
    pub(crate) async fn link(
        &mut self,
        db: &mut PgConnection,
        drafts: &[Draft],
        begun: &Owners,
    ) -> sqlx::Result<Vec<AuditRow>> {
        self.read(db, drafts).await?;
        let fresh: Vec<&Draft> = drafts.iter().filter(|draft| !self.has(draft)).collect();
        let owners = read_owners(db, &fresh, begun).await?;
        let mut rows = Vec::with_capacity(fresh.len());
        for draft in fresh {
            let run = draft.run.map(|run| (draft.tenant.clone(), run));
            let owner = run.and_then(|run| begun.get(&run).or_else(|| owners.get(&run)));
            let head = self.heads.entry(draft.tenant.clone()).or_insert(Head::NONE);
            let row = draft.finish(owner.map(String::as_str), (head.number + 1, head.hash));
            *head = Head {
                number: row.number,
                seq: row.seq,
                position: row.position,
                hash: row.hash,
            };
            rows.push(row);
        }
        Ok(rows)
    }

    /// Writes the ends of the chains that these entries belong to.
    pub(crate) async fn write(&self, db: &mut PgConnection, rows: &[AuditRow]) -> sqlx::Result<()> {
        let tenants: BTreeSet<&Tenant> = rows.iter().map(|row| &row.tenant).collect();
        let heads: Vec<(&Tenant, &Head)> = tenants
            .into_iter()
            .filter_map(|tenant| Some((tenant, self.heads.get(tenant)?)))
            .collect();
        sqlx::query!(
            "INSERT INTO audit_heads (tenant, number, seq, position, hash)
             SELECT * FROM UNNEST($1::text[], $2::int8[], $3::int8[], $4::int4[], $5::bytea[])
             ON CONFLICT (tenant) DO UPDATE SET number = excluded.number, seq = excluded.seq,
                 position = excluded.position, hash = excluded.hash",
            col(&heads, |(tenant, _)| tenant.as_str()) as _,
            &col(&heads, |(_, head)| text::seq(head.number)),
            &col(&heads, |(_, head)| text::seq(head.seq)),
            &col(&heads, |(_, head)| text::small(u64::from(head.position))),
            &col(&heads, |(_, head)| head.hash.to_vec()),
        )
        .execute(db)
        .await?;
        Ok(())
    }

    fn has(&self, draft: &Draft) -> bool {
        self.heads
            .get(&draft.tenant)
            .is_some_and(|head| (draft.seq, draft.position) <= (head.seq, head.position))
    }

    /// Reads the ends of chains that are not known here.
    async fn read(&mut self, db: &mut PgConnection, drafts: &[Draft]) -> sqlx::Result<()> {
        if self.heads.len() > MOST {
            self.heads.clear();
        }
        let unknown: HashSet<&str> = drafts
            .iter()
            .filter(|draft| !self.heads.contains_key(&draft.tenant))
            .map(|draft| draft.tenant.as_str())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let rows = sqlx::query!(
            "SELECT h.tenant, h.number, h.seq, h.position, h.hash
             FROM UNNEST($1::text[]) AS u(tenant) JOIN audit_heads h ON h.tenant = u.tenant",
            unknown as _,
        )
        .fetch_all(db)
        .await?;
        for row in rows {
            let (Ok(tenant), Some(hash)) = (row.tenant.parse(), AuditHash::from_slice(&row.hash))
            else {
                continue;
            };
            let head = Head {
                number: unsigned(row.number),
                seq: unsigned(row.seq),
                position: unsigned32(row.position),
                hash,
            };
            self.heads.insert(tenant, head);
        }
        Ok(())
    }
}

/// Finds who started the runs of entries in which nobody acted and that did not begin in this batch.
async fn read_owners(
    db: &mut PgConnection,
    drafts: &[&Draft],
    begun: &Owners,
) -> sqlx::Result<Owners> {
    let mut wanted: HashSet<Uuid> = HashSet::new();
    for draft in drafts.iter().filter(|draft| draft.user.is_none()) {
        if let Some(run) = draft.run
            && !begun.contains_key(&(draft.tenant.clone(), run))
        {
            wanted.insert(run.uuid());
        }
    }
    let mut owners = Owners::new();
    if wanted.is_empty() {
        return Ok(owners);
    }
    let wanted: Vec<Uuid> = wanted.into_iter().collect();
    let rows = sqlx::query!(
        "SELECT r.tenant, r.id, r.user_id
         FROM UNNEST($1::uuid[]) AS u(id) JOIN agent_runs r ON r.id = u.id",
        &wanted,
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        if let Ok(tenant) = row.tenant.parse() {
            owners.insert((tenant, RunId::new(row.id)), row.user_id);
        }
    }
    Ok(owners)
}
