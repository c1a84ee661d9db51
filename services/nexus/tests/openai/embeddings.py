"""The official client of OpenAI asks for vectors: each case is a function, and fails by an exception.

Arguments: the gateway's base URL and the case. The model behind it makes vectors that follow from the
text, of eight numbers unless other dimensions are asked for.
"""

import base64
import struct
import sys

import openai

BASE = sys.argv[1] + "/v1"
MODEL = "text-embedding-3-small"


def client(key="none", user="ada", **options):
    return openai.OpenAI(
        base_url=BASE,
        api_key=key,
        default_headers={"Nexus-User": user} if user else None,
        timeout=60,
        **options,
    )


def create(by=None, **fields):
    return (by or client(max_retries=0)).embeddings.create(**({"model": MODEL, "input": "hello there"} | fields))


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def plain():
    raw = client().embeddings.with_raw_response.create(model=MODEL, input="hello there", user="u1")
    answer = raw.parse()
    same((answer.object, answer.model, len(answer.data)), ("list", MODEL, 1))
    same((answer.data[0].object, answer.data[0].index), ("embedding", 0))
    vector = answer.data[0].embedding
    # The client asks for base64 by itself; numbers are the same, written as shortly as 32 bits allow.
    written = create(encoding_format="float").data[0].embedding
    same(struct.pack("<8f", *written), struct.pack("<8f", *vector))
    coded = create(encoding_format="base64").data[0].embedding
    same(list(struct.unpack("<8f", base64.b64decode(coded))), vector)
    same(len(create(dimensions=3).data[0].embedding), 3)
    assert answer.usage.prompt_tokens > 0
    same(answer.usage.total_tokens, answer.usage.prompt_tokens)
    print(raw.headers["nexus-run-id"])


def many():
    texts = [f"text number {n}" for n in range(2048)]
    answer = create(input=texts, dimensions=64)
    same([item.index for item in answer.data], list(range(2048)))
    assert all(len(item.embedding) == 64 for item in answer.data)
    same(answer.data[7].embedding, create(input=texts[7], dimensions=64).data[0].embedding)
    assert answer.data[7].embedding != answer.data[8].embedding


def again():
    ids = set()
    for _ in range(2):
        raw = client().embeddings.with_raw_response.create(
            model=MODEL, input=["one", "two"], extra_headers={"Idempotency-Key": "one-order"}
        )
        same(len(raw.parse().data), 2)
        ids.add(raw.headers["nexus-run-id"])
    same(len(ids), 1)


def models():
    names = [model.id for model in client().models.list()]
    assert MODEL in names and "test-model" in names, names
    same(client().models.retrieve(MODEL).id, MODEL)


def busy():
    raw = client(max_retries=0).embeddings.with_raw_response.create(model=MODEL, input="busy at first")
    same(len(raw.parse().data), 1)
    print(raw.headers["nexus-run-id"])


def raises(kind, code, param=None, by=None, **fields):
    try:
        create(by=by, **fields)
    except kind as error:
        same(type(error), kind)
        same((error.code, error.param), (code, param))
        return error
    raise AssertionError(f"no {kind} was raised")


def errors():
    raises(openai.NotFoundError, "model_not_found", "model", model="huge")
    raises(openai.BadRequestError, "invalid", "model", model="test-model")
    raises(openai.BadRequestError, "invalid", "input", input=[])
    raises(openai.BadRequestError, "invalid", "input", input=["one", ""])
    raises(openai.BadRequestError, "invalid", "input", input=["x"] * 2049)
    raises(openai.BadRequestError, "invalid", "input", input=[[1, 2], [3]])
    raises(openai.BadRequestError, "invalid", "dimensions", dimensions=0)
    raises(openai.BadRequestError, "invalid", "encoding_format", encoding_format="int8")
    raises(openai.BadRequestError, "vectors_too_large", input=["x"] * 2048, dimensions=4096)
    raises(openai.BadRequestError, "invalid_request_error", input="too long")
    try:
        chat = client(max_retries=0).chat.completions
        chat.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    except openai.NotFoundError as error:
        same((error.code, error.param), ("model_not_found", "model"))
    else:
        raise AssertionError("a model that makes vectors was talked to")
    poor = client(user="poor")
    error = raises(openai.RateLimitError, "insufficient_quota", by=poor, input="more than five tokens, surely, are in here")
    same(error.type, "insufficient_quota")
    raises(openai.PermissionDeniedError, "policy_denied", by=client(user="mallory"))
    bad = client("nxk_" + "x" * 48, user=None, max_retries=0)
    raises(openai.AuthenticationError, "invalid_api_key", by=bad)


globals()[sys.argv[2]]()
