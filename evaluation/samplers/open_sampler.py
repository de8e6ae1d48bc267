"""Opens a sampler by name: `transformers` (`evaluation.samplers.transformers_sampler`), `vllm`
(`evaluation.samplers.vllm_sampler`) or `endpoint` (`evaluation.samplers.endpoint_sampler`). Loads no engine before one
is opened.
"""

from pathlib import Path
from typing import assert_never

from evaluation.config import EndpointRecipe
from evaluation.samplers.sampling import Sampler, SamplerName
from manifests.errors import UserError
from manifests.extras import need


def open_sampler(name: SamplerName, model: Path | None, endpoint: EndpointRecipe | None) -> Sampler:
    """The sampler called `name` for the Hugging Face folder `model`, or for `endpoint`."""
    if name == "endpoint":
        return _endpoint(endpoint)
    if model is None:
        raise UserError(f"the sampler {name} needs a model folder or a run", "Give one, or use --sampler endpoint")
    match name:
        case "transformers":
            from evaluation.samplers.transformers_sampler import Transformers

            return Transformers(model)
        case "vllm":
            need("vllm", "the sampler vllm", "use --sampler transformers")
            from evaluation.samplers.vllm_sampler import Vllm

            return Vllm(model)
        case _:
            assert_never(name)


def _endpoint(endpoint: EndpointRecipe | None) -> Sampler:
    from evaluation.samplers.endpoint_sampler import Endpoint

    if endpoint is None:
        raise UserError("no endpoint is named", "Give endpoint.url=http://HOST:PORT/v1 and endpoint.model=NAME")
    return Endpoint(endpoint)
