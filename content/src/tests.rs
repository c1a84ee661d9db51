#![expect(clippy::unwrap_used, reason = "a test may fail")]

use nexus_events::content::{Action, Class, Direction};
use proptest::prelude::*;
use serde_json::json;

use crate::*;

const KEY: &str = "0123456789abcdefghij0123456789abcdefghij";

fn rules(toml: &str) -> Rules {
    let config: FilterConfig = toml::from_str(toml).unwrap();
    Filters::new(&config).unwrap().of("acme").clone()
}

fn all() -> Side {
    rules(
        "deny = [\"bluebird\", \"straße 7\", { regex = '\\bpro[jt]-\\d{2,6}\\b' }]\n\
         [output]\nsecret = \"redact\"\ncard = \"redact\"\niban = \"redact\"\nemail = \"redact\"\n\
         phone = \"redact\"\nssn = \"redact\"\nip = \"redact\"",
    )
    .output
}

fn filtered(side: &Side, text: &str) -> String {
    let checked = side.check(text, &mut Tally::default());
    checked.text.unwrap_or_else(|| text.to_owned())
}

#[test]
fn what_has_a_form_is_found() {
    for (text, expected) in [
        (format!("a sk-proj-{KEY} b"), "a [redacted:secret] b"),
        ("AKIAIOSFODNN7EXAMPLE,".to_owned(), "[redacted:secret],"),
        (format!("AIza{}", &KEY[..35]), "[redacted:secret]"),
        (format!("x=ghp_{KEY};"), "x=[redacted:secret];"),
        (format!("xoxb-{KEY}"), "[redacted:secret]"),
        (
            "SK0123456789abcdef0123456789abcdef".to_owned(),
            "[redacted:secret]",
        ),
        (
            format!("eyJhbGciOiJIUzI1NiJ9.{}.{KEY} end", KEY.repeat(30)),
            "[redacted:secret] end",
        ),
        (
            format!("Authorization: Bearer {KEY}=="),
            "Authorization: Bearer [redacted:secret]",
        ),
        (
            "postgres://app:hunter2@db/x".to_owned(),
            "postgres://app:[redacted:secret]@db/x",
        ),
        (
            "DB_PASSWORD=hunter2secret&x".to_owned(),
            "DB_PASSWORD=[redacted:secret]&x",
        ),
        (
            r#"{"api_key": "abcdefgh"}"#.to_owned(),
            r#"{"api_key": "[redacted:secret]"}"#,
        ),
        (
            format!(
                "k -----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY----- z",
                KEY.repeat(60)
            ),
            "k [redacted:secret] z",
        ),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc".to_owned(),
            "[redacted:secret]",
        ),
        (
            "pay 4111 1111 1111 1111 2028".to_owned(),
            "pay [redacted:card] 2028",
        ),
        ("378282246310005.".to_owned(), "[redacted:card]."),
        (
            "to DE89 3704 0044 0532 0130 00 now".to_owned(),
            "to [redacted:iban] now",
        ),
        ("gb82west12345698765432".to_owned(), "[redacted:iban]"),
        (
            "mail a.b+c@ex-ample.co.uk.".to_owned(),
            "mail [redacted:email].",
        ),
        (
            "call +49 (30) 1234-5678!".to_owned(),
            "call [redacted:phone]!",
        ),
        ("ssn 123-45-6789".to_owned(), "ssn [redacted:ssn]"),
        ("at 10.0.0.255:80".to_owned(), "at [redacted:ip]:80"),
        (
            "Project BlueBird, now".to_owned(),
            "Project [redacted:denied], now",
        ),
        (
            "proj-123 and STRASSE 7, Straße 7".to_owned(),
            "[redacted:denied] and STRASSE 7, [redacted:denied]",
        ),
    ] {
        assert_eq!(filtered(&all(), &text), expected, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "the bearer of good news",
        "risk-free desk-based work",
        "4111 1111 1111 1112 and 1234567890123456",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "0190b2f5-7c1e-7d2a-9f6b-2f6d1a2b3c4d",
        "-----BEGIN PUBLIC KEY-----",
        "https://example.test/a:b and http://example.test:8080/x@y",
        "password: short",
        "password=[redacted:secret]",
        "DE89 3704 0044 0532 0130 02",
        "nobody@nowhere a@b.c @home",
        "1 + 12345678 = +1",
        "666-45-6789 000-12-3456 900-12-3456 123-00-6789 123-45-0000 123-45-67890",
        "1.2.3 256.1.1.1 1.2.3.4.5 v1.2.3.4",
        "bluebirds myproj-12 proj-1",
        "",
    ] {
        let checked = all().check(text, &mut Tally::default());
        assert_eq!(checked, Checked::default(), "{text}");
    }
}

#[test]
fn of_a_tenants_settings_and_policy_the_stricter_counts() {
    let toml = "[output]\nemail = \"mark\"\n[tenants.acme.output]\nemail = \"redact\"\nsecret = \"off\"\n\
                [tenants.other]\ndeny = [\"x1\"]";
    let config: FilterConfig = toml::from_str(toml).unwrap();
    let filters = Filters::new(&config).unwrap();
    let acme = filters.of("acme");
    assert_eq!(acme.output.action(Class::Email), Some(Action::Redact));
    assert!(acme.output.action(Class::Secret).is_none() && acme.input.is_off());
    let usual = filters.of("somebody");
    assert_eq!(usual.output.action(Class::Secret), Some(Action::Mark));
    assert!(usual.output.action(Class::Denied).is_none(), "no list");
    assert_eq!(
        filters.of("other").input.action(Class::Denied),
        Some(Action::Redact)
    );
    let duty = serde_json::from_value(json!({
        "input": { "card": "mark" }, "output": { "email": "mark", "secret": "refuse" }
    }));
    let obliged = acme.clone().and(&duty.unwrap());
    assert_eq!(obliged.input.action(Class::Card), Some(Action::Mark));
    assert_eq!(obliged.output.action(Class::Email), Some(Action::Redact));
    assert_eq!(obliged.output.action(Class::Secret), Some(Action::Refuse));
    assert_ne!(obliged.output.describe(), acme.output.describe());
}

#[test]
fn what_is_refused_or_marked_is_not_hidden_by_what_is_left_out() {
    let side = rules("[output]\nsecret = \"redact\"\nemail = \"refuse\"\nip = \"mark\"").output;
    let mut tally = Tally::default();
    let checked = side.check("password=anna@example.test", &mut tally);
    assert_eq!(checked.refused, Some(Class::Email));
    let side = rules("[output]\nsecret = \"redact\"\nip = \"mark\"").output;
    let mut tally = Tally::default();
    let checked = side.check("password=10.0.0.1; 10.0.0.2", &mut tally);
    assert_eq!(
        checked.text.unwrap(),
        "password=[redacted:secret]; 10.0.0.2"
    );
    let found = findings(&side, Direction::Output, &tally);
    let counts: Vec<_> = found
        .iter()
        .map(|one| (one.class, one.action, one.count))
        .collect();
    assert_eq!(
        counts,
        [
            (Class::Secret, Action::Redact, 1),
            (Class::Ip, Action::Mark, 2)
        ]
    );
}

#[test]
fn a_stream_stops_at_what_is_refused() {
    for toml in [
        "[output]\nsecret = \"refuse\"",
        "deny = [\"sk\"]\n[output]\ndenied = \"refuse\"",
    ] {
        let mut stream = Stream::new(&rules(toml).output);
        let mut given = String::new();
        for piece in ["it is ", "s", "k-0123456789", "0123456789 and", " more"] {
            given.push_str(&stream.push(piece));
        }
        given.push_str(&stream.finish());
        assert_eq!(given, "it is ");
        assert!(stream.refused().is_some());
    }
}

#[test]
fn values_are_filtered_where_they_are() {
    let mut value = json!({
        "to": ["anna@example.test"], "password": "tiger", "n": 4_111_111_111_111_111_u64,
        "anna@example.test": { "apiKey": "a" }
    });
    let mut tally = Tally::default();
    assert_eq!(all().check_value(&mut value, &mut tally), None);
    let expected = json!({
        "to": ["[redacted:email]"], "password": "[redacted:secret]", "n": "[redacted:card]",
        "[redacted:email]": { "apiKey": "a" }
    });
    assert_eq!(value, expected);
    let refusing = rules("[output]\nsecret = \"refuse\"").output;
    let mut value = json!([{ "password": "tiger" }]);
    assert_eq!(
        refusing.check_value(&mut value, &mut tally),
        Some(Class::Secret)
    );
}

#[test]
fn lists_are_bounded() {
    for entry in ["a+", "^a", "a$", "(?m)^a", "", "a{1,200}", "(", "x*"] {
        let toml = format!("deny = [{{ regex = '{entry}' }}]");
        let config: FilterConfig = toml::from_str(&toml).unwrap();
        assert!(Filters::new(&config).is_err(), "{entry}");
    }
    for deny in [
        vec!["x".to_owned(); 1001],
        vec!["x".repeat(129)],
        vec![String::new()],
    ] {
        let deny = deny.into_iter().map(DenyEntry::Word).collect();
        let config = FilterConfig {
            deny,
            ..FilterConfig::default()
        };
        assert!(Filters::new(&config).is_err());
    }
}

/// Texts that are made of what the probes look for, so that cuts fall into it.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
        Just("-----END RSA PRIVATE KEY-----"),
        Just("sk-"),
        Just("AKIA"),
        Just("ghp_"),
        Just("eyJ"),
        Just("."),
        Just("bearer "),
        Just("password"),
        Just("= "),
        Just("://"),
        Just("u:p@"),
        Just("4111 1111 1111 1111"),
        Just("4111"),
        Just("-"),
        Just(" "),
        Just("DE89370400440532013000"),
        Just("DE89 "),
        Just("anna"),
        Just("@"),
        Just("example.test"),
        Just("+49 30 "),
        Just("123456"),
        Just("123-45-6789"),
        Just("10.0.0.1"),
        Just("blue"),
        Just("bird"),
        Just("ß"),
        Just("é"),
        Just("proj-12"),
        Just("straße 7"),
        Just("0123456789abcdefghij"),
        Just("\n"),
        Just("a"),
        Just("[redacted"),
    ];
    prop::collection::vec(
        prop_oneof![8 => piece.prop_map(str::to_owned), 1 => "\\PC{0,12}"],
        0..24,
    )
    .prop_map(|pieces| pieces.concat())
}

fn streamed(side: &Side, text: &str, cuts: &[prop::sample::Index]) -> (String, usize) {
    let mut stream = Stream::new(side);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    let (mut given, mut from, mut most) = (String::new(), 0, 0);
    for to in cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)) {
        given.push_str(&stream.push(&text[from..to]));
        most = most.max(stream.holds());
        from = to;
    }
    given.push_str(&stream.finish());
    (given, most)
}

proptest! {
    #[test]
    fn how_a_text_was_cut_changes_nothing(
        text in text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let side = all();
        let (given, most) = streamed(&side, &text, &cuts);
        prop_assert_eq!(given, filtered(&side, &text));
        prop_assert!(most <= MOST_HELD);
    }

    #[test]
    fn bytes_one_by_one_give_the_same_with_refusals(text in text()) {
        let side = rules("deny = [\"bluebird\"]\n[output]\nsecret = \"redact\"\nemail = \"refuse\"\nphone = \"redact\"").output;
        let mut whole = Stream::new(&side);
        let mut expected = whole.push(&text);
        expected.push_str(&whole.finish());
        let mut stream = Stream::new(&side);
        let mut given = String::new();
        for c in text.chars() {
            given.push_str(&stream.push(c.encode_utf8(&mut [0; 4])));
        }
        given.push_str(&stream.finish());
        prop_assert_eq!(given, expected);
        prop_assert_eq!(stream.refused(), whole.refused());
    }
}
