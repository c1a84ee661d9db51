//! Counting on a runtime's threads: at once where it takes microseconds, else aside, so that nobody
//! who waits for the bus waits for it.

use nexus_events::catalog::Tokenizer;
use tokio::sync::Semaphore;

/// Longer texts are counted aside. In a release build this many bytes take half a millisecond.
const AT_ONCE_BYTES: usize = 16 * 1024;

/// How many are counted aside at a time: each keeps a core busy.
static SEATS: Semaphore = Semaphore::const_new(2);

/// Tokens of all texts together, by the tokenizer that makes the most of them. None without a
/// tokenizer, or where counting failed: then bytes are the bound.
pub async fn most(tokenizers: &[Tokenizer], texts: &[&str]) -> Option<u64> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let is_read = |tokenizer: &Tokenizer| crate::read(*tokenizer).get().is_some();
    if bytes <= AT_ONCE_BYTES && tokenizers.iter().all(is_read) {
        return largest(tokenizers, texts);
    }
    let _seat = SEATS.acquire().await.ok()?;
    let tokenizers = tokenizers.to_vec();
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    let counted = tokio::task::spawn_blocking(move || {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        largest(&tokenizers, &texts)
    });
    counted.await.ok()?
}

fn largest(tokenizers: &[Tokenizer], texts: &[&str]) -> Option<u64> {
    let sum = |&tokenizer: &Tokenizer| {
        let counts = texts.iter().map(|text| crate::count(tokenizer, text));
        counts.fold(0, u64::saturating_add)
    };
    tokenizers.iter().map(sum).max()
}
