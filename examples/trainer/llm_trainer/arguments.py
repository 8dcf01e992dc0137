"""The recipe in the words of transformers' TrainingArguments, which trl's configs share."""

from __future__ import annotations

from typing import Any

import torch

from .recipe import Recipe
from .weights import precision


def arguments(recipe: Recipe, *, evaluates: bool) -> dict[str, Any]:
    """Give the arguments that every way of training shares."""
    return {
        "output_dir": str(recipe.output_dir),
        "per_device_train_batch_size": recipe.batch.per_device,
        "per_device_eval_batch_size": recipe.eval_batch_size,
        "gradient_accumulation_steps": recipe.batch.accumulation,
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.num_train_epochs,
        "max_steps": recipe.max_steps or -1,
        # One number means both in transformers 5: below one, it is the share of all steps.
        "warmup_steps": recipe.warmup_steps or min(recipe.warmup_ratio, 0.9999),
        "lr_scheduler_type": recipe.lr_scheduler_type,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "logging_steps": recipe.logging_steps,
        # A loss that is no number is shown as what it is.
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if recipe.save_steps else "epoch",
        "save_steps": recipe.save_steps or 500,
        "save_total_limit": recipe.save_total_limit or None,
        "eval_strategy": "no" if not evaluates else "steps" if recipe.eval_steps else "epoch",
        "eval_steps": recipe.eval_steps or None,
        "seed": recipe.seed,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        # What is said is said by `voice`, once.
        "report_to": "none",
        "disable_tqdm": True,
        **precision(recipe),
    }
