use bytes::Bytes;
use nexus_bus::objects::{ObjectError, Objects};
use nexus_bus::topology;
use nexus_events::Tenant;

use crate::support::{Stand, messages, tenant};

#[tokio::test]
async fn bodies_are_stored_once_by_their_digest() {
    let stand = Stand::new().await;
    let objects = Objects::new(stand.bus.clone(), 4 * 1024 * 1024);
    let body: Bytes = (0..3_000_000u32)
        .map(|n| n.to_be_bytes()[n as usize % 4])
        .collect();
    let tenant = tenant();
    let (one, two) = tokio::join!(
        objects.put(&tenant, body.clone()),
        objects.put(&tenant, body.clone())
    );
    let address = one.unwrap();
    assert_eq!(address, two.unwrap());
    assert!(address.starts_with("sha256:") && address.len() == 71);
    assert_eq!(
        messages(&stand.bus, topology::OBJECTS).await,
        6,
        "six chunks, once"
    );
    assert_eq!(objects.get(&tenant, &address).await.unwrap(), body);
    let empty = objects.put(&tenant, Bytes::new()).await.unwrap();
    assert!(objects.get(&tenant, &empty).await.unwrap().is_empty());
}

#[tokio::test]
async fn limits_tenants_and_addresses_are_kept() {
    let stand = Stand::new().await;
    let objects = Objects::new(stand.bus.clone(), 10);
    let big = objects.put(&tenant(), "12345678901".into()).await;
    assert!(matches!(
        big,
        Err(ObjectError::TooLarge {
            bytes: 11,
            limit: 10
        })
    ));
    let address = objects.put(&tenant(), "1234567890".into()).await.unwrap();
    let other: Tenant = "other".parse().unwrap();
    let theirs = objects.get(&other, &address).await;
    assert!(
        matches!(theirs, Err(ObjectError::NotFound(_))),
        "{theirs:?}"
    );
    for bad in ["sha256:*", "md5:00", "", "sha256:>"] {
        let read = objects.get(&tenant(), bad).await;
        assert!(matches!(read, Err(ObjectError::Address(_))), "{bad}");
    }
}
