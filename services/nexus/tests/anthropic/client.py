"""The official client of Anthropic against a gateway: each case is a function, and fails by an
exception.

Arguments: the gateway's base URL. The model behind it is a test server's, which repeats what it is
told and calls tools that are asked for by name.
"""

import sys

import anthropic

BASE = sys.argv[1]


def client(key="none", user="ada", **options):
    return anthropic.Anthropic(
        base_url=BASE,
        api_key=key,
        default_headers={"Nexus-User": user} if user else None,
        timeout=60,
        **options,
    )


def says(content, role="user"):
    return {"role": role, "content": content}


BOOK = {
    "name": "book_room",
    "description": "Books a room.",
    "input_schema": {"type": "object", "properties": {"room": {"type": "string"}}},
}
ASK_TO_BOOK = 'call book_room {"room":"blue"}'


def asking(**fields):
    return {"model": "test-model", "max_tokens": 500, "messages": [says("hello there")]} | fields


def create(**fields):
    return client().messages.create(**asking(**fields))


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def plain():
    more = {"temperature": 0.5, "top_p": 0.9}
    answer = create(stop_sequences=["###"], metadata={"user_id": "u1"}, extra_body=more)
    same((answer.type, answer.role, answer.model), ("message", "assistant", "test-model"))
    same([block.text for block in answer.content], ["You said: hello there"])
    same(answer.stop_reason, "end_turn")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer._request_id.startswith("req_")
    agent = create(model="agent:default", messages=[says("What is 12*7?")])
    assert "84" in agent.content[0].text
    same(create(max_tokens=2).stop_reason, "max_tokens")
    print(answer.id.removeprefix("msg_"))


def conversation():
    answer = create(
        system=[{"type": "text", "text": "Speak like a heron."}],
        messages=[
            says("first words"),
            says([{"type": "text", "text": "first answer"}], "assistant"),
            says([{"type": "text", "text": "second words"}]),
        ],
    )
    same(answer.content[0].text, "You said: second words")


def stream():
    with client().messages.stream(**asking()) as events:
        texts = list(events.text_stream)
        answer = events.get_final_message()
    same("".join(texts), "You said: hello there")
    assert len(texts) > 2, "it comes in pieces"
    same((answer.stop_reason, answer.content[0].text), ("end_turn", "You said: hello there"))
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    kinds = [event.type for event in create(stream=True)]
    same(kinds[:2], ["message_start", "content_block_start"])
    same(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])


def tools():
    messages = [says(ASK_TO_BOOK)]
    answer = create(messages=messages, tools=[BOOK], tool_choice={"type": "auto"})
    same(answer.stop_reason, "tool_use")
    call = answer.content[-1]
    same((call.type, call.name, call.input), ("tool_use", "book_room", {"room": "blue"}))
    messages += [says([block.model_dump() for block in answer.content], "assistant")]
    messages += [says([{"type": "tool_result", "tool_use_id": call.id, "content": "booking 7"}])]
    answer = create(messages=messages, tools=[BOOK])
    same(answer.content[0].text, "The result is booking 7.")
    same(answer.stop_reason, "end_turn")
    refrained = create(tools=[BOOK], tool_choice={"type": "none"})
    same(refrained.stop_reason, "end_turn")
    named = {"type": "tool", "name": "book_room"}
    forced = create(messages=[says(ASK_TO_BOOK)], tools=[BOOK], tool_choice=named)
    same(forced.stop_reason, "tool_use")


def streamed_tools():
    text = ASK_TO_BOOK + '\ncall book_room {"room":"red"}'
    with client().messages.stream(**asking(messages=[says(text)], tools=[BOOK])) as events:
        answer = events.get_final_message()
    same(answer.stop_reason, "tool_use")
    calls = [block for block in answer.content if block.type == "tool_use"]
    same([call.input["room"] for call in calls], ["blue", "red"])
    same(len({call.id for call in calls}), 2)


def raises(kind, words, by=None, **fields):
    try:
        (by or client(max_retries=0)).messages.create(**asking(**fields))
    except kind as error:
        same(type(error), kind)
        same((error.body["type"], words in error.body["error"]["message"]), ("error", True))
        return error
    raise AssertionError(f"no {kind} was raised")


def errors():
    raises(anthropic.NotFoundError, "model: ", model="huge")
    raises(anthropic.BadRequestError, "temperature: ", extra_body={"temperature": "hot"})
    raises(anthropic.BadRequestError, "messages: ", messages=[])
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    image = [says([{"type": "image", "source": source}])]
    raises(anthropic.BadRequestError, "only text is taken", messages=image)
    raises(anthropic.BadRequestError, "tools: ", tools=[BOOK, BOOK])
    bad = client("nxk_" + "x" * 48, user=None, max_retries=0)
    error = raises(anthropic.AuthenticationError, "credential", by=bad)
    same(error.body["error"]["type"], "authentication_error")
    # With its retries: a run that was refused is not started again by the client itself.
    error = raises(anthropic.RateLimitError, "budget_exhausted", by=client(user="poor"))
    same(error.body["error"]["type"], "rate_limit_error")
    print(error.response.headers["nexus-run-id"])


def closes():
    raw = client().messages.with_raw_response.create(
        **asking(messages=[says("slowly please")], stream=True)
    )
    events = raw.parse()
    assert next(iter(events)).type == "message_start"
    events.close()
    print(raw.headers["nexus-run-id"])


globals()[sys.argv[2]]()
