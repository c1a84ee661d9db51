//! What the verbs send, and how their answers are shown.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
use clap::Parser;

use super::*;
use crate::cli::print::Output;
use crate::cli::style::Style;
use crate::cli::testing::{self, Scripted};
use crate::cli::view::table;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    verb: BudgetsVerb,
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// What a command line sends: the first lines of the request, and its body.
async fn sent(words: &[&str], answer: Value) -> (String, String) {
    let scripted = Scripted::start(vec![testing::json("200 OK", &answer)]).await;
    let words = std::iter::once(&"budgets").chain(words);
    let asker = Asker {
        gateway: scripted.gateway.clone(),
        output: Output { json: true },
    };
    let verb = Line::try_parse_from(words).unwrap().verb;
    verb.run(&asker).await.unwrap();
    let asked = scripted.asked().remove(0);
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let line = head.lines().next().unwrap();
    (line.replace(" HTTP/1.1", ""), body.to_owned())
}

#[tokio::test]
async fn words_become_requests() {
    let done = json!({ "seq": 7 });
    let page = json!({ "items": [] });
    let waiting = "waiting --limit 3";
    let grant = format!("grant {ID} --amount 500");
    let refuse = format!("refuse {ID} --reason no");
    for (words, answer, line, body) in [
        (
            "list --scope user",
            &page,
            "GET /v1/budgets?scope=user".to_owned(),
            "",
        ),
        (
            "set user ada --tokens 100000 --window day --on-exhausted park --thresholds 50,80,95",
            &done,
            "PUT /v1/budgets/user/ada".to_owned(),
            r#"{"limits":{"tokens":100000},"on_exhausted":"park","thresholds":[50,80,95],"window":"day"}"#,
        ),
        (
            "set tenant --runs 4 --tool-calls 9 --seconds 2 --usd 0.5",
            &done,
            "PUT /v1/budgets/tenant".to_owned(),
            r#"{"limits":{"cost_usd_micros":500000,"runs":4,"time_ms":2000,"tool_calls":9},"window":"lifetime"}"#,
        ),
        (
            waiting,
            &page,
            "GET /v1/reservations?limit=3&status=waiting".to_owned(),
            "",
        ),
        (
            &grant,
            &done,
            format!("POST /v1/reservations/{ID}/grant"),
            r#"{"amount":500}"#,
        ),
        (
            &refuse,
            &done,
            format!("POST /v1/reservations/{ID}/refuse"),
            r#"{"reason":"no"}"#,
        ),
        (
            "spend --by user,model --from 2026-11-01 --spent-by ada",
            &page,
            "GET /v1/spend?by=user%2Cmodel&from=2026-11-01&user=ada".to_owned(),
            "",
        ),
        (
            "alerts --kind overrun",
            &page,
            "GET /v1/budgets/alerts?kind=overrun".to_owned(),
            "",
        ),
    ] {
        let split: Vec<_> = words.split(' ').collect();
        let (asked, sent) = sent(&split, answer.clone()).await;
        assert_eq!(asked, line, "{words}");
        if !body.is_empty() {
            let (sent, body): (Value, Value) = (
                serde_json::from_str(&sent).unwrap(),
                serde_json::from_str(body).unwrap(),
            );
            assert_eq!(sent, body, "{words}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_sent() {
    for words in [
        "set user",
        "set planet x --tokens 1",
        "set user ada --on-exhausted panic",
        "set user ada --thresholds 50,x",
        "grant 7",
        "spend --by colour",
        "alerts --kind noise",
    ] {
        let words = std::iter::once("budgets").chain(words.split(' '));
        assert!(Line::try_parse_from(words).is_err());
    }
}

fn shown(fields: &[Field], always: usize, items: &Value) -> String {
    let rows = rows(items);
    table(&told(fields, always, rows), rows, Style::PLAIN)
}

#[test]
fn a_budget_shows_the_units_that_count() {
    let account = json!([{
        "scope": { "kind": "user", "id": "ada" }, "window": "day", "limited": true,
        "limits": { "tokens": 100_000, "runs": 2 },
        "reserved": { "tokens": 1200, "cost_usd_micros": 0, "time_ms": 0, "runs": 1 },
        "spent": { "tokens": 98_000, "cost_usd_micros": 0, "time_ms": 0 },
        "on_exhausted": "park", "resets_at": "2026-11-23T00:00:00.000Z"
    }]);
    let expected = "\
SCOPE  ID   WINDOW  TOKENS SPENT  TOKENS HELD  TOKEN LIMIT  RUNS IN FLIGHT  RUN LIMIT  EXHAUSTED  RESETS
user   ada  day           98,000        1,200      100,000               1          2  park       2026-11-23 00:00:00
";
    assert_eq!(shown(fields::BUDGETS, 2, &account), expected);
}

#[test]
fn who_waits_is_shown_with_what_grants_it() {
    let waiting = json!([{
        "id": ID, "status": "waiting", "run_id": ID, "turn": 1, "since": "2026-11-22T13:16:17Z",
        "waits_for": {
            "place": 1, "asks_person": true, "scope": { "kind": "user", "id": "ada" },
            "window": "day", "unit": "tokens", "limit": 1000, "spent": 900, "reserved": 0,
            "needed": 300, "on_exhausted": "approve"
        }
    }]);
    let expected = format!(
        "\
PLACE  RESERVATION                           RUN                                   FOR     OF    ID   WINDOW  NEEDS  LIMIT  SPENT  ASKS  SINCE
    1  {ID}  {ID}  tokens  user  ada  day       300  1,000    900  *     2026-11-22 13:16:17
"
    );
    assert_eq!(shown(fields::WAITING, 2, &waiting), expected);
}

#[test]
fn spend_and_alerts_show_what_they_have() {
    let spend = json!([
        { "user": "ada", "model": "m", "calls": 2, "tool_calls": 0, "tokens": 1230,
          "cost_usd_micros": 1200, "time_ms": 5200, "overruns": 0, "late": 0 },
        { "user": "bob", "model": "", "calls": 0, "tool_calls": 3, "tokens": 0,
          "cost_usd_micros": 0, "time_ms": 12, "overruns": 0, "late": 0 }
    ]);
    let expected = "\
USER  MODEL  CALLS  TOOL CALLS  TOKENS     COST   TIME
ada   m          2           0   1,230  $0.0012  5.2 s
bob              0           3       0    $0.00  12 ms
";
    assert_eq!(shown(fields::SPEND, 0, &spend), expected);
    let sum = json!({ "calls": 2, "tool_calls": 3, "tokens": 1230, "cost_usd_micros": 1200, "time_ms": 5212 });
    let line = "in all   2 calls · 3 tool calls · 1,230 tokens · $0.0012 · 5.2 s";
    assert_eq!(total(&sum), line);
    let alerts = json!([{
        "kind": "threshold", "created_at": "2026-11-22T13:16:17Z", "window": "day",
        "scope": { "kind": "tenant" }, "unit": "tokens", "percent": 80, "limit": 100, "spent": 85
    }]);
    let expected = "\
TIME                 KIND       SCOPE   WINDOW  UNIT    PERCENT  SPENT  LIMIT
2026-11-22 13:16:17  threshold  tenant  day     tokens       80     85    100
";
    assert_eq!(shown(fields::ALERTS, 2, &alerts), expected);
}
