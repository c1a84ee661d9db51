//! What the content filter reads in a second, on one thread: a text in which there is nothing to
//! find, since that is what nearly every text is.

use std::hint::black_box;
use std::time::{Duration, Instant};

use nexus_content::{FilterConfig, Filters, Setting, Side, Stream, Tally};
use nexus_events::content::Class;

use super::error::BenchError;
use super::report::llm::FilterRates;

const TEXT_BYTES: usize = 1 << 20;
const FRAGMENT_BYTES: usize = 16;
const TIME: Duration = Duration::from_millis(700);
const SENTENCES: [&str; 6] = [
    "The ledger reserves what a call can cost before anybody makes it, and settles what it did cost. ",
    "In 1997 the harbour was widened by 40 metres; since then two ships can pass each other there. ",
    "A function that is called with no argument returns the state as it was when the run began: `f()`. ",
    "\"Who was it?\" she asked, and nobody answered, for they had all heard the same knock at the door. ",
    "Of the 12 proposals three were kept, and the others were sent back with a note of what they lack. ",
    "Water boils at 100 degrees at the level of the sea, and at 90 on a mountain of 3,000 metres. ",
];

/// Measures.
///
/// # Errors
/// [`BenchError::Filter`]: the filter cannot be made, or finds something.
pub(super) fn measure() -> Result<FilterRates, BenchError> {
    let text: String = SENTENCES
        .iter()
        .copied()
        .cycle()
        .take(TEXT_BYTES / 90)
        .collect();
    let usual = side(&FilterConfig::default())?;
    let all = side(&FilterConfig {
        output: Class::ALL.map(|class| (class, Setting::Redact)).into(),
        ..FilterConfig::default()
    })?;
    let mut tally = Tally::default();
    let checked = all.check(&text, &mut tally);
    if tally != Tally::default() || checked.text.is_some() {
        return Err(BenchError::Filter(
            "it finds something where nothing is".to_owned(),
        ));
    }
    Ok(FilterRates {
        secrets_mb_per_second: rate(&text, |text| {
            black_box(usual.check(text, &mut Tally::default()));
        }),
        all_mb_per_second: rate(&text, |text| {
            black_box(all.check(text, &mut Tally::default()));
        }),
        fragments_mb_per_second: rate(&text, |text| {
            let mut stream = Stream::new(&all);
            for fragment in fragments(text) {
                black_box(stream.push(fragment));
            }
            black_box(stream.finish());
        }),
        lines_counted_mb_per_second: rate(&text, |text| {
            black_box(text.bytes().filter(|byte| *byte == b'\n').count());
        }),
    })
}

fn side(config: &FilterConfig) -> Result<Side, BenchError> {
    let filters = Filters::new(config).map_err(|error| BenchError::Filter(error.to_string()))?;
    Ok(filters.of("bench").output.clone())
}

/// The text is ASCII, so that every cut is between characters.
fn fragments(text: &str) -> impl Iterator<Item = &str> {
    let ends = (0..text.len()).step_by(FRAGMENT_BYTES);
    ends.filter_map(move |from| text.get(from..(from + FRAGMENT_BYTES).min(text.len())))
}

/// Of the quickest pass: what else a machine does can only make one slower.
fn rate(text: &str, mut work: impl FnMut(&str)) -> f64 {
    let (began, mut quickest) = (Instant::now(), Duration::MAX);
    while began.elapsed() < TIME {
        let pass = Instant::now();
        work(black_box(text));
        quickest = quickest.min(pass.elapsed());
    }
    text.len() as f64 / 1e6 / quickest.as_secs_f64().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]
    use super::*;

    #[test]
    fn fragments_are_the_text_and_nothing_is_found_in_it() {
        let text = SENTENCES.concat();
        assert_eq!(fragments(&text).collect::<String>(), text);
        let rates = measure().unwrap();
        assert!(rates.all_mb_per_second > 0.0);
    }
}
