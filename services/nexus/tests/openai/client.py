"""The official client of OpenAI against a gateway: each case is a function, and fails by an exception.

Arguments: the gateway's base URL. The model behind it is a test server's, which repeats what it is
told, calls tools that are asked for by name, and knows the words that the test's script has.
"""

import json
import sys
import time

import openai

BASE = sys.argv[1] + "/v1"


def client(key="none", user="ada", **options):
    return openai.OpenAI(
        base_url=BASE,
        api_key=key,
        default_headers={"Nexus-User": user} if user else None,
        timeout=60,
        **options,
    )


def says(text, role="user"):
    return {"role": role, "content": text}


BOOK = {
    "type": "function",
    "function": {
        "name": "book_room",
        "description": "Books a room.",
        "parameters": {"type": "object", "properties": {"room": {"type": "string"}}},
    },
}
ASK_TO_BOOK = 'call book_room {"room":"blue"}'


def create(**fields):
    fields = {"model": "test-model", "messages": [says("hello there")]} | fields
    return client().chat.completions.create(**fields)


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def plain():
    answer = create(max_completion_tokens=100, temperature=0.5, user="u1", metadata={"a": "b"}, n=1)
    same(answer.object, "chat.completion")
    same(answer.model, "test-model")
    assert answer.id.startswith("chatcmpl-")
    choice = answer.choices[0]
    same((choice.message.role, choice.message.content), ("assistant", "You said: hello there"))
    same((choice.finish_reason, choice.message.tool_calls), ("stop", None))
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    # A model brings no tools of the platform, an agent its own.
    same(create(messages=[says("What is 12*7?")]).choices[0].message.content, "You said: What is 12*7?")
    agent = create(model="agent:default", messages=[says("What is 12*7?")])
    assert "84" in agent.choices[0].message.content
    named = create(messages=[says("What is 12*7?")], metadata={"nexus_tools": "calculator"})
    assert "84" in named.choices[0].message.content
    same(create(max_tokens=2).choices[0].finish_reason, "length")
    print(answer.id.removeprefix("chatcmpl-"))


def conversation():
    answer = create(
        messages=[
            says("Speak like a heron.", "system"),
            says("first words"),
            says("first answer", "assistant"),
            {"role": "user", "content": [{"type": "text", "text": "second words"}]},
        ]
    )
    same(answer.choices[0].message.content, "You said: second words")


def stream():
    with create(stream=True, stream_options={"include_usage": True}) as chunks:
        chunks = list(chunks)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    same(text, "You said: hello there")
    same(chunks[0].choices[0].delta.role, "assistant")
    assert len(chunks) > 4, "it comes in pieces"
    same({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
    same(len({chunk.id for chunk in chunks}), 1)
    same([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
    same((chunks[-1].choices, chunks[-1].usage.total_tokens > 0), ([], True))
    assert all(chunk.usage is None for chunk in chunks[:-1])
    with create(stream=True) as chunks:
        assert all(chunk.choices for chunk in chunks), "usage is told only where it is asked for"


def tools():
    messages = [says(ASK_TO_BOOK)]
    answer = create(messages=messages, tools=[BOOK], tool_choice="auto")
    same((answer.choices[0].finish_reason, len(answer.choices)), ("tool_calls", 1))
    message = answer.choices[0].message
    call = message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments)), ("book_room", {"room": "blue"}))
    messages += [message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "booking 7"}]
    answer = create(messages=messages, tools=[BOOK])
    same(answer.choices[0].message.content, "The result is booking 7.")
    same(answer.choices[0].finish_reason, "stop")
    refrained = create(messages=[says("hello")], tools=[BOOK], tool_choice="none")
    same(refrained.choices[0].finish_reason, "stop")
    named = {"type": "function", "function": {"name": "book_room"}}
    forced = create(messages=[says(ASK_TO_BOOK)], tools=[BOOK], tool_choice=named)
    same(forced.choices[0].finish_reason, "tool_calls")


def streamed_tools():
    text = ASK_TO_BOOK + '\ncall book_room {"room":"red"}'
    calls = {}
    finish = None
    with create(messages=[says(text)], tools=[BOOK], stream=True) as chunks:
        pieces = 0
        for chunk in chunks:
            finish = chunk.choices[0].finish_reason or finish
            for delta in chunk.choices[0].delta.tool_calls or []:
                pieces += 1
                call = calls.setdefault(delta.index, {"id": delta.id, "arguments": ""})
                call["name"] = delta.function.name or call["name"]
                call["arguments"] += delta.function.arguments or ""
    same(finish, "tool_calls")
    assert pieces > 4, "arguments come in pieces"
    rooms = [json.loads(calls[index]["arguments"])["room"] for index in sorted(calls)]
    same((rooms, calls[0]["name"], len({c["id"] for c in calls.values()})), (["blue", "red"], "book_room", 2))


def raises(kind, code, param=None, by=None, **fields):
    try:
        (by or client(max_retries=0)).chat.completions.create(
            **({"model": "test-model", "messages": [says("hello")]} | fields)
        )
    except kind as error:
        same(type(error), kind)
        same((error.code, error.param), (code, param))
        return error
    raise AssertionError(f"no {kind} was raised")


def errors():
    raises(openai.NotFoundError, "model_not_found", "model", model="huge")
    raises(openai.BadRequestError, "invalid", "temperature", extra_body={"temperature": "hot"})
    raises(openai.BadRequestError, "invalid", "temperature", temperature=3)
    raises(openai.BadRequestError, "invalid", "n", n=2)
    raises(openai.BadRequestError, "invalid", "messages", messages=[])
    raises(openai.BadRequestError, "invalid", "tools", tools=[BOOK, BOOK])
    bad = client("nxk_" + "x" * 48, user=None, max_retries=0)
    raises(openai.AuthenticationError, "invalid_api_key", by=bad)
    # With its retries: a run that was refused is not started again by the client itself.
    poor = client(user="poor")
    error = raises(openai.RateLimitError, "insufficient_quota", by=poor)
    same(error.type, "insufficient_quota")
    raises(openai.RateLimitError, "insufficient_quota", by=poor, stream=True)
    raises(openai.PermissionDeniedError, "policy_denied", by=client(user="mallory"))
    print(error.response.headers["nexus-run-id"])


def models():
    names = [model.id for model in client().models.list()]
    assert "test-model" in names and "agent:default" in names, names
    same(client().models.retrieve("agent:default").owned_by, "nexus")
    try:
        client(max_retries=0).models.retrieve("huge")
    except openai.NotFoundError as error:
        same(error.code, "model_not_found")
    else:
        raise AssertionError("no NotFoundError was raised")
    bad = client("nxk_" + "x" * 48, user=None, max_retries=0)
    try:
        bad.models.list()
    except openai.AuthenticationError as error:
        same(error.code, "invalid_api_key")
    else:
        raise AssertionError("no AuthenticationError was raised")


def restarts():
    with create(messages=[says("cut and again")], stream=True) as chunks:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    same(text, "one two three four five")
    try:
        with create(messages=[says("cut and other")], stream=True) as chunks:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    except openai.APIError as error:
        same(error.code, "answer_restarted")
    else:
        raise AssertionError(f"two answers were mixed: {text}")


def closes():
    raw = client().chat.completions.with_raw_response.create(
        model="test-model", messages=[says("slowly please")], stream=True
    )
    chunks = raw.parse()
    next(iter(chunks))
    chunks.close()
    print(raw.headers["nexus-run-id"])


def again():
    ids = set()
    for _ in range(2):
        answer = create(extra_headers={"Idempotency-Key": "one-order"})
        same(answer.choices[0].message.content, "You said: hello there")
        ids.add(answer.id)
    with create(extra_headers={"Idempotency-Key": "one-order"}, stream=True) as chunks:
        chunks = list(chunks)
    same("".join(c.choices[0].delta.content or "" for c in chunks), "You said: hello there")
    ids.add(chunks[0].id)
    same(len(ids), 1)


def respond(**fields):
    return client().responses.create(**({"model": "test-model", "input": "hello there"} | fields))


def responses():
    first = respond(max_output_tokens=100, metadata={"a": "b"}, store=True)
    same((first.object, first.status), ("response", "completed"))
    same((first.output_text, first.metadata), ("You said: hello there", {"a": "b"}))
    assert first.usage.input_tokens > 0 and first.usage.output_tokens > 0
    same(client().responses.retrieve(first.id), first)
    items = [says("first words"), says("first answer", "assistant"), says("second words")]
    same(respond(input=items, instructions="Be brief.").output_text, "You said: second words")
    next_one = respond(input="and now", previous_response_id=first.id)
    same((next_one.previous_response_id, next_one.output_text), (first.id, "You said: and now"))
    assert next_one.usage.input_tokens > first.usage.input_tokens, "it has the conversation"
    short = respond(max_output_tokens=2)
    same((short.status, short.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    for kind, fields in [
        (openai.NotFoundError, {"model": "huge"}),
        (openai.BadRequestError, {"previous_response_id": "resp_x"}),
        (openai.ConflictError, {"previous_response_id": first.id}),
    ]:
        try:
            client(max_retries=0).responses.create(**({"model": "test-model", "input": "x"} | fields))
        except kind:
            continue
        raise AssertionError(f"no {kind} was raised")


def numbers(events):
    return [event.sequence_number for event in events]


def responses_stream():
    events = list(respond(stream=True))
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    same("".join(deltas), "You said: hello there")
    assert len(deltas) > 2, "it comes in pieces"
    same(numbers(events), sorted(set(numbers(events))))
    final = events[-1].response
    same(final.output_text, "You said: hello there")
    # From anywhere on, the same.
    for place, event in enumerate(events[:-1]):
        rest = client().responses.retrieve(
            final.id, stream=True, starting_after=event.sequence_number
        )
        rest = list(rest)
        text = "".join(e.delta for e in rest if e.type == "response.output_text.delta")
        had = [e.delta for e in events[: place + 1] if e.type == "response.output_text.delta"]
        same("".join(had) + text, "You said: hello there")
        same(rest[-1], events[-1])
    with client().responses.stream(model="test-model", input="hello there") as stream:
        for _ in stream:
            pass
        same(stream.get_final_response().output_text, "You said: hello there")


BOOKING = {"type": "function", **BOOK["function"], "strict": False}


def responses_tools():
    asked = respond(input=ASK_TO_BOOK, tools=[BOOKING])
    call = asked.output[-1]
    same((call.type, call.name, json.loads(call.arguments)), ("function_call", "book_room", {"room": "blue"}))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "booking 7"}
    answer = respond(input=[result], previous_response_id=asked.id, tools=[BOOKING])
    same(answer.output_text, "The result is booking 7.")
    # The same with the conversation in the request.
    items = [says(ASK_TO_BOOK), *[item.model_dump(exclude_none=True) for item in asked.output], result]
    same(respond(input=items, tools=[BOOKING]).output_text, "The result is booking 7.")
    events = list(respond(input=ASK_TO_BOOK, tools=[BOOKING], stream=True))
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    same([json.loads(event.arguments) for event in done], [{"room": "blue"}])


def polled(response):
    deadline = time.monotonic() + 30
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline, response
        time.sleep(0.05)
        response = client().responses.retrieve(response.id)
    return response


def responses_background():
    answer = polled(respond(background=True))
    same((answer.status, answer.output_text), ("completed", "You said: hello there"))
    slow = respond(input="slowly please", background=True)
    assert slow.status in ("queued", "in_progress"), slow
    same(client().responses.cancel(slow.id).status, "cancelled")
    same(polled(slow).status, "cancelled")
    # A reader of a response in the background goes away, and it goes on; then it is stopped.
    events = respond(input="slowly please", background=True, stream=True)
    first = next(iter(events))
    events.close()
    same(client().responses.retrieve(first.response.id).status, "in_progress")
    same(client().responses.cancel(first.response.id).status, "cancelled")


globals()[sys.argv[2]]()
