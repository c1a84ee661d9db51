// The official client of Anthropic for Node against a gateway: each case is a function, and fails by
// an exception.
//
// Arguments: the gateway's base URL, and the case. The package is found below NEXUS_TEST_NODE. The model
// behind it is a test server's, which repeats what it is told and calls tools that are asked for by name.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NEXUS_TEST_NODE}/clients/package.json`);
const Anthropic = require("@anthropic-ai/sdk").default;

const [base, name] = process.argv.slice(2);
const client = (more = {}) =>
  new Anthropic({
    baseURL: base,
    apiKey: "none",
    defaultHeaders: { "Nexus-User": "ada" },
    timeout: 60_000,
    ...more,
  });
const says = (content, role = "user") => ({ role, content });
const asking = (fields = {}) => ({
  model: "test-model",
  max_tokens: 500,
  messages: [says("hello there")],
  ...fields,
});
const input_schema = { type: "object", properties: { room: { type: "string" } } };
const book = { name: "book_room", description: "Books.", input_schema };
const askToBook = 'call book_room {"room":"blue"}';

const cases = {
  async plain() {
    const answer = await client().messages.create(asking({ system: "Speak like a heron." }));
    assert.deepEqual([answer.stop_reason, answer.content[0].text], ["end_turn", "You said: hello there"]);
    assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
    console.log(answer.id.replace("msg_", ""));
  },

  async stream() {
    const stream = client().messages.stream(asking());
    const pieces = [];
    stream.on("text", (piece) => pieces.push(piece));
    const answer = await stream.finalMessage();
    assert.equal(pieces.join(""), "You said: hello there");
    assert.ok(pieces.length > 2, "it comes in pieces");
    assert.equal(answer.stop_reason, "end_turn");
    assert.ok(answer.usage.output_tokens > 0);
  },

  async tools() {
    const messages = [says(`${askToBook}\ncall book_room {"room":"red"}`)];
    const asked = await client().messages.stream(asking({ messages, tools: [book] })).finalMessage();
    assert.equal(asked.stop_reason, "tool_use");
    const calls = asked.content.filter((block) => block.type === "tool_use");
    assert.deepEqual(calls.map((call) => call.input.room), ["blue", "red"]);
    const results = calls.map((call) => ({
      type: "tool_result",
      tool_use_id: call.id,
      content: "booking 7",
    }));
    const more = [...messages, says(asked.content, "assistant"), says(results)];
    const answer = await client().messages.stream(asking({ messages: more, tools: [book] })).finalText();
    assert.match(answer, /booking 7/);
  },

  async errors() {
    const create = (fields, more = {}) => client({ maxRetries: 0, ...more }).messages.create(asking(fields));
    await assert.rejects(create({ model: "huge" }), Anthropic.NotFoundError);
    await assert.rejects(create({ messages: [] }), Anthropic.BadRequestError);
    const unknown = { apiKey: `nxk_${"x".repeat(48)}`, defaultHeaders: {} };
    await assert.rejects(create({}, unknown), Anthropic.AuthenticationError);
  },
};

await cases[name]();
