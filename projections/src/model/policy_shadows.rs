//! `policy_shadows`: how often a bundle in shadow was asked, and how often it answered otherwise than
//! the one that decided. Counts, not rows: the differences themselves are on the runs.

use nexus_events::policy::{Difference, ShadowDecided};
use nexus_events::run::RunEvent;
use nexus_events::{Tenant, Timestamp};
use sqlx::PgConnection;

use crate::fold::{At, Rows, col};
use crate::text;

/// What a batch adds.
#[derive(Debug, Default)]
pub(crate) struct PolicyShadows {
    rows: Rows<(Tenant, String), Row>,
}

#[derive(Debug)]
struct Row {
    tenant: Tenant,
    bundle: String,
    decisions: i64,
    /// In the order of [`Difference::ALL`].
    differences: [i64; Difference::ALL.len()],
    first: Timestamp,
    last: Timestamp,
    seq: u64,
}

impl Row {
    fn new(at: &At<'_>, bundle: &str) -> Self {
        Self {
            tenant: at.tenant.clone(),
            bundle: text::name(bundle),
            decisions: 0,
            differences: [0; Difference::ALL.len()],
            first: at.time,
            last: at.time,
            seq: at.seq,
        }
    }

    fn add(&mut self, at: &At<'_>, shadow: &ShadowDecided) {
        self.decisions += 1;
        for (count, kind) in self.differences.iter_mut().zip(Difference::ALL) {
            *count += i64::from(shadow.differs == Some(kind));
        }
        self.last = at.time;
        self.seq = at.seq;
    }

    fn of(&self, kind: Difference) -> i64 {
        let mut counts = self.differences.iter().zip(Difference::ALL);
        counts
            .find(|(_, known)| *known == kind)
            .map_or(0, |(count, _)| *count)
    }
}

impl PolicyShadows {
    pub(crate) fn run(&mut self, at: &At<'_>, event: &RunEvent) {
        if let RunEvent::PolicyDecided(decided) = event
            && let Some(shadow) = &decided.shadow
        {
            let key = (at.tenant.clone(), shadow.bundle.clone());
            let row = self.rows.entry(key, || Row::new(at, &shadow.bundle));
            row.add(at, shadow);
        }
    }

    pub(crate) async fn write(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let rows = self.rows.all();
        if rows.is_empty() {
            return Ok(());
        }
        let of = |kind: Difference| col(rows, |row| row.of(kind));
        sqlx::query!(
            "INSERT INTO policy_shadows AS old (tenant, bundle, decisions, differences,
                 would_allow, would_deny, would_ask, other_approval, other_obligations, failed,
                 first_at, last_at, seq)
             SELECT * FROM UNNEST($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[],
                 $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],
                 $11::timestamptz[], $12::timestamptz[], $13::int8[])
             ON CONFLICT (tenant, bundle) DO UPDATE SET
                 decisions = old.decisions + EXCLUDED.decisions,
                 differences = old.differences + EXCLUDED.differences,
                 would_allow = old.would_allow + EXCLUDED.would_allow,
                 would_deny = old.would_deny + EXCLUDED.would_deny,
                 would_ask = old.would_ask + EXCLUDED.would_ask,
                 other_approval = old.other_approval + EXCLUDED.other_approval,
                 other_obligations = old.other_obligations + EXCLUDED.other_obligations,
                 failed = old.failed + EXCLUDED.failed,
                 last_at = EXCLUDED.last_at,
                 seq = EXCLUDED.seq
             WHERE old.seq < EXCLUDED.seq",
            col(rows, |row| row.tenant.as_str()) as _,
            col(rows, |row| row.bundle.as_str()) as _,
            &col(rows, |row| row.decisions),
            &col(rows, |row| row.differences.iter().sum::<i64>()),
            &of(Difference::WouldAllow),
            &of(Difference::WouldDeny),
            &of(Difference::WouldAsk),
            &of(Difference::OtherApproval),
            &of(Difference::OtherObligations),
            &of(Difference::Failed),
            &col(rows, |row| text::at(row.first)),
            &col(rows, |row| text::at(row.last)),
            &col(rows, |row| text::seq(row.seq)),
        )
        .execute(db)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use nexus_events::run::{PolicyDecided, PolicyPoint};

    use super::*;
    use crate::fold::testing;

    #[test]
    fn differences_are_counted_by_bundle_and_kind() {
        let tenant: Tenant = "acme".parse().unwrap();
        let mut shadows = PolicyShadows::default();
        let says = |bundle: &str, differs| {
            let mut decided = testing::decided(PolicyPoint::RunStart, true);
            let said = PolicyDecided {
                bundle: bundle.to_owned(),
                ..decided.clone()
            };
            let shadow = ShadowDecided::beside(&decided, said);
            decided.shadow = Some(Box::new(ShadowDecided { differs, ..shadow }));
            RunEvent::from(decided)
        };
        let plain = RunEvent::from(testing::decided(PolicyPoint::RunStart, true));
        let events = [
            says("a", None),
            says("a", Some(Difference::WouldDeny)),
            says("b", Some(Difference::Failed)),
            says("a", Some(Difference::WouldDeny)),
            plain,
        ];
        for (event, seq) in events.iter().zip(1..) {
            let at = At {
                tenant: &tenant,
                seq,
                position: 0,
                time: Timestamp::from_millis(1),
                actor: None,
            };
            shadows.run(&at, event);
        }
        let rows: Vec<_> = shadows.rows.all().iter().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows.iter()
                .map(|row| (row.decisions, row.of(Difference::WouldDeny), row.seq))
                .collect::<Vec<_>>(),
            [(3, 2, 4), (1, 0, 3)]
        );
        assert_eq!(
            rows.iter()
                .map(|row| row.of(Difference::Failed))
                .sum::<i64>(),
            1
        );
    }
}
