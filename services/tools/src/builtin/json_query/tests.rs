#![expect(clippy::unwrap_used, reason = "a test may fail")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{evaluate, parse};

fn ask(query: &str, document: &Value) -> Result<Vec<Value>, String> {
    let query = parse::query(query).map_err(|error| error.message)?;
    evaluate::evaluate(&query, document).map_err(|error| error.code.to_owned())
}

fn store() -> Value {
    json!({ "store": {
        "book": [
            { "category": "reference", "author": "Rees", "price": 8.95 },
            { "category": "fiction", "author": "Waugh", "price": 12.99 },
            { "category": "fiction", "author": "Melville", "isbn": "1", "price": 8 },
            { "category": "fiction", "author": "Tolkien", "isbn": "2", "price": 22.99 }
        ],
        "bicycle": { "color": "red", "price": 399 }
    } })
}

#[test]
fn queries_select_as_the_standard_says() {
    for (query, expected) in [
        (
            "$.store.book[*].author",
            json!(["Rees", "Waugh", "Melville", "Tolkien"]),
        ),
        ("$['store']['bicycle'].color", json!(["red"])),
        ("$..isbn", json!(["1", "2"])),
        ("$..book[-1].author", json!(["Tolkien"])),
        ("$..book[0,1].author", json!(["Rees", "Waugh"])),
        ("$..book[:2].author", json!(["Rees", "Waugh"])),
        ("$..book[::-2].author", json!(["Tolkien", "Waugh"])),
        ("$..book[?@.isbn].author", json!(["Melville", "Tolkien"])),
        (
            "$..book[?@.price < 10 && @.category == 'fiction'].author",
            json!(["Melville"]),
        ),
        (
            "$..book[?!(@.price<10)||@.isbn==\"1\"].author",
            json!(["Waugh", "Melville", "Tolkien"]),
        ),
        ("$..book[?@.price == 8.0].author", json!(["Melville"])),
        (
            "$..book[?@.price > $.store.book[1].price].author",
            json!(["Tolkien"]),
        ),
        ("$.store.book[9].author", json!([])),
        ("$.none", json!([])),
        ("$.store.book[?@.isbn == null].author", json!([])),
        ("$", json!([store()])),
    ] {
        assert_eq!(
            ask(query, &store()),
            Ok(expected.as_array().unwrap().clone()),
            "{query}"
        );
    }
    let odd = json!({ "a b": 1, "é": 2, "'": 3 });
    assert_eq!(
        ask("$['a b', \"é\", '\\'']", &odd),
        Ok(vec![json!(1), json!(2), json!(3)])
    );
    assert_eq!(ask("$.é", &odd), Ok(vec![json!(2)]));
}

#[test]
fn what_is_no_query_says_where() {
    for query in [
        "",
        "store",
        "$.",
        "$[",
        "$[?]",
        "$['a",
        "$[1 2]",
        "$[?@.a ==]",
        "$[?1]",
        "$.a b",
        "$[--1]",
        "$[?length(@.a)>1]",
    ] {
        assert!(ask(query, &store()).is_err(), "{query}");
    }
    let deep = format!("$[?{}@.a{}]", "(".repeat(40), ")".repeat(40));
    assert!(ask(&deep, &store()).is_err());
}

#[test]
fn a_query_that_multiplies_ends_soon() {
    let mut nested = json!(1);
    for _ in 0..60 {
        nested = json!([nested]);
    }
    let doubling = format!("${}", "[0,0]".repeat(50));
    assert_eq!(ask(&doubling, &nested), Err("too_large".to_owned()));
    let below = format!("${}", "..*".repeat(12));
    assert_eq!(ask(&below, &nested), Err("too_large".to_owned()));
    let wide = json!(vec![1; 3000]);
    assert_eq!(
        ask("$[?$[?$[?@ == 2]]]", &wide),
        Err("too_large".to_owned())
    );
}

proptest! {
    #[test]
    fn whatever_is_asked_gets_an_answer(query in "\\$[\\[\\]().@$?*,:'0-9ab=<>!&| -]{0,40}|\\PC{0,30}") {
        let _ = ask(&query, &store());
    }
}
