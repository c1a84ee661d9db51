//! `nexus audit list` and `nexus audit export`: what the gateway tells.

use super::{Asker, Paging, Query};
use crate::cli::error::CliError;
use crate::cli::fields;
use crate::cli::http::Request;
use crate::cli::print;

/// Who did what, when, to what, and why it was allowed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditVerb {
    /// The newest entries
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        paging: Paging,
    },
    /// All entries that there are now, the oldest first, as JSON Lines with their hashes
    Export {
        #[command(flatten)]
        filter: Filter,
    },
}

/// Which entries.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// By this user
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// This action, or with a final dot all that begin so: `policy.`
    #[arg(long)]
    action: Option<String>,
    /// To this kind of thing: run, session, budget, policy_bundle, route
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
}

impl Filter {
    fn query(self) -> Query<'static> {
        vec![
            ("user", self.by),
            ("action", self.action),
            ("resource_type", self.resource_type),
            ("resource_id", self.resource_id),
            ("since", self.since),
            ("until", self.until),
        ]
    }
}

impl AuditVerb {
    /// Does it.
    ///
    /// # Errors
    /// [`CliError`].
    pub(crate) async fn run(self, asker: &Asker) -> Result<(), CliError> {
        match self {
            Self::List { filter, paging } => {
                let mut query = paging.query();
                query.extend(filter.query());
                asker.list(&["v1", "audit"], query, fields::AUDIT).await
            }
            Self::Export { filter } => {
                let request = Request {
                    path: &["v1", "audit", "export"],
                    query: &filter.query(),
                    ..Request::default()
                };
                asker.gateway.lines(request, print::bytes).await
            }
        }
    }
}
