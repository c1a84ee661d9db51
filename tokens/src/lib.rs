//! Tokens of a text, as the model that reads it counts them: what the ledger has to know before a
//! call. Who writes a text to the log counts it, once; nobody who folds the log does.
//!
//! The tokenizer is `bpe-openai`, for its time grows with the text alone, whatever the text. The
//! usual alternative, tiktoken-rs, panics on long runs of blanks: its pattern needs a regular
//! expression engine that backtracks, and gives up.

mod aside;
mod piece;

use std::sync::OnceLock;

use nexus_events::catalog::Tokenizer;

pub use aside::most;

/// Each text may be framed by a token at its beginning and its end.
const FRAME_TOKENS: u64 = 2;

/// Bound on the tokens of texts that a model reads each for itself, as where it makes vectors of them;
/// where it has no tokenizer here, each byte counts as a token.
pub async fn of_texts(tokenizer: Option<Tokenizer>, texts: &[String]) -> u64 {
    let words: Vec<&str> = texts.iter().map(String::as_str).collect();
    let counted = match tokenizer {
        Some(tokenizer) => most(&[tokenizer], &words).await,
        None => None,
    };
    let bytes = || texts.iter().map(|text| text.len() as u64).sum();
    let frames = (texts.len() as u64).saturating_mul(FRAME_TOKENS);
    counted.unwrap_or_else(bytes).saturating_add(frames)
}

/// Tokens of the text, without any template around it. Exact for all but texts with words of
/// kilobytes, where it is a few too high; never more than the text has bytes. 16 MiB of prose take a
/// quarter of a second of processor time, of what is slowest four seconds. The first call of each
/// tokenizer reads its dictionary, in a twentieth of a second and 60 MB of memory.
pub fn count(tokenizer: Tokenizer, text: &str) -> u64 {
    let dictionary = dictionary(tokenizer);
    let mut tokens = 0;
    let mut covered = 0;
    for piece in dictionary.split(text) {
        tokens += piece::count(&dictionary.bpe, piece.as_bytes());
        covered += piece.len();
    }
    // The pattern splits every text to its end; should it not, the rest is bounded by its bytes.
    let tokens = tokens + (text.len() - covered);
    tokens.min(text.len()) as u64
}

fn dictionary(tokenizer: Tokenizer) -> &'static bpe_openai::Tokenizer {
    read(tokenizer).get_or_init(|| match tokenizer {
        Tokenizer::O200kBase => bpe_openai::o200k_base(),
        Tokenizer::Cl100kBase => bpe_openai::cl100k_base(),
    })
}

/// The dictionary where it has been read.
fn read(tokenizer: Tokenizer) -> &'static OnceLock<&'static bpe_openai::Tokenizer> {
    static O200K: OnceLock<&bpe_openai::Tokenizer> = OnceLock::new();
    static CL100K: OnceLock<&bpe_openai::Tokenizer> = OnceLock::new();
    match tokenizer {
        Tokenizer::O200kBase => &O200K,
        Tokenizer::Cl100kBase => &CL100K,
    }
}

#[cfg(test)]
mod tests;
