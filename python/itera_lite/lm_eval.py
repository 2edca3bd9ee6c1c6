"""The model in lm-evaluation-harness: `python -m itera_lite.lm_eval --model itera --tasks ...`.

Model arguments: `model=NAME` and `precision=fp32|int8|int4`. Every text is read behind one end-of-text token, as in
training, and none is cut: the state has no context length.
"""

from __future__ import annotations

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from . import Model


@register_model("itera")
class IteraLM(LM):
    """A model of this package."""

    def __init__(self, model: str = "micro-tinystories", precision: str | None = None, **_unused) -> None:
        super().__init__()
        self.model = Model.load(model, precision)

    def loglikelihood(self, requests: list[Instance], **_unused) -> list[tuple[float, bool]]:
        return [self._continuation(*request.args) for request in requests]

    def _continuation(self, context: str, continuation: str) -> tuple[float, bool]:
        # As the harness divides: white space at the end of the context begins the continuation.
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        before = self.model.tokenize(kept)
        tokens = self.model.tokenize(kept + continuation)[len(before) :]
        scores = self.model.scores_of_tokens(tokens, context=before)
        return -sum(score.nats for score in scores), all(score.rank == 1 for score in scores)

    def loglikelihood_rolling(self, requests: list[Instance], **_unused) -> list[float]:
        return [-score.nats for score in self.model.score(request.args[0] for request in requests)]

    def generate_until(self, requests: list[Instance], **_unused) -> list[str]:
        return [self._until(*request.args) for request in requests]

    def _until(self, context: str, options: dict) -> str:
        ends = options.get("until") or []
        ends = [ends] if isinstance(ends, str) else ends
        text = ""
        pieces = self.model.generate(
            context,
            max_tokens=int(options.get("max_gen_toks", 256)),
            temperature=float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0,
            top_k=options.get("top_k"),
            top_p=options.get("top_p"),
        )
        for piece in pieces:
            text += piece
            found = [at for at in (text.find(end) for end in ends if end) if at >= 0]
            if found:
                return text[: min(found)]
        return text


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
