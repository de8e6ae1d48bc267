"""Opens a sampler by name: `transformers` (`evaluation.transformers_sampler`), `vllm` (`evaluation.vllm_sampler`) or
`endpoint` (`evaluation.endpoint_sampler`). Loads no engine before one is opened.
"""

import importlib.util
from pathlib import Path

from evaluation.config import EndpointRecipe
from evaluation.sampling import SAMPLERS, Sampler
from manifests.errors import UserError


def open_sampler(name: str, model: Path | None, endpoint: EndpointRecipe | None) -> Sampler:
    """The sampler called `name` for the Hugging Face folder `model`, or for `endpoint`."""
    if name == "endpoint":
        return _endpoint(endpoint)
    if model is None:
        raise UserError(f"the sampler {name} needs a model folder or a run", "Or take --sampler endpoint")
    match name:
        case "transformers":
            from evaluation.transformers_sampler import Transformers

            return Transformers(model)
        case "vllm":
            if importlib.util.find_spec("vllm") is None:
                raise UserError("vLLM is not installed", "Install the extra `vllm`, or take --sampler transformers")
            from evaluation.vllm_sampler import Vllm

            return Vllm(model)
        case _:
            raise UserError(f"no sampler {name!r}", f"There are {', '.join(SAMPLERS)}")


def _endpoint(endpoint: EndpointRecipe | None) -> Sampler:
    from evaluation.endpoint_sampler import Endpoint

    if endpoint is None:
        raise UserError("no endpoint is named", "Give endpoint.url=http://HOST:PORT/v1 and endpoint.model=NAME")
    return Endpoint(endpoint)
