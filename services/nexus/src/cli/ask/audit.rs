//! `nexus audit`.

use super::{Asker, Paging};
use crate::cli::error::CliError;
use crate::cli::fields;

/// Who did what, when, to what, and why it was allowed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditVerb {
    /// The newest entries
    List {
        /// By this user
        #[arg(long, value_name = "USER")]
        by: Option<String>,
        /// This action, or with a final dot all that begin so: `policy.`
        #[arg(long)]
        action: Option<String>,
        /// To this kind of thing: run, session, ledger, policy
        #[arg(long, value_name = "KIND")]
        resource_type: Option<String>,
        /// To this thing
        #[arg(long, value_name = "ID")]
        resource_id: Option<String>,
        /// At this time or later, as 2026-11-22T13:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
}

impl AuditVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        let Self::List {
            by,
            action,
            resource_type,
            resource_id,
            since,
            until,
            paging,
        } = self;
        let mut query = paging.query();
        query.extend([
            ("user", by),
            ("action", action),
            ("resource_type", resource_type),
            ("resource_id", resource_id),
            ("since", since),
            ("until", until),
        ]);
        asker.list(&["v1", "audit"], query, fields::AUDIT).await
    }
}
