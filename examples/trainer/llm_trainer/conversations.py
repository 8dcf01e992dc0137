"""SFT and LoRA: conversations, of which the model learns what the assistant says."""

from __future__ import annotations

from dataclasses import replace

import jinja2
import torch
from datasets import Dataset
from peft import LoraConfig
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TARGETS
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from .arguments import arguments
from .corpus import Conversation, agreed, read_conversations
from .course import Course
from .keys import BadInput
from .parting import parted
from .recipe import Lora, Recipe
from .rouge import rouge_l
from .voice import say
from .weights import load_model, load_tokenizer

IGNORED = -100
"""The label of a token that is not learned."""
ANSWERS = 32
"""So many held-out conversations are answered anew for eval/rougeL; generation is slow, and more would hardly change the mean."""


class ConversationTrainer(Course, SFTTrainer):
    """Trains on conversations, and answers held-out ones when ROUGE-L is asked for."""

    held_out: list[Conversation]
    generation_max_length = 0
    """Tokens of an answer at most; 0: nothing is generated."""

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """Return the loss on what was held out, and how close the model's own answers come."""
        metrics = super().evaluate(*args, **kwargs)
        if self.generation_max_length and metrics and not self.is_to_stop():
            score = self._rouge()
            self.log({"eval_rougeL": score})
            metrics["eval_rougeL"] = score
        return metrics

    def _rouge(self) -> float:
        """Return the mean over held-out conversations of how close the model's last answer comes; generating keeps no gradients."""
        model, tokenizer = self.accelerator.unwrap_model(self.model), self.processing_class
        model.eval()
        scores = []
        for conversation in self.held_out[:ANSWERS]:
            last = max(place for place, turn in enumerate(conversation.messages) if turn["role"] == "assistant")
            asked = tokenizer.apply_chat_template(
                conversation.messages[:last], add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(self.args.device)
            with self.compute_loss_context_manager():
                said = model.generate(
                    **asked, max_new_tokens=self.generation_max_length, do_sample=False, use_cache=True, pad_token_id=tokenizer.pad_token_id
                )
            answer = tokenizer.decode(said[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            scores.append(rouge_l(answer, conversation.messages[last]["content"]))
        return sum(scores) / len(scores)


class AdapterNorms(TrainerCallback):
    """Adds how large the adapter's matrices have become to what is logged."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        model: PreTrainedModel | None = None,
        **_: object,
    ) -> None:
        """Add the Frobenius norms over all layers; B begins at zero."""
        if "loss" not in logs or model is None:
            return
        for letter in "AB":
            weights = [weight.detach().float() for name, weight in model.named_parameters() if f".lora_{letter}." in name]
            logs[f"lora/norm_{letter.lower()}"] = float(torch.stack([weight.norm() for weight in weights]).norm()) if weights else 0.0


def build(recipe: Recipe) -> ConversationTrainer:
    """Read the conversations, load the model and put a trainer together; BadInput with what is wrong."""
    conversations = read_conversations(recipe.dataset)
    adapter = _adapter(recipe, conversations)
    tokenizer = load_tokenizer(recipe)
    training, held_out = parted(conversations, recipe)
    learned, judged = (_encoded(each, tokenizer, recipe) for each in (training, held_out))
    if not len(learned):
        raise BadInput(f"dataset {recipe.dataset} holds nothing to learn from within {recipe.sequence_length} tokens a conversation")
    say(f"{recipe.dataset.name}: {len(learned)} conversations to train on, {len(judged)} held out")
    model = load_model(recipe, tokenizer)
    trainer = ConversationTrainer(
        model=model,
        args=SFTConfig(**arguments(recipe, evaluates=bool(len(judged))), max_length=None),
        train_dataset=learned,
        eval_dataset=judged if len(judged) else None,
        processing_class=tokenizer,
        peft_config=_peft(adapter, model) if adapter else None,
    )
    if adapter:
        trainer.add_callback(AdapterNorms)
    trainer.held_out = held_out
    trainer.generation_max_length = recipe.generation_max_length if recipe.predict_with_generate else 0
    return trainer


def _encoded(conversations: list[Conversation], tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> Dataset:
    """Give tokens and labels, cut to the longest sequence allowed; what then holds nothing to learn is left out, and counted."""
    rows = [_row(each, tokenizer, recipe.sequence_length) for each in conversations]
    kept = [row for row in rows if any(label != IGNORED for label in row["labels"])]
    if len(kept) < len(rows):
        say(f"note: {len(rows) - len(kept)} conversations have no answer within {recipe.sequence_length} tokens and are left out")
    return Dataset.from_list(kept)


def _row(conversation: Conversation, tokenizer: PreTrainedTokenizerBase, length: int) -> dict[str, list[int]]:
    try:
        text, spans = _answers(conversation.messages, tokenizer)
    except jinja2.TemplateError as problem:
        raise BadInput(f"{conversation.place}: the tokenizer's chat template refuses it: {problem}") from None
    # The template writes the special tokens itself.
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=length)
    labels = [
        token if end > start and any(first <= start < last for first, last in spans) else IGNORED
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]
    return {"input_ids": encoded["input_ids"], "labels": labels}


def _answers(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[tuple[int, int]]]:
    """Write the conversation out, and say where the assistant speaks in it, to the end of its turn."""
    text: str = tokenizer.apply_chat_template(messages, tokenize=False)
    spans, at = [], 0
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(messages[:place], tokenize=False, add_generation_prompt=True)
        through = tokenizer.apply_chat_template(messages[: place + 1], tokenize=False)
        if text.startswith(before) and text.startswith(through):
            first, last = len(before), len(through)
        else:  # some templates write a turn otherwise once others follow it
            first = text.find(message["content"].strip(), at)
            last = first + len(message["content"].strip())
            last += len(tokenizer.eos_token) if text.startswith(tokenizer.eos_token, last) else 0
        if first >= 0:
            spans.append((first, last))
            at = last
    return text, spans


def _adapter(recipe: Recipe, conversations: list[Conversation]) -> Lora | None:
    """Give the adapter's shape: what the samples ask for goes before the YAML."""
    if recipe.lora is None:
        return None
    rank, modules = agreed(conversations, recipe.dataset)
    if rank or modules:
        say(f"the samples ask for {', '.join([f'rank {rank}'] * bool(rank) + [' and '.join(modules)] * bool(modules))}")
    return replace(recipe.lora, rank=rank or recipe.lora.rank, target_modules=modules or recipe.lora.target_modules)


def _peft(adapter: Lora, model: PreTrainedModel) -> LoraConfig:
    endings = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if unknown := [module for module in adapter.target_modules if module not in endings]:
        raise BadInput(f"target_modules: the model has no {', '.join(unknown)}; it has {', '.join(sorted(_linear(model)))}")
    targets = list(adapter.target_modules) or KNOWN_TARGETS.get(model.config.model_type) or "all-linear"
    shown = targets if isinstance(targets, str) else ", ".join(targets)
    say(f"an adapter of rank {adapter.rank}, alpha {adapter.alpha}, dropout {adapter.dropout} on {shown}")
    return LoraConfig(task_type="CAUSAL_LM", r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules=targets)


def _linear(model: PreTrainedModel) -> set[str]:
    return {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
