"""What the YAML asks for: its keys as numbers and paths, checked before any data is read or any weight loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from .keys import BadInput, Keys, read_mapping

MODEL_KEYS = {"sft": "model_name", "rl": "policy_model", "lora": "base_model", "pretrain": "model_name"}
ALGORITHMS = ("dpo", "grpo", "rloo", "ppo")
SCHEDULES = ("linear", "cosine", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt")
"""Those of transformers that need no settings of their own."""
MICRO_BATCH = 8
"""So many sequences at most go through a device at once where only the whole batch is given; more would ask for memory nobody promised."""
PRETRAIN_SAVE_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One optimizer step is `per_device` sequences on each of `devices`, `accumulation` times."""

    per_device: int
    accumulation: int
    devices: int

    @property
    def size(self) -> int:
        """Sequences in a step."""
        return self.per_device * self.accumulation * self.devices


@dataclass(frozen=True, kw_only=True)
class Lora:
    """What the adapter is; a file's samples may set rank and target_modules."""

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    """Empty: what peft knows for the architecture, else every linear layer."""
    bits: int
    """Of the frozen base: 0 as it is, 8 or 4 quantised."""
    quant_type: str


@dataclass(frozen=True, kw_only=True)
class Reinforcement:
    """How answers are sampled, judged and learned from."""

    algorithm: str
    """Empty: the data decides."""
    reward_model: str
    """A URL, a folder of weights, or empty."""
    update_epochs: int
    kl_target: float
    """0: the KL coefficient stays what it is."""
    kl_coefficient: float
    num_generations: int
    """Answers to each prompt; 0: as many as divide the rollout well."""
    max_completion_length: int
    temperature: float

    def chosen_for(self, *, pairs: bool) -> Reinforcement:
        """Return this with an algorithm: pairs are for preference learning unless a reward model is named, as the documents have it."""
        return self if self.algorithm else replace(self, algorithm="dpo" if pairs and not self.reward_model else "grpo")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training as asked for."""

    config: Path
    task_type: str
    model_key: str
    model: str
    tokenizer: str
    dataset: Path
    output_dir: Path
    resume_from_checkpoint: Path | None
    sequence_length: int
    batch: Batch
    learning_rate: float
    num_train_epochs: float
    max_steps: int
    """0: as many as the epochs have."""
    warmup_ratio: float
    warmup_steps: float
    lr_scheduler_type: str
    weight_decay: float
    max_grad_norm: float
    logging_steps: float
    save_steps: float
    """0: at the end of every epoch; below 1: a share of all steps, as for the other two."""
    save_total_limit: int
    """0: all are kept."""
    eval_steps: float
    """0: at the end of every epoch."""
    eval_batch_size: int
    """Sequences judged at once on each device."""
    eval_split: float
    predict_with_generate: bool
    generation_max_length: int
    gradient_checkpointing: bool
    dtype: str
    seed: int
    lora: Lora | None
    reinforcement: Reinforcement | None
    ignored_keys: tuple[str, ...]


def read_recipe(path: Path) -> Recipe:
    """Read the recipe a YAML file describes; BadInput with what is wrong."""
    keys = Keys(read_mapping(path))
    task = keys.one_of("task_type", "", tuple(MODEL_KEYS))
    model_key, model = _model(keys, task)
    # One by one, so that what no line here asks for is what this trainer does not use.
    asked = Recipe(
        config=path,
        task_type=task,
        model_key=model_key,
        model=model,
        tokenizer=keys.text("tokenizer"),
        dataset=_dataset(keys, path),
        output_dir=Path(keys.text("output_dir") or os.environ.get("TUNEYARD_OUTPUT_DIR") or "output").resolve(),
        resume_from_checkpoint=_resume(keys),
        sequence_length=_sequence_length(keys, task),
        batch=(batch := _batch(keys, task)),
        eval_batch_size=keys.whole("per_device_eval_batch_size", batch.per_device),
        learning_rate=keys.number("learning_rate", {"lora": 2e-4, "pretrain": 3e-4, "rl": 1e-6}.get(task, 2e-5)),
        num_train_epochs=keys.number("num_train_epochs", _passes(keys, task)),
        max_steps=max(keys.whole("max_steps", 0, least=-1), 0),
        warmup_ratio=keys.number("warmup_ratio", 0.0 if task == "rl" else 0.03, most=1.0),
        warmup_steps=keys.steps("warmup_steps", 0),
        lr_scheduler_type=keys.one_of("lr_scheduler_type", "cosine" if task == "pretrain" else "linear", SCHEDULES),
        weight_decay=keys.number("weight_decay", 0.1 if task == "pretrain" else 0.0),
        max_grad_norm=keys.number("max_grad_norm", 1.0),
        logging_steps=keys.steps("logging_steps", 1) or 1,
        save_steps=keys.steps("save_steps", PRETRAIN_SAVE_STEPS if task == "pretrain" else 0),
        save_total_limit=keys.whole("save_total_limit", 0, least=0),
        eval_steps=keys.steps("eval_steps", 0),
        eval_split=keys.number("eval_split", 0.01 if task == "pretrain" else 0.1, most=0.9),
        predict_with_generate=keys.flag("predict_with_generate"),
        generation_max_length=keys.whole("generation_max_length", 128),
        gradient_checkpointing=keys.flag("gradient_checkpointing"),
        dtype=_dtype(keys),
        seed=keys.whole("seed", 42, least=0),
        lora=_lora(keys) if task == "lora" else None,
        reinforcement=_reinforcement(keys) if task == "rl" else None,
        ignored_keys=(),
    )
    return replace(asked, ignored_keys=keys.left)


def _model(keys: Keys, task: str) -> tuple[str, str]:
    """Give the key that names the model, and its name; each task type's own key first, the others as people mix them up."""
    for key in dict.fromkeys((MODEL_KEYS[task], "model_name", "base_model", "policy_model")):
        if model := keys.text(key):
            return key, model
    raise BadInput(f"{MODEL_KEYS[task]} is missing: name a folder of weights")


def _dataset(keys: Keys, config: Path) -> Path:
    """Find the data file: an absolute path, else beside the config, else in the current directory."""
    named = keys.text("dataset")
    if not named:
        raise BadInput("dataset is missing: name a .jsonl file")
    candidates = [config.parent / named, Path(named)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadInput(f"dataset {named} does not exist (looked for {' and '.join(str(each.absolute()) for each in candidates)})")


def _resume(keys: Keys) -> Path | None:
    named = keys.text("resume_from_checkpoint")
    if not named:
        return None
    checkpoint = Path(named)
    if not (checkpoint / "trainer_state.json").is_file():
        raise BadInput(f"resume_from_checkpoint: {checkpoint} is not a complete checkpoint: it has no trainer_state.json")
    return checkpoint


def _sequence_length(keys: Keys, task: str) -> int:
    """Tokens of a sequence at most; the two names mean the same, and each task type's own goes first."""
    names = ["sequence_length", "max_seq_length"] if task == "pretrain" else ["max_seq_length", "sequence_length"]
    lengths = [keys.whole(name, 2048, least=8) for name in names if keys.has(name)]
    return lengths[0] if lengths else 2048


def _dtype(keys: Keys) -> str:
    """Read in what the sums are done; the flags bf16 and fp16 say it too, and `auto` leaves it to the device."""
    bf16, fp16 = keys.flag("bf16"), keys.flag("fp16")
    return keys.one_of("dtype", "bfloat16" if bf16 else "float16" if fp16 else "auto", ("auto", "bfloat16", "float16", "float32"))


def _batch(keys: Keys, task: str) -> Batch:
    """Work the batch out from the YAML's words for it: a whole one, or one of each device and how often it is accumulated."""
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    whole_key = {"lora": "train_batch_size", "pretrain": "global_batch_size", "rl": "rollout_batch_size"}.get(task, "global_batch_size")
    name = next((key for key in ("per_device_train_batch_size", "per_device_batch_size") if keys.has(key)), "")
    per_device = keys.whole(name, 0) if name else 0
    accumulation = keys.whole("gradient_accumulation_steps", 0) if keys.has("gradient_accumulation_steps") else 0
    if not keys.has(whole_key):
        return Batch(per_device=per_device or 4, accumulation=accumulation or 1, devices=devices)
    whole = keys.whole(whole_key, 1)
    share, rest = divmod(whole, devices * (per_device or 1) * (accumulation or 1))
    if rest or not share:
        known = [f"{devices} devices"] * (devices > 1) + [f"{name} {per_device}"] * bool(per_device)
        known += [f"gradient_accumulation_steps {accumulation}"] * bool(accumulation)
        raise BadInput(f"{whole_key} {whole} cannot be dealt out evenly to {' times '.join(known)}: make it a multiple of that")
    if per_device and accumulation and share > 1:
        raise BadInput(
            f"{whole_key} {whole} is not {name} {per_device} times gradient_accumulation_steps {accumulation}"
            f" times {devices} devices: leave one of them out"
        )
    if accumulation:
        return Batch(per_device=per_device or share, accumulation=accumulation, devices=devices)
    per_device = per_device or max(size for size in range(1, MICRO_BATCH + 1) if share % size == 0)
    return Batch(per_device=per_device, accumulation=whole // (devices * per_device), devices=devices)


def _passes(keys: Keys, task: str) -> float:
    """Passes over the data where num_train_epochs does not say; with DPO there are no rollouts, and update_epochs are its passes."""
    return keys.whole("update_epochs", 1) if task == "rl" and keys.text("algorithm").lower() == "dpo" else 1.0


def _lora(keys: Keys) -> Lora:
    eight, four = keys.flag("use_8bit"), keys.flag("use_4bit")
    if eight and four:
        raise BadInput("use_8bit and use_4bit are both true: set one of them to false")
    quant_type = keys.one_of("bnb_4bit_quant_type", "nf4", ("nf4", "fp4"))
    rank = keys.whole("lora_r", 8)
    return Lora(
        rank=rank,
        alpha=keys.number("lora_alpha", 2 * rank, least=1e-6),
        dropout=keys.number("lora_dropout", 0.0, most=0.99),
        target_modules=keys.words("peft_target_modules") or keys.words("target_modules") or keys.words("lora_target_modules"),
        bits=8 if eight else 4 if four else 0,
        quant_type=quant_type,
    )


def _reinforcement(keys: Keys) -> Reinforcement:
    return Reinforcement(
        algorithm=keys.one_of("algorithm", "", ("", *ALGORITHMS)),
        reward_model=keys.text("reward_model"),
        update_epochs=keys.whole("update_epochs", 1),
        kl_target=keys.number("kl_target", 0.0),
        kl_coefficient=keys.number("kl_coef", keys.number("beta", 0.1)),
        num_generations=keys.whole("num_generations", 0, least=0),
        max_completion_length=keys.whole("max_completion_length", 256),
        temperature=keys.number("temperature", 1.0, least=0.01),
    )
