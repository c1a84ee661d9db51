//! Known counts, bounds, and texts that are made to be slow.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use proptest::prelude::*;

use super::*;

const BOTH: [Tokenizer; 2] = [Tokenizer::O200kBase, Tokenizer::Cl100kBase];

fn counts(text: &str) -> [u64; 2] {
    BOTH.map(|tokenizer| count(tokenizer, text))
}

#[test]
fn counts_are_those_that_openai_publishes() {
    assert_eq!(counts(""), [0, 0]);
    assert_eq!(counts("hello"), [1, 1]);
    assert_eq!(counts("tiktoken is great!"), [6, 6]);
    assert_eq!(counts("antidisestablishmentarianism"), [6, 6]);
    assert_eq!(counts("2 + 2 = 4"), [7, 7]);
    assert_eq!(counts("お誕生日おめでとう"), [8, 9]);
}

#[test]
fn what_looks_like_a_mark_of_the_template_is_text() {
    assert!(count(Tokenizer::O200kBase, "<|endoftext|>") > 1);
}

#[test]
fn long_pieces_are_counted_as_their_parts_make_it() {
    for piece in ["-", "=", "x", "\t", " ", "漢", "ab"] {
        for bytes in [32, 33, 1_000, 4_096] {
            let text = piece.repeat(bytes / piece.len());
            for tokenizer in BOTH {
                let whole = dictionary(tokenizer).count(text.as_str()) as u64;
                assert_eq!(count(tokenizer, &text), whole, "{piece:?} * {bytes}");
            }
        }
        let text = piece.repeat(50_000 / piece.len());
        for tokenizer in BOTH {
            let whole = dictionary(tokenizer).count(text.as_str()) as u64;
            let counted = count(tokenizer, &text);
            assert!((whole..=whole + 40).contains(&counted), "{piece:?}");
        }
    }
}

#[tokio::test]
async fn the_largest_count_of_all_texts_together_is_taken() {
    let birthday = ["hello", "お誕生日おめでとう"];
    assert_eq!(most(&BOTH, &birthday).await, Some(10));
    assert_eq!(most(&BOTH[..1], &birthday).await, Some(9));
    assert_eq!(most(&[], &birthday).await, None);
    let long = "hello ".repeat(10_000);
    let aside = most(&BOTH, &[&long, "hello"]).await.unwrap();
    assert_eq!(aside, count(Tokenizer::O200kBase, &long) + 1);
}

/// Words, blanks, marks and what is in no dictionary, some of it often in a row.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z']{1,12}",
        "[ \t\r\n]{1,4}",
        "[0-9]{1,8}",
        "[-=_/.#*]{1,3}",
        any::<char>().prop_map(String::from),
    ];
    let run = (part, prop_oneof![8 => Just(1usize), 1 => 2usize..3_000])
        .prop_map(|(part, times)| part.repeat(times));
    prop::collection::vec(run, 0..12).prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_more_than_bytes_and_never_less_than_the_tokenizer_says(text in texts()) {
        for tokenizer in BOTH {
            let tokens = count(tokenizer, &text);
            prop_assert!(tokens <= text.len() as u64);
            prop_assert!(tokens >= dictionary(tokenizer).count(text.as_str()) as u64);
        }
    }

    #[test]
    fn every_text_is_split_to_its_end(text in texts()) {
        for tokenizer in BOTH {
            let covered: usize = dictionary(tokenizer).split(&text).map(str::len).sum();
            prop_assert_eq!(covered, text.len());
        }
    }
}
