//! Ids of rows that the log gives no id. They derive from what the row is about, so that a rebuild
//! gives the same ones. All are UUIDv8 that begin as their neighbours do: random ones would scatter
//! each insert over the whole index.

use nexus_events::RunId;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// The id of what `kind` names in a run: it begins with the run's own first six bytes (its time),
/// the rest is a digest.
pub(crate) fn of_run(run: RunId, kind: &str, number: u64, name: &str) -> Uuid {
    let run = run.uuid().into_bytes();
    let mut hash = Sha256::new();
    hash.update(run);
    // Lengths keep ("ab", "c") and ("a", "bc") apart.
    hash.update((kind.len() as u64).to_be_bytes());
    hash.update(kind);
    hash.update(number.to_be_bytes());
    hash.update(name);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = match index {
            0..6 => run[index],
            _ => digest[index],
        };
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The id of an entry that is a place in the log. It sorts as the log does, and can be read back:
/// 48 bits of sequence (no stream reaches 2^48), and at the end 32 bits of position.
pub(crate) fn of_position(seq: u64, position: u32) -> Uuid {
    let seq = seq.min((1 << 48) - 1).to_be_bytes();
    let position = position.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&seq[2..]);
    bytes[12..].copy_from_slice(&position);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Sequence and position of [`of_position`].
pub(crate) fn position_of(id: Uuid) -> (u64, u32) {
    let bytes = id.as_u128().to_be_bytes();
    let seq = bytes[..6]
        .iter()
        .fold(0, |seq, byte| seq << 8 | u64::from(*byte));
    let position = bytes[12..]
        .iter()
        .fold(0, |position, byte| position << 8 | u32::from(*byte));
    (seq, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_run_derive_and_stay_near_it() {
        let run = RunId::new(Uuid::from_u128(0x0191_2345_6789_7abc_8def_0123_4567_89ab));
        let id = of_run(run, "tool", 1, "call-1");
        assert_eq!(id, of_run(run, "tool", 1, "call-1"));
        assert_ne!(id, of_run(run, "tool", 2, "call-1"));
        assert_ne!(id, of_run(run, "too", 1, "lcall-1"));
        assert_eq!(id.as_bytes()[..6], run.uuid().as_bytes()[..6]);
        assert_eq!(id.get_version_num(), 8);
        // Pinned: a change would give every old message a new id at the next rebuild.
        assert_eq!(id.to_string(), "01912345-6789-8c4b-bdd9-a00ccf7f501c");
    }

    #[test]
    fn a_place_in_the_log_sorts_and_reads_back() {
        let places = [(1, 0), (1, 1), (2, 0), (1 << 40, 7)];
        let ids: Vec<_> = places
            .iter()
            .map(|(seq, position)| of_position(*seq, *position))
            .collect();
        assert!(ids.is_sorted());
        for (id, place) in ids.iter().zip(places) {
            assert_eq!(position_of(*id), place);
            assert_eq!(id.get_version_num(), 8);
        }
        assert!(of_position(u64::MAX, u32::MAX) > of_position(1 << 47, 0));
    }
}
