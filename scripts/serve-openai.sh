#!/usr/bin/env bash
# Uses itera-serve through OpenAI's own Python client: models, completions, chat, streams, probabilities, errors.
#
#   scripts/serve-openai.sh [BINARY]
#
# Needs python3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
tools=$target/openai-tools
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
"$tools/bin/pip" install -q "openai>=2,<3"

start_server
export URL=$url
"$tools/bin/python" - <<'PYTHON'
import os

import openai

client = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key="none", max_retries=0)
name = client.models.list().data[0].id
ask = {"model": name, "prompt": "Once upon a time", "max_tokens": 24, "seed": 3}

whole = client.completions.create(**ask, logprobs=2)
choice = whole.choices[0]
assert choice.text and whole.usage.completion_tokens == len(choice.logprobs.tokens), whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert choice.finish_reason in ("stop", "length")

chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].text for c in chunks if c.choices) == choice.text
assert chunks[-1].usage.total_tokens == whole.usage.total_tokens and chunks[0].usage is None and len(chunks) > 5

two = client.completions.create(model=name + ".int4", prompt=["a", "b"], n=2, max_tokens=2)
assert [c.index for c in two.choices] == [0, 1, 2, 3]

said = client.chat.completions.create(
    model=name, messages=[{"role": "user", "content": ask["prompt"]}], max_completion_tokens=24, seed=3
)
assert said.choices[0].message.content == choice.text and said.usage.total_tokens == whole.usage.total_tokens, said
pieces = client.chat.completions.create(
    model=name, messages=[{"role": "user", "content": ask["prompt"]}], max_tokens=24, seed=3, stream=True
)
assert "".join(p.choices[0].delta.content for p in pieces if p.choices) == choice.text

for change, kind in [
    ({"model": "gpt-4"}, openai.NotFoundError),
    ({"max_tokens": 100000}, openai.UnprocessableEntityError),
    ({"best_of": 4}, openai.BadRequestError),
]:
    try:
        client.completions.create(**{**ask, **change})
        raise SystemExit(f"{change} was not refused")
    except kind as error:
        assert error.code and error.type == "invalid_request_error", error.body
print("OpenAI's client", openai.__version__, "works:", repr(choice.text))
PYTHON
