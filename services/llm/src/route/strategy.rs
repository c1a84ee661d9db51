//! In which order a route's endpoints are tried. Pure: the same state and number give the same order.

use std::cmp::Ordering;

use nexus_events::catalog::by_weight;

use super::config::Strategy;

/// Of so many calls one goes to another endpoint than the quickest, to learn what it does now.
const EXPLORES: u64 = 16;

/// What a strategy looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    pub(crate) weight: u32,
    /// Prompt and answer together.
    pub(crate) price: u128,
    /// None where it was never measured.
    pub(crate) first_token_ms: Option<f64>,
    pub(crate) in_flight: u32,
}

/// The places of the endpoints, the first choice first. `number` is as good as drawn by lot.
pub(crate) fn order(strategy: Strategy, endpoints: &[View], number: u64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..endpoints.len()).collect();
    let view = |at: &usize| endpoints.get(*at).copied().unwrap_or_default();
    match strategy {
        Strategy::Priority => {}
        Strategy::Weighted => places = weighted(endpoints, number),
        Strategy::LeastCost => places.sort_by_key(|at| view(at).price),
        Strategy::LeastBusy => places.sort_by_key(|at| view(at).in_flight),
        Strategy::LeastLatency => {
            // Who was never measured comes first: nobody knows that he is slow.
            let took = |at: &usize| view(at).first_token_ms.unwrap_or(-1.0);
            places.sort_by(|a, b| took(a).partial_cmp(&took(b)).unwrap_or(Ordering::Equal));
            if number.is_multiple_of(EXPLORES) && places.len() > 1 {
                let others = places.len() as u64 - 1;
                let other = 1 + (number / EXPLORES % others) as usize;
                let explored = places.remove(other);
                places.insert(0, explored);
            }
        }
    }
    places
}

/// One after the other drawn by weight among those that are left; those of no weight at the end.
fn weighted(endpoints: &[View], mut number: u64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..endpoints.len()).collect();
    let mut places = vec![];
    while !left.is_empty() {
        let weights: Vec<u32> = (left.iter())
            .map(|at| endpoints.get(*at).map_or(0, |view| view.weight))
            .collect();
        let next = by_weight(&weights, number).unwrap_or(0);
        places.push(left.remove(next));
        number /= 7;
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn first(strategy: Strategy, endpoints: &[View], number: u64) -> usize {
        order(strategy, endpoints, number)
            .first()
            .copied()
            .unwrap_or(usize::MAX)
    }

    fn view(weight: u32, price: u128, took: Option<f64>, in_flight: u32) -> View {
        View {
            weight,
            price,
            first_token_ms: took,
            in_flight,
        }
    }

    #[test]
    fn each_prefers_what_its_name_says() {
        let endpoints = [
            view(1, 30, Some(90.0), 2),
            view(3, 10, Some(20.0), 5),
            view(0, 20, Some(50.0), 1),
        ];
        let order = |strategy| order(strategy, &endpoints, 1);
        assert_eq!(order(Strategy::Priority), [0, 1, 2]);
        assert_eq!(order(Strategy::LeastCost), [1, 2, 0]);
        assert_eq!(order(Strategy::LeastBusy), [2, 0, 1]);
        assert_eq!(order(Strategy::LeastLatency), [1, 2, 0]);
        let times = |place| {
            let all = 0..400;
            all.filter(|n| first(Strategy::Weighted, &endpoints, *n) == place)
                .count()
        };
        assert_eq!((times(0), times(1), times(2)), (100, 300, 0));
    }

    #[test]
    fn the_quickest_gets_most_calls_and_the_others_some() {
        let endpoints = [
            view(1, 0, Some(90.0), 0),
            view(1, 0, Some(20.0), 0),
            view(1, 0, Some(50.0), 0),
        ];
        let mut times = [0; 3];
        for number in 0..320 {
            if let Some(count) = times.get_mut(first(Strategy::LeastLatency, &endpoints, number)) {
                *count += 1;
            }
        }
        assert_eq!(times, [10, 300, 10]);
        let unknown = [view(1, 0, Some(5.0), 0), view(1, 0, None, 0)];
        assert_eq!(first(Strategy::LeastLatency, &unknown, 1), 1);
    }

    proptest! {
        #[test]
        fn every_endpoint_is_in_the_order_once(
            weights in proptest::collection::vec(0u32..4, 0..9),
            number in any::<u64>(),
        ) {
            let endpoints: Vec<View> = (weights.iter())
                .map(|&weight| view(weight, weight.into(), Some(f64::from(weight)), weight))
                .collect();
            for strategy in [
                Strategy::Priority,
                Strategy::Weighted,
                Strategy::LeastLatency,
                Strategy::LeastCost,
                Strategy::LeastBusy,
            ] {
                let mut places = order(strategy, &endpoints, number);
                prop_assert_eq!(&places, &order(strategy, &endpoints, number));
                places.sort_unstable();
                prop_assert_eq!(places, (0..endpoints.len()).collect::<Vec<_>>());
            }
        }
    }
}
