"""Makes a tiny model that a real server can serve: `python tiny_model.py FOLDER [ADAPTER]`, with the server's own torch and transformers.

Qwen2 in shape, random in its weights, with a tokenizer of bytes of its own and a chat template: what it says means nothing, but it is
said by a real engine. ADAPTER, where given, becomes a LoRA adapter for it. Nothing is fetched.
"""

import json
import sys
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports] - of the server's own Python
from safetensors.torch import save_file  # pyright: ignore[reportMissingImports] - of the server's own Python
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # pyright: ignore[reportMissingImports] - of the server's own Python
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM  # pyright: ignore[reportMissingImports] - of the server's own Python

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, LAYERS, RANK = 64, 2, 8


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and the marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*MARKS, *letters])}
    bytewise = Tokenizer(models.BPE(vocab=words, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens(MARKS)
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token=MARKS[2], pad_token=MARKS[0], chat_template=TEMPLATE)


def model(words: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """Two layers of random weights, the same every time."""
    torch.manual_seed(0)
    shape = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": LAYERS, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ends = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id, "bos_token_id": None}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), tie_word_embeddings=True, **shape, **heads, **ends))


def adapt(folder: Path, base: Path) -> None:
    """Write an adapter for the query and value projections, as PEFT writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": RANK, "lora_alpha": RANK}
    config |= {"target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    weights = {}
    for layer in range(LAYERS):
        for name in ("q_proj", "v_proj"):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, WIDTH)
            weights[f"{key}.lora_B.weight"] = torch.randn(WIDTH, RANK)
    save_file(weights, folder / "adapter_model.safetensors")


def main() -> None:
    """Make what was asked for."""
    folder, *adapter = map(Path, sys.argv[1:])
    words = tokenizer()
    model(words).save_pretrained(folder)
    words.save_pretrained(folder)
    for each in adapter:
        adapt(each, folder)


if __name__ == "__main__":
    main()
