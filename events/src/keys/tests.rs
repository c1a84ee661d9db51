//! Keys from creation to revocation.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use super::*;
use crate::ids::Tenant;

fn id() -> KeyId {
    KeyId::derive(&["a key"])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + seconds * 1000)
}

fn minted(secret: u8) -> Minted {
    let tenant: Tenant = "acme-1".parse().unwrap();
    ApiKey::mint(&tenant, id(), [secret; 24])
}

fn new(hash: String) -> NewKey {
    KeyCreated {
        key_id: id(),
        name: "ci".into(),
        user: "robot".into(),
        roles: vec!["user".into()],
        hash,
        groups: vec![],
        expires_at: Some(at(1_000)),
        requests_per_minute: None,
    }
}

fn fold(keys: &mut Keys, events: &[KeyEvent]) {
    for event in events {
        keys.evolve(event, Position::default());
    }
}

fn admits(keys: &Keys, shown: &str, now: Timestamp) -> bool {
    let Some(shown) = ApiKey::parse(shown) else {
        return false;
    };
    (keys.keys.get(&shown.id)).is_some_and(|key| key.admits(&shown.hash(), now))
}

#[test]
fn a_key_is_good_until_it_expires_or_is_revoked() {
    let (mut keys, one) = (Keys::default(), minted(1));
    let events = create(&keys, &new(one.hash.clone()), at(0)).unwrap();
    fold(&mut keys, &events);
    assert!(admits(&keys, &one.key, at(999)));
    assert!(!admits(&keys, &one.key, at(1_000)), "it has expired");
    assert!(!admits(&keys, &minted(2).key, at(1)), "another secret");
    let again = create(&keys, &new(one.hash.clone()), at(1)).unwrap();
    assert_eq!(again, vec![], "delivered twice");
    let events = revoke(&keys, id(), Some("leaked".into())).unwrap();
    fold(&mut keys, &events);
    assert!(!admits(&keys, &one.key, at(1)));
    assert!(revoke(&keys, id(), None).is_err());
}

#[test]
fn a_rotated_key_gives_the_one_before_some_time() {
    let (mut keys, one, two) = (Keys::default(), minted(1), minted(2));
    let events = create(&keys, &new(one.hash.clone()), at(0)).unwrap();
    fold(&mut keys, &events);
    let events = rotate(&keys, id(), &two.hash, 60_000, at(10)).unwrap();
    fold(&mut keys, &events);
    assert!(admits(&keys, &one.key, at(69)) && admits(&keys, &two.key, at(69)));
    assert!(!admits(&keys, &one.key, at(70)) && admits(&keys, &two.key, at(70)));
    assert_eq!(rotate(&keys, id(), &two.hash, 0, at(11)).unwrap(), vec![]);
    assert!(rotate(&keys, id(), &one.hash, u64::MAX, at(11)).is_err());
}

#[test]
fn what_is_no_key_is_none() {
    let one = minted(1).key;
    assert_eq!(one.len(), 3 + 1 + 6 + 1 + 32 + 1 + 48);
    assert!(ApiKey::parse(&one).is_some());
    for bad in [
        String::new(),
        "nxk_".into(),
        "nxk_acme".into(),
        one.replace("acme-1", "Acme"),
        one.replace("acme-1", ""),
        format!("{one}_x"),
        format!("{one}0"),
        one.replace("nxk", "sk"),
        one.trim_end_matches("01").to_owned(),
        one.replace("_", "-"),
    ] {
        assert!(ApiKey::parse(&bad).is_none(), "{bad}");
    }
    let shown = format!("{:?} {:?}", ApiKey::parse(&one).unwrap(), minted(1));
    assert!(!shown.contains("0101"), "{shown}");
}

#[test]
fn what_cannot_be_is_refused() {
    let (keys, good) = (Keys::default(), new(minted(1).hash));
    let bad = [
        NewKey {
            name: String::new(),
            ..good.clone()
        },
        NewKey {
            user: "a\nb".into(),
            ..good.clone()
        },
        NewKey {
            roles: vec!["a,b".into()],
            ..good.clone()
        },
        NewKey {
            groups: vec!["x".into(); 17],
            ..good.clone()
        },
        NewKey {
            hash: "secret".into(),
            ..good.clone()
        },
        NewKey {
            expires_at: Some(at(0)),
            ..good.clone()
        },
    ];
    for bad in bad {
        assert!(create(&keys, &bad, at(0)).is_err(), "{bad:?}");
    }
    assert!(create(&keys, &good, at(0)).is_ok());
}
