// The official client of OpenAI for Node against a gateway: each case is a function, and fails by an
// exception.
//
// Arguments: the gateway's base URL, and the case. The package is found below NEXUS_TEST_NODE. The model
// behind it is a test server's, which repeats what it is told and calls tools that are asked for by name.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NEXUS_TEST_NODE}/clients/package.json`);
const OpenAI = require("openai").default;

const [base, name] = process.argv.slice(2);
const client = (more = {}) =>
  new OpenAI({
    baseURL: `${base}/v1`,
    apiKey: "none",
    defaultHeaders: { "Nexus-User": "ada" },
    timeout: 60_000,
    ...more,
  });
const model = "test-model";
const says = (content, role = "user") => ({ role, content });
const parameters = { type: "object", properties: { room: { type: "string" } } };
const book = { type: "function", function: { name: "book_room", description: "Books.", parameters } };
const askToBook = 'call book_room {"room":"blue"}';

const cases = {
  async plain() {
    const answer = await client().chat.completions.create({ model, messages: [says("hello there")] });
    assert.equal(answer.choices[0].message.content, "You said: hello there");
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    console.log(answer.id.replace("chatcmpl-", ""));
  },

  async stream() {
    const stream = client().chat.completions.stream({
      model,
      messages: [says("hello there")],
      stream_options: { include_usage: true },
    });
    const pieces = [];
    stream.on("content", (piece) => pieces.push(piece));
    const answer = await stream.finalChatCompletion();
    assert.equal(pieces.join(""), "You said: hello there");
    assert.ok(pieces.length > 2, "it comes in pieces");
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok((await stream.totalUsage()).total_tokens > 0);
  },

  // Calls are streamed, executed by the client, and their results lead to an answer.
  async tools() {
    const booked = [];
    const runner = client().chat.completions.runTools({
      model,
      stream: true,
      messages: [says(askToBook)],
      tools: [
        {
          type: "function",
          function: {
            ...book.function,
            parse: JSON.parse,
            function: ({ room }) => {
              booked.push(room);
              return "booking 7";
            },
          },
        },
      ],
    });
    assert.equal(await runner.finalContent(), "The result is booking 7.");
    assert.deepEqual(booked, ["blue"]);
    const messages = [says(`${askToBook}\ncall book_room {"room":"red"}`)];
    const stream = client().chat.completions.stream({ model, messages, tools: [book] });
    const answer = await stream.finalChatCompletion();
    const calls = answer.choices[0].message.tool_calls;
    const rooms = calls.map((call) => JSON.parse(call.function.arguments).room);
    assert.deepEqual([answer.choices[0].finish_reason, rooms], ["tool_calls", ["blue", "red"]]);
  },

  async models() {
    const names = [];
    for await (const found of client().models.list()) names.push(found.id);
    assert.ok(names.includes(model) && names.includes("agent:default"), names.join());
    assert.equal((await client().models.retrieve("agent:default")).owned_by, "nexus");
  },

  async errors() {
    const create = (fields, more = { maxRetries: 0 }) =>
      client(more).chat.completions.create({ model, messages: [says("hello")], ...fields });
    const is = (kind, code) => (error) => {
      assert.ok(error instanceof kind, `${error}`);
      assert.equal(error.code, code);
      return true;
    };
    await assert.rejects(create({ model: "huge" }), is(OpenAI.NotFoundError, "model_not_found"));
    await assert.rejects(create({ temperature: 3 }), is(OpenAI.BadRequestError, "invalid"));
    const unknown = { apiKey: `nxk_${"x".repeat(48)}`, maxRetries: 0, defaultHeaders: {} };
    await assert.rejects(create({}, unknown), is(OpenAI.AuthenticationError, "invalid_api_key"));
  },

  async responses() {
    const first = await client().responses.create({ model, input: "hello there" });
    assert.deepEqual([first.status, first.output_text], ["completed", "You said: hello there"]);
    const stream = client().responses.stream({ model, input: "hello there" });
    const events = [];
    for await (const event of stream) events.push(event);
    assert.deepEqual([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), "You said: hello there");
    assert.ok(deltas.length > 2, "it comes in pieces");
    const last = await stream.finalResponse();
    assert.equal(last.output_text, "You said: hello there");
    // From the middle on, the rest.
    const after = events[Math.floor(events.length / 2)].sequence_number;
    const rest = await client().responses.retrieve(last.id, { stream: true, starting_after: after });
    const numbers = [];
    for await (const event of rest) numbers.push(event.sequence_number);
    assert.ok(numbers.length > 0 && numbers.every((number) => number > after), numbers.join());
  },

  async responsesTools() {
    const tools = [{ type: "function", ...book.function, strict: false }];
    const asked = await client().responses.create({ model, input: askToBook, tools });
    const call = asked.output.at(-1);
    assert.deepEqual([call.type, call.name], ["function_call", "book_room"]);
    assert.deepEqual(JSON.parse(call.arguments), { room: "blue" });
    const result = { type: "function_call_output", call_id: call.call_id, output: "booking 7" };
    const answer = await client().responses.create({
      model,
      tools,
      input: [result],
      previous_response_id: asked.id,
    });
    assert.equal(answer.output_text, "The result is booking 7.");
  },

  async background() {
    const asked = { model, input: "slowly please", background: true };
    const slow = await client().responses.create(asked);
    assert.ok(["queued", "in_progress"].includes(slow.status), slow.status);
    assert.equal((await client().responses.cancel(slow.id)).status, "cancelled");
    let answer = await client().responses.create({ ...asked, input: "hello there" });
    const until = Date.now() + 30_000;
    while (answer.status !== "completed") {
      assert.ok(Date.now() < until, answer.status);
      await new Promise((done) => setTimeout(done, 50));
      answer = await client().responses.retrieve(answer.id);
    }
    assert.equal(answer.output_text, "You said: hello there");
  },
};

await cases[name]();
