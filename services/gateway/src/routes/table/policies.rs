//! Who may do what, and who was asked: approvals and bundles of policy.

use nexus_events::command::{
    BacktestPolicy, ExplainPolicy, PublishBundle, RollBackBundle, ShadowBundle, TryPolicy,
};
use nexus_events::policy::{BacktestReport, DryDecision, Explanation};
use nexus_projections::query::ApprovalRow;

use crate::identity::Access;
use crate::routes::control::Reason;
use crate::routes::route::{Route, get, post, put};
use crate::routes::{approvals, lists, policies};

pub(super) fn routes() -> Vec<Route> {
    vec![
        get(
            "/v1/approvals",
            approvals::list,
            "listApprovals",
            "Questions of policy to people, the newest first",
        )
        .query::<approvals::ListQuery>()
        .page::<ApprovalRow>("A page")
        .problems(&[503]),
        get(
            "/v1/approvals/{approval_id}",
            approvals::get,
            "getApproval",
            "One question: what is to be done, who may answer, and who did",
        )
        .query::<lists::At>()
        .answer::<ApprovalRow>(200, "The question")
        .problems(&[404, 503]),
        post(
            "/v1/approvals/{approval_id}/approve",
            approvals::approve,
            "approve",
            "Let it go ahead; policy judges it again with the answer",
        )
        .query::<lists::At>()
        .maybe_body::<approvals::Approval>()
        .answer::<approvals::ApprovalDone>(200, "The caller agrees, now or before")
        .answer::<approvals::ApprovalDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 422, 503]),
        post(
            "/v1/approvals/{approval_id}/deny",
            approvals::deny,
            "deny",
            "Do not let it",
        )
        .query::<lists::At>()
        .maybe_body::<Reason>()
        .answer::<approvals::ApprovalDone>(200, "The caller does not agree, now or before")
        .answer::<approvals::ApprovalDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 413, 415, 503]),
        post(
            "/v1/policies",
            policies::publish,
            "publishPolicy",
            "Publish a bundle of Rego",
        )
        .demands(Access::Manage)
        .body::<PublishBundle>()
        .example(
            r#"{"modules":{"policy.rego":"package nexus.authz\nimport rego.v1\ndefault decision := {\"allow\": true}"}}"#,
        )
        .answer::<policies::PolicyDone>(200, "It compiled, its tests passed, and it is accepted")
        .answer::<policies::PolicyDone>(
            202,
            "Sent; `digest` and `seq` are null until it was compiled",
        )
        .problems(&[413, 415, 422, 503]),
        get(
            "/v1/policies",
            policies::list,
            "listPolicies",
            "Policy bundles, and which one decides",
        )
        .query::<lists::At>()
        .answer::<policies::Bundles>(
            200,
            "The newest first, and the one that ships with the platform",
        )
        .problems(&[503]),
        post(
            "/v1/policies/{digest}/activate",
            policies::activate,
            "activatePolicy",
            "Decide by a bundle from now on",
        )
        .demands(Access::Manage)
        .answer::<policies::PolicyDone>(200, "It decides")
        .answer::<policies::PolicyDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 503]),
        post(
            "/v1/policies/rollback",
            policies::roll_back,
            "rollBackPolicy",
            "Decide by the bundle that was active before this one",
        )
        .demands(Access::Manage)
        .body::<RollBackBundle>()
        .answer::<policies::PolicyDone>(200, "`digest` decides again")
        .answer::<policies::PolicyDone>(202, "Accepted; `digest` and `seq` are null")
        .problems(&[409, 415, 503]),
        put(
            "/v1/policies/shadow",
            policies::shadow,
            "shadowPolicy",
            "Ask a bundle beside the active one, without effect; or none",
        )
        .demands(Access::Manage)
        .body::<ShadowBundle>()
        .answer::<policies::PolicyDone>(200, "It is asked from now on")
        .answer::<policies::PolicyDone>(202, "Accepted; `seq` is null")
        .problems(&[404, 409, 415, 422, 503]),
        post(
            "/v1/policies/evaluate",
            policies::evaluate,
            "evaluatePolicy",
            "Decide on an input by any bundle, without effect",
        )
        .demands(Access::Read)
        .body::<TryPolicy>()
        .example(r#"{"digest":"builtin","input":{"action":"run.start"}}"#)
        .answer::<DryDecision>(200, "The decision")
        .problems(&[404, 409, 413, 415, 422, 429, 503]),
        post(
            "/v1/policies/explain",
            policies::explain,
            "explainPolicy",
            "Why a run's steps were judged as they were, and what the same bundle says now",
        )
        .demands(Access::Read)
        .body::<ExplainPolicy>()
        .answer::<Explanation>(200, "The judgements, in order")
        .problems(&[404, 415, 422, 429, 503]),
        post(
            "/v1/policies/backtest",
            policies::backtest,
            "backtestPolicy",
            "What a bundle would have changed in a stretch of history",
        )
        .demands(Access::Read)
        .body::<BacktestPolicy>()
        .example(r#"{"digest":"builtin"}"#)
        .answer::<BacktestReport>(200, "With `next_seq` there is more: give it as `from_seq`")
        .problems(&[404, 413, 415, 422, 429, 503]),
    ]
}
