//! A bundle in shadow: asked the same question as the one that decides, in the same moment, and its
//! answer recorded beside. It changes nothing: it is asked after the decision is made, for a bounded
//! time, and what goes wrong with it is an answer of its own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nexus_bus::metrics::register;
use nexus_events::catalog::Catalog;
use nexus_events::policy::ShadowDecided;
use nexus_events::run::{PolicyDecided, Run};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::active::BundleInForce;
use crate::engine::{Input, Limits};
use crate::judge::judge_as;

/// What a shadow may take: decisions wait for it.
const LIMITS: Limits = Limits {
    steps: 250_000,
    wall: Duration::from_millis(10),
    input_bytes: 512 * 1024,
    input_depth: 64,
};

/// How a shadow's answer compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Compared {
    /// `same`, or the kind of difference.
    outcome: &'static str,
}

static DECISIONS: LazyLock<Family<Compared, Counter>> = LazyLock::new(|| {
    register(|registry| {
        let family = Family::<Compared, Counter>::default();
        let help = "Decisions that a bundle in shadow was asked too, by how its answer compares";
        registry.register("policy_shadow_decisions", help, family.clone());
        family
    })
});

/// Makes the metric known before there is anything to count.
pub(crate) fn announce() {
    LazyLock::force(&DECISIONS);
}

/// What the bundle in shadow says beside what was decided.
pub(crate) fn beside(
    (name, shadow): &(String, BundleInForce),
    decided: &PolicyDecided,
    run: &Run,
    input: Input,
    catalog: &Catalog,
) -> ShadowDecided {
    let point = decided.point.clone();
    let bounded = match shadow {
        BundleInForce::Ready(bundle) => {
            BundleInForce::Ready(Arc::new(bundle.as_ref().clone().with_limits(LIMITS)))
        }
        broken => broken.clone(),
    };
    let said = judge_as(&decided.bundle, &bounded, run, point, input, catalog);
    let mut said = ShadowDecided::beside(decided, said);
    said.bundle.clone_from(name);
    let outcome = said.differs.map_or("same", |differs| differs.name());
    DECISIONS.get_or_create(&Compared { outcome }).inc();
    said
}
