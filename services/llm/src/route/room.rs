//! What is left of a call's reservation, and whether it covers another attempt.
//!
//! An attempt that was refused used nothing. One that was cut used its prompt and what it had said;
//! another one within the same reservation pays its prompt again, out of what the answer may have.

use nexus_events::catalog::Price;
use nexus_events::model::Usage;
use nexus_events::run::ReservationGranted;

/// What the loser of a hedge may still say before it is stopped, in tokens.
const SLACK_TOKENS: u64 = 64;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    tokens: u64,
    cost_usd_micros: u64,
    /// Bound on the prompt's tokens.
    prompt: u64,
    /// Tokens of answer that were asked for.
    wanted: u64,
}

impl Room {
    /// All of it.
    pub(crate) fn of(grant: &ReservationGranted) -> Self {
        Self {
            tokens: grant.amounts.tokens,
            cost_usd_micros: grant.amounts.cost_usd_micros,
            prompt: (grant.amounts.tokens).saturating_sub(grant.max_output_tokens),
            wanted: grant.max_output_tokens,
        }
    }

    /// Bound on the tokens of one attempt.
    pub(crate) fn tokens_of_one(&self) -> u64 {
        self.prompt.saturating_add(self.wanted)
    }

    /// Takes what an attempt used.
    pub(crate) fn spend(&mut self, usage: &Usage, cost_usd_micros: u64) {
        self.tokens = self.tokens.saturating_sub(usage.total_tokens());
        self.cost_usd_micros = self.cost_usd_micros.saturating_sub(cost_usd_micros);
    }

    /// The longest answer that another attempt at this price may give; none where that is less than
    /// half of what was asked for. A stump is no answer, and a reservation of its own costs
    /// milliseconds.
    pub(crate) fn answer(&self, price: &Price) -> Option<u64> {
        let tokens = self.tokens.checked_sub(self.prompt)?;
        self.useful(tokens.min(self.affordable(price, 1)?))
    }

    /// The same where a second attempt may be under way at once, of which one is stopped when the
    /// other begins to answer.
    pub(crate) fn answer_of_two(&self, dearest: &Price) -> Option<u64> {
        let twice = self.prompt.saturating_mul(2).saturating_add(SLACK_TOKENS);
        let tokens = self.tokens.checked_sub(twice)?;
        let affordable = self.affordable(dearest, 2)?.checked_sub(SLACK_TOKENS)?;
        self.useful(tokens.min(affordable))
    }

    fn useful(&self, answer: u64) -> Option<u64> {
        let answer = answer.min(self.wanted);
        // Where vectors are made there is none: the prompt is all.
        ((answer > 0 || self.wanted == 0) && answer >= self.wanted.div_ceil(2)).then_some(answer)
    }

    /// Tokens of answer that the money buys after so many prompts.
    fn affordable(&self, price: &Price, prompts: u64) -> Option<u64> {
        let prompts = self.prompt.saturating_mul(prompts);
        (price.most_usd_micros(prompts, 0) <= self.cost_usd_micros)
            .then(|| price.affordable_output(prompts, self.cost_usd_micros))
    }
}

#[cfg(test)]
mod tests {
    use nexus_events::ledger::Amounts;
    use nexus_events::{ReservationId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn grant(prompt: u64, answer: u64, cost_usd_micros: u64) -> ReservationGranted {
        ReservationGranted {
            turn: 1,
            call_id: None,
            reservation_id: ReservationId::derive(&["x"]),
            amounts: Amounts {
                tokens: prompt + answer,
                cost_usd_micros,
                ..Amounts::default()
            },
            time_limited: false,
            max_output_tokens: answer,
            expires_at: Timestamp::from_millis(0),
            ledger_seq: 1,
        }
    }

    fn used(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        }
    }

    const FREE: Price = Price {
        input: 0,
        cached_input: 0,
        output: 0,
        cache_write: None,
    };

    #[test]
    fn what_cost_nothing_leaves_everything_and_what_was_cut_its_rest() {
        let mut room = Room::of(&grant(100, 1_000, 0));
        assert_eq!(room.answer(&FREE), Some(1_000));
        room.spend(&Usage::default(), 0);
        assert_eq!(room.answer(&FREE), Some(1_000));
        room.spend(&used(100, 50), 0);
        assert_eq!(room.answer(&FREE), Some(850));
        room.spend(&used(100, 300), 0);
        assert_eq!(room.answer(&FREE), None, "450 are less than half");
    }

    #[test]
    fn a_reservation_for_exactly_one_call_has_no_room_for_a_second_prompt() {
        let mut room = Room::of(&grant(100, 100, 0));
        room.spend(&used(100, 1), 0);
        assert_eq!(room.answer(&FREE), None);
        assert_eq!(Room::of(&grant(100, 100, 0)).answer_of_two(&FREE), None);
        assert_eq!(
            Room::of(&grant(100, 1_000, 0)).answer_of_two(&FREE),
            Some(836)
        );
    }

    proptest! {
        /// Two attempts within a reservation never use more than it holds, whatever the first used.
        #[test]
        fn another_attempt_never_overspends(
            prompt in 0u64..5_000,
            answer in 1u64..5_000,
            input in 0u64..5_000_000,
            write in proptest::option::of(0u64..9_000_000),
            output in 0u64..5_000_000,
            first in 0u64..6_000,
        ) {
            let price = Price { input, cached_input: input, output, cache_write: write };
            // Nobody knows beforehand what of a prompt is written into the provider's cache.
            let used = |input_tokens, output_tokens| Usage {
                cache_write_tokens: input_tokens,
                ..used(input_tokens, output_tokens)
            };
            let whole = price.most_usd_micros(prompt, answer);
            let mut room = Room::of(&grant(prompt, answer, whole));
            let first = used(prompt, first.min(answer));
            let spent = price.cost_usd_micros(&first);
            room.spend(&first, spent);
            if let Some(most) = room.answer(&price) {
                let second = used(prompt, most);
                prop_assert!(first.total_tokens() + second.total_tokens() <= prompt + answer);
                prop_assert!(spent + price.cost_usd_micros(&second) <= whole);
            }
            if let Some(most) = Room::of(&grant(prompt, answer, whole)).answer_of_two(&price) {
                prop_assert!(2 * prompt + most <= prompt + answer);
                let both = price.cost_usd_micros(&used(2 * prompt, most));
                prop_assert!(both <= whole);
            }
        }
    }
}
