//! The content filter on a stream: however a text was cut, what passes is what passes of the whole,
//! nothing panics, and what is held back is bounded by what was given. The first bytes say where the
//! text is cut.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use nexus_content::{FilterConfig, Filters, MOST_HELD, Side, Stream, Tally};

const CONFIG: &str = r#"{
    "output": {
        "secret": "redact", "card": "redact", "iban": "redact", "email": "redact",
        "phone": "redact", "ssn": "redact", "ip": "redact"
    },
    "deny": ["bluebird", "straße 7", { "regex": "\\bpro[jt]-\\d{2,6}\\b" }]
}"#;

fn side() -> &'static Side {
    static FILTERS: OnceLock<Filters> = OnceLock::new();
    let filters = FILTERS.get_or_init(|| {
        let config: FilterConfig = serde_json::from_str(CONFIG).expect("a configuration");
        Filters::new(&config).expect("a list")
    });
    &filters.of("acme").output
}

fuzz_target!(|data: &[u8]| {
    let (cuts, text) = data.split_at(data.len().min(8));
    let text = String::from_utf8_lossy(text);
    let whole = side().check(&text, &mut Tally::default());
    let expected = whole.text.unwrap_or_else(|| text.clone().into_owned());
    let mut stream = Stream::new(side());
    let (mut given, mut rest, mut taken) = (String::new(), &*text, 0);
    for cut in cuts.iter().cycle().take(text.len()) {
        let mut at = usize::from(*cut).min(rest.len());
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        let (next, later) = rest.split_at(at);
        given.push_str(&stream.push(next));
        (rest, taken) = (later, taken + at);
        if expected == *text {
            assert!(taken - given.len() <= MOST_HELD);
        }
    }
    given.push_str(&stream.push(rest));
    given.push_str(&stream.finish());
    assert_eq!(given, expected);
});
