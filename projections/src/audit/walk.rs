//! The chain, walked entry by entry. Pure: the shell reads the entries, and finds out where the
//! others are when one does not fit.

use super::entry::{AuditHash, AuditRow};

/// Where a walk along one tenant's chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Entries that fit.
    pub(crate) entries: u64,
    /// Sequence and position of the last of them.
    pub(crate) last: (u64, u32),
    /// Its hash.
    pub(crate) hash: AuditHash,
}

/// How an entry does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is in its place, and its hash is not what it gives.
    Content,
    /// It is in its place and its hash is right, and it was recorded after an entry with another
    /// hash than the one that is before it now.
    Before,
    /// Entries before it are not there.
    Ahead,
    /// Its number is taken.
    Behind,
}

impl Walk {
    /// At the beginning.
    pub(crate) const START: Self = Self {
        entries: 0,
        last: (0, 0),
        hash: AuditHash::ZERO,
    };

    /// Number of the entry that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.entries + 1
    }

    /// Takes the next entry in.
    pub(crate) fn take(&mut self, row: &AuditRow) -> Result<(), Misfit> {
        match row.number.cmp(&self.next()) {
            std::cmp::Ordering::Greater => return Err(Misfit::Ahead),
            std::cmp::Ordering::Less => return Err(Misfit::Behind),
            std::cmp::Ordering::Equal => {}
        }
        if row.hash_after(row.prev_hash) != row.hash {
            return Err(Misfit::Content);
        }
        if row.prev_hash != self.hash {
            return Err(Misfit::Before);
        }
        *self = Self {
            entries: row.number,
            last: (row.seq, row.position),
            hash: row.hash,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    fn chain(length: u64) -> Vec<AuditRow> {
        let mut prev = AuditHash::ZERO;
        let mut rows = vec![];
        for number in 1..=length {
            let row = entry(number, prev);
            prev = row.hash;
            rows.push(row);
        }
        rows
    }

    /// How many entries fit, and how the next one does not.
    fn walk(rows: &[AuditRow]) -> (u64, Option<Misfit>) {
        let mut walk = Walk::START;
        for row in rows {
            if let Err(misfit) = walk.take(row) {
                return (walk.entries, Some(misfit));
            }
        }
        (walk.entries, None)
    }

    #[test]
    fn what_was_done_to_a_chain_is_seen_at_the_first_entry_that_does_not_fit() {
        assert_eq!(walk(&chain(5)), (5, None));

        let mut rows = chain(5);
        rows[2].user_id = "mallory".into();
        assert_eq!(walk(&rows), (2, Some(Misfit::Content)));
        // Whoever knows how to hash moves the break by one.
        rows[2].hash = rows[2].hash_after(rows[2].prev_hash);
        assert_eq!(walk(&rows), (3, Some(Misfit::Before)));

        let mut rows = chain(5);
        rows.remove(2);
        assert_eq!(walk(&rows), (2, Some(Misfit::Ahead)));

        let mut rows = chain(5);
        rows.swap(2, 3);
        assert_eq!(walk(&rows), (2, Some(Misfit::Ahead)));

        let mut rows = chain(5);
        rows.insert(2, rows[1].clone());
        assert_eq!(walk(&rows), (2, Some(Misfit::Behind)));

        let mut rows = chain(5);
        rows[0].prev_hash = rows[4].hash;
        assert_eq!(walk(&rows), (0, Some(Misfit::Content)));
        rows[0].hash = rows[0].hash_after(rows[0].prev_hash);
        assert_eq!(walk(&rows), (0, Some(Misfit::Before)));
    }
}
