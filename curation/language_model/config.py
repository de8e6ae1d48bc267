"""Recipe of annotations by a language model: the task, the documents, and the server."""

from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, Field, ValidationError, field_validator, model_validator

from curation.language_model.prompts import PROMPTS
from manifests.recipe import Amount, Local, NamedRecipe, Recipe

AnnotateTask = Literal["score", "rewrite", "questions"]


class ServerRecipe(Recipe):
    """The server, its limits and retries. Not part of the identity, which holds the answers."""

    engine: Literal["endpoint", "vllm"] = "endpoint"
    """`endpoint` asks an OpenAI-compatible server that runs already; `vllm` starts one on this machine and ends it."""
    url: str | None = None
    """Base URL of the endpoint, as OpenAI's clients take it: http://localhost:8000/v1."""
    key_variable: str | None = None
    """Name of the environment variable that holds the API key. The key itself is never written."""
    model_path: str | None = None
    """Folder or hub name of the weights that vLLM loads; by default `model`."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that vLLM splits the model over."""
    max_context: Annotated[Amount, Field(gt=0)] = 8192
    """Most tokens of prompt and answer together in vLLM."""
    concurrency: int = Field(default=64, ge=1)
    """Requests under way at once."""
    timeout: float = Field(default=600, gt=0)
    """Seconds after which the request for a document has failed, its retries included."""
    retries: int = Field(default=5, ge=0)
    """How often a request is repeated after a lost connection, a status 429 or 5xx, or an invalid answer; after 0.5, 1,
    2, … seconds, or as the server says."""
    max_failed: float = Field(default=0.01, ge=0, le=1)
    """Share of the documents whose request may fail in the end. These are rows `endpoint_error`; with more, no manifest
    is made, and the next run asks for what is missing."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> "ServerRecipe":
        try:
            url = AnyHttpUrl(self.url or "")
        except ValidationError:
            url = None
        if self.engine == "endpoint" and (url is None or url.username or url.password):
            raise ValueError("url: give the endpoint's http:// or https:// address, without user or password")
        return self


class AnswerLimits(Recipe):
    """Limits of a usable answer; see `curation.language_model.verdicts` for what each measures."""

    min_length: float = Field(default=0.2, ge=0)
    """Characters of a rewritten text per character of its source, under which it is `too_short`."""
    max_length: float = Field(default=2.0, gt=0)
    """The same, above which it is `too_long`."""
    max_repetition: float = Field(default=0.6, ge=0, le=1)
    """Share of 5-word runs that occurred before in the answer, above which it is `repetition`."""
    min_numbers: float = Field(default=0.5, ge=0, le=1)
    """Share of the source's numbers that a rewritten text holds, under which it is `numbers_lost`."""
    min_formulae: float = Field(default=0.5, ge=0, le=1)
    """Share of the source's formulae that a rewritten text holds, under which it is `formulae_lost`."""


class AnnotateRecipe(NamedRecipe):
    """Annotations of the documents of a corpus by a language model: scores, rewritten texts, or question-answer
    pairs."""

    corpus: Annotated[str, Local]
    """Corpus manifest: name@version, an ID or a prefix of one. Its ID enters the identity."""
    where: str = "drop_reason IS NULL"
    """SQL condition over `documents`: which of them are annotated. IDs are hashes, so `doc_id < '1'` is a random
    sixteenth."""
    task: AnnotateTask
    """`score`: how useful for teaching mathematics, 0 to 5; `rewrite`: the text rewritten; `questions`: question-answer
    pairs found in it."""
    prompt: str | None = None
    """The prompt, with {text} where the document goes; by default that of the task in
    `curation.language_model.prompts`."""
    model: str
    """Name of the model, as the server knows it."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 selects the most likely token at each step."""
    max_tokens: Annotated[Amount, Field(gt=0)] = 2048
    """Tokens of the longest answer."""
    seed: int = 1
    """Seed of the sampling, for servers that support it."""
    max_chars: Annotated[Amount, Field(gt=0)] = 20_000
    """Characters of the longest document that is sent. For scores a longer one is cut there; otherwise it becomes a row
    `source_too_long`."""
    limits: AnswerLimits = AnswerLimits()
    """From where an answer is not good."""
    server: Annotated[ServerRecipe, Local]
    """Who answers."""

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, data: Any) -> Any:
        """The default prompt as a field like any other: its words enter the identity."""
        if not isinstance(data, dict) or data.get("prompt") is not None:
            return data
        return data | {"prompt": PROMPTS.get(str(data.get("task")))}

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str | None) -> str | None:
        if prompt is not None and prompt.count("{text}") != 1:
            raise ValueError("write {text} once, where the document goes")
        return prompt
