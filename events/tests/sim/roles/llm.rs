//! Calls the model: chance answers, slowly, wrongly, or with more than it was allowed.

use nexus_events::CommandId;
use nexus_events::command::CallModel;
use nexus_events::model::{FinishReason, ToolCall, Usage};
use nexus_events::run::{
    self, Again, LlmAborted, LlmCompleted, LlmFailed, ModelOutcome, ReservationGranted, Run,
    record_lapse, record_model,
};
use serde_json::json;

use crate::sim::execute::{load_run, record};
use crate::sim::world::{BOOK, Step, World};

pub(crate) fn call(world: &mut World, id: &CommandId, command: CallModel) -> Step<()> {
    let CallModel {
        run: mut reference,
        turn,
        round,
    } = command;
    let run = load_run(world, &mut reference);
    let is_it = |grant: &ReservationGranted| grant.turn == turn && run.round == round;
    let grant = run.grant.clone().filter(is_it);
    let Some(grant) = grant else {
        // Somebody recorded the outcome; what it made due may still have to be published.
        return record(world, reference, id, "", |_, _| vec![]).map(|_| ());
    };
    world.point("before calling")?;
    let outcome = if run.status.is_terminal() {
        ModelOutcome::Aborted(aborted(turn))
    } else if grant.covers_call_at(world.now) {
        answer(world, &run, &grant)
    } else {
        return record(world, reference, id, "", |run, _| record_lapse(run, turn)).map(|_| ());
    };
    world.point("after calling")?;
    record(world, reference, id, "", |run, now| {
        record_model(run, outcome.clone(), now)
    })
    .map(|_| ())
}

fn answer(world: &mut World, run: &Run, grant: &ReservationGranted) -> ModelOutcome {
    let rng = &mut world.rng;
    let turn = grant.turn;
    let mut usage = Usage {
        input_tokens: 1 + rng.below(run.context_tokens()),
        output_tokens: rng.below(grant.max_output_tokens + 1),
        ..Usage::default()
    };
    let mut duration_ms = rng.below(2_000.min(grant.amounts.time_ms) + 1);
    if rng.percent(5) {
        usage.output_tokens = grant.max_output_tokens + rng.below(500);
        duration_ms = grant.amounts.time_ms + rng.below(1_000_000);
    }
    let fails = rng.percent(9);
    let next = run::next_model(run, &world.catalog);
    let again = match rng.below(4) {
        0 => None,
        1 => Some(Again::SameModel),
        _ => next.map(Again::NextModel).or(Some(Again::SameModel)),
    };
    // Some never learn which tools there are.
    let unteachable = run
        .info()
        .is_some_and(|info| info.run_id.uuid().as_bytes()[1] < 20);
    let calls = if turn < 8 && (unteachable || rng.percent(45)) {
        1 + rng.below(3)
    } else {
        0
    };
    let tool_calls: Vec<_> = (0..calls).map(|_| tool_call(world, unteachable)).collect();
    world.now = world.now.plus_millis(duration_ms);
    let model = world.catalog.get(&run.model).expect("the model is known");
    let cost_usd_micros = model.price.cost_usd_micros(&usage);
    if fails {
        return ModelOutcome::Failed(LlmFailed {
            turn,
            code: "provider_error".to_owned(),
            message: "chance".to_owned(),
            usage,
            cost_usd_micros,
            duration_ms,
            attempts: 3,
            again,
            routing: None,
            findings: vec![],
        });
    }
    ModelOutcome::Completed(LlmCompleted {
        turn,
        provider: "sim".to_owned(),
        model: "sim-1".to_owned(),
        text: "said".into(),
        finish: if calls > 0 {
            FinishReason::ToolCalls
        } else {
            FinishReason::Stop
        },
        tool_calls,
        usage,
        cost_usd_micros,
        duration_ms,
        time_to_first_token_ms: None,
        attempts: 1,
        response_id: None,
        route: "chance".to_owned(),
        routing: None,
        findings: vec![],
        cached: None,
    })
}

fn tool_call(world: &mut World, unteachable: bool) -> ToolCall {
    let id = world.rng.pick(&["a", "b", "c", ""]).to_owned();
    let known = ["calculator", "calculator", BOOK, BOOK, "teleport"];
    let name = match unteachable {
        true => "teleport",
        false => world.rng.pick(&known),
    };
    ToolCall {
        id,
        name: name.to_owned(),
        arguments: json!({ "expression": "1 + 1" }),
    }
}

fn aborted(turn: u32) -> LlmAborted {
    LlmAborted {
        turn,
        usage: Usage::default(),
        cost_usd_micros: 0,
        duration_ms: 0,
    }
}
