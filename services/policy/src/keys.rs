//! `key.create`, `key.rotate` and `key.revoke`: who may call at all.

use nexus_bus::{Delivery, Failure, process};
use nexus_events::keys::{self, KeyEvent, Keys, NewKey, RevokeKey, RotateKey};
use nexus_events::{AggregateId, DomainError, KeyId};
use serde_json::json;

use crate::PolicyRole;

impl PolicyRole {
    pub(crate) async fn create_key(&self, delivery: &Delivery, new: NewKey) -> Result<(), Failure> {
        let now = self.bus.now();
        self.decide_key(delivery, new.key_id, |keys| keys::create(keys, &new, now))
            .await
    }

    pub(crate) async fn rotate_key(
        &self,
        delivery: &Delivery,
        rotate: RotateKey,
    ) -> Result<(), Failure> {
        let now = self.bus.now();
        let RotateKey {
            key_id,
            hash,
            grace_ms,
        } = rotate;
        self.decide_key(delivery, key_id, |keys| {
            keys::rotate(keys, key_id, &hash, grace_ms, now)
        })
        .await
    }

    pub(crate) async fn revoke_key(
        &self,
        delivery: &Delivery,
        revoke: RevokeKey,
    ) -> Result<(), Failure> {
        let RevokeKey { key_id, reason } = revoke;
        self.decide_key(delivery, key_id, |keys| {
            keys::revoke(keys, key_id, reason.clone())
        })
        .await
    }

    async fn decide_key(
        &self,
        delivery: &Delivery,
        key_id: KeyId,
        decide: impl FnMut(&Keys) -> Result<Vec<KeyEvent>, DomainError>,
    ) -> Result<(), Failure> {
        let id = &AggregateId::ONLY;
        let done = process::decide::<Keys>(&self.store, &self.bus, delivery, id, decide).await?;
        let outcome = json!({ "key_id": key_id, "seq": done.seq });
        drop(done);
        process::reply(&self.bus, delivery, &outcome).await;
        Ok(())
    }
}
