//! Tokens of one piece, a word and what belongs to it. The encoder that is quickest for words tries
//! again and again where many tokens consist of one character (dashes, blanks), at up to a microsecond
//! a byte; for long pieces the one with a heap is used, which takes a quarter of that at most,
//! whatever the piece. (It alone would take five times as long for prose.)

use bpe_openai::byte_pair_encoding::BytePairEncoding;

/// Longer pieces go to the encoder with the heap.
const WORD_BYTES: usize = 32;
/// Longer pieces are cut, so that memory is bounded.
const WINDOW_BYTES: usize = 4096;

pub(crate) fn count(bpe: &BytePairEncoding, piece: &[u8]) -> usize {
    if piece.len() <= WORD_BYTES {
        return bpe.count(piece);
    }
    // What is cut makes more tokens than the whole, nearly always: one more a cut for the rest.
    let cuts = piece.len().div_ceil(WINDOW_BYTES) - 1;
    let windows = piece.chunks(WINDOW_BYTES);
    let tokens: usize = windows
        .map(|window| bpe.encode_via_bitfield(window).len())
        .sum();
    tokens + cuts
}
