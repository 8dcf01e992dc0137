"""Makes models of the size of a toy, with the names that the documents use: python tiny_models.py FOLDER.

A Qwen2 of 150,000 random parameters with a tokenizer and chat template of its own, a reward model of the same kind,
and a sentencepiece tokenizer. Run by the Python of `make setup-trainer`; nothing is downloaded.
"""
# pyright: reportMissingImports=false

import json
import shutil
import sys
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification, set_seed

DATA = Path(__file__).parents[2] / "examples" / "data"
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def main(folder: Path) -> None:
    """Make them all below a training directory: `models/` and `configs/`."""
    models_folder = folder / "models"
    tokenizer = _tokenizer()
    set_seed(7)
    shape: dict[str, int | None] = {
        "vocab_size": len(tokenizer),
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    shape |= {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    policy = Qwen2ForCausalLM(Qwen2Config(hidden_size=64, intermediate_size=128, num_hidden_layers=2, tie_word_embeddings=True, **shape))
    judge = Qwen2ForSequenceClassification(Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_labels=1, **shape))
    for name, model in {"qwen-7b": policy, "qwen-7b-rm": judge}.items():
        model.save_pretrained(models_folder / name)
        tokenizer.save_pretrained(models_folder / name)
    for name in ("qwen-7b-sft", "llama2-7b"):
        shutil.copytree(models_folder / "qwen-7b", models_folder / name)
    (folder / "configs").mkdir(exist_ok=True)
    _sentencepiece(folder / "configs" / "tokenizer.model")


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _texts(), trainers.BpeTrainer(vocab_size=1024, show_progress=False, initial_alphabet=alphabet, special_tokens=SPECIAL)
    )
    # The end of a turn is the end of a text, as with Qwen's chat models.
    end, padding = SPECIAL[2], SPECIAL[0]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=padding)
    fast.chat_template = CHAT
    return fast


def _sentencepiece(path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_texts()),
        model_prefix=str(path.with_suffix("")),
        vocab_size=900,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )


def _texts() -> list[str]:
    lines = (DATA / "pretrain.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
