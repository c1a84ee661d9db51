//! What crosses into a tool and out of it: bytes, values, schemas, results. The first line is a
//! schema, the rest is a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexus_tools::validate::schema::Schema;
use nexus_tools::validate::{OnSecret, OutputRules, input, output, shape};

fuzz_target!(|data: &[u8]| {
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let (first, rest) = data.split_at(end);
    let Ok(value) = shape::parse(rest) else {
        return;
    };
    let schema = shape::parse(first)
        .ok()
        .and_then(|schema| Schema::compile(&schema).ok());
    if let Some(schema) = &schema {
        let _ = input(schema, &value);
    }
    let rules = OutputRules {
        max_bytes: 1 << 16,
        secrets: OnSecret::Redact,
        emails: true,
    };
    if let Ok(checked) = output(schema.as_ref(), rules, value) {
        let again = output(
            None,
            OutputRules {
                max_bytes: u64::MAX,
                ..rules
            },
            checked.output,
        );
        assert!(again.is_err() || again.is_ok_and(|again| again.redacted.is_empty()));
    }
});
