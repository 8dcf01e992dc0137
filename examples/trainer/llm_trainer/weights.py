"""The model and its tokenizer, loaded as the recipe names them."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)

from .keys import BadInput
from .places import find
from .recipe import Lora, Recipe
from .voice import say

PLAIN_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['role'] | capitalize + ':\n' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
"""How a conversation is written for a model that brings no chat template; it is saved with the tokenizer, so that serving does the same."""


def load_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """Load the tokenizer that the YAML names, else the model's own; one that can pad and end."""
    key, name = ("tokenizer", recipe.tokenizer) if recipe.tokenizer else (recipe.model_key, recipe.model)
    place = Path(find(name, key, recipe.config))
    try:
        tokenizer = _tokenizer_file(place) if place.is_file() else AutoTokenizer.from_pretrained(str(place) if place.exists() else name)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as problem:
        raise BadInput(f"{key}: the tokenizer of {name} cannot be loaded: {_first_line(problem)}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(f"{key}: the tokenizer of {name} has no tokenizer.json; save it once with transformers, which makes one")
    if tokenizer.eos_token is None:
        raise BadInput(f"{key}: the tokenizer of {name} has no eos_token; say it in its tokenizer_config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if recipe.task_type != "pretrain" and not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_CHAT
        say("note: the tokenizer brings no chat template, so a plain one is used and saved with it (User: … Assistant: …)")
    return tokenizer


def load_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Load the weights; for pretraining a folder with a config.json alone gives fresh ones."""
    place = find(recipe.model, recipe.model_key, recipe.config)
    set_seed(recipe.seed)
    try:
        if recipe.task_type == "pretrain" and Path(place).is_dir() and not _has_weights(Path(place)):
            say(f"{place} holds no weights: the model starts from fresh ones")
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place))
        else:
            model = AutoModelForCausalLM.from_pretrained(place, dtype=_weights_dtype(recipe), **_quantised(recipe.lora))
    except (OSError, ValueError, KeyError) as problem:
        raise BadInput(f"{recipe.model_key}: {recipe.model} cannot be loaded: {_first_line(problem)}") from None
    model.config.use_cache = False
    missing = len(tokenizer) - model.get_input_embeddings().num_embeddings
    if missing > 0:
        say(f"note: the tokenizer knows {missing} tokens more than the model, which gets new rows for them")
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def precision(recipe: Recipe) -> dict[str, bool]:
    """Say in what the sums are done: bf16 where the GPU can, as transformers' arguments name it; a CPU computes in 32 bits."""
    if recipe.dtype == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return {"bf16": bf16, "fp16": torch.cuda.is_available() and not bf16}
    if recipe.dtype == "float16" and not torch.cuda.is_available():
        raise BadInput("fp16: a CPU does not train in 16-bit floats; leave it out, or set bf16: true")
    return {"bf16": recipe.dtype == "bfloat16", "fp16": recipe.dtype == "float16"}


def _weights_dtype(recipe: Recipe) -> torch.dtype:
    """Weights that are trained are kept in 32 bits, else small steps would be rounded away; frozen ones in what they are used in."""
    if recipe.lora is None:
        return torch.float32
    used = precision(recipe)
    return torch.bfloat16 if used["bf16"] else torch.float16 if used["fp16"] else torch.float32


def _quantised(lora: Lora | None) -> dict[str, Any]:
    if lora is None or not lora.bits:
        return {}
    key = f"use_{lora.bits}bit"
    if not torch.cuda.is_available():
        raise BadInput(f"{key}: bitsandbytes needs a GPU, and this machine has none that torch can use: set {key}: false")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(f"{key}: bitsandbytes is not installed here: install it beside the trainer, or set {key}: false")
    if lora.bits == 8:  # noqa: PLR2004 - bits
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=lora.quant_type, bnb_4bit_compute_dtype=torch.bfloat16
        )
    }


def _tokenizer_file(path: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer from one file: a tokenizer.json or a sentencepiece model, told apart by how they begin."""
    with path.open("rb") as file:
        if file.read(1) == b"{":
            return PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token="</s>")  # noqa: S106 - the end of a text
    with tempfile.TemporaryDirectory() as folder:
        # It is known by its name, which the platform's store does not keep.
        shutil.copyfile(path, Path(folder) / "tokenizer.model")
        return LlamaTokenizer.from_pretrained(folder)


def _has_weights(folder: Path) -> bool:
    return any(path.suffix in {".safetensors", ".bin"} and "model" in path.name for path in folder.iterdir())


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().split("\n", 1)[0] or type(problem).__name__
